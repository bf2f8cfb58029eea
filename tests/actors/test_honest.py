"""What the honest actor answers, and what it leaves alone: games of a few moves."""

from dataclasses import replace

import pytest

from opml_dispute.actors.actions import Move, ResolveClaim, ResolveGame, Settle, Step
from opml_dispute.actors.honest import consider, honest_actions, resolution_actions
from opml_dispute.actors.words import short_hex
from opml_dispute.game.claim import GameStatus
from opml_dispute.primitives import StateRoot
from opml_dispute.trace.provider import WrongInference
from opml_dispute.trace.split import SplitTrace
from tests.support.alphabet import ToyInference, ToyMachine
from tests.support.builders import FAULTY, HONEST, LIE, MALLORY, SPAMMER, TRUTH, ToyTable, Value, faulty_trace, send


@pytest.fixture
def game() -> ToyTable:
    return ToyTable()


def test_leaves_a_true_root_alone(game: ToyTable) -> None:
    game.root(TRUTH).expect_nothing()


def test_attacks_a_wrong_root(game: ToyTable) -> None:
    """The honest actor attacks a wrong root claim."""
    game.root(LIE).expect_attack()


def test_attacks_a_lie_under_its_own_claim(game: ToyTable) -> None:
    game.root(LIE).attack(TRUTH).attack(LIE).expect_attack()


def test_defends_a_truth_under_its_own_claim(game: ToyTable) -> None:
    """Who agrees with the first half must be wrong about the second."""
    game.root(LIE).attack(TRUTH).attack(TRUTH, by=MALLORY).expect_defence()


def test_answers_what_counters_a_true_root(game: ToyTable) -> None:
    game.root(TRUTH).attack(LIE).expect_attack()


def test_does_not_counter_its_own_claim(game: ToyTable) -> None:
    game.root(LIE).attack(TRUTH).expect_nothing()


def test_takes_an_equal_claim_for_its_own(game: ToyTable) -> None:
    """The honest answer that another account posted is neither repeated nor countered."""
    root = game.root(LIE)
    root.attack(TRUTH, by=SPAMMER).expect_nothing()
    root.expect_nothing()


def test_answers_a_freeloader_at_its_own_place(game: ToyTable) -> None:
    """Another value where the honest attack stands could take the root's bond, if it was there first."""
    older = game.root(LIE).attack(LIE, by=SPAMMER)
    older.up.attack(TRUTH).up.attack(b"\x44" * 32, by=SPAMMER).expect_nothing()
    older.expect_attack()


def test_answers_a_freeloader_to_the_left(game: ToyTable) -> None:
    """The honest answer to a right claim is a defence; an attack beside it stands left of it."""
    claim = game.root(LIE).attack(TRUTH).attack(TRUTH, by=MALLORY)
    claim.expect_defence()
    claim.attack(LIE, by=SPAMMER).expect_attack()


def test_ignores_a_freeloader_to_the_right(game: ToyTable) -> None:
    """A defence beside the honest attack can never outrank it."""
    claim = game.root(LIE).attack(TRUTH).attack(LIE)
    claim.expect_attack()
    claim.defend(LIE, by=SPAMMER).expect_nothing()


def test_ignores_all_below_what_it_ignores(game: ToyTable) -> None:
    claim = game.root(LIE).attack(TRUTH).attack(LIE)
    claim.expect_attack()
    claim.defend(LIE, by=SPAMMER).attack(LIE).expect_nothing()


def test_ignores_a_quarrel_under_a_true_root(game: ToyTable) -> None:
    """Two spammers under a lie that the honest actor has answered once."""
    lie = game.root(TRUTH).attack(LIE)
    lie.expect_attack()
    lie.defend(LIE, by=SPAMMER).expect_nothing()


def test_an_execution_root_over_a_lie_fails(game: ToyTable) -> None:
    """Over a wrong leaf even the true run ends in failure: the honest execution root has status byte 1."""
    wrong_leaf = game.root(LIE).attack(TRUTH).attack(LIE).attack(LIE, by=SPAMMER)
    assert wrong_leaf.index == game.rules.split_depth
    wrong_leaf.up.attack(TRUTH)
    wrong_leaf.expect_attack()
    assert game.reference.claims[-1].claim[0] == 1


