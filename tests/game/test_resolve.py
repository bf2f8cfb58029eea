"""What can be settled now, and how much of it at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opml_dispute.actors.actions import ResolveClaim, ResolveGame, Settle
from opml_dispute.actors.honest import resolution_actions
from opml_dispute.game.claim import GameStatus, ResolvedPages
from opml_dispute.game.resolve import (
    MAX_ANSWERS,
    WORK_AT_ONCE,
    forecast,
    game_resolvable,
    resolvable,
    settlement_batches,
    winner_if_resolved_now,
)
from opml_dispute.primitives import Address
from tests.support.builders import HONEST, LIE, MALLORY, SPAMMER, ToyTable


def answered(answers: int) -> ToyTable:
    """A root claim with so many answers."""
    table = ToyTable()
    table.root(LIE)
    reference = table.reference
    for number in range(answers):
        value = b"\x01" + number.to_bytes(31, "big")
        reference.move(MALLORY, reference.claims[0].claim, 0, value, True, reference.required_bond(2))
    return table


def expire(table: ToyTable) -> None:
    table.reference.now += table.rules.max_clock


def test_batches_keep_the_order_and_their_size() -> None:
    """Answers count too: looking at them is most of the work for a claim with many."""
    table = answered(1_200)
    expire(table)
    game = table.game()
    order = resolvable(game, table.reference.now)
    assert order == list(range(1_200, -1, -1))
    batches = settlement_batches(game, order)
    assert [index for batch in batches for index in batch] == order
    assert [len(batch) for batch in batches] == [WORK_AT_ONCE, WORK_AT_ONCE, 1_200 - 2 * WORK_AT_ONCE, 1]
    assert len(game.replies(0)) > MAX_ANSWERS
    assert (WORK_AT_ONCE, MAX_ANSWERS) == (512, 512), "clients of the OP Stack look at so many in a call"


def test_a_claim_can_be_resolved_in_the_second_in_which_its_time_ends() -> None:
    table = answered(0)
    end_s = table.reference.created_at + table.rules.max_clock
    assert resolvable(table.game(), end_s - 1) == []
    assert resolvable(table.game(), end_s) == [0]


def test_the_winner_is_forecast_until_the_game_is_over() -> None:
    game = answered(1).game()
    assert winner_if_resolved_now(game) == GameStatus.CHALLENGER_WINS
    for status in (GameStatus.DEFENDER_WINS, GameStatus.CHALLENGER_WINS):
        assert winner_if_resolved_now(replace(game, status=status)) == status


@pytest.mark.parametrize(
    ("seen", "countered_by"),
    [
        (ResolvedPages(1, leftmost=2**63, countered_by=None), SPAMMER),
        (ResolvedPages(2, leftmost=5, countered_by=HONEST), SPAMMER),
        (ResolvedPages(2, leftmost=4, countered_by=HONEST), HONEST),
        (ResolvedPages(3, leftmost=5, countered_by=HONEST), HONEST),
        (ResolvedPages(3, leftmost=2**63, countered_by=None), None),
    ],
    ids=["none looked at", "one further left comes", "one beside it comes", "all looked at", "all fell"],
)
def test_a_forecast_goes_on_from_the_pages_that_are_decided(seen: ResolvedPages, countered_by: Address | None) -> None:
    """Claim 1, at place 2, has an answer to its right (claim 2, place 6), and one at place 4."""
    table = answered(1)
    reference = table.reference
    for sender, is_attack in ((MALLORY, False), (SPAMMER, True)):
        value = b"\x01" + bytes([is_attack]) * 31
        reference.move(sender, reference.claims[1].claim, 1, value, is_attack, reference.required_bond(4))
    game = table.game()
    assert [claim.position.gindex for claim in game.claims[1:]] == [2, 6, 4]
    assert forecast(game).countered_by[1] == SPAMMER
    claims = (game.claims[0], replace(game.claims[1], checkpoint=seen), *game.claims[2:])
    assert forecast(replace(game, claims=claims)).countered_by[1] == countered_by


def test_actions_settle_all_and_the_game_in_one() -> None:
    table = answered(3)
    assert resolution_actions(table.game(), table.reference.now) == []
    expire(table)
    (action,) = resolution_actions(table.game(), table.reference.now)
    assert action == Settle((3, 2, 1, 0), GameStatus.CHALLENGER_WINS, "")
    assert "challenger wins" in action.reason


def test_actions_for_one_claim_and_for_the_game_alone() -> None:
    """One claim of a game that goes on, and a game whose root is settled already, take the plain calls."""
    table = answered(1)
    reference = table.reference
    reference.now += 10
    reference.move(MALLORY, reference.claims[0].claim, 0, b"\x01" * 32, True, reference.required_bond(2))
    reference.now = reference.created_at + table.rules.max_clock
    # The root claim's time is over too, but its second answer can still be answered.
    (action,) = resolution_actions(table.game(), reference.now)
    assert action == ResolveClaim(1, "")
    expire(table)
    for index in resolvable(table.game(), reference.now):
        reference.resolve_claim(index, MAX_ANSWERS)
    (action,) = resolution_actions(table.game(), reference.now)
    assert action == ResolveGame(GameStatus.CHALLENGER_WINS, "")


def test_a_game_is_resolvable_while_it_lasts_and_once_its_root_can_be_settled() -> None:
    game, now_s = answered(1).game(), answered(1).reference.now
    end_s = now_s + game.clocks.max_clock_s
    assert not game_resolvable(game, now_s)
    assert game_resolvable(game, end_s)
    assert game_resolvable(answered(0).game(), end_s), "without any answer too"
    settled = replace(game, claims=tuple(replace(claim, is_resolved=True) for claim in game.claims))
    assert game_resolvable(settled, now_s)
    for status in (GameStatus.DEFENDER_WINS, GameStatus.CHALLENGER_WINS):
        assert not game_resolvable(replace(game, status=status), end_s)
        assert not game_resolvable(replace(settled, status=status), end_s)
