"""Folding constants and running kernels are two ways to the same bits."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model import fold
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import UnsupportedOp
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


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceProd", "ReduceMean", "Softmax", "ArgMax"])
@pytest.mark.parametrize("dtype", REAL)
def test_what_goes_along_axes_folds_to_the_kernels_bits(op_type: str, dtype: DType) -> None:
    """The order of summing is the kernel's: so it is the kernel that folds."""
    values = np.linspace(-3, 5, 91, dtype=np.float32).astype(dtype.numpy)
    assert_same_bits(*both_ways(op_type, values))


@pytest.mark.parametrize("op_type", ["Exp", "Log", "Tanh", "Erf", "Sin", "Tan", "Sigmoid", "Softplus"])
@pytest.mark.parametrize("dtype", REAL)
def test_transcendentals_fold_to_the_kernels_bits(op_type: str, dtype: DType) -> None:
    """numpy's differ between processors; the engine's do not."""
    assert_same_bits(*both_ways(op_type, awkward(dtype)))


def test_a_known_index_out_of_range_is_refused() -> None:
    """Every inference would fail."""
    model = single("GatherElements", np.ones(3, np.float32), np.array([3]))
    with pytest.raises(UnsupportedOp, match="an element that is not there"):
        compile_model(model, constants={"x0": np.ones(3, np.float32), "x1": np.array([3])})


def test_what_takes_too_long_to_fold_is_left_to_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "WORK_LIMIT", 100)
    values = np.ones((9, 9), np.float32)
    model = single("MatMul", values, values)
    program = compile_model(model, constants={"x0": values, "x1": values})
    assert [node.kernel for node in program.nodes] == ["CONTRACT"]
    (result,) = Inference(program, {}).outputs().values()
    np.testing.assert_array_equal(result, values @ values)


def test_what_is_computed_half_before_it_turns_out_unknown_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that several operations write to: the first two are folded, the third takes too long."""
    g = Builder()
    x = g.constant(np.arange(6, dtype=np.float32).reshape(2, 3))
    out = g.made(DType.F32, (3, 3), x)
    g.copy(out.sliced(0, 0, 2), x)
    known = [out.is_constant]
    monkeypatch.setattr(fold, "run", lambda *_: 3)
    g.copy(out.sliced(0, 2, 1), x.sliced(0, 1, 1))
    known.append(out.is_constant)
    assert known == [True, False]
    assert [op.opcode for op in g.ops] == [Opcode.COPY, Opcode.COPY]
    before = g.ops[0].inputs[0].buffer.values
    assert before is not None
    assert before.tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0]


def _joined(*names: str) -> Program:
    """A product by a matrix that is joined of constants of 96 KiB each: as exporters write gates and directions."""
    weights = {name: np.full((96, 256), 2.0**-k, np.float32) for k, name in enumerate(dict.fromkeys(names))}
    rows = 96 * len(names)
    return compile_model(
        onnx.helper.make_model(
            onnx.helper.make_graph(
                [
                    onnx.helper.make_node("Concat", names, ["w"], axis=0),
                    onnx.helper.make_node("MatMul", ["x", "w"], ["y"]),
                ],
                "g",
                [onnx.helper.make_tensor_value_info("x", 1, [4, rows])],
                [onnx.helper.make_tensor_value_info("y", 1, [4, 256])],
                [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
            ),
            opset_imports=[onnx.helper.make_opsetid("", 18)],
            ir_version=9,
        )
    )


def test_what_is_joined_of_constants_is_one() -> None:
    """It is larger than each of them, but no larger than all: so the product has its matrix packed."""
    program = _joined("first", "second")
    assert [node.kernel for node in program.nodes] == ["CONTRACT"]
    (result,) = Inference(program, {"x": np.ones((4, 192), np.float32)}).outputs().values()
    np.testing.assert_array_equal(result, np.full((4, 256), 96 * 1.5, np.float32))


def test_a_constant_beside_itself_is_not_written_out() -> None:
    """A few bytes of a model could double a constant as often as they like."""
    program = _joined("first", "first")
    assert [node.kernel for node in program.nodes] == ["COPY", "COPY", "CONTRACT"]
    (result,) = Inference(program, {"x": np.ones((4, 192), np.float32)}).outputs().values()
    np.testing.assert_array_equal(result, np.full((4, 256), 192, np.float32))


def test_bfloat16_is_ml_dtypes_own() -> None:
    assert DType.of(np.dtype(ml_dtypes.bfloat16)) is DType.BF16
