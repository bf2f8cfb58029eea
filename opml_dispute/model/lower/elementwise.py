"""Operators that apply to each element: activations, arithmetic, comparisons, logic, casts."""

from __future__ import annotations

from functools import reduce
from math import ceil, floor

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.exact import nearest_integer, square_root, truncated, truncated_sum
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import Binary, DType, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

# ONNX operator -> unary function; the attribute-free ones.
_UNARY = {
    "Neg": Unary.NEG,
    "Abs": Unary.ABS,
    "Sign": Unary.SIGN,
    "Reciprocal": Unary.RECIPROCAL,
    "Sqrt": Unary.SQRT,
    "Floor": Unary.FLOOR,
    "Ceil": Unary.CEIL,
    "Round": Unary.ROUND,
    "Exp": Unary.EXP,
    "Log": Unary.LOG,
    "Sin": Unary.SIN,
    "Cos": Unary.COS,
    "Tan": Unary.TAN,
    "Asin": Unary.ASIN,
    "Acos": Unary.ACOS,
    "Atan": Unary.ATAN,
    "Sinh": Unary.SINH,
    "Cosh": Unary.COSH,
    "Tanh": Unary.TANH,
    "Asinh": Unary.ASINH,
    "Acosh": Unary.ACOSH,
    "Atanh": Unary.ATANH,
    "Erf": Unary.ERF,
    "Sigmoid": Unary.SIGMOID,
    "Softplus": Unary.SOFTPLUS,
    "Relu": Unary.RELU,
    "Not": Unary.NOT,
    "BitwiseNot": Unary.BITNOT,
    "IsNaN": Unary.ISNAN,
}


def _unary(name: str, function: Unary) -> None:
    @lowers(name, since=6)
    def lower(g: Builder, x: Tensor) -> Tensor:
        if function is Unary.ERF and x.dtype.is_integer:  # allowed before version 28: the fraction is cut off
            return truncated(g, g.unary(function, g.cast(x, DType.F32)), x.dtype)
        return g.unary(function, x)

    @lowers(name)
    def lower_1(g: Builder, x: Tensor, *, consumed_inputs: object = None) -> Tensor:
        return g.unary(function, x)


for _name, _function in _UNARY.items():
    _unary(_name, _function)

_BINARY = {
    "Add": Binary.ADD,
    "Sub": Binary.SUB,
    "Mul": Binary.MUL,
    "Div": Binary.DIV,
    "Pow": Binary.POW,
    "And": Binary.AND,
    "Or": Binary.OR,
    "Xor": Binary.XOR,
    "Equal": Binary.EQ,
    "Less": Binary.LT,
    "LessOrEqual": Binary.LE,
    "BitwiseAnd": Binary.BITAND,
    "BitwiseOr": Binary.BITOR,
    "BitwiseXor": Binary.BITXOR,
    "PRelu": Binary.PRELU,
}


def _binary(name: str, function: Binary) -> None:
    @lowers(name, since=7)
    def lower(g: Builder, x: Tensor, y: Tensor) -> Tensor:
        if function is Binary.POW and _is_square(x, y):
            return g.mul(x, x)  # rounded once, where a power is rounded many times
        if function is Binary.POW and y.dtype is not x.dtype:
            return _mixed_power(g, x, y)
        return g.binary(function, x, y)

    @lowers(name)
    def lower_1(
        g: Builder, x: Tensor, y: Tensor, *, broadcast: int = 0, axis: int | None = None, consumed_inputs: object = None
    ) -> Tensor:
        """Before version 7, the second operand's place among the first's dimensions was an attribute."""
        if name == "PRelu" and y.rank == 1 and x.rank > 1 and 1 < y.size == x.shape[1]:
            axis = 1
        if axis is not None:
            for _ in range(x.rank - g.axis(x, axis) - y.rank):
                y = y.with_axis(y.rank)
        return g.binary(function, x, y)


for _name, _binary_function in _BINARY.items():
    _binary(_name, _binary_function)


def _is_square(x: Tensor, y: Tensor) -> bool:
    """Whether x^y is x * x, whatever x holds."""
    if not y.is_constant or y.size != 1 or y.rank > x.rank or not (x.dtype.is_float or y.dtype.is_integer):
        return False
    return bool(y.values().item() == 2)


def _mixed_power(g: Builder, x: Tensor, y: Tensor) -> Tensor:
    """
    The result has the base's type.

    Integers to whole powers, and to the power of one half, are exact; other powers of integers are taken in binary32,
    and count as whole numbers if they come within rounding of one.
    """
    if x.dtype.is_integer and y.dtype.is_integer:
        wide = DType.I64 if y.dtype.width == 8 or x.dtype.width < y.dtype.width else x.dtype
        return g.cast(g.power(g.cast(x, wide), g.cast(y, wide)), x.dtype)
    if x.dtype.is_integer:
        return _integer_to_float_power(g, x, g.cast(y, DType.F32))
    exact = y.dtype.is_float or (y.is_constant and bool(np.all(np.abs(y.values().astype(np.float64)) < 1 << 24)))
    if exact:
        return g.power(x, g.cast(y, x.dtype))
    # A large odd exponent may round to an even one: the sign is taken from the integer.
    wide_x = g.cast(x, DType.F32)
    size = g.power(g.absolute(wide_x), g.cast(y, DType.F32))
    odd = g.equal(g.binary(Binary.BITAND, y, g.scalar(1, y.dtype)), 1)
    return g.cast(g.choose(g.both(g.less(wide_x, 0), odd), g.negate(size), size), x.dtype)


