"""A convolution and the normalisation behind it become one convolution."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from tests.model.graphs import Graph

RNG = np.random.default_rng(4)


def _model(*, bias: bool, twice: bool = False) -> onnx.ModelProto:
    """Conv -> BatchNormalization -> Relu; with `twice`, something else looks at the convolution too."""
    graph = Graph()
    graph.input("x", [1, 3, 6, 6])
    constants = [RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)]
    constants += [RNG.normal(size=4).astype(np.float32)] if bias else []
    conv = graph.node("Conv", "x", *(graph.constant(c) for c in constants), pads=[1, 1, 1, 1])
    statistics = [RNG.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4)]
    normal = graph.node("BatchNormalization", conv, *(graph.constant(s) for s in statistics))
    outputs = [graph.node("Relu", normal)]
    return graph.model([*outputs, graph.node("Neg", conv)] if twice else outputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("twice", [True, False])
def test_the_answer_stays(bias: bool, twice: bool) -> None:
    model = _model(bias=bias, twice=twice)
    x = RNG.normal(size=(1, 3, 6, 6)).astype(np.float32)
    program = compile_model(model)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    got = Inference(program, {"x": x}).outputs()
    for spec, want in zip(program.outputs, expected, strict=True):
        np.testing.assert_allclose(got[spec.name], want, rtol=1e-4, atol=1e-5)


def test_one_kernel_is_left_and_it_is_the_convolutions() -> None:
    program = compile_model(_model(bias=True))
    assert [(node.op_type, node.kernel) for node in program.nodes] == [("Conv", "CONV"), ("Relu", "UNARY.RELU")]


def test_a_convolution_that_others_look_at_stays_as_well() -> None:
    kernels = [node.kernel for node in compile_model(_model(bias=False, twice=True)).nodes]
    assert sorted(kernels) == ["CONV", "CONV", "UNARY.NEG", "UNARY.RELU"]
