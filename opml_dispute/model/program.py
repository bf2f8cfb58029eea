"""
A program: a model compiled for given shapes, ready to be run, registered and disputed.

`Program` holds the node records, the weights and where everything lies in the segment, and what people need to
read it (`NodeInfo`). Its bytes, and so its `model_root`, depend on the model's file and shapes alone. `save` and
`load` keep it in one file.
"""

from __future__ import annotations

import hashlib
import json
import struct
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from opml_dispute.engine.hashing import keccak256, merkle_root, zero_root
from opml_dispute.engine.vm import Block
from opml_dispute.errors import OpmlError
from opml_dispute.model.opcodes import DType
from opml_dispute.model.record import RECORD_BYTES, SEC_PROGRAM, SEC_WEIGHTS, Record, program_header
from opml_dispute.model.tensor import Array, Shape
from opml_dispute.primitives import Hash32

FILE_MAGIC = b"OPMLFILE"
FILE_VERSION = 2
DIGEST_BYTES = hashlib.sha256().digest_size
MODEL_LOG2_SIZE = 39
"""Program and weights are the lower half of the segment."""


class ProgramFileError(OpmlError):
    """A saved program is missing, cut short, or of another version."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of the model, and its block."""

    name: str
    dtype: DType
    shape: Shape
    offset: int
    """Bytes from the segment's base."""
    log2_size: int
    """Of the block, not of the tensor."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor itself, from the block's start."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.width


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """A block of INPUT, OUTPUT or ARENA, and the part of the run during which it holds something."""

    offset: int
    """Bytes from the segment's base, a multiple of 2**log2_size."""
    log2_size: int
    word_bytes: int
    """Width of the elements that lie here, for as long as any do."""
    born_node: int
    """The first node that writes here; -1 for an input, which is there from the start."""
    freed_node: int | None
    """The node after which the block is zero again; None if it stays to the end."""
    size_bytes: int
    """Bytes that are ever written, from the block's start; the rest is zero."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """Where a node comes from and what it costs: for people, not part of the program's bytes."""

    op_type: str
    """The ONNX operator."""
    name: str
    """The ONNX node's name, or that of its first output."""
    kernel: str
    """The kernel, with its function: BINARY.ADD."""
    record_index: int
    tile: int
    """Counted from 0."""
    tiles: int
    """Nodes that the operation was cut into."""
    estimated_steps: int
    """VM steps, at most."""


