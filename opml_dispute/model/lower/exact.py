"""
Arithmetic of integers with fractions, roots and logarithms, without a detour through floats.

Float attributes of integer operators (`Gemm`'s alpha, `Shrink`'s bias), and functions whose integer result is a float's
with the fraction cut off, are exact here: binary32 holds 24 bits, and a result just below an integer would lose one.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from math import floor

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import Binary, DType, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

FRACTION_BITS = 38
"""Bits behind the binary point of a factor, at most: with 24 bits of its own, sums of products stay within int64."""


def truncated_sum(g: Builder, terms: Sequence[tuple[Tensor, float]], constant: float, dtype: DType) -> Tensor:
    """
    The sum of integer tensors times factors, plus a constant; the fraction is cut off, and integers wrap.

    Raises `Refuse` for a factor that is not finite, or has too many bits behind the binary point.
    """
    factors = [_fraction(factor) for _, factor in terms]
    bits = max((f.denominator.bit_length() - 1 for f in (*factors, _fraction(constant))), default=0)
    if bits > FRACTION_BITS:
        raise Refuse(
            f"a factor with {bits} bits behind the binary point, of integers; expected at most {FRACTION_BITS}"
        )
    scale = 1 << bits
    # value = whole + rest / scale. Each x is split as well, so that no product is larger than it must be.
    whole, rest = _split(_fraction(constant), scale)
    wholes: Tensor = g.scalar(whole, DType.I64)
    rests: Tensor = g.scalar(rest, DType.I64)
    near: Tensor = g.scalar(float(constant), DType.F32)
    for (x, factor), exact in zip(terms, factors, strict=True):
        whole, rest = _split(exact, scale)
        wide = x if x.dtype is DType.U64 else g.cast(x, DType.I64)
        wholes = g.add(wholes, g.mul(g.cast(x, DType.I64), _wrapped(whole)))
        if rest:
            low = g.binary(Binary.MOD, wide, g.scalar(scale, wide.dtype))
            high = g.cast(g.div(g.sub(wide, low), scale), DType.I64)
            wholes = g.add(wholes, g.mul(high, rest))
            rests = g.add(rests, g.mul(g.cast(low, DType.I64), rest))
        near = g.add(near, g.mul(g.cast(x, DType.F32), factor))
    left = g.binary(Binary.MOD, rests, g.scalar(scale, DType.I64))
    down = g.add(wholes, g.div(g.sub(rests, left), scale))
    if bits == 0:
        return g.cast(down, dtype)
    # Cutting off is rounding up where the value is below 0. A sum that left int64 has the sign that a float says.
    far = float(1 << 62)
    below = g.either(g.less(near, -far), g.both(g.less(down, 0), g.less_equal(near, far)))
    up = g.both(below, g.less(0, left))
    return g.cast(g.add(down, g.cast(up, DType.I64)), dtype)


def _fraction(factor: float) -> Fraction:
    try:
        return Fraction(factor)
    except (ValueError, OverflowError):
        raise Refuse(f"a factor of {factor}, of integers") from None


def _split(factor: Fraction, scale: int) -> tuple[int, int]:
    """Its integer part, rounded down, and what is left in units of 1 / scale."""
    whole = floor(factor)
    return whole, int((factor - whole) * scale)


def _wrapped(whole: int) -> int:
    return (whole + (1 << 63)) % (1 << 64) - (1 << 63)


def square_root(g: Builder, x: Tensor) -> Tensor:
    """The root of integers, rounded down; of near ones 0. ASSUMES int64 or uint64."""
    x = g.maximum(x, 0) if x.dtype.is_signed else x
    root = g.cast(g.sqrt(g.cast(x, DType.F32)), x.dtype, saturate=True)
    most = 3037000499 if x.dtype.is_signed else (1 << 32) - 1  # its square fits
    for _ in range(2):  # Newton's step squares the error, which is 2^-23 of the root at first
        root = g.minimum(g.div(g.add(root, g.div(x, root)), 2), most)
    root = g.sub(root, g.cast(g.less(x, g.mul(root, root)), x.dtype))
    above = g.minimum(g.add(root, 1), most)
    return g.choose(g.less_equal(g.mul(above, above), x), above, root)


def logarithm(g: Builder, x: Tensor) -> Tensor:
    """
    The natural logarithm of positive integers, rounded down: how many powers of e they reach. ASSUMES int64 or uint64.

    Of 0 it is the type's least number, as minus infinity is when it becomes an integer.
    """
    limit = int(np.iinfo(x.dtype.numpy).max)
    powers: list[int] = []
    context = Context(prec=60)
    while (power := int(context.exp(Decimal(len(powers) + 1)).to_integral_value(ROUND_CEILING))) <= limit:
        powers.append(power)
    table = g.constant(np.array(powers, x.dtype.numpy))
    reached = g.cast(g.less_equal(table, x.with_axis(x.rank)), x.dtype)
    count = g.reduce_sum(reached, (x.rank,), keepdims=False)
    if not x.dtype.is_signed:
        return count
    return g.choose(g.equal(x, 0), int(np.iinfo(x.dtype.numpy).min), count)


def truncated(g: Builder, x: Tensor, dtype: DType) -> Tensor:
    """A float as an integer of the type `dtype`, its fraction cut off."""
    return g.cast(g.unary(Unary.TRUNC, x), dtype)
