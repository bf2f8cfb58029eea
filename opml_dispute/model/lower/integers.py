"""
Products of 8-bit integers less their zero points, summed in 32 bits without rounding.

Where one factor is known when the model is compiled, both stay bytes, and what the other's zero point takes away is a
bias; else both become integers of 16 bits. A product of two dequantised tensors is that of their integers, scaled: it
is rounded three times at most, however many terms it has, and it is what runtimes for quantised models compute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Dequantised, Tensor, row_major
from opml_dispute.model.windows import Windows

MOST_TERMS: Final = 1 << 15
"""So many products of differences of bytes, at most 255 each way, do not leave 32 bits."""


def _is_zero(x: Tensor | None) -> bool:
    return x is None or (x.is_constant and not np.any(x.values()))


def _centred(g: Builder, x: Tensor, zero_point: Tensor | None) -> Tensor:
    """x - zero point as int16, which holds every difference of 8-bit integers."""
    wide = g.cast(x, DType.I16)
    return wide if zero_point is None else g.sub(wide, g.cast(zero_point, DType.I16))


def _factors(g: Builder, a: Tensor, a_zero: Tensor | None, b: Tensor, b_zero: Tensor | None) -> tuple[Tensor, Tensor]:
    """Two integer factors less their zero points, in types whose product a kernel sums in int32."""
    if {a.dtype, b.dtype} - {DType.U8, DType.I8}:
        raise Refuse(f"factors of types {a.dtype.name} and {b.dtype.name}; expected 8-bit integers")
    if _is_zero(a_zero) and _is_zero(b_zero):
        return a, b
    return _centred(g, a, a_zero), _centred(g, b, b_zero)


def _constant_less_zero(g: Builder, x: Tensor, zero_point: Tensor | None) -> Tensor | None:
    """x - zero point, if both are constants and every difference is a byte of one sign."""
    if {x.dtype} - {DType.U8, DType.I8} or not x.is_constant or not x.size:
        return None
    if _is_zero(zero_point):
        return x
    if zero_point is None or not zero_point.is_constant:
        return None
    values = x.values().astype(np.int16) - zero_point.values().astype(np.int16)
    for kind in (np.int8, np.uint8):
        if np.iinfo(kind).min <= values.min() and values.max() <= np.iinfo(kind).max:
            return g.constant(values.astype(kind))
    return None


def _zero_times_sums(
    g: Builder, zero_point: Tensor, weights: Tensor, axes: tuple[int, ...], *, keepdims: bool
) -> Tensor:
    """
    What a zero point of the other factor takes away from each sum: minus itself, times the sum of its weights.

    So weights that are known when the model is compiled are multiplied as the bytes they are, and the other factor is
    never widened: sum (x - z) w = sum x w - z sum w, exact modulo 2^32 on both sides.
    """
    sums = -weights.values().astype(np.int64).sum(axis=axes, keepdims=keepdims)
    return g.mul(g.constant(sums.astype(np.int32)), g.cast(zero_point, DType.I32))


def of_matrix(g: Builder, numbers: Tensor, matrix: Tensor, *, rows: bool) -> Tensor:
    """
    A zero point or a scale for all of a factor, or one for each of its rows or columns, as it lies along it.

    A matrix [M][K] takes a vector, [M] for rows or [K] for columns; it and factors [...][M][K] of more dimensions take
    [...][M][1] or [...][1][K]. Raises `Refuse` for other shapes.
    """
    if numbers.size == 1:
        return g.reshape(numbers, ())
    if matrix.rank >= 2:
        lead, length = matrix.shape[:-2], matrix.shape[-2 if rows else -1]
        if numbers.shape == (*lead, *((length, 1) if rows else (1, length))):
            return numbers
        if matrix.rank == 2 and numbers.shape == (length,):
            return numbers.with_axis(1) if rows else numbers
    raise Refuse(
        f"scales or zero points {list(numbers.shape)} for {list(matrix.shape)}; expected one number, or one for each"
        f" {'row' if rows else 'column'}"
    )


def integer_product(
    g: Builder, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    """The matrix product of a and b less their zero points, in 32 bits."""
    a_zero = None if a_zero is None else of_matrix(g, a_zero, a, rows=True)
    b_zero = None if b_zero is None else of_matrix(g, b_zero, b, rows=False)
    weights = _constant_less_zero(g, b, b_zero)
    if weights is None or b.rank < 2 or a.dtype not in (DType.U8, DType.I8) or (a_zero is not None and a_zero.rank):
        return g.matmul(*_factors(g, a, a_zero, b, b_zero), dtype=DType.I32)
    bias = None
    if a_zero is not None and not _is_zero(a_zero):
        bias = _zero_times_sums(g, a_zero, weights, (-2,), keepdims=True)
    return g.matmul(a, weights, bias, dtype=DType.I32)


def by_channel(vector: Tensor, rank: int) -> Tensor:
    """One number for each first dimension of a tensor with `rank` dimensions."""
    for _ in range(rank - 1 if vector.rank else 0):
        vector = vector.with_axis(vector.rank)
    return vector


def of_channels(g: Builder, numbers: Tensor, channels: int, rank: int) -> Tensor:
    """A zero point or a scale for all, or one for each first dimension of a tensor with `rank` dimensions."""
    if numbers.size == 1:
        return g.reshape(numbers, ())
    if numbers.shape != (channels,):
        raise Refuse(
            f"scales or zero points {list(numbers.shape)} for {channels} channels; expected one, or one for each"
        )
    return by_channel(numbers, rank)


def integer_convolution(
    g: Builder, x: Tensor, w: Tensor, x_zero: Tensor | None, w_zero: Tensor | None, at: Windows, group: int,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The convolution of x with w, both less their zero points, plus a bias of 32 bits."""
    x_zero = None if x_zero is None else g.reshape(x_zero, ())
    w_zero = None if w_zero is None else of_channels(g, w_zero, w.shape[0], w.rank)
    if bias is not None and bias.shape != w.shape[:1]:
        raise Refuse(f"a bias {list(bias.shape)} for {w.shape[0]} channels; expected one number for each")
    weights = _constant_less_zero(g, w, w_zero)
    if weights is not None and x.dtype in (DType.U8, DType.I8):
        if x_zero is not None and not _is_zero(x_zero):
            # Padding stands for the number 0, which is the zero point.
            none = (0,) * len(at.before)
            x = g.pad(x, (0, 0, *at.before), (0, 0, *at.behind), x_zero)
            at = replace(at, before=none, after=tuple(min(after, 0) for after in at.after))
            taken = _zero_times_sums(g, x_zero, weights, tuple(range(1, w.rank)), keepdims=False)
            bias = taken if bias is None else g.add(bias, taken)
        return g.conv(x, weights, bias, at, groups=group, dtype=DType.I32)
    x, w = _factors(g, x, x_zero, w, w_zero)
    return g.conv(x, w, bias, at, groups=group, dtype=DType.I32)


