"""
The terms of a request, held against its id.

The oracle makes a request's id of its own address, its place in the list, and all that was asked for: by whom, of which
model, from which state, with which terms and for which fee. So the answer of a node about a request needs no belief:
`expect_terms` makes the id again.

A request does not tell its place in the list. The last places are tried first; an older request is where the list comes
to its time, which takes two readings for each halving of the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from opml_dispute.chain.abi import encode
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.requests import find_request_event
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.system import System
from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import RequestId

RECENT_PLACES: Final = 1 << 12
"""Places in the list of requests that are tried before the time of a request is looked for."""

MOST_PLACES: Final = 1 << 18
"""Places that are tried in all, and requests of one second that are: a node may name any length and any times."""

_LONGEST_LIST: Final = 1 << 40
"""No chain gets to so many requests."""

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
    fees_wei = [fee for fee in _first_fees_wei(system, request_id, record) if fee >= record.fee_wei]
    for places in _places(system, record, count):
        if any(_has_id(system, request_id, record, fee_wei, places) for fee_wei in fees_wei):
            return
    raise WrongTerms(
        f"{system.rpc.url} names terms or a fee of request 0x{request_id.hex()} that do not belong to its id"
    )


def _places(system: System, record: RequestRecord, count: int) -> Iterator[range]:
    """Where in a list of that length the request may be: the likeliest places first."""
    yield range(count - 1, max(-1, count - 1 - RECENT_PLACES), -1)
    if count <= RECENT_PLACES:
        return
    end = min(count, _LONGEST_LIST)
    first = _first_since(system, record.requested_at_s, end)
    after = _first_since(system, record.requested_at_s + 1, end)
    yield range(first, min(after, first + MOST_PLACES))
    yield range(count - 1 - RECENT_PLACES, max(-1, count - 1 - MOST_PLACES), -1)


def _first_since(system: System, time_s: int, end: int) -> int:
    """The first place, before `end`, of a request of that time or later; `end` if there is none."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        made_at_s = _requested_at_s(system, middle)
        if made_at_s is not None and made_at_s < time_s:
            low = middle + 1
        else:
            high = middle
    return low


def _requested_at_s(system: System, place: int) -> int | None:
    """When the request at a place was made; None if the list is not so long."""
    try:
        id_ = system.rpc.read(system.oracle.request_id_at(place))
        return system.rpc.read(system.oracle.request_of(id_)).requested_at_s
    except Reverted:
        return None


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
