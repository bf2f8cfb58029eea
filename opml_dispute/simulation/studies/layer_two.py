"""A whole dispute on a rollup: what its data cost on the first layer, and what blocks of 2 s and a sequencer change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opml_dispute.game.depths import Depths
from opml_dispute.simulation.document import Block, Heading, Paragraph, Table
from opml_dispute.simulation.fees import GWEI

ENVELOPE_BYTES: Final = 112
"""Of a signed transaction beside its calldata, about: signature, addresses, fees, value."""

BASE_FEE_SCALAR, BLOB_FEE_SCALAR = 5_227e-6, 1_014_213e-6
"""As OP Mainnet had them after its Ecotone upgrade."""

_LITERALS: Final = 33 / 32
"""FastLZ writes what it cannot compress, 32 bytes at a time, with a byte before it."""

MAX_INCLUSION_H: Final = 12
"""A transaction sent through the first layer is in the rollup's chain after so long, whatever its sequencer does."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The transactions of one kind in a dispute of the digit reader: the demo's lying proposer, 26 moves and a step."""

    kind: str
    count: int
    calldata_bytes: int
    gas: int
    data_fee_wei: int
    """Charged for the data of all of them, at usual prices."""


MEASURED: Final = json.loads(Path(__file__).with_name("on_a_rollup.json").read_bytes())
"""What a local chain with these rules charged (scripts/rollup-dispute --renew)."""

DISPUTE: Final = tuple(Sent(**each) for each in MEASURED["sent"])


@dataclass(frozen=True, slots=True)
class Prices:
    """In wei: gas on the rollup, and the first layer's two base fees."""

    name: str
    l2_gas: float
    l1_base_fee: float
    blob_base_fee: float


PRICES: Final = (
    Prices("quiet", 0.001 * GWEI, 1 * GWEI, 1),
    Prices("usual", 0.01 * GWEI, 10 * GWEI, 0.1 * GWEI),
    Prices("busy", 0.1 * GWEI, 100 * GWEI, 10 * GWEI),
)


def data_fee_wei(calldata_bytes: int, prices: Prices) -> float:
    """
    The fee for a transaction's data on the first layer, at most: the OP Stack's rule since Fjord, nothing compressed.

    >>> data_fee_wei(100, Prices("", 0, 10**9, 0)) > data_fee_wei(36, Prices("", 0, 10**9, 0))
    True
    """
    size = (calldata_bytes + ENVELOPE_BYTES) * _LITERALS
    estimated = max(100.0, 0.8365 * size - 42.5856)
    return estimated * (16 * BASE_FEE_SCALAR * prices.l1_base_fee + BLOB_FEE_SCALAR * prices.blob_base_fee)


def dispute_wei(prices: Prices) -> tuple[float, float]:
    """The whole dispute: for gas on the rollup, and for data at most."""
    gas = sum(sent.count * sent.gas for sent in DISPUTE) * prices.l2_gas
    return gas, sum(sent.count * data_fee_wei(sent.calldata_bytes, prices) for sent in DISPUTE)


def answers_of_one_side(depths: Depths) -> int:
    """The moves of the side that moves more often along one line."""
    return (depths.max + 1) // 2


