"""
A request, and its input image.

The chain keeps the input's root; the image itself is in the event of the request, found again by the request's time
(`find_request_event`), or was published in parts (`input_parts`). `request_image` checks it against the root, so a
lying node is noticed.
"""

from __future__ import annotations

import re
from typing import Any

from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.oracle import InferenceOracle, RequestRecord
from opml_dispute.chain.events import logs_between
from opml_dispute.chain.input_parts import published_image
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcFailed
from opml_dispute.chain.system import System
from opml_dispute.engine.batch_tree import input_root_of
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import RequestId


class UnknownRequest(OpmlError):
    """No request has this id."""

    hint = "list the requests: opml-dispute list --requests"


class InputUnavailable(OpmlError):
    """The request gives its input by root only, or the node's answer does not have that root."""


class InputByRoot(InputUnavailable):
    """The chain has an input's root only, and the URI where the requester says that it is."""

    def __init__(self, request_id: bytes, uri: str) -> None:
        super().__init__(
            f"request 0x{request_id.hex()} gives its input by root only",
            hint=f"fetch the image from {uri or 'its requester'} and give it with --input-image FILE",
        )
        self.uri = uri


def read_request(system: System, request_id: RequestId) -> RequestRecord:
    """The request; raises `UnknownRequest`."""
    try:
        return system.rpc.read(system.oracle.request_of(request_id))
    except Reverted as reverted:
        if reverted.name != "UnknownRequest":
            raise
        raise UnknownRequest(f"the oracle {system.oracle.address} has no request 0x{request_id.hex()}") from None


def parse_request_id(text: str) -> RequestId:
    """A request id as the operator wrote it; raises `UnknownRequest`."""
    raw = parse_hash(text)
    if raw is None:
        raise UnknownRequest(f"{text} is not a request id: that is 0x and 64 hexadecimal digits")
    return RequestId(raw)


def parse_hash(text: str) -> bytes | None:
    """
    32 bytes as the operator wrote them, with or without 0x; None if it is anything else.

    >>> parse_hash("0x" + "ab" * 32) == bytes.fromhex("ab" * 32), parse_hash("0x12")
    (True, None)
    """
    digits = text.removeprefix("0x")
    return bytes.fromhex(digits) if re.fullmatch("[0-9a-fA-F]{64}", digits) else None


def request_image(system: System, request_id: RequestId, record: RequestRecord) -> bytes:
    """
    The INPUT section's content from offset 0, as the requester gave it; of a batch the items', one behind the other.

    Raises `InputByRoot`, `InputUnavailable`.
    """
    event = find_request_event(system.rpc, system.oracle, request_id, record.requested_at_s)
    image = bytes(event["input"])
    if input_root_of(image, record.item_count) != record.input_root:
        if not image:
            published = published_image(system.rpc, system.input_parts, record.input_root)
            if published is not None:
                return published
            raise InputByRoot(request_id, str(event["inputUri"]))
        raise InputUnavailable(
            f"the input that {system.rpc.url} gave for request 0x{request_id.hex()} does not match its root",
            hint="the RPC endpoint returned wrong data: use another --rpc-url",
        )
    return image


def find_request_event(rpc: Rpc, oracle: InferenceOracle, request_id: RequestId, requested_at_s: int) -> dict[str, Any]:
    """The arguments of the request's event. Raises `InputUnavailable` if the node does not have it."""
    first, last = blocks_at(rpc, requested_at_s)
    topics = ["0x" + oracle.artifact().events["InferenceRequested"].topic.hex(), "0x" + request_id.hex()]
    events = oracle.requested(logs_between(rpc, oracle.address, topics, first, last))
    if not events:
        raise InputUnavailable(
            f"{rpc.url} has no event of request 0x{request_id.hex()}",
            hint="the node may have pruned its logs: use one that keeps them",
        )
    return events[0]


def blocks_at(rpc: Rpc, timestamp_s: int) -> tuple[int, int]:
    """
    The first and the last block of that second; if there is none, the first is greater than the last.

    The search goes from the latest block backwards in growing strides, then halves the last stride: ordinary nodes have
    recent blocks only (EIP-4444), and requests are seldom older than a few weeks. Raises `InputUnavailable` if the node
    does not go back so far.
    """
    latest = rpc.head()
    if latest.timestamp < timestamp_s:
        return latest.number + 1, latest.number
    first = _first_block_since(rpc, timestamp_s, latest)
    last = latest.number if latest.timestamp == timestamp_s else _first_block_since(rpc, timestamp_s + 1, latest) - 1
    return first, last


def _first_block_since(rpc: Rpc, timestamp_s: int, latest: Head) -> int:
    """The first block with this time or a later one."""
    young, stride = latest.number, 1  # `young` is not older
    old = -1  # the youngest block that is known to be older, or to be missing
    missing: int | None = None
    while young > 0 and old < 0:
        probe = max(0, young - stride)
        found = _timestamp(rpc, probe)
        if found is None:
            missing, old = probe, probe
        elif found < timestamp_s:
            old = probe
        else:
            young, stride = probe, 2 * stride
    while young - old > 1:
        middle = (young + old) // 2
        found = _timestamp(rpc, middle)
        if found is not None and found >= timestamp_s:
            young = middle
        else:
            old = middle
            missing = middle if found is None else None
    if missing is not None and missing == young - 1 and young > 0 and _timestamp(rpc, young) != timestamp_s:
        raise InputUnavailable(
            f"{rpc.url} has no blocks before {young}, and the request is older", hint="use a node with older blocks"
        )
    return young


def _timestamp(rpc: Rpc, number: int) -> int | None:
    """When a block was made; None if the node does not have it, not even when asked twice."""
    try:
        block = rpc.block(number) or rpc.block(number)
    except RpcFailed as error:
        if error.kind not in (Refusal.MISSING, Refusal.CAPABILITY):
            raise
        return None
    return None if block is None else block.timestamp
