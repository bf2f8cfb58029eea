"""
The contract itself, in every game with a few claims: each is settled to the wei, as `forecast` says.

WHY NOT proven symbolically: a game's claims lie in storage, at places that are hashes, and which of them exist depends
on the moves; a solver would go through the same trees, one after the other, and each of them slower than the EVM does.
What is left to all inputs is the split of one bond, which contracts/test/proofs is about.
"""

from __future__ import annotations

import itertools

from opml_dispute.game.claim import GameStatus
from opml_dispute.game.resolve import forecast
from tests.support.builders import snapshot
from tests.support.contract_game import ContractGame
from tests.support.reference_game import ZERO, Reverted, Rules

ANN, BEN = (f"0x{'0' * 39}{digit}" for digit in "ab")
RULES = Rules(max_depth=4, split_depth=2, starting_root=b"\x02" * 32)
CLAIMS = 3


def test_every_small_game_on_the_contract_pays_out_to_the_wei() -> None:
    """All trees of up to three claims below the root claim, each claim by each of two players."""
    game = ContractGame(RULES, ANN, b"\x01" * 32)
    assert _explored(game, CLAIMS) == 1 + 2 + 12 + 120


def _explored(game: ContractGame, claims_left: int) -> int:
    """How many games there are from here on; each was settled, and taken back."""
    with game.taken_back():
        _settle_and_check(game)
    if claims_left == 0:
        return 1
    count = 1
    choices = itertools.product(range(len(game.claims)), (True, False), (ANN, BEN))
    for parent, is_attack, who in choices:
        with game.taken_back():
            if _moved(game, parent, who, is_attack=is_attack):
                count += _explored(game, claims_left - 1)
    return count


def _moved(game: ContractGame, parent: int, who: str, *, is_attack: bool) -> bool:
    """Whether the contract takes the move, with a value that begins with one of two VM statuses."""
    claims = game.claims
    position = claims[parent].position << 1 if is_attack else (claims[parent].position | 1) << 1
    for status in (1, 0):
        value = bytes([status]) + bytes([len(claims)]) * 31
        try:
            game.move(who, claims[parent].claim, parent, value, is_attack, game.required_bond(position))
        except Reverted:
            continue
        return True
    return False


def _settle_and_check(game: ContractGame) -> None:
    foretold = forecast(snapshot(game))
    game.now += RULES.max_clock
    for index in reversed(range(len(game.claims))):
        game.resolve_claim(index, 0)
    game.resolve()
    claims, credits = game.claims, game.credits
    assert all(claim.resolved for claim in claims if claim.subgames), "nothing is stuck"
    bonds = sum(claim.bond for claim in claims)
    assert bonds == sum(game.deposits.values()) == sum(credits.values()), "no wei is made or lost"
    lost = sum(claim.bond * RULES.forfeited_bps // 10_000 for claim in claims if claim.countered_by != ZERO)
    assert credits.get(RULES.forfeited_to, 0) == lost, "of what stands nothing is forfeited"
    assert {str(who): amount for who, amount in foretold.payouts_wei.items() if amount} == credits
    assert foretold.winner == GameStatus(game.status)
