"""Chains that quantise in one pass make the bits that their steps make one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from opml_dispute.engine.inference import Inference
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


FACTORS = (0.0371, -2.5, 0.0, 1e30, np.inf, np.nan)


@pytest.mark.parametrize("from_integers", [True, False])
@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("zero", [None, 131.0, -7.5])
def test_multiplied_first(zero: float | None, each: bool, from_integers: bool) -> None:
    """A product by one factor, or by one for each channel, and the integer that it is made of, join the pass."""
    rng = np.random.default_rng(8)
    shape = (len(FACTORS), 3000)
    x = rng.integers(-(1 << 31), 1 << 31, shape) >> rng.integers(0, 32, shape)
    for scale, factor in zip((0.02, 1.7, 3.0, 0.0, 7e-6, -1.1), FACTORS, strict=True):
        graph = Graph()
        at = graph.input("x", list(shape), 6 if from_integers else 1)
        at = graph.node("Cast", at, to=1) if from_integers else at
        factors = np.array(FACTORS, np.float32).reshape(-1, 1) if each else np.array(factor, np.float32)
        at = graph.node("Mul", at, graph.constant(factors))
        at = graph.node("Round", graph.node("Div", at, graph.constant(np.array(scale, np.float32))))
        if zero is not None:
            at = graph.node("Add", at, graph.constant(np.array(zero, np.float32)))
        model = compile_model(graph.model([graph.node("Cast", at, to=2 if scale > 1 else 3)]))
        assert_same(model, {"x": x.astype(np.int32) if from_integers else numbers(x.size).reshape(shape)})


def test_halves_of_every_kind_of_scale() -> None:
    """Numbers half way between two integers, and next to them, are rounded as their quotients are."""
    rng = np.random.default_rng(9)
    for scale in rng.uniform(0.5, 2.0, 40).astype(np.float32):
        halves = (rng.integers(-260, 260, 4000) + 0.5) * scale.astype(np.float64)
        x = np.nextafter(halves.astype(np.float32), rng.choice([-np.inf, np.inf, 0.0], 4000).astype(np.float32))
        graph = Graph()
        model = graph.model([graph.node("QuantizeLinear", graph.input("x", [4000]), graph.constant(scale))])
        assert_same(compile_model(model), {"x": x})


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


def test_a_zero_point_beyond_bytes_is_held_by_its_cast() -> None:
    """Of the least numbers that there are, a scale is rounded far: -least / scale is 300. No node holds it to 255."""
    graph = Graph()
    y = graph.node("DynamicQuantizeLinear", graph.input("x", [3]), outputs=3)
    program = compile_model(graph.model([y, f"{y}.1", f"{y}.2"]))
    kernels = [node.kernel for node in program.nodes]
    assert (kernels.count("BINARY.MIN"), kernels.count("BINARY.MAX")) == (1, 1)  # with 0, of the range
    unit = np.float32(2.0**-149)
    for x, zero in (([-300 * unit, 0, 0], 255), ([0, 0, 300 * unit], 0), ([-np.inf, 0, 1], 0), ([np.nan, 0, 1], 0)):
        assert Inference(program, {"x": np.array(x, np.float32)}).outputs()[f"{y}.2"] == zero


@pytest.mark.parametrize("shape", [(1024, 70), (65_537,), (3, 4, 5, 1200), (2, 0), ()])
def test_a_range_of_many_numbers_is_found_by_parts(shape: tuple[int, ...]) -> None:
    """The scale, the zero point and the integers are those of all numbers, and what is left of the parts is few."""
    graph = Graph()
    x = graph.input("x", list(shape))
    y = graph.node("DynamicQuantizeLinear", x, outputs=3)
    model = compile_model(graph.model([y, f"{y}.1", f"{y}.2"]))
    value = np.asarray(np.random.default_rng(3).standard_normal(shape), np.float32)
    assert_same(model, {"x": value})
    assert min((node.steps for node in model.nodes if node.kernel.startswith("REDUCE")), default=0) < 50_000
    inference = Inference(model, {"x": value})
    inference.run_to(model.node_count)
    found = list(inference.outputs().values())
    least, greatest = np.float32(value.min(initial=0)), np.float32(value.max(initial=0))
    scale = (greatest - least) / np.float32(255) or np.float32(1)
    assert found[1] == scale
    assert found[2] == np.clip(np.rint(-least / scale), 0, 255)
    assert np.array_equal(found[0], np.clip(np.rint(value / scale) + np.float32(found[2]), 0, 255).astype(np.uint8))