def _integer_to_float_power(g: Builder, x: Tensor, y: Tensor) -> Tensor:
    """x^y for integers x and binary32 y, the fraction cut off."""
    wide = x if x.dtype is DType.U64 else g.cast(x, DType.I64)
    whole = g.both(g.equal(g.unary(Unary.TRUNC, y), y), g.less(g.absolute(y), float(1 << 31)))
    exponent = g.cast(g.maximum(y, 0), wide.dtype)
    exact = g.power(wide, exponent)
    inverse = g.choose(g.less_equal(exact, 1), exact, 0)  # of 1 / x^n only +1 and -1 have anything before the point
    if wide.dtype.is_signed:
        inverse = g.power(wide, g.cast(g.absolute(y), wide.dtype))
        inverse = g.choose(g.equal(g.absolute(inverse), 1), inverse, 0)
    else:
        inverse = g.power(wide, g.cast(g.absolute(y), wide.dtype))
        inverse = g.choose(g.equal(inverse, 1), inverse, 0)
    zero_below = g.both(g.equal(wide, 0), g.less(y, 0))
    result = g.choose(g.less(y, 0), inverse, exact)
    if y.is_constant and bool(np.all(whole.values() if whole.is_constant else False)) and bool(np.all(y.values() >= 0)):
        return g.cast(exact, x.dtype)
    rough = g.power(g.cast(x, DType.F32), y)
    nearest = g.unary(Unary.ROUND, rough)
    close = g.less_equal(g.absolute(g.sub(rough, nearest)), g.mul(g.absolute(nearest), 2.0**-22))
    other = g.cast(g.choose(close, nearest, g.unary(Unary.TRUNC, rough)), wide.dtype)
    other = g.choose(g.equal(y, 0.5), square_root(g, wide), other)
    result = g.choose(zero_below, other, result)
    return g.cast(g.choose(whole, result, other), x.dtype)


@lowers("Greater")
def greater_1(g: Builder, x: Tensor, y: Tensor, *, broadcast: int = 0, axis: int | None = None) -> Tensor:
    """Before version 7, as `lower_1` of `_binary`."""
    if axis is not None:
        for _ in range(x.rank - g.axis(x, axis) - y.rank):
            y = y.with_axis(y.rank)
    return g.less(y, x)


@lowers("Greater", since=7)
def greater(g: Builder, x: Tensor, y: Tensor) -> Tensor:
    return g.less(y, x)


@lowers("GreaterOrEqual", since=12)
def greater_or_equal(g: Builder, x: Tensor, y: Tensor) -> Tensor:
    return g.less_equal(y, x)


@lowers("Sum", in_f32=True)
def add_all(g: Builder, *xs: Tensor, consumed_inputs: object = None) -> Tensor:
    return reduce(g.add, xs)


@lowers("Mean", in_f32=True)
def mean(g: Builder, *xs: Tensor, consumed_inputs: object = None) -> Tensor:
    return g.div(reduce(g.add, xs), len(xs))


@lowers("Max")
def maximum(g: Builder, *xs: Tensor, consumed_inputs: object = None) -> Tensor:
    return reduce(g.maximum, xs)


@lowers("Min")
def minimum(g: Builder, *xs: Tensor, consumed_inputs: object = None) -> Tensor:
    return reduce(g.minimum, xs)


@lowers("Mod")
def modulo(g: Builder, x: Tensor, y: Tensor, *, fmod: int = 0) -> Tensor:
    """The divisor's sign, or with `fmod` the dividend's."""
    return g.binary(Binary.FMOD if fmod else Binary.MOD, x, y)


@lowers("BitShift")
def bit_shift(g: Builder, x: Tensor, y: Tensor, *, direction: str) -> Tensor:
    if direction not in ("LEFT", "RIGHT"):
        raise Refuse(f"direction {direction!r}; expected 'LEFT' or 'RIGHT'")
    return g.binary(Binary.SHL if direction == "LEFT" else Binary.SHR, x, y)


