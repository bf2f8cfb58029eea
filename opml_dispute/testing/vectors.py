"""
Single-step vectors: one call of the verifier's `step`, and what comes of it.

A file is gzip'd JSON Lines, one vector a line. `read_vectors` reads one, `Vector.to_json` writes a line. Every
implementation of the VM that can step from a witness is a `Stepper`; `replay` holds steppers against what the vectors
say and counts. `EngineStepper` is the engine; the contract's is `evm_verifier.Verifier`.

    {"name": "insn/add/000", "version": 8, "state": "0x…", "proof": "0x…", "context": "0x…", "caller": "0x…",
     "oracle": [{"kind": "local", "ident": 2, "context": "0x…", "word": "0x…", "size": 32, "offset": 0, "key": "0x…"},
                {"kind": "keccak", "offset": 0, "preimage": "0x…"}],
     "post": "0x…" or null}

`version` is 8 if absent. `post` is the state hash; null means that the step has no successor.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from opml_dispute.engine.preimage_key import keccak256_key, localized, localized_key
from opml_dispute.engine.vm import PreimageSource, step_from_witness
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import BASE_VERSION, ML_VERSION, Address, StateHash

GAME: Final = Address("0x00000000000000000000000000000000Ca11e401")
"""Who calls `step` and loads local data, unless a vector says otherwise: the place of a dispute game."""

STRICTER_GROUP: Final = "quirk/"
"""Vectors about one contract's lenient reading of its input, which no game can bring about: refusing is as good."""


class VectorFileError(OpmlError):
    """A file is not what this module reads."""

    hint = "a vector file is gzip'd JSON Lines: opml_dispute/testing/vectors.py describes its fields"


@dataclass(frozen=True)
class Load:
    """One load into the pre-image oracle before the step."""

    kind: str
    """"keccak" or "local"."""
    offset: int
    """Of the part of up to 32 bytes that is loaded, in (8 bytes of length, then the data)."""
    preimage: bytes = b""
    """The data; for "local" all 32 bytes of the word."""
    size_bytes: int = 0
    """How many bytes of a local word count."""
    ident: int = 0
    """Number of the local datum."""
    context: bytes = bytes(32)
    """Salt of the local key."""
    sender: Address | None = None
    """Whose local data it is; None: the step's caller's."""
    key: bytes | None = None
    """The key that the oracle answered when the vector was made; None: not recorded."""


@dataclass(frozen=True)
class Vector:
    """One step and its result."""

    name: str
    """`group/kind/number`."""
    version: int
    """State version: `BASE_VERSION` or `ML_VERSION`."""
    state: bytes
    """188 bytes, unless the vector is about that."""
    proof: bytes
    """In either encoding."""
    context: bytes = bytes(32)
    """Salt of local pre-image keys."""
    caller: Address = GAME
    """Who calls `step`: local pre-images are this account's."""
    loads: tuple[Load, ...] = ()
    """What the oracle is given before the step, in this order."""
    post: StateHash | None = None
    """The next state's hash; None: there is no next state."""
    insn: int | None = field(default=None, compare=False)
    """The instruction word at pc, for the reader."""

    @property
    def ml(self) -> bool:
        """Whether the ML extension is on."""
        return self.version == ML_VERSION

    def to_json(self) -> str:
        """One line of a vector file."""
        entry: dict[str, Any] = {"name": self.name, "version": self.version}
        if self.insn is not None:
            entry["insn"] = f"0x{self.insn:08x}"
        entry |= {
            "state": _hex(self.state),
            "proof": _hex(self.proof),
            "context": _hex(self.context),
            "caller": self.caller,
            "oracle": [_load_entry(load) for load in self.loads],
            "post": None if self.post is None else _hex(self.post),
        }
        return json.dumps(entry)


class Stepper(Protocol):
    """Something that steps from a witness, with an oracle that holds a vector's loads and nothing else."""

    def step_vector(self, vector: Vector) -> StateHash | None:
        """The next state's hash, or None if there is no next state."""
        ...


class EngineStepper:
    """The engine's step from a witness."""

    def step_vector(self, vector: Vector) -> StateHash | None:
        """The next state's hash, or None if there is no next state."""
        return step_from_witness(vector.state, vector.proof, oracle_of(vector), ml=vector.ml).post_hash


@dataclass
class Tally:
    """How one stepper did."""

    agree: int = 0
    """Results equal to the vector's."""
    stricter: int = 0
    """Refusals where the vector has a result, in the group where that is as good."""
    disagreements: list[str] = field(default_factory=list)
    """A line each: name, found, expected."""

    @property
    def disagree(self) -> int:
        """Results that are wrong."""
        return len(self.disagreements)


