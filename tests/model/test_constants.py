"""Constants in all the ways that ONNX has: sparse ones, texts, ones that are inputs as well, unreadable ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model import onnx_file
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.elements import TEXT_NOTE
from opml_dispute.model.graph_ends import graph_ends
from opml_dispute.model.refusals import ModelError
from opml_dispute.model.survey import survey
from tests.model.graphs import Array, Graph, parsed

X = np.array([1, -2, 3], np.float32)


def sparse(values: TensorProto, indices: Sequence[int], dims: Sequence[int]) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(
        values, helper.make_tensor("indices", TensorProto.INT64, [len(indices)], indices), dims
    )


def outputs(model: onnx.ModelProto, **inputs: Array) -> list[Array]:
    return list(Inference(compile_model(model), inputs).outputs().values())


def added_to(tensor: onnx.SparseTensorProto, *, also_input: bool = False) -> onnx.ModelProto:
    """x plus a sparse initializer, which may stand among the graph's inputs."""
    graph = Graph()
    x, s = graph.input("x", [3]), tensor.values.name
    if also_input:
        graph.input(s, [3])
    model = graph.model([graph.node("Add", x, s)], opset=19)
    model.graph.sparse_initializer.append(tensor)
    return model


def test_a_sparse_initializer_among_the_inputs_is_no_input(tmp_path: Path) -> None:
    """Its value would be asked for and not be used."""
    two = sparse(helper.make_tensor("s", TensorProto.FLOAT, [2], [5, 6]), [0, 2], [3])
    model = added_to(two, also_input=True)
    program = compile_model(model)
    assert [spec.name for spec in program.inputs] == ["x"]
    (got,) = Inference(program, {"x": X}).outputs().values()
    assert got.tolist() == [6, -2, 9]
    assert not survey(model)
    onnx.save(model, tmp_path / "model.onnx")
    ends = graph_ends(tmp_path / "model.onnx")
    assert ends is not None
    assert ends.inputs == ("x",)


def test_a_sparse_constant_of_a_narrow_type_keeps_it() -> None:
    graph = Graph()
    graph.input("x", [3])
    y = graph.node("Identity", "s")
    model = graph.model([y, graph.node("Neg", "x")], opset=19)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, TensorProto.FLOAT8E4M3FN, [3]))
    values = helper.make_tensor("s", TensorProto.FLOAT8E4M3FN, [2], [5, 6])
    model.graph.sparse_initializer.append(sparse(values, [0, 2], [3]))
    assert outputs(model, x=X)[0].tolist() == [5, 0, 6]


def test_a_constant_may_be_written_as_a_sparse_tensor() -> None:
    graph = Graph()
    x, s = graph.input("x", [3]), graph.node("Constant")
    given = graph.nodes[0].attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR)
    given.sparse_tensor.CopyFrom(sparse(helper.make_tensor("", TensorProto.FLOAT, [2], [5, 6]), [0, 2], [3]))
    (got,) = outputs(graph.model([graph.node("Add", x, s)]), x=X)
    assert got.tolist() == [6, -2, 9]


def test_a_constant_may_be_written_as_a_text_or_several() -> None:
    model = parsed("""
        agraph (float[3] x) => (string[2] s, string t, float[3] y) {
            s = Constant <value_strings = ["a", "b"]> ()
            t = Constant <value_string = "b"> ()
            y = Neg(x)
        }""")
    program = compile_model(model)
    assert f'{TEXT_NOTE}["a", "b"]' in program.notes
    got = Inference(program, {"x": X}).outputs()
    assert (got["s"].tolist(), got["t"].tolist()) == ([0, 1], 1)


@pytest.mark.parametrize("indices", [[0, 7], [0, -4]])
def test_a_sparse_constant_beyond_its_dimensions_is_refused_without_the_checker(
    indices: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files with more weights than ONNX's checker takes are not shown to it."""
    monkeypatch.setattr(onnx_file, "CHECKER_LIMIT_BYTES", 0)
    with pytest.raises(ModelError, match="sparse constant 's' cannot be read"):
        compile_model(added_to(sparse(helper.make_tensor("s", TensorProto.FLOAT, [2], [5, 6]), indices, [3])))


def test_a_constant_of_an_element_type_from_the_future_is_refused() -> None:
    graph = Graph()
    graph.input("x", [3])
    model = graph.model([graph.node("Add", "x", "s")])
    model.graph.initializer.append(TensorProto(name="s", data_type=99, dims=[3], raw_data=bytes(12)))
    with pytest.raises(ModelError, match="'s' has element type 99"):
        compile_model(model)
