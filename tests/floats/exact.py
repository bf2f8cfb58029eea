"""
IEEE 754 binary32 from exact fractions: an oracle for each result, independent of our implementations.

A result is found by trying: of the floats around a first guess, the one nearest to the exact value, and of two equally
near the one with the even bit pattern. Numbers are bit patterns throughout.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from math import isqrt

NAN = 0x7FC00000
INFINITY = 0x7F800000
SIGN = 0x80000000
OVERFLOW = Fraction(2**128 - 2**103)
"""From here on the nearest float is an infinity: halfway between the largest one and 2**128."""

SPECIALS = (
    *(0x00000000, 0x80000000),  # zeros
    *(0x00000001, 0x80000001, 0x00000003, 0x007FFFFF, 0x807FFFFF),  # subnormals
    *(0x00800000, 0x80800000, 0x00800001, 0x00FFFFFF, 0x01000000),  # smallest normals
    *(0x7F7FFFFF, 0xFF7FFFFF, 0x7F000000, 0x73000000, 0x72FFFFFF),  # largest, and half of the largest's last place
    *(0x7F800000, 0xFF800000),  # infinities
    *(0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFBFFFFF),  # NaNs, quiet and signalling
    *(0x3F800000, 0xBF800000, 0x3F800001, 0x3F7FFFFF, 0x40000000, 0x3F000000),  # around one
    *(0x3FC00000, 0xBFC00000, 0x40200000, 0x33800000, 0x34000000, 0x33800001),  # ties
    *(0x4B000000, 0x4B800000, 0x4EFFFFFF, 0x4F000000, 0xCF000000, 0xCF000001, 0x4F800000),  # edges of integers
    *(0x5F800000, 0x1F800000, 0x20000000, 0x0D000000, 0x40490FDB),  # squares at both ends, pi
)

FEW = (0, 0x80000000, 1, 0x80800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0xFFC00001, 0x3F800001, 0xBF800000, 0x33800000)
"""One of each kind, so that triples stay few."""


def is_nan(a: int) -> bool:
    return a & ~SIGN > INFINITY


def is_infinite(a: int) -> bool:
    return a & ~SIGN == INFINITY


def value(a: int) -> Fraction:
    """The exact value of a finite float."""
    exponent, fraction = (a >> 23) & 0xFF, a & 0x7FFFFF
    magnitude = Fraction(fraction if exponent == 0 else fraction | 0x800000) * Fraction(2) ** (max(exponent, 1) - 150)
    return -magnitude if a & SIGN else magnitude


def nearest(x: Fraction, sign_of_zero: int = 0) -> int:
    """The float nearest to `x`; an exact zero, and what rounds to zero, has the sign it came from."""
    if x == 0:
        return sign_of_zero
    sign, x = (SIGN, -x) if x < 0 else (0, x)
    if x >= OVERFLOW:
        return sign | INFINITY
    guess: int
    try:
        (guess,) = struct.unpack(">I", struct.pack(">f", float(x)))
    except OverflowError:
        guess = 0x7F7FFFFF  # the guess only: `x` itself is below the overflow limit
    around = [bits for bits in (guess - 1, guess, guess + 1) if 0 <= bits < INFINITY]
    return sign | min(around, key=lambda bits: (abs(value(bits) - x), bits & 1))


def add(a: int, b: int) -> int:
    return madd(a, 0x3F800000, b)


def sub(a: int, b: int) -> int:
    return NAN if is_nan(b) else add(a, b ^ SIGN)


def mul(a: int, b: int) -> int:
    sign = (a ^ b) & SIGN
    if is_nan(a) or is_nan(b):
        return NAN
    if is_infinite(a) or is_infinite(b):
        return NAN if 0 in (a & ~SIGN, b & ~SIGN) else sign | INFINITY
    return nearest(value(a) * value(b), sign)


def div(a: int, b: int) -> int:
    sign = (a ^ b) & SIGN
    if is_nan(a) or is_nan(b) or (is_infinite(a) and is_infinite(b)):
        return NAN
    if is_infinite(a):
        return sign | INFINITY
    if is_infinite(b):
        return sign
    if b & ~SIGN == 0:
        return NAN if a & ~SIGN == 0 else sign | INFINITY
    return nearest(value(a) / value(b), sign)


def sqrt(a: int) -> int:
    if is_nan(a) or (a & SIGN and a != SIGN):
        return NAN
    if a & ~SIGN == 0 or is_infinite(a):
        return a
    # 200 bits of the root, and one more if they are not all of it: no tie can be mistaken.
    x = value(a)
    scaled = x * Fraction(4) ** 200
    root = isqrt(int(scaled))
    return nearest((Fraction(root) + (Fraction(1, 2) if root * root != scaled else 0)) / Fraction(2) ** 200)


def madd(a: int, b: int, c: int) -> int:
    """a * b + c, rounded once."""
    if is_nan(a) or is_nan(b) or is_nan(c):
        return NAN
    sign = (a ^ b) & SIGN
    if is_infinite(a) or is_infinite(b):
        if 0 in (a & ~SIGN, b & ~SIGN) or (is_infinite(c) and c & SIGN != sign):
            return NAN
        return sign | INFINITY
    if is_infinite(c):
        return c
    # An exact zero is negative only if both addends are.
    both_negative = sign and c & SIGN
    return nearest(value(a) * value(b) + value(c), SIGN if both_negative else 0)


def msub(a: int, b: int, c: int) -> int:
    return NAN if is_nan(c) else madd(a, b, c ^ SIGN)


def nmadd(a: int, b: int, c: int) -> int:
    result = madd(a, b, c)
    return NAN if is_nan(result) else result ^ SIGN


def nmsub(a: int, b: int, c: int) -> int:
    result = msub(a, b, c)
    return NAN if is_nan(result) else result ^ SIGN


def to_integer(a: int, rounding: str) -> int:
    """A signed 32-bit integer's bits; `rounding` is nearest, zero, up or down."""
    if is_nan(a) or is_infinite(a):
        return 0x7FFFFFFF
    x = value(a)
    n = {"nearest": round(x), "zero": int(x), "up": -(-x // 1), "down": x // 1}[rounding]
    return n & 0xFFFFFFFF if -(2**31) <= n < 2**31 else 0x7FFFFFFF


def from_integer(bits: int) -> int:
    return nearest(Fraction(bits - (bits >> 31 << 32)))


def compare(a: int, b: int, condition: int) -> bool:
    """c.cond.s: bit 0 unordered, bit 1 equal, bit 2 less."""
    if is_nan(a) or is_nan(b):
        return bool(condition & 1)
    x, y = _ordered(a), _ordered(b)
    return bool((x == y and condition & 2) or (x < y and condition & 4))


def _ordered(a: int) -> Fraction:
    if is_infinite(a):
        return Fraction(-(2**200) if a & SIGN else 2**200)
    return value(a)
