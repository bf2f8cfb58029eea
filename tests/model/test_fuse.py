"""Scales and shifts by constants disappear in the operation before them, and the answer stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from tests.model.graphs import Graph

RNG = np.random.default_rng(4)
Array = npt.NDArray[Any]


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def statistics(graph: Graph, channels: int) -> list[str]:
    """Scale, bias, mean and variance of a BatchNormalization."""
    return [graph.constant(RNG.uniform(0.5, 2, channels).astype(np.float32)) for _ in range(4)]


def kernels(model: onnx.ModelProto) -> list[str]:
    return [node.kernel for node in compile_model(model).nodes]


def agrees(model: onnx.ModelProto, shape: tuple[int, ...]) -> bool:
    """Whether the program's answers are ONNX Runtime's, to rounding."""
    x = RNG.normal(size=shape).astype(np.float32)
    program = compile_model(model)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    got = Inference(program, {"x": x}).outputs()
    for spec, want in zip(program.outputs, expected, strict=True):
        np.testing.assert_allclose(got[spec.name], want, rtol=1e-4, atol=1e-5)
    return True


def convolution(*, bias: bool, twice: bool = False) -> onnx.ModelProto:
    """Conv -> BatchNormalization -> Relu; with `twice`, something else looks at the convolution too."""
    graph = Graph()
    graph.input("x", [1, 3, 6, 6])
    constants = [normal(4, 3, 3, 3), *([normal(4)] if bias else [])]
    conv = graph.node("Conv", "x", *map(graph.constant, constants), pads=[1, 1, 1, 1])
    outputs = [graph.node("Relu", graph.node("BatchNormalization", conv, *statistics(graph, 4)))]
    return graph.model([*outputs, graph.node("Neg", conv)] if twice else outputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("twice", [True, False])
def test_a_normalisation_behind_a_convolution(bias: bool, twice: bool) -> None:
    """A normalisation behind a convolution is fused, and the outputs agree."""
    assert agrees(convolution(bias=bias, twice=twice), (1, 3, 6, 6))


def test_one_kernel_is_left_and_it_is_the_convolutions() -> None:
    program = compile_model(convolution(bias=True))
    assert [(node.op_type, node.kernel) for node in program.nodes] == [("Conv", "CONV"), ("Relu", "UNARY.RELU")]


def test_a_convolution_that_others_look_at_stays() -> None:
    found = kernels(convolution(bias=False, twice=True))
    assert found == ["CONV", "BINARY.MUL", "BINARY.ADD", "UNARY.RELU", "UNARY.NEG"]


def test_an_output_stays() -> None:
    """A tensor that is an output is not fused away."""
    graph = Graph()
    graph.input("x", [1, 3, 6, 6])
    conv = graph.node("Conv", "x", graph.constant(normal(2, 3, 1, 1)))
    model = graph.model([conv, graph.node("Add", conv, graph.constant(normal(1, 2, 1, 1)))])
    assert kernels(model) == ["CONV", "BINARY.ADD"]
    assert agrees(model, (1, 3, 6, 6))


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("order", [["Add"], ["Sub"], ["Mul"], ["Mul", "Add"], ["Add", "Mul", "Sub", "Mul", "Add"]])
def test_any_run_of_scales_and_shifts_behind_a_convolution(order: list[str], group: int) -> None:
    graph = Graph()
    graph.input("x", [2, 3, 5, 5])
    last = graph.node("Conv", "x", graph.constant(normal(6, 3 // group, 3, 3)), group=group)
    for i, op_type in enumerate(order):
        constant = normal(6, 1, 1) if i % 2 else normal(1, 1, 1, 1)
        last = graph.node(op_type, last, graph.constant(constant))
    model = graph.model([last])
    assert kernels(model) == ["CONV"]
    assert agrees(model, (2, 3, 5, 5))


def test_a_transposed_convolution_is_one_too() -> None:
    graph = Graph()
    graph.input("x", [1, 3, 4, 4])
    conv = graph.node("ConvTranspose", "x", graph.constant(normal(3, 2, 3, 3)))
    model = graph.model([graph.node("BatchNormalization", conv, *statistics(graph, 2))])
    assert kernels(model) == ["CONV"]
    assert agrees(model, (1, 3, 4, 4))


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5)])
@pytest.mark.parametrize("order", [["Add"], ["Mul"], ["Mul", "Add"], ["Add", "Mul", "Add"]])
def test_behind_a_matrix_product(order: list[str], shape: tuple[int, ...]) -> None:
    """Scales and shifts behind a matrix product are fused, and the outputs agree."""
    graph = Graph()
    graph.input("x", list(shape))
    last = graph.node("MatMul", "x", graph.constant(normal(5, 7)))
    for op_type in order:
        last = graph.node(op_type, graph.constant(normal(7)), last)
    model = graph.model([last])
    assert kernels(model) == ["CONTRACT"]
    assert agrees(model, shape)


def test_a_bias_is_bit_for_bit_what_the_addition_was() -> None:
    """A contraction adds its bias last, with one addition: as the node did."""
    weights, bias, x = normal(5, 7), normal(7), normal(4, 5)
    outputs = []
    for apart in (False, True):
        graph = Graph()
        graph.input("x", [4, 5])
        product = graph.node("MatMul", "x", graph.constant(weights))
        total = graph.node("Add", product, graph.constant(bias))
        program = compile_model(graph.model([total, product] if apart else [total]))
        outputs.append(Inference(program, {"x": x}).outputs()[program.outputs[0].name].tobytes())
    assert outputs[0] == outputs[1]


def test_scales_and_shifts_of_an_input_become_one_of_each() -> None:
    graph = Graph()
    graph.input("x", [2, 3, 4])
    last = "x"
    for op_type in ["Sub", "Mul", "Add", "Add", "Mul", "Mul"]:
        last = graph.node(op_type, last, graph.constant(normal(3, 1)))
    model = graph.model([last])
    assert kernels(model) == ["BINARY.MUL", "BINARY.ADD"]
    assert agrees(model, (2, 3, 4))


def test_constants_along_different_axes_stay_apart() -> None:
    graph = Graph()
    graph.input("x", [2, 3, 4])
    model = graph.model(
        [graph.node("Mul", graph.node("Mul", "x", graph.constant(normal(3, 1))), graph.constant(normal(4)))]
    )
    assert kernels(model) == ["BINARY.MUL", "BINARY.MUL"]
    assert agrees(model, (2, 3, 4))


def test_along_another_axis_than_the_channels_nothing_is_fused() -> None:
    graph = Graph()
    graph.input("x", [1, 3, 4, 4])
    conv = graph.node("Conv", "x", graph.constant(normal(4, 3, 1, 1)))
    model = graph.model([graph.node("Mul", conv, graph.constant(normal(4)))])
    assert kernels(model) == ["CONV", "BINARY.MUL"]
    assert agrees(model, (1, 3, 4, 4))


@pytest.mark.parametrize("factor", [np.inf, np.nan, 3e38])
def test_constants_that_would_not_stay_finite_are_left_alone(factor: float) -> None:
    graph = Graph()
    graph.input("x", [1, 3, 4, 4])
    conv = graph.node("Conv", "x", graph.constant(np.full((4, 3, 1, 1), 2, np.float32)))
    model = graph.model([graph.node("Mul", conv, graph.constant(np.array([factor], np.float32)))])
    assert kernels(model) == ["CONV", "BINARY.MUL"]


def test_a_repeated_number_is_a_weight_and_not_written_in_every_run() -> None:
    """What ConstantOfShape makes: packed once, when compiling, and once for all who use it."""
    graph = Graph()
    graph.input("x", [1, 3, 40, 40])
    shape = graph.constant(np.array([64, 3, 11, 11], np.int64))
    weights = graph.node("ConstantOfShape", shape, value=onnx.numpy_helper.from_array(np.array([0.5], np.float32)))
    model = graph.model([graph.node("Conv", "x", weights), graph.node("Conv", "x", weights, strides=[2, 2])])
    program = compile_model(model, tile_budget=1 << 60)
    assert [node.kernel for node in program.nodes] == ["CONV", "CONV"]
    assert program.weights_bytes == 4 * 64 * 3 * 11 * 11
