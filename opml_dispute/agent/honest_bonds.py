"""
What became of the claims and bonds of an account that should be right: an honest account's bonds do not fall.

`tally` counts over games in progress and over; `falling` names what would fall if no player moved any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opml_dispute.game.bond import forfeited_wei
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.resolve import forecast
from opml_dispute.primitives import Address


@dataclass(frozen=True, slots=True)
class BondTally:
    """One account's claims and bonds, in wei."""

    pending_claims: int = 0
    """Not resolved yet."""
    valid_claims: int = 0
    """Resolved, and stood; or fell only to a step that came after that."""
    invalid_claims: int = 0
    """Resolved, and fell."""
    pending_wei: int = 0
    lost_wei: int = 0
    won_wei: int = 0
    """Of claims of others that it countered, less what is forfeited."""


def tally(games: Iterable[Game], account: Address) -> BondTally:
    """Over all claims of these games."""
    pending = valid = invalid = pending_wei = lost_wei = won_wei = 0
    for game in games:
        for claim in game.claims:
            if claim.claimant == account:
                if not claim.is_resolved and game.in_progress:
                    pending, pending_wei = pending + 1, pending_wei + claim.bond_wei
                elif claim.bond_falls_to is None:
                    valid += 1
                else:
                    invalid, lost_wei = invalid + 1, lost_wei + claim.bond_wei
            if claim.bond_falls_to == account and (claim.is_resolved or not game.in_progress):
                won_wei += claim.bond_wei - forfeited_wei(claim.bond_wei, game.terms)
    return BondTally(pending, valid, invalid, pending_wei, lost_wei, won_wei)


def falling(game: Game, account: Address, now_s: int) -> tuple[list[Claim], int]:
    """
    Claims of the account that would fall if no player moved, and the least time in seconds to answer what counters one.

    Empty, and 0, if there are none.
    """
    if not game.in_progress:
        return [], 0
    countered_by = forecast(game).countered_by
    found = [
        claim
        for claim in game.claims
        if claim.claimant == account and not claim.is_resolved and countered_by[claim.index] is not None
    ]
    left = [
        time_left_s(game, reply.index, now_s)
        for claim in found
        for reply in game.replies(claim.index)
        if countered_by[reply.index] is None
    ]
    return found, min(left, default=0)


def lost_claims(game: Game, account: Address) -> list[Claim]:
    """Claims of the account that were resolved against it."""
    return [
        claim
        for claim in game.claims
        if claim.claimant == account and claim.bond_falls_to is not None and (claim.is_resolved or not game.in_progress)
    ]
