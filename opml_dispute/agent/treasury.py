"""
How much may be staked: in all, in one game, and with the reserve left in the account.

A game that is entered must be played to its end, so its whole worst case is set aside before the first bond:
`game_need_wei` is what one side stakes if the game goes all the way down.
"""

from __future__ import annotations

from dataclasses import dataclass

from opml_dispute.game.bond import required_bond_wei
from opml_dispute.game.claim import Game
from opml_dispute.primitives import Address


@dataclass(frozen=True, slots=True)
class StakeLimits:
    """What the operator allows; None is no limit."""

    max_at_risk_wei: int | None
    max_per_game_wei: int | None
    reserve_wei: int


def staked_wei(game: Game, owner: Address) -> int:
    """Bonds of `owner` in a game that is not resolved."""
    return sum(claim.bond_wei for claim in game.claims if claim.claimant == owner) if game.in_progress else 0


def game_need_wei(game: Game, owner: Address) -> int:
    """
    What `owner` may still have to stake in a game: one bond at every second level from here down to the last move.

    Both sides answer each other level by level, so one of them pays for half the levels. More than one wrong claim at
    a level costs more; such claims pay for their answers themselves, since each loses its own bond to them.
    """
    own = [claim.position.depth for claim in game.claims if claim.claimant == owner]
    deepest = max((claim.position.depth for claim in game.claims), default=0)
    first = max(own) + 2 if own else deepest + 1
    return sum(required_bond_wei(depth, game.depths.max, game.terms) for depth in range(first, game.depths.max + 1, 2))


def refusal(limits: StakeLimits, *, balance_wei: int, at_risk_wei: int, in_game_wei: int, need_wei: int) -> str | None:
    """Why a game cannot be entered, as a sentence without its end; None if it can."""
    if balance_wei - limits.reserve_wei < need_wei:
        return f"it may take {need_wei} wei, and {max(0, balance_wei - limits.reserve_wei)} are free"
    if limits.max_per_game_wei is not None and in_game_wei + need_wei > limits.max_per_game_wei:
        return f"it may take {in_game_wei + need_wei} wei, more than {limits.max_per_game_wei} a game"
    if limits.max_at_risk_wei is not None and at_risk_wei + need_wei > limits.max_at_risk_wei:
        return f"{at_risk_wei + need_wei} wei would be at risk, more than {limits.max_at_risk_wei}"
    return None
