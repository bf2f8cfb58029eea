"""
Merkle trees over memory in plain Python; native/memory/memory.c is the fast implementation.

A tree spans 2^log2_size bytes. Its leaves are raw 32-byte words; an inner node is the Keccak-256 of its two children;
level k is the node over 2^k bytes, so a leaf is level 5 and its "root" is its own 32 bytes. All that was never put
there is zero.

1. `SparseTree` holds blocks: `put` lays one down, `subtree` answers any root, `proof` the siblings on the way up.
2. `root_from_proof` computes the root from a subtree's root and its siblings.

Running programs is the engine's work (`engine.vm`); what lies where in a segment is `segment`'s.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.hashing import LEAF_LOG2, BadSubtree, hash_pair, merkle_root, root_above, zero_root
from opml_dispute.engine.vm import Block
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Hash32


class UnknownContent(OpmlError):
    """A part of a subtree is needed of which only the root is known."""


class SparseTree:
    """2^log2_size bytes, zero but for blocks."""

    def __init__(self, log2_size: int, blocks: Sequence[Block] = ()) -> None:
        self.log2_size = log2_size
        self._blocks: dict[int, Block] = {}
        self._offsets: list[int] = []  # of the blocks, ascending
        self._roots: dict[tuple[int, int], Hash32] = {}
        for block in blocks:
            self.put(block)

    @property
    def root(self) -> Hash32:
        """The whole tree's root."""
        return self.subtree(0, self.log2_size)

    def copy(self) -> SparseTree:
        """An independent tree with the same blocks."""
        other = SparseTree(self.log2_size)
        other._blocks, other._offsets, other._roots = dict(self._blocks), list(self._offsets), dict(self._roots)
        return other

    def put(self, block: Block) -> None:
        """
        Lays a block down over whatever was there; inside an older block, only its own part changes.

        Raises `BadSubtree` if it has no place in the tree, and `UnknownContent` if it lies in one known by its root.
        """
        self._check(block.offset, block.log2_size)
        if len(_bytes(block)) > 1 << block.log2_size:
            raise BadSubtree(f"{len(_bytes(block))} bytes do not fit a block of 2^{block.log2_size}")
        around = self._around(block.offset, block.log2_size)
        while around is not None and around.log2_size > block.log2_size:
            halves = _halves(around)
            self._remove(around)
            for half in halves:
                self._add(half)
            around = self._around(block.offset, block.log2_size)
        for covered in self._within(block.offset, block.log2_size):
            self._remove(covered)
        self._add(block)
        self._roots.clear()

    def put_root(self, offset: int, log2_size: int, root: bytes) -> None:
        """Lays down a subtree of which only the root is known."""
        if log2_size == LEAF_LOG2:
            self.put(Block(offset, log2_size, bytes(root)))  # a leaf is its own root
        else:
            self.put(_RootOnly(offset, log2_size, b"", root=bytes(root)))

    def subtree(self, offset: int, log2_size: int) -> Hash32:
        """The root of the 2^log2_size bytes at `offset`. Raises `BadSubtree`, `UnknownContent`."""
        self._check(offset, log2_size)
        key = (offset, log2_size)
        if key not in self._roots:
            self._roots[key] = self._compute(offset, log2_size)
        return self._roots[key]

    def proof(self, offset: int, log2_size: int) -> tuple[Hash32, ...]:
        """The siblings of that subtree up to the tree's root, lowest first. Raises as `subtree` does."""
        self._check(offset, log2_size)
        levels = range(log2_size, self.log2_size)
        return tuple(self.subtree(((offset >> level) ^ 1) << level, level) for level in levels)

    def _compute(self, offset: int, log2_size: int) -> Hash32:
        within = self._within(offset, log2_size)
        if not within or (within[0].offset == offset and within[0].log2_size >= log2_size):
            block = self._around(offset, log2_size)
            return zero_root(log2_size) if block is None else _root(block, offset - block.offset, log2_size)
        if len(within) == 1:  # zeros beside it, on every level
            (block,) = within
            levels = log2_size - block.log2_size
            return root_above(_root(block, 0, block.log2_size), block.offset, block.log2_size, levels)
        half = log2_size - 1
        return hash_pair(self.subtree(offset, half), self.subtree(offset + (1 << half), half))

    def _around(self, offset: int, log2_size: int) -> Block | None:
        """The block that these bytes lie in or are."""
        # No two blocks overlap, so it can only be the last one that begins here or before.
        place = bisect_right(self._offsets, offset) - 1
        block = self._blocks[self._offsets[place]] if place >= 0 else None
        if block is None or block.log2_size < log2_size or offset >= block.offset + (1 << block.log2_size):
            return None
        return block

    def _within(self, offset: int, log2_size: int) -> list[Block]:
        """The blocks that begin in these bytes."""
        first = bisect_left(self._offsets, offset)
        last = bisect_left(self._offsets, offset + (1 << log2_size))
        return [self._blocks[begin] for begin in self._offsets[first:last]]

    def _add(self, block: Block) -> None:
        self._blocks[block.offset] = block
        insort(self._offsets, block.offset)

    def _remove(self, block: Block) -> None:
        del self._blocks[block.offset]
        del self._offsets[bisect_left(self._offsets, block.offset)]

    def _check(self, offset: int, log2_size: int) -> None:
        if not LEAF_LOG2 <= log2_size <= self.log2_size:
            raise BadSubtree(f"log2_size is {log2_size}; in this tree it must be {LEAF_LOG2} to {self.log2_size}")
        if offset % (1 << log2_size) or not 0 <= offset < 1 << self.log2_size:
            raise BadSubtree(f"offset 0x{offset:x} is no place for 2^{log2_size} of 2^{self.log2_size} bytes")


def root_from_proof(root: bytes, offset: int, log2_size: int, siblings: Sequence[bytes]) -> Hash32:
    """The root above a subtree's `root`, going by its siblings, lowest first."""
    return root_above(bytes(root), offset, log2_size, len(siblings), b"".join(bytes(one) for one in siblings))


class _RootOnly(Block):
    """A subtree of which nothing but the root is known."""


def _bytes(block: Block) -> npt.NDArray[np.uint8]:
    """A block's data as bytes, without a copy."""
    data = block.data
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.frombuffer(data, dtype=np.uint8) if len(data) else np.empty(0, np.uint8)


def _part(block: Block, at: int, log2_size: int) -> Block:
    """The 2^log2_size bytes at `at` in a block, as a block of their own."""
    if isinstance(block, _RootOnly):
        raise UnknownContent(f"only the root is known of the 2^{block.log2_size} bytes at 0x{block.offset:x}")
    data = _bytes(block)[at : at + (1 << log2_size)]
    return Block(block.offset + at, log2_size, data, block.word_bytes)


def _halves(block: Block) -> tuple[Block, Block]:
    half = block.log2_size - 1
    return _part(block, 0, half), _part(block, 1 << half, half)


def _root(block: Block, at: int, log2_size: int) -> Hash32:
    if log2_size == block.log2_size and block.root is not None:
        return Hash32(bytes(block.root))
    part = _part(block, at, log2_size)
    return merkle_root(_bytes(part), log2_size, part.word_bytes)