def dequantised(g: Builder, number: Tensor, x: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int) -> Tensor:
    """
    `number`, which is (x - zero point) * scale, with the knowledge of that where products can use it: of packed bytes
    with constant scales and zero points, one for all or one for each place on `axis`.
    """
    vectors = [scale] if zero_point is None else [scale, zero_point]
    if (
        x.dtype in (DType.U8, DType.I8)
        and number.dtype is DType.F32
        and number.is_contiguous
        and number.offset == 0
        and x.is_contiguous
        and x.size > 0
        and not x.narrow
        and all(vector.is_constant and vector.rank < 2 for vector in vectors)
    ):
        at = g.axis(x, axis) if any(vector.size > 1 for vector in vectors) else 0  # else it means nothing
        zeros = None if zero_point is None else zero_point.values()
        number.buffer.dequantised = Dequantised(x, scale.values(), zeros, at)
    return number


@dataclass(frozen=True)
class _Factor:
    """A view of dequantised numbers, as the view of their integers."""

    integers: Tensor
    scale: Array
    zero_point: Array | None
    axis: int | None
    """The dimension that scales and zero points belong to; None if there is one of each."""


def _factor(x: Tensor) -> _Factor | None:
    """x as integers; None if it is not known to stand for any, or its scales lie in no dimension of it."""
    known = x.buffer.dequantised
    if known is None or x.dtype is not DType.F32:
        return None
    whole = known.integers
    integers = Tensor(whole.buffer, x.shape, x.strides, whole.offset + x.offset)
    if known.scale.size == 1 and (known.zero_point is None or known.zero_point.size == 1):
        return _Factor(integers, known.scale.reshape(()), _one(known.zero_point), None)
    # Only where the view has the dimensions of the whole, in any order, it is certain which one the scales belong to.
    packed, axis = row_major(whole.shape), known.axis
    of_whole = sorted((stride, size) for size, stride in zip(whole.shape, packed, strict=True) if size > 1)
    of_view = sorted((stride, size) for size, stride in zip(x.shape, x.strides, strict=True) if size > 1)
    if x.offset or of_whole != of_view or whole.shape[axis] < 2:
        return None
    place = next(d for d in range(x.rank) if x.shape[d] == whole.shape[axis] and x.strides[d] == packed[axis])
    return _Factor(integers, known.scale, _one(known.zero_point), place)


