"""Chains that quantise in one pass make the bits that their steps make one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType
from tests.engine.test_schedule import assert_same
from tests.kernels.maker import values
from tests.model.graphs import Graph

SCALES = (0.02, -3.0, 1.0, 1e-40, 3e38, 0.0, np.inf, np.nan)


def numbers(count: int) -> npt.NDArray[Any]:
    """Awkward ones, halves between integers, and usual ones."""
    rng = np.random.default_rng(count)
    usual = rng.standard_normal(count).astype(np.float32)
    halves = (rng.integers(-300, 300, count) * 0.5).astype(np.float32)
    wild = values(rng, DType.F32, count, awkward=True)
    return np.choose(rng.integers(0, 3, count), [usual, halves, wild]).astype(np.float32)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("zero", [None, np.uint8(0), np.uint8(131), np.int8(-7)])
@pytest.mark.parametrize("count", [1, 37, 20_000])
def test_quantisation(count: int, zero: np.generic | None, scale: float) -> None:
    """A quantisation in one pass gives the bits of its steps."""
    graph = Graph()
    constants = [graph.constant(np.array(scale, np.float32))]
    if zero is not None:
        constants.append(graph.constant(np.asarray(zero)))
    model = graph.model([graph.node("QuantizeLinear", graph.input("x", [count]), *constants)])
    assert_same(compile_model(model), {"x": numbers(count)})


def test_what_lies_between_and_is_asked_for_is_there() -> None:
    """The quotient, and the rounded number, are outputs or read again: then each step writes what it makes."""
    graph = Graph()
    x = graph.input("x", [9000])
    scale = graph.constant(np.array(0.3, np.float32))
    quotient = graph.node("Div", x, scale)
    rounded = graph.node("Round", quotient)
    shifted = graph.node("Add", rounded, graph.constant(np.array(100, np.float32)))
    bytes_ = graph.node("Cast", shifted, to=2)
    again = graph.node("Mul", graph.node("Cast", bytes_, to=1), quotient)
    assert_same(compile_model(graph.model([again, bytes_])), {"x": numbers(9000)})
    assert_same(compile_model(graph.model([rounded, bytes_])), {"x": numbers(9000)})


def test_dynamic_quantisation() -> None:
    """A dynamic quantisation by schedule gives the bits of the node-by-node run."""
    graph = Graph()
    model = graph.model([graph.node("DynamicQuantizeLinear", graph.input("x", [40, 500]), outputs=3)])
    rng = np.random.default_rng(1)
    assert_same(compile_model(model), {"x": rng.standard_normal((40, 500)).astype(np.float32)})
