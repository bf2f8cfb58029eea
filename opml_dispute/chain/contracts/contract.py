"""The base class of the contracts: an address, an ABI, calls and events by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

from opml_dispute.chain.abi import Undecodable, decode
from opml_dispute.chain.answers import Log
from opml_dispute.chain.artifacts import Artifact, Signature, load_artifact
from opml_dispute.chain.rpc import Call, UnexpectedAnswer
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

    def event(self, name: str, logs: Iterable[Log]) -> dict[str, Any]:
        """The arguments of the event that a transaction made; raises `UnexpectedAnswer` unless it is one."""
        found = self.events(name, logs)
        if len(found) != 1:
            raise UnexpectedAnswer(
                f"the node's receipt has {len(found)} events {name} of {self.address}; expected one",
                hint="the transaction is mined: look at its effect on the chain, with another --rpc-url",
            )
        return found[0]

    def events(self, name: str, logs: Iterable[Log]) -> list[dict[str, Any]]:
        """
        The arguments of every event `name` that this contract emitted, by name.

        Raises `UnexpectedAnswer` if one does not have the form of such an event.
        """
        event = self.artifact().events[name]
        found = []
        for log in logs:
            if log.address != self.address or not log.topics or log.topics[0] != event.topic:
                continue
            try:
                found.append(_arguments(event, log))
            except Undecodable as error:
                raise UnexpectedAnswer(
                    f"the node's event {name} of {self.address} does not decode: {error}",
                    hint="the RPC endpoint returned wrong data: use another --rpc-url",
                ) from None
        return found


def _arguments(event: Signature, log: Log) -> dict[str, Any]:
    """An event's arguments by name. Raises `Undecodable`."""
    plain = [kind for kind, indexed in zip(event.inputs, event.indexed, strict=True) if not indexed]
    if len(log.topics) != 1 + len(event.inputs) - len(plain):
        raise Undecodable(f"it has {len(log.topics)} topics")
    values, topics = iter(decode(plain, log.data)), iter(log.topics[1:])
    return {
        label: decode([kind], next(topics))[0] if indexed else next(values)
        for kind, label, indexed in zip(event.inputs, event.input_names, event.indexed, strict=True)
    }


def as_it_is(value: Any) -> Any:
    """Parses an answer that is of the right type already."""
    return value
