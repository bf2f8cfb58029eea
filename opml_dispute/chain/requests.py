"""
What was asked for: a request, and the input image that came with it.

The chain keeps the input's root; the image itself is in the event of the request, found again by the request's time
(`find_request_log`), whatever range of logs the node is willing to search. `input_image` checks it against the root,
so a lying node is noticed.
"""

from __future__ import annotations

import re
from typing import Any

from opml_dispute.chain.contracts import InferenceOracle, RequestRecord
from opml_dispute.chain.deploy import System
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import read_log
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import RequestId

INPUT_LOG2_SIZE = 36


class UnknownRequest(OpmlError):
    """No request has this id."""

    hint = "list the requests: opml-dispute list --requests"


class InputUnavailable(OpmlError):
    """The request names its input by root only, or what the node gave is not it."""


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


def input_image(system: System, request_id: RequestId, record: RequestRecord) -> bytes:
    """The INPUT section's content, from offset 0, as the requester gave it. Raises `InputUnavailable`."""
    event = find_request_event(system.rpc, system.oracle, request_id, record.requested_at_s)
    image = bytes(event["input"])
    if merkle_root(image, INPUT_LOG2_SIZE) != record.input_root:
        if not image:
            raise InputUnavailable(
                f"request 0x{request_id.hex()} gives its input by root only",
                hint=f"fetch the image from {event['inputUri'] or 'its requester'} and give it with --input-image FILE",
            )
        raise InputUnavailable(
            f"the input that {system.rpc.url} gave for request 0x{request_id.hex()} does not match its root",
            hint="the node is wrong: use another --rpc-url",
        )
    return image


def find_request_event(rpc: Rpc, oracle: InferenceOracle, request_id: RequestId, requested_at_s: int) -> dict[str, Any]:
    """The arguments of the request's event. Raises `InputUnavailable` if the node does not have it."""
    first = _first_block_at(rpc, requested_at_s)
    last = _first_block_at(rpc, requested_at_s + 1) - 1
    topics = ["0x" + oracle.artifact().events["InferenceRequested"].topic.hex(), "0x" + request_id.hex()]
    filter_ = {"address": oracle.address, "fromBlock": hex(first), "toBlock": hex(last), "topics": topics}
    logs = rpc.request("eth_getLogs", filter_)
    events = oracle.requested(read_log(log) for log in logs)
    if not events:
        raise InputUnavailable(
            f"{rpc.url} has no event of request 0x{request_id.hex()}",
            hint="the node may have pruned its logs: use one that keeps them",
        )
    return events[0]


def _first_block_at(rpc: Rpc, timestamp_s: int) -> int:
    """The first block that is not older than that; one past the latest if all are."""
    low, high = 0, rpc.head().number + 1
    while low < high:
        middle = (low + high) // 2
        block = rpc.request("eth_getBlockByNumber", hex(middle), False)
        if block is None:
            raise InputUnavailable(f"{rpc.url} does not have block {middle}", hint="use a node with the whole chain")
        if int(block["timestamp"], 16) < timestamp_s:
            low = middle + 1
        else:
            high = middle
    return low
