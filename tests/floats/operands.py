"""
Operands that are hard to round: special values, ties, the edges of subnormals and overflow, sums that cancel.

`operands` mixes several kinds of numbers, column by column, and then makes some rows fit together: so that a sum has
its tie just below the last place, a product or quotient lies at the edge of the subnormals, a fused sum cancels all but
the product's last bits, a root is exact or next to exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from tests.floats import vector
from tests.floats.exact import SIGN, SPECIALS
from tests.floats.operations import Operation
from tests.floats.vector import Words

Rng: TypeAlias = np.random.Generator

TIES = (0x3F000000, 0x3FC00000, 0x40200000, 0x4AFFFFFF, 0x4B000001, 0x4EFFFFFF, 0x4F000000, 0xCF000000, 0xCF000001)
"""Halves, and the ends of 32-bit integers."""


def operands(rng: Rng, operation: Operation, count: int) -> tuple[Words, ...]:
    """`count` rows for an operation, a column for each operand."""
    columns = [_number(rng, count) for _ in range(operation.arity)]
    part = slice(0, count // 2)
    if operation.name == "cvt.s.w":
        columns[0][part] = _integers(rng, count)[part]
    elif operation.name.endswith(".w.s"):
        columns[0][part] = _with_exponents(rng, rng.integers(127 - 3, 127 + 35, count))[part]
        halves = _packed(rng, rng.integers(126, 150, count), _few_bits(rng, count))
        columns[0][: count // 4] = halves[: count // 4]
    elif operation.name == "sqrt.s":
        columns[0][part] = _near_squares(rng, count)[part]
    elif operation.arity == 2:
        columns[1][part] = _fitting(rng, columns[0])[part]
    elif operation.arity == 3:
        columns[1][part] = _fitting(rng, columns[0])[part]
        columns[2][: 3 * count // 4] = _addend(rng, *columns[:2])[: 3 * count // 4]
    order = rng.permutation(count)
    return tuple(column[order] for column in columns)


def _number(rng: Rng, count: int) -> Words:
    """Any of the kinds below, mixed."""
    kinds: tuple[Callable[[], Words], ...] = (
        lambda: rng.integers(0, 1 << 32, count, np.uint32),
        lambda: _special(rng, count),
        lambda: _with_exponents(rng, rng.integers(113, 142, count)),
        lambda: _packed(rng, rng.integers(0, 256, count), _few_bits(rng, count)),
        lambda: _packed(rng, rng.integers(0, 3, count), rng.integers(0, 1 << 23, count)),
        lambda: _packed(rng, rng.integers(252, 256, count), _few_bits(rng, count)),
    )
    choice = rng.choice(len(kinds), count, p=(0.2, 0.2, 0.25, 0.2, 0.1, 0.05))
    return _one_of(choice, [make() for make in kinds])


def _one_of(choice: vector.I64, kinds: Sequence[Words]) -> Words:
    """Row by row, the one that `choice` says."""
    out: Words = np.choose(choice, kinds).astype(np.uint32)
    return out


def _special(rng: Rng, count: int) -> Words:
    """An awkward value, often next to it, of either sign."""
    values: Words = rng.choice(np.array([*SPECIALS, *TIES], np.uint32), count)
    aside: Words = rng.choice(np.array([0, 0, 0, 1, 2, 0xFFFFFFFF], np.uint32), count)
    sign: Words = rng.choice(np.array([0, SIGN], np.uint32), count)
    return values + aside ^ sign


def _packed(rng: Rng, exponent: vector.I64, fraction: vector.I64) -> Words:
    sign = rng.integers(0, 2, exponent.size)
    bits: Words = (sign << 31 | np.clip(exponent, 0, 255) << 23 | fraction & 0x7FFFFF).astype(np.uint32)
    return bits


def _with_exponents(rng: Rng, exponent: vector.I64) -> Words:
    return _packed(rng, exponent, rng.integers(0, 1 << 23, exponent.size))


def _few_bits(rng: Rng, count: int) -> vector.I64:
    """Mantissas of few ones, few zeros, or ones down to some place: what ties are made of."""
    one, other = (1 << rng.integers(0, 23, count) for _ in range(2))
    kinds: Sequence[vector.I64] = (one | other, one - 1, -one, ~(one | other), one, np.zeros(count, np.int64))
    fraction: vector.I64 = np.choose(rng.integers(0, len(kinds), count), kinds) & 0x7FFFFF
    return fraction


def _exponent(a: Words) -> vector.I64:
    return ((a >> 23) & 0xFF).astype(np.int64)


def _fitting(rng: Rng, a: Words) -> Words:
    """A partner for each a: some 24 places below it, at the reciprocal end of the range, or a itself with a bit off."""
    few = _few_bits(rng, a.size)
    kinds: Sequence[Words] = (
        a + rng.choice(np.array([0, 0, 1, 0xFFFFFFFF], np.uint32), a.size),
        _packed(rng, _exponent(a) - rng.integers(22, 27, a.size), few),
        _packed(rng, _exponent(a) + rng.integers(-3, 4, a.size), few),
        _packed(rng, 127 - _exponent(a) + rng.integers(-2, 3, a.size), few),  # a product near the smallest numbers
        _packed(rng, 127 + 127 - _exponent(a) + rng.integers(125, 130, a.size), few),  # or near the largest
        _packed(rng, _exponent(a) + rng.integers(122, 130, a.size), few),  # a quotient near the smallest
        a ^ (np.uint32(1) << rng.integers(0, 32, a.size, np.uint32)),
    )
    return _one_of(rng.integers(0, len(kinds), a.size), kinds)


def _addend(rng: Rng, a: Words, b: Words) -> Words:
    """A c for each product: its negative and next to it, or so small or large that it only decides the rounding."""
    product = vector.mul(a, b)
    near = rng.choice(np.array([0, 0, 1, 2, 0xFFFFFFFF], np.uint32), a.size)
    exponent = _exponent(product)
    kinds: Sequence[Words] = (
        product + near ^ np.uint32(SIGN),
        product + near,
        _packed(rng, exponent - rng.integers(20, 60, a.size), _few_bits(rng, a.size)),
        _packed(rng, exponent + rng.integers(20, 60, a.size), _few_bits(rng, a.size)),
        _packed(rng, exponent + rng.integers(-26, 27, a.size), _few_bits(rng, a.size)),
        rng.choice(np.array([0, SIGN, 1, SIGN | 1, 0x00800000], np.uint32), a.size),
    )
    return _one_of(rng.integers(0, len(kinds), a.size), kinds)


def _near_squares(rng: Rng, count: int) -> Words:
    """Squares of numbers of 12 bits, exact, and their neighbours; of numbers of 24 bits, rounded, likewise."""
    root = _with_exponents(rng, rng.integers(1, 255, count))
    short = root & np.uint32(0xFFFFF000)
    chosen = np.where(rng.random(count) < 0.5, root, short)
    aside: Words = rng.choice(np.array([0, 0, 1, 0xFFFFFFFF], np.uint32), count)
    return vector.mul(chosen, chosen) + aside


def _integers(rng: Rng, count: int) -> Words:
    """Integers of every length, many a tie after 24 bits."""
    length = rng.integers(1, 33, count)
    plain = rng.integers(0, 1 << 32, count) >> (32 - length)
    few = (rng.integers(1 << 23, 1 << 24, count) * 2 + 1) << np.maximum(length - 25, 0)
    number = np.where(rng.random(count) < 0.5, plain, few + rng.integers(-1, 2, count))
    return np.where(rng.random(count) < 0.5, number, -number).astype(np.uint64).astype(np.uint32)
