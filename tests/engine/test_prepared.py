"""
Weights that a schedule packs once, for all of its steps and runs: the same bits as without.

Those of convolutions are packed before the second run of a program, by whichever inference; `assert_same` runs several.
Steps of a recurrence share what is packed; ranges of columns, by which threads cut a product of few rows, begin
anywhere in it.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from opml_dispute.model.compiler import compile_model
from tests.engine.test_schedule import assert_same
from tests.model.graphs import Graph


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize(
    ("rows", "size"),
    [
        *((1, 150), (2, 150), (3, 150), (1, 6), (2, 20), (1, 33), (2, 55)),
        *((4, 64), (7, 33), (12, 150), (13, 40), (16, 96), (17, 50), (16, 300), (3, 320), (5, 192)),
    ],
)
def test_a_recurrence_in_binary32(rows: int, size: int, transposed: int) -> None:
    """Prepared weights of a recurrence in binary32 change no bit, large ones and those of a few products."""
    rng = np.random.default_rng(rows)
    graph = Graph()
    weights = graph.constant((rng.standard_normal((size, size)) / size).astype(np.float32))
    bias = graph.constant(rng.standard_normal(size).astype(np.float32))
    last = graph.input("x", [rows, size])
    for _ in range(3):
        last = graph.node("Tanh", graph.node("Gemm", last, weights, bias, transB=transposed))
    last = graph.node("MatMul", last, graph.constant(rng.standard_normal((size, 70)).astype(np.float32)))
    x = rng.standard_normal((rows, size)).astype(np.float32)
    x[0, 3] = np.inf
    assert_same(compile_model(graph.model([last])), {"x": x})


@pytest.mark.parametrize("rows", [1, 3, 40, 130])
def test_bytes(rows: int) -> None:
    """Prepared weights of 8 bits change no bit."""
    rng = np.random.default_rng(rows)
    graph = Graph()
    weights = graph.constant(rng.integers(-128, 128, (170, 200), dtype=np.int8))
    product = graph.node("MatMulInteger", graph.input("x", [rows, 170], TensorProto.UINT8), weights)
    model = graph.model([graph.node("Cast", product, to=TensorProto.FLOAT)])
    assert_same(compile_model(model), {"x": rng.integers(0, 256, (rows, 170), dtype=np.uint8)})


@pytest.mark.parametrize(("images", "side"), [(1, 7), (9, 3), (70, 1), (2, 15)])
def test_convolutions_that_share_weights(images: int, side: int) -> None:
    """Packed weights of convolutions change no bit, with what is added and rectified behind them, for any images."""
    rng = np.random.default_rng(side)
    graph = Graph()
    x = graph.input("x", [images, 40, side, side])
    weights = graph.constant((rng.standard_normal((40, 40, 3, 3)) / 20).astype(np.float32))
    bias = graph.constant(rng.standard_normal(40).astype(np.float32))
    pads = [1, 1, 1, 1]
    first = graph.node("Relu", graph.node("Conv", x, weights, bias, pads=pads))
    second = graph.node("Relu", graph.node("Add", graph.node("Conv", first, weights, pads=pads), x))
    grouped = graph.constant(rng.standard_normal((80, 20, 1, 1)).astype(np.float32))
    last = graph.node("Conv", second, grouped, group=2, strides=[2, 2])
    made = compile_model(graph.model([last]))
    values = rng.standard_normal((images, 40, side, side)).astype(np.float32)
    values[0, 3, 0, 0] = np.inf
    assert_same(made, {"x": values})
    assert_same(made, {"x": -values})


@pytest.mark.parametrize("columns", [1, 5, 40])
def test_one_matrix_times_windows_of_a_signal(columns: int) -> None:
    """What a spectrum is made of: long windows over one channel, of many signals."""
    rng = np.random.default_rng(columns)
    graph = Graph()
    x = graph.input("x", [13, 1, 64 + 16 * (columns - 1)])
    weights = graph.constant(rng.standard_normal((70, 1, 64)).astype(np.float32))
    model = graph.model([graph.node("Conv", x, weights, strides=[16])])
    assert_same(compile_model(model), {"x": rng.standard_normal((13, 1, 64 + 16 * (columns - 1))).astype(np.float32)})