def read_vectors(path: Path) -> Iterator[Vector]:
    """
    Every vector of a file.

    Raises `VectorFileError` if the file is missing, is not gzip'd JSON Lines, holds nothing, or a line lacks a field.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield _parse(path, number, line)
    except FileNotFoundError:
        raise VectorFileError(f"there is no file {path}") from None
    except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
        raise VectorFileError(f"{path} is not a gzip'd text file: {error}") from None
    except OSError as error:
        raise VectorFileError(f"cannot read {path}: {error.strerror}") from None
    if number == 0:
        raise VectorFileError(f"{path} holds no vectors")


def replay(vectors: Iterable[Vector], steppers: Mapping[str, Stepper]) -> tuple[int, dict[str, Tally]]:
    """Runs every vector through every stepper; answers the number of vectors and a tally for each stepper."""
    count, tallies = 0, {name: Tally() for name in steppers}
    for vector in vectors:
        count += 1
        for name, stepper in steppers.items():
            found, tally = stepper.step_vector(vector), tallies[name]
            if found == vector.post:
                tally.agree += 1
            elif found is None and vector.name.startswith(STRICTER_GROUP):
                tally.stricter += 1
            else:
                tally.disagreements.append(f"{vector.name}: found {_show(found)}, expected {_show(vector.post)}")
    return count, tallies


def oracle_of(vector: Vector) -> PreimageSource:
    """What the pre-image oracle answers after the vector's loads."""
    parts: dict[tuple[bytes, int], bytes] = {}
    lengths: dict[bytes, int] = {}
    for load in vector.loads:
        if load.kind == "keccak":
            key, size = bytes(keccak256_key(load.preimage)), len(load.preimage)
        else:
            owner = Address(load.sender or vector.caller)
            key, size = bytes(localized_key(load.ident, owner, load.context)), load.size_bytes
        parts[key, load.offset] = (size.to_bytes(8, "big") + load.preimage + bytes(32))[load.offset :][:32]
        lengths[key] = size  # a local datum loaded anew may be shorter than before

    def read(key: bytes, offset: int) -> bytes | None:
        if key[0] == 1:
            key = localized(key, Address(vector.caller), vector.context)
        if (part := parts.get((key, offset))) is None or offset > lengths[key] + 8:
            return None
        return part[: lengths[key] + 8 - offset]

    return read


def _parse(path: Path, number: int, line: str) -> Vector:
    try:
        entry = json.loads(line)
        if entry.get("version", BASE_VERSION) not in {BASE_VERSION, ML_VERSION}:
            raise ValueError(f"unknown state version {entry['version']}")
        return Vector(
            name=entry["name"],
            version=entry.get("version", BASE_VERSION),
            state=_bytes(entry["state"]),
            proof=_bytes(entry["proof"]),
            context=_bytes(entry["context"]),
            caller=Address(entry["caller"]),
            loads=tuple(_parse_load(load) for load in entry["oracle"]),
            post=None if entry["post"] is None else StateHash(_bytes(entry["post"])),
            insn=int(entry["insn"], 16) if entry.get("insn") else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VectorFileError(f"{path}, line {number}, is not a vector: {type(error).__name__} {error}") from None


def _parse_load(entry: dict[str, Any]) -> Load:
    if entry["kind"] == "keccak":
        return Load("keccak", _int(entry["offset"]), _bytes(entry["preimage"]))
    if entry["kind"] != "local":
        raise ValueError(f"unknown kind of load {entry['kind']!r}")
    return Load(
        kind="local",
        offset=_int(entry["offset"]),
        preimage=_bytes(entry["word"]),
        size_bytes=_int(entry["size"]),
        ident=_int(entry["ident"]),
        context=_bytes(entry["context"]),
        sender=Address(entry["sender"]) if "sender" in entry else None,
        key=_bytes(entry["key"]) if "key" in entry else None,
    )


def _load_entry(load: Load) -> dict[str, Any]:
    if load.kind == "keccak":
        return {"kind": "keccak", "offset": load.offset, "preimage": _hex(load.preimage)}
    entry: dict[str, Any] = {
        "kind": "local",
        "ident": f"0x{load.ident:064x}",
        "context": _hex(load.context),
        "word": _hex(load.preimage),
        "size": load.size_bytes,
        "offset": load.offset,
    }
    if load.key is not None:
        entry["key"] = _hex(load.key)
    if load.sender is not None:
        entry["sender"] = load.sender
    return entry


def _int(value: int | str) -> int:
    return value if isinstance(value, int) else int(value, 0)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _show(post: bytes | None) -> str:
    return "no next state" if post is None else _hex(post)