@dataclass(frozen=True)
class Program:
    """A compiled model."""

    records: bytes
    """All node records, 512 bytes each, big-endian."""
    weights: tuple[Block, ...]
    """What the WEIGHTS section holds; data in the host's byte order."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    blocks: tuple[PlannedBlock, ...]
    nodes: tuple[NodeInfo, ...]
    notes: tuple[str, ...] = ()
    """What the reader should know: choices that the compiler made and that change results."""
    fixed: Mapping[str, Array] = field(default_factory=dict)
    """Inputs of the ONNX model that were given a value when compiling."""

    @property
    def node_count(self) -> int:
        return len(self.records) // RECORD_BYTES

    @property
    def input_bytes(self) -> int:
        """Length of the input image: the INPUT section up to the end of the last tensor."""
        return _image_bytes(self.inputs)

    @property
    def output_bytes(self) -> int:
        """Length of the output image: the OUTPUT section up to the end of the last tensor."""
        return _image_bytes(self.outputs)

    @property
    def header_bytes(self) -> bytes:
        """The 512 bytes before the records."""
        return program_header(self.node_count, self.input_bytes, self.output_bytes)

    @property
    def step_bound(self) -> int:
        """VM steps that no node exceeds; fixes the depth of a dispute's second phase."""
        return max(node.estimated_steps for node in self.nodes)

    @property
    def weights_bytes(self) -> int:
        """Bytes of all weights, without what the blocks' sizes round up."""
        return sum(_size(block) for block in self.weights)

    def record(self, node_index: int) -> Record:
        """What node `node_index` does. Raises `IndexError` if there is no such node."""
        if not 0 <= node_index < self.node_count:
            raise IndexError(f"node {node_index} of a program of {self.node_count} nodes")
        start = RECORD_BYTES * node_index
        return Record.unpack(self.records[start : start + RECORD_BYTES])

    @cached_property
    def model_blocks(self) -> tuple[Block, ...]:
        """The content of the lower half of the segment: the program, then the weights."""
        image = self.header_bytes + self.records
        log2_size = max(6, (len(image) - 1).bit_length())
        return (Block(SEC_PROGRAM, log2_size, image, 1, None), *self.weights)

    @cached_property
    def model_root(self) -> Hash32:
        """The Merkle root of program and weights: what a model is registered by."""
        return Hash32(_root(self.model_blocks, 0, MODEL_LOG2_SIZE))

    def save(self, path: Path) -> None:
        """
        Writes the program into one file; the same program gives the same bytes on any machine.

        The file ends with the SHA-256 of all before it. What a dispute is about, records and weights, has the model
        root too; but with the place or shape of an input damaged, a request would ask something else than was meant.
        """
        facts = {
            "version": FILE_VERSION,
            "records": len(self.records),
            "weights": [[block.offset, block.log2_size, block.word_bytes, _size(block)] for block in self.weights],
            "inputs": [asdict(spec) for spec in self.inputs],
            "outputs": [asdict(spec) for spec in self.outputs],
            "blocks": [list(asdict(block).values()) for block in self.blocks],
            "nodes": [list(asdict(node).values()) for node in self.nodes],
            "notes": list(self.notes),
            "fixed": {
                name: [DType.of(array.dtype).name, list(array.shape), _big_endian(array).hex()]
                for name, array in self.fixed.items()
            },
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256()
        with path.open("wb") as file:

            def put(part: bytes) -> None:
                digest.update(part)
                file.write(part)

            put(FILE_MAGIC + struct.pack(">Q", len(text)) + text + self.records)
            for block in self.weights:
                put(_big_endian(np.frombuffer(block.data, dtype=f"u{block.word_bytes}")))
            file.write(digest.digest())

    @classmethod
    def load(cls, path: Path) -> Program:
        """Reads what `save` wrote. Raises `ProgramFileError` if the file is not such a program, or not whole."""
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ProgramFileError(f"cannot read {path}: {error.strerror}; expected a compiled program") from None
        if raw[:8] != FILE_MAGIC:
            raise ProgramFileError(f"{path} is not a compiled program", hint="compile the ONNX file again")
        if hashlib.sha256(memoryview(raw)[:-DIGEST_BYTES]).digest() != raw[-DIGEST_BYTES:]:
            raise ProgramFileError(
                f"{path} ({len(raw):,} bytes) is damaged, or of another version: its checksum is not its own",
                hint="compile the ONNX file again",
            )
        try:
            return cls._decode(memoryview(raw)[:-DIGEST_BYTES])
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise ProgramFileError(
                f"{path} ({len(raw):,} bytes) is damaged or of another version: {error}",
                hint="compile the ONNX file again",
            ) from None

    @classmethod
    def _decode(cls, raw: memoryview) -> Program:
        (length,) = struct.unpack_from(">Q", raw, 8)
        facts: dict[str, Any] = json.loads(bytes(raw[16 : 16 + length]))
        if facts["version"] != FILE_VERSION:
            raise ValueError(f"version {facts['version']}; expected {FILE_VERSION}")
        position = 16 + length + facts["records"]
        total = position + sum(size for *_, size in facts["weights"])
        if len(raw) != total:
            raise ValueError(f"{len(raw):,} bytes; expected {total:,}")
        records = bytes(raw[position - facts["records"] : position])
        weights = []
        for offset, log2_size, word_bytes, size in facts["weights"]:
            words = np.frombuffer(raw, f">u{word_bytes}", size // word_bytes, position)
            weights.append(Block(offset, log2_size, words.astype(f"u{word_bytes}").data, word_bytes, None))
            position += size
        fixed = {
            name: np.frombuffer(bytes.fromhex(text), DType[dtype].numpy.newbyteorder(">"))
            .astype(DType[dtype].numpy)
            .reshape(shape)
            for name, (dtype, shape, text) in facts["fixed"].items()
        }
        return cls(
            records,
            tuple(weights),
            _specs(facts["inputs"]),
            _specs(facts["outputs"]),
            tuple(PlannedBlock(*fields) for fields in facts["blocks"]),
            tuple(NodeInfo(*fields) for fields in facts["nodes"]),
            tuple(facts["notes"]),
            fixed,
        )


def _root(blocks: Sequence[Block], offset: int, log2_size: int) -> bytes:
    """The root of 2**log2_size bytes at `offset`: `blocks` (those inside, ascending), and zeros between them."""
    if not blocks:
        return zero_root(log2_size)
    first = blocks[0]
    if first.log2_size == log2_size:
        return first.root or merkle_root(first.data, log2_size, first.word_bytes)
    middle = offset + (1 << log2_size - 1)
    split = bisect_left(blocks, middle, key=lambda block: block.offset)
    left = _root(blocks[:split], offset, log2_size - 1)
    return keccak256(left + _root(blocks[split:], middle, log2_size - 1))


def _size(block: Block) -> int:
    """Bytes of a block's content."""
    return np.frombuffer(block.data, np.uint8).size


def _image_bytes(specs: Sequence[TensorSpec]) -> int:
    if not specs:
        return 0
    base = specs[0].offset
    return max(spec.offset + spec.size_bytes for spec in specs) - base


def _specs(facts: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(f["name"], DType(f["dtype"]), tuple(f["shape"]), f["offset"], f["log2_size"]) for f in facts
    )


def _big_endian(array: Array) -> bytes:
    width = array.dtype.itemsize
    return np.ascontiguousarray(array).view(f"u{width}").astype(f">u{width}").tobytes()


__all__ = ["SEC_WEIGHTS", "NodeInfo", "PlannedBlock", "Program", "ProgramFileError", "TensorSpec"]
