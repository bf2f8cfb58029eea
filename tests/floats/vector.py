"""
IEEE 754 binary32 over arrays of bit patterns, in integer arithmetic: millions of results without a float among them.

A finite number is sign and `m * 2^e`; what an operation gives exactly is brought to a mantissa of 61 bits, whose last
bit also stands for whatever lies below it (sticky), and rounded once by `_rounded`. That is enough: a result keeps 24
bits, and where bits are lost below the 61 the rounding place is far above them (see `_sum`).

`exact` says the same with fractions, one number at a time; a test holds the two together.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tests.floats.exact import INFINITY, NAN, SIGN

Words: TypeAlias = npt.NDArray[np.uint32]
U64: TypeAlias = npt.NDArray[np.uint64]
I64: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

TOP = 60
"""The place of a normalised mantissa's highest bit."""
LEAST_EXPONENT = -149
"""Of the last place of a subnormal."""


def _is_nan(a: Words) -> Mask:
    above: Mask = (a & 0x7FFFFFFF) > INFINITY
    return above


def _is_infinite(a: Words) -> Mask:
    equal: Mask = (a & 0x7FFFFFFF) == INFINITY
    return equal


def _is_zero(a: Words) -> Mask:
    zero: Mask = (a & 0x7FFFFFFF) == 0
    return zero


def _sign(a: Words) -> Mask:
    return (a >> 31).astype(bool)


def _parts(a: Words) -> tuple[U64, I64]:
    """Mantissa (24 bits, or fewer if subnormal) and exponent of finite numbers."""
    exponent, fraction = ((a >> 23) & 0xFF).astype(np.int64), (a & 0x7FFFFF).astype(np.uint64)
    return np.where(exponent == 0, fraction, fraction | np.uint64(1 << 23)), np.maximum(exponent, 1) - 150


def _shifted_left(m: U64, count: I64) -> U64:
    return m << count.astype(np.uint64)


