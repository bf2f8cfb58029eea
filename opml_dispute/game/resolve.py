"""
The result of a game: settling claims from the bottom up.

A claim falls if one of its answers stands; the leftmost standing answer (the earliest, on ties) takes its bond, less
the part that is forfeited: `awards`.
`resolvable` lists the claims that can be settled now, in an order that the contract accepts, and `settlement_batches`
cuts them into transactions; `forecast` settles all claims as the game is, whatever the clocks say, and gives winner and
payouts; `winner_if_resolved_now` gives the winner only. Source: docs/game.md, "Resolution".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opml_dispute.game.bond import forfeited_wei
from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.game.clock import time_left_s
from opml_dispute.primitives import Address

MAX_ANSWERS = 512
"""Answers to one claim that one call examines; more take another call. Existing clients do the same."""

WORK_AT_ONCE = 512
"""
Claims settled, and answers to them examined, in one transaction.

At less than 20,000 gas each, that is well below the gas limit of a transaction on any chain.
"""


def resolvable(game: Game, now_s: int) -> list[int]:
    """
    Indices of the claims that can be resolved now, in order: answers before the claims they answer.

    INVARIANT: answers have higher indices than the claims they answer, so one pass from the end sees them first.
    """
    if not game.in_progress:
        return []
    order: list[int] = []
    held: set[int | None] = set()
    """Claims with an answer that cannot be settled yet."""
    for claim in reversed(game.claims):
        if claim.is_resolved:
            continue
        if claim.index in held or time_left_s(game, claim.index, now_s) > 0:
            held.add(claim.parent_index)
        else:
            order.append(claim.index)
    return order


def settlement_batches(game: Game, claim_indices: Sequence[int]) -> list[list[int]]:
    """The same indices in the same order, cut into batches that one transaction can settle."""
    batches: list[list[int]] = []
    room = 0
    for index in claim_indices:
        work = 1 + min(len(game.replies(index)), MAX_ANSWERS)
        if work > room:  # always so for the first
            batches.append([])
            room = WORK_AT_ONCE
        batches[-1].append(index)
        room -= work
    return batches


def game_resolvable(game: Game, now_s: int) -> bool:
    """Whether, once `resolvable` is done, the game itself can be resolved."""
    return game.in_progress and (game.root.is_resolved or 0 in resolvable(game, now_s))


def winning_reply(replies: list[Claim]) -> Claim | None:
    """The answer that takes the bond: of those that stand the leftmost, and of several there the earliest."""
    return min(replies, key=lambda claim: (claim.position.gindex, claim.index), default=None)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The end of the game if no further move is made."""

    winner: GameStatus
    countered_by: Mapping[int, Address | None]
    """By claim index: the account that defeats it, None if it stands."""

    payouts_wei: Mapping[Address, int]
    """The amounts that resolution awards to the players and to the recipient of forfeited bonds, returned bonds
    included."""


def forecast(game: Game) -> Forecast:
    """Settle every claim of `game` as it is; resolved claims keep their results."""
    countered_by: dict[int, Address | None] = {}
    payouts_wei: dict[Address, int] = {}
    for claim in reversed(game.claims):
        if claim.is_resolved:
            countered_by[claim.index] = claim.countered_by
        elif replies := game.replies(claim.index):
            countered_by[claim.index] = _winner_of(claim, [one for one in replies if countered_by[one.index] is None])
        else:
            # Only a step sets this on a claim without answers; the root cannot be stepped.
            countered_by[claim.index] = claim.countered_by
        for receiver, amount_wei in awards(game, claim, countered_by[claim.index]):
            payouts_wei[receiver] = payouts_wei.get(receiver, 0) + amount_wei
    winner = GameStatus.DEFENDER_WINS if countered_by[0] is None else GameStatus.CHALLENGER_WINS
    return Forecast(winner, countered_by, payouts_wei)


def _winner_of(claim: Claim, standing: list[Claim]) -> Address | None:
    """The account that counters a claim, of whose answers these stand now; what a page has decided stays so."""
    decided = claim.checkpoint
    if decided is None:
        best = winning_reply(standing)
        return None if best is None else best.claimant
    left = [one for one in standing if one.index > decided.last_index and one.position.gindex < decided.leftmost]
    best = winning_reply(left)
    return decided.countered_by if best is None else best.claimant


def awards(game: Game, claim: Claim, countered_by: Address | None) -> list[tuple[Address, int]]:
    """
    The recipients of a claim's bond, in wei: its claimant if it stands, or if it was settled for its claimant before a
    step countered it; else the account that countered it, less the forfeited part.
    """
    if countered_by is None or claim.paid_back:
        return [(claim.claimant, claim.bond_wei)]
    forfeited = forfeited_wei(claim.bond_wei, game.terms)
    winner = (countered_by, claim.bond_wei - forfeited)
    return [winner, (game.terms.forfeited_to, forfeited)] if forfeited else [winner]


def winner_if_resolved_now(game: Game) -> GameStatus:
    """The winner if no further move is made; the real winner once the game is over."""
    return forecast(game).winner if game.in_progress else game.status
