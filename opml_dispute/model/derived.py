"""
Facts that follow from a program's records alone: its blocks, and each node's operation and cost.

`planned_blocks` finds the blocks of INPUT, OUTPUT and ARENA and the part of the run during which each is in use;
`node_facts` says for each record which operation it is a tile of, which kernel it runs and its VM steps.
Neither is ever read from a file: a description that could differ from the records would mislead an operator who reads
it (`program_file`).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.opcodes import Binary, DType, Opcode, Reduction, Unary
from opml_dispute.model.record import SEC_ARENA, Free, Record
from opml_dispute.model.tensor import Shape
from opml_dispute.primitives import RECORD_BYTES


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
        count = 1
        for size in self.shape:
            count *= size
        return count * self.dtype.width


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """A block of INPUT, OUTPUT or ARENA, and the part of the run during which it holds something."""

    offset: int
    """Bytes from the segment's base, a multiple of 2**log2_size."""
    log2_size: int
    word_bytes: int
    """Width of the elements in this block, for as long as it holds any."""
    born_node: int
    """The first node that writes here; -1 for an input, which is there from the start."""
    freed_node: int | None
    """The node after which the block is zero again; None if it stays to the end."""
    size_bytes: int
    """Bytes that are ever written, from the block's start; the rest is zero."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The facts that a node's record contains."""

    kernel: str
    """The kernel, with its function: BINARY.ADD."""
    operation: int
    """The operation that the node makes a part of, counted from 0."""
    tile: int
    """Counted from 0."""
    tiles: int
    """Nodes that the operation was cut into."""
    steps: int
    """VM steps, at most: the bound that is held against the program's limit."""


def record_of(records: bytes, node_index: int) -> Record:
    """What node `node_index` does. Raises `ValueError` for a number that names no opcode or element type."""
    start = RECORD_BYTES * node_index
    return Record.unpack(records[start : start + RECORD_BYTES])


def node_facts(records: bytes) -> tuple[NodeFacts, ...]:
    """The facts of every node. An operation's first tile starts at output 0, and no other tile does."""
    facts: list[NodeFacts] = []
    steps = validate_records(records).steps.tolist()
    for operation, tiles in enumerate(_operations(records)):
        for tile, record in enumerate(tiles):
            facts.append(NodeFacts(kernel_name(record), operation, tile, len(tiles), steps[len(facts)]))
    return tuple(facts)


def _operations(records: bytes) -> Iterator[list[Record]]:
    """The records of each operation, in order."""
    tiles: list[Record] = []
    for index in range(len(records) // RECORD_BYTES):
        record = record_of(records, index)
        if record.lo == 0 and tiles:
            yield tiles
            tiles = []
        tiles.append(record)
    if tiles:
        yield tiles


def planned_blocks(
    records: bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[PlannedBlock, ...]:
    """
    The blocks of inputs, outputs and activations, in this order.

    A block of ARENA is what a record frees: each node frees the activations that nothing behind it touches.
    """
    freed = dict(_frees(records))
    places = {(spec.offset, spec.log2_size): None for spec in outputs} | freed
    starts = sorted(offset for offset, _ in places)
    extents = validate_records(records).extents[:, 0]
    born: dict[int, int] = {}
    ends: dict[int, int] = {}
    widths: dict[int, int] = {}
    for node, (lo, hi, width) in enumerate(extents.tolist()):
        at = bisect_right(starts, lo) - 1
        if width and at >= 0:
            start = starts[at]
            born.setdefault(start, node)
            widths.setdefault(start, width)
            ends[start] = max(ends.get(start, 0), hi)
    blocks = [PlannedBlock(s.offset, s.log2_size, s.dtype.width, -1, None, s.size_bytes) for s in inputs]
    blocks += [
        PlannedBlock(s.offset, s.log2_size, s.dtype.width, born.get(s.offset, -1), None, s.size_bytes) for s in outputs
    ]
    for (offset, log2_size), node in sorted(freed.items()):
        size = ends.get(offset, offset) - offset
        blocks.append(PlannedBlock(offset, log2_size, widths.get(offset, 1), born.get(offset, -1), node, size))
    return tuple(blocks)


def _frees(records: bytes) -> Iterator[tuple[tuple[int, int], int]]:
    """((offset, log2 size), node) of every block of ARENA that a record frees."""
    for node in range(len(records) // RECORD_BYTES):
        base = RECORD_BYTES * node
        for word in struct.unpack_from(f">{min(records[base + 4], 7)}Q", records, base + 0x58):
            free = Free.unpack(word)
            if free.offset >= SEC_ARENA:
                yield (free.offset, free.log2_size), node


def kernel_name(record: Record) -> str:
    """The kernel and its function, as people read it: BINARY.ADD."""
    functions = {
        Opcode.UNARY: Unary,
        Opcode.BINARY: Binary,
        Opcode.REDUCE: Reduction,
        Opcode.SCATTER: None,
    }.get(record.opcode)
    return f"{record.opcode.name}.{functions(record.imm[0]).name}" if functions else record.opcode.name
