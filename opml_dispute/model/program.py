"""
A program: a model compiled for given shapes, ready to be run, registered and disputed.

`Program` holds the node records, the weights and where inputs and outputs are in the segment. Its bytes, and so its
`model_root`, depend on the model's file and shapes alone. Facts that follow from the records (blocks, the nodes'
operations and costs) are in `derived`, the file format in `program_file`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from opml_dispute.engine.analysis import with_roots
from opml_dispute.engine.doubles import Pattern
from opml_dispute.engine.hashing import keccak256, zero_root
from opml_dispute.engine.segment import LEAST_BLOCK_LOG2, MODEL_LOG2
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.engine.vm import Block
from opml_dispute.errors import OpmlError
from opml_dispute.model.block_table import BlockTable, planned_blocks
from opml_dispute.model.derived import PlannedBlock, TensorSpec, node_facts, record_of
from opml_dispute.model.double_patterns import double_patterns
from opml_dispute.model.record import SEC_HEADER, SEC_PROGRAM, SEC_WEIGHTS, Record, program_header
from opml_dispute.model.tensor import Array
from opml_dispute.primitives import RECORD_BYTES, Hash32


class BadBlocks(OpmlError):
    """Weights that overlap, are out of order or misaligned, or are larger than their block."""

    hint = "compile the ONNX file again"


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node's origin and cost, for people; not part of the program's bytes."""

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
    steps: int
    """VM steps, at most: the bound that is held against the program's limit."""


@dataclass(frozen=True)
class Program:
    """A compiled model. Raises `BadBlocks` for weights that could not be what the model root says they are."""

    records: bytes
    """All node records, 512 bytes each, big-endian."""
    weights: tuple[Block, ...]
    """What the WEIGHTS section holds, ascending; data in the host's byte order."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    origins: tuple[tuple[str, str], ...]
    """The ONNX operator and the node's name, for each operation; its tiles share one."""
    log2_steps: int
    """No node takes more than 2**log2_steps VM steps: one that could is refused (docs/segment.md, "Steps")."""
    notes: tuple[str, ...] = ()
    """Notes for the operator: choices of the compiler that change results."""
    fixed: Mapping[str, Array] = field(default_factory=dict)
    """Inputs of the ONNX model that were given a value when compiling."""

    def __post_init__(self) -> None:
        _check_blocks(self.weights)

    @cached_property
    def blocks(self) -> tuple[PlannedBlock, ...]:
        """The blocks of INPUT, OUTPUT and ARENA, as the records use them."""
        return self.block_table().blocks()

    def block_table(self) -> BlockTable:
        """`blocks` as columns, made anew."""
        return planned_blocks(self.records, self.inputs, self.outputs)

    @cached_property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """Each node's origin and cost."""
        return tuple(
            NodeInfo(*self.origins[facts.operation], facts.kernel, i, facts.tile, facts.tiles, facts.steps)
            for i, facts in enumerate(node_facts(self.records))
        )

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

    @staticmethod
    def double_patterns() -> Sequence[Pattern]:
        """The steps that operations of binary64 are."""
        return double_patterns()

    @property
    def header_bytes(self) -> bytes:
        """The 512 bytes before the records."""
        return program_header(self.node_count, self.log2_steps, self.input_bytes, self.output_bytes)

    @cached_property
    def node_steps(self) -> tuple[int, ...]:
        """VM steps of each node, at most: the bound that is held against the limit."""
        return tuple(validate_records(self.records).steps.tolist())

    @property
    def weights_bytes(self) -> int:
        """Bytes of all weights, without what the blocks' sizes round up."""
        return sum(_size(block) for block in self.weights)

    def record(self, node_index: int) -> Record:
        """The record of node `node_index`. Raises `IndexError` if there is no such node."""
        if not 0 <= node_index < self.node_count:
            raise IndexError(f"node {node_index} of a program of {self.node_count} nodes")
        return record_of(self.records, node_index)

    @cached_property
    def model_blocks(self) -> tuple[Block, ...]:
        """The content of the lower half of the segment: the program, then the weights. The records are not copied."""
        return (Block(SEC_PROGRAM, _HEADER_LOG2, self.header_bytes, 1, None), *_pieces(self.records), *self.weights)

    @cached_property
    def rooted_blocks(self) -> tuple[Block, ...]:
        """`model_blocks`, each with its root, hashed once."""
        return with_roots(self.model_blocks)

    @property
    def rooted_weights(self) -> tuple[Block, ...]:
        """`weights`, each with its root."""
        return self.rooted_blocks[-len(self.weights) :] if self.weights else ()

    @cached_property
    def model_root(self) -> Hash32:
        """The Merkle root of program and weights, by which a model is registered."""
        return Hash32(_root(self.rooted_blocks, 0, MODEL_LOG2))


_HEADER_LOG2 = RECORD_BYTES.bit_length() - 1
"""Of the bytes before the first record."""


def _pieces(records: bytes) -> Iterator[Block]:
    """The blocks that the records fill, behind the header: each as large as its place allows."""
    view, start = memoryview(records), 0
    while start < len(records):
        offset = RECORD_BYTES + start
        data = view[start : start + (offset & -offset)]
        yield Block(SEC_PROGRAM + offset, (len(data) - 1).bit_length(), data, 1, None)
        start += len(data)


def _check_blocks(blocks: Sequence[Block]) -> None:
    """
    Raises `BadBlocks` unless the blocks are in WEIGHTS, ascending, aligned, apart, and as large as their data at least.

    INVARIANT: only then is the root of the tree (`_root`) the root of what a run reads, so that no block can hide
    behind another.
    """
    for block in blocks:
        if not LEAST_BLOCK_LOG2 <= block.log2_size < MODEL_LOG2 or block.offset % (1 << block.log2_size):
            raise BadBlocks(
                f"a block of 2^{block.log2_size} bytes at {block.offset:#x}; expected a multiple of its size"
            )
        if not SEC_WEIGHTS <= block.offset <= SEC_HEADER - (1 << block.log2_size):
            raise BadBlocks(f"a block of 2^{block.log2_size} bytes at {block.offset:#x}; expected it in WEIGHTS")
        if (
            _size(block) > 1 << block.log2_size
            or block.word_bytes not in (1, 2, 4, 8)
            or _size(block) % block.word_bytes
        ):
            raise BadBlocks(
                f"{_size(block):,} bytes in words of {block.word_bytes} for the block at {block.offset:#x}; "
                f"expected whole words, and at most {1 << block.log2_size:,} bytes"
            )
    for block, behind in pairwise(blocks):
        if block.offset + (1 << block.log2_size) > behind.offset:
            raise BadBlocks(
                f"the block at {behind.offset:#x} lies inside or before the one at {block.offset:#x}; "
                "expected blocks in ascending order that do not overlap"
            )


def _root(blocks: Sequence[Block], offset: int, log2_size: int) -> bytes:
    """The root of 2**log2_size bytes at `offset`: `blocks` (those inside, ascending), and zeros between them."""
    if not blocks:
        return zero_root(log2_size)
    first = blocks[0]
    if first.log2_size == log2_size:
        assert first.root is not None
        return first.root
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


__all__ = ["SEC_WEIGHTS", "BadBlocks", "NodeInfo", "PlannedBlock", "Program", "TensorSpec"]
