"""
The expected gas of a dispute, from measured parts.

A dispute that goes to the last step has one claim at each depth: the root claim, then moves down to the maximum depth,
where the chain executes one step. `dispute_gas` adds up what that takes from the creation of the game to the winner's
payout, both sides together. The parts are the costs of single transactions (docs/game.md, "What it costs"; a test
compares them with the contracts' snapshots). A game with more liars costs more, and one that ends early costs less.
"""

from __future__ import annotations

from typing import Final

from opml_dispute.game.bond import ML, ML_ROOT_BOND_WEI, BondTerms, required_bond_wei
from opml_dispute.game.depths import Depths

CREATE_GAS: Final = 332_000
"""Creating the game, which makes the root claim."""
MOVE_GAS: Final = 92_000
FIRST_MOVE_GAS: Final = 38_000
"""The additional gas of a player's first move. The game's creator has none: it is known from the start."""
STEP_GAS: Final = 206_000
"""Executing the last instruction: witness, verifier, pre-image if it reads one."""
SETTLE_CLAIM_GAS: Final = 18_000
"""Resolving one claim, where many are resolved in one transaction."""
PAYOUT_GAS: Final = 132_000
"""The winner's two calls of `claimCredit`, if the game is closed."""
CLOSE_GAS: Final = 110_000
"""Closing the game, with the deposit of its bonds: part of the first call of `claimCredit` in it."""


def dispute_moves(depths: Depths) -> int:
    """Moves of a dispute that goes to the last step: one at each depth below the root claim."""
    return depths.max


def dispute_gas(depths: Depths) -> int:
    """
    Gas of a dispute to the last step, from the creation of the game to the payout.

    >>> dispute_gas(Depths(split=4, max=26))
    3696000
    """
    moves = dispute_moves(depths)
    settling = (moves + 1) * SETTLE_CLAIM_GAS + CLOSE_GAS + PAYOUT_GAS
    return CREATE_GAS + moves * MOVE_GAS + FIRST_MOVE_GAS + STEP_GAS + settling


def dispute_bonds_wei(depths: Depths, terms: BondTerms = ML, root_bond_wei: int = ML_ROOT_BOND_WEI) -> tuple[int, int]:
    """
    The bonds of the proposer's and the challenger's side at the end of a dispute to the last step, in wei.

    >>> [wei / 10**18 for wei in dispute_bonds_wei(Depths(split=4, max=26))]
    [0.81774705, 0.70502673]
    >>> from opml_dispute.game.bond import OP_STACK
    >>> [wei // 10**18 for wei in dispute_bonds_wei(Depths(split=4, max=26), OP_STACK, 8 * 10**16)]
    [150, 116]
    """
    bonds = [root_bond_wei, *(required_bond_wei(depth, depths.max, terms) for depth in range(1, depths.max + 1))]
    return sum(bonds[0::2]), sum(bonds[1::2])