def test_an_execution_root_against_a_true_leaf_is_attacked(game: ToyTable) -> None:
    """Over the honest leaf the true run succeeds, so a claim that it fails is wrong."""
    leaf = game.root(LIE).attack(TRUTH).attack(LIE).attack(TRUTH)
    leaf.attack(LIE).expect_attack()


def test_says_why(game: ToyTable) -> None:
    """A reason names the claim, what it is about, and both values."""
    (action,) = game.root(LIE).honest_answers()
    assert isinstance(action, Move)
    assert action.reason.startswith("Claim 0 says S_5 is 0x")
    assert "Here it is 0x" in action.reason
    assert "Attack: S_4 is 0x" in action.reason


def play_out(game: ToyTable, *, honest_first: bool = True) -> None:
    """The honest actor and the liar with the faulty trace answer each other until neither has a move left."""
    players = [(HONEST, game.truth), (MALLORY, game.faulty)]
    for _ in range(40):
        said = False
        for name, trace in players if honest_first else reversed(players):
            for action in honest_actions(game.game(), trace, game.reference.now):
                if isinstance(action, Step) and name == MALLORY:
                    continue  # the chain would refuse it: see test_liars
                send(game.reference, name, action)
                said = True
        if not said:
            return
    raise AssertionError("the game does not end")


@pytest.mark.parametrize("root", [TRUTH, FAULTY])
def test_a_whole_dispute_is_won_by_the_truth(game: ToyTable, root: Value) -> None:
    """Each player is answered down to the step, whichever proposes; then the game resolves for the truth."""
    game.root(root)
    play_out(game)
    assert max(claim.position.depth for claim in game.game().claims) == game.rules.max_depth
    game.reference.now += game.rules.max_clock
    while game.reference.status == 0:
        for action in resolution_actions(game.game(), game.reference.now):
            send(game.reference, HONEST, action)
    expected = GameStatus.DEFENDER_WINS if root is TRUTH else GameStatus.CHALLENGER_WINS
    assert game.game().status == expected


def test_steps_only_once(game: ToyTable) -> None:
    """A leaf that a step has countered needs no second one."""
    game.root(FAULTY)
    play_out(game)
    stepped = [claim for claim in game.game().claims if claim.countered_by == HONEST]
    assert stepped
    assert not [a for a in honest_actions(game.game(), game.truth, game.reference.now) if isinstance(a, Step)]


def test_says_what_it_is_too_late_for(game: ToyTable) -> None:
    """No move is planned that the clock would refuse."""
    game.root(LIE).wait(game.rules.max_clock)
    plan = consider(game.game(), game.truth, game.reference.now)
    assert plan.actions == ()
    assert plan.missed == ("Too late to answer claim 0: the clock has run out.",)


def test_plans_nothing_for_a_game_that_is_over(game: ToyTable) -> None:
    game.root(LIE).wait(game.rules.max_clock)
    for action in resolution_actions(game.game(), game.reference.now):
        send(game.reference, HONEST, action)
    assert game.game().status == GameStatus.DEFENDER_WINS
    assert consider(game.game(), game.truth, game.reference.now).actions == ()
    assert resolution_actions(game.game(), game.reference.now) == []


def test_refuses_a_game_about_another_input(game: ToyTable) -> None:
    """Judging it by this trace would call every claim a lie."""
    game.root(LIE)
    other = SplitTrace(ToyInference(1, game.node_count), ToyMachine(game.node_count), node_count=game.node_count)
    with pytest.raises(WrongInference, match="the game starts at 0x"):
        honest_actions(game.game(), other, game.reference.now)


def test_refuses_a_game_about_another_program(game: ToyTable) -> None:
    game.root(LIE)
    other = SplitTrace(ToyInference(0, 4), ToyMachine(4), node_count=4)
    with pytest.raises(WrongInference, match="about 5 nodes, this program has 4"):
        honest_actions(game.game(), other, game.reference.now)


