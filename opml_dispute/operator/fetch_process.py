"""
A model or an input, fetched into a store by a process of its own.

Fetching takes long, and compiling an untrusted model takes a processor and memory; an agent that has moves to make
leaves both to another process. `python -m opml_dispute.operator.fetch_process` reads a `FetchOrder` as JSON and says
how it went.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from opml_dispute.availability.fetching import CannotFetch, Fetcher, FetchPolicy
from opml_dispute.availability.store import input_name, program_name
from opml_dispute.chain.contracts.oracle import RegisteredModel
from opml_dispute.compute.workers import watch_memory
from opml_dispute.errors import OpmlError
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Hash32, ModelId


@dataclass(frozen=True)
class FetchOrder:
    """What to fetch: the program of a model, or (with `input_root`) an input of it."""

    model_id: ModelId
    registered: RegisteredModel
    input_root: bytes | None = None
    input_uri: str = ""
    fresh: bool = False
    """Fetch it even if it is here: to know whether others could."""

    @property
    def what(self) -> str:
        """For sentences."""
        return f"model 0x{self.model_id.hex()}" if self.input_root is None else f"input 0x{self.input_root.hex()}"

    @property
    def name(self) -> str:
        """In the store."""
        return program_name(self.registered.model_root) if self.input_root is None else input_name(self.input_root)

    @property
    def uri(self) -> str:
        """Where it is said to be."""
        return self.registered.uri if self.input_root is None else self.input_uri


def fetch_into_store(store: ModelStore, order: FetchOrder) -> None:
    """Has it in the store, checked. Raises what finding it raises."""
    model_id, registered = order.model_id, order.registered
    if order.input_root is None and order.fresh:
        store.fetch_program(model_id, registered)
    elif order.input_root is None:
        store.ensure_program(model_id, registered)
    elif order.fresh:
        store.fetch_image(order.input_root, order.input_uri, registered.input_bytes)
    else:
        store.image(order.input_root, order.input_uri, registered.input_bytes)


def order_text(store: ModelStore, order: FetchOrder) -> str:
    """An order for the other process."""
    registered = asdict(order.registered) | {"model_root": bytes(order.registered.model_root).hex()}
    return json.dumps(
        {
            "folder": str(store.folder),
            "policy": asdict(store.fetcher.policy),
            "quota_bytes": store.quota_bytes,
            "model_id": order.model_id.hex(),
            "registered": registered,
            "input_root": None if order.input_root is None else order.input_root.hex(),
            "input_uri": order.input_uri,
            "fresh": order.fresh,
        }
    )


def main() -> None:
    """Fetches what standard input orders; prints {} or the error."""
    parser = argparse.ArgumentParser(prog="opml_dispute.operator.fetch_process")
    parser.add_argument("--memory", type=int, help="bytes that this process may hold")
    memory_bytes = parser.parse_args().memory
    if memory_bytes is not None:
        watch_memory(memory_bytes)
    raw: dict[str, Any] = json.loads(sys.stdin.read())
    policy = FetchPolicy(**(raw["policy"] | {name: tuple(raw["policy"][name]) for name in ("gateways", "blobs")}))
    store = ModelStore(Path(raw["folder"]), Fetcher(policy), quota_bytes=raw["quota_bytes"])
    told = raw["registered"]
    registered = RegisteredModel(**(told | {"model_root": Hash32(bytes.fromhex(told["model_root"]))}))
    input_root = None if raw["input_root"] is None else bytes.fromhex(raw["input_root"])
    order = FetchOrder(
        ModelId(bytes.fromhex(raw["model_id"])), registered, input_root, raw["input_uri"], fresh=raw["fresh"]
    )
    answer: dict[str, Any] = {}
    try:
        fetch_into_store(store, order)
    except OpmlError as error:
        answer = {"error": str(error), "hint": error.hint, "passes": isinstance(error, CannotFetch) and error.passes}
    except MemoryError:
        answer = {"error": "there is not enough memory to compile it", "hint": None, "passes": False}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
