"""
Gas of the single transactions of a dispute, as a simulation charges it.

`MEASURED` is made of the figures that `game.gas` holds and a test compares with the contracts; `THREE_WORDS` is what
the same transactions cost when a claim took three words and each move a deposit: the default bonds were chosen with it.
A scenario names one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from opml_dispute.game import gas


@dataclass(frozen=True, slots=True)
class GasTable:
    """Gas by transaction, everything included (base price, calldata)."""

    create: int
    """Creating a game, which makes the root claim."""
    move: int
    first_move: int
    """What an account's first move in a game costs more."""
    step: int
    """A step, with the local pre-image that it reads."""
    settle_claim: int
    """Resolving one claim among many in one transaction."""
    settle_base: int
    """What that transaction and the end of the game cost besides."""
    payout: int
    """Both calls of `claimCredit` for one account."""
    refused: int
    """A transaction that reverts, for instance a move that another account made first."""

    def countering(self, *, newcomer: bool, is_leaf: bool = False) -> int:
        """
        Gas that an account spends to counter one claim: the answer, and settling both the claim and the answer.

        A newcomer also pays its first move and its payout; an account that plays already has those costs anyway.
        """
        answer = self.step + self.settle_claim if is_leaf else self.move + 2 * self.settle_claim
        return answer + (self.first_move + self.settle_base + self.payout if newcomer else 0)


MEASURED = GasTable(
    create=gas.CREATE_GAS,
    move=gas.MOVE_GAS,
    first_move=gas.FIRST_MOVE_GAS,
    step=gas.STEP_GAS,
    settle_claim=16_500,
    settle_base=57_000,
    payout=gas.PAYOUT_GAS,
    refused=35_000,
)
"""Of the contracts as they are."""

THREE_WORDS = GasTable(
    create=459_000,
    move=144_000,
    first_move=15_000,
    step=219_000,
    settle_claim=19_000,
    settle_base=57_000,
    payout=156_000,
    refused=35_000,
)
"""With three words a claim and a deposit a move."""

TABLES: Mapping[str, GasTable] = MappingProxyType({"measured": MEASURED, "three-words": THREE_WORDS})
