"""Chains of arithmetic, made in one pass: the bits of one step after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.model.compiler import compile_model
from tests.engine.test_schedule import assert_same, named
from tests.model.graphs import Graph

Values = npt.NDArray[np.float32]
OPERATORS = ("Add", "Sub", "Mul", "Div", "Min", "Max", "Exp")
"""Exp takes the value alone."""
OTHERS = ("number", "input", "start", "row", "column", "itself", "earlier", "wild")
"""What a value meets: a constant, a second input, the chain's start, a number a row, a number a column, itself, a value
before it, a constant that is no usual number."""
WILD = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-42, 3e38], np.float32)


def strewn(rng: np.random.Generator, shape: tuple[int, ...]) -> Values:
    plain = rng.standard_normal(shape).astype(np.float32)
    odd = np.asarray(rng.choice(WILD, shape))
    payload = (rng.integers(1, 1 << 22, shape, dtype=np.uint32) | np.uint32(0xFF800000)).view(np.float32)
    odd = np.where(np.isnan(odd), payload, odd)
    return np.where(rng.random(shape) < 0.05, odd, plain).astype(np.float32)


def chain(rng: np.random.Generator, shape: tuple[int, int], links: list[tuple[str, str, bool]]) -> onnx.ModelProto:
    """A model of these links one after the other; each of them: operator, what it meets, whether that comes first."""
    constants: list[onnx.TensorProto] = []
    nodes = [helper.make_node("Neg", ["x"], ["v0"])]
    for i, (operator, kind, swapped) in enumerate(links):
        value = f"v{i}"
        fixed = {"number": strewn(rng, ()), "wild": np.asarray(rng.choice(WILD))}
        fixed |= {"row": strewn(rng, (shape[0], 1)), "column": strewn(rng, (shape[1],))}
        if kind in fixed:
            constants.append(numpy_helper.from_array(np.asarray(fixed[kind], np.float32), f"c{i}"))
        names = {"input": "z", "start": "v0", "itself": value, "earlier": f"v{int(rng.integers(0, i + 1))}"}
        other = names.get(kind, f"c{i}")
        operands = [value] if operator == "Exp" else [other, value] if swapped else [value, other]
        nodes.append(helper.make_node(operator, operands, [f"v{i + 1}"]))
    nodes.append(helper.make_node("Transpose", [f"v{len(links)}"], ["y"]))
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xz"]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape[::-1])]
    graph = helper.make_graph(nodes, "chain", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


LINKS = st.lists(st.tuples(st.sampled_from(OPERATORS), st.sampled_from(OTHERS), st.booleans()), min_size=1, max_size=24)


@settings(max_examples=60, deadline=None)
@given(links=LINKS, rows=st.integers(1, 5), columns=st.integers(1, 2_500), seed=st.integers(0, 2**32 - 1))
def test_random_chains_are_made_as_step_by_step(
    links: list[tuple[str, str, bool]], rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    made = compile_model(chain(rng, (rows, columns), links))
    arrays = named(made, 1)
    assert_same(made, {name: strewn(rng, array.shape) for name, array in arrays.items()})


@pytest.mark.parametrize("last", [1, 31, 33, 70, 3000])
@pytest.mark.parametrize("seed", range(4))
def test_operands_that_repeat(last: int, seed: int) -> None:
    """Numbers for every image, channel, line or place of a row, alone or together, meet their own elements."""
    rng = np.random.default_rng([seed, last])
    shape = (2, 3, int(rng.integers(1, 5)), last)
    nodes = [helper.make_node("Neg", ["x"], ["v0"])]
    constants: list[onnx.TensorProto] = []
    for i in range(12):
        kept = rng.random(4) < 0.5
        sizes = tuple(size if keep else 1 for size, keep in zip(shape, kept, strict=True))
        constants.append(numpy_helper.from_array(strewn(rng, sizes), f"c{i}"))
        names = [f"v{i}", f"c{i}"] if rng.random() < 0.5 else [f"c{i}", f"v{i}"]
        operator = str(rng.choice(OPERATORS))
        nodes.append(helper.make_node(operator, [f"v{i}"] if operator == "Exp" else names, [f"v{i + 1}"]))
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "v12")]
    graph = helper.make_graph(nodes, "repeating", value[:1], value[1:], constants)
    made = compile_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10))
    assert_same(made, {"x": strewn(rng, shape)})


DIVISORS = np.array([3.0, -0.7, 1e-9, -1e-31, 1e31, 2.0**-30, 2.0**30, 0.0, -0.0, np.inf, np.nan, 1e-42], np.float32)


@pytest.mark.parametrize("columns", [1, 33, 100, 1024, 1025, 5000])
@pytest.mark.parametrize("operator", ["Sub", "Div", "Mul"])
def test_rows_that_each_meet_a_number(operator: str, columns: int) -> None:
    """As behind a reduction: a step alone, and one followed by the exponential function."""
    rng = np.random.default_rng(columns)
    for follows in (False, True):
        graph = Graph()
        x, y = graph.input("x", [len(DIVISORS), columns]), graph.input("y", [len(DIVISORS), 1])
        found = graph.node(operator, x, y)
        made = compile_model(graph.model([graph.node("Exp", found) if follows else found]))
        assert_same(made, {"x": strewn(rng, (len(DIVISORS), columns)), "y": DIVISORS.reshape(-1, 1)})


@pytest.mark.parametrize("operator", ["HardSwish", "HardSigmoid"])
def test_clamped_functions_behind_a_convolution(operator: str) -> None:
    rng = np.random.default_rng(4)
    weights = numpy_helper.from_array(strewn(rng, (6, 6, 3, 3)), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"], pads=[1] * 4), helper.make_node(operator, ["h"], ["y"])]
    shape = [2, 6, 33, 31]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "clamped", value[:1], value[1:], [weights])
    made = compile_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10))
    assert_same(made, {"x": strewn(rng, (2, 6, 33, 31))})
