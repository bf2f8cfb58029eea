"""
The honest actor against liars who make things up, over the real VM.

Whatever a liar bluffs about, and wherever it stops telling the truth, the honest side wins, as proposer and as
challenger, and keeps every bond.
"""

from __future__ import annotations

import pytest

from opml_dispute.actors.actions import Step
from opml_dispute.actors.player import play_round
from opml_dispute.engine.segment import ARENA, HEADER, INPUT, OUTPUT, WEIGHTS
from opml_dispute.game.claim import GameStatus
from opml_dispute.game.depths import Depths
from opml_dispute.trace.provider import GameTrace, TraceError
from tests.guest.programs import run_node
from tests.support.bluff import Bluff, BluffTable, inference, small_program, trace_of
from tests.support.builders import HONEST, MALLORY, Seat, snapshot

MORE_THAN_ALL = 1 << 60


def exit_step(nodes: int, node: int = 0) -> int:
    """How many steps the guest really takes for a node."""
    return run_node(inference(nodes), node).step


def play(table: BluffTable, liar: GameTrace) -> list[Step]:
    """Both play until the game is over; the honest side's steps."""
    honest, other = Seat(table.reference, HONEST), Seat(table.reference, MALLORY)
    steps: list[Step] = []
    for _ in range(200):
        if table.reference.status != 0:
            return steps
        ours = play_round(honest, table.truth)
        assert not ours.refused
        steps += [action for action in ours.done if isinstance(action, Step)]
        try:
            theirs_done = bool(play_round(other, liar).done)
        except TraceError:
            theirs_done = False
        if not ours.done and not theirs_done:
            table.reference.now += table.reference.rules.max_clock
    raise AssertionError("the game does not end")


def assert_honest_wins(table: BluffTable, *, truth_proposed: bool) -> None:
    game = snapshot(table.reference)
    assert game.status == (GameStatus.DEFENDER_WINS if truth_proposed else GameStatus.CHALLENGER_WINS)
    credits_, deposits = table.reference.credits, table.reference.deposits
    assert credits_.get(HONEST, 0) >= deposits.get(HONEST, 0)
    for claim in game.claims:
        assert claim.claimant != HONEST or claim.countered_by is None


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("liar_proposes", [False, True])
def test_states_made_up_from_any_leaf_on(nodes: int, liar_proposes: bool) -> None:
    """Before the last node, at it, and where the program is long over."""
    depths = BluffTable(nodes, bytes(32), MALLORY).rules
    for first_wrong in range(1 << depths.split_depth):
        for first_wrong_step in (700, MORE_THAN_ALL):
            truth = trace_of(inference(nodes))
            liar = Bluff(truth, first_wrong, first_wrong_step)
            root = liar.root_claim() if liar_proposes else truth.root_claim()
            table = BluffTable(nodes, root, MALLORY if liar_proposes else HONEST)
            play(table, liar)
            assert_honest_wins(table, truth_proposed=not liar_proposes)


def interesting_steps(nodes: int) -> list[int]:
    """The first and the last, what reads the oracle and maps memory, the exit and what lies behind it."""
    end = exit_step(nodes)
    full = Depths.for_model(nodes, small_program(nodes).log2_steps).steps
    early = [0, 1, 2, *range(8, 120, 13)]
    return [*early, end // 2, end - 3, end - 2, end - 1, end, end + 1, full - 2, full - 1]


@pytest.mark.parametrize("on_contract", [False, True])
@pytest.mark.parametrize("liar_proposes", [False, True])
def test_steps_made_up_from_any_one_on(liar_proposes: bool, on_contract: bool) -> None:
    """The absolute prestate's first step, reads of the oracle, the last instruction, no-ops after the exit."""
    stepped = 0
    for first_wrong_step in interesting_steps(3)[:: 3 if on_contract else 1]:
        truth = trace_of(inference(3))
        liar = Bluff(truth, 1, first_wrong_step)
        root = liar.root_claim() if liar_proposes else truth.root_claim()
        table = BluffTable(3, root, MALLORY if liar_proposes else HONEST, on_contract=on_contract)
        stepped += len(play(table, liar))
        assert_honest_wins(table, truth_proposed=not liar_proposes)
    assert stepped or not liar_proposes


LIES = [
    (HEADER.offset + 15, b"\x05"),  # the node index runs away
    (HEADER.offset + 23, b"\x07"),  # an error out of nowhere
    (HEADER.offset + 31, b"\x02"),  # an error's place without an error
    (HEADER.offset, b"\x00"),  # no magic
    (HEADER.offset + 32, b"\x01"),  # behind the header
    (HEADER.offset + (1 << 36), b"\x01"),
    (0, b"\x00"),  # the program's magic
    (16, b"\x00" * 8),  # its node count
    (512 * 2 + 0x97, b"\x02"),  # another function in node 1
    (512 * 100, b"\x01"),  # behind its records
    (1 << 38, b"\x01"),  # WEIGHTS, of which there are none
    (WEIGHTS.end - 8, b"\x01"),
    (INPUT.offset + 3, b"\x77"),
    (INPUT.end - 1, b"\x77"),
    (OUTPUT.offset + 3, b"\x77"),
    (ARENA.offset + 4096, b"\x77"),
    (0x2000000000, b"\x77"),  # reserved
]


@pytest.mark.parametrize(("offset", "data"), LIES, ids=lambda value: hex(value) if isinstance(value, int) else None)
@pytest.mark.parametrize("liar_proposes", [False, True])
def test_lies_about_any_section_of_a_state(offset: int, data: bytes, liar_proposes: bool) -> None:
    """A state that is right but for a few bytes, and all that follows from it."""
    for t in (1, 2, 3):
        false_states = trace_of(inference(3, {t: [(offset, data)]}))
        for first_wrong_step in (300, MORE_THAN_ALL):
            liar = Bluff(false_states, None, first_wrong_step)
            if false_states.root_claim() == trace_of(inference(3)).root_claim():
                continue  # what was lied about is gone at the end
            root = false_states.root_claim() if liar_proposes else trace_of(inference(3)).root_claim()
            table = BluffTable(3, root, MALLORY if liar_proposes else HONEST)
            play(table, liar)
            assert_honest_wins(table, truth_proposed=not liar_proposes)
