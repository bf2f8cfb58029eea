"""The range that `show` calls in dispute holds the place where two traces part, and shrinks with every move."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from opml_dispute.actors.disputed_range import DisputedRange, disputed_range, frontier
from opml_dispute.actors.player import play_round
from opml_dispute.game.claim import Game
from opml_dispute.game.position import Position
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
            assert disputed.step_low <= faulty_instruction < disputed.step_high <= game.depths.steps
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


def a_game(node_count: int, item_count: int = 1) -> Game:
    """A root claim over so many nodes."""
    table = ToyTable()
    table.root(TRUTH)
    return replace(table.game(), node_count=node_count, item_count=item_count)


@pytest.mark.parametrize(
    ("low", "high", "items", "nodes"),
    [
        *((0, 12, [0, 1, 2], (0, 4)), (3, 5, [0, 1], (0, 4)), (4, 8, [1], (0, 4))),
        *((5, 7, [1], (1, 3)), (7, 9, [1, 2], (0, 4)), (11, 12, [2], (3, 4)), (0, 1, [0], (0, 1))),
    ],
)
def test_nodes_of_a_batch_are_told_by_their_item(low: int, high: int, items: list[int], nodes: tuple[int, int]) -> None:
    """Three items of four nodes each."""
    game, disputed = a_game(12, 3), DisputedRange("ML", low, high)
    assert list(disputed.items(game)) == items
    assert disputed.nodes_of_an_item(game) == nodes


@pytest.mark.parametrize(
    ("index", "nodes"), [(0, (0, 2)), (2, (2, 4)), (3, (3, 5)), (4, (4, 5)), (5, (4, 5)), (6, (4, 5))]
)
def test_no_range_reaches_behind_the_last_node_or_is_empty(index: int, nodes: tuple[int, int]) -> None:
    """Five nodes; claims behind them all speak about the final state."""
    game = a_game(5)
    claim = replace(game.claims[0], position=Position(game.depths.split, index))
    disputed = disputed_range(game, claim)
    assert (disputed.node_low, disputed.node_high) == nodes
    whole = disputed_range(game, game.claims[0])
    assert (whole.node_low, whole.node_high, whole.phase) == (0, 5, "ML")


@pytest.mark.parametrize(
    ("depth", "index", "nodes"), [(1, 0, (0, 8)), (1, 1, (4, 8)), (2, 1, (2, 6)), (2, 2, (4, 8)), (3, 5, (5, 7))]
)
def test_a_claim_leaves_its_own_stretch_and_the_next_in_dispute(depth: int, index: int, nodes: tuple[int, int]) -> None:
    """Of eight nodes: an attack looks to the left of the claim's state, a defence to the right."""
    game = a_game(8)
    disputed = disputed_range(game, replace(game.claims[0], position=Position(depth, index)))
    assert (disputed.node_low, disputed.node_high) == nodes


@pytest.mark.parametrize(
    ("disputed", "sentence", "steps"),
    [
        (DisputedRange("ML", 4, 5), "ML phase: node 4", None),
        (DisputedRange("ML", 4, 6), "ML phase: node 4 or 5", None),
        (DisputedRange("ML", 4, 7), "ML phase: nodes 4 to 6", None),
        (DisputedRange("FPVM", 4, 5, 1000, 1001), "FPVM phase: node 4, instruction 1,000", [1000, 1001]),
        (DisputedRange("FPVM", 4, 5, 0, 1024), "FPVM phase: node 4, instructions 0 to 1,023", [0, 1024]),
    ],
)
def test_a_range_is_told_in_words_and_for_scripts(disputed: DisputedRange, sentence: str, steps: object) -> None:
    assert disputed.sentence == sentence
    assert disputed.facts == {"phase": disputed.phase, "nodes": [4, disputed.node_high], "steps": steps}
