"""The range that `show` calls in dispute holds the place where two traces part, and shrinks with every move."""

from __future__ import annotations

from itertools import pairwise

import pytest

from opml_dispute.actors.player import play_round
from opml_dispute.actors.stake import Stake, frontier, stake_of
from tests.support.alphabet import SCRAMBLES
from tests.support.builders import FAULTY, HONEST, MALLORY, TRUTH, Seat, ToyTable, Value, faulty_trace


@pytest.mark.parametrize("root", [FAULTY, TRUTH])
@pytest.mark.parametrize("scramble", range(SCRAMBLES))
@pytest.mark.parametrize("node", range(5))
def test_the_fault_stays_at_stake_until_the_step(node: int, scramble: int, root: Value) -> None:
    table = ToyTable()
    table.faulty = faulty_trace(0, table.node_count, node, scramble, bit=7)
    faulty_instruction = 2 + scramble
    table.root(root)
    honest, liar = Seat(table.reference, HONEST), Seat(table.reference, MALLORY)
    stakes: list[Stake] = []
    while True:
        game = table.game()
        stake = stake_of(game, frontier(game))
        assert stake.node_low <= node < stake.node_high
        if stake.step_low is not None and stake.step_high is not None:
            assert stake.step_low <= faulty_instruction < stake.step_high
        stakes.append(stake)
        before = len(game.claims)
        for seat, trace in ((honest, table.truth), (liar, table.faulty)):
            if len(table.game().claims) == before:
                play_round(seat, trace)
        if len(table.game().claims) == before:
            break
    for earlier, later in pairwise(stakes):
        assert later.node_low >= earlier.node_low
        assert later.node_high <= earlier.node_high
    low = stakes[-1].step_low
    assert low is not None
    assert low <= faulty_instruction <= low + 1
    assert stakes[-1].sentence == f"FPVM phase: node {node}, instruction {low} or {low + 1}"
