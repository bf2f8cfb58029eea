"""Operators that take parts of a tensor, beside ONNX Runtime and ONNX's own rules: slices, regions, blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType
from tests.model.graphs import Array, Graph


def model_of(op_type: str, x: Array, operands: Sequence[Array], opset: int, **attributes: Any) -> onnx.ModelProto:
    graph = Graph()
    names = [graph.input("x", x.shape), *map(graph.constant, operands)]
    return graph.model([graph.node(op_type, *names, **attributes)], opset=opset)


def ours(op_type: str, x: Array, *operands: Array, opset: int = 18, **attributes: Any) -> Array:
    """What the engine makes of x and constant operands."""
    program = compile_model(model_of(op_type, x, operands, opset, **attributes))
    (got,) = Inference(program, {"x": x}).outputs().values()
    return got


def both(op_type: str, x: Array, *operands: Array, opset: int = 18, **attributes: Any) -> tuple[Array, Array]:
    """The same, and what ONNX Runtime makes of them."""
    model = model_of(op_type, x, operands, opset, **attributes)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return ours(op_type, x, *operands, opset=opset, **attributes), session.run(None, {"x": x})[0]


@pytest.mark.parametrize("opset", [10, 13])
@pytest.mark.parametrize("start", [-5, -(2**31), -(2**63)])
@pytest.mark.parametrize("step", [-1, -3, -(2**62)])
def test_a_slice_backwards_from_before_the_beginning_has_the_first_element(opset: int, start: int, step: int) -> None:
    """ONNX clamps such a start to 0, where Python's slices are empty."""
    bounds = (np.array([n], np.int64) for n in (start, -(2**31), 0, step))
    got, expected = both("Slice", np.arange(4, dtype=np.float32), *bounds, opset=opset)
    assert got.tolist() == expected.tolist() == [0]


def test_a_slice_backwards_of_nothing_is_empty() -> None:
    bounds = (np.array([n], np.int64) for n in (-5, -9, 0, -1))
    got = ours("Slice", np.zeros((0, 2), np.float32), *bounds)
    assert got.shape == (0, 2)


def image() -> Array:
    return np.random.default_rng(3).standard_normal((2, 3, 7, 5)).astype(np.float32)


REGIONS = np.array([[0, 0, 4, 5], [1.5, 0.5, 3, 6.5], [-2, -3, 9, 9], [2, 3, 2.5, 3.5]], np.float32)
OF_IMAGE = np.array([1, 0, 1, 0])


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("transformed", ["half_pixel", "output_half_pixel"])
def test_regions_of_different_sizes_are_pooled_as_onnx_runtime_does(
    mode: str, sampling_ratio: int, transformed: str
) -> None:
    got, expected = both(
        "RoiAlign", image(), REGIONS, OF_IMAGE, mode=mode, sampling_ratio=sampling_ratio, output_height=2,
        output_width=3, coordinate_transformation_mode=transformed,
    )  # fmt: skip
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_a_region_that_ends_before_it_begins_is_zero(mode: str) -> None:
    """Along one axis or along both; ONNX Runtime takes the latter only, and ONNX's reference evaluator both."""
    regions, of_image = np.array([[3, 1, 1, 4], [3, 4, 1, 1], [0, 0, 2, 2]], np.float32), np.array([0, 1, 1])
    got = ours("RoiAlign", image(), regions, of_image, mode=mode)
    _, expected = both("RoiAlign", image(), regions[1:], of_image[1:], mode=mode)
    assert not got[0].any()
    np.testing.assert_allclose(got[1:], expected, rtol=1e-4, atol=1e-5)


def test_no_regions_give_nothing() -> None:
    got = ours("RoiAlign", image(), REGIONS[:0], OF_IMAGE[:0], output_height=2)
    assert got.shape == (0, 3, 2, 1)


@pytest.mark.parametrize("op_type", ["QuantizeLinear", "DequantizeLinear"])
def test_a_vector_is_quantised_in_blocks(op_type: str) -> None:
    x = np.array([3, -2, 1.5, 7, 4], np.float32)
    graph = Graph()
    scale = graph.constant(np.array([0.5, 0.25], np.float32))
    y = graph.node("QuantizeLinear", graph.input("x", [5]), scale, axis=0, block_size=3, output_dtype=3)
    if op_type == "DequantizeLinear":
        y = graph.node(op_type, y, scale, axis=0, block_size=3)
    (got,) = Inference(compile_model(graph.model([y], opset=21)), {"x": x}).outputs().values()
    quantised = [6, -4, 3, 28, 16]
    assert got.tolist() == (quantised if op_type == "QuantizeLinear" else x.tolist())


@pytest.mark.parametrize("value", [0, 3])
def test_the_index_of_a_scalar_has_no_components(value: int) -> None:
    """Whether it is known when compiling or not; so ONNX has it, other than numpy."""
    graph = Graph()
    y = graph.node("NonZero", graph.constant(np.array(value)))
    model = graph.model([y, graph.node("Neg", graph.input("x", [1]))])
    got = Inference(compile_model(model), {"x": np.zeros(1, np.float32)}).outputs()
    assert next(iter(got.values())).shape == (0, int(value != 0))


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(("opset", "precision"), [(21, 0), (23, 0), (23, TensorProto.FLOAT)])
def test_a_quotient_is_rounded_to_the_type_of_its_scale(kind: Any, opset: int, precision: int) -> None:
    """From operator set 23 on, unless `precision` says another type; before, the standard says nothing."""
    rng = np.random.default_rng(6)
    x = (rng.standard_normal(2000) * 30).astype(kind)
    scale, zero = np.array(0.3, kind), np.array(3, np.int8)
    graph = Graph()
    names = [graph.input("x", x.shape, int(DType.of(x.dtype))), graph.constant(scale), graph.constant(zero)]
    chosen: dict[str, Any] = {"precision": precision} if precision else {}
    y = graph.node("QuantizeLinear", *names, **chosen)
    (got,) = Inference(compile_model(graph.model([y], opset=opset)), {"x": x}).outputs().values()
    quotient = x.astype(np.float32) / scale.astype(np.float32)
    rounded = np.rint(quotient.astype(kind).astype(np.float32))
    exact = np.rint(quotient)
    assert (rounded != exact).any()
    wanted = rounded if opset == 23 and not precision else exact
    assert np.array_equal(got, np.clip(wanted + 3, -128, 127).astype(np.int8))


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_axis_of_one_scale_means_nothing(shape: tuple[int, ...]) -> None:
    """It is 1 unless a model says otherwise, and a vector has none."""
    graph = Graph()
    x = np.array([1, 200, 7], np.uint8)
    names = [graph.input("x", x.shape, TensorProto.UINT8)]
    names += [graph.constant(np.full(shape, 0.5, np.float32)), graph.constant(np.full(shape, 3, np.uint8))]
    model = graph.model([graph.node("DequantizeLinear", *names)], opset=21)
    (got,) = Inference(compile_model(model), {"x": x}).outputs().values()
    assert got.tolist() == [-1, 98.5, 2]
