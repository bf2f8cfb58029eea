"""One root against all the bytes: what a model's size costs the VM and a dispute, by `tensor_map` and by the oracle."""

from __future__ import annotations

from opml_dispute.game.depths import ceil_log2
from opml_dispute.game.gas import MOVE_GAS, SETTLE_CLAIM_GAS
from opml_dispute.simulation.document import Block, Figure, Heading, Paragraph, Table
from opml_dispute.simulation.figures import Panel, Series, draw

SIZES = tuple(2**log2 for log2 in (10, 16, 20, 25, 30, 34, 37, 40))
NAMES = ("1 KiB", "64 KiB", "1 MiB", "32 MiB", "1 GiB", "16 GiB", "128 GiB", "1 TiB")

ORACLE_STEPS_PER_BYTE = 0.5
"""The tightest loop has four instructions for 8 bytes (docs/comparison.md, "Bringing model data into memory")."""

MAP_STEPS = 88
"""Measured there, for any size."""

VM_STEPS_A_SECOND = 540e6
"""The interpreter's measured speed (docs/benchmarks.md); a loop of system calls is not compiled."""


def report() -> list[Block]:
    """The document."""
    rows, oracle_s, map_s = [], [], []
    for name, size in zip(NAMES, SIZES, strict=True):
        oracle_steps = size * ORACLE_STEPS_PER_BYTE
        moves = ceil_log2(int(oracle_steps)), ceil_log2(MAP_STEPS)
        gas = [count * (MOVE_GAS + SETTLE_CLAIM_GAS) for count in moves]
        oracle_s.append(oracle_steps / VM_STEPS_A_SECOND)
        map_s.append(MAP_STEPS / VM_STEPS_A_SECOND)
        counts = [f"{oracle_steps:,.0f}", f"{MAP_STEPS}", *(f"{count}" for count in moves)]
        times = [f"{oracle_s[-1]:.3g} s", f"{map_s[-1] * 1e6:.2g} µs"]
        rows.append([name, *counts, *(f"{each / 1e6:.2f} M" for each in gas), *times])
    gibibyte = ceil_log2(int(2**30 * ORACLE_STEPS_PER_BYTE)) - ceil_log2(MAP_STEPS)
    saved = gibibyte * (MOVE_GAS + SETTLE_CLAIM_GAS)
    figure = draw(
        [
            Panel(
                "VM time to have the data in memory",
                "bytes",
                "seconds",
                [Series("through the oracle", list(SIZES), oracle_s), Series("tensor_map", list(SIZES), map_s)],
                log_x=True,
                log_y=True,
            )
        ],
        columns=1,
    )
    return [
        Heading("One root or all bytes", 1),
        Paragraph(
            "**Question.** The machine's state is a memory; the model's is a Merkle root beside it. What does it "
            "cost, by the "
            "size of the model, to have the data in memory: M(S), which copies them, against M(S, D), which maps "
            "their root?"
        ),
        Heading("What follows"),
        Paragraph(
            "By its root a model of any size enters in the same 88 steps: seven levels of bisection, microseconds of "
            "VM time. "
            "Copied, 1 GiB takes half a billion steps and 29 levels in every node's run that needs it, and "
            "its bytes would "
            f"have to be on chain for a disputed read. The moves saved are {saved / 1e6:.1f} million gas at 1 GiB; but "
            "what decides "
            "is that "
            "calldata of the model's size cannot be sent at all.\n\n"
            "What is not saved: every party that computes needs the bytes, and hashes them once, natively (0.16 s "
            "for 100 MB)."
        ),
        Figure("one-root-or-all-bytes", "VM time until the data are in memory", figure),
        Heading("By size"),
        Paragraph(
            "Steps per byte and steps of a mapping are measured (docs/comparison.md, scripts/measure-loading); "
            "moves, gas of "
            "moves and settling, and VM time follow from them."
        ),
        Table(
            [
                "size",
                "oracle: steps",
                "map: steps",
                "moves",
                "moves",
                "gas of moves",
                "gas of moves",
                "VM time",
                "VM time",
            ],
            rows,
        ),
    ]
