"""
Integer matrix products and convolutions with zero points, against exact sums of differences.

Weights that are constants stay bytes, and the other factor's zero point becomes a bias and the value of the padding;
weights that are inputs are widened. Both must give the same integers for every sign and zero point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from tests.model.graphs import Graph

Array = npt.NDArray[Any]
KINDS: dict[type, int] = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}


def wild(rng: np.random.Generator, kind: type, *shape: int) -> Array:
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def found(graph: Graph, output: str, inputs: dict[str, Array]) -> Array:
    (result,) = Inference(compile_model(graph.model([output])), inputs).outputs().values()
    return result


def difference(x: Array, zero_point: Array) -> Array:
    return x.astype(np.int64) - zero_point.astype(np.int64)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("of_b", KINDS)
@pytest.mark.parametrize("of_a", KINDS)
def test_matrix_products(of_a: type, of_b: type, constant: bool) -> None:
    """Matrix products of integers agree with exact arithmetic."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        m, k, n = (int(size) for size in rng.integers(1, 40, 3))
        batch = (2,) if seed % 4 == 3 else ()
        a, b = wild(rng, of_a, *batch, m, k), wild(rng, of_b, *batch, k, n)
        a_zero, b_zero = wild(rng, of_a), wild(rng, of_b)
        if seed % 3 == 1:
            b_zero = b_zero * 0
        if seed % 3 == 2:
            b_zero = wild(rng, of_b, *((*batch, 1) if batch else ()), n)
        graph = Graph()
        inputs = {"a": a, "z": a_zero}
        names = [graph.input("a", a.shape, KINDS[of_a])]
        names.append(graph.constant(b) if constant else graph.input("b", b.shape, KINDS[of_b]))
        names += [graph.input("z", a_zero.shape, KINDS[of_a]), graph.constant(b_zero)]
        if not constant:
            inputs["b"] = b
        expected = difference(a, a_zero) @ difference(b, b_zero)
        np.testing.assert_array_equal(found(graph, graph.node("MatMulInteger", *names), inputs), expected)


def convolved(x: Array, w: Array, strides: list[int], pads: list[int], groups: int) -> Array:
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, :: strides[0], :: strides[1]]
    parts = zip(np.split(windows, groups, 1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("nchwij,mcij->nmhw", part, weights) for part, weights in parts], 1)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("of_w", KINDS)
@pytest.mark.parametrize("of_x", KINDS)
def test_convolutions(of_x: type, of_w: type, constant: bool) -> None:
    """Convolutions of integers agree with exact arithmetic."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        groups = int(rng.choice([1, 1, 2, 3]))
        x = wild(rng, of_x, 2, groups * 2, *(int(size) for size in rng.integers(5, 12, 2)))
        w = wild(rng, of_w, groups * 3, 2, *(int(size) for size in rng.integers(1, 4, 2)))
        strides, pads = [int(n) for n in rng.integers(1, 3, 2)], [int(n) for n in rng.integers(0, 3, 4)]
        x_zero, w_zero = wild(rng, of_x), wild(rng, of_w)
        if seed % 3 == 1:
            w_zero = w_zero * 0
        graph = Graph()
        inputs = {"x": x, "z": x_zero}
        names = [graph.input("x", x.shape, KINDS[of_x])]
        names.append(graph.constant(w) if constant else graph.input("w", w.shape, KINDS[of_w]))
        names += [graph.input("z", (), KINDS[of_x]), graph.constant(w_zero)]
        if not constant:
            inputs["w"] = w
        node = graph.node("ConvInteger", *names, strides=strides, pads=pads, group=groups)
        expected = convolved(difference(x, x_zero), difference(w, w_zero), strides, pads, groups)
        np.testing.assert_array_equal(found(graph, node, inputs), expected)
