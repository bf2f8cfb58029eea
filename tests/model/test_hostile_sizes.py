"""A few bytes of a model ask for any amount of numbers: the compiler refuses before it computes them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import ModelError
from tests.model.graphs import Array, Graph

Wild = tuple[str, list[Array | None], Mapping[str, Any]]
HUGE = 1 << 40


def numbers(*values: float) -> Array:
    return np.array(values, np.float32)


def sizes(*values: int) -> Array:
    return np.array(values, np.int64)


def one(value: float) -> Array:
    return np.array(value, np.int64 if isinstance(value, int) else np.float32)


X, IMAGE = np.zeros((1, 4), np.float32), np.zeros((1, 1, 4, 4), np.float32)
NOWHERE = np.zeros((1, 4), np.float32)
REGION = [numbers(0, 0, 3, 3).reshape(1, 4), sizes(0)]
WILD: dict[str, Wild] = {
    "places of a linear Resize": ("Resize", [X, None, numbers(1, 1e9)], {"mode": "linear"}),
    "places of a nearest Resize": ("Resize", [X, None, None, sizes(1, 1 << 34)], {"mode": "nearest"}),
    "bands of a mel scale": ("MelWeightMatrix", [one(1 << 20), one(8), one(8_000), one(0.0), one(4e3)], {}),
    "lines of a mel matrix": ("MelWeightMatrix", [one(8), one(HUGE), one(8_000), one(0.0), one(4e3)], {}),
    "points of a region's cell": ("RoiAlign", [IMAGE, *REGION], {"sampling_ratio": 1 << 31}),
    "cells of a region": ("RoiAlign", [IMAGE, *REGION], {"output_width": 1 << 31, "sampling_ratio": 1}),
    "cells of an empty region": (
        "RoiAlign",
        [IMAGE, np.zeros((1, 4), np.float32), sizes(0)],
        {"output_height": 1 << 31},
    ),
    "points of a grid": ("AffineGrid", [np.zeros((1, 2, 3), np.float32), sizes(1, 1, HUGE, HUGE)], {}),
    "random numbers": ("Multinomial", [X], {"sample_size": 1 << 31, "seed": 1.0}),
    "a place far before the first axis": ("OneHot", [sizes(1), one(3), numbers(0, 1)], {"axis": -HUGE}),
    "batch dimensions below none": ("GatherND", [X, sizes(0, 0)], {"batch_dims": -HUGE}),
    "depth of an index": ("OneHot", [sizes(1), one(1 << 28), numbers(0, 1)], {}),
    "edges repeated": ("Pad", [X, sizes(0, HUGE, 0, 0)], {"mode": "edge"}),
    "a tensor going round": ("Pad", [X, sizes(0, 0, 0, HUGE)], {"mode": "wrap"}),
    "places of no element": ("Reshape", [np.zeros((3, 4, 0), np.float32), sizes(3, 1 << 62, 0)], {"allowzero": 1}),
    "parts of nothing": ("Split", [X], {"num_outputs": HUGE, "axis": 1}),
}


@pytest.mark.parametrize("name", WILD)
def test_a_number_that_no_layer_has_is_refused_at_once(name: str) -> None:
    """Some took 15 GB of memory, others minutes, before anything was counted."""
    op_type, arrays, attributes = WILD[name]
    first, *rest = arrays
    assert first is not None
    graph = Graph()
    is_given = op_type != "MelWeightMatrix"
    names = [graph.input("x", first.shape, int(DType.of(first.dtype))) if is_given else graph.constant(first)]
    names += ["" if array is None else graph.constant(array) for array in rest]
    out = graph.node(op_type, *names, **attributes)
    began = time.process_time()
    with pytest.raises(ModelError):
        compile_model(graph.model([out], opset=20))
    assert time.process_time() - began < 3


def test_many_parts_take_time_in_proportion() -> None:
    graph = Graph()
    names = graph.node("Split", graph.input("x", (20_000,)), outputs=20_000, axis=0, num_outputs=20_000)
    began = time.process_time()
    assert compile_model(graph.model([f"{names}.7"], opset=18)).node_count == 1
    assert time.process_time() - began < 10


SPREAD: dict[str, tuple[str, tuple[int, ...], list[Array | None], int, Mapping[str, Any]]] = {
    "a shape": ("Expand", (1 << 24,), [X], 1, {}),
    "a shape that is reshaped to": ("Reshape", (1 << 28,), [X], 1, {}),
    "the shape of a constant": ("ConstantOfShape", (1 << 24,), [], 0, {}),
    "axes": ("ReduceSum", (1 << 30,), [X], 1, {}),
    "new axes": ("Unsqueeze", (1 << 24,), [X], 1, {}),
    "repeats": ("Tile", (1 << 30,), [X], 1, {}),
    "parts": ("Split", (1 << 24,), [X], 1, {}),
    "padding": ("Pad", (1 << 24,), [X], 1, {}),
    "elements that are not zero": ("NonZero", (1 << 33,), [], 0, {}),
    "what is kept": ("Compress", (1 << 33,), [X], 1, {"axis": 1}),
    "different elements": ("Unique", (1 << 33,), [], 0, {}),
    "indices": ("Gather", (1 << 33,), [X], 1, {"axis": 1}),
    "a condition": ("If", (1 << 40,), [], 0, {}),
}
"""Operands that ConstantOfShape makes: one element in memory, however many there are."""


@pytest.mark.parametrize("name", SPREAD)
def test_a_constant_that_is_one_number_many_times_is_not_written_out(name: str) -> None:
    """It has any size: some took all memory, others hours, before anything was counted."""
    op_type, shape, arrays, place, attributes = SPREAD[name]
    graph = Graph()
    value: Array = np.zeros(1, np.bool_ if op_type in ("Compress", "If") else np.int64)
    filled = graph.node("ConstantOfShape", graph.constant(sizes(*shape)), value=numpy_helper.from_array(value))
    names = [graph.input(f"x{i}", array.shape) for i, array in enumerate(arrays) if array is not None]
    names.insert(place, filled)
    if op_type == "If":
        branch = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "branch", [], [_value("z")])
        graph.input("x", [1])
        attributes = {"then_branch": branch, "else_branch": branch}
    out = graph.node(op_type, *names, outputs=3 if op_type == "Split" else 1, **attributes)
    began = time.process_time()
    with pytest.raises(ModelError, match=r"expected [0-9,]+ (bytes of them )?at most"):
        compile_model(graph.model([out], opset=18))
    assert time.process_time() - began < 3


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])


def test_a_matrix_of_one_number_is_scaled_when_the_model_runs() -> None:
    """Fusing the scale would write the matrix out, 16 GiB of it."""
    graph = Graph()
    shape = graph.constant(sizes(1 << 15, 1 << 17))
    filled = graph.node("ConstantOfShape", shape, value=numpy_helper.from_array(numbers(0.5)))
    product = graph.node("MatMul", graph.input("x", [1, 1 << 15]), filled)
    scaled = graph.node("Mul", product, graph.constant(np.linspace(1, 2, 1 << 17, dtype=np.float32)))
    program = compile_model(graph.model([graph.node("ReduceMax", scaled, keepdims=0)]))
    assert sum(1 << block.log2_size for block in program.weights) < 1 << 22


def test_an_input_of_more_dimensions_than_a_layer_has_is_refused() -> None:
    graph = Graph()
    out = graph.node("Transpose", graph.input("x", [1] * 100_000))
    with pytest.raises(ModelError, match="100,000 dimensions; expected 256 at most"):
        compile_model(graph.model([out]))


def test_tokens_to_skip_beyond_the_last_are_not_looked_for() -> None:
    """A pair 2^40 tokens apart is in no row: only what can be there is compared."""
    graph = Graph()
    y = graph.node(
        "TfIdfVectorizer", graph.input("x", (1, 4), TensorProto.INT64), max_gram_length=2, min_gram_length=2,
        max_skip_count=HUGE, mode="TF", ngram_counts=[0, 0], ngram_indexes=[0], pool_int64s=[1, 2],
    )  # fmt: skip
    program = compile_model(graph.model([y], opset=9))
    for tokens, count in (([1, 0, 0, 2], 1), ([1, 2, 0, 2], 2), ([2, 1, 1, 1], 0)):
        assert Inference(program, {"x": np.array([tokens])}).outputs()[y].tolist() == [[count]]
