"""
How rotary position embeddings are stretched over contexts longer than a model was first trained for.

A `RopeScaling` divides positions, or the frequency of each pair of elements by a factor of its own, and multiplies
cosines and sines. The factors of Llama 3.1 (`llama3_factors`) and of YaRN (`yarn_factors`, Peng et al. 2023, section 3)
follow from a few numbers of a model's configuration; those of LongRoPE are listed in its files. All are computed in
decimal arithmetic, so that a model's root does not depend on where it was compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np

from opml_dispute.generation.rope import DECIMAL, TURN, pair_frequency
from opml_dispute.model.tensor import Array


@dataclass(frozen=True)
class RopeScaling:
    """The rotations of one model."""

    divisor: float = 1.0
    """Positions are divided by this."""
    factors: Array | None = None
    """f32[pairs]: the frequency of each pair of elements is divided by this; None: by 1."""
    long_factors: Array | None = None
    """The same for programs with more positions than `original_context`, if they are others (LongRoPE)."""
    original_context: int = 0
    amplitude: float = 1.0
    """Cosines and sines are multiplied by this."""

    def factors_for(self, positions: int) -> Array | None:
        """The factors in a program with room for so many positions."""
        is_long = self.long_factors is not None and positions > self.original_context
        return self.long_factors if is_long else self.factors


NO_SCALING = RopeScaling()


def llama3_factors(size: int, base: float, *, factor: float, low: float, high: float, original: float) -> Array:
    """
    f32[size / 2]: frequencies that turn less than `low` times in the `original` context are divided by `factor`, those
    that turn more than `high` times are not, and those between by something between.

    ASSUMES that all are above 0, and `high` above `low`.
    """
    found = []
    for i in range(size // 2):
        turns = DECIMAL.divide(DECIMAL.multiply(pair_frequency(i, size, base), Decimal(original)), TURN)
        kept = DECIMAL.divide(turns - Decimal(low), Decimal(high) - Decimal(low))
        found.append(_blended(min(max(kept, Decimal(0)), Decimal(1)), factor))
    return np.array(found, np.float32)


def yarn_factors(
    size: int, base: float, *, factor: float, original: float, fast: float = 32.0, slow: float = 1.0, whole: bool = True
) -> Array:
    """
    f32[size / 2]: pairs that turn more than `fast` times in the `original` context keep their frequency, those that
    turn less than `slow` times have it divided by `factor`, and those between by something between.

    `whole` rounds the two bounds to whole pairs, outwards. ASSUMES that all are above 0, and `base` above 1.
    """
    first, last = (_pair_of_turns(turns, size, base, original) for turns in (fast, slow))
    if whole:
        first, last = first.to_integral_value(ROUND_FLOOR), last.to_integral_value(ROUND_CEILING)
    first, last = max(first, Decimal(0)), min(last, Decimal(size - 1))
    span = last - first or Decimal("0.001")
    ramps = [min(max(DECIMAL.divide(i - first, span), Decimal(0)), Decimal(1)) for i in range(size // 2)]
    return np.array([_blended(1 - ramp, factor) for ramp in ramps], np.float32)


def yarn_amplitude(factor: float, weight: float = 1.0) -> float:
    """By which YaRN multiplies cosines and sines: 1 + 0.1 weight ln(factor); 1 for a factor of at most 1."""
    if factor <= 1:
        return 1.0
    return float(1 + DECIMAL.multiply(Decimal("0.1") * Decimal(weight), DECIMAL.ln(Decimal(factor))))


def longrope_amplitude(factor: float, original: int) -> float:
    """By which LongRoPE does: sqrt(1 + ln(factor) / ln(original)); 1 for a factor of at most 1."""
    if factor <= 1 or original <= 1:
        return 1.0
    share = DECIMAL.divide(DECIMAL.ln(Decimal(factor)), DECIMAL.ln(Decimal(original)))
    return float(DECIMAL.sqrt(1 + share))


def _blended(kept: Decimal, factor: float) -> float:
    """What a frequency is divided by, of which the share `kept` stays and the rest is divided by `factor`."""
    return float(DECIMAL.divide(Decimal(1), kept + DECIMAL.divide(1 - kept, Decimal(factor))))


def _pair_of_turns(turns: float, size: int, base: float, original: float) -> Decimal:
    """The (fractional) number of the pair that turns so often in the `original` context."""
    ratio = DECIMAL.ln(DECIMAL.divide(Decimal(original), DECIMAL.multiply(Decimal(turns), TURN)))
    return DECIMAL.divide(
        DECIMAL.multiply(Decimal(size), ratio), DECIMAL.multiply(Decimal(2), DECIMAL.ln(Decimal(base)))
    )
