"""Spectra: transforms of many frames are one matrix product, with numbers that arithmetic is fast on."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.lower.signal import cosines
from opml_dispute.model.tensor import Array
from tests.model.graphs import Graph

RNG = np.random.default_rng(5)


def compared(model: onnx.ModelProto, x: Array) -> list[str]:
    """The kernels of a program that gives what ONNX Runtime gives."""
    (want,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    program = compile_model(model)
    (got,) = Inference(program, {"x": x}).outputs().values()
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)
    return [node.kernel for node in program.nodes]


@pytest.mark.parametrize(
    ("batch", "stride", "dilation", "pads", "bias"),
    [
        case
        for i, case in enumerate(itertools.product([1, 2], [1, 3], [1, 2], [(0, 0), (5, 2)], [False, True]))
        if i % 3 != 1
    ],
)
def test_long_windows_of_one_signal_are_a_product(
    batch: int, stride: int, dilation: int, pads: tuple[int, int], bias: bool
) -> None:
    graph = Graph()
    inputs = [graph.input("x", [batch, 1, 300]), graph.constant(RNG.standard_normal((6, 1, 64)).astype(np.float32))]
    inputs += [graph.constant(RNG.standard_normal(6).astype(np.float32))] if bias else []
    y = graph.node("Conv", *inputs, strides=[stride], dilations=[dilation], pads=list(pads))
    kernels = compared(graph.model([y]), RNG.standard_normal((batch, 1, 300)).astype(np.float32))
    assert "CONTRACT" in kernels
    assert "CONV" not in kernels


def test_a_short_window_or_several_channels_stay_a_convolution() -> None:
    for channels, taps in ((1, 63), (2, 64)):
        graph = Graph()
        weights = RNG.standard_normal((4, channels, taps)).astype(np.float32)
        y = graph.node("Conv", graph.input("x", [1, channels, 100]), graph.constant(weights))
        assert "CONV" in compared(graph.model([y]), RNG.standard_normal((1, channels, 100)).astype(np.float32))


@pytest.mark.parametrize("rank", [2, 3])
def test_frames_of_a_signal_are_rows_of_one_product(rank: int) -> None:
    """A signal may lack the dimension of its one component, as ONNX Runtime takes it."""
    graph = Graph()
    shape = [1, 400, *[1] * (rank - 2)]
    y = graph.node(
        "STFT",
        graph.input("x", shape),
        graph.constant(np.array(40, np.int64)),
        graph.constant(np.hanning(128).astype(np.float32)),
        graph.constant(np.array(128, np.int64)),
    )
    assert compared(graph.model([y]), RNG.standard_normal(shape).astype(np.float32)).count("CONTRACT") == 1


@pytest.mark.parametrize("n", [4, 12, 400, 512, 600])
def test_zeros_of_the_cosine_are_zeros(n: int) -> None:
    """Whatever is left of one is subnormal in binary32, and makes a product a hundred times as slow."""
    values = np.array(cosines(n))
    assert values[n // 4] == 0
    assert values[3 * n // 4] == 0
    assert not ((np.abs(values) < 1e-9) & (values != 0)).any()
