"""
The bonds of claims in a simulated game, and the recipients of lost bonds.

Two curves: `op_stack`, the published one (`game.bond`), and `from_gas`, which pays for the measured gas of countering a
claim (docs/reports/bonds.md). A share of every lost bond can be burnt; the rest goes to the account that countered the
claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opml_dispute.game.bond import ALL_BPS, OP_STACK, BondTerms, forfeited_wei, required_bond_wei


@dataclass(frozen=True, slots=True)
class GasCurve:
    """A bond curve: gas to be paid for, times a price. Growth 1 is a flat curve."""

    root_gas: int
    """The gas that the root claim's bond pays for."""
    floor_gas: int
    """The gas that the bonds below begin from: what a bond at depth 0 would pay for without a root bond of its own."""
    growth: float
    """How many times more a bond at the maximum depth pays for, geometrically between; 1 or more in a contract."""
    assumed_fee_wei: int
    """The base fee that the deployment assumes."""
    safety: float
    """The factor on top."""
    burnt_share: float
    """The share of a lost bond that is burnt."""

    def gas(self, depth: int, max_depth: int) -> float:
        """The gas that the bond at `depth` pays for at the assumed fee, before safety."""
        if depth == 0:
            return float(self.root_gas)
        return self.floor_gas * float(self.growth ** (depth / max_depth))

    def bond_wei(self, depth: int, max_depth: int) -> float:
        """The bond of a claim at `depth`."""
        return self.gas(depth, max_depth) * self.assumed_fee_wei * self.safety

    def side_wei(self, max_depth: int, *, first: int) -> float:
        """What one side stakes in a whole dispute: `first` is 0 for the proposer's side, 1 for the challenger's."""
        return sum(self.bond_wei(depth, max_depth) for depth in range(first, max_depth + 1, 2))

    def reward_wei(self, liar_depths: Sequence[int], max_depth: int) -> float:
        """What countering the claims at these depths earns."""
        return (1 - self.burnt_share) * sum(self.bond_wei(depth, max_depth) for depth in liar_depths)


@dataclass(frozen=True, slots=True)
class BondRule:
    """The bonds of one game type: the contract's terms, and the factory's root bond."""

    terms: BondTerms
    root_bond_wei: int

    def required_wei(self, depth: int, max_depth: int) -> int:
        """The exact stake of a claim at `depth`."""
        return self.root_bond_wei if depth == 0 else required_bond_wei(depth, max_depth, self.terms)

    def burnt_wei(self, bond_wei: int) -> int:
        """What is burnt of a lost bond."""
        return forfeited_wei(bond_wei, self.terms)


def op_stack() -> BondRule:
    """The published schedule; nothing is burnt."""
    return BondRule(OP_STACK, required_bond_wei(0, 1, OP_STACK))


def from_gas(curve: GasCurve) -> BondRule:
    """The terms that a curve stands for, in whole gas."""
    terms = BondTerms(
        assumed_base_fee_wei=curve.assumed_fee_wei,
        gas_at_root=max(1, int(curve.floor_gas * curve.safety)),
        gas_at_max_depth=max(1, int(curve.floor_gas * curve.growth * curve.safety)),
        forfeited_bps=round(curve.burnt_share * ALL_BPS),
    )
    return BondRule(terms, int(curve.bond_wei(0, 1)))
