"""Files that say two things of one tensor are refused: what they mean depends on the reader."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import InvalidModel, ModelError

FLOATS = TensorProto.FLOAT
ONES = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("kind", "shape", "fits"),
    [
        (FLOATS, [3], True),
        (FLOATS, ["n"], True),
        (FLOATS, [2, 3], False),
        (FLOATS, [4], False),
        (FLOATS, [], False),
        (TensorProto.INT64, [3], False),
        (TensorProto.DOUBLE, ["n"], False),
    ],
)
def test_an_initializer_among_the_inputs_is_as_declared_there(kind: int, shape: list[int | str], fits: bool) -> None:
    """Files of the third version of ONNX's format list every initializer so."""
    inputs = [helper.make_tensor_value_info("x", FLOATS, [2, 3]), helper.make_tensor_value_info("w", kind, shape)]
    outputs = [helper.make_tensor_value_info("y", FLOATS, None)]
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "test", inputs, outputs, [numpy_helper.from_array(ONES, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if fits:
        compile_model(model)
        return
    with pytest.raises(InvalidModel, match="constant 'w' is FLOAT of shape"):
        compile_model(model)


def _branch(constant: float, name: str) -> onnx.GraphProto:
    """A graph that takes the cosine of a constant of its own."""
    values = numpy_helper.from_array(ONES * np.float32(constant), name)
    out = helper.make_tensor_value_info("q", FLOATS, None)
    return helper.make_graph([helper.make_node("Cos", [name], ["q"])], "branch", [], [out], [values])


def _choice(inner: str, value: float) -> onnx.ModelProto:
    """An `If` whose branches have a constant `inner`; around them are an input x and a constant w of ones."""
    inputs = [helper.make_tensor_value_info("x", FLOATS, [3]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    choice = helper.make_node("If", ["c"], ["y"], then_branch=_branch(value, inner), else_branch=_branch(value, inner))
    graph = helper.make_graph(
        [choice, helper.make_node("Add", ["x", "w"], ["z"])], "test", inputs,
        [helper.make_tensor_value_info(name, FLOATS, None) for name in ("y", "z")],
        [numpy_helper.from_array(ONES, "w")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("inner", "value"), [("x", 5.0), ("w", 5.0)])
def test_a_constant_of_a_branch_does_not_hide_another_tensor(inner: str, value: float) -> None:
    with pytest.raises(ModelError, match=f"tensor '{inner}' is a constant of a graph inside of one that has another"):
        compile_model(_choice(inner, value))


@pytest.mark.parametrize(("inner", "value"), [("own", 5.0), ("w", 1.0)])
def test_a_constant_of_a_branch_may_be_the_same_as_one_around_it(inner: str, value: float) -> None:
    """As where exporters wrote the weights into each branch."""
    feeds = {"x": ONES, "c": np.array(True)}
    got = Inference(compile_model(_choice(inner, value)), feeds).outputs()
    np.testing.assert_allclose(got["y"], np.cos(ONES * value), rtol=1e-6)
