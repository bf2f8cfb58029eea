"""The range that `show` calls in dispute holds the place where two traces part, and shrinks with every move."""

from __future__ import annotations

from itertools import pairwise

import pytest

from opml_dispute.actors.disputed_range import DisputedRange, disputed_range, frontier
from opml_dispute.actors.player import play_round
from tests.support.alphabet import SCRAMBLES
from tests.support.builders import FAULTY, HONEST, MALLORY, TRUTH, Seat, ToyTable, Value, faulty_trace


@pytest.mark.parametrize("root", [FAULTY, TRUTH])
@pytest.mark.parametrize("scramble", range(SCRAMBLES))
@pytest.mark.parametrize("node", range(5))
def test_the_fault_stays_in_dispute_until_the_step(node: int, scramble: int, root: Value) -> None:
    table = ToyTable()
    table.faulty = faulty_trace(0, table.node_count, node, scramble, bit=7)
    faulty_instruction = 2 + scramble
    table.root(root)
    honest, liar = Seat(table.reference, HONEST), Seat(table.reference, MALLORY)
    ranges: list[DisputedRange] = []
    while True:
        game = table.game()
        disputed = disputed_range(game, frontier(game))
        assert disputed.node_low <= node < disputed.node_high
        if disputed.step_low is not None and disputed.step_high is not None:
            assert disputed.step_low <= faulty_instruction < disputed.step_high
        ranges.append(disputed)
        before = len(game.claims)
        for seat, trace in ((honest, table.truth), (liar, table.faulty)):
            if len(table.game().claims) == before:
                play_round(seat, trace)
        if len(table.game().claims) == before:
            break
    for earlier, later in pairwise(ranges):
        assert later.node_low >= earlier.node_low
        assert later.node_high <= earlier.node_high
    low = ranges[-1].step_low
    assert low is not None
    assert low <= faulty_instruction <= low + 1
    assert ranges[-1].sentence == f"FPVM phase: node {node}, instruction {low} or {low + 1}"
