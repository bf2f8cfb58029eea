"""
From the rows of many trials to estimates with confidence intervals (95 %).

Shares of yes-or-no trials get Wilson's interval, means a bootstrap over trials (games of one trial share a machine and
a purse, so trials are what is independent), quantiles an interval from order statistics. Ratios are ratios of sums,
bootstrapped as such.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[np.float64]]
"""The rows of a point, by column."""

Z_95 = 1.959964
RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the interval that covers the true one in 95 of 100 experiments."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a report."""

    key: str
    title: str
    unit: str
    estimate: Callable[[Columns], Estimate]

    @property
    def heading(self) -> str:
        """Of a table's column: the title with the unit."""
        return f"{self.title} ({self.unit})"


def wilson(successes: float, trials: float) -> Estimate:
    """The share of successes."""
    if trials == 0:
        return Estimate(math.nan, math.nan, math.nan)
    share, z2 = successes / trials, Z_95**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    # Where all trials agree, the interval ends there: rounding must not put its end beside it.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == trials else middle + half
    return Estimate(share, low, high)


def quantile(values: NDArray[np.float64], share: float) -> Estimate:
    """
    A quantile, with the interval between two order statistics.

    An end for which there are too few values is infinite: the 99 % quantile of forty trials has no upper bound.
    """
    ordered = np.sort(values)
    count = len(ordered)
    if count == 0:
        return Estimate(math.nan, math.nan, math.nan)
    spread = Z_95 * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * share - spread) - 1, math.ceil(count * share + spread)
    return Estimate(
        float(np.quantile(ordered, share)),
        float(ordered[low]) if low >= 0 else -math.inf,
        float(ordered[high]) if high < count else math.inf,
    )


def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> Estimate:
    """The ratio of two sums over trials; not a number where the denominator is 0."""
    total = float(below.sum())
    if total == 0:
        return Estimate(math.nan, math.nan, math.nan)
    value = float(above.sum()) / total
    if len(above) < 2:
        return Estimate(value, math.nan, math.nan)
    chosen = np.random.default_rng(0).integers(len(above), size=(RESAMPLES, len(above)))
    tops, bottoms = above[chosen].sum(axis=1), below[chosen].sum(axis=1)
    ratios = tops[bottoms != 0] / bottoms[bottoms != 0]
    low, high = np.quantile(ratios, [0.025, 0.975]) if len(ratios) else (math.nan, math.nan)
    return Estimate(value, float(low), float(high))


def mean(values: NDArray[np.float64]) -> Estimate:
    """The mean over trials."""
    return ratio(values, np.ones_like(values))


def largest(values: NDArray[np.float64]) -> Estimate:
    """The largest value seen: a fact about these trials, not an estimate, so without an interval."""
    top = float(values.max()) if len(values) else math.nan
    return Estimate(top, top, top)


def truth(columns: Columns) -> Estimate:
    """The share of games in which the truth wins."""
    if np.all(columns["games"] == 1):
        return wilson(float(columns["truth_won"].sum()), len(columns["games"]))
    return ratio(columns["truth_won"], columns["games"])


def losses(columns: Columns) -> Estimate:
    """The share of trials in which the honest side loses money."""
    return wilson(float((columns["honest_net_eth"] < 0).sum()), len(columns["honest_net_eth"]))


def griefing(columns: Columns) -> Estimate:
    """What the honest side locks for each ether that the attacker locks."""
    return ratio(columns["honest_peak_eth"], columns["attacker_peak_eth"])


def repaid(columns: Columns) -> Estimate:
    """What bonds brought the honest side for each ether that it spent on gas; 1 is even."""
    return ratio(columns["honest_net_eth"] + columns["honest_gas_eth"], columns["honest_gas_eth"])


METRICS: tuple[Metric, ...] = (
    Metric("truth", "the truth wins", "share of games", truth),
    Metric("delay_median", "delay, median", "h", lambda c: quantile(c["delay_h"], 0.5)),
    Metric("delay_99", "delay, 99 %", "h", lambda c: quantile(c["delay_h"], 0.99)),
    Metric("delay_worst", "delay, worst seen", "h", lambda c: largest(c["worst_delay_h"])),
    Metric("honest_net", "honest gain", "ETH a game", lambda c: ratio(c["honest_net_eth"], c["games"])),
    Metric("honest_loses", "honest side loses money", "share of trials", losses),
    Metric("honest_worst", "honest gain, worst trial", "ETH", lambda c: largest(-c["honest_net_eth"])),
    Metric("honest_gas", "honest gas", "ETH a game", lambda c: ratio(c["honest_gas_eth"], c["games"])),
    Metric("repaid", "bonds gained per honest gas", "ratio", repaid),
    Metric("gas_an_answer", "honest gas per right answer", "ETH", lambda c: ratio(c["honest_gas_eth"], c["truth_won"])),
    Metric("honest_peak", "honest capital, peak", "ETH", lambda c: mean(c["honest_peak_eth"])),
    Metric(
        "honest_eth_days",
        "honest capital over time",
        "ETH days a game",
        lambda c: ratio(c["honest_eth_days"], c["games"]),
    ),
    Metric("attacker_cost", "attacker's cost", "ETH a game", lambda c: ratio(c["attacker_cost_eth"], c["games"])),
    Metric(
        "cost_per_hour",
        "attacker's cost per hour of delay",
        "ETH/h",
        lambda c: ratio(c["attacker_cost_eth"], c["games"] * c["delay_h"]),
    ),
    Metric("griefing", "honest capital per attacker's", "ratio", griefing),
    Metric("missed", "deadlines missed", "a game", lambda c: ratio(c["missed"], c["games"])),
    Metric("false_disputes", "false disputes", "a game", lambda c: ratio(c["false_disputes"], c["games"])),
    Metric("claims", "claims", "a game", lambda c: ratio(c["claims"], c["games"])),
    Metric("refused", "honest transactions refused", "a game", lambda c: ratio(c["honest_refused"], c["games"])),
    Metric("core_h", "core time", "h a game", lambda c: ratio(c["core_h"], c["games"])),
    Metric("core_wait_h", "wait for a core", "h a game", lambda c: ratio(c["core_wait_h"], c["games"])),
    Metric("answers_a_day", "games finished a day", "a day", lambda c: ratio(c["games"] - c["unfinished"], c["days"])),
    Metric("unfinished", "unfinished at the horizon", "share of games", lambda c: ratio(c["unfinished"], c["games"])),
)
"""What a report shows, in this order."""

METRIC_KEYS = tuple(metric.key for metric in METRICS)


def summarise(columns: Columns) -> dict[str, Estimate]:
    """Every metric of one point."""
    estimates = {metric.key: metric.estimate(columns) for metric in METRICS}
    worst = estimates["honest_worst"]
    estimates["honest_worst"] = Estimate(-worst.value, -worst.high, -worst.low)
    return estimates
