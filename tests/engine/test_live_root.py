"""The root of a state's upper half, in one call, is the one that a tree of its blocks has."""

from __future__ import annotations

import numpy as np
import pytest

from opml_dispute.engine.analysis import ProgramAnalysis
from opml_dispute.engine.live import Live
from opml_dispute.engine.live_root import upper_root
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.segment import ARENA, HEADER, INPUT, MODEL_LOG2, OUTPUT, SEGMENT_LOG2
from opml_dispute.engine.segment_memory import SegmentMemory
from opml_dispute.engine.vm import Block
from opml_dispute.model.opcodes import Unary
from tests.engine.test_schedule import A, B, bare, fill, unary

PROGRAM = bare(fill(A, 64), unary(Unary.NEG, B, INPUT.offset, 16), unary(Unary.ABS, OUTPUT.offset, B, 16))
"""Elements of four bytes in A, B, INPUT and OUTPUT, and nothing between them."""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", range(12))
def test_live_blocks_have_the_root_of_their_tree(seed: int, threads: int) -> None:
    """None, one or many; of elements, of bytes, of both; some known by their root, and some changed since."""
    rng = np.random.default_rng(seed)
    typing = ProgramAnalysis.of(PROGRAM).typing
    segment, live = SegmentMemory(vm_bytes=False, threads=1), Live()
    places = [HEADER.offset, INPUT.offset, OUTPUT.offset, A, B, ARENA.offset + (1 << 30), ARENA.end - (1 << 18)]
    for round_ in range(3):
        for place in rng.choice(places, int(rng.integers(0 if round_ == 0 else 1, len(places))), replace=False):
            size = 4 * int(rng.integers(1, 1 << int(rng.integers(1, 16))))
            size = min(size, B - A) if place in (A, HEADER.offset) else size
            live.touch(int(place), int(place) + size)
            segment.memory[int(place) : int(place) + size] = rng.integers(0, 256, size)
        tree = SparseTree(SEGMENT_LOG2)
        for entry in live.entries():
            raw = typing.read(segment.memory, entry.offset, entry.used)
            tree.put(Block(entry.offset, entry.log2_size, raw))
        root = upper_root(live.entries(), typing, segment, threads=threads)
        assert root == tree.subtree(1 << MODEL_LOG2, MODEL_LOG2)
        for entry in live.entries():
            assert entry.root == tree.subtree(entry.offset, entry.log2_size)
