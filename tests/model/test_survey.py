"""A survey finds everything that stands in a model's way, and nothing in the way of one that compiles."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import onnx
import pytest
from onnx import TensorProto

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import ModelError, UnboundDimension
from opml_dispute.model.survey import survey
from opml_dispute.models import DIGITS
from tests.model.graphs import Graph
from tests.onnx.backend import cases

EVERY = 9
"""Of ONNX's node cases, each so many-th is surveyed."""


def hopeless() -> onnx.ModelProto:
    """Obstacles one behind the other, beside each other, and behind what nothing is known of."""
    graph = Graph()
    x, y = graph.input("x", ["batch", 4]), graph.input("y", ["batch", "seq"])
    noise = graph.node("RandomNormalLike", x)
    counted = graph.node("Unique", graph.node("Relu", noise))
    coins = graph.node("Bernoulli", graph.node("Sqrt", counted))
    cubes = graph.node("LpNormalization", graph.node("Add", x, x), p=3)
    boxes = graph.node("NonMaxSuppression", y, y)
    return graph.model([coins, cubes, boxes])


def test_every_obstacle_is_found_with_its_reason() -> None:
    found = survey(hopeless(), {"batch": 2, "seq": 3})
    assert [obstacle.op_type for obstacle in found] == [
        "RandomNormalLike",
        "Unique",
        "Bernoulli",
        "LpNormalization",
        "NonMaxSuppression",
    ]
    reasons = {obstacle.op_type: obstacle.reason for obstacle in found}
    assert reasons["LpNormalization"] == "p 3; expected 1 or 2"
    assert reasons["Bernoulli"] == "it draws random numbers, and no seed was named to draw them from"
    assert {obstacle.opset for obstacle in found} == {17}


def test_missing_sizes_come_first_and_all_at_once() -> None:
    """Nothing can be looked at without them."""
    with pytest.raises(UnboundDimension, match=r"'batch' \(of x\.0, y\.0\), 'seq' \(of y\.1\)") as caught:
        survey(hopeless())
    assert "--dim batch=1 --dim seq=1" in str(caught.value.hint)
    with pytest.raises(UnboundDimension, match=r"input 'y' has a dimension \('seq'\)"):
        survey(hopeless(), {"batch": 2})
    with pytest.raises(UnboundDimension) as compiling:
        compile_model(hopeless())
    assert str(compiling.value) == str(caught.value)


def test_nameless_dimensions_are_listed_by_their_place() -> None:
    graph = Graph()
    graph.input("x", [1, 2])
    graph.inputs[0].type.tensor_type.shape.dim[0].Clear()
    graph.inputs[0].type.tensor_type.shape.dim[1].Clear()
    model = graph.model([graph.node("Relu", "x")])
    with pytest.raises(UnboundDimension, match=r"'x\.0' \(nameless\), 'x\.1' \(nameless\)"):
        compile_model(model)
    assert compile_model(model, dims={"x.0": 3, "x.1": 2}).inputs[0].shape == (3, 2)


def test_operators_inside_branches_are_found() -> None:
    """Even where the condition depends on what is not known."""
    inner = Graph()
    inner_model = inner.model([inner.node("RandomNormal", shape=[2])])
    graph = Graph()
    x = graph.input("x", [2])
    seen = graph.node("Unique", graph.node("RandomNormalLike", x))
    condition = graph.node("Cast", graph.node("ReduceMax", seen, keepdims=0), to=TensorProto.BOOL)
    out = graph.node("If", condition, then_branch=inner_model.graph, else_branch=inner_model.graph)
    names = [obstacle.op_type for obstacle in survey(graph.model([out]))]
    assert names == ["RandomNormalLike", "Unique", "RandomNormal", "RandomNormal"]


def test_tensors_of_a_wrong_type_are_obstacles() -> None:
    graph = Graph()
    text = graph.input("text", [2], TensorProto.COMPLEX64)
    graph.input("x", ["batch"])
    model = graph.model([graph.node("StringConcat", text, text), graph.node("Erf", "x")], opset=20)
    found = [(obstacle.op_type, obstacle.name) for obstacle in survey(model)]
    assert found == [("", "text"), ("StringConcat", "stringconcat0")]


def test_nothing_stands_in_the_way_of_the_sample_model() -> None:
    assert survey(DIGITS) == []


def _cases() -> Iterator[tuple[str, onnx.ModelProto]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's own test data overflows on purpose
        for case in list(cases())[::EVERY]:
            if case.kind == "node" and case.model is not None:
                yield case.name, case.model


def _refusal(model: onnx.ModelProto) -> ModelError | None:
    try:
        compile_model(model)
    except ModelError as refusal:
        return refusal
    return None


def _reasons(model: onnx.ModelProto) -> list[str]:
    try:
        return [obstacle.reason for obstacle in survey(model)]
    except ModelError as refusal:
        return [str(refusal)]


def test_a_survey_finds_what_the_compiler_refuses_and_no_more() -> None:
    """Over a sample of ONNX's conformance cases."""
    refused = 0
    for name, model in _cases():
        refusal, reasons = _refusal(model), _reasons(model)
        refused += refusal is not None
        assert bool(reasons) == (refusal is not None), name
        assert refusal is None or any(reason in str(refusal) for reason in reasons), name
    assert refused > 20


def test_an_obstacle_hides_no_other() -> None:
    """Two operators that cannot be expressed, in either order."""
    for order in (("Bernoulli", "RandomUniformLike"), ("RandomUniformLike", "Bernoulli")):
        graph, value = Graph(), "x"
        graph.input("x", [4])
        for op_type in order:
            value = graph.node(op_type, value)
        assert [obstacle.op_type for obstacle in survey(graph.model([value]))] == list(order)
