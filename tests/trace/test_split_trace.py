"""The split trace finds what a claim is about, and knows what it does not know."""

from __future__ import annotations

import pytest

from opml_dispute.actors.honest import consider
from opml_dispute.game.claim import Game
from opml_dispute.game.position import Position
from opml_dispute.game.rules import SubgameRoots, subgame_roots_of
from opml_dispute.trace.split import SplitTrace, UnknownStart
from opml_dispute.trace.states import StateTrace
from tests.support.alphabet import ToyInference, ToyMachine
from tests.support.builders import FAULTY, LIE, MALLORY, TRUTH, Told, ToyTable


def descend(table: ToyTable, told: Told, depth: int) -> Told:
    """The true and the faulty trace play against each other, down to `depth`."""
    from opml_dispute.actors.actions import Move
    from opml_dispute.actors.honest import honest_actions
    from tests.support.builders import HONEST, send

    for turn in range(2 * depth):
        trace, name = ((table.truth, HONEST), (table.faulty, MALLORY))[turn % 2]
        for action in honest_actions(table.game(), trace, table.reference.now):
            if isinstance(action, Move) and action.position.depth <= depth:
                send(table.reference, name, action)
    last = max(table.game().claims, key=lambda claim: (claim.position.depth, claim.index))
    assert last.position.depth == depth
    return Told(table, last.index)


def test_state_trace_repeats_the_last_state() -> None:
    """Positions past the program's end are about S_n."""
    states = ToyInference(0, 5)
    trace = StateTrace(states, node_count=5, split_depth=3)
    leaves = [trace.claim_at(Position(3, index)) for index in range(8)]
    assert leaves == [states.state_root(min(index + 1, 5)) for index in range(8)]


def test_state_trace_refuses_a_tree_too_small() -> None:
    with pytest.raises(ValueError, match="9 nodes do not fit"):
        StateTrace(ToyInference(0, 9), node_count=9, split_depth=3)


def test_the_disputed_value_is_what_the_run_compares_with() -> None:
    """The same node over a true and over a wrong disputed root: two traces, two endings."""
    table = ToyTable()
    table.root(FAULTY)
    descend(table, Told(table, 0), table.rules.split_depth + 1)
    game = table.game()
    (root,) = [claim for claim in game.claims if claim.position.depth == game.depths.execution_root]
    outputs = subgame_roots_of(game, root.index)
    truth, faulty = table.truth.vm_trace(game, outputs), table.faulty.vm_trace(game, outputs)
    assert {truth.exit_code, faulty.exit_code} == {0, 1}
    assert (truth.exit_code == 0) == (
        outputs.disputed.root == table.truth.state_root(outputs.disputed.state_index(game))
    )


def test_the_two_stories_part_at_the_fault() -> None:
    """Up to the flipped bit every state is the same, and none after it until the end."""
    table = ToyTable()
    table.root(FAULTY)
    descend(table, Told(table, 0), table.rules.split_depth + 1)
    game = table.game()
    outputs = subgame_roots_of(game, len(game.claims) - 1)
    truth, faulty = table.truth.vm_trace(game, outputs), table.faulty.vm_trace(game, outputs)
    same = [truth.state_hash(step) == faulty.state_hash(step) for step in range(game.depths.steps + 1)]
    fault_step = 3 + 3
    assert same == [step < fault_step for step in range(game.depths.steps + 1)]


def test_a_start_that_nobody_honest_agrees_with_is_an_error() -> None:
    """A run from it would need content that is not there."""
    table = ToyTable()
    leaf = table.root(LIE).attack(LIE, by=MALLORY).defend(LIE).attack(LIE)
    assert leaf.index == table.rules.split_depth
    wrong = leaf.attack(LIE)
    game = table.game()
    with pytest.raises(UnknownStart, match="a subgame starts from S_"):
        table.truth.claim_at(game, game.claims[wrong.index])


def two_subgames(table: ToyTable) -> tuple[Game, SubgameRoots, SubgameRoots]:
    """A game in which an execution subgame was opened under each of two wrong leaves."""
    table.root(LIE).attack(TRUTH).attack(LIE).attack(TRUTH).attack(LIE)
    Told(table, 3).up.attack(LIE, by=MALLORY).attack(LIE)
    game = table.game()
    return game, subgame_roots_of(game, 4), subgame_roots_of(game, len(game.claims) - 1)


@pytest.mark.parametrize(("budget_bytes", "kept"), [(1, 1), (1 << 20, 1), (1 << 21, 2), (1 << 30, 2)])
def test_runs_are_kept_within_the_budget(budget_bytes: int, kept: int) -> None:
    """A toy machine takes 2^20 bytes. The last run always stays."""
    table = ToyTable()
    table.truth.runs.budget_bytes = budget_bytes
    game, first, second = two_subgames(table)
    assert len(table.truth.runs._traces) == kept
    made = table.truth.runs.made
    table.truth.vm_trace(game, second)
    assert table.truth.runs.made == made
    table.truth.vm_trace(game, first)
    assert table.truth.runs.made == made + 2 - kept


def test_what_was_asked_once_takes_no_run_again() -> None:
    """However small the budget is, another look at the same game makes no VM run."""
    table = ToyTable()
    game, _, _ = two_subgames(table)
    runs = table.truth.runs
    runs.budget_bytes = 1
    plans = [consider(game, table.truth, table.reference.now) for _ in range(4)]
    assert all(plan == plans[0] for plan in plans)
    assert runs.made == 2


def test_runs_are_made_ahead_and_answer_the_same() -> None:
    """With machines that share nothing they run at the same time; the plan is that of one after the other."""
    table = ToyTable()
    game, _, _ = two_subgames(table)
    count = table.node_count
    other = SplitTrace(ToyInference(0, count), ToyMachine(count), node_count=count, spawn=lambda: ToyMachine(count))

    class OneByOne:
        def __init__(self, trace: SplitTrace) -> None:
            self.root_claim, self.claim_at = trace.root_claim, trace.claim_at
            self.reply_at, self.step_at = trace.reply_at, trace.step_at

    serial = consider(game, OneByOne(table.truth), table.reference.now)
    assert serial == consider(game, other, table.reference.now)
    assert serial.actions


def test_a_run_that_was_shrunk_answers_the_same() -> None:
    table = ToyTable()
    game, first, _ = two_subgames(table)
    trace = table.truth.vm_trace(game, first)
    before = [trace.state_hash(step) for step in range(1 << trace.depth)]
    trace.shrink()
    trace._hashes.clear()
    assert [trace.state_hash(step) for step in range(1 << trace.depth)] == before
