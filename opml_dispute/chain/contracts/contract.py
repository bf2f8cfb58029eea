"""The base class of the contracts: an address, an ABI, calls and events by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

from opml_dispute.chain.abi import decode
from opml_dispute.chain.answers import Log
from opml_dispute.chain.artifacts import Artifact, load_artifact
from opml_dispute.chain.rpc import Call
from opml_dispute.primitives import Address

ZERO_ADDRESS = Address("0x" + "00" * 20)

T = TypeVar("T")


class Contract:
    """One deployed contract; subclasses name its artifact."""

    artifact_name: ClassVar[str]

    def __init__(self, address: Address) -> None:
        self.address = address

    @classmethod
    def artifact(cls) -> Artifact:
        """Its ABI and code."""
        return load_artifact(cls.artifact_name)

    def _call(self, parse: Callable[[Any], T], function: str, *arguments: Any) -> Call[T]:
        artifact = self.artifact()
        return Call(self.address, artifact.functions[function], arguments, artifact.name, parse)

    def events(self, name: str, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """The arguments of every event `name` that this contract emitted, by name."""
        event = self.artifact().events[name]
        found = []
        for log in logs:
            if log.address != self.address or not log.topics or log.topics[0] != event.topic:
                continue
            plain = [kind for kind, indexed in zip(event.inputs, event.indexed, strict=True) if not indexed]
            values = iter(decode(plain, log.data))
            topics = iter(log.topics[1:])
            arguments = {}
            for kind, label, indexed in zip(event.inputs, event.input_names, event.indexed, strict=True):
                arguments[label] = decode([kind], next(topics))[0] if indexed else next(values)
            found.append(arguments)
        return found


def as_it_is(value: Any) -> Any:
    """Parses an answer that is of the right type already."""
    return value
