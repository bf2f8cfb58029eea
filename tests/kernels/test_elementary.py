"""
The elementary functions are as accurate as they say (native/kernels/elementary.h, docs/arithmetic.md).

Arguments: a third any bit pattern at all, a third of middling size, a third between -1 and 1. The reference is
binary64, whose own error is far below a thousandth of a unit in the last place of binary32.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest

from opml_dispute.engine.segment_memory import SegmentMemory, native
from opml_dispute.model.opcodes import Binary, DType, Opcode, Unary
from opml_dispute.model.record import SEC_ARENA, SEC_INPUT, Record, strided_body

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
COUNT = 1 << 14
"""Arguments of each kind; the figures were found with several millions."""


def sigmoid(x: F64) -> F64:
    """1 / (1 + e^-x), from the side that cannot overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small / (1 + small), 1 / (1 + small))


def softplus(x: F64) -> F64:
    """ln(1 + e^x), from the side that cannot overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def erf(x: F64) -> F64:
    """The C library's, in binary64."""
    return np.array([math.erf(value) for value in x])


UNARY: dict[Unary, tuple[Callable[[F64], F64], float]] = {
    Unary.EXP: (np.exp, 1.0),
    Unary.LOG: (np.log, 0.9),
    Unary.SIN: (np.sin, 1.5),
    Unary.COS: (np.cos, 1.5),
    Unary.TAN: (np.tan, 3.2),
    Unary.ASIN: (np.arcsin, 1.6),
    Unary.ACOS: (np.arccos, 1.0),
    Unary.ATAN: (np.arctan, 1.5),
    Unary.SINH: (np.sinh, 1.6),
    Unary.COSH: (np.cosh, 1.5),
    Unary.TANH: (np.tanh, 1.5),
    Unary.ASINH: (np.arcsinh, 2.0),
    Unary.ACOSH: (np.arccosh, 2.1),
    Unary.ATANH: (np.arctanh, 2.4),
    Unary.ERF: (erf, 1.0),
    Unary.SIGMOID: (sigmoid, 2.4),
    Unary.SOFTPLUS: (softplus, 2.0),
}
"""The exact function, and the bound that is promised, in units in the last place of the exact result."""

BINARY: dict[Binary, tuple[Callable[[F64, F64], F64], float]] = {
    Binary.POW: (np.power, 2.0),
    Binary.ATAN2: (np.arctan2, 1.5),
    Binary.FMOD: (np.fmod, 0.0),
}


def arguments(seed: int) -> F32:
    """Arguments of all three kinds, and the special ones."""
    random = np.random.default_rng(seed)
    anything = random.integers(0, 1 << 32, COUNT, dtype=np.uint64).astype(np.uint32).view(np.float32)
    middling = (random.choice([-1, 1], COUNT) * np.exp2(random.uniform(-14, 8, COUNT))).astype(np.float32)
    small = random.uniform(-1, 1, COUNT).astype(np.float32)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1], np.float32)
    return random.permutation(np.concatenate([anything, middling, small, special]))


def evaluate(opcode: Opcode, function: int, *operands: F32) -> F32:
    """What the host's kernel makes of them."""
    count = operands[0].size
    memory = SegmentMemory(vm_bytes=False, threads=1)
    offsets = tuple(SEC_INPUT + (i << 28) for i in range(len(operands)))
    for offset, operand in zip(offsets, operands, strict=True):
        ctypes.memmove(memory.address + offset, operand.tobytes(), 4 * count)
    body = strided_body([count], [[1]] * (1 + len(operands)))
    dtypes = (DType.F32,) * len(operands)
    record = Record(opcode, DType.F32, SEC_ARENA, offsets, dtypes, 1, 0, count, (function, 0, 0, 0), body)
    assert native().opml_kernel(memory.address, record.pack(), 0) == 0
    return np.frombuffer(ctypes.string_at(memory.address + SEC_ARENA, 4 * count), np.float32)


def error_ulp(found: F32, exact: F64) -> float:
    """The largest error; infinite where a NaN or an infinity is missing or too many."""
    with np.errstate(over="ignore"):
        nearest = exact.astype(np.float32)
    is_finite = np.isfinite(nearest)
    same = (np.isnan(nearest) & np.isnan(found)) | (nearest == found)
    if not same[~is_finite].all():
        return math.inf
    spacing = np.maximum(np.spacing(np.abs(nearest[is_finite])).astype(np.float64), 2.0**-149)
    # An overflow at the very edge is an error of the bound's size, measured against the largest finite number.
    wide = found.astype(np.float64)
    values = np.where(np.isinf(wide), np.copysign(2.0**128, wide), wide)[is_finite]
    return float(np.max(np.abs(values - exact[is_finite]) / spacing))


@pytest.mark.parametrize("function", UNARY, ids=lambda function: function.name.lower())
def test_unary_functions_keep_their_bound(function: Unary) -> None:
    """On arguments of every size."""
    exact, bound_ulp = UNARY[function]
    x = arguments(int(function))
    with np.errstate(all="ignore"):
        reference: Any = exact(x.astype(np.float64))
    assert error_ulp(evaluate(Opcode.UNARY, function, x), reference) <= bound_ulp


@pytest.mark.parametrize("function", BINARY, ids=lambda function: function.name.lower())
def test_binary_functions_keep_their_bound(function: Binary) -> None:
    """On pairs of arguments of every size."""
    exact, bound_ulp = BINARY[function]
    x, y = arguments(int(function)), arguments(1000 + int(function))
    with np.errstate(all="ignore"):
        reference: Any = exact(x.astype(np.float64), y.astype(np.float64))
    assert error_ulp(evaluate(Opcode.BINARY, function, x, y), reference) <= bound_ulp


def test_powers_keep_their_bound_at_the_ends_of_the_range() -> None:
    """Where a power is nearly too large, or nearly nothing, its logarithm's low part still counts."""
    random = np.random.default_rng(5)
    x = np.exp2(random.uniform(-140, 127, COUNT)).astype(np.float32)
    logarithm = np.concatenate([random.uniform(88.70, 88.7229, COUNT // 2), random.uniform(-104.5, -86, COUNT // 2)])
    with np.errstate(all="ignore"):
        y = (logarithm / np.log(x[: logarithm.size].astype(np.float64))).astype(np.float32)
        x = x[: y.size]
        exact = np.power(x.astype(np.float64), y.astype(np.float64))
    assert error_ulp(evaluate(Opcode.BINARY, Binary.POW, x, y), exact) <= BINARY[Binary.POW][1]


@pytest.mark.parametrize(
    ("function", "x", "y"),
    [(Binary.POW, 0x3FB7182E, 0x43677D39), (Binary.POW, 0x114940E1, 0xBFB16AE3), (Unary.TAN, 0xF9B0FCCA, None)],
)
def test_arguments_that_were_found_to_be_hard(function: Binary | Unary, x: int, y: int | None) -> None:
    first = np.array([x], np.uint32).view(np.float32)
    if isinstance(function, Unary):
        with mpmath.workdps(60):
            exact = np.array([float(mpmath.tan(mpmath.mpf(float(first[0]))))])
        assert error_ulp(evaluate(Opcode.UNARY, function, first), exact) <= UNARY[function][1]
        return
    second = np.array([y], np.uint32).view(np.float32)
    exact = np.power(first.astype(np.float64), second.astype(np.float64))
    assert error_ulp(evaluate(Opcode.BINARY, function, first, second), exact) <= BINARY[function][1]
