"""
Program and weights in a segment's lower half: all of them, or, where they do not fit in memory, as nodes read them.

A model is loaded whole if it takes at most half of an inference's memory. A larger one stays in its mapped file: before
a node runs, the blocks of weights that its record reads are copied in, and those that were used longest ago make room.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from opml_dispute.engine.analysis import ProgramAnalysis, size_of
from opml_dispute.engine.mapped_files import expect_unchanged, give_back, mappings_of
from opml_dispute.engine.segment import WEIGHTS
from opml_dispute.engine.segment_memory import SegmentMemory, SegmentUnavailable
from opml_dispute.engine.vm import Block

_WHOLE = 2
"""A model is loaded whole if it takes at most this fraction of the memory: one half."""
_ROOM = 8
"""The fraction of the memory for the weights of a model that is not: an eighth."""


class ModelMemory:
    """The model's part of one segment."""

    def __init__(self, blocks: Sequence[Block], analysis: ProgramAnalysis, segment: SegmentMemory, memory: int) -> None:
        """`blocks` are the program's, then its weights, ascending; `memory` is in bytes."""
        self._blocks, self._segment = blocks, segment
        self._typing, self._analysis = analysis.typing, analysis
        self._starts = [block.offset for block in blocks]
        self._weights = bisect_left(self._starts, WEIGHTS.offset)
        """Blocks before those of the weights."""
        self.size_bytes = sum(size_of(block) for block in blocks)
        self.fits = self.size_bytes <= memory // _WHOLE
        """Whether the model is loaded whole."""
        self._room_bytes = memory // _ROOM
        self._mappings = mappings_of(block.data for block in blocks)
        self._is_loaded = False
        self._loaded: dict[int, int] = {}
        """Of a model that does not fit: bytes of the loaded blocks by index, the one used longest ago first."""

    def load_program(self) -> None:
        """Puts in what every node needs: the model if it fits, else the program's records."""
        if self.fits:
            self.load_all()
        elif not self._is_loaded:
            for block in self._blocks[: self._weights]:
                self.load(block)
            self._is_loaded = True

    def load_all(self, *, again: bool = False) -> None:
        """
        Puts in the whole model if it is not there yet; `again`: over what lies there.

        Raises `SegmentUnavailable` if it does not fit.
        """
        if self._is_loaded and not again:
            return
        if not self.fits:
            raise SegmentUnavailable(
                f"a model of {self.size_bytes:,} bytes does not fit in memory whole, and this needs all of it"
            )
        for block in self._blocks:
            self.load(block)
        self._is_loaded = True

    def load_for(self, first_node: int, end_node: int) -> None:
        """Puts in the weights that nodes [first_node, end_node) read; does nothing for a model that fits."""
        if self.fits:
            return
        rows = self._analysis.judged.extents[first_node:end_node, 1:].reshape(-1, 3)
        wanted: set[int] = set()
        for lo, hi in np.unique(rows[rows[:, 0] < rows[:, 1], :2], axis=0).tolist():
            wanted |= self._indices(int(lo), int(hi))
        self._load_these(wanted)

    def expect_unchanged(self) -> None:
        """Raises `FileChanged` if the file that weights are read from was written to."""
        expect_unchanged(self._mappings)

    def load_range(self, lo: int, hi: int) -> None:
        """Puts in what [lo, hi) of the segment's lower half holds."""
        if self.fits:
            self.load_all()
        else:
            self.load_program()
            self._load_these(self._indices(lo, hi))

    def load(self, block: Block) -> None:
        """Puts one block in."""
        self.expect_unchanged()  # before: what was cut off a mapped file cannot be read, and ends the process
        data = np.frombuffer(block.data, np.uint8)
        if not self._typing.is_typed and block.word_bytes != 1:
            data = data.view(f"=u{block.word_bytes}").astype(f">u{block.word_bytes}").view(np.uint8)
        self._segment.memory[block.offset : block.offset + data.size] = data
        give_back(block.data)

    def _indices(self, lo: int, hi: int) -> set[int]:
        """The blocks of weights that meet [lo, hi)."""
        first, end = max(self._weights, bisect_right(self._starts, lo) - 1), bisect_right(self._starts, hi - 1)
        return {index for index in range(first, end) if lo < self._starts[index] + size_of(self._blocks[index])}

    def _load_these(self, wanted: set[int]) -> None:
        missing = [index for index in sorted(wanted) if index not in self._loaded]
        for index in wanted & self._loaded.keys():
            self._loaded[index] = self._loaded.pop(index)  # used last
        self._make_room(sum(size_of(self._blocks[index]) for index in missing), wanted)
        for index in missing:
            self.load(self._blocks[index])
            self._loaded[index] = size_of(self._blocks[index])

    def _make_room(self, size_bytes: int, kept: set[int]) -> None:
        used = sum(self._loaded.values())
        for index in [index for index in self._loaded if index not in kept]:
            if used + size_bytes <= self._room_bytes:
                return
            used -= self._loaded.pop(index)
            self._segment.zero(self._blocks[index].offset, 1 << self._blocks[index].log2_size)
