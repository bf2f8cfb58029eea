"""
Quantised operators: integers that stand for (integer - zero point) * scale.

Rounding to integers goes through binary32, which holds every 8- and 16-bit integer and its zero point exactly, and
the cast at the end saturates. Products of 8-bit integers less their zero points are products of 16-bit integers,
summed in 32 bits without rounding; where one factor is known when the model is compiled, both stay bytes, and what the
other's zero point takes away is a bias.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.elements import dtype_of, held
from opml_dispute.model.lower.convolution import conv_windows
from opml_dispute.model.lower.narrow import integer_range, narrowed
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor
from opml_dispute.model.windows import Windows


def _spread(g: Builder, x: Tensor, vector: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale or zero point as it lies along x: one for all, one for each place on `axis`, or one for each block."""
    if vector.size == 1:
        return g.reshape(vector, ())
    along = g.axis(x, axis)
    if vector.rank == 1 and not (block_size and x.rank == 1):
        for _ in range(x.rank - 1 - along):
            vector = vector.with_axis(vector.rank)
        return vector
    size, blocks = x.shape[along], vector.shape[along]
    length = block_size or -(-size // blocks)
    if vector.rank != x.rank or -(-size // length) != blocks:
        raise Refuse(f"scales {list(vector.shape)} for {list(x.shape)} in blocks of {length}")
    repeated = vector.with_axis(along + 1)
    repeated = repeated.broadcast((*repeated.shape[: along + 1], length, *repeated.shape[along + 2 :]))
    whole = g.reshape(repeated, (*vector.shape[:along], blocks * length, *vector.shape[along + 1 :]))
    return whole.sliced(along, 0, size)


def quantised(g: Builder, x: Tensor, scale: Tensor, zero_point: Tensor | None, dtype: DType, narrow: int = 0) -> Tensor:
    """round(x / scale) + zero point, saturated; halves go to the even neighbour."""
    number = g.unary(Unary.ROUND, g.div(g.cast(x, DType.F32), g.cast(scale, DType.F32)))
    if zero_point is not None:
        number = g.add(number, g.cast(zero_point, DType.F32))
    if narrow:
        return g.cast(g.clipped(number, *integer_range(narrow)), dtype).marked(narrow)
    return g.cast(number, dtype)


@lowers("QuantizeLinear")
def quantize_linear(
    g: Builder,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    dtype, narrow = held(output_dtype) if output_dtype else (DType.U8, 0)
    spread_zero, spread_scale = None, _spread(g, x, scale, axis, block_size)
    if zero_point is not None:
        dtype, narrow = zero_point.dtype, zero_point.narrow
        spread_zero = _spread(g, x, zero_point, axis, block_size)
    if dtype.is_float and narrow:
        number = g.div(g.cast(x, DType.F32), g.cast(spread_scale, DType.F32))
        if spread_zero is not None:
            number = g.add(number, g.cast(spread_zero, DType.F32))
        return narrowed(g, number, narrow, saturate=bool(saturate))
    if dtype not in (DType.U8, DType.I8, DType.U16, DType.I16):
        raise Refuse(f"{dtype.name} as the result; expected integers of at most 16 bits, or narrow floats")
    return quantised(g, x, spread_scale, spread_zero, dtype, narrow)


@lowers("DequantizeLinear")
def dequantize_linear(
    g: Builder,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """(x - zero point) * scale, in the scale's type."""
    dtype = scale.dtype if not output_dtype else dtype_of(output_dtype)
    if x.dtype is DType.I32 and zero_point is not None:
        # 32 bits do not fit binary32, so the difference is taken before.
        x = g.sub(x, _spread(g, x, zero_point, axis, block_size))
        zero_point = None
    number = g.cast(x, DType.F32)
    if zero_point is not None:
        number = g.sub(number, g.cast(_spread(g, x, zero_point, axis, block_size), DType.F32))
    spread = g.cast(_spread(g, x, scale, axis, block_size), DType.F32)
    return g.cast(g.mul(number, spread), dtype)


@lowers("DynamicQuantizeLinear")
def dynamic_quantize_linear(g: Builder, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantised to 0..255 over the range of x and 0: the integers, their scale and their zero point."""
    least = g.minimum(g.reduce_min(x, None, keepdims=False), 0)
    greatest = g.maximum(g.reduce_max(x, None, keepdims=False), 0)
    scale = g.div(g.sub(greatest, least), 255)
    scale = g.choose(g.equal(scale, 0), 1, scale)  # of nothing but zeros
    zero_point = g.cast(g.unary(Unary.ROUND, g.clipped(g.div(g.negate(least), scale), 0, 255)), DType.U8)
    return quantised(g, x, scale, zero_point, DType.U8), scale, zero_point


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


def _matrix_zero(g: Builder, zero_point: Tensor | None, matrix: Tensor, *, rows: bool) -> Tensor | None:
    """A zero point for the whole matrix, or one for each row or column."""
    if zero_point is None or zero_point.size == 1:
        return None if zero_point is None else g.reshape(zero_point, ())
    return zero_point.with_axis(1) if rows and zero_point.rank == 1 else zero_point


@lowers("MatMulInteger")
def matmul_integer(
    g: Builder, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    a_zero, b_zero = _matrix_zero(g, a_zero, a, rows=True), _matrix_zero(g, b_zero, b, rows=False)
    weights = _constant_less_zero(g, b, b_zero)
    if weights is None or b.rank < 2 or a.dtype not in (DType.U8, DType.I8) or (a_zero is not None and a_zero.rank):
        return g.matmul(*_factors(g, a, a_zero, b, b_zero), dtype=DType.I32)
    bias = None
    if a_zero is not None and not _is_zero(a_zero):
        bias = _zero_times_sums(g, a_zero, weights, (-2,), keepdims=True)
    return g.matmul(a, weights, bias, dtype=DType.I32)


@lowers("QLinearMatMul")
def qlinear_matmul(
    g: Builder,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
) -> Tensor:
    product = g.cast(matmul_integer(g, a, b, a_zero, b_zero), DType.F32)
    scales = [
        g.cast(_matrix_zero(g, s, m, rows=r) or s, DType.F32) for s, m, r in ((a_scale, a, True), (b_scale, b, False))
    ]
    scaled = g.mul(product, g.mul(*scales))
    return quantised(g, scaled, g.reshape(y_scale, ()), g.reshape(y_zero, ()), y_zero.dtype)


def _channel(vector: Tensor, rank: int) -> Tensor:
    """One number for each first dimension of a tensor with `rank` dimensions."""
    for _ in range(rank - 1 if vector.rank else 0):
        vector = vector.with_axis(vector.rank)
    return vector


def _conv_integer(
    g: Builder, x: Tensor, w: Tensor, x_zero: Tensor | None, w_zero: Tensor | None, at: Windows, group: int,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    x_zero = None if x_zero is None else g.reshape(x_zero, ())
    w_zero = None if w_zero is None else _channel(g.reshape(w_zero, ()) if w_zero.size == 1 else w_zero, w.rank)
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


@lowers("ConvInteger")
def conv_integer(
    g: Builder,
    x: Tensor,
    w: Tensor,
    x_zero: Tensor | None = None,
    w_zero: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    at = conv_windows(
        x, w, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides
    )
    return _conv_integer(g, x, w, x_zero, w_zero, at, group)


@lowers("QLinearConv")
def qlinear_conv(
    g: Builder,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    at = conv_windows(
        x, w, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides
    )
    product = g.cast(_conv_integer(g, x, w, x_zero, w_zero, at, group, bias), DType.F32)
    w_scale = g.reshape(w_scale, ()) if w_scale.size == 1 else _channel(w_scale, w.rank - 1)
    scaled = g.mul(product, g.mul(g.reshape(x_scale, ()), w_scale))
    return quantised(g, scaled, g.reshape(y_scale, ()), g.reshape(y_zero, ()), y_zero.dtype)
