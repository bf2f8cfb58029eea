"""
Facts that follow from a program's records alone: its blocks, and each node's operation and cost.

`node_facts` says for each record which operation it is a tile of, which kernel it runs and its VM steps; `block_table`
finds the blocks of INPUT, OUTPUT and ARENA and the part of the run during which each is in use. Neither is ever read
from a file: a description that could differ from the records would mislead an operator who reads it (`program_file`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.opcodes import Binary, DType, Opcode, Reduction, Unary
from opml_dispute.model.record import Record
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


def kernel_name(record: Record) -> str:
    """The kernel and its function, as people read it: BINARY.ADD."""
    functions = {
        Opcode.UNARY: Unary,
        Opcode.BINARY: Binary,
        Opcode.REDUCE: Reduction,
        Opcode.SCATTER: None,
    }.get(record.opcode)
    return f"{record.opcode.name}.{functions(record.imm[0]).name}" if functions else record.opcode.name
