"""The study behind the default bonds: what a claim must stake so that countering it pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from opml_dispute.simulation import fees
from opml_dispute.simulation.accounts import ETHER
from opml_dispute.simulation.bond_study import Verdict, judge, loss_probability, smallest
from opml_dispute.simulation.bonds import GasCurve
from opml_dispute.simulation.document import Block, Figure, Heading, Paragraph, Table
from opml_dispute.simulation.fees import GWEI
from opml_dispute.simulation.figures import Panel, Series, draw
from opml_dispute.simulation.gas_table import THREE_WORDS

DEPTHS = (26, 32, 42)
"""Of a digit reader's games, of deeper ones, of a large image classifier's."""

DEFAULT = GasCurve(414_000, 186_000, 1.3, 30 * GWEI, 8.5, 0.2)
SAFETIES = (1.0, 2.0, 4.0, 6.0, 8.5, 12.0)
DISPUTES, PATHS = 3_000, 6


def candidates() -> dict[str, GasCurve]:
    """Curves of several shapes, each with the least safety factor that is solvent at 200 gwei."""
    newcomer, marginal = THREE_WORDS.countering(newcomer=True), THREE_WORDS.countering(newcomer=False)
    leaf = THREE_WORDS.countering(newcomer=False, is_leaf=True)
    shapes = {
        "root of its own, growing to a step": (newcomer, marginal, leaf / marginal),
        "root of its own, flat": (newcomer, marginal, 1.0),
        "flat": (newcomer, newcomer, 1.0),
        "falling": (newcomer, newcomer, leaf / newcomer),
    }
    return {
        name: smallest(
            GasCurve(root, floor, growth, 30 * GWEI, 1.0, 0.2), THREE_WORDS, solvent_at_wei=200 * GWEI, depths=DEPTHS
        )
        for name, (root, floor, growth) in shapes.items()
    }


def report() -> list[Block]:
    """The document."""
    verdicts = {
        name: (curve, [judge(curve, depth, THREE_WORDS) for depth in DEPTHS]) for name, curve in candidates().items()
    }
    default = [judge(DEFAULT, depth, THREE_WORDS) for depth in DEPTHS]
    return [
        Heading("Bonds that pay for countering a claim", 1),
        Paragraph(
            "**Question.** What must a claim stake so that an account that counters it gets more than it spends, "
            "up to a base fee of 200 gwei, while a whole dispute about a small model stakes at most 1 ETH a side?"
        ),
        Heading("What follows"),
        Paragraph(
            "The default: a root bond for 414,000 gas; at depth 1 a bond for 186,000 gas, growing by 1.3 to the "
            "maximum depth; "
            "an assumed base fee of 30 gwei, a safety factor of 8.5, and a fifth of each lost bond burnt.\n\n"
            "186,000 gas is one counter of an account that plays already: a move (144,000 when the default was chosen, "
            "92,000 since) and its share of settling. This page counts with the gas of that time; with today's, all "
            "that it says of "
            "what is repaid holds with a margin. "
            "414,000 is a newcomer's: its first move, the end of the game and its payout besides. 1.3 is a step over "
            "a move: "
            "nothing else grows with the depth. 8.5 is 200 over 30, over the four fifths that the winner gets, "
            "rounded up.\n\n"
            "A root bond of its own is worth having: a flat curve that pays newcomers at 200 gwei stakes almost "
            "twice as much. "
            "The published curve stakes 150 and 116 ETH at depth 26, and an honest answer there stakes 1.29 times the "
            "claim that it answers; here it is at most 1.02 times, so that an attacker must lock as much as it makes "
            "others lock.\n\n"
            "The burnt fifth is what a liar loses that counters itself before any other account does: without it, "
            "lying and front-running would cost gas alone. An outsider who defends a true root in its proposer's "
            "place is paid up to 90 gwei only: defending is the proposer's own affair."
        ),
        Heading("Shapes of the curve"),
        _table(
            {name: (curve, found) for name, (curve, found) in verdicts.items()} | {"the default": (DEFAULT, default)}
        ),
        Heading("Over years of base fees"),
        Paragraph(
            f"{DISPUTES:,} disputes at random times of {PATHS} made-up years (docs/simulation.md), the liar giving "
            "up after a "
            "random number of claims, depth 32. Share of disputes in which the challenger loses money, if it pays at "
            "once, and "
            "if it can wait 12 hours of its clock for a fee at which the answer pays for itself."
        ),
        *_risk(),
    ]


def _table(rows: dict[str, tuple[GasCurve, list[Verdict]]]) -> Table:
    head = [
        "curve", "safety", *(f"stake at depth {depth}, ETH" for depth in DEPTHS),
        "solvent to, gwei", "each counter to, gwei", "outsider to, gwei", "griefing", "a lie costs, ETH",
    ]  # fmt: skip
    lines = []
    for name, (curve, found) in rows.items():
        stakes = [f"{each.proposer_side_wei / ETHER:.2f} / {each.challenger_side_wei / ETHER:.2f}" for each in found]
        worst = found[-1]
        lines.append(
            [name, f"{curve.safety:.1f}", *stakes]
            + [f"{wei / GWEI:.0f}" for wei in (worst.solvent_to_wei, worst.marginal_to_wei, worst.outsider_to_wei)]
            + [f"{max(each.griefing_ratio for each in found):.2f}", f"{worst.lie_cost_wei / ETHER:.3f}"]
        )
    return Table(head, lines)


def _risk() -> Sequence[Block]:
    medians = (15, 30, 60)
    shares: dict[tuple[int, bool], list[float]] = {}
    for median in medians:
        paths = [fees.year(median * GWEI, np.random.default_rng(seed)) for seed in range(PATHS)]
        for waits in (False, True):
            shares[median, waits] = [
                loss_probability(
                    replace(DEFAULT, safety=safety),
                    THREE_WORDS,
                    paths,
                    max_depth=32,
                    disputes=DISPUTES,
                    seed=1,
                    wait_s=12 * 3_600 if waits else 0,
                )[0]
                for safety in SAFETIES
            ]
    panels = [
        Panel(
            "waits up to 12 h" if waits else "pays at once",
            "safety factor",
            "challenger loses money",
            [Series(f"median {median} gwei", SAFETIES, shares[median, waits]) for median in medians],
        )
        for waits in (False, True)
    ]
    head = ["median base fee", *(f"safety {safety:g}" for safety in SAFETIES)]
    rows = [
        [f"{median} gwei, {'waits' if waits else 'pays at once'}", *(f"{100 * share:.2f} %" for share in found)]
        for (median, waits), found in shares.items()
    ]
    return [Figure("bonds", "Share of disputes in which the challenger loses money", draw(panels)), Table(head, rows)]
