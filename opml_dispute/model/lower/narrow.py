"""
Values of another type, as ONNX casts them: wrapped, cut off, or rounded to a type that a wider one holds.

The standard does not define the conversion of a float outside of an integer type's range; docs/operators.md,
"Integers", defines it for this project.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import TensorProto

from opml_dispute.model.builder import Builder
from opml_dispute.model.elements import held, name_of
from opml_dispute.model.opcodes import Binary, DType, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

_INTEGER_BITS: dict[int, int] = {TensorProto.INT2: 2, TensorProto.UINT2: 2, TensorProto.INT4: 4, TensorProto.UINT4: 4}


@dataclass(frozen=True)
class NarrowFloat:
    """A binary format: how much its numbers hold, and what it has besides numbers."""

    fraction_bits: int
    least_exponent: int
    """Of normal numbers."""
    greatest: float
    beyond: float | None
    """What is too large, unless it saturates: infinity or NaN; None if there is neither."""
    has_negative_zero: bool = True


_FLOATS: dict[int, NarrowFloat] = {
    TensorProto.FLOAT8E4M3FN: NarrowFloat(3, -6, 448.0, float("nan")),
    TensorProto.FLOAT8E4M3FNUZ: NarrowFloat(3, -7, 240.0, float("nan"), False),
    TensorProto.FLOAT8E5M2: NarrowFloat(2, -14, 57344.0, float("inf")),
    TensorProto.FLOAT8E5M2FNUZ: NarrowFloat(2, -15, 57344.0, float("nan"), False),
    TensorProto.FLOAT6E2M3: NarrowFloat(3, 0, 7.5, None),
    TensorProto.FLOAT6E3M2: NarrowFloat(2, -2, 28.0, None),
    TensorProto.FLOAT4E2M1: NarrowFloat(1, 0, 6.0, None),
}


def integer_range(narrow: int) -> tuple[int, int]:
    """The least and the greatest number of a narrow integer type."""
    bits = _INTEGER_BITS[narrow]
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if held(narrow)[0].is_signed else (0, (1 << bits) - 1)


def as_cast(g: Builder, x: Tensor, dtype: DType) -> Tensor:
    """
    `x` as another type: floats lose their fraction, and then wrap as integers do.

    Outside of int64 (of uint64, for it) and of int32, the nearest number of the type is taken, and 0 for NaN.
    """
    if x.narrow and x.dtype is dtype:
        out = g.made(dtype, x.shape, x)
        g.copy(out, x)
        return out
    if not (x.dtype.is_float and dtype.is_integer) or dtype in (DType.I32, DType.I64):
        return g.cast(x, dtype)
    if dtype is DType.U64:  # int64 holds what is below 0, and uint64 the rest
        below = g.cast(g.minimum(x, 0), DType.I64)
        return g.add(g.cast(x, dtype), g.cast(below, dtype))
    return g.cast(g.cast(x, DType.I64 if dtype is DType.U32 else DType.I32), dtype)


def narrowed(g: Builder, x: Tensor, narrow: int, *, saturate: bool = True, round_mode: str = "up") -> Tensor:
    """`x` as the narrow type with ONNX's number `narrow`, in the type that holds it."""
    dtype, _ = held(narrow)
    if narrow in _INTEGER_BITS:
        number, spare = as_cast(g, x, dtype), 8 - _INTEGER_BITS[narrow]
        shift = g.scalar(spare, dtype)
        wrapped = g.binary(Binary.SHR, g.binary(Binary.SHL, number, shift), shift)
        return wrapped.marked(narrow)
    wide = g.cast(x, DType.F32)
    if narrow == TensorProto.FLOAT8E8M0:
        return g.cast(_power_of_two(g, wide, saturate, round_mode), dtype).marked(narrow)
    if narrow not in _FLOATS:
        raise Refuse(f"{name_of(narrow)} as the result")
    return g.cast(_rounded(g, wide, _FLOATS[narrow], saturate), dtype).marked(narrow)


def _bits(g: Builder, x: Tensor) -> Tensor:
    """The bits of floats as uint32."""
    out = g.made(DType.U32, x.shape, x)
    g.copy(out, x)
    return out


def _float(g: Builder, x: Tensor) -> Tensor:
    """uint32 as the bits of floats."""
    out = g.made(DType.F32, x.shape, x)
    g.copy(out, x)
    return out


def _masked(g: Builder, x: Tensor, mask: int) -> Tensor:
    return g.binary(Binary.BITAND, x, g.scalar(mask, DType.U32))


def _rounded(g: Builder, x: Tensor, to: NarrowFloat, saturate: bool) -> Tensor:
    """The nearest number of the format, in binary32; of two the even one. Infinities saturate as large numbers do."""
    bits = _bits(g, x)
    size = _masked(g, bits, 0x7FFFFFFF)
    dropped = 23 - to.fraction_bits
    odd = _masked(g, g.binary(Binary.SHR, size, g.scalar(dropped, DType.U32)), 1)
    up = g.add(g.add(size, (1 << dropped - 1) - 1), odd)
    normal = _float(g, _masked(g, up, 0x7FFFFFFF >> dropped << dropped))
    magnitude = _float(g, size)
    # Below the normal numbers all steps are alike.
    step = 2.0 ** (to.least_exponent - to.fraction_bits)
    small = g.mul(g.unary(Unary.ROUND, g.mul(magnitude, 1 / step)), step)
    number = g.choose(g.less(magnitude, 2.0**to.least_exponent), small, normal)
    beyond = to.greatest if saturate or to.beyond is None else to.beyond
    number = g.choose(g.less(to.greatest, number), beyond, number)
    signed = _float(g, g.binary(Binary.BITOR, _masked(g, bits, 0x80000000), _bits(g, number)))
    if not to.has_negative_zero:
        signed = g.choose(g.equal(number, 0), 0, signed)
    # In a format without NaN it becomes -0, as in ONNX's reference evaluator.
    return g.choose(g.unary(Unary.ISNAN, x), x if to.beyond is not None else -0.0, signed)


def _power_of_two(g: Builder, x: Tensor, saturate: bool, round_mode: str) -> Tensor:
    """
    The exponent of |x| as a power of two from 2^-127 on; NaN for infinities and NaN.

    "up" rounds to the next power, "down" to the one before, "nearest" takes a half upwards.
    """
    if round_mode not in ("up", "down", "nearest"):
        raise Refuse(f"round_mode {round_mode!r}; expected 'up', 'down' or 'nearest'")
    size = _masked(g, _bits(g, x), 0x7FFFFFFF)
    exponent = g.binary(Binary.SHR, size, g.scalar(23, DType.U32))
    fraction = _masked(g, size, 0x7FFFFF)
    if round_mode != "down":
        more = g.less(0, fraction)
        if round_mode == "nearest":  # a half of nothing (exponent 0) is even
            half = g.less_equal(g.choose(g.equal(exponent, 0), 0x400001, g.scalar(0x400000, DType.U32)), fraction)
            more = half
        grown = g.add(exponent, g.cast(more, DType.U32))
        exponent = g.choose(g.less(exponent, 255), g.minimum(grown, 254) if saturate else grown, exponent)
    power = _float(g, g.binary(Binary.SHL, exponent, g.scalar(23, DType.U32)))
    power = g.choose(g.equal(exponent, 0), 2.0**-127, power)
    return g.choose(g.equal(exponent, 255), float("nan"), power)
