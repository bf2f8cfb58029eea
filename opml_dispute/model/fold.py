"""
Constant folding: what a kernel would compute, computed once, while the model is compiled.

Only functions whose result is exact on every machine are here: moves, integers, comparisons, and those float
functions that IEEE-754 rounds in one way. `FOLDED_UNARY` and `FOLDED_BINARY` name them; `exp` and its like are
missing on purpose (numpy's differ between processors), so they stay nodes of the program. The results obey
docs/arithmetic.md: integers wrap, division truncates and by zero gives zero, NaN has one face.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from opml_dispute.model.opcodes import Binary, DType, Reduction, Unary
from opml_dispute.model.tensor import Array

_CANONICAL_NAN: dict[np.dtype[Any], np.generic] = {
    np.dtype(np.float32): np.uint32(0x7FC00000),
    np.dtype(np.float16): np.uint16(0x7E00),
    np.dtype(np.float64): np.uint64(0x7FF8000000000000),
    DType.BF16.numpy: np.uint16(0x7FC0),
}


def canonical(values: Array) -> Array:
    """`values` with every NaN replaced by the one that kernels store."""
    face = _CANONICAL_NAN.get(values.dtype)
    if face is None:
        return values
    nan = values != values
    if not np.any(nan):
        return values
    return np.where(nan, face.view(values.dtype), values)


def _sign(x: Array) -> Array:
    one = x.dtype.type(1)
    return np.where(x > 0, one, np.where(x < 0, -one, x)) if x.dtype.kind != "u" else (x != 0).astype(x.dtype)


def _smaller(x: Array, y: Array) -> Array:
    """NaN wins on either side; of equal numbers (+0, -0) the second is taken."""
    return np.where((x < y) | (x != x), x, y)


def _larger(x: Array, y: Array) -> Array:
    return np.where((x > y) | (x != x), x, y)


FOLDED_UNARY: dict[Unary, Callable[[Array], Array]] = {
    Unary.NEG: np.negative,
    Unary.ABS: np.abs,
    Unary.SIGN: _sign,
    Unary.RECIPROCAL: lambda x: x.dtype.type(1) / x,
    Unary.SQRT: np.sqrt,
    Unary.FLOOR: np.floor,
    Unary.CEIL: np.ceil,
    Unary.ROUND: np.rint,
    Unary.TRUNC: np.trunc,
    Unary.RELU: lambda x: np.where(x < 0, x.dtype.type(0), x),
    Unary.NOT: np.logical_not,
    Unary.BITNOT: np.bitwise_not,
    Unary.ISNAN: lambda x: x != x,
}

FOLDED_BINARY: dict[Binary, Callable[[Array, Array], Array]] = {
    Binary.ADD: np.add,
    Binary.SUB: np.subtract,
    Binary.MUL: np.multiply,
    Binary.DIV: lambda x, y: _divide(x, y),
    Binary.MIN: _smaller,
    Binary.MAX: _larger,
    Binary.MOD: lambda x, y: np.where(y == 0, 0, np.mod(x, np.where(y == 0, 1, y))).astype(x.dtype),
    Binary.FMOD: lambda x, y: np.where(y == 0, 0, np.fmod(x, np.where(y == 0, 1, y))).astype(x.dtype),
    Binary.AND: np.logical_and,
    Binary.OR: np.logical_or,
    Binary.XOR: np.logical_xor,
    Binary.BITAND: np.bitwise_and,
    Binary.BITOR: np.bitwise_or,
    Binary.BITXOR: np.bitwise_xor,
    Binary.EQ: np.equal,
    Binary.LT: np.less,
    Binary.LE: np.less_equal,
}
_INTEGER_ONLY = {Binary.MOD, Binary.FMOD}
_REDUCTIONS: dict[Reduction, Any] = {
    Reduction.SUM: np.add,
    Reduction.PROD: np.multiply,
    Reduction.MAX: np.maximum,
    Reduction.MIN: np.minimum,
}


def unary(function: Unary, x: Array) -> Array | None:
    """`function` of each element; None if it is not folded."""
    apply = FOLDED_UNARY.get(function)
    if apply is None:
        return None
    with np.errstate(all="ignore"):
        return canonical(apply(x))


def binary(function: Binary, x: Array, y: Array) -> Array | None:
    """`function` of each pair, broadcast; None if it is not folded."""
    apply = FOLDED_BINARY.get(function)
    if apply is None or (function in _INTEGER_ONLY and x.dtype.kind not in "iu"):
        return None
    with np.errstate(all="ignore"):
        return canonical(apply(x, y))


def reduce(function: Reduction, x: Array, axes: tuple[int, ...]) -> Array | None:
    """`x` reduced over `axes`, which disappear; None for floats, whose order of summation is the kernel's."""
    if x.dtype.kind not in "iu":
        return None
    result: Array = _REDUCTIONS[function].reduce(x, axis=axes, dtype=x.dtype)
    return np.asarray(result)


def cast(x: Array, dtype: DType) -> Array:
    """`x` as another type: integers wrap; floats truncate, saturate, and NaN becomes 0."""
    target = dtype.numpy
    with np.errstate(all="ignore"):
        if dtype is DType.BOOL:
            return np.asarray(x != 0)
        if dtype.is_integer and DType.of(x.dtype).is_float:
            wide = np.trunc(x.astype(np.float64))
            limits = np.iinfo(target)
            # WHY NOT clip and cast: 2**63 - 1 is no float64, so the upper end is put in by hand.
            low, high = wide < float(limits.min), wide >= float(limits.max)
            inside = np.where(low | high | (wide != wide), 0, wide).astype(target)
            held: Array = np.where(high, target.type(limits.max), np.where(low, target.type(limits.min), inside))
            return held
        return canonical(x.astype(target))


def _divide(x: Array, y: Array) -> Array:
    """Floats as IEEE-754; integers truncate towards zero, and division by zero gives 0."""
    if x.dtype.kind not in "iu":
        return np.asarray(x / y)
    by_zero = y == 0
    divisor = np.where(by_zero, 1, y).astype(x.dtype)
    quotient = x // divisor
    # numpy floors; one too low where the signs differ and something is left over.
    too_low = (x % divisor != 0) & ((x < 0) != (divisor < 0))
    return np.where(by_zero, 0, quotient + too_low).astype(x.dtype)
