"""
Arithmetic of integers with fractions, roots and logarithms, without a detour through floats.

Float attributes of integer operators (`Gemm`'s alpha, `Shrink`'s bias), and functions whose integer result is a float's
with the fraction cut off, are exact here: binary32 holds 24 bits, and a result just below an integer would lose one.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from math import floor, isinf, isnan, trunc

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import Binary, DType, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

FRACTION_BITS = 38
"""Bits behind the binary point of a factor, at most: with 24 bits of its own, no product here leaves int64."""
WHOLE_BITS = 28
"""Bits of a whole factor beside one with a fraction, at most, for the same reason."""


def truncated_sum(g: Builder, terms: Sequence[tuple[Tensor, float]], constant: float, dtype: DType) -> Tensor:
    """
    The sum of integer tensors times factors, plus a constant; the fraction is cut off, and integers wrap.

    Raises `Refuse` for a factor that is not finite, has too many bits behind the binary point, or is too large beside
    one that has some.
    """
    factors = [_fraction(factor) for _, factor in terms]
    added = _fraction(constant)
    bits = max((_bits(f) for f in (*factors, added)), default=0)
    if bits > FRACTION_BITS:
        raise Refuse(
            f"a factor with {bits} bits behind the binary point, of integers; expected at most {FRACTION_BITS}"
        )
    if bits == 0:
        total: Tensor = g.scalar(_wrapped(int(added)), DType.I64)
        for (x, _), exact in zip(terms, factors, strict=True):
            total = g.add(total, g.mul(g.cast(x, DType.I64), _wrapped(int(exact))))
        return g.cast(total, dtype)
    largest = max((abs(f) for f in factors), default=Fraction(0))
    if largest >= 1 << WHOLE_BITS or abs(added) >= 1 << 60:
        raise Refuse(f"a factor of {float(largest):g} and a constant of {constant:g}, with fractions, of integers")
    # value = high * 2^32 + low + rest / 2^bits, so that the sign is known of sums that leave int64 as well.
    whole = floor(added)
    high: Tensor = g.scalar(whole >> 32, DType.I64)
    low: Tensor = g.scalar(whole & _MASK, DType.I64)
    rest: Tensor = g.scalar(int((added - whole) * (1 << bits)), DType.I64)
    for (x, _), exact in zip(terms, factors, strict=True):
        for_high, for_low, for_rest = _product(g, x, exact, bits)
        high, low, rest = g.add(high, for_high), g.add(low, for_low), g.add(rest, for_rest)
    low, left = g.add(low, _shifted(g, rest, bits)), _lowest(g, rest, bits)
    high = g.add(high, _shifted(g, low, 32))
    down = g.add(g.binary(Binary.SHL, high, g.scalar(32, DType.I64)), _lowest(g, low, 32))
    # Cutting off is rounding up where the value is below 0.
    up = g.both(g.less(high, 0), g.less(0, left))
    return g.cast(g.add(down, g.cast(up, DType.I64)), dtype)


_MASK = (1 << 32) - 1


def _product(g: Builder, x: Tensor, factor: Fraction, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """x * factor as high * 2^32 + low + rest / 2^bits; |high| < 2^60, 0 <= rest < 2^(bits + 1)."""
    own = _bits(factor)
    wide = x if x.dtype is DType.U64 else g.cast(x, DType.I64)
    upper = g.mul(g.cast(_shifted(g, wide, 32), DType.I64), factor.numerator)
    lower = g.mul(g.cast(_lowest(g, wide, 32), DType.I64), factor.numerator)
    high, part = _shifted(g, upper, own), _lowest(g, upper, own)
    # `part` stands for part * 2^32 / 2^own.
    if own <= 32:
        low, rest = g.mul(part, 1 << (32 - own)), _lowest(g, lower, own)
    else:
        low = _shifted(g, part, own - 32)
        rest = g.add(g.mul(_lowest(g, part, own - 32), 1 << 32), _lowest(g, lower, own))
    return high, g.add(low, _shifted(g, lower, own)), g.mul(rest, 1 << (bits - own))


def _shifted(g: Builder, x: Tensor, bits: int) -> Tensor:
    """x / 2^bits, rounded down."""
    return g.binary(Binary.SHR, x, g.scalar(bits, x.dtype)) if bits else x


def _lowest(g: Builder, x: Tensor, bits: int) -> Tensor:
    """The lowest bits of x, as a number from 0 on."""
    return g.binary(Binary.BITAND, x, g.scalar((1 << bits) - 1, x.dtype))


def _bits(factor: Fraction) -> int:
    """Bits behind the binary point."""
    return factor.denominator.bit_length() - 1


def _fraction(factor: float) -> Fraction:
    try:
        return Fraction(factor)
    except (ValueError, OverflowError):
        raise Refuse(f"a factor of {factor}, of integers") from None


def nearest_integer(value: float, dtype: DType) -> int:
    """A float attribute as an integer of the type: its fraction cut off, held within the type's range."""
    limits = np.iinfo(dtype.numpy)
    if isnan(value):
        raise Refuse("a bound that is not a number, of integers")
    if isinf(value):
        return int(limits.max if value > 0 else limits.min)
    return min(max(trunc(value), int(limits.min)), int(limits.max))


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
