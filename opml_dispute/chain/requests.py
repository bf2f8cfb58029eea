"""
A request, and its input image.

The chain keeps the input's root; the image itself is in the event of the request, found again by the request's time
(`find_request_event`), or was published in parts (`input_parts`) or in blobs (`blob_places`). `request_image` checks it
against the root, so a lying node is noticed.
"""

from __future__ import annotations

import re
from typing import Any

from opml_dispute.chain.blob_places import PUBLISHED_SCHEME, blob_uri_of
from opml_dispute.chain.block_times import BlocksMissing
from opml_dispute.chain.contracts.oracle import RequestRecord
from opml_dispute.chain.events import logs_between
from opml_dispute.chain.input_parts import published_image
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.system import System
from opml_dispute.engine.batch_tree import input_root_of
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import RequestId


class UnknownRequest(OpmlError):
    """No request has this id."""

    is_told_by_node = True
    hint = "list the requests: opml-dispute list --requests"


class InputUnavailable(OpmlError):
    """The request gives its input by root only, or the node's answer does not have that root."""

    is_told_by_node = True


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
        is_an_address = re.fullmatch("0x[0-9a-fA-F]{40}", text) is not None
        raise UnknownRequest(
            f"{text} is not a request id: that is 0x and 64 hexadecimal digits",
            hint=f"it is as long as an address; a game's request is shown by: opml-dispute show {text}"
            if is_an_address
            else None,
        )
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
    event = find_request_event(system, request_id, record.requested_at_s)
    image = bytes(event["input"])
    if input_root_of(image, record.item_count) != record.input_root:
        if not image:
            published = published_image(system.rpc, system.input_parts, record.input_root)
            if published is not None:
                return published
            raise InputByRoot(request_id, _where(system, record.input_root, str(event["inputUri"])))
        raise InputUnavailable(
            f"the input that {system.rpc.url} gave for request 0x{request_id.hex()} does not match its root",
            hint="the RPC endpoint returned wrong data: use another --rpc-url",
        )
    return image


def _where(system: System, input_root: bytes, told: str) -> str:
    """
    The URI of an input that the chain has by its root: where the requester says that it is, or in which blobs.

    A request without a URI counts as one in blobs, as far as there are any.
    """
    if told and not told.startswith(f"{PUBLISHED_SCHEME}:"):
        return told
    return blob_uri_of(system.rpc, system.input_blobs, input_root) or told


def find_request_event(system: System, request_id: RequestId, requested_at_s: int) -> dict[str, Any]:
    """The arguments of the request's event. Raises `InputUnavailable` if the node does not have it."""
    event = _event_at(system, request_id, requested_at_s)
    if event is None:
        # The node that was asked may have lagged behind the request's block, or the chain have been reorganised more
        # deeply than is usual.
        system.block_times.forget()
        event = _event_at(system, request_id, requested_at_s)
    if event is None:
        raise InputUnavailable(
            f"{system.rpc.url} has no event of request 0x{request_id.hex()}",
            hint="the node may have pruned its logs: use one that keeps them",
        )
    return event


def _event_at(system: System, request_id: RequestId, requested_at_s: int) -> dict[str, Any] | None:
    try:
        first, last = system.block_times.span(requested_at_s)
    except BlocksMissing as error:
        raise InputUnavailable(f"{error}, and the request is older", hint=error.hint) from None
    topics = ["0x" + system.oracle.artifact().events["InferenceRequested"].topic.hex(), "0x" + request_id.hex()]
    events = system.oracle.requested(logs_between(system.rpc, system.oracle.address, topics, first, last))
    return events[0] if events else None
