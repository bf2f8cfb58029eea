"""
The order of actions when funds or time may not suffice for all.

`in_order` puts steps first, which cost no bond and end a branch; then the moves by what they protect
(`protected_wei`), and among equals by the clock that runs out first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opml_dispute.actors.actions import Move, Step
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.clock import time_left_s


def in_order(
    game: Game, actions: Iterable[Move | Step], now_s: int, is_honest: Callable[[Claim], bool]
) -> tuple[Move | Step, ...]:
    """The same actions, the most important first; equal ones keep their order."""

    def key(action: Move | Step) -> tuple[int, int, int]:
        if isinstance(action, Step):
            claim = game.claims[action.claim_index]
            return 0, -protected_wei(game, claim, is_honest), 0
        claim = game.claims[action.parent_index]
        return 1, -protected_wei(game, claim, is_honest), time_left_s(game, claim.index, now_s)

    return tuple(sorted(actions, key=key))


def protected_wei(game: Game, claim: Claim, is_honest: Callable[[Claim], bool]) -> int:
    """
    The bonds that are lost, or not won, if `claim` stands, in wei: the value that an answer to it protects.

    A wrong claim that stands defeats what it answers; if that is honest, the claim above stands instead, and so on up:
    every honest claim on the way loses its bond, and at the root the game is lost, which counts for more than any
    bond. If an equal honest claim higher up stands, the damage ends earlier; that is not counted.
    """
    if claim.parent_index is None:
        return DECIDES_THE_GAME_WEI + claim.bond_wei
    parent = game.claims[claim.parent_index]
    if not is_honest(parent):
        return parent.bond_wei  # it stands beside the honest answer, and would take its reward
    return lost_with_wei(game, parent, is_honest)


def lost_with_wei(game: Game, honest: Claim, is_honest: Callable[[Claim], bool]) -> int:
    """The amount that is lost, or not won, if an honest claim falls, in wei: its bond, and all that it protects."""
    lost_wei = 0
    while True:
        lost_wei += honest.bond_wei
        if honest.parent_index is None:
            return lost_wei + DECIDES_THE_GAME_WEI
        above = game.claims[honest.parent_index]
        if above.parent_index is None:
            return lost_wei + DECIDES_THE_GAME_WEI
        grandparent = game.claims[above.parent_index]
        if not is_honest(grandparent):
            return lost_wei + above.bond_wei
        honest = grandparent


DECIDES_THE_GAME_WEI = 10**30
"""More than all bonds together: the result of the game."""