def _highest_bit(m: U64) -> I64:
    """The place of the highest set bit; 0 for 0."""
    place = np.zeros(m.shape, np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        above = (m >> np.uint64(step)) != 0
        place += np.where(above, step, 0)
        m = np.where(above, m >> np.uint64(step), m)
    return place


def _normalised(m: U64, e: I64) -> tuple[U64, I64]:
    """The same number with its highest bit at `TOP`; zero stays zero."""
    up = TOP - _highest_bit(m)
    return _shifted_left(m, up), e - up


def _jammed(m: U64, count: I64) -> U64:
    """m >> count, its last bit set if anything was lost."""
    by = np.clip(count, 0, 63).astype(np.uint64)
    out = m >> by
    sticky: U64 = ((out << by) != m).astype(np.uint64)
    return out | sticky


def _rounded(negative: Mask, m: U64, e: I64) -> Words:
    """The float nearest to m * 2^e, ties to even; m is normalised, or zero."""
    last = np.maximum(e + TOP - 23, LEAST_EXPONENT)  # exponent of the result's last place
    down = np.clip(last - e, 0, 63).astype(np.uint64)
    kept = m >> down
    rest, half = m - (kept << down), np.uint64(1) << (down - np.uint64(1))
    kept += ((rest > half) | ((rest == half) & ((kept & np.uint64(1)) == 1))).astype(np.uint64)
    # A carry out of the mantissa runs into the exponent field, which is what it should do.
    bits = ((last - LEAST_EXPONENT).astype(np.uint64) << np.uint64(23)) + kept
    bits = np.where(m == 0, np.uint64(0), np.minimum(bits, np.uint64(INFINITY)))
    return _signed(bits.astype(np.uint32), negative)


def _signed(bits: Words, negative: Mask) -> Words:
    return bits | np.where(negative, np.uint32(SIGN), np.uint32(0))


def _sum(x: tuple[Mask, U64, I64], y: tuple[Mask, U64, I64]) -> Words:
    """
    The rounded sum of two numbers (negative, mantissa of at most 48 bits, exponent).

    Both are normalised, and the smaller shifted right against the larger. Up to 12 places nothing is lost; beyond,
    the sum's highest bit is at `TOP` - 1 or above and is rounded dozens of places above the sticky bit.
    """
    (sx, mx, ex), (sy, my, ey) = x, y
    (mx, ex), (my, ey) = _normalised(mx, ex), _normalised(my, ey)
    ex, ey = np.where(mx == 0, -(1 << 20), ex), np.where(my == 0, -(1 << 20), ey)
    swap = (ey > ex) | ((ey == ex) & (my > mx))
    large, small = np.where(swap, my, mx), np.where(swap, mx, my)
    exponent, distance = np.where(swap, ey, ex), np.abs(ex - ey)
    small = _jammed(small, distance)
    m = np.where(sx == sy, large + small, large - small)
    negative = np.where(m == 0, sx & sy, np.where(swap, sy, sx))
    # A sum of two may reach bit 61: one place down first.
    high = (m >> np.uint64(TOP + 1)) != 0
    m, exponent = np.where(high, _jammed(m, np.ones_like(exponent)), m), np.where(high, exponent + 1, exponent)
    m, exponent = _normalised(m, np.where(m == 0, 0, exponent))
    return _rounded(negative, m, exponent)


def add(a: Words, b: Words) -> Words:
    return madd(a, np.full_like(a, 0x3F800000), b)


def sub(a: Words, b: Words) -> Words:
    return add(a, b ^ np.uint32(SIGN))


def mul(a: Words, b: Words) -> Words:
    (ma, ea), (mb, eb) = _parts(a), _parts(b)
    negative = _sign(a) ^ _sign(b)
    out = _rounded(negative, *_normalised(ma * mb, ea + eb))
    infinite = _is_infinite(a) | _is_infinite(b)
    out = np.where(infinite, _signed(np.full_like(a, INFINITY), negative), out)
    wrong = _is_nan(a) | _is_nan(b) | (infinite & (_is_zero(a) | _is_zero(b)))
    return np.where(wrong, np.uint32(NAN), out)


def div(a: Words, b: Words) -> Words:
    negative = _sign(a) ^ _sign(b)
    (ma, ea), (mb, eb) = _normalised(*_parts(a)), _parts(b)
    mb, up = _shifted_left(mb, 23 - _highest_bit(mb)), 23 - _highest_bit(mb)
    eb = eb - up
    divisor = np.where(mb == 0, np.uint64(1), mb)
    quotient = ma // divisor  # 37 or 38 bits
    quotient |= (quotient * divisor != ma).astype(np.uint64)
    out = _rounded(negative, *_normalised(quotient, ea - eb))
    zero = np.where(_is_infinite(b), np.uint32(0), out & np.uint32(0x7FFFFFFF))
    out = _signed(np.where(_is_infinite(a) | _is_zero(b), np.uint32(INFINITY), zero), negative)
    wrong = _is_nan(a) | _is_nan(b) | (_is_infinite(a) & _is_infinite(b)) | (_is_zero(a) & _is_zero(b))
    return np.where(wrong, np.uint32(NAN), out)


def sqrt(a: Words) -> Words:
    m, e = _normalised(*_parts(a))
    odd = (e & 1) != 0
    m, e = np.where(odd, m >> np.uint64(1), m), np.where(odd, e + 1, e)  # the lower half of m is zero
    root = np.sqrt(m.astype(np.float64)).astype(np.uint64)  # a guess, made right by the next two lines
    root -= (root * root > m).astype(np.uint64)
    root += ((root + np.uint64(1)) * (root + np.uint64(1)) <= m).astype(np.uint64)
    assert bool(((root * root <= m) & (m < (root + np.uint64(1)) ** 2)).all())
    root = (root << np.uint64(1)) | (root * root != m).astype(np.uint64)
    out = _rounded(np.zeros(a.shape, bool), *_normalised(root, e // 2 - 1))
    out = np.where(_is_zero(a) | (a == INFINITY), a, out)
    return np.where(_is_nan(a) | (_sign(a) & ~_is_zero(a)), np.uint32(NAN), out)


def madd(a: Words, b: Words, c: Words) -> Words:
    """a * b + c, rounded once."""
    (ma, ea), (mb, eb), (mc, ec) = _parts(a), _parts(b), _parts(c)
    negative = _sign(a) ^ _sign(b)
    out = _sum((negative, ma * mb, ea + eb), (_sign(c), mc, ec))
    infinite = _is_infinite(a) | _is_infinite(b)
    out = np.where(_is_infinite(c), c, out)
    out = np.where(infinite, _signed(np.full_like(a, INFINITY), negative), out)
    wrong = _is_nan(a) | _is_nan(b) | _is_nan(c) | (infinite & (_is_zero(a) | _is_zero(b)))
    wrong |= infinite & _is_infinite(c) & (_sign(c) != negative)
    return np.where(wrong, np.uint32(NAN), out)


def msub(a: Words, b: Words, c: Words) -> Words:
    return madd(a, b, c ^ np.uint32(SIGN))


def _negated(a: Words) -> Words:
    return np.where(_is_nan(a), a, a ^ np.uint32(SIGN))


def nmadd(a: Words, b: Words, c: Words) -> Words:
    return _negated(madd(a, b, c))


def nmsub(a: Words, b: Words, c: Words) -> Words:
    return _negated(msub(a, b, c))


def to_integer(a: Words, rounding: str) -> Words:
    """A signed 32-bit integer's bits; `rounding` is nearest, zero, up or down."""
    m, e = _parts(a)
    down = np.clip(-e, 0, 63).astype(np.uint64)
    whole = np.where(e >= 0, _shifted_left(m, np.clip(e, 0, 32)), m >> down)
    rest = np.where(e >= 0, np.uint64(0), m - ((m >> down) << down))
    half = np.uint64(1) << np.where(down == 0, np.uint64(0), down - np.uint64(1))
    negative = _sign(a)
    if rounding == "nearest":
        away = (rest > half) | ((rest == half) & (rest != 0) & ((whole & np.uint64(1)) == 1))
    else:
        away = (rest != 0) & {"zero": np.zeros(a.shape, bool), "up": ~negative, "down": negative}[rounding]
    whole += away.astype(np.uint64)
    fits = (whole < 1 << 31) | (negative & (whole == 1 << 31))
    number = np.where(negative, -whole.astype(np.int64), whole.astype(np.int64))
    out: Words = np.where(fits & (e <= 8) & ~_is_nan(a), number & 0xFFFFFFFF, 0x7FFFFFFF).astype(np.uint32)
    return out


def from_integer(bits: Words) -> Words:
    number = bits.view(np.int32).astype(np.int64)
    return _rounded(number < 0, *_normalised(np.abs(number).astype(np.uint64), np.zeros(bits.shape, np.int64)))


def compare(a: Words, b: Words, condition: int) -> Words:
    """c.cond.s: bit 0 unordered, bit 1 equal, bit 2 less."""
    # Sign and magnitude as an integer that is ordered as the numbers are, the zeros equal.
    x, y = (np.where(_sign(v), -(v & 0x7FFFFFFF).astype(np.int64), (v & 0x7FFFFFFF).astype(np.int64)) for v in (a, b))
    unordered = _is_nan(a) | _is_nan(b)
    holds = (unordered & bool(condition & 1)) | (~unordered & (x == y) & bool(condition & 2))
    holds |= ~unordered & (x < y) & bool(condition & 4)
    out: Words = holds.astype(np.uint32)
    return out
