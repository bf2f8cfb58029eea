"""
A program in one file: `write_program` and `read_program`.

The file holds what cannot be derived: records, weights, the names and shapes of inputs and outputs, and where each
operation comes from. The format, in order: the magic bytes, the length of the description (u64, big-endian), the
description (JSON, keys sorted, no spaces), the records, the weights' data (big-endian), and the SHA-256 of all before.

A file is untrusted input: everything in it is either checked against its records or has no effect on a run:

- there is one file for each program. `read_program` refuses what `write_program` would have written differently;
- blocks of weights, inputs and outputs stand where the compiler would have put them: ascending, aligned, one after
  another. None can hide inside another, so what a run reads is what the model root covers;
- blocks of activations, tiles, kernels and bounds are derived from the records (`derived`), which must satisfy what
  every program satisfies (`rules`) and what the segment demands of a record (native/program/record.c).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opml_dispute import plain_json
from opml_dispute.engine.vm import Block
from opml_dispute.errors import OpmlError
from opml_dispute.model import rules
from opml_dispute.model.derived import TensorSpec
from opml_dispute.model.opcodes import DType
from opml_dispute.model.plan import PlannedSection
from opml_dispute.model.program import BadBlocks, Program
from opml_dispute.model.record import SEC_ARENA, SEC_HEADER, SEC_INPUT, SEC_OUTPUT, SEC_WEIGHTS
from opml_dispute.model.refusals import ModelTooLarge
from opml_dispute.model.tensor import Array
from opml_dispute.primitives import LEAST_LOG2_STEPS, MOST_LOG2_STEPS, RECORD_BYTES

FILE_MAGIC = b"OPMLFILE"
FILE_VERSION = 4
DIGEST_BYTES = hashlib.sha256().digest_size


_MISSHAPEN = (
    *(struct.error, ValueError, TypeError, AttributeError, RecursionError),
    *(LookupError, ArithmeticError),
)
"""What decoding comes to where a number stands for a table, or a key is not there."""


class ProgramFileError(OpmlError):
    """A saved program is missing, cut short, of another version, or not what the compiler writes."""

    hint = "compile the ONNX file again"


def write_program(program: Program, path: Path) -> None:
    """Writes a program into one file; the same program gives the same bytes on any machine."""
    text = _description(program)
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def put(part: bytes) -> None:
            digest.update(part)
            file.write(part)

        put(FILE_MAGIC + struct.pack(">Q", len(text)) + text + program.records)
        for block in program.weights:
            put(_big_endian(np.frombuffer(block.data, dtype=f"u{block.word_bytes}")))
        file.write(digest.digest())


def read_program(path: Path) -> Program:
    """
    Reads what `write_program` wrote.

    Raises `ProgramFileError` if there is no such file, or if it holds anything but exactly those bytes.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for a writer, or never end
            raise ProgramFileError(f"cannot read {path}: it is no regular file; expected a compiled program")
        raw = path.read_bytes()
    except OSError as error:
        raise ProgramFileError(f"cannot read {path}: {error.strerror}; expected a compiled program") from None
    except ValueError:
        raise ProgramFileError(f"cannot read {path}: no file can have this name") from None
    if raw[: len(FILE_MAGIC)] != FILE_MAGIC:
        raise ProgramFileError(f"{path} is not a compiled program")
    if hashlib.sha256(memoryview(raw)[:-DIGEST_BYTES]).digest() != raw[-DIGEST_BYTES:]:
        raise ProgramFileError(f"{path} ({len(raw):,} bytes) is damaged: its checksum is not its own")
    try:
        return _decode(memoryview(raw)[:-DIGEST_BYTES])
    except (_Strange, BadBlocks, ModelTooLarge, rules.BrokenRule) as error:
        raise ProgramFileError(f"{path} is not what the compiler writes: {error}") from None
    except _MISSHAPEN as error:
        raise ProgramFileError(f"{path} is not what the compiler writes: {type(error).__name__}: {error}") from None


class _Strange(Exception):
    """What the compiler would not have written."""


