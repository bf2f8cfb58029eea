"""
Tiles: an operation that costs too much becomes several nodes, each making a part of the output.

Every kernel makes the output elements [lo, hi) it is told to, and each element in the same way whatever the range.
So cutting the range changes no bit of the result, only how much a single node costs in the VM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from opml_dispute.model.record import Record

Estimate = Callable[[Record], int]
"""VM steps that a record takes, at most."""


Allow = Callable[[int], None]
"""Hears how many records are about to be made; raises if these are too many."""


def tiles(
    record: Record,
    count: int,
    grains: Sequence[int],
    budget: int,
    estimate: Estimate,
    allow: Allow = lambda count: None,
) -> list[Record]:
    """
    `record` over [0, count), cut so that each part's estimate is within `budget` where that can be.

    Parts start at multiples of the first of `grains` of which one fits the budget: first come the larger runs of the
    output that are made together, so that cutting makes them no dearer. A single element that costs more than the
    budget stays whole: nothing smaller exists. Raises what `allow` raises.
    """
    if estimate(replace(record, lo=0, hi=count)) <= budget:
        return _cut(record, count, count)
    for grain in grains:
        size = _largest(record, count, grain, budget, estimate)
        if size:
            allow(-(-count // size))
        # Parts further on can be a little dearer than the first: they may not begin where a block does.
        while size and (most := max(map(estimate, _cut(record, count, size)))) > budget:
            size = int(size * budget / most) // grain * grain
        if size:
            return _cut(record, count, size)
    allow(count)
    return _cut(record, count, 1)


def _cut(record: Record, count: int, size: int) -> list[Record]:
    return [replace(record, lo=lo, hi=min(lo + size, count)) for lo in range(0, count, size)]


def _largest(record: Record, count: int, grain: int, budget: int, estimate: Estimate) -> int:
    """The most outputs, a multiple of `grain`, at the start of the range that are within the budget; perhaps 0."""
    fits, too_large = 0, count // grain + 1
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if estimate(replace(record, lo=0, hi=grain * middle)) <= budget:
            fits = middle
        else:
            too_large = middle
    return grain * fits
