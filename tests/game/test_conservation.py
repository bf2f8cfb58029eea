"""
Every wei of every bond ends with a player or with the receiver of what is forfeited, and no claim is left unsettled:
in every game that can be played with a few claims, not in some.

All trees of up to `CLAIMS` claims are made, move by move, with each claim by each of two players, and with each subset
of the leaves at the last depth stepped by either. Each is settled from the bottom up, whole and in pages of one
answer, by the rules that the contract is compared with (`tests.support.reference_game`), and by `forecast`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from opml_dispute.game.claim import GameStatus
from opml_dispute.game.resolve import forecast
from tests.support.builders import snapshot
from tests.support.reference_game import ZERO, Record, ReferenceGame, Reverted, Rules

ANN, BEN, CARL = (f"0x{'0' * 39}{digit}" for digit in "abc")
CLAIMS = 4
RULES = Rules(max_depth=4, split_depth=2)


@dataclass(frozen=True)
class Answer:
    """A claim of a tree: which one it answers, on which side, by whom."""

    parent: int
    is_attack: bool
    claimant: str


def trees(claims: int) -> Iterator[tuple[Answer, ...]]:
    """Every way to add so many claims to a root claim, one after the other."""
    kinds = [list(itertools.product(range(index), (True, False), (ANN, BEN))) for index in range(1, claims + 1)]
    for chosen in itertools.product(*kinds):
        yield tuple(Answer(*each) for each in chosen)


def play(tree: tuple[Answer, ...]) -> ReferenceGame | None:
    """The game of a tree; None if the rules refuse one of its moves."""
    game = ReferenceGame(RULES, lambda *_: b"", ANN, b"\x01" * 32)
    for number, answer in enumerate(tree):
        if not any(moved(game, answer, bytes([status]) + bytes([number]) * 31) for status in (1, 0)):
            return None
    return game


def moved(game: ReferenceGame, answer: Answer, value: bytes) -> bool:
    """Whether the rules take the move, with a value that begins with this VM status."""
    parent = game.claims[answer.parent]
    position = parent.position << 1 if answer.is_attack else (parent.position | 1) << 1
    try:
        bond = game.required_bond(position)
        game.move(answer.claimant, parent.claim, answer.parent, value, answer.is_attack, bond)
    except Reverted:
        return False
    return True


def leaves(game: ReferenceGame) -> list[Record]:
    return [claim for claim in game.claims if claim.position.bit_length() - 1 == RULES.max_depth]


def settle(game: ReferenceGame, page: int) -> None:
    """All claims from the last on, `page` answers at a time."""
    game.now += RULES.max_clock
    for index in reversed(range(len(game.claims))):
        for _ in range(len(game.claims) + 1):
            if not game.claims[index].resolved:
                game.resolve_claim(index, page)
    game.resolve()


def check(game: ReferenceGame, page: int) -> None:
    foretold = forecast(snapshot(game))
    settle(game, page)
    assert all(claim.resolved for claim in game.claims), "nothing is stuck"
    assert game.status != 0
    bonds = sum(claim.bond for claim in game.claims)
    assert sum(game.deposits.values()) == bonds
    assert sum(game.credits.values()) == bonds, "no wei is made or lost"
    assert set(game.credits) <= {ANN, BEN, CARL, RULES.forfeited_to}
    assert all(amount >= 0 for amount in game.credits.values())
    fallen = [claim for claim in game.claims if claim.countered_by != ZERO and not claim.paid_back]
    lost = sum(claim.bond * RULES.forfeited_bps // 10_000 for claim in fallen)
    assert game.credits.get(RULES.forfeited_to, 0) == lost, "of what stands nothing is forfeited"
    assert {str(who): amount for who, amount in foretold.payouts_wei.items() if amount} == game.credits
    assert foretold.winner == GameStatus(game.status)
    # The rule itself, said once more: a claim falls if one of its answers stands.
    for index, claim in enumerate(game.claims):
        standing = [game.claims[reply] for reply in claim.subgames if game.claims[reply].countered_by == ZERO]
        if claim.subgames:
            first = min(standing, key=lambda reply: reply.position, default=None)
            assert claim.countered_by == (ZERO if first is None else first.claimant), index


@pytest.mark.parametrize("claims", range(1, CLAIMS + 1))
def test_every_small_tree_pays_out_to_the_wei(claims: int) -> None:
    played = 0
    for tree in trees(claims):
        for page in (1, 512):
            game = play(tree)
            if game is None:
                break
            check(game, page)
            played += 1
    assert played == {1: 4, 2: 24, 3: 240, 4: 3_232}[claims]


def test_every_line_down_to_the_last_step_pays_out_to_the_wei() -> None:
    """Lines of claims by either player to the last depth, a second claim anywhere, and all ways to step the leaves."""
    played = 0
    line = RULES.max_depth
    for sides, claimants in itertools.product(
        itertools.product((True, False), repeat=line), itertools.product((ANN, BEN), repeat=line)
    ):
        chain = tuple(Answer(index, side, who) for index, (side, who) in enumerate(zip(sides, claimants, strict=True)))
        for beside in (None, *range(line)):
            tree = chain if beside is None else (*chain, Answer(beside, True, BEN))
            for steppers in itertools.product((ZERO, CARL), repeat=2):
                for are_late in (False, True) if CARL in steppers else (False,):
                    game = play(tree)
                    if game is None:
                        continue
                    if are_late:  # a step may come after the claim was settled for its claimant
                        game.now += RULES.max_clock
                    for leaf, stepper in zip(leaves(game), steppers, strict=False):
                        if are_late:
                            game.resolve_claim(game.claims.index(leaf), 1)
                        leaf.countered_by, leaf.paid_back = stepper, are_late and stepper != ZERO
                    check(game, 1)
                    played += 1
    assert played > 1_700