def _description(program: Program) -> bytes:
    """The JSON text: all that records and weights do not say."""
    facts = {
        "version": FILE_VERSION,
        "records": program.node_count,
        "log2_steps": program.log2_steps,
        "weights": [[block.word_bytes, _size(block)] for block in program.weights],
        "inputs": [[spec.name, spec.dtype.name, list(spec.shape)] for spec in program.inputs],
        "outputs": [[spec.name, spec.dtype.name, list(spec.shape)] for spec in program.outputs],
        "origins": [list(origin) for origin in program.origins],
        "notes": list(program.notes),
        "fixed": {
            name: [DType.of(array.dtype).name, list(array.shape), _big_endian(array).hex()]
            for name, array in program.fixed.items()
        },
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _decode(raw: memoryview) -> Program:
    (length,) = struct.unpack_from(">Q", raw, len(FILE_MAGIC))
    start = len(FILE_MAGIC) + 8
    text = bytes(raw[start : start + length])
    facts = plain_json.loads(text)
    if not isinstance(facts, dict) or facts.get("version") != FILE_VERSION:
        found = facts.get("version") if isinstance(facts, dict) else facts
        raise _Strange(f"version {str(found)[:40]!r}; expected {FILE_VERSION}")
    position = start + length
    end = position + RECORD_BYTES * _integer(facts["records"])
    sizes = [(_integer(width), _integer(size)) for width, size in facts["weights"]]
    if any(width not in (1, 2, 4, 8) or size % width or not size for width, size in sizes):
        raise _Strange(f"weights of these widths and sizes: {sizes[:4]}; expected whole words")
    if len(raw) != end + sum(size for _, size in sizes):
        raise _Strange(f"{len(raw):,} bytes; expected {end + sum(size for _, size in sizes):,}")
    program = Program(
        records=bytes(raw[position:end]),
        weights=tuple(_weights(raw, end, sizes)),
        inputs=_specs(facts["inputs"], PlannedSection("input", SEC_INPUT, SEC_OUTPUT)),
        outputs=_specs(facts["outputs"], PlannedSection("output", SEC_OUTPUT, SEC_ARENA)),
        origins=tuple((_text(op_type), _text(name)) for op_type, name in facts["origins"]),
        log2_steps=_log2_steps(facts["log2_steps"]),
        notes=tuple(_text(note) for note in facts["notes"]),
        fixed={_text(name): _array(*parts) for name, parts in facts["fixed"].items()},
    )
    if _description(program) != text:
        raise _Strange("its description is not in the form that the compiler writes")
    rules.check(program)
    return program


def _weights(raw: memoryview, position: int, sizes: Sequence[tuple[int, int]]) -> Iterator[Block]:
    """The blocks of weights, where the compiler puts them."""
    section = PlannedSection("weights", SEC_WEIGHTS, SEC_HEADER)
    for width, size in sizes:
        words = np.frombuffer(raw, f">u{width}", size // width, position)
        yield Block(*section.place(size), words.astype(f"u{width}").data, width, None)
        position += size


def _specs(facts: Sequence[Sequence[Any]], section: PlannedSection) -> tuple[TensorSpec, ...]:
    """Inputs or outputs, where the compiler puts them."""
    specs = []
    for name, dtype, shape in facts:
        sizes = tuple(_integer(size) for size in shape)
        bare = TensorSpec(_text(name), DType[dtype], sizes, 0, 0)
        specs.append(TensorSpec(bare.name, bare.dtype, sizes, *section.place(bare.size_bytes)))
    if len({spec.name for spec in specs}) != len(specs):
        raise _Strange("two inputs or two outputs of one name")
    return tuple(specs)


def _array(dtype: str, shape: Sequence[int], text: str) -> Array:
    """A fixed input's value, bit by bit."""
    kind = DType[dtype]
    words = np.frombuffer(bytes.fromhex(text), f">u{kind.width}").astype(f"u{kind.width}")
    return words.view(kind.numpy).reshape(tuple(_integer(size) for size in shape))


def _integer(value: object) -> int:
    """A size or a count. A bool is none, though Python takes it for one."""
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise _Strange(f"{str(value)[:40]!r} where a size is expected")
    return value


def _log2_steps(value: object) -> int:
    if _integer(value) not in range(LEAST_LOG2_STEPS, MOST_LOG2_STEPS + 1):
        raise _Strange(f"nodes of 2^{value} VM steps; expected 2^{LEAST_LOG2_STEPS} to 2^{MOST_LOG2_STEPS}")
    return _integer(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Strange(f"{str(value)[:40]!r} where text is expected")
    value.encode()  # a lone surrogate is no text
    return value


def _size(block: Block) -> int:
    """Bytes of a block's content."""
    return np.frombuffer(block.data, np.uint8).size


def _big_endian(array: Array) -> bytes:
    width = array.dtype.itemsize
    return np.ascontiguousarray(array).view(f"u{width}").astype(f">u{width}").tobytes()
