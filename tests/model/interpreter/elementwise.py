"""Kernels that make each element from the elements in its place: COPY, FILL, UNARY, BINARY, SELECT, CAST."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from opml_dispute.model.opcodes import Binary, Unary
from opml_dispute.model.record import Record
from tests.model.interpreter.segment import Array, Segment, operand, store


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64)))


def _wide(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Through binary64, so that one rounding is left."""
    return lambda x: function(x.astype(np.float64)) if x.dtype.kind != "V" else function(x.astype(np.float32))


_UNARY: dict[Unary, Callable[[Array], Array]] = {
    Unary.NEG: lambda x: np.asarray(0 - x if x.dtype.kind in "iu" else -x),
    Unary.ABS: np.abs,
    Unary.SIGN: np.sign,
    Unary.RECIPROCAL: _wide(lambda x: 1 / x),
    Unary.SQRT: _wide(np.sqrt),
    Unary.FLOOR: np.floor,
    Unary.CEIL: np.ceil,
    Unary.ROUND: np.rint,
    Unary.EXP: _wide(np.exp),
    Unary.LOG: _wide(np.log),
    Unary.SIN: _wide(np.sin),
    Unary.COS: _wide(np.cos),
    Unary.TAN: _wide(np.tan),
    Unary.ASIN: _wide(np.arcsin),
    Unary.ACOS: _wide(np.arccos),
    Unary.ATAN: _wide(np.arctan),
    Unary.SINH: _wide(np.sinh),
    Unary.COSH: _wide(np.cosh),
    Unary.TANH: _wide(np.tanh),
    Unary.ASINH: _wide(np.arcsinh),
    Unary.ACOSH: _wide(np.arccosh),
    Unary.ATANH: _wide(np.arctanh),
    Unary.ERF: _wide(_erf),
    Unary.SIGMOID: _wide(lambda x: 1 / (1 + np.exp(-x))),
    Unary.SOFTPLUS: _wide(lambda x: np.logaddexp(0, x)),
    Unary.RELU: lambda x: np.maximum(x, 0),
    Unary.NOT: np.logical_not,
    Unary.BITNOT: np.invert,
    Unary.ISNAN: np.isnan,
    Unary.TRUNC: np.trunc,
}


def unary(segment: Segment, record: Record) -> None:
    x = operand(segment, record, 1)
    if record.imm[0] == Unary.ISINF:
        values = (x == -np.inf) & bool(record.imm[1] & 1) | (x == np.inf) & bool(record.imm[1] & 2)
    else:
        values = _UNARY[Unary(record.imm[0])](x)
    store(operand(segment, record, 0), values, record)


def _integer_division(x: Array, y: Array) -> Array:
    whole = [0 if b == 0 else abs(int(a)) // abs(int(b)) * (-1 if (a < 0) != (b < 0) else 1) for a, b in _pairs(x, y)]
    return _wrapped(whole, x)


def _pairs(x: Array, y: Array) -> list[tuple[int, int]]:
    x, y = np.broadcast_arrays(x, y)
    return [(int(a), int(b)) for a, b in zip(x.reshape(-1), y.reshape(-1), strict=True)]


def _wrapped(values: list[int], like: Array) -> Array:
    bits = 8 * like.dtype.itemsize
    unsigned = np.array([value & (1 << bits) - 1 for value in values], f"u{like.dtype.itemsize}")
    return unsigned.view(like.dtype).reshape(like.shape)


def _modulo(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        return _wrapped([a % b if b else 0 for a, b in _pairs(x, y)], x)
    return np.mod(x, y)


def _fmod(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        return _wrapped([abs(a) % abs(b) * (-1 if a < 0 else 1) if b else 0 for a, b in _pairs(x, y)], x)
    return np.fmod(x, y)


def _power(x: Array, y: Array) -> Array:
    if x.dtype.kind not in "iu":
        return np.power(x.astype(np.float64), y.astype(np.float64))
    return _wrapped([pow(b, e, 1 << 64) if e >= 0 else _negative_power(b, e) for b, e in _pairs(x, y)], x)


def _negative_power(base: int, exponent: int) -> int:
    """0, except of 1 and -1."""
    return 0 if abs(base) != 1 else base if exponent % 2 else 1


def _shift(x: Array, y: Array, left: bool) -> Array:
    bits = 8 * x.dtype.itemsize
    shifts = [(a, b & (1 << 64) - 1) for a, b in _pairs(x, y)]
    return _wrapped([(a << b if b < bits else 0) if left else a >> min(b, bits) for a, b in shifts], x)


_BINARY: dict[Binary, Callable[[Array, Array], Array]] = {
    Binary.ADD: np.add,
    Binary.SUB: np.subtract,
    Binary.MUL: np.multiply,
    Binary.DIV: lambda x, y: _integer_division(x, y) if x.dtype.kind in "iu" else np.divide(x, y),
    Binary.MIN: np.minimum,
    Binary.MAX: np.maximum,
    Binary.POW: _power,
    Binary.MOD: _modulo,
    Binary.FMOD: _fmod,
    Binary.AND: np.logical_and,
    Binary.OR: np.logical_or,
    Binary.XOR: np.logical_xor,
    Binary.BITAND: np.bitwise_and,
    Binary.BITOR: np.bitwise_or,
    Binary.BITXOR: np.bitwise_xor,
    Binary.SHL: lambda x, y: _shift(x, y, True),
    Binary.SHR: lambda x, y: _shift(x, y, False),
    Binary.EQ: np.equal,
    Binary.LT: np.less,
    Binary.LE: np.less_equal,
    Binary.PRELU: lambda x, y: np.where(x < 0, x * y, x),
    Binary.ATAN2: np.arctan2,
}


def binary(segment: Segment, record: Record) -> None:
    x, y = operand(segment, record, 1), operand(segment, record, 2)
    store(operand(segment, record, 0), _BINARY[Binary(record.imm[0])](x, y), record)


def copy(segment: Segment, record: Record) -> None:
    out = operand(segment, record, 0)
    store(out, operand(segment, record, 1).view(out.dtype), record)


def fill(segment: Segment, record: Record) -> None:
    out = operand(segment, record, 0)
    raw = record.imm[0].to_bytes(8, "big")[-out.dtype.itemsize :]
    store(out, np.frombuffer(raw, out.dtype.newbyteorder(">")).astype(out.dtype).reshape(()), record)


def select(segment: Segment, record: Record) -> None:
    condition, x, y = (operand(segment, record, i) for i in (1, 2, 3))
    store(operand(segment, record, 0), np.where(condition, x, y), record)


def cast(segment: Segment, record: Record) -> None:
    x, out = operand(segment, record, 1), operand(segment, record, 0)
    values: Array = x
    if out.dtype.kind == "b":
        values = x != 0
    elif out.dtype.kind in "iu" and x.dtype.kind != "b":
        limits = np.iinfo(out.dtype)
        if x.dtype.kind not in "iu":
            whole = [0 if v != v else v if math.isinf(v) else int(v) for v in x.astype(np.float64).reshape(-1)]
            values = _clamped(whole, limits, out.dtype).reshape(x.shape)
        elif record.imm[0]:
            values = _clamped([int(v) for v in x.reshape(-1)], limits, out.dtype).reshape(x.shape)
    store(out, values, record)


def _clamped(values: list[Any], limits: Any, dtype: np.dtype[Any]) -> Array:
    return np.array([int(min(max(v, int(limits.min)), int(limits.max))) for v in values], dtype)