def test_a_claim_that_cannot_be_judged_stops_no_other(game: ToyTable) -> None:
    """A trace that does not know S_1 answers whatever is not about it, before and after it in the list of claims."""
    root = game.root(LIE)
    first = root.attack(TRUTH)
    first.attack(LIE)  # to be answered with S_1
    root.attack(b"\x77" * 32, by=SPAMMER).defend(LIE)  # beside the honest answer, younger: left alone
    first.defend(LIE)  # about a later state: to be answered all the same

    class Forgetful(ToyInference):
        def state_root(self, t: int) -> StateRoot:
            if t == 1:
                raise WrongInference("forgotten")
            return super().state_root(t)

    stuck = SplitTrace(Forgetful(0, game.node_count), ToyMachine(game.node_count), node_count=game.node_count)
    plan = consider(game.game(), stuck, game.reference.now)
    assert [unjudged.claim_index for unjudged in plan.unjudged] == [2]
    assert [action.parent_index for action in plan.actions if isinstance(action, Move)] == [5]
    full = consider(game.game(), game.truth, game.reference.now)
    assert {action.parent_index for action in full.actions if isinstance(action, Move)} == {2, 5}


def test_what_cannot_outrank_the_honest_answer_is_not_paid_for(game: ToyTable) -> None:
    """A lie in the honest answer's own place takes its bond only if it was there first."""
    root = game.root(LIE)
    older = root.attack(LIE)
    root.attack(TRUTH)
    younger = root.attack(b"\x55" * 32, by=SPAMMER)
    older.expect_attack()
    younger.expect_nothing()
    younger.attack(LIE, by=SPAMMER).expect_nothing()


def test_before_the_honest_answer_stands_every_lie_in_its_place_is_older(game: ToyTable) -> None:
    root = game.root(LIE)
    first, second = root.attack(LIE), root.attack(b"\x55" * 32, by=SPAMMER)
    assert first.honest_answers()
    assert second.honest_answers()
    root.attack(TRUTH)
    assert first.honest_answers()
    assert second.honest_answers()


def test_steps_come_first_then_what_decides_the_game(game: ToyTable) -> None:
    """A decoy beside the honest answer protects a reward, a lie below it the whole game; a step costs no bond."""
    root = game.root(FAULTY)
    root.attack(LIE, by=SPAMMER)  # older than the honest answer: it would take the root's bond
    play_out(game)
    leaves = [claim for claim in game.game().claims if claim.position.depth == game.rules.max_depth]
    assert leaves
    honest_claims = [claim for claim in game.game().claims if claim.claimant == HONEST]
    deep = max(honest_claims, key=lambda claim: claim.position.depth)
    position = deep.position.gindex << 1
    if deep.position.depth < game.rules.max_depth:
        game.reference.move(
            SPAMMER, deep.value, deep.index, b"\x03" + b"\x66" * 31, True, game.reference.required_bond(position)
        )
    plan = consider(game.game(), game.truth, game.reference.now)
    kinds = [isinstance(action, Step) for action in plan.actions]
    assert kinds == sorted(kinds, reverse=True)
    moves = [action for action in plan.actions if isinstance(action, Move)]
    lonely = ToyTable()
    top = lonely.root(LIE)
    top.attack(LIE, by=SPAMMER)
    mine = top.attack(TRUTH)
    mine.attack(LIE)
    ordered = consider(lonely.game(), lonely.truth, lonely.reference.now).actions
    assert [action.parent_index for action in ordered if isinstance(action, Move)] == [3, 1]
    assert all(move.parent_index >= 0 for move in moves)


def played_to_its_steps(game: ToyTable) -> list[Step]:
    """The steps that the honest actor owes once both sides have made all their moves."""
    game.root(FAULTY)
    while not (owed := [a for a in honest_actions(game.game(), game.truth, game.reference.now) if isinstance(a, Step)]):
        for name, trace in ((HONEST, game.truth), (MALLORY, game.faulty)):
            for action in honest_actions(game.game(), trace, game.reference.now):
                if not isinstance(action, Step):
                    send(game.reference, name, action)
    return owed


