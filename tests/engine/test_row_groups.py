"""Chains made together, some rows at a time (native/inference/rows.c): the bits of one chain after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import Program
from tests.engine.test_schedule import assert_same
from tests.kernels.maker import values
from tests.model.graphs import Graph

Array = npt.NDArray[Any]
LEAST = 2 * 16384
"""Elements from which on rows are made together."""
REDUCTIONS = ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean")
BINARY = ("Add", "Sub", "Mul", "Div", "Max")
UNARY = ("Exp", "Neg", "Abs", "Sqrt")


def numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    wild = values(rng, DType.F32, int(np.prod(shape)), awkward=True).reshape(shape)
    return np.where(rng.random(shape) < 0.002, wild, rng.standard_normal(shape)).astype(np.float32)


def random_graph(rng: np.random.Generator, rows: int, length: int) -> onnx.ModelProto:
    """Reductions of rows, what is computed with their results, and steps that look at other rows too."""
    graph = Graph()
    full = [graph.input("x", [rows, length]), graph.input("z", [rows, length])]
    row, column = [graph.input("w", [rows, 1])], [graph.constant(numbers(rng, (length,)))]
    last = graph.constant(np.array([1])), graph.constant(np.array([0]))
    for i in range(int(rng.integers(5, 16))):
        kind = rng.random() if i else 0.0
        x = full[-1] if rng.random() < 0.7 else str(rng.choice(full))
        if kind < 0.3:
            row.append(graph.node(str(rng.choice(REDUCTIONS)), x, last[0], keepdims=1))
        elif kind < 0.35:
            column.append(graph.node(str(rng.choice(REDUCTIONS)), x, last[1], keepdims=1))
        elif kind < 0.4:  # row r of the result is another row of x
            ends = [graph.constant(np.array([n])) for n in (-1, -(rows + 1), 0, -1)]
            full.append(graph.node("Slice", x, *ends))
        elif kind < 0.5:  # a sum of squares, of differences or of the numbers themselves
            if rng.random() < 0.7:
                full.append(graph.node("Sub", x, row[-1]))
                x = full[-1]
            full.append(graph.node("Mul", x, x))
            row.append(graph.node("ReduceSum", full[-1], last[0], keepdims=1))
            if rng.random() < 0.7:
                full.pop()  # then nothing else reads the squares
        elif kind < 0.6:
            row.append(graph.node(str(rng.choice(UNARY)), row[-1]))
        elif kind < 0.66:  # what a softmax begins with, with or without its end
            row.append(graph.node("ReduceMax", x, last[0], keepdims=1))
            below = graph.node("Sub", x, row[-1])
            full.append(graph.node("Exp", below))
            row.append(graph.node("ReduceSum", full[-1], last[0], keepdims=1))
            if rng.random() < 0.7:
                full.append(graph.node("Div", full[-1], row[-1]))
            if rng.random() < 0.3:
                full.append(below)
        elif kind < 0.7:
            full.append(graph.node(str(rng.choice(UNARY)), x))
        else:
            other = str(rng.choice([row[-1], row[-1], row[-1], column[-1], str(rng.choice(full))]))
            full.append(graph.node(str(rng.choice(BINARY)), x, other))
    results = [str(rng.choice([*full[2:], *row[1:]])), *full[2:][-1:], *row[1:][-1:]]
    return graph.model(list(dict.fromkeys(results)), opset=18)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.sampled_from([2, 3, 7, 33, 100, 1001]))
def test_random_graphs_of_rows(seed: int, rows: int) -> None:
    """Random graphs of rows have the same last state by schedule and node by node."""
    rng = np.random.default_rng(seed)
    length = -(-LEAST // rows) + int(rng.integers(0, 5))
    made = compile_model(random_graph(rng, rows, length))
    given = {"x": numbers(rng, (rows, length)), "z": numbers(rng, (rows, length)), "w": numbers(rng, (rows, 1))}
    assert_same(made, {spec.name: given[spec.name] for spec in made.inputs})


NORMALISATIONS: dict[str, tuple[list[tuple[int, ...]], dict[str, Any]]] = {
    "Softmax": ([], {"axis": -1}),
    "LogSoftmax": ([], {"axis": -1}),
    "LayerNormalization": ([(-1,), (-1,)], {"axis": -1}),
    "InstanceNormalization": ([(1,), (1,)], {}),
    "LpNormalization": ([], {"axis": -1, "p": 2}),
}
"""By operator: its constants' dimensions, by the input's, and its attributes."""


def softmax(shape: tuple[int, ...]) -> Program:
    graph = Graph()
    return compile_model(graph.model([graph.node("Softmax", graph.input("x", list(shape)))]))


@pytest.mark.parametrize("range_of", [1.0, 60.0, 300.0])
@pytest.mark.parametrize("length", [2, 3, 8, 9, 16, 31, 32, 37, 128, 1000])
def test_softmax_of_finite_numbers(length: int, range_of: float) -> None:
    """Softmax gives the bits of the node-by-node run whether or not its smallest powers are normal numbers."""
    rng = np.random.default_rng(length)
    shape = (-(-LEAST // length), length)
    x = rng.standard_normal(shape) * range_of
    x[:3] = [[0.0], [-np.inf], [-7.0]]  # rows of one number, and of no finite one
    x[3:6, 1:] = -np.inf
    x[6, 5 % length] = np.inf
    x[8, 1] = np.nan
    x[7] = -np.abs(x[7])
    x[7, ::3] = -0.0
    assert_same(softmax(shape), {"x": x.astype(np.float32)})


def test_softmax_divides_by_every_kind_of_sum() -> None:
    """Quotients are rounded right whatever the last bits of a row's sum are."""
    rng = np.random.default_rng(5)
    x = -np.abs(rng.standard_normal((12_000, 33))) * rng.choice([0.1, 1.0, 10.0], (12_000, 1))
    assert_same(softmax(x.shape), {"x": x.astype(np.float32)})


@pytest.mark.parametrize("operator", NORMALISATIONS)
@pytest.mark.parametrize(
    "shape", [(2, 5, 70, 61), (1, 3, 1, 30_001), (3, 130, 9, 17), (1, 2, 500, 130), (1, 8, 90, 113)]
)
def test_normalisations(operator: str, shape: tuple[int, ...]) -> None:
    """Normalisations with few long rows, many short ones and odd sizes give the bits of the node-by-node run."""
    rng = np.random.default_rng(len(operator))
    axes, attributes = NORMALISATIONS[operator]
    graph = Graph()
    constants = [graph.constant(numbers(rng, tuple(shape[d] for d in at))) for at in axes]
    x = graph.input("x", list(shape))
    made = compile_model(graph.model([graph.node(operator, x, *constants, **attributes)]))
    assert_same(made, {"x": numbers(rng, shape)})
