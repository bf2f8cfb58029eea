"""
Tables of rotary position embeddings, the same on every machine.

Cosines and sines come from no library of the operating system: frequencies are powers in decimal arithmetic, angles
are counted in turns by integers, and the functions are polynomials in additions and multiplications of binary64, which
IEEE 754 determines. So a model's root does not depend on where it was compiled.
"""

from __future__ import annotations

from decimal import Context, Decimal
from math import factorial

import numpy as np

from opml_dispute.model.tensor import Array

DECIMAL = Context(prec=50)
TURN = Decimal("6.2831853071795864769252867665590057683943387987502")
_FRACTION_BITS = 96


def pair_frequency(pair: int, size: int, base: float) -> Decimal:
    """By how many radians a position turns pair `pair` of `size` / 2: base^(-2 pair / size)."""
    return DECIMAL.power(Decimal(base), DECIMAL.divide(Decimal(-2 * pair), Decimal(size)))


def rope_table(positions: int, size: int, base: float, divisor: float, factors: Array | None) -> tuple[Array, Array]:
    """
    Cosines and sines, f32[positions][size / 2]: of the angle p / divisor * base^(-2 i / size) / factors[i].

    ASSUMES that `size` is even, `base` above 0, `divisor` and `factors` above 0.
    """
    turns = np.zeros((positions, size // 2))
    for i in range(size // 2):
        frequency = pair_frequency(i, size, base)
        for divided_by in (TURN, Decimal(divisor), Decimal(1) if factors is None else Decimal(float(factors[i]))):
            frequency = DECIMAL.divide(frequency, divided_by)
        step = int(DECIMAL.multiply(frequency, Decimal(1 << _FRACTION_BITS)))
        mask = (1 << _FRACTION_BITS) - 1
        angles = [(p * step & mask) >> (_FRACTION_BITS - 53) for p in range(positions)]
        turns[:, i] = np.array(angles, np.float64) / 2.0**53  # exact: 53 bits
    return _cosine(turns).astype(np.float32), _cosine(turns - 0.25).astype(np.float32)


def _cosine(turns: Array) -> Array:
    """cos of an angle in turns, within 2^-50."""
    quarter = np.rint(turns * 4)
    x = (turns - quarter / 4) * float(TURN)  # |x| <= pi / 4
    square = x * x
    even, odd = np.zeros_like(x), np.zeros_like(x)
    for n in range(16, -1, -2):
        even = even * square + (-1) ** (n // 2) / factorial(n)
        odd = odd * square + (-1) ** (n // 2) / factorial(n + 1)
    odd *= x
    turn = quarter.astype(np.int64) % 4
    found: Array = np.choose(turn, [even, -odd, -even, odd])
    return found
