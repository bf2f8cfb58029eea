"""
The bonds of a deployment: the game's terms (`game.bond`), and the factory's bond for root claims.

`SCHEDULES` are those that `opml-dispute deploy --bonds` offers by name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import ALL_BPS, MAX_FORFEITED_BPS, ML, ML_ROOT_BOND_WEI, OP_STACK, BondTerms
from opml_dispute.primitives import Address


class BadBonds(OpmlError):
    """Bonds that the contract would refuse."""


@dataclass(frozen=True)
class Bonds:
    """The bonds of one deployment."""

    terms: BondTerms = ML
    root_bond_wei: int = ML_ROOT_BOND_WEI
    """The bond of a root claim, which the factory asks for: its init bond."""

    def with_forfeit(self, bps: int | None, to: Address | None) -> Bonds:
        """These bonds with another forfeited part, or another recipient of it; None keeps the present value."""
        if bps is not None and not 0 <= bps <= MAX_FORFEITED_BPS:
            raise BadBonds(
                f"{100 * bps / ALL_BPS:g} % of each lost bond would not go to the winner",
                hint=f"at most {100 * MAX_FORFEITED_BPS // ALL_BPS} %: the rest has to pay the winner's gas",
            )
        terms = self.terms
        if bps is not None:
            terms = replace(terms, forfeited_bps=bps)
        if to is not None:
            terms = replace(terms, forfeited_to=to)
        return replace(self, terms=terms)


SCHEDULES: Final = {
    "ml": Bonds(),
    "op-stack": Bonds(OP_STACK, root_bond_wei=OP_STACK.assumed_base_fee_wei * OP_STACK.gas_at_root),
}
"""By name: our own default, and the published game's to the wei."""
