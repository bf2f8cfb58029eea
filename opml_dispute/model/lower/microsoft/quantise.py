"""
Quantised operators that ONNX's own set lacks.

Elementwise ones and poolings compute in binary32 between two scales, as ONNX Runtime's portable kernels do; its vector
kernels may round a half the other way, so that results differ by one unit.
"""

from __future__ import annotations

from math import prod

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.elementwise import leaky_relu
from opml_dispute.model.lower.integers import of_matrix
from opml_dispute.model.lower.microsoft.attention import MASKED, Scoring, self_attention
from opml_dispute.model.lower.microsoft.linear import channels_first, channels_last
from opml_dispute.model.lower.microsoft.within import expect_vector, expect_within
from opml_dispute.model.lower.pooling import average_pool
from opml_dispute.model.lower.quantise import (
    dequantize_linear,
    dynamic_quantize_linear,
    matmul_integer,
    qlinear_conv,
    quantised,
    quantize_linear,
)
from opml_dispute.model.lower.registry import MICROSOFT, Value, lowers
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor


def _number(g: Builder, x: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
    """(x - zero point) * scale, with one scale for all, or one for each place on the last dimension."""
    number = g.cast(x, DType.F32)
    if zero_point is not None:
        number = g.sub(number, g.cast(_scalar(g, zero_point), DType.F32))
    return g.mul(number, _scalar(g, scale))


def _scalar(g: Builder, x: Tensor) -> Tensor:
    if x.size != 1:
        raise Refuse(f"a scale or zero point of shape {list(x.shape)}; expected one number")
    return g.reshape(x, ())


def _integer(g: Builder, x: Tensor, scale: Tensor, zero_point: Tensor | None, dtype: DType) -> Tensor:
    zero = None if zero_point is None else _scalar(g, zero_point)
    return quantised(g, x, _scalar(g, scale), zero, dtype)


@lowers("QuantizeLinear", domain=MICROSOFT)
def quantize(g: Builder, x: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int = 1) -> Tensor:
    return quantize_linear(g, x, scale, zero_point, axis=axis)


@lowers("DequantizeLinear", domain=MICROSOFT)
def dequantize(g: Builder, x: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int = 1) -> Tensor:
    return dequantize_linear(g, x, scale, zero_point, axis=axis)


def _two(name: str) -> None:
    @lowers(name, domain=MICROSOFT)
    def lower(
        g: Builder,
        a: Tensor,
        a_scale: Tensor,
        a_zero: Tensor | None,
        b: Tensor,
        b_scale: Tensor,
        b_zero: Tensor | None,
        y_scale: Tensor,
        y_zero: Tensor | None = None,
    ) -> Tensor:
        x, y = _number(g, a, a_scale, a_zero), _number(g, b, b_scale, b_zero)
        return _integer(g, g.add(x, y) if name == "QLinearAdd" else g.mul(x, y), y_scale, y_zero, a.dtype)


_two("QLinearAdd")
_two("QLinearMul")


@lowers("QLinearSigmoid", domain=MICROSOFT)
def qlinear_sigmoid(
    g: Builder, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y_scale: Tensor, y_zero: Tensor | None = None
) -> Tensor:
    return _integer(g, g.sigmoid(_number(g, x, x_scale, x_zero)), y_scale, y_zero, x.dtype)


@lowers("QLinearLeakyRelu", domain=MICROSOFT)
def qlinear_leaky_relu(
    g: Builder, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y_scale: Tensor, y_zero: Tensor | None = None,
    *, alpha: float = 0.01,
) -> Tensor:  # fmt: skip
    return _integer(g, leaky_relu(g, _number(g, x, x_scale, x_zero), alpha=alpha), y_scale, y_zero, x.dtype)


@lowers("QLinearSoftmax", domain=MICROSOFT)
def qlinear_softmax(
    g: Builder, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y_scale: Tensor, y_zero: Tensor | None = None,
    *, axis: int = -1, opset: int,
) -> Tensor:  # fmt: skip
    """Softmax as version `opset` of ONNX's set means it: before 13, all dimensions from `axis` on count as one."""
    along = g.axis(x, axis)
    axes = (along,) if opset >= 13 else tuple(range(along, x.rank))
    return _integer(g, g.softmax(_number(g, x, x_scale, x_zero), axes), y_scale, y_zero, x.dtype)


@lowers("QLinearGlobalAveragePool", domain=MICROSOFT)
def qlinear_global_average_pool(
    g: Builder, x: Tensor, x_scale: Tensor, x_zero: Tensor, y_scale: Tensor, y_zero: Tensor, *, channels_last: int = 0
) -> Tensor:
    axes = tuple(range(1, x.rank - 1)) if channels_last else tuple(range(2, x.rank))
    sums = g.reduce_sum(g.cast(x, DType.I32), axes)  # of integers, so without rounding
    count = prod(x.shape[d] for d in axes)
    centred = g.sub(sums, g.mul(g.cast(_scalar(g, x_zero), DType.I32), count))
    mean = g.div(g.mul(g.cast(centred, DType.F32), _scalar(g, x_scale)), count)
    return _integer(g, mean, y_scale, y_zero, x.dtype)


@lowers("QLinearAveragePool", domain=MICROSOFT)
def qlinear_average_pool(
    g: Builder,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor | None,
    y_scale: Tensor,
    y_zero: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    kernel_shape: Shape,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """The average of each window's numbers; padding stands for the number 0."""
    number = _number(g, channels_first(x) if channels_last else x, x_scale, x_zero)
    y = average_pool(
        g, number, kernel_shape=kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad, pads=pads, strides=strides,
    )  # fmt: skip
    y = _integer(g, y, y_scale, y_zero, x.dtype)
    return _channels_behind(y) if channels_last else y


_channels_behind = channels_last


@lowers("QLinearReduceMean", domain=MICROSOFT)
def qlinear_reduce_mean(
    g: Builder, x: Tensor, x_scale: Tensor, x_zero: Tensor | None, y_scale: Tensor, y_zero: Tensor | None = None,
    *, axes: tuple[int, ...], keepdims: int,
) -> Tensor:  # fmt: skip
    mean = g.reduce_mean(_number(g, x, x_scale, x_zero), axes, keepdims=bool(keepdims))
    return _integer(g, mean, y_scale, y_zero, x.dtype)


@lowers("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(g: Builder, y_scale: Tensor, y_zero: Tensor, *parts: Tensor, axis: int) -> Tensor:
    """The inputs, each with its own scale and zero point, on the output's scale, one after another."""
    if not parts or len(parts) % 3:
        raise Refuse(f"{len(parts)} inputs; expected tensors, each with its scale and zero point")
    moved = []
    for i in range(0, len(parts), 3):
        x, scale, zero = parts[i : i + 3]
        moved.append(_integer(g, _number(g, x, scale, zero), y_scale, y_zero, y_zero.dtype))
    return g.concat(moved, g.axis(moved[0], axis))


@lowers("QLinearWhere", domain=MICROSOFT)
def qlinear_where(
    g: Builder, condition: Tensor, x: Tensor, x_scale: Tensor, x_zero: Tensor, y: Tensor, y_scale: Tensor,
    y_zero: Tensor, z_scale: Tensor, z_zero: Tensor,
) -> Tensor:  # fmt: skip
    a, b = _number(g, x, x_scale, x_zero), _number(g, y, y_scale, y_zero)
    return g.choose(condition, *(_integer(g, t, z_scale, z_zero, z_zero.dtype) for t in (a, b)))


@lowers("QLinearConv", domain=MICROSOFT)
def qlinear_conv_channels(
    g: Builder, x: Tensor, x_scale: Tensor, x_zero: Tensor, w: Tensor, w_scale: Tensor, w_zero: Tensor,
    y_scale: Tensor, y_zero: Tensor, bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    channels_last: int = 0,
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:  # fmt: skip
    """QLinearConv, whose input and output may have their channels last."""
    y = qlinear_conv(
        g, channels_first(x) if channels_last else x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias,
        auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return _channels_behind(y) if channels_last else y


# Products


def scaled_product(
    g: Builder, a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, a_zero: Tensor | None, b_zero: Tensor | None
) -> Tensor:
    """The product of integers less their zero points, exact, times both scales, of which b's may always be a vector."""
    product = g.cast(matmul_integer(g, a, b, a_zero, b_zero), DType.F32)
    columns = b_scale if b_scale.shape == b.shape[-1:] else of_matrix(g, b_scale, b, rows=False)
    return g.mul(product, g.mul(of_matrix(g, a_scale, a, rows=True), columns))


@lowers("MatMulIntegerToFloat", domain=MICROSOFT, in_f32=True, like=2)
def matmul_integer_to_float(
    g: Builder,
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero: Tensor | None = None,
    b_zero: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    y = scaled_product(g, a, b, a_scale, b_scale, a_zero, b_zero)
    expect_vector(bias, b.shape[-1], "a bias")
    return y if bias is None else g.add(y, bias)


@lowers("DynamicQuantizeMatMul", domain=MICROSOFT, in_f32=True, like=0)
def dynamic_quantize_matmul(
    g: Builder, a: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """a quantised over its own range (DynamicQuantizeLinear), then MatMulIntegerToFloat."""
    integers, scale, zero = dynamic_quantize_linear(g, a)
    y = scaled_product(g, integers, b, scale, b_scale, zero, b_zero)
    expect_vector(bias, b.shape[-1], "a bias")
    return y if bias is None else g.add(y, bias)


@lowers("QGemm", domain=MICROSOFT, in_f32=True, like=1)
def qgemm(
    g: Builder,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    c: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero: Tensor | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha * A' B' + C of integers, where C is on the product's scale; quantised, or floats if there is no y_scale."""
    if (a.rank, b.rank) != (2, 2):
        raise Refuse(f"factors {list(a.shape)} and {list(b.shape)}; expected two matrices")
    a = a.transposed((1, 0)) if transA else a
    b = b.transposed((1, 0)) if transB else b
    product = matmul_integer(g, a, b, _scalar(g, a_zero), b_zero)
    expect_within(c, product.shape, "a bias")
    product = product if c is None else g.add(product, c)
    scale = g.mul(g.mul(_scalar(g, a_scale), of_matrix(g, b_scale, b, rows=False)), float(np.float32(alpha)))
    y = g.mul(g.cast(product, DType.F32), scale)
    if y_scale is None:
        return y
    return _integer(g, y, y_scale, y_zero, DType.U8 if y_zero is None else y_zero.dtype)


@lowers("QAttention", domain=MICROSOFT, in_f32=True, like=3)
def qattention(
    g: Builder,
    x: Tensor,
    weights: Tensor,
    bias: Tensor,
    x_scale: Tensor,
    w_scale: Tensor,
    mask: Tensor | None = None,
    x_zero: Tensor | None = None,
    w_zero: Tensor | None = None,
    past: Tensor | None = None,
    *,
    do_rotary: int = 0,
    mask_filter_value: float = MASKED,
    num_heads: int,
    past_present_share_buffer: int = 0,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Value, ...]:
    """Attention whose projection is a product of integers."""
    if do_rotary or past_present_share_buffer:
        raise Refuse("do_rotary, or a shared buffer of past and present; expected neither")
    if (x.rank, weights.rank) != (3, 2):
        raise Refuse(f"inputs {list(x.shape)} and weights {list(weights.shape)}; expected three and two dimensions")
    expect_vector(bias, weights.shape[-1], "a bias")
    projected = g.add(scaled_product(g, x, weights, x_scale, w_scale, x_zero, w_zero), bias)
    how = Scoring(scale, bool(unidirectional), mask_filter_value)
    return self_attention(g, projected, mask, past, None, num_heads, None, how)
