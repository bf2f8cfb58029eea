"""What a game may still cost: true on random trees, and a short purse protects what decides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from opml_dispute.actors.actions import Action, Move, ResolveClaim, ResolveGame, Settle, Step
from opml_dispute.actors.exposure import Line, SpendableFunds, deciding, line_wei, rest_wei, within
from opml_dispute.actors.honest import Decision, consider
from opml_dispute.actors.player import play_round
from opml_dispute.actors.priority import DECIDES_THE_GAME_WEI
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import ML, required_bond_wei
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.position import Position
from opml_dispute.primitives import Address, Hash32
from tests.support.builders import FAULTY, HONEST, MALLORY, TRUTH, Seat, ToyTable, a_lie, send, snapshot

SEEDS = range(40)
HASH = Hash32(bytes(32))


def answer_with_a_lie(table: ToyTable, index: int, salt: bytes) -> None:
    """MALLORY attacks a claim with something wrong."""
    game = table.game()
    claim = game.claims[index]
    lie = a_lie(game, claim, b"", is_attack=True, salt=salt)
    reference = table.reference
    bond = reference.required_bond(claim.position.attack().gindex)
    reference.move(MALLORY, claim.value, index, lie, True, bond)


def random_tree(seed: int) -> ToyTable:
    """A game in which several wrong claims stand at one level, at once or one after the other."""
    chance = random.Random(seed)
    table = ToyTable(seed=chance.randrange(4))
    table.root(chance.choice([TRUTH, FAULTY]))
    for turn in range(chance.randrange(1, 9)):
        game = table.game()
        shallow = [claim.index for claim in game.claims if claim.position.depth < game.depths.max]
        for number in range(chance.randrange(1, 4)):
            answer_with_a_lie(table, chance.choice(shallow), b"%d %d" % (turn, number))
        if chance.random() < 0.7:
            play_round(Seat(table.reference, HONEST), table.truth)
    return table


def plan_of(table: ToyTable) -> tuple[Game, Decision]:
    game = table.game()
    return game, consider(game, table.truth, table.reference.now)


def staked_by(table: ToyTable, who: Address) -> int:
    return int(table.reference.deposits.get(who, 0))


@pytest.mark.parametrize("seed", SEEDS)
def test_lines_played_to_their_ends_cost_what_was_foretold(seed: int) -> None:
    """Mallory answers each claim that nothing stands against, once, down to the last level; Honest answers all."""
    table = random_tree(seed)
    game, plan = plan_of(table)
    foretold_wei, before_wei = rest_wei(game, plan.lines), staked_by(table, HONEST)
    for turn in range(2 * game.depths.max):
        game, plan = plan_of(table)
        for action in plan.actions:
            send(table.reference, HONEST, action)
        game, plan = plan_of(table)
        if not plan.lines:
            break
        open_now = [line for line in plan.lines if line.move is None]
        tips = [
            claim.index
            for claim in game.claims
            if any(claim.position.depth + 2 == line.depth for line in open_now) and is_tip(game, table, claim.index)
        ]
        assert len(tips) == len(open_now)
        for index in tips:
            answer_with_a_lie(table, index, b"end %d" % turn)
    # The game in memory computes bonds in floating point, so not to the wei.
    assert staked_by(table, HONEST) - before_wei == pytest.approx(foretold_wei, rel=1e-6)


def is_tip(game: Game, table: ToyTable, index: int) -> bool:
    """A right claim without an answer that is answered, found anew: by whose side it is on and what stands below."""
    claim = game.claims[index]
    if claim.claimant != HONEST or claim.position.depth + 2 > game.depths.max:
        return False
    return not any(game.replies(reply.index) for reply in game.replies(index))


class ShortOfMoney(Seat):
    """A seat whose account has so much and no more."""

    def __init__(self, table: ToyTable, balance_wei: int) -> None:
        super().__init__(table.reference, HONEST)
        self.balance_wei = balance_wei
        self.overdrawn = False

    def purse(self) -> SpendableFunds:
        return SpendableFunds(self.balance_wei, 0)

    def send_all(self, actions: Sequence[Action]) -> list[OpmlError | None]:
        outcomes = super().send_all(actions)
        done = [action for action, error in zip(actions, outcomes, strict=True) if error is None]
        self.balance_wei -= sum(action.bond_wei for action in done if isinstance(action, Move))
        self.overdrawn |= self.balance_wei < 0
        return outcomes


@pytest.mark.parametrize("seed", SEEDS)
def test_a_purse_for_what_decides_wins_the_game_whatever_else_is_claimed(seed: int) -> None:
    """Mallory goes on in every line, and the purse is enough for those that decide: they are never short."""
    table = random_tree(seed)
    game, plan = plan_of(table)
    seat = ShortOfMoney(table, rest_wei(game, deciding(plan)))
    for turn in range(2 * game.depths.max):
        round_ = play_round(seat, table.truth)
        assert not seat.overdrawn
        game, plan = plan_of(table)
        assert not [line for line in deciding(plan) if line.move is not None], "all that decides is answered"
        tips = [claim.index for claim in game.claims if is_tip(game, table, claim.index)]
        if not tips and not round_.done:
            break
        for index in tips:
            answer_with_a_lie(table, index, b"end %d" % turn)
    table.reference.now += 400_000
    for _ in range(2 * len(game.claims)):
        if table.reference.status:
            break
        play_round(seat, table.truth)
    is_right = bytes(table.truth.root_claim()) == bytes(snapshot(table.reference).root.value)
    assert (table.reference.status == 2) == is_right


def test_money_goes_to_what_decides_before_it_goes_to_rewards() -> None:
    table = ToyTable()
    root = table.root(FAULTY)
    decoy = root.attack(bytes(32))  # Mallory beside the honest answer, and older: only a reward hangs on it
    game, plan = plan_of(table)
    first = next(line for line in plan.lines if line.decides)
    assert plan.lines[0] is first
    least = SpendableFunds(rest_wei(game, [first]), 0)
    made, kept = within(game, plan, least)
    assert made == [first.move]
    assert [move.parent_index for move, _ in kept] == [decoy.index]
    assert "not needed for what protects more" in str(kept[0][1])
    poor = SpendableFunds(1, 0)
    assert within(game, plan, poor)[0][0] == first.move, "it is tried: the sender says what is short"
    richer = SpendableFunds(rest_wei(game, plan.lines), 0)
    assert within(game, plan, richer)[1] == []


def test_a_move_takes_its_bond_and_its_gas_to_the_wei() -> None:
    table = ToyTable()
    table.root(FAULTY).attack(bytes(32))
    game, plan = plan_of(table)
    first, second = plan.lines
    assert second.move is not None
    takes_wei, gas_wei = second.move.bond_wei + 10**15, 10**15
    enough_wei = rest_wei(game, [first], gas_wei) + takes_wei
    assert within(game, plan, SpendableFunds(enough_wei, gas_wei)) == ([first.move, second.move], [])
    made, kept = within(game, plan, SpendableFunds(enough_wei - 1, gas_wei))
    assert made == [first.move]
    assert f"takes {takes_wei} wei, and {takes_wei - 1} of {enough_wei - 1} are not needed" in str(kept[0][1])


def test_steps_cost_no_bond_and_are_never_kept() -> None:
    table = ToyTable()
    table.root(FAULTY)
    honest, liar = ShortOfMoney(table, 10**30), Seat(table.reference, MALLORY)
    for _ in range(table.rules.max_depth):
        if any(isinstance(action, Step) for action in plan_of(table)[1].actions):
            break
        play_round(honest, table.truth)
        play_round(liar, table.faulty)
    honest.balance_wei = 0
    assert [action for action in play_round(honest, table.truth).done if isinstance(action, Step)]


def test_a_line_costs_a_bond_and_the_gas_of_a_move_at_every_second_depth() -> None:
    bonds = [required_bond_wei(depth, 8, ML) for depth in range(9)]
    assert line_wei(3, 8, ML) == bonds[3] + bonds[5] + bonds[7]
    assert line_wei(3, 8, ML, 11) == line_wei(3, 8, ML) + 3 * 11
    assert line_wei(8, 8, ML, 11) == bonds[8] + 11
    assert line_wei(9, 8, ML, 11) == 0
    table = ToyTable()
    table.root(TRUTH)
    game, lines = table.game(), [Line(3, None, 0), Line(6, None, 0)]
    two_wei = [line_wei(depth, game.depths.max, game.terms) for depth in (3, 6)]
    assert rest_wei(game, lines) == sum(two_wei)
    assert rest_wei(game, lines, 7) > rest_wei(game, lines)


def test_why_an_action_is_taken_makes_it_no_other_action() -> None:
    """Two plans that do the same are equal."""
    data: Any = object()
    for one, other in (
        (Move(0, HASH, True, HASH, Position(1, 0), 5, "a"), Move(0, HASH, True, HASH, Position(1, 0), 5, "b")),
        (Step(1, True, data, "a"), Step(1, True, data, "b")),
        (ResolveClaim(1, "a"), ResolveClaim(1, "b")),
        (Settle((1, 0), None, "a"), Settle((1, 0), None, "b")),
        (ResolveGame(GameStatus.DEFENDER_WINS, "a"), ResolveGame(GameStatus.DEFENDER_WINS, "b")),
    ):
        assert one == other


def test_a_line_that_protects_just_what_the_game_decides_decides_it() -> None:
    assert Line(1, None, DECIDES_THE_GAME_WEI).decides
    assert not Line(1, None, DECIDES_THE_GAME_WEI - 1).decides
