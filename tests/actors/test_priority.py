"""What an action protects, on a line of claims: every bond on the way up, to the wei, and at the root the game; and the
words for what a claim is about."""

from __future__ import annotations

from opml_dispute.actors.actions import Move, Step
from opml_dispute.actors.priority import DECIDES_THE_GAME_WEI, in_order, lost_with_wei, protected_wei
from opml_dispute.actors.words import subject
from opml_dispute.engine.values import StepWitness
from opml_dispute.game.claim import Claim
from opml_dispute.primitives import Hash32, StateHash
from opml_dispute.trace.provider import StepData
from tests.actors.test_exposure import answer_with_a_lie
from tests.support.builders import FAULTY, ToyTable


def line_of_lies(length: int) -> ToyTable:
    """A wrong root claim, and below it so many claims, each of which attacks the one before."""
    table = ToyTable(seed=1)
    table.root(FAULTY)
    for index in range(length):
        answer_with_a_lie(table, index, b"%d" % index)
    return table


def test_a_claim_protects_the_bonds_above_it_and_at_the_root_the_game() -> None:
    game = line_of_lies(4).game()
    bonds = [claim.bond_wei for claim in game.claims]

    def is_ours(claim: Claim) -> bool:
        return claim.index in (1, 3)

    assert protected_wei(game, game.claims[0], is_ours) == DECIDES_THE_GAME_WEI + bonds[0]
    assert lost_with_wei(game, game.claims[1], is_ours) == bonds[1] + DECIDES_THE_GAME_WEI
    assert lost_with_wei(game, game.claims[3], is_ours) == bonds[3] + bonds[1] + DECIDES_THE_GAME_WEI
    assert protected_wei(game, game.claims[4], is_ours) == lost_with_wei(game, game.claims[3], is_ours)
    assert protected_wei(game, game.claims[2], is_ours) == lost_with_wei(game, game.claims[1], is_ours)

    def only_the_lowest(claim: Claim) -> bool:
        return claim.index == 3

    assert lost_with_wei(game, game.claims[3], only_the_lowest) == bonds[3] + bonds[2]
    assert protected_wei(game, game.claims[2], only_the_lowest) == bonds[1]


def test_a_step_comes_before_a_move_that_protects_more() -> None:
    table = line_of_lies(4)
    game = table.game()

    def is_ours(claim: Claim) -> bool:
        return claim.index == 3

    root = game.claims[0]
    move = Move(0, root.value, True, Hash32(bytes(32)), root.position.attack(), 1, "")
    step = Step(4, True, StepData(StepWitness(b"", b"", None, StateHash(bytes(32))), None), "")
    assert protected_wei(game, root, is_ours) > protected_wei(game, game.claims[4], is_ours)
    assert in_order(game, [move, step], table.reference.now, is_ours) == (step, move)


def test_a_claim_below_the_state_roots_is_about_a_number_of_steps() -> None:
    """Attacks only: the first execution root is about the end of node 0's run, the next claim about its half."""
    depths = line_of_lies(0).game().depths
    game = line_of_lies(depths.split + 2).game()
    assert subject(game, game.claims[depths.split]) == "S_1"
    steps = 1 << depths.execution
    told = [subject(game, claim) for claim in game.claims[depths.split + 1 :]]
    assert told == [f"the VM state of node 0 after {count:,} steps" for count in (steps, steps // 2)]
