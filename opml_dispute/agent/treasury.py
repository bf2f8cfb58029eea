"""
Limits of staking: in all games, in one game, and the reserve in the account.

A game that is entered must be played to its end, so the possible cost of every line that decides it (`actors.exposure`)
is set aside before the first bond, in addition to that of the other games.
"""

from __future__ import annotations

from dataclasses import dataclass

from opml_dispute.game.claim import Game
from opml_dispute.primitives import Address


@dataclass(frozen=True, slots=True)
class StakeLimits:
    """The operator's limits in wei; None is no limit."""

    max_at_risk_wei: int | None
    max_per_game_wei: int | None
    reserve_wei: int


def staked_wei(game: Game, owner: Address) -> int:
    """Bonds of `owner` in a game that is not resolved."""
    return sum(claim.bond_wei for claim in game.claims if claim.claimant == owner) if game.in_progress else 0


def refusal(
    limits: StakeLimits,
    *,
    balance_wei: int,
    committed_wei: int,
    at_risk_wei: int,
    in_game_wei: int,
    need_wei: int,
    deposited_wei: int = 0,
) -> str | None:
    """
    The reason why a game cannot be entered, as a sentence without a full stop; None if it can.

    `committed_wei` is the cost that the games being played may still have, `at_risk_wei` the bonds staked in them.
    `deposited_wei`, a part of `need_wei`, is deposited for proposals already, so it need not be in the account.
    """
    free_wei = max(0, balance_wei - limits.reserve_wei - committed_wei)
    if free_wei < need_wei - deposited_wei:
        return f"it may take {need_wei - deposited_wei} wei, and {free_wei} are free"
    if limits.max_per_game_wei is not None and in_game_wei + need_wei > limits.max_per_game_wei:
        return f"it may take {in_game_wei + need_wei} wei, more than {limits.max_per_game_wei} a game"
    if limits.max_at_risk_wei is not None and at_risk_wei + need_wei > limits.max_at_risk_wei:
        return f"{at_risk_wei + need_wei} wei would be at risk, more than {limits.max_at_risk_wei}"
    return None
