"""
The OP Stack's fault dispute game: its bond schedule, and its longest game.

The rules are the project's own (`game`), so only what is special about that deployment is here: maximum depth 73, split
depth 30, clocks of 3.5 days, an extension of 3 hours.
"""

from __future__ import annotations

from opml_dispute.game.bond import OP_STACK, required_bond_wei

MAX_DEPTH, SPLIT_DEPTH = 73, 30
MAX_CLOCK_H, EXTENSION_H = 84.0, 3.0


def chain_bonds_wei(max_depth: int = MAX_DEPTH, *, with_leaf: bool) -> int:
    """All bonds along one chain of claims, one claim a depth; `with_leaf` counts the claim at the maximum depth too."""
    return sum(required_bond_wei(depth, max_depth, OP_STACK) for depth in range(max_depth + (1 if with_leaf else 0)))


def longest_game_h(
    max_clock_h: float = MAX_CLOCK_H,
    extension_h: float = EXTENSION_H,
    *,
    split_depth: int = SPLIT_DEPTH,
    max_depth: int = MAX_DEPTH,
    challenge_period_h: float = 0.0,
    liar_proposes: bool = True,
) -> float:
    """
    The longest game between one liar, who answers at the last moment, and an honest party who answers at once, in
    hours.

    Each side has its clock. A claim gives the side that has to answer its answer at least the extension, however late
    it was made: so the liar, once its clock is used up, has the extension anew for each further answer. It makes the
    claims at even depths if it proposes, at odd depths otherwise; the last clock to run out is the honest side's.
    """
    used_h, elapsed_h = 0.0, 0.0
    for depth in range(2 if liar_proposes else 1, max_depth + 1, 2):
        # The liar's time on this claim is what its clock has left after the honest side's last answer extended it.
        elapsed_h += max_clock_h - used_h
        extension = extension_h * (2 if depth == split_depth - 1 else 1)
        extension += challenge_period_h if depth == max_depth - 1 else 0.0
        used_h = max_clock_h - extension
    # No player answers the last claim; its own clock runs from what the honest side had used, which is nothing.
    return elapsed_h + max_clock_h