def test_a_leaf_with_an_owed_step_is_not_settled(game: ToyTable) -> None:
    """Who could not send a step must not be the one who settles the leaf as right."""
    owed = played_to_its_steps(game)
    game.reference.now += game.rules.max_clock
    held = frozenset(step.claim_index for step in owed)
    free = resolution_actions(game.game(), game.reference.now)
    assert isinstance(free[-1], Settle)
    assert free[-1].expected == GameStatus.DEFENDER_WINS, "without the step the lie would stand"
    kept = resolution_actions(game.game(), game.reference.now, owed=held)
    settled = {index for action in kept if isinstance(action, Settle) for index in action.claim_indices}
    assert not settled & (held | {0})
    assert not [action for action in kept if isinstance(action, ResolveGame)]


def test_a_step_says_what_its_instruction_shows() -> None:
    """Whether the leaf is wrong by itself, or the claim after it; both happen, depending on where the fault is."""
    said = set()
    for scramble in range(4):
        table = ToyTable()
        table.faulty = faulty_trace(0, table.node_count, 2, scramble, bit=5)
        (step,) = played_to_its_steps(table)
        leaf = table.game().claims[step.claim_index]
        says = "says the VM state of node 2 after" if step.is_attack else "is right: the VM state of node 2 after"
        assert step.reason.startswith(f"Claim {leaf.index} {says}")
        assert short_hex(leaf.value) in step.reason
        ending = "the instruction before it ends in" if step.is_attack else "shows that the next claim is not"
        assert ending in step.reason
        said.add(step.is_attack)
    assert said == {False, True}


def test_a_step_is_too_late_once_the_claim_above_is_settled(game: ToyTable) -> None:
    (step,) = played_to_its_steps(game)
    now = game.game()
    above = now.claims[step.claim_index].parent_index
    assert above is not None
    settled = [replace(claim, is_resolved=claim.index == above) for claim in now.claims]
    plan = consider(replace(now, claims=tuple(settled)), game.truth, game.reference.now)
    assert plan.actions == ()
    assert plan.missed == (f"Too late to step on claim {step.claim_index}: the claim above it is settled.",)


def test_a_settlement_says_what_becomes_of_the_claims(game: ToyTable) -> None:
    """One claim by name and what it falls to, several by their number; the game's end with its winner."""
    game.root(LIE)
    (last,) = resolution_actions(game.game(), game.reference.now + game.rules.max_clock)
    assert last.reason == (
        "The time to answer claim 0 is over: it stands. The root claim is settled: the defender wins."
    )
    (answer,) = honest_actions(game.game(), game.truth, game.reference.now)
    send(game.reference, HONEST, answer)
    (last,) = resolution_actions(game.game(), game.reference.now + game.rules.max_clock)
    assert last == Settle((1, 0), GameStatus.CHALLENGER_WINS, "")
    assert last.reason == "The time to answer 2 claims is over. The root claim is settled: the challenger wins."
    (one,) = resolution_actions(game.game(), game.reference.now + game.rules.max_clock, owed=frozenset({0}))
    assert one == ResolveClaim(1, "")
    assert one.reason == "The time to answer claim 1 is over: it stands."
    settled = [replace(claim, is_resolved=claim.index == 1) for claim in game.game().claims]
    now = replace(game.game(), claims=tuple(settled))
    (last,) = resolution_actions(now, game.reference.now + game.rules.max_clock)
    assert last.reason.startswith(f"The time to answer claim 0 is over: it falls to {HONEST}.")


@pytest.mark.parametrize(("left_s", "is_open"), [(2, True), (1, True), (0, False)])
def test_a_claim_whose_answers_are_too_late_costs_no_more(game: ToyTable, left_s: int, is_open: bool) -> None:
    game.root(TRUTH).wait(game.rules.max_clock - left_s)
    assert bool(consider(game.game(), game.truth, game.reference.now).lines) == is_open
