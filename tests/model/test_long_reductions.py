"""Outputs that are reduced from many elements: in stages, none of which takes long, and at the price of one pass."""

from __future__ import annotations

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from tests.model.graphs import single

STEPS_PER_ELEMENT = 45


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1_000_003,), [0]),
        ((700, 701), [0, 1]),  # side by side, and neither is long
        ((90, 91, 92), [0, 1, 2]),
        ((400, 3, 401), [0, 2]),  # apart
        ((2, 3, 300, 301), [2, 3]),
        ((300, 301, 2), [0, 1]),
        ((10, 2, 11, 42, 3, 43), [0, 2, 3, 5]),
        ((1, 70_001, 1), [0, 1, 2]),
    ],
    ids=str,
)
def test_a_sum_of_many_is_cut_into_short_stages_that_read_each_element_once(
    shape: tuple[int, ...], axes: list[int]
) -> None:
    """One output of a million terms would be one node that no budget can cut."""
    x = np.random.default_rng(5).uniform(-1, 1, shape).astype(np.float32)
    program = compile_model(single("ReduceSum", x, axes=axes, keepdims=0, opset=11), tile_budget=1 << 20)
    assert max(program.node_steps) <= 1 << 20
    assert sum(program.node_steps) <= STEPS_PER_ELEMENT * x.size
    (got,) = Inference(program, {"x0": x}).outputs().values()
    expected = x.astype(np.float64).sum(axis=tuple(axes))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=0.05)


@pytest.mark.parametrize("kind", ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd"])
def test_stages_lose_no_element(kind: str) -> None:
    """Each place in turn holds the only element that counts."""
    shape, axes = (7, 2, 130, 131), [0, 2, 3]
    neutral = {"ReduceProd": 1, "ReduceMax": 0, "ReduceMin": 0, "ReduceSum": 0}[kind]
    other = -3 if kind == "ReduceMin" else 3
    x = np.full(shape, neutral, np.int32)
    program = compile_model(single(kind, x, axes=axes, keepdims=0, opset=11))
    places = np.random.default_rng(6).integers(0, shape, (40, 4)).tolist()
    for place in [*places, [0, 0, 0, 0], [6, 1, 129, 130], [0, 0, 0, 130], [6, 1, 0, 0]]:
        spoilt = x.copy()
        spoilt[tuple(place)] = other
        (got,) = Inference(program, {"x0": spoilt}).outputs().values()
        assert got.tolist() == [other if half == place[1] else neutral for half in range(2)]
