"""Types that a wider one holds: integers of 2 and 4 bits, floats of 4, 6 and 8 bits."""

from __future__ import annotations

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import UnsupportedOp
from opml_dispute.model.tensor import Array

FLOATS = ["FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1", "FLOAT6E2M3", "FLOAT6E3M2"]
INTEGERS = ["INT4", "UINT4", "INT2", "UINT2"]


def model(
    nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, tuple[int, ...]]], kind: int, *constants: Any
) -> Any:
    """A model with one output `y` of the element type `kind`."""
    infos = [helper.make_tensor_value_info(name, *what) for name, what in inputs.items()]
    graph = helper.make_graph(nodes, "narrow", infos, [helper.make_tensor_value_info("y", kind, None)], list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=12)


def awkward() -> Array:
    """Floats of every exponent, ties between narrow floats, and special ones."""
    random = np.random.default_rng(3)
    any_bits = random.integers(0, 1 << 32, 20000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    middling = (random.choice([-1, 1], 20000) * np.exp2(random.uniform(-20, 18, 20000))).astype(np.float32)
    ties = np.concatenate([np.arange(-600, 600) / 8, np.ldexp(np.arange(-1100.0, 1100), -11)]).astype(np.float32)
    return np.concatenate([any_bits, middling, ties, np.array([0, -0.0, np.inf, -np.inf, np.nan], np.float32)])


def run(of: onnx.ModelProto, **inputs: Array) -> Array:
    inference = Inference(compile_model(of), inputs)
    assert inference.status == 0
    return inference.outputs()["y"]


def agree(of: onnx.ModelProto, rtol: float = 0.0, **inputs: Array) -> None:
    """The engine's numbers are those of ONNX's reference evaluator, signs of zeros and NaN included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (reference,) = ReferenceEvaluator(of).run(None, inputs)
        found = run(of, **inputs)
        want, have = np.asarray(reference).astype(found.dtype).astype(np.float64), found.astype(np.float64)
    same = np.isclose(have, want, rtol=rtol, atol=0) & (np.signbit(want) == np.signbit(have)) | (
        np.isnan(want) & np.isnan(have)
    )
    assert same.all(), (have[~same][:5], want[~same][:5])


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_rounded_to_the_nearest_narrow_one(name: str, saturate: int) -> None:
    kind, x = int(getattr(TensorProto, name)), awkward()
    if not name.startswith("FLOAT8"):
        x = x[~np.isnan(x)]  # there is none: it becomes a zero
    node = helper.make_node("Cast", ["x"], ["y"], to=kind, saturate=saturate)
    agree(model([node], {"x": (TensorProto.FLOAT, x.shape)}, kind), x=x)


@pytest.mark.parametrize("round_mode", ["up", "down", "nearest"])
@pytest.mark.parametrize("saturate", [0, 1])
def test_scales_are_rounded_to_powers_of_two(round_mode: str, saturate: int) -> None:
    x = awkward()
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E8M0, saturate=saturate, round_mode=round_mode)
    agree(model([node], {"x": (TensorProto.FLOAT, x.shape)}, TensorProto.FLOAT8E8M0), x=x)


@pytest.mark.parametrize("source", [np.int64, np.int8, np.uint8, np.float32])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_wrap_to_narrow_ones(name: str, source: Any) -> None:
    kind = int(getattr(TensorProto, name))
    x = np.arange(0 if source is np.uint8 else -100, 100).astype(source)
    node = helper.make_node("Cast", ["x"], ["y"], to=kind)
    agree(model([node], {"x": (helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)}, kind), x=x)


@pytest.mark.parametrize("name", [*INTEGERS, *FLOATS[:5]])
def test_weights_of_narrow_types_are_quantised_and_dequantised(name: str) -> None:
    """QuantizeLinear to the type and DequantizeLinear from it, with a zero point of the type, along an axis."""
    kind, random = int(getattr(TensorProto, name)), np.random.default_rng(2)
    x, scale = random.normal(size=(3, 8)).astype(np.float32), np.array([0.3, 0.1, 0.7], np.float32)
    zeros = np.array([1, 0, 1] if "INT" in name else [0, 0, 0]).astype(helper.tensor_dtype_to_np_dtype(kind))
    constants = [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(zeros, "zero")]
    quantise = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], axis=0)
    dequantise = helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], axis=0)
    inputs = {"x": (int(TensorProto.FLOAT), x.shape)}
    # Scale and zero point are fused into one step (docs/operators.md): a last bit may differ.
    agree(model([quantise, dequantise], inputs, TensorProto.FLOAT, *constants), rtol=2**-23, x=x)


def test_the_type_goes_on_through_views_and_moves_and_is_noted() -> None:
    x = np.array([[1, -8], [7, 0], [3, 2]], np.int8)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]),
        helper.make_node("Reshape", ["t", "shape"], ["r"]),
        helper.make_node("Identity", ["r"], ["y"]),
    ]
    shape = numpy_helper.from_array(np.array([3, 2]), "shape")
    program = compile_model(model(nodes, {"x": (TensorProto.INT4, (3, 2))}, TensorProto.INT4, shape))
    assert program.notes == ("INT4 is stored as I8, one number an element",)
    assert Inference(program, {"x": x}).outputs()["y"].tolist() == x.T.reshape(3, 2).tolist()


def test_a_cast_back_to_the_type_that_holds_it_is_no_narrow_type_any_more() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["n"], to=TensorProto.INT4),
        helper.make_node("Cast", ["n"], ["w"], to=TensorProto.INT8),
        helper.make_node("Add", ["w", "w"], ["y"]),
    ]
    x = np.array([9, -9, 100, 3], np.int8)
    got = run(model(nodes, {"x": (TensorProto.INT8, x.shape)}, TensorProto.INT8), x=x)
    assert got.tolist() == [-14, 14, 8, 6]


def test_operators_that_do_not_take_a_narrow_type_say_so() -> None:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    with pytest.raises(UnsupportedOp, match=r"tensor\(int4\); expected one of"):
        compile_model(model([node], {"x": (TensorProto.INT4, (2,))}, TensorProto.INT4))


def test_a_fixed_input_may_have_the_narrow_type_itself() -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    of = model([node], {"x": (TensorProto.UINT4, (3,))}, TensorProto.FLOAT)
    program = compile_model(of, constants={"x": np.array([1, 15, 8]).astype(ml_dtypes.uint4)})
    assert Inference(program, {}).outputs()["y"].tolist() == [1, 15, 8]
