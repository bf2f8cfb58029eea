"""
The base fee of a simulated chain, as a function of time.

`FeePath` is one realisation: a step function on a grid, so that a game can ask for the fee at a time (`at_wei`) and for
the first time at which a fee cap suffices (`first_below_s`). Three processes make one:

1. `constant`: the same fee always.
2. `spikes`: a constant fee, multiplied for a while at random times (a popular sale: ten times for hours, a hundred
   times for minutes).
3. `year`: the logarithm of the fee follows a mean-reverting random walk around a daily rhythm, with both kinds of
   spikes on top. It is made, not recorded: its parameters are chosen so that median, quantiles and the length of spikes
   are like those of the main chain's busy years. docs/simulation.md, "Base fee", states them.

Beyond its end a path starts again from its beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GWEI = 10**9
GRID_S = 600
"""Seconds for which the fee stays the same: short beside an hour-long clock, long beside a block."""

YEAR_S = 365 * 86_400

REVERSION_S = 5 * 86_400
"""The time in which the walk forgets its deviation: a busy week is followed by an ordinary one."""

LOG_DEVIATION = 0.6
"""Standard deviation of the walk's logarithm: 90 % of quiet hours are within a factor of 2.7 of the median."""

RHYTHM = 0.25
"""Amplitude of the daily rhythm, in the logarithm: afternoons cost some 60 % more than nights."""


@dataclass(frozen=True)
class FeePath:
    """One realisation of the base fee."""

    wei: NDArray[np.float64]
    """The fee in each interval of `grid_s` seconds."""
    grid_s: int = GRID_S

    def at_wei(self, time_s: float) -> float:
        """The base fee at a time counted from the path's start, in wei per gas."""
        return float(self.wei[int(time_s // self.grid_s) % len(self.wei)])

    def first_below_s(self, time_s: float, cap_wei: float) -> float | None:
        """The first time from `time_s` on at which the fee is at most `cap_wei`; None if it never is."""
        start = int(time_s // self.grid_s)
        if self.wei[start % len(self.wei)] <= cap_wei:
            return time_s
        rolled = np.roll(self.wei <= cap_wei, -(start % len(self.wei)))
        if not rolled.any():
            return None
        return float((start + int(np.argmax(rolled))) * self.grid_s)


def constant(fee_wei: float) -> FeePath:
    """The same fee always."""
    return FeePath(np.array([float(fee_wei)]))


def spikes(
    fee_wei: float,
    random: np.random.Generator,
    *,
    factor: float,
    per_day: float,
    length_s: float,
    duration_s: int = 60 * 86_400,
) -> FeePath:
    """A constant fee that is multiplied by `factor`, `per_day` times a day on average, for `length_s` on average."""
    intervals = duration_s // GRID_S
    return FeePath(fee_wei * _spikes(intervals, random, factor=factor, per_day=per_day, length_s=length_s))


def year(median_wei: float, random: np.random.Generator, *, duration_s: int = YEAR_S) -> FeePath:
    """A year (or `duration_s`) that is like a recorded one; see the module's description."""
    intervals = duration_s // GRID_S
    keep = np.exp(-GRID_S / REVERSION_S)
    noise = random.standard_normal(intervals) * LOG_DEVIATION * np.sqrt(1 - keep**2)
    walk = np.empty(intervals)
    value = random.standard_normal() * LOG_DEVIATION
    for place in range(intervals):
        value = keep * value + noise[place]
        walk[place] = value
    hour = np.arange(intervals) * GRID_S / 86_400 * 2 * np.pi
    rhythm = RHYTHM * np.sin(hour + random.uniform(0, 2 * np.pi))
    long_spikes = _spikes(intervals, random, factor=10, per_day=1 / 30, length_s=4 * 3_600)
    short_spikes = _spikes(intervals, random, factor=100, per_day=1 / 180, length_s=1_800)
    return FeePath(median_wei * np.exp(walk + rhythm) * np.maximum(long_spikes, short_spikes))


def _spikes(
    intervals: int, random: np.random.Generator, *, factor: float, per_day: float, length_s: float
) -> NDArray[np.float64]:
    """1 where there is no spike, `factor` where there is one."""
    multiplier = np.ones(intervals)
    for _ in range(random.poisson(per_day * intervals * GRID_S / 86_400)):
        start = int(random.integers(intervals))
        length = max(1, round(random.exponential(length_s) / GRID_S))
        multiplier[start : start + length] = factor
    return multiplier
