"""
How much may be staked: in all, in one game, and with the reserve left in the account.

A game that is entered must be played to its end, so what it may take on every line that decides it
(`actors.exposure`) is set aside before the first bond, beside what other games may still take.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def refusal(
    limits: StakeLimits, *, balance_wei: int, committed_wei: int, at_risk_wei: int, in_game_wei: int, need_wei: int
) -> str | None:
    """
    Why a game cannot be entered, as a sentence without its end; None if it can.

    `committed_wei` is what the games that are being played may still take, `at_risk_wei` what is staked in them.
    """
    free_wei = max(0, balance_wei - limits.reserve_wei - committed_wei)
    if free_wei < need_wei:
        return f"it may take {need_wei} wei, and {free_wei} are free"
    if limits.max_per_game_wei is not None and in_game_wei + need_wei > limits.max_per_game_wei:
        return f"it may take {in_game_wei + need_wei} wei, more than {limits.max_per_game_wei} a game"
    if limits.max_at_risk_wei is not None and at_risk_wei + need_wei > limits.max_at_risk_wei:
        return f"{at_risk_wei + need_wei} wei would be at risk, more than {limits.max_at_risk_wei}"
    return None
