"""
Programs that are made to take long: what planning and looking at states costs grows with a program, not its square.

Both ways to a state are timed: all at once (`S_n`, which is looked at before a bond is staked) and node by node (any
other `S_t`, which is needed afterwards). A program whose one way is cheap and whose other way is dear would take the
time of an honest player's moves.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import ARENA, INPUT, OUTPUT
from opml_dispute.engine.workspace import Room, joined
from opml_dispute.model.opcodes import DType, Opcode, Unary
from opml_dispute.model.record import Free, Record, strided_body
from tests.guest.programs import BareProgram, program
from tests.kernels.maker import words

ONE = b"\x3f\x80\0\0"


def negate(source: int, target: int, frees: tuple[Free, ...] = (), count: int = 1) -> bytes:
    """A record that negates `count` numbers."""
    body = strided_body([count], [[1], [1]])
    return Record(
        Opcode.UNARY, DType.F32, target, (source,), (DType.F32,), 1, 0, count, words(Unary.NEG), body, frees
    ).pack()


def many_alive(nodes: int) -> BareProgram:
    """Blocks that all live at once, then freed seven a node."""
    alive = nodes * 7 // 8
    records = [negate(INPUT.offset, ARENA.offset + 64 * index) for index in range(alive)]
    for first in range(0, alive, 7):
        frees = tuple(Free(6, ARENA.offset + 64 * index) for index in range(first, min(first + 7, alive)))
        records.append(negate(ARENA.offset + 64 * first, OUTPUT.offset, frees))
    return program(records)


def many_holes(nodes: int) -> BareProgram:
    """Every second of many blocks is freed first, so that nothing that is freed touches what was freed before."""
    alive = nodes * 7 // 8
    records = [negate(INPUT.offset, ARENA.offset + 64 * index) for index in range(alive)]
    order = [*range(0, alive, 2), *range(1, alive, 2)]
    for first in range(0, alive, 7):
        chosen = order[first : first + 7]
        frees = tuple(Free(6, ARENA.offset + 64 * index) for index in sorted(chosen))
        records.append(negate(ARENA.offset + 64 * chosen[0], OUTPUT.offset, frees))
    return program(records)


def many_parts(nodes: int) -> BareProgram:
    """One block, written in as many parts with gaps between them, and read in as many."""
    half = nodes // 2
    log2_size = (8 * half - 1).bit_length()
    records = [negate(INPUT.offset, ARENA.offset + 8 * index) for index in range(half)]
    records += [negate(ARENA.offset + 8 * index, OUTPUT.offset) for index in range(half - 1)]
    records.append(negate(ARENA.offset, OUTPUT.offset, (Free(max(log2_size, 6), ARENA.offset),)))
    return program(records)


def many_outputs(nodes: int) -> BareProgram:
    """As many outputs that do not touch, every second of them read again."""
    half = nodes // 2
    records = [negate(INPUT.offset, OUTPUT.offset + 128 * index) for index in range(half)]
    return program(records + [negate(OUTPUT.offset + 128 * index, OUTPUT.offset + 64) for index in range(half)])


def long_chain(nodes: int) -> BareProgram:
    """Each block is made from the one before, which is freed at once."""
    records = [negate(INPUT.offset, ARENA.offset)]
    for index in range(1, nodes):
        before = ARENA.offset + 64 * (index - 1)
        records.append(negate(before, before + 64, (Free(6, before),)))
    return program(records)


SHAPES: tuple[Callable[[int], BareProgram], ...] = (many_alive, many_holes, many_parts, many_outputs, long_chain)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("half_way", [False, True])
def test_four_times_the_nodes_take_about_four_times_as_long(
    shape: Callable[[int], BareProgram], half_way: bool
) -> None:
    def seconds(nodes: int) -> float:
        made = shape(nodes)
        inference = Inference(made, ONE)
        started = time.process_time()
        inference.state_root(made.node_count // 2 if half_way else made.node_count)
        return time.process_time() - started

    seconds(200)
    small = min(seconds(1_500) for _ in range(2))
    assert min(seconds(6_000) for _ in range(2)) < 9 * small + 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_lead_to_one_state(shape: Callable[[int], BareProgram]) -> None:
    made = shape(64)
    at_once, slowly = Inference(made, ONE), Inference(made, ONE)
    for node in range(made.node_count):
        slowly.state_root(node)
    assert at_once.state_root(made.node_count) == slowly.state_root(made.node_count)


def test_room_is_given_out_as_by_looking_through_all_holes() -> None:
    """The smallest hole that is large enough, of these the first; what is given back joins its neighbours."""
    chance = random.Random(5)
    for _ in range(50):
        room, size = Room(), 0
        holes: list[tuple[int, int]] = []
        taken: list[tuple[int, int]] = []
        for _ in range(60):
            if taken and chance.random() < 0.5:
                offset, length = taken.pop(chance.randrange(len(taken)))
                room.give_back(offset, length)
                holes = joined([*holes, (offset, offset + length)])
                continue
            length = 64 * chance.randint(1, 5)
            fitting = [(end - begin, begin) for begin, end in holes if end - begin >= length]
            if fitting:
                _, expected = min(fitting)
                end = dict(holes)[expected]
                holes = [hole for hole in holes if hole[0] != expected]
                holes += [(expected + length, end)] if expected + length < end else []
                holes.sort()
            else:
                expected = holes.pop()[0] if holes and holes[-1][1] == size else size
                size = expected + length
            assert room.take(length) == expected
            assert room.size == size
            taken.append((expected, length))