def report() -> list[Block]:
    """The document."""
    depths = Depths(split=4, max=26)
    move = next(sent for sent in DISPUTE if sent.kind == "move")
    rows = []
    for prices in PRICES:
        gas, data = dispute_wei(prices)
        move_gas, move_data = move.gas * prices.l2_gas, data_fee_wei(move.calldata_bytes, prices)
        rows.append(
            [
                f"{prices.name}: {prices.l2_gas / GWEI:g}, {prices.l1_base_fee / GWEI:g}, "
                f"{prices.blob_base_fee / GWEI:g} gwei",
                f"{move_gas / GWEI:,.0f}",
                f"{move_data / GWEI:,.0f}",
                f"{(gas + data) / GWEI:,.0f}",
                f"{data / (gas + data):.0%}",
            ]
        )
    return [
        Heading("On a rollup", 1),
        Paragraph(
            "**Question.** What changes if the contracts stand on an L2 with the OP Stack's fee rules and blocks of "
            "2 seconds?"
        ),
        Heading("What follows"),
        Paragraph(_findings(depths)),
        Heading("Fees"),
        Paragraph(
            "In gwei (10^9 wei). Prices are those of gas on the L2, of gas on the main chain and of blob gas. Data are "
            "counted as if nothing of them could be compressed; scalars are OP Mainnet's after Ecotone, the rule is "
            "Fjord's."
        ),
        Table(["prices", "a move, gas", "a move, data", "a whole dispute", "of it data"], rows),
        Heading("What is sent"),
        Paragraph("As measured, at usual prices."),
        Table(
            ["transaction", "number", "calldata, bytes", "gas each", "data fee each, gwei"],
            [
                [
                    sent.kind,
                    str(sent.count),
                    f"{sent.calldata_bytes:,}",
                    f"{sent.gas:,}",
                    f"{sent.data_fee_wei / sent.count / GWEI:,.1f}",
                ]
                for sent in DISPUTE
            ],
        ),
    ]


def _findings(depths: Depths) -> str:
    """What follows."""
    moves = answers_of_one_side(depths)
    total = sum(sent.count for sent in DISPUTE)
    size = sum(sent.count * sent.calldata_bytes for sent in DISPUTE)
    charged = sum(sent.data_fee_wei for sent in DISPUTE)
    reckoned = dispute_wei(PRICES[1])[1]
    return (
        f"*Cost.* A whole dispute sends {total} transactions with {size:,} bytes of calldata. On the L2 they cost "
        "about a thousandth of what they cost on the main chain, and at usual prices gas is still the larger "
        "part of it. So nothing about the moves has to be made smaller for an L2. The data fee is no part of a "
        "transaction's gas limit and price: an account needs it besides. The commands ask the chain for it where "
        "it is one with these rules, and count it twice over in every quote, in the funds that `deploy`, the "
        "preflight and the choice of moves ask for, and in what was paid where the node tells it.\n\n"
        f"*Measured.* On a local chain that charges by these rules, at usual prices, the data of a whole dispute "
        f"cost {charged / GWEI:,.0f} gwei, compressed as the chain compresses them; without compression it would "
        f"be {reckoned / GWEI:,.0f}. The preflight sets aside {MEASURED['most_data_fee_wei'] / GWEI:,.0f} for "
        f"both sides. Deploying everything takes {MEASURED['deploy_gas'] / 1e6:.1f} M gas and "
        f"{MEASURED['deploy_data_fee_wei'] / GWEI:,.0f} gwei for its data.\n\n"
        "*Bonds.* The default bonds pay for countering at 30 gwei, which is a thousand times the price there and "
        "more. They still work, and are then a deterrent and no longer a refund: they should follow from "
        "what an answer is worth.\n\n"
        f"*Time.* {depths.max} answers, each in the next block, took {MEASURED['moves_took_s']} s in place of "
        f"{12 * depths.max} s. The clocks, which are in seconds, stay as they are.\n\n"
        "*The sequencer.* It can keep a transaction out, but not one that is sent through the main chain, which "
        f"is in the L2's chain after {MAX_INCLUSION_H} hours at the latest. A side that has to send all of its "
        f"{moves} answers so needs {moves * MAX_INCLUSION_H} hours, and its clock has 84; a clock extension of "
        "3 hours does not help. **So a deployment on an L2 wants an extension above "
        f"{MAX_INCLUSION_H} hours**: then a side has, after each answer, the time for one more, however slow its "
        "way is. With the default extension of 3 hours, a sequencer that colludes with a liar wins. Both were "
        "played at the rules level, with each answer of the honest side 12 hours late: it loses with 3 hours, "
        "and wins with 13 (`tests/simulation/test_layer_two.py`)."
    )
