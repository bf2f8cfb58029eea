"""
What a worker is asked and what it answers: JSON, with bytes in hexadecimal.

Nothing is pickled: a worker runs untrusted models, and what it sends back is read as data by a process that has a
key. `message_bytes` and `message_of` are for both directions; `as_error` and `raise_error` carry errors across.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from opml_dispute import plain_json
from opml_dispute.availability.store import program_name
from opml_dispute.engine.item_result import ItemResult
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Hash32, StateRoot
from opml_dispute.trace.phases import NodeRun
from opml_dispute.trace.provider import TraceError

MAX_MESSAGE_BYTES: Final = 1 << 30
"""An output of 256 MiB in hexadecimal, and some."""


class BadMessage(OpmlError):
    """A worker's message cannot be read."""


class ComputeFailed(OpmlError):
    """Workers could not compute something, and not because of the game."""

    hint = "other games are not affected; more memory for a worker: compute.memory"


class StoreLacks(ComputeFailed):
    """The store's copy of a program or an input is damaged, or is there no more: it has to be fetched again."""


class ProgramUnusable(StoreLacks):
    """The store's copy of a program is damaged."""


class InferenceTooLarge(OpmlError):
    """There is not enough memory for an inference."""

    hint = "use a machine with more memory for this model; other games are not affected"


@dataclass(frozen=True)
class CaseFiles:
    """What a worker needs to open a case: a program by its root, kept in the store, and the input."""

    key: str
    model_root: bytes
    read_image: Callable[[], bytes]
    """Gives the input, at each opening: inputs of many cases need not be in memory together."""
    item_count: int = 1
    """Of a batch; its input is its items' images, one behind the other."""

    @property
    def program_name(self) -> str:
        """How the store calls the program."""
        return program_name(self.model_root)


def message_bytes(message: Mapping[str, Any]) -> bytes:
    """A message as bytes."""
    return json.dumps(message, default=_plain, separators=(",", ":")).encode()


def message_of(raw: bytes) -> dict[str, Any]:
    """Bytes as a message. Raises `BadMessage`."""
    try:
        message = plain_json.loads(raw.decode())
    except ValueError:
        raise BadMessage("a worker sent what is no message") from None
    if not isinstance(message, dict):
        raise BadMessage("a worker sent what is no message")
    return message


def _plain(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    raise TypeError(f"{type(value).__name__} cannot be sent")


def bytes_of(message: Mapping[str, Any], key: str, size: int | None = None) -> bytes:
    """The bytes under a key. Raises `BadMessage`."""
    value = message.get(key)
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        raw = None
    if raw is None or (size is not None and len(raw) != size):
        raise BadMessage(f"a worker's answer has no {key}")
    return raw


def integer_of(message: Mapping[str, Any], key: str) -> int:
    """The integer under a key. Raises `BadMessage`."""
    value = message.get(key)
    if type(value) is not int:
        raise BadMessage(f"a worker's answer has no {key}")
    return value


# ---- runs ----


def run_message(run: NodeRun) -> dict[str, Any]:
    """A run of a node in the VM."""
    return {
        "game": run.game,
        "context": run.local_context,
        "node": run.node_index,
        "start": run.starting_root,
        "local": {str(int(ident)): data for ident, data in run.local.items()},
        "depth": run.depth,
    }


def run_of(message: Mapping[str, Any]) -> NodeRun:
    """The run of a message. Raises `BadMessage`."""
    local = message.get("local")
    if not isinstance(local, dict) or not isinstance(message.get("game"), str):
        raise BadMessage("a run of a node cannot be read")
    return NodeRun(
        game=str(message["game"]),
        local_context=bytes_of(message, "context", 32),
        node_index=integer_of(message, "node"),
        starting_root=bytes_of(message, "start", 32),
        local={int(ident): bytes.fromhex(data) for ident, data in local.items()},
        depth=integer_of(message, "depth"),
    )


# ---- items of a batch ----


def items_message(results: Sequence[ItemResult]) -> dict[str, Any]:
    """What became of each item."""
    return {"items": [asdict(result) for result in results]}


def items_of(message: Mapping[str, Any]) -> list[ItemResult]:
    """The items of a message. Raises `BadMessage`."""
    items = message.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadMessage("a worker's answer has no items")
    return [
        ItemResult(
            item=integer_of(item, "item"),
            root=StateRoot(bytes_of(item, "root", 32)),
            status=integer_of(item, "status"),
            fault_node=integer_of(item, "fault_node"),
            input_root=Hash32(bytes_of(item, "input_root", 32)),
            arena_root=Hash32(bytes_of(item, "arena_root", 32)),
            output_image=bytes_of(item, "output_image"),
        )
        for item in items
    ]


# ---- errors ----


def as_error(error: BaseException) -> dict[str, Any]:
    """An error as an answer."""
    if isinstance(error, MemoryError):
        return {"error": "memory", "what": "there is not enough memory", "hint": None}
    if isinstance(error, TraceError):
        return {"error": "trace", "what": str(error), "hint": error.hint}
    if isinstance(error, OpmlError):
        return {"error": "refused", "what": str(error), "hint": error.hint}
    return {"error": "bug", "what": f"{type(error).__name__}: {error}", "hint": None}


def raise_error(answer: Mapping[str, Any]) -> None:
    """Raises the error that an answer carries, if it carries one; what a worker says is one line of text at most."""
    kind = answer.get("error")
    if kind is None:
        return
    what, hint = " ".join(str(answer.get("what")).split())[:2_000], answer.get("hint")
    shown = hint if isinstance(hint, str) else None
    if kind == "memory":
        raise MemoryError
    if kind == "trace":
        raise TraceError(what, hint=shown)
    if kind == "refused":
        raise OpmlError(what, hint=shown)
    raise ComputeFailed(f"a worker met a bug: {what}")
