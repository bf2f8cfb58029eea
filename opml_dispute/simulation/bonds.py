"""
What a claim must stake in a simulated game, and where a lost bond goes.

Two curves: `op_stack`, the published one (`game.bond`), and `from_gas`, which pays for the measured gas of countering a
claim (docs/reports/bonds.md). A share of every lost bond can be burnt; the rest goes to whoever countered the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opml_dispute.game.bond import OP_STACK, required_bond_wei


@dataclass(frozen=True, slots=True)
class GasCurve:
    """A bond curve: gas to be paid for, times a price. Growth 1 is a flat curve."""

    root_gas: int
    """The gas that the root claim's bond pays for."""
    floor_gas: int
    """The gas that a bond at depth 1 pays for."""
    growth: float
    """How many times more a bond at the maximum depth pays for than one at depth 1, geometrically between."""
    assumed_fee_wei: int
    """The base fee that the deployment assumes."""
    safety: float
    """The factor on top."""
    burnt_share: float
    """The share of a lost bond that nobody gets."""

    def gas(self, depth: int, max_depth: int) -> float:
        """The gas that the bond at `depth` pays for at the assumed fee, before safety."""
        if depth == 0:
            return float(self.root_gas)
        return self.floor_gas * float(self.growth ** ((depth - 1) / max(1, max_depth - 1)))

    def bond_wei(self, depth: int, max_depth: int) -> float:
        """The bond of a claim at `depth`."""
        return self.gas(depth, max_depth) * self.assumed_fee_wei * self.safety

    def side_wei(self, max_depth: int, *, first: int) -> float:
        """What one side stakes in a whole dispute: `first` is 0 for the proposer's side, 1 for the challenger's."""
        return sum(self.bond_wei(depth, max_depth) for depth in range(first, max_depth + 1, 2))

    def reward_wei(self, liar_depths: Sequence[int], max_depth: int) -> float:
        """What countering the claims at these depths earns."""
        return (1 - self.burnt_share) * sum(self.bond_wei(depth, max_depth) for depth in liar_depths)


BURN_ADDRESS = "0x000000000000000000000000000000000000dead"
ALL_BPS = 10_000


@dataclass(frozen=True, slots=True)
class BondRule:
    """The bonds of one game type."""

    required_wei: Callable[[int, int], int]
    """(depth, maximum depth) -> the exact stake of a claim there."""
    terms: tuple[int, int, int, int, str]
    """The contract's own: assumed base fee, gas at the root, gas at the maximum depth, forfeited share, to whom."""

    def burnt_wei(self, bond_wei: int) -> int:
        """What nobody gets of a lost bond."""
        return bond_wei * self.terms[3] // ALL_BPS


def op_stack() -> BondRule:
    """The published schedule; nothing is burnt."""
    terms = (200 * 10**9, 400_000, 300_000_000, 0, BURN_ADDRESS)
    return BondRule(lambda depth, max_depth: required_bond_wei(depth, max_depth, OP_STACK), terms)


def from_gas(curve: GasCurve) -> BondRule:
    """A curve that pays for gas, in whole wei."""
    terms = (
        curve.assumed_fee_wei,
        int(curve.floor_gas * curve.safety),
        int(curve.floor_gas * curve.growth * curve.safety),
        round(curve.burnt_share * ALL_BPS),
        BURN_ADDRESS,
    )
    return BondRule(lambda depth, max_depth: int(curve.bond_wei(depth, max_depth)), terms)
