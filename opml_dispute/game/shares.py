"""
The share of a fee that is for defenders: what is kept for those who countered the claims that fell, and its division.

`rewards_wei` divides a share as the contract does; `most_share_wei` bounds it by what the game's losers forfeited.
Source: docs/game.md, "Shares of the defenders".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opml_dispute.game.bond import forfeited_wei
from opml_dispute.game.claim import Game
from opml_dispute.primitives import Address

MAX_DEFENDERS_BPS: Final = 5_000
"""The oracle refuses requests that promise defenders more than half of the fee."""

FORFEITED_PER_REWARD: Final = 2
"""A reward is at most one of so many parts of what the claims forfeited that it is for."""


def won_wei(game: Game, countered_by: Mapping[int, Address | None]) -> dict[Address, int]:
    """
    What each account's lost opponents forfeited, in wei.

    `countered_by` has the account that counters each claim, by index, None if it stands: as in a `Forecast`.
    """
    won: dict[Address, int] = {}
    for claim in game.claims:
        winner, part = countered_by[claim.index], forfeited_wei(claim.bond_wei, game.terms)
        if winner is not None and part and not claim.paid_back:
            won[winner] = won.get(winner, 0) + part
    return won


def most_share_wei(won: Mapping[Address, int]) -> int:
    """The largest share of a game in which these amounts were forfeited."""
    return sum(won.values()) // FORFEITED_PER_REWARD


def rewards_wei(won: Mapping[Address, int], share_wei: int) -> dict[Address, int]:
    """
    Each account's part of a share, in proportion to what its opponents forfeited, rounded down.

    >>> rewards_wei({Address("0x01"): 30, Address("0x02"): 10}, 10)
    {'0x01': 7, '0x02': 2}
    """
    all_wei = sum(won.values())
    return {winner: share_wei * part // all_wei for winner, part in won.items()}
