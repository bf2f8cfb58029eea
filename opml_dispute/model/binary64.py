"""
Binary64 arithmetic, emitted as operations on u64: kernels move binary64 numbers, and none computes with them.

Every operation is IEEE 754's: rounded once, to nearest, ties to even, with subnormals; a NaN that is made has the bits
0x7FF8000000000000. A number is taken apart into a power of two and a significand (`_parts`), computed with in integers
that keep what rounding needs to know, and put together again (`_packed`). What is here and what is not:
docs/operators.md, "Binary64".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opml_dispute.model.opcodes import Binary, DType, Unary
from opml_dispute.model.refusals import Refuse

if TYPE_CHECKING:
    from opml_dispute.model.emitter import Emitter
    from opml_dispute.model.tensor import Tensor

SIGN: Final = 1 << 63
MAGNITUDE: Final = SIGN - 1
INFINITY: Final = 0x7FF << 52
NAN: Final = 0x7FF8 << 48
ONE: Final = 1023 << 52
HIDDEN: Final = 1 << 52
BIAS: Final = 1023

_DIVISION_BITS: Final = 11
"""Of a quotient, so many at a time: a remainder of 53 bits has room for them."""
_ROOT_BITS: Final = 55


class Binary64:
    """The operations, for one builder. Operands are tensors of F64 and broadcast, unless it says otherwise."""

    def __init__(self, g: Emitter) -> None:
        self.g = g

    # Integers

    def _two(self, function: Binary, x: Tensor, y: Tensor | int) -> Tensor:
        return self.g.binary(function, x, y if not isinstance(y, int) else self.g.scalar(y, x.dtype))

    def _and(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.BITAND, x, y)

    def _or(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.BITOR, x, y)

    def _xor(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.BITXOR, x, y)

    def _add(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.ADD, x, y)

    def _sub(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.SUB, x, y)

    def _mul(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.MUL, x, y)

    def _left(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.SHL, x, y)

    def _right(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.SHR, x, y)

    def _min(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.MIN, x, y)

    def _max(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.MAX, x, y)

    def _is(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.EQ, x, y)

    def _below(self, x: Tensor, y: Tensor | int) -> Tensor:
        return self._two(Binary.LT, x, y)

    def _above(self, x: Tensor, y: int) -> Tensor:
        return self.g.binary(Binary.LT, self.g.scalar(y, x.dtype), x)

    def _both(self, x: Tensor, y: Tensor) -> Tensor:
        return self.g.binary(Binary.AND, x, y)

    def _either(self, x: Tensor, y: Tensor) -> Tensor:
        return self.g.binary(Binary.OR, x, y)

    def _choose(self, condition: Tensor, x: Tensor | int, y: Tensor | int) -> Tensor:
        kind = x.dtype if not isinstance(x, int) else y.dtype if not isinstance(y, int) else DType.U64
        one, other = (value if not isinstance(value, int) else self.g.scalar(value, kind) for value in (x, y))
        return self.g.select(condition, one, other)

    def _signed(self, x: Tensor) -> Tensor:
        return self.g.cast(x, DType.I64)

    def _unsigned(self, x: Tensor) -> Tensor:
        return self.g.cast(x, DType.U64)

    def _as(self, x: Tensor, dtype: DType) -> Tensor:
        """The same bits as another type of the same width."""
        out = self.g.made(dtype, x.shape, x)
        self.g.copy(out, x)
        return out

    def bits(self, x: Tensor) -> Tensor:
        """The bits of numbers, u64."""
        return self._as(x, DType.U64)

    def number(self, bits: Tensor) -> Tensor:
        """The numbers that have these bits."""
        return self._as(bits, DType.F64)

    # Apart, and together again

    def _log2(self, x: Tensor) -> Tensor:
        """floor(log2 x), i64, of u64 above 0."""
        # Without the bits below a set one, rounding to binary32 cannot carry into the next power of two.
        sparse = self._xor(x, self._and(x, self._right(x, 1)))
        exponent = self._right(self._as(self.g.cast(sparse, DType.F32), DType.U32), 23)
        return self._sub(self._signed(exponent), 127)

    def _parts(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Biased exponent (of subnormal numbers: 1) and significand s, u64: the number is s 2^(exponent - 1075)."""
        exponent = self._max(self._right(magnitude, 52), 1)
        return exponent, self._sub(magnitude, self._left(self._sub(exponent, 1), 52))

    def _normal_parts(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """As `_parts`, but with 53 bits in every significand but 0, and the exponent an i64."""
        exponent, significand = self._parts(magnitude)
        short = self._sub(self.g.scalar(52, DType.I64), self._log2(significand))
        return self._sub(self._signed(exponent), short), self._left(significand, self._unsigned(short))

    def _shifted(self, x: Tensor, count: Tensor) -> Tensor:
        """x >> count, whose last bit says as well whether anything was shifted out. `count` is u64, at most 63."""
        lost = self._and(x, self._sub(self._left(self.g.scalar(1, DType.U64), count), 1))
        return self._or(self._right(x, count), self._unsigned(self._above(lost, 0)))

    def _packed(self, significand: Tensor, exponent: Tensor, fraction: int = 52, most: int = 0x7FF) -> Tensor:
        """
        The magnitude's bits of significand 2^(exponent - bias - 63), rounded: infinity if it is too large.

        The last bit of `significand`, u64, stands for all below it. `exponent` is an i64. The format has `fraction`
        bits of fraction and `most` as the exponent of infinity.
        """
        short = self._sub(self.g.scalar(63, DType.I64), self._log2(significand))
        exponent = self._sub(exponent, short)
        normal = self._left(significand, self._unsigned(short))
        under = self._unsigned(self._min(self._max(self._sub(self.g.scalar(1, DType.I64), exponent), 0), 63))
        normal = self._shifted(normal, under)
        dropped = 63 - fraction
        kept = self._right(normal, dropped)
        rest = self._add(self._and(normal, (1 << dropped) - 1), self._and(kept, 1))
        up = self._unsigned(self._above(rest, 1 << dropped - 1))
        base = self._left(self._unsigned(self._min(self._max(self._sub(exponent, 1), 0), most)), fraction)
        magnitude = self._min(self._add(self._add(base, kept), up), most << fraction)
        return self._choose(self._is(significand, 0), 0, magnitude)

    # Arithmetic

    def add(self, x: Tensor, y: Tensor, *, subtract: bool = False) -> Tensor:
        """x + y, or x - y."""
        a, b = self.bits(x), self.bits(y)
        b = self._xor(b, SIGN) if subtract else b
        left, right = self._and(a, MAGNITUDE), self._and(b, MAGNITUDE)
        great, small = self._max(left, right), self._min(left, right)
        sign = self._and(self._choose(self._below(left, right), b, a), SIGN)
        differ = self._above(self._xor(a, b), MAGNITUDE)
        (exponent, more), (lower, less) = self._parts(great), self._parts(small)
        # Ten bits below the last: what is shifted out further changes nothing but the last of them.
        away = self._min(self._sub(exponent, lower), 63)
        more, less = self._left(more, 10), self._shifted(self._left(less, 10), away)
        total = self._choose(differ, self._sub(more, less), self._add(more, less))
        magnitude = self._packed(total, self._add(self._signed(exponent), 1))
        sign_of_sum = self._choose(self._is(total, 0), self._and(self._and(a, b), SIGN), sign)
        nothing = self._either(self._above(great, INFINITY), self._both(self._is(small, INFINITY), differ))
        special = self._choose(nothing, NAN, self._or(sign, INFINITY))
        finite = self._or(magnitude, sign_of_sum)
        return self.number(self._choose(self._below(great, INFINITY), finite, special))

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        a, b = self.bits(x), self.bits(y)
        sign = self._and(self._xor(a, b), SIGN)
        left, right = self._and(a, MAGNITUDE), self._and(b, MAGNITUDE)
        (e, m), (f, n) = self._normal_parts(left), self._normal_parts(right)
        # 53 bits times 53 bits, in halves of 26 and 27 bits: 106 bits, of which the upper 64 are kept.
        half = (1 << 27) - 1
        m_high, m_low, n_high, n_low = self._right(m, 27), self._and(m, half), self._right(n, 27), self._and(n, half)
        low = self._mul(m_low, n_low)
        middle = self._add(self._mul(m_high, n_low), self._mul(m_low, n_high))
        middle = self._add(middle, self._right(low, 27))
        high = self._add(self._mul(m_high, n_high), self._right(middle, 27))
        rest = self._or(self._left(self._and(middle, half), 27), self._and(low, half))
        upper = self._or(self._left(high, 12), self._right(rest, 42))
        significand = self._or(upper, self._unsigned(self._above(self._and(rest, (1 << 42) - 1), 0)))
        magnitude = self._packed(significand, self._sub(self._add(e, f), BIAS - 1))
        great, small = self._max(left, right), self._min(left, right)
        nothing = self._either(self._above(great, INFINITY), self._both(self._is(great, INFINITY), self._is(small, 0)))
        magnitude = self._choose(self._below(great, INFINITY), magnitude, INFINITY)
        return self.number(self._choose(nothing, NAN, self._or(magnitude, sign)))

    def divide(self, x: Tensor, y: Tensor) -> Tensor:
        a, b = self.bits(x), self.bits(y)
        sign = self._and(self._xor(a, b), SIGN)
        left, right = self._and(a, MAGNITUDE), self._and(b, MAGNITUDE)
        (e, m), (f, n) = self._normal_parts(left), self._normal_parts(right)
        quotient = self._two(Binary.DIV, m, n)
        rest = self._sub(m, self._mul(quotient, n))
        for _ in range(55 // _DIVISION_BITS):
            rest = self._left(rest, _DIVISION_BITS)
            digits = self._two(Binary.DIV, rest, n)
            rest = self._sub(rest, self._mul(digits, n))
            quotient = self._or(self._left(quotient, _DIVISION_BITS), digits)
        significand = self._or(self._left(quotient, 8), self._unsigned(self._above(rest, 0)))
        magnitude = self._packed(significand, self._add(self._sub(e, f), BIAS))
        left_ends, right_ends = self._is(left, INFINITY), self._is(right, INFINITY)
        nought, by_nought = self._is(left, 0), self._is(right, 0)
        magnitude = self._choose(self._either(nought, right_ends), 0, magnitude)
        magnitude = self._choose(self._either(left_ends, by_nought), INFINITY, magnitude)
        nothing = self._either(self._both(left_ends, right_ends), self._both(nought, by_nought))
        nothing = self._either(nothing, self._above(self._max(left, right), INFINITY))
        return self.number(self._choose(nothing, NAN, self._or(magnitude, sign)))

    def sqrt(self, x: Tensor) -> Tensor:
        """Digit by digit, as on paper."""
        a = self.bits(x)
        magnitude = self._and(a, MAGNITUDE)
        e, m = self._normal_parts(magnitude)
        e = self._sub(e, BIAS)
        odd = self._unsigned(self._and(e, 1))
        m = self._left(m, odd)
        rest = root = self.g.scalar(0, DType.U64).broadcast(x.shape)
        for digit in range(_ROOT_BITS):
            rest = self._left(rest, 2)
            if digit < 27:
                rest = self._or(rest, self._and(self._right(m, 52 - 2 * digit), 3))
            trial = self._or(self._left(root, 2), 1)
            fits = self._unsigned(self.g.binary(Binary.LE, trial, rest))
            rest = self._sub(rest, self._mul(trial, fits))
            root = self._or(self._left(root, 1), fits)
        significand = self._or(self._left(root, 9), self._unsigned(self._above(rest, 0)))
        halved = self._two(Binary.SHR, e, 1)  # i64: rounded down
        found = self._packed(significand, self._add(halved, BIAS))
        found = self._choose(self._is(magnitude, 0), a, found)
        found = self._choose(self._is(a, INFINITY), a, found)
        nothing = self._either(
            self._above(magnitude, INFINITY), self._both(self._above(a, SIGN), self._above(magnitude, 0))
        )
        return self.number(self._choose(nothing, NAN, found))

    # Order

    def key(self, x: Tensor) -> Tensor:
        """Integers, i64, in the order of the numbers; both zeros are 0. NaN lies beyond the infinities."""
        a = self._as(x, DType.I64)
        mirrored = self._sub(self.g.scalar(-(1 << 63), DType.I64), a)
        return self._choose(self._below(a, 0), mirrored, a)

    def of_key(self, key: Tensor) -> Tensor:
        """The numbers that have these keys: +0 for 0, and every NaN the one that operations make."""
        mirrored = self._sub(self.g.scalar(-(1 << 63), DType.I64), key)
        a = self._as(self._choose(self._below(key, 0), mirrored, key), DType.U64)
        return self.number(self._choose(self._above(self._and(a, MAGNITUDE), INFINITY), NAN, a))

    def is_nan(self, x: Tensor) -> Tensor:
        return self._above(self._and(self.bits(x), MAGNITUDE), INFINITY)

    def is_infinite(self, x: Tensor, signs: int) -> Tensor:
        """`signs`, as the kernel's: bit 0 for minus infinity, bit 1 for plus infinity."""
        a, wanted = self.bits(x), [value for bit, value in ((1, SIGN | INFINITY), (2, INFINITY)) if signs & bit]
        found = self.g.filled(x.shape, False, DType.BOOL)
        for value in wanted:
            found = self._either(found, self._is(a, value))
        return found

    def compare(self, function: Binary, x: Tensor, y: Tensor) -> Tensor:
        """EQ, LT or LE; false where one is a NaN."""
        ordered = self.g.unary(Unary.NOT, self._either(self.is_nan(x), self.is_nan(y)))
        return self._both(self.g.binary(function, self.key(x), self.key(y)), ordered)

    def extreme(self, function: Binary, x: Tensor, y: Tensor) -> Tensor:
        """MIN or MAX: NaN if one is, and of equal numbers the second."""
        first = (x, y) if function is Binary.MIN else (y, x)
        chosen = self.g.select(self.compare(Binary.LT, *first), x, y)
        nothing = self._either(self.is_nan(x), self.is_nan(y))
        return self.number(self._choose(nothing, NAN, self.bits(chosen)))

    # One operand

    def unary(self, function: Unary, x: Tensor, flags: tuple[int, ...]) -> Tensor:
        """`function` of each number. Raises `Refuse` for one that is not defined in binary64."""
        if function is Unary.ISNAN:
            return self.is_nan(x)
        if function is Unary.ISINF:
            return self.is_infinite(x, flags[0] if flags else 0)
        if function is Unary.SQRT:
            return self.sqrt(x)
        if function is Unary.RECIPROCAL:
            return self.divide(self.number(self.g.scalar(ONE, DType.U64)).broadcast(x.shape), x)
        a = self.bits(x)
        magnitude, sign = self._and(a, MAGNITUDE), self._and(a, SIGN)
        if function in (Unary.FLOOR, Unary.CEIL, Unary.TRUNC, Unary.ROUND):
            found = self._or(self._whole(function, magnitude, sign), sign)
        elif function is Unary.NEG:
            found = self._xor(a, SIGN)
        elif function is Unary.ABS:
            found = magnitude
        elif function is Unary.RELU:
            found = self._choose(self._above(a, SIGN - 1), 0, a)
        elif function is Unary.SIGN:
            found = self._choose(self._is(magnitude, 0), a, self._or(sign, ONE))
        else:
            raise Refuse(f"{function.name} is not computed in binary64")
        return self.number(self._choose(self._above(magnitude, INFINITY), NAN, found))

    def _whole(self, function: Unary, magnitude: Tensor, sign: Tensor) -> Tensor:
        """The magnitude of a number that is rounded to an integer."""
        exponent = self._sub(self._signed(self._right(magnitude, 52)), BIAS)
        small = self._below(exponent, 0)
        place = self._unsigned(self._min(self._max(self._sub(self.g.scalar(52, DType.I64), exponent), 0), 52))
        unit = self._left(self.g.scalar(1, DType.U64), place)  # of bits: the integer 1; 2^52 below 2
        rest = self._and(magnitude, self._sub(unit, 1))
        cut = self._choose(small, 0, self._sub(magnitude, rest))
        rest = self._choose(small, magnitude, rest)
        further = self._choose(small, ONE, self._add(cut, unit))
        if function is Unary.TRUNC:
            return cut
        if function is Unary.ROUND:
            half = self._choose(small, ONE - HIDDEN, self._right(unit, 1))  # 0.5, or half a unit
            whole = self._right(self._or(self._and(magnitude, HIDDEN - 1), HIDDEN), place)
            is_odd = self._choose(small, 0, self._and(whole, 1))
            tie = self._both(self._is(rest, half), self._above(is_odd, 0))
            away = self._either(self._below(half, rest), tie)
            away = self._both(away, self._above(rest, 0))
        else:
            is_negative = self._above(sign, 0)
            side = is_negative if function is Unary.FLOOR else self.g.unary(Unary.NOT, is_negative)
            away = self._both(side, self._above(rest, 0))
        return self._choose(away, further, cut)

    def binary(self, function: Binary, x: Tensor, y: Tensor) -> Tensor:
        """`function` of each pair. Raises `Refuse` for one that is not defined in binary64."""
        if function in (Binary.ADD, Binary.SUB):
            return self.add(x, y, subtract=function is Binary.SUB)
        if function is Binary.MUL:
            return self.multiply(x, y)
        if function is Binary.DIV:
            return self.divide(x, y)
        if function in (Binary.EQ, Binary.LT, Binary.LE):
            return self.compare(function, x, y)
        if function in (Binary.MIN, Binary.MAX):
            return self.extreme(function, x, y)
        if function is Binary.PRELU:
            negative = self.compare(Binary.LT, x, self.number(self.g.scalar(0, DType.U64)))
            return self.g.select(negative, self.multiply(x, y), x)
        if function is Binary.POW and y.is_constant and y.size == 1 and float(y.values().reshape(())) in (1.0, 2.0):
            return self.multiply(x, x) if float(y.values().reshape(())) == 2 else x
        raise Refuse(f"{function.name} is not computed in binary64")

    # Other types

    def of(self, x: Tensor) -> Tensor:
        """Numbers of another type, as binary64: rounded if they are integers of more than 53 bits."""
        if x.dtype in (DType.F16, DType.BF16, DType.F32):
            return self._of_single(self.g.cast(x, DType.F32))
        sign: Tensor | None = None
        size = x
        if x.dtype.is_integer and x.dtype.is_signed:
            wide = self._signed(x)
            is_negative = self._below(wide, 0)
            sign = self._choose(is_negative, SIGN, 0)
            size = self._choose(is_negative, self._sub(self.g.scalar(0, DType.I64), wide), wide)
            size = self._as(size, DType.U64)  # of the least number, too: -2^63 wraps to itself
        size = self._unsigned(size)
        magnitude = self._packed(size, self.g.scalar(BIAS + 63, DType.I64).broadcast(size.shape))
        return self.number(magnitude if sign is None else self._or(magnitude, sign))

    def _of_single(self, x: Tensor) -> Tensor:
        a = self._unsigned(self._as(x, DType.U32))
        magnitude, sign = self._and(a, 0x7FFFFFFF), self._left(self._and(a, 0x80000000), 32)
        exponent = self._right(magnitude, 23)
        effective = self._max(exponent, 1)
        significand = self._sub(magnitude, self._left(self._sub(effective, 1), 23))
        found = self._packed(significand, self._add(self._signed(effective), BIAS - 127 + 40))
        found = self._choose(self._is(magnitude, 0xFF << 23), INFINITY, found)
        return self.number(self._choose(self._above(magnitude, 0xFF << 23), NAN, self._or(found, sign)))

    def to(self, x: Tensor, dtype: DType) -> Tensor:
        """Numbers as another type: floats are rounded once, integers lose their fraction and saturate."""
        if dtype is DType.BOOL:
            return self._above(self._and(self.bits(x), MAGNITUDE), 0)
        if dtype.is_float:
            return self._to_float(x, dtype)
        a = self.bits(x)
        magnitude, is_negative = self._and(a, MAGNITUDE), self._above(a, SIGN - 1)
        exponent, significand = self._parts(magnitude)
        power = self._sub(self._signed(exponent), BIAS + 52)
        down = self._unsigned(self._min(self._max(self._sub(self.g.scalar(0, DType.I64), power), 0), 63))
        up = self._unsigned(self._min(self._max(power, 0), 11))
        size = self._left(self._right(significand, down), up)
        not_a_number = self._above(magnitude, INFINITY)
        if dtype is DType.U64:
            size = self._choose(self._above(power, 11), (1 << 64) - 1, size)
            return self._choose(self._either(is_negative, not_a_number), 0, size)
        beyond = self._above(power, 10)
        positive = self._choose(beyond, (1 << 63) - 1, self._as(size, DType.I64))
        negative = self._choose(beyond, -(1 << 63), self._sub(self.g.scalar(0, DType.I64), self._as(size, DType.I64)))
        whole = self._choose(not_a_number, 0, self._choose(is_negative, negative, positive))
        return self.g.cast(whole, dtype, saturate=True)

    def _to_float(self, x: Tensor, dtype: DType) -> Tensor:
        fraction, most, bias = {
            DType.F32: (23, 0xFF, 127), DType.F16: (10, 0x1F, 15), DType.BF16: (7, 0xFF, 127)
        }[dtype]  # fmt: skip
        self.g.narrowed += dtype is DType.F32
        a = self.bits(x)
        magnitude = self._and(a, MAGNITUDE)
        exponent, significand = self._parts(magnitude)
        found = self._packed(significand, self._add(self._signed(exponent), bias - BIAS + 11), fraction, most)
        found = self._choose(self._is(magnitude, INFINITY), most << fraction, found)
        width = 8 * dtype.width
        nan = most << fraction | 1 << fraction - 1
        sign = self._left(self._right(a, 63), width - 1)
        found = self._choose(self._above(magnitude, INFINITY), nan, self._or(found, sign))
        return self._as(self.g.cast(found, DType.U32 if width == 32 else DType.U16), dtype)
