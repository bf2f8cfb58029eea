"""
What every game obeys, whatever is played against the honest actor. Each rule is a function with its reason.

Some hold for each action before it is sent, some once the honest actor has answered everything, some once the game is
over; a heading stands above each group.
"""

from __future__ import annotations

from collections.abc import Sequence

from opml_dispute.actors.actions import Move, Step
from opml_dispute.actors.honest import consider
from opml_dispute.game.bond import forfeited_wei
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.resolve import forecast
from opml_dispute.game.rules import check_move, prestate_matches, step_claims, subgame_roots_of
from opml_dispute.primitives import Address, StateHash
from opml_dispute.trace.split import SplitTrace
from tests.support.alphabet import ToyState
from tests.support.builders import HONEST
from tests.support.reference_game import ReferenceGame

# --- each action, before it is sent ---


def rule_actions_are_legal(game: Game, actions: Sequence[Move | Step], now_s: int) -> None:
    """The chain refuses the others, and a refused move is time lost."""
    for action in actions:
        if isinstance(action, Move):
            position = check_move(game, action.parent_index, action.value, is_attack=action.is_attack, now_s=now_s)
            assert position == action.position
            assert action.disputed == game.claims[action.parent_index].value
        else:
            claim = game.claims[action.claim_index]
            assert claim.position.depth == game.depths.max
            assert claim.countered_by is None


def rule_never_counters_itself(game: Game, actions: Sequence[Move | Step]) -> None:
    """An own claim that falls costs its bond."""
    for action in actions:
        index = action.parent_index if isinstance(action, Move) else action.claim_index
        assert game.claims[index].claimant != HONEST


def rule_prestates_are_right(game: Game, actions: Sequence[Move | Step]) -> None:
    """A step from a state whose pre-image is unknown cannot be made."""
    for action in actions:
        if isinstance(action, Step):
            claimed = step_claims(game, action.claim_index, is_attack=action.is_attack).pre_value(game)
            presented = StateHash(ToyState.decode(action.data.witness.state_data).state_hash())
            assert prestate_matches(claimed, presented)


def rule_no_poisoned_start(game: Game, truth: SplitTrace) -> None:
    """
    No own claim has a wrong claim as its nearest left neighbour on the way to the root.

    Otherwise a step could be forced from there.
    """
    for claim in game.claims:
        if claim.claimant != HONEST or claim.parent_index is None or claim.position.index_at_depth == 0:
            continue
        in_execution = claim.position.depth > game.depths.split
        local = claim.position.within_subtree(game.depths.execution_root) if in_execution else claim.position
        if local.index_at_depth == 0:
            continue  # what lies left of it is the absolute prestate, or S_0
        left = game.ancestor(claim.position.left_neighbour(), claim.index, bounded=in_execution)
        assert truth.claim_at(game, left) == left.value
        if in_execution:
            outputs = subgame_roots_of(game, claim.index)
            assert truth.state_root(outputs.node_index(game)) == outputs.starting.root


# --- the game, after each round ---


def rule_winner_is_right_already(game: Game, truth: SplitTrace) -> None:
    """The other side loses if it stops playing now: the honest actor never depends on a later move of its own."""
    right = GameStatus.DEFENDER_WINS if game.root.value == truth.root_claim() else GameStatus.CHALLENGER_WINS
    assert forecast(game).winner == right


def rule_nothing_left_to_say(game: Game, truth: SplitTrace, now_s: int) -> None:
    """Asked again about the answered game, the honest actor is silent: nothing is said twice."""
    assert consider(game, truth, now_s).actions == ()


# --- the game, when it is over ---


def rule_truth_won(game: Game, truth: SplitTrace) -> None:
    """What all of this is for."""
    right = GameStatus.DEFENDER_WINS if game.root.value == truth.root_claim() else GameStatus.CHALLENGER_WINS
    assert game.status == right


def rule_honest_keeps_every_bond(game: Game) -> None:
    """No claim of the honest actor falls: honest play must not cost money."""
    assert not [c for c in game.claims if c.claimant == HONEST and c.countered_by]


def rule_honest_earns_what_it_counters(game: Game, reference: ReferenceGame) -> None:
    """Each claim it posted takes its parent's bond, each leaf it stepped on the leaf's, less what is forfeited."""
    own = [claim for claim in game.claims if claim.claimant == HONEST]
    beaten = {claim.parent_index for claim in own if claim.parent_index is not None}
    beaten |= {claim.index for claim in game.claims if claim.countered_by == HONEST and not game.replies(claim.index)}
    won = [game.claims[index].bond_wei for index in beaten]
    expected = sum(claim.bond_wei for claim in own) + sum(bond - forfeited_wei(bond, game.terms) for bond in won)
    assert reference.credits.get(HONEST, 0) == expected


def rule_no_money_is_made_or_lost(reference: ReferenceGame) -> None:
    """Bonds change hands; their sum does not change."""
    assert sum(reference.credits.values()) == sum(reference.deposits.values())


def rule_every_lost_bond_pays_its_part(game: Game, reference: ReferenceGame) -> None:
    """A part of a countered claim's bond is forfeited, even if the claimant itself countered it."""
    lost = [claim.bond_wei for claim in game.claims if claim.bond_falls_to]
    expected = sum(forfeited_wei(bond_wei, game.terms) for bond_wei in lost)
    assert reference.credits.get(game.terms.forfeited_to, 0) == expected


def rule_forecast_was_right(before: Game, after: Game, reference: ReferenceGame) -> None:
    """What `forecast` said about the last state of play is what the contract then did."""
    predicted = forecast(before)
    assert predicted.winner == after.status
    assert predicted.payouts_wei == {Address(name): wei for name, wei in reference.credits.items()}
