"""Folding constants and running kernels are two ways to the same bits."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType
from opml_dispute.model.tensor import Array
from tests.model.graphs import single

_FLOATS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    -2.5,
    3.1e-3,
    7.75,
    -123.4,
    65504.0,
    3e38,
    -3e38,
    1e-40,
    np.inf,
    -np.inf,
    np.nan,
]


def awkward(dtype: DType) -> Array:
    """Values on which implementations like to differ."""
    if dtype is DType.BOOL:
        return np.array([False, True])
    if dtype.is_float:
        with np.errstate(all="ignore"):
            return np.array(_FLOATS).astype(dtype.numpy)
    limits = np.iinfo(dtype.numpy)
    values = {0, 1, 2, 3, 7, 100, int(limits.max), int(limits.max) - 1, int(limits.max) // 2}
    if dtype.is_signed:
        values |= {-1, -2, -7, -100, int(limits.min), int(limits.min) + 1}
    return np.array(sorted(values), dtype.numpy)


def both_ways(op_type: str, *arrays: Array, **attributes: Any) -> tuple[Array, Array]:
    """The operator's result folded, and computed by the kernels."""
    model = single(op_type, *arrays, opset=21, **attributes)
    named = {f"x{i}": array for i, array in enumerate(arrays)}
    folded = compile_model(model, constants=named)
    assert {node.kernel for node in folded.nodes} <= {"COPY", "FILL"}, "nothing was folded"
    (first,) = Inference(folded, {}).outputs().values()
    (second,) = Inference(compile_model(model), named).outputs().values()
    return first, second


def assert_same_bits(first: Array, second: Array) -> None:
    assert (first.dtype, first.shape) == (second.dtype, second.shape)
    width = first.dtype.itemsize
    different = np.flatnonzero(first.view(f"u{width}") != second.view(f"u{width}"))
    assert not different.size, (different, first.reshape(-1)[different], second.reshape(-1)[different])


REAL = (DType.F32, DType.F16, DType.BF16)
INTEGERS = tuple(dtype for dtype in DType if dtype.is_integer)
UNARY = {
    **dict.fromkeys(["Neg", "Abs", "Sign", "Relu"], (*REAL, DType.I8, DType.I32, DType.I64)),
    **dict.fromkeys(["Reciprocal", "Sqrt", "Floor", "Ceil", "Round", "IsNaN"], REAL),
    "Not": (DType.BOOL,),
    "BitwiseNot": INTEGERS,
}
BINARY = {
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "Min", "Max", "Less", "LessOrEqual", "Equal"], (*REAL, *INTEGERS)),
    **dict.fromkeys(["BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mod"], INTEGERS),
    **dict.fromkeys(["And", "Or", "Xor"], (DType.BOOL,)),
}


@pytest.mark.parametrize(("op_type", "dtype"), [(op, dtype) for op, dtypes in UNARY.items() for dtype in dtypes])
def test_unary_functions_fold_to_the_kernels_bits(op_type: str, dtype: DType) -> None:
    assert_same_bits(*both_ways(op_type, awkward(dtype)))


@pytest.mark.parametrize(("op_type", "dtype"), [(op, dtype) for op, dtypes in BINARY.items() for dtype in dtypes])
def test_binary_functions_fold_to_the_kernels_bits(op_type: str, dtype: DType) -> None:
    values = awkward(dtype)
    assert_same_bits(*both_ways(op_type, values[:, None], values[None, :]))


@pytest.mark.parametrize("source", [dtype for dtype in DType if dtype is not DType.F64])
@pytest.mark.parametrize("target", [dtype for dtype in DType if dtype is not DType.F64])
def test_casts_fold_to_the_kernels_bits(source: DType, target: DType) -> None:
    assert_same_bits(*both_ways("Cast", awkward(source), to=int(target)))


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("dtype", [DType.I32, DType.I64, DType.U32, DType.U64])
def test_integer_reductions_fold_to_the_kernels_bits(op_type: str, dtype: DType) -> None:
    assert_same_bits(*both_ways(op_type, awkward(dtype), keepdims=0))


def test_float_sums_are_left_to_the_kernel() -> None:
    """Their order is part of the answer, and the kernel's alone."""
    model = single("ReduceSum", np.ones(9, np.float32), keepdims=0)
    program = compile_model(model, constants={"x0": np.full(9, 0.1, np.float32)})
    assert [node.kernel for node in program.nodes] == ["REDUCE.SUM"]


@pytest.mark.parametrize("op_type", ["Exp", "Log", "Tanh", "Erf", "Sin"])
def test_transcendentals_are_left_to_the_kernel(op_type: str) -> None:
    """numpy's differ between processors, so folding them would change the model root."""
    program = compile_model(single(op_type, np.ones(3, np.float32)), constants={"x0": np.ones(3, np.float32)})
    assert [node.kernel for node in program.nodes] == [f"UNARY.{op_type.upper()}"]


def test_bfloat16_is_ml_dtypes_own() -> None:
    assert DType.of(np.dtype(ml_dtypes.bfloat16)) is DType.BF16
