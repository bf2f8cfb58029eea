"""A few bytes of a model ask for any amount of numbers: the compiler refuses before it computes them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

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
