"""
How rotary position embeddings are stretched over contexts longer than a model was first trained for.

A `RopeScaling` divides positions, or the frequency of each pair of elements by a factor of its own, and multiplies
cosines and sines. The factors of Llama 3.1 (`llama3_factors`) and of YaRN (`yarn_factors`, Peng et al. 2023, section 3)
follow from a few numbers of a model's configuration; those of LongRoPE are listed in its files. All are computed in
decimal arithmetic of one precision, so that a model's root depends neither on where it was compiled nor on the decimal
context of the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

import numpy as np

from opml_dispute.generation.refusals import UnsupportedLanguageModel
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

    def expect_usable(self, label: str) -> None:
        """Raises `UnsupportedLanguageModel` where a number is none above 0 in binary32; `label` names the model."""
        for numbers in (self.factors, self.long_factors, np.array([self.divisor, self.amplitude])):
            if numbers is not None and not are_usable(_in_binary32(numbers)):
                raise UnsupportedLanguageModel(
                    f"{label} scales its rotations by what is no number above 0 in binary32: its factors, divisor or "
                    "amplitude are damaged, or far out of range"
                )


NO_SCALING = RopeScaling()


def llama3_factors(size: int, base: float, *, factor: float, low: float, high: float, original: float) -> Array:
    """
    The factors, f32[size / 2]: of frequencies that turn less than `low` times in the `original` context, `factor`; of
    those that turn more than `high` times, 1; of those between, something between.

    ASSUMES that all are above 0, and `high` above `low`.
    """
    found = []
    with localcontext(DECIMAL):
        for i in range(size // 2):
            turns = pair_frequency(i, size, base) * Decimal(original) / TURN
            kept = (turns - Decimal(low)) / (Decimal(high) - Decimal(low))
            found.append(_blended(min(max(kept, Decimal(0)), Decimal(1)), factor))
    return _in_binary32(found)


def yarn_factors(
    size: int, base: float, *, factor: float, original: float, fast: float = 32.0, slow: float = 1.0, whole: bool = True
) -> Array:
    """
    The factors, f32[size / 2]: 1 of pairs that turn more than `fast` times in the `original` context, `factor` of those
    that turn less than `slow` times, and something between of those between.

    `whole` rounds the two bounds to whole pairs, outwards. ASSUMES that all are above 0, and `base` above 1.
    """
    with localcontext(DECIMAL):
        first, last = (_pair_of_turns(turns, size, base, original) for turns in (fast, slow))
        if whole:
            first, last = first.to_integral_value(ROUND_FLOOR), last.to_integral_value(ROUND_CEILING)
        first, last = max(first, Decimal(0)), min(last, Decimal(size - 1))
        span = last - first or Decimal("0.001")
        ramps = [min(max((i - first) / span, Decimal(0)), Decimal(1)) for i in range(size // 2)]
        return _in_binary32([_blended(1 - ramp, factor) for ramp in ramps])


def yarn_amplitude(factor: float, weight: float = 1.0) -> float:
    """By which YaRN multiplies cosines and sines: 1 + 0.1 weight ln(factor); 1 for a factor of at most 1."""
    if factor <= 1:
        return 1.0
    with localcontext(DECIMAL):
        return float(1 + Decimal("0.1") * Decimal(weight) * Decimal(factor).ln())


def longrope_amplitude(factor: float, original: int) -> float:
    """By which LongRoPE does: sqrt(1 + ln(factor) / ln(original)); 1 for a factor of at most 1."""
    if factor <= 1 or original <= 1:
        return 1.0
    with localcontext(DECIMAL):
        return float((1 + Decimal(factor).ln() / Decimal(original).ln()).sqrt())


def _in_binary32(numbers: Sequence[float] | Array) -> Array:
    """Rounded; infinities and zeros of what is out of range are left to `RopeScaling.expect_usable`."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.asarray(numbers, np.float64), np.float32)


def are_usable(numbers: Array) -> bool:
    """Whether all are finite and above 0."""
    return bool((np.isfinite(numbers) & (numbers > 0)).all())


def _blended(kept: Decimal, factor: float) -> float:
    """What a frequency is divided by, of which the share `kept` stays and the rest is divided by `factor`."""
    return float(1 / (kept + (1 - kept) / Decimal(factor)))


def _pair_of_turns(turns: float, size: int, base: float, original: float) -> Decimal:
    """The (fractional) number of the pair that turns so often in the `original` context."""
    return size * (Decimal(original) / (Decimal(turns) * TURN)).ln() / (2 * Decimal(base).ln())
