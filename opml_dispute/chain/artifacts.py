"""
Compiled contracts, as the package holds them: `load_artifact("FaultDisputeGame")` gives one contract's ABI and creation
code.

`toolchain/solidity.py` builds them, and they are kept in the package itself, so an installed package needs no compiler.
`error_signatures` looks up which error four bytes mean, in any of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from opml_dispute.chain.abi import canonical_type
from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.toolchain.solidity import ARTIFACTS_DIR


class ArtifactMissing(OpmlError):
    """A compiled contract is not where the package keeps them."""

    hint = "compile the contracts: python -m opml_dispute.toolchain.solidity (the project's scripts do it)"


@dataclass(frozen=True)
class Signature:
    """A function, error or event of an ABI, with what is needed to encode and decode it."""

    name: str
    inputs: tuple[str, ...]
    """Canonical ABI types, tuples written out."""
    input_names: tuple[str, ...]
    outputs: tuple[str, ...]
    kind: str
    """"function", "error" or "event"."""
    indexed: tuple[bool, ...] = ()
    """Events only: which inputs are topics."""

    @property
    def text(self) -> str:
        """As hashed for the selector: `attack(bytes32,uint256,bytes32)`."""
        return f"{self.name}({','.join(self.inputs)})"

    @cached_property
    def selector(self) -> bytes:
        """The first four bytes of the signature's hash."""
        return keccak256(self.text.encode())[:4]

    @cached_property
    def topic(self) -> bytes:
        """The whole hash: an event's first topic."""
        return keccak256(self.text.encode())


@dataclass(frozen=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    """Creation code, without constructor arguments; empty for an interface."""
    runtime_bytes: int
    """Size of the deployed code."""
    functions: dict[str, Signature]
    """By full signature, and by bare name where that is unambiguous."""
    errors: dict[bytes, Signature]
    """By selector."""
    events: dict[str, Signature]
    """By name."""
    constructor_inputs: tuple[str, ...]


def _signature(entry: dict[str, Any]) -> Signature:
    inputs = entry.get("inputs", [])
    return Signature(
        name=entry["name"],
        inputs=tuple(canonical_type(item) for item in inputs),
        input_names=tuple(item.get("name", "") for item in inputs),
        outputs=tuple(canonical_type(item) for item in entry.get("outputs", [])),
        kind=entry["type"],
        indexed=tuple(bool(item.get("indexed")) for item in inputs),
    )


@cache
def load_artifact(name: str) -> Artifact:
    """
    The compiled contract of that name.

    Raises `ArtifactMissing` if the package holds none.
    """
    path = ARTIFACTS_DIR / f"{name}.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactMissing(f"the compiled contract {name} is not at {path}") from None
    except ValueError as error:
        raise ArtifactMissing(f"{path} is not a compiled contract: {error}") from None
    return parse_artifact(raw)


def parse_artifact(raw: dict[str, Any]) -> Artifact:
    """A compiled contract from what `toolchain.solidity` writes: name, abi, bytecode and runtime_bytes."""
    functions: dict[str, Signature] = {}
    bare: dict[str, list[Signature]] = {}
    errors: dict[bytes, Signature] = {}
    events: dict[str, Signature] = {}
    constructor: tuple[str, ...] = ()
    for entry in raw["abi"]:
        match entry["type"]:
            case "function":
                signature = _signature(entry)
                functions[signature.text] = signature
                bare.setdefault(signature.name, []).append(signature)
            case "error":
                errors[_signature(entry).selector] = _signature(entry)
            case "event":
                events[entry["name"]] = _signature(entry)
            case "constructor":
                constructor = tuple(canonical_type(item) for item in entry["inputs"])
    functions |= {text: same[0] for text, same in bare.items() if len(same) == 1}
    return Artifact(
        name=raw["name"],
        abi=tuple(raw["abi"]),
        bytecode=bytes.fromhex(raw["bytecode"][2:]),
        runtime_bytes=raw["runtime_bytes"],
        functions=functions,
        errors=errors,
        events=events,
        constructor_inputs=constructor,
    )


@cache
def names() -> tuple[str, ...]:
    """Every compiled contract the package holds, sorted."""
    found = tuple(sorted(path.stem for path in ARTIFACTS_DIR.glob("*.json")))
    if not found:
        raise ArtifactMissing(f"there are no compiled contracts in {ARTIFACTS_DIR}")
    return found


@cache
def error_signatures() -> dict[bytes, Signature]:
    """Selector -> custom error, over all contracts: an inner contract's error bubbles up through an outer one's."""
    return {selector: error for name in names() for selector, error in load_artifact(name).errors.items()}
