"""
The terms of a request, held against its id.

The oracle makes a request's id of its own address, its place in the list, and all that was asked for: by whom, of which
model, from which state, with which terms and for which fee. So the answer of a node about a request needs no belief:
`expect_terms` makes the id again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from opml_dispute.chain.abi import encode
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.requests import find_request_event
from opml_dispute.chain.system import System
from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import RequestId

MOST_PLACES: Final = 1 << 18
"""Places in the list of requests that are tried, the last ones first: a node may name any length."""

_BEFORE: Final = ("uint256", "address")
_AFTER: Final = ("address", "bytes32", "bytes32", "address", "uint256", "bool", "uint256", "uint256", "uint256")
"""Numbers are as wide as a word, which is how they are encoded, so that none is too large to be held against the id."""


class WrongTerms(OpmlError):
    """What a node tells of a request does not have the request's id."""

    hint = "nothing was staked on it; the RPC endpoint names other terms or another fee: use another --rpc-url"


def expect_terms(system: System, request_id: RequestId, record: RequestRecord) -> None:
    """
    Raises `WrongTerms` unless the id was made of this requester, model, state, terms and fee.

    A fee may be less than it was, once parts of a batch were delivered or it was taken back; the request's event has
    the first one then. Raises `InputUnavailable` if that event is needed and cannot be had.
    """
    count = system.rpc.read(system.oracle.request_count())
    places = range(count - 1, max(-1, count - 1 - MOST_PLACES), -1)
    for fee_wei in _first_fees_wei(system, request_id, record):
        if fee_wei >= record.fee_wei and _has_id(system, request_id, record, fee_wei, places):
            return
    raise WrongTerms(
        f"{system.rpc.url} names terms or a fee of request 0x{request_id.hex()} that do not belong to its id"
    )


def _first_fees_wei(system: System, request_id: RequestId, record: RequestRecord) -> Iterator[int]:
    """What the fee may have been when the request was made: what it is, what its batch had, what its event says."""
    yield record.fee_wei
    if 0 < record.items_left < record.item_count:
        yield record.fee_wei // record.items_left * record.item_count
    if record.fee_wei == 0:
        yield int(find_request_event(system, request_id, record.requested_at_s)["fee"])


def _has_id(system: System, request_id: RequestId, record: RequestRecord, fee_wei: int, places: range) -> bool:
    before = encode(_BEFORE, (system.deployment.chain_id, system.oracle.address))
    after = encode(
        _AFTER,
        (
            record.requester,
            record.model_id,
            record.starting_root,
            record.callback,
            record.callback_gas,
            record.output_by_root,
            record.min_bond_wei,
            record.defenders_bps,
            fee_wei,
        ),
    )
    made = bytes(request_id)
    return any(bytes(keccak256(before + place.to_bytes(32, "big") + after)) == made for place in places)
