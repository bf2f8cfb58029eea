"""
What a disputed step costs as a transaction of its game: `FaultDisputeGame.step` on the contracts themselves.

For each kind of step a game is played down to one such step of a node of the sample model
(`tests/support/last_step.py`). It is made twice on the same chain: with the full proof, and with the compact one that
our actors send. Local data that it reads are loaded before, by a transaction of their own.

Gas is before refunds: in a block of Cancun (calldata at 16 gas a byte that is not zero, 4 a zero), and since Prague,
where calldata has a floor price (EIP-7623: 40 and 10).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from lib.environment import ROOT

sys.path.insert(0, str(ROOT))

from tests.support.last_step import LastStep

Row = dict[str, Any]

PEER_TX_GAS = "389,000 to 400,000"
"""A load or store step inside the OP Stack's game: measured once on its own contracts, not repeated here."""


def run(steps: Mapping[str, int]) -> list[Row]:
    """
    A row for each kind of step.

    `steps` has by kind the number of one such step in the run of node 0 of the sample model on sample 0.
    """
    return [_row(kind, step) for kind, step in steps.items()]


def _row(kind: str, step: int) -> Row:
    last = LastStep(step)
    row: Row = {"step_in_game": kind, "moves": len(last.game.claims)}
    for encoding in ("full", "compact"):
        cancun, prague = last.gas(compact=encoding == "compact")
        row |= {f"{encoding}_tx_gas": cancun, f"{encoding}_tx_gas_prague": prague}
    row["peer_tx_gas"] = PEER_TX_GAS if kind in {"load", "store"} else None
    return row
