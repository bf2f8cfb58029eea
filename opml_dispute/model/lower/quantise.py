"""
Quantised operators: integers that stand for (integer - zero point) * scale.

Rounding to integers goes through binary32, which holds every 8- and 16-bit integer and its zero point exactly, and
the cast at the end saturates. Products of 8-bit integers less their zero points are products of 16-bit integers,
summed in 32 bits without rounding; where one factor is known when the model is compiled, both stay bytes, and what the
other's zero point takes away is a bias.
"""

from __future__ import annotations

from opml_dispute.model.builder import Builder
from opml_dispute.model.elements import dtype_of, held
from opml_dispute.model.lower.convolution import conv_windows
from opml_dispute.model.lower.integers import dequantised, integer_convolution, integer_product, of_channels, of_matrix
from opml_dispute.model.lower.narrow import integer_range, narrowed
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor


def _spread(g: Builder, x: Tensor, vector: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale or zero point as it lies along x: one for all, one for each place on `axis`, or one for each block."""
    if vector.size == 1:
        return g.reshape(vector, ())
    along = g.axis(x, axis)
    if vector.rank == 1 and not (block_size and x.rank == 1):
        if vector.size != x.shape[along]:
            raise Refuse(f"{vector.size} scales or zero points along axis {axis} of {list(x.shape)}")
        for _ in range(x.rank - 1 - along):
            vector = vector.with_axis(vector.rank)
        return vector
    if vector.rank != x.rank:
        raise Refuse(f"scales {list(vector.shape)} for {list(x.shape)}")
    size, blocks = x.shape[along], vector.shape[along]
    length = block_size or -(-size // blocks)
    others = [shape[:along] + shape[along + 1 :] for shape in (vector.shape, x.shape)]
    if others[0] != others[1] or -(-size // length) != blocks:
        raise Refuse(f"scales {list(vector.shape)} for {list(x.shape)} in blocks of {length}")
    repeated = vector.with_axis(along + 1)
    repeated = repeated.broadcast((*repeated.shape[: along + 1], length, *repeated.shape[along + 2 :]))
    whole = g.reshape(repeated, (*vector.shape[:along], blocks * length, *vector.shape[along + 1 :]))
    return whole.sliced(along, 0, size)


def _quotient(g: Builder, x: Tensor, scale: Tensor, precision: DType) -> Tensor:
    """x / scale, rounded to `precision`, as binary32; or as binary64 if that is the precision."""
    left, right = g.cast(x, precision), g.cast(scale, precision)
    if precision is DType.F64:
        return g.div(left, right)
    number = g.div(g.cast(left, DType.F32), g.cast(right, DType.F32))
    return g.cast(g.cast(number, precision), DType.F32)


def quantised(
    g: Builder,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    dtype: DType,
    narrow: int = 0,
    precision: DType = DType.F32,
) -> Tensor:
    """round(x / scale) + zero point, saturated; halves go to the even neighbour."""
    number = g.cast(g.unary(Unary.ROUND, _quotient(g, x, scale, precision)), DType.F32)
    if zero_point is not None:
        number = g.add(number, g.cast(zero_point, DType.F32))
    if narrow:
        return g.cast(g.clipped(number, *integer_range(narrow)), dtype).marked(narrow)
    return g.cast(number, dtype)


@lowers("QuantizeLinear", since=23)
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
    """`precision`, else the scale's type, is that of the quotient, before it is rounded to what it becomes."""
    own = scale.dtype if scale.dtype.is_float and not scale.narrow else DType.F32
    exact = dtype_of(precision) if precision else own
    return _quantised(g, x, scale, zero_point, axis, block_size, output_dtype, bool(saturate), exact)


@lowers("QuantizeLinear")
def quantize_linear_10(
    g: Builder,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
) -> Tensor:
    """The quotient is binary32, as ONNX Runtime has it, where the standard does not say."""
    return _quantised(g, x, scale, zero_point, axis, block_size, output_dtype, bool(saturate), DType.F32)


def _quantised(
    g: Builder,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    axis: int,
    block_size: int,
    output_dtype: int,
    saturate: bool,
    precision: DType,
) -> Tensor:
    dtype, narrow = held(output_dtype) if output_dtype else (DType.U8, 0)
    spread_zero, spread_scale = None, _spread(g, x, scale, axis, block_size)
    if zero_point is not None:
        dtype, narrow = zero_point.dtype, zero_point.narrow
        spread_zero = _spread(g, x, zero_point, axis, block_size)
    if dtype.is_float and narrow:
        number = g.cast(_quotient(g, x, spread_scale, precision), DType.F32)
        if spread_zero is not None:
            number = g.add(number, g.cast(spread_zero, DType.F32))
        return narrowed(g, number, narrow, saturate=saturate)
    if dtype not in (DType.U8, DType.I8, DType.U16, DType.I16):
        raise Refuse(f"{dtype.name} as the result; expected integers of at most 16 bits, or narrow floats")
    return quantised(g, x, spread_scale, spread_zero, dtype, narrow, precision)


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
    number = g.cast(g.mul(number, spread), dtype)
    return number if block_size else dequantised(g, number, x, scale, zero_point, axis)


@lowers("DynamicQuantizeLinear")
def dynamic_quantize_linear(g: Builder, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantised to 0..255 over the range of x and 0: the integers, their scale and their zero point."""
    lowest, highest = g.extremes_of_parts(x)
    least = g.minimum(g.reduce_min(lowest, None, keepdims=False), 0)
    greatest = g.maximum(g.reduce_max(highest, None, keepdims=False), 0)
    scale = g.div(g.sub(greatest, least), 255)
    scale = g.choose(g.equal(scale, 0), 1, scale)  # of nothing but zeros
    zero_point = g.cast(g.unary(Unary.ROUND, g.div(g.negate(least), scale)), DType.U8)  # 0 to 255, as casts saturate
    return quantised(g, x, scale, zero_point, DType.U8), scale, zero_point


@lowers("MatMulInteger")
def matmul_integer(
    g: Builder, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    return integer_product(g, a, b, a_zero, b_zero)


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
    product = g.cast(integer_product(g, a, b, a_zero, b_zero), DType.F32)
    scales = [g.cast(of_matrix(g, s, m, rows=r), DType.F32) for s, m, r in ((a_scale, a, True), (b_scale, b, False))]
    scaled = g.mul(product, g.mul(*scales))
    return quantised(g, scaled, g.reshape(y_scale, ()), g.reshape(y_zero, ()), y_zero.dtype)


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
    return integer_convolution(g, x, w, x_zero, w_zero, at, group)


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
    product = g.cast(integer_convolution(g, x, w, x_zero, w_zero, at, group, bias), DType.F32)
    scale = g.mul(g.reshape(x_scale, ()), of_channels(g, w_scale, w.shape[0], w.rank - 1))
    scaled = g.mul(product, scale)
    return quantised(g, scaled, g.reshape(y_scale, ()), g.reshape(y_zero, ()), y_zero.dtype)
