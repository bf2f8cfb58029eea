"""
Products of dequantised tensors are those of their integers, scaled once: exact but for three roundings.

The expected bits are computed from exact integers, so a product that is summed in binary32 would not pass.
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


def scales(rng: np.random.Generator, *shape: int) -> Array:
    return np.asarray(rng.uniform(0.003, 0.02, shape), np.float32)


def found(graph: Graph, output: str, inputs: dict[str, Array]) -> Array:
    (result,) = Inference(compile_model(graph.model([output])), inputs).outputs().values()
    return result


def scaled(sums: Array, one: Array, other: Array) -> Array:
    """What the sums become, in the roundings that are specified."""
    factor = (one.astype(np.float64) * other.astype(np.float64)).astype(np.float32)
    return np.asarray(sums.astype(np.float32) * factor)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("each", [True, False], ids=["by column", "one scale"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_with_constant_weights(kind: type, each: bool, transposed: int) -> None:
    """Weights with zero points and scales by column, also behind a transposition, and a bias behind it all."""
    rng = np.random.default_rng(transposed + 2 * each)
    a, b = wild(rng, np.uint8, 5, 300), wild(rng, kind, 300, 7)
    a_scale, b_scale = scales(rng), scales(rng, 7) if each else scales(rng)
    a_zero, b_zero = wild(rng, np.uint8), wild(rng, kind, 7) if each else wild(rng, kind)
    bias = rng.standard_normal(7).astype(np.float32)
    graph = Graph()
    constants = [graph.constant(value) for value in (a_scale, a_zero, b_scale, b_zero)]
    left = graph.node("DequantizeLinear", graph.input("a", a.shape, TensorProto.UINT8), *constants[:2])
    weights = graph.constant(np.ascontiguousarray(b.T) if transposed else b)
    right = graph.node("DequantizeLinear", weights, *constants[2:], axis=0 if transposed else 1)
    output = graph.node("Gemm", left, right, graph.constant(bias), transB=transposed)
    sums = (a.astype(np.int64) - int(a_zero)) @ (b.astype(np.int64) - b_zero.astype(np.int64))
    expected = scaled(sums, a_scale, b_scale) + bias
    assert found(graph, output, {"a": a}).tobytes() == expected.tobytes()


def test_a_product_of_two_that_are_computed() -> None:
    """As in attention: batches of both, the second one transposed."""
    rng = np.random.default_rng(3)
    a, b = wild(rng, np.uint8, 2, 4, 70), wild(rng, np.int8, 2, 6, 70)
    one, other = scales(rng), scales(rng)
    zeros = wild(rng, np.uint8), wild(rng, np.int8)
    graph = Graph()
    pairs = [[graph.constant(scale), graph.constant(zero)] for scale, zero in zip((one, other), zeros, strict=True)]
    left = graph.node("DequantizeLinear", graph.input("a", a.shape, TensorProto.UINT8), *pairs[0])
    right = graph.node("DequantizeLinear", graph.input("b", b.shape, TensorProto.INT8), *pairs[1])
    output = graph.node("MatMul", left, graph.node("Transpose", right, perm=[0, 2, 1]))
    sums = (a.astype(np.int64) - int(zeros[0])) @ (b.astype(np.int64) - int(zeros[1])).transpose(0, 2, 1)
    assert found(graph, output, {"a": a, "b": b}).tobytes() == scaled(sums, one, other).tobytes()


@pytest.mark.parametrize("pads", [[0, 0], [2, 1]])
def test_a_convolution(pads: list[int]) -> None:
    """Scales by channel, a bias, and padding that stands for the number 0."""
    rng = np.random.default_rng(sum(pads))
    x, w = wild(rng, np.uint8, 2, 9, 20), wild(rng, np.int8, 6, 9, 3)
    one, other, zero = scales(rng), scales(rng, 6), wild(rng, np.uint8)
    bias = rng.standard_normal(6).astype(np.float32)
    graph = Graph()
    image = graph.node(
        "DequantizeLinear", graph.input("x", x.shape, TensorProto.UINT8), graph.constant(one), graph.constant(zero)
    )
    weights = graph.node("DequantizeLinear", graph.constant(w), graph.constant(other), axis=0)
    output = graph.node("Conv", image, weights, graph.constant(bias), pads=pads)
    padded = np.pad(x.astype(np.int64) - int(zero), ((0, 0), (0, 0), (pads[0], pads[1])))
    views = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=2)
    sums = np.einsum("ncpk,mck->nmp", views, w.astype(np.int64))
    expected = scaled(sums, one, other[:, None]) + bias[:, None]
    assert found(graph, output, {"x": x}).tobytes() == expected.tobytes()


@pytest.mark.parametrize("what", ["scales along the sum", "an infinite scale", "a part", "a sum that leaves 32 bits"])
def test_what_integers_cannot_say_is_summed_as_numbers(what: str) -> None:
    """The answer is right where the product of the integers would not be, or is not known to be."""
    rng = np.random.default_rng(1)
    depth = 40_000 if what == "a sum that leaves 32 bits" else 12
    a, b = wild(rng, np.uint8, 3, depth), wild(rng, np.uint8, depth, 4)
    one, other, axis = scales(rng), scales(rng, 4), 1
    if what == "scales along the sum":
        other, axis = scales(rng, depth), 0
    if what == "an infinite scale":
        other[1], b[3, 1] = np.inf, 0
    if what == "a sum that leaves 32 bits":
        a[:], b[:] = 255, 255
    graph = Graph()
    left = graph.node("DequantizeLinear", graph.input("a", a.shape, TensorProto.UINT8), graph.constant(one))
    right = graph.node("DequantizeLinear", graph.constant(b), graph.constant(other), axis=axis)
    if what == "a part":
        ends = [graph.constant(np.array([value], np.int64)) for value in (1, 3, 1)]
        right = graph.node("Slice", right, *ends)
        b, other = b[:, 1:3], other[1:3]
    result = found(graph, graph.node("MatMul", left, right), {"a": a})
    with np.errstate(all="ignore"):
        numbers = b * (other[:, None] if axis == 0 else other).astype(np.float64)
        expected = (a * np.float64(one)) @ numbers
    np.testing.assert_allclose(result, expected, rtol=1e-3)