def _one(vector: Array | None) -> Array | None:
    """A vector of one as a number, whatever broadcasts; longer ones as they are."""
    return vector.reshape(()) if vector is not None and vector.size == 1 else vector


def _constant(g: Builder, zero_point: Array | None) -> Tensor | None:
    return None if zero_point is None else g.constant(zero_point)


def _scale(one: _Factor, other: _Factor) -> Array | None:
    """The product of both scales; None where it could overflow, or lose bits that products of the numbers have."""
    scale = np.multiply(one.scale, other.scale, dtype=np.float64)
    size = np.abs(scale)
    return scale.astype(np.float32) if np.all((size > 2.0**-90) & (size < 2.0**90)) else None


def product_of_dequantised(g: Builder, a: Tensor, b: Tensor) -> Tensor | None:
    """a times b by their integers; None if they do not both stand for integers, or scales vary along the sum."""
    one, other = _factor(a), _factor(b)
    if one is None or other is None or a.rank < 2 or b.rank < 2 or not 0 < a.shape[-1] <= MOST_TERMS:
        return None
    scale = _scale(one, other)
    if one.axis is not None or other.axis not in (None, b.rank - 1) or scale is None:
        return None
    zeros = _constant(g, one.zero_point), _constant(g, other.zero_point)
    product = integer_product(g, one.integers, other.integers, *zeros)
    return g.mul(g.cast(product, DType.F32), g.constant(scale))


def convolution_of_dequantised(g: Builder, x: Tensor, w: Tensor, bias: Tensor | None, at: Windows) -> Tensor | None:
    """As `product_of_dequantised`, of a convolution in one group, scales of w by output channel."""
    one, other = _factor(x), _factor(w)
    if one is None or other is None or not 0 < w.size // max(w.shape[0], 1) <= MOST_TERMS:
        return None
    scale = _scale(one, other)
    if one.axis is not None or other.axis not in (None, 0) or scale is None:
        return None
    zeros = _constant(g, one.zero_point), _constant(g, other.zero_point)
    product = integer_convolution(g, one.integers, other.integers, *zeros, at, 1)
    number = g.mul(g.cast(product, DType.F32), by_channel(g.constant(scale), w.rank - 1))
    return number if bias is None else g.add(number, by_channel(bias, w.rank - 1))
