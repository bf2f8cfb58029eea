"""A square is one multiplication, whatever type its exponent has; any other power stays one."""

from __future__ import annotations

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from tests.model.graphs import Graph


@pytest.mark.parametrize(
    ("exponent", "kernel"),
    [
        (np.float32(2), "BINARY.MUL"),
        (np.array([2], np.int64), "BINARY.MUL"),
        (np.float32(3), "BINARY.POW"),
        (np.full(3, 2, np.float32), "BINARY.POW"),
    ],
)
def test_squares_are_products(exponent: np.generic, kernel: str) -> None:
    """A power of two is compiled to a product."""
    graph = Graph()
    model = graph.model([graph.node("Pow", graph.input("x", [2, 3]), graph.constant(np.asarray(exponent)))])
    program = compile_model(model)
    assert [node.kernel for node in program.nodes] == [kernel]
    x = np.array([[1.5, -2, 0], [-0.0, np.inf, -np.inf]], np.float32)
    (found,) = Inference(program, {"x": x}).outputs().values()
    np.testing.assert_allclose(found, x ** np.asarray(exponent).astype(np.float32), rtol=1e-6)
