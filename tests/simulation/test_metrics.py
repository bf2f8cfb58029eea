"""Estimates cover what they estimate, as often as they say."""

import math

import numpy as np
import pytest

from opml_dispute.simulation.metrics import METRIC_KEYS, METRICS, mean, quantile, ratio, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"), [(0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (5, 10, 0.2366, 0.7634)]
)
def test_wilson(successes: int, trials: int, low: float, high: float) -> None:
    """Published values of the 95 % interval."""
    found = wilson(successes, trials)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert found.low <= found.value <= found.high


def test_intervals_cover_as_often_as_they_say() -> None:
    """Of 300 experiments, about 95 % cover the true share, mean and median."""
    chance = np.random.default_rng(3)
    covered = {"share": 0, "mean": 0, "median": 0}
    for _ in range(300):
        values = chance.exponential(2.0, 120)
        covered["share"] += (e := wilson(float((values < 1).sum()), 120)).low <= 1 - math.exp(-0.5) <= e.high
        covered["mean"] += (e := mean(values)).low <= 2.0 <= e.high
        covered["median"] += (e := quantile(values, 0.5)).low <= 2 * math.log(2) <= e.high
    assert all(0.9 <= count / 300 <= 0.99 for count in covered.values()), covered


@pytest.mark.parametrize(("share", "count"), [(0.5, 4), (0.5, 40), (0.99, 4), (0.99, 40), (0.99, 200), (0.99, 1_000)])
def test_a_quantiles_interval_covers_it_for_any_number_of_trials(share: float, count: int) -> None:
    """By the binomial distribution of the values below the quantile; and it holds the estimate itself."""
    found = quantile(np.arange(count, dtype=np.float64), share)
    assert found.low <= found.value <= found.high
    # The interval covers the quantile if more than `low` values lie below it, and `high` at most.
    below = [count_below for count_below in range(count + 1) if found.low < count_below <= found.high]
    chances = [
        math.exp(
            math.lgamma(count + 1)
            - math.lgamma(k + 1)
            - math.lgamma(count - k + 1)
            + k * math.log(share)
            + (count - k) * math.log(1 - share)
        )
        for k in below
    ]
    assert sum(chances) >= 0.95


def test_a_ratio_is_of_sums() -> None:
    """Not a mean of ratios; and nothing where there is nothing to divide by."""
    assert ratio(np.array([1.0, 3.0]), np.array([1.0, 1.0])).value == 2
    assert ratio(np.array([1.0, 3.0]), np.array([0.0, 1.0])).value == 4
    assert math.isnan(ratio(np.array([1.0]), np.array([0.0])).value)


def test_every_metric_has_its_own_key() -> None:
    """A report finds them by it."""
    assert len(set(METRIC_KEYS)) == len(METRICS)
