"""
Tiles: an operation that costs too much becomes several nodes, each making a part of the output.

Every kernel makes the output elements [lo, hi) it is told to, and each element in the same way whatever the range.
So cutting the range changes no bit of the result, only how much a single node costs in the VM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .record import Record

Estimate = Callable[[Record], int]
"""VM steps that a record takes, at most."""


def tiles(record: Record, count: int, grain: int, budget: int, estimate: Estimate) -> Iterator[Record]:
    """
    `record` over [0, count), cut so that each part's estimate is within `budget` where that can be.

    Parts start at multiples of `grain` (a row of the output) as long as one such run fits the budget; below that
    they are cut anywhere. A single element that costs more than the budget stays whole: nothing smaller exists.
    """
    whole = replace(record, lo=0, hi=count)
    size = count
    if estimate(whole) > budget:
        size = _largest(record, count, budget, estimate)
        if size > grain:
            size -= size % grain
    for lo in range(0, count, size):
        yield replace(record, lo=lo, hi=min(lo + size, count))


def _largest(record: Record, count: int, budget: int, estimate: Estimate) -> int:
    """The largest part at the start of the range that is within the budget, by bisection; at least 1."""
    fits, too_large = 1, count
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if estimate(replace(record, lo=0, hi=middle)) <= budget:
            fits = middle
        else:
            too_large = middle
    return fits