@lowers("Where")
def where(g: Builder, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return g.select(condition, x, y)


@lowers("Identity")
def identity(g: Builder, x: Tensor) -> Tensor:
    return x


@lowers("IsInf")
def is_inf(g: Builder, x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    return g.unary(Unary.ISINF, x, int(bool(detect_negative)) | int(bool(detect_positive)) << 1)


@lowers("Clip", since=11)
def clip(g: Builder, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return g.clipped(x, low, high)


@lowers("Clip")
def clip_1(
    g: Builder,
    x: Tensor,
    *,
    min: float = -3.4028234663852886e38,
    max: float = 3.4028234663852886e38,
    consumed_inputs: object = None,
) -> Tensor:
    if x.dtype.is_integer:
        return g.clipped(x, nearest_integer(min, x.dtype), nearest_integer(max, x.dtype))
    return g.clipped(x, min, max)


# Activations. Each is its formula; none changes the shape.


@lowers("LeakyRelu")
def leaky_relu(g: Builder, x: Tensor, *, alpha: float = 0.01, consumed_inputs: object = None) -> Tensor:
    return g.binary(Binary.PRELU, x, g.scalar(alpha, x.dtype))


@lowers("Elu", in_f32=True)
def elu(g: Builder, x: Tensor, *, alpha: float = 1.0, consumed_inputs: object = None) -> Tensor:
    return g.choose(g.less(x, 0), g.mul(g.sub(g.exp(x), 1), alpha), x)


@lowers("Selu", in_f32=True)
def selu(
    g: Builder,
    x: Tensor,
    *,
    alpha: float = 1.6732632423543772,
    gamma: float = 1.0507009873554805,
    consumed_inputs: object = None,
) -> Tensor:
    return g.mul(elu(g, x, alpha=alpha), gamma)


@lowers("Celu", in_f32=True)
def celu(g: Builder, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    below = g.mul(g.sub(g.exp(g.div(x, alpha)), 1), alpha)
    return g.add(g.relu(x), g.minimum(below, 0))


@lowers("ThresholdedRelu", in_f32=True)
def thresholded_relu(g: Builder, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return g.choose(g.less(g.scalar(alpha, x.dtype), x), x, 0)


@lowers("HardSigmoid", in_f32=True)
def hard_sigmoid(
    g: Builder, x: Tensor, *, alpha: float = 0.2, beta: float = 0.5, consumed_inputs: object = None
) -> Tensor:
    return g.clipped(g.add(g.mul(x, alpha), beta), 0, 1)


@lowers("HardSwish", in_f32=True)
def hard_swish(g: Builder, x: Tensor) -> Tensor:
    return g.mul(x, hard_sigmoid(g, x, alpha=float(np.float32(1 / 6)), beta=0.5))


@lowers("Swish", in_f32=True)
def swish(g: Builder, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return g.mul(x, g.sigmoid(g.mul(x, alpha) if alpha != 1 else x))


@lowers("Mish", in_f32=True)
def mish(g: Builder, x: Tensor) -> Tensor:
    return g.mul(x, g.tanh(g.unary(Unary.SOFTPLUS, x)))


@lowers("Softsign", in_f32=True)
def softsign(g: Builder, x: Tensor) -> Tensor:
    return g.div(x, g.add(g.absolute(x), 1))


@lowers("Shrink", in_f32=True)
def shrink(g: Builder, x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    if x.dtype.is_integer:
        return _shrunk_integers(g, x, bias, lambd)
    above = g.choose(g.less(g.scalar(lambd, x.dtype), x), g.sub(x, bias), 0)
    return g.choose(g.less(x, -lambd), g.add(x, bias), above)


def _shrunk_integers(g: Builder, x: Tensor, bias: float, lambd: float) -> Tensor:
    """Integers are compared and moved as the numbers they are; then the fraction is cut off."""
    least, most = (int(limit) for limit in (np.iinfo(x.dtype.numpy).min, np.iinfo(x.dtype.numpy).max))
    result = g.filled(x.shape, 0, x.dtype)
    if lambd < most:  # some x are greater
        above = truncated_sum(g, [(x, 1.0)], -bias, x.dtype)
        limit = floor(lambd)
        result = above if limit < least else g.select(g.less(limit, x), above, result)
    if -lambd > least:  # some x are less
        below = truncated_sum(g, [(x, 1.0)], bias, x.dtype)
        limit = ceil(-lambd)
        result = below if limit > most else g.select(g.less(x, limit), below, result)
    return result


@lowers("Gelu", in_f32=True)
def gelu(g: Builder, x: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        cubic = g.add(g.mul(g.mul(g.square(x), x), 0.044715), x)
        inner = g.tanh(g.mul(cubic, 0.7978845608028654))  # sqrt(2 / pi)
    elif approximate == "none":
        inner = g.unary(Unary.ERF, g.mul(x, 0.7071067811865476))  # 1 / sqrt(2)
    else:
        raise Refuse(f"approximate {approximate!r}; expected 'none' or 'tanh'")
    return g.mul(g.mul(x, 0.5), g.add(inner, 1))


@lowers("SwiGLU", in_f32=True)
def swiglu(g: Builder, gate: Tensor, value: Tensor, *, alpha: float = 1.0) -> Tensor:
    return g.mul(swish(g, gate, alpha=alpha), value)
