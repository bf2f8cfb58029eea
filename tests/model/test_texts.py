"""Texts are numbers of a table that the program tells; n-grams of tokens are counted as ONNX Runtime counts them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model import elements
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import UnsupportedOp, UnsupportedType
from opml_dispute.model.tensor import Array
from tests.onnx.backend import as_numbers, texts_of
from tests.onnx.in_vm import InVm

RNG = np.random.default_rng(8)


def model_of(node: onnx.NodeProto, given: tuple[int, list[int]], made: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node], "texts", [helper.make_tensor_value_info("x", *given)], [helper.make_tensor_value_info("y", made, None)]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def table(program: Program) -> list[str]:
    (note,) = [note for note in program.notes if note.startswith(elements.TEXT_NOTE)]
    found: list[str] = json.loads(note.removeprefix(elements.TEXT_NOTE))
    return found


def run(program: Program, x: Array) -> Array:
    return Inference(program, {"x": x}).outputs()["y"]


def test_a_program_tells_the_texts_that_its_outputs_stand_for() -> None:
    node = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_int64s=[3, 5, 9], values_strings=["a", "ü", "a"]
    )
    program = compile_model(model_of(node, (TensorProto.INT64, [4]), TensorProto.STRING))
    found = run(program, np.array([9, 5, 3, 4]))
    assert [table(program)[i] for i in found] == ["a", "ü", "a", "_Unused"]


def test_an_input_takes_the_numbers_of_texts() -> None:
    """Any other number is a text that the model does not know."""
    node = helper.make_node("OneHotEncoder", ["x"], ["y"], domain="ai.onnx.ml", cats_strings=["red", "blue"])
    program = compile_model(model_of(node, (TensorProto.STRING, [3]), TensorProto.FLOAT))
    assert table(program) == ["red", "blue"]
    assert run(program, np.array([1, 0, 7])).tolist() == [[0, 1], [1, 0], [0, 0]]


def test_a_fixed_input_takes_numbers_of_texts_and_no_texts() -> None:
    """A text of digits would be taken for a number of the table."""
    node = helper.make_node("OneHotEncoder", ["x"], ["y"], domain="ai.onnx.ml", cats_strings=["0", "1"])
    model = model_of(node, (TensorProto.STRING, [2]), TensorProto.FLOAT)
    program = compile_model(model, constants={"x": np.array([1, 0])})
    assert Inference(program, {}).outputs()["y"].tolist() == [[0, 1], [1, 0]]
    for texts in (np.array(["1", "0"], object), np.array(["a", "b"]), np.array([b"1", b"0"])):
        with pytest.raises(UnsupportedType, match="a fixed value of text"):
            compile_model(model, constants={"x": texts})


def test_keys_of_text_for_numbers_are_refused() -> None:
    node = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["a"], values_int64s=[1]
    )  # fmt: skip
    with pytest.raises(UnsupportedOp, match="keys that are text"):
        compile_model(model_of(node, (TensorProto.INT64, [4]), TensorProto.INT64))


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("least", "most", "skips"), [(1, 1, 0), (1, 2, 0), (2, 2, 3), (1, 3, 2), (2, 3, 5)])
@pytest.mark.parametrize("shape", [[12], [3, 9], [2, 1]])
def test_ngrams_are_counted_as_onnx_runtime_does(
    mode: str, least: int, most: int, skips: int, shape: list[int]
) -> None:
    pool = [1, 2, 3, 1, 2, 2, 3, 3, 3, 1, 2, 3, 4, 4, 4]
    options: dict[str, Any] = {"ngram_counts": [0, 3, 9], "ngram_indexes": [1, 0, 2, 4, 3, 5, 7, 6]}
    node = helper.make_node(
        "TfIdfVectorizer", ["x"], ["y"], mode=mode, min_gram_length=least, max_gram_length=most, max_skip_count=skips,
        pool_int64s=pool, weights=[0.5, 2.0, 1.5, 3.0, 0.25, 4.0, 1.25, 8.0], **options,
    )  # fmt: skip
    model = model_of(node, (TensorProto.INT64, shape), TensorProto.FLOAT)
    x = RNG.integers(0, 5, shape)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(run(compile_model(model), x), wanted)


@pytest.mark.parametrize("mode", ["TF", "TFIDF"])
def test_ngrams_that_share_a_place_count_with_their_own_weights(mode: str) -> None:
    node = ngrams_at([0, 1, 0], mode)
    x = np.array([1, 1, 2, 3, 1, 2])
    model = model_of(node, (TensorProto.INT64, [6]), TensorProto.FLOAT)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(run(compile_model(model), x), wanted)


def test_a_shared_place_whose_weight_is_not_said_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match="share a place in mode IDF"):
        compile_model(model_of(ngrams_at([0, 1, 0], "IDF"), (TensorProto.INT64, [6]), TensorProto.FLOAT))


def ngrams_at(places: list[int], mode: str) -> onnx.NodeProto:
    return helper.make_node(
        "TfIdfVectorizer", ["x"], ["y"], mode=mode, min_gram_length=1, max_gram_length=1, max_skip_count=0,
        pool_int64s=[1, 2, 3], ngram_counts=[0], ngram_indexes=places, weights=[0.5, 2.0, 3.0],
    )  # fmt: skip


def test_of_categories_named_twice_the_last_one_is_taken() -> None:
    """As ONNX Runtime does, of integers and of texts."""
    for kind, x, named in (
        (TensorProto.INT64, np.array([1, 2, 3]), {"cats_int64s": [1, 2, 1]}),
        (TensorProto.STRING, np.array(["", "ü", "c"], object), {"cats_strings": ["", "ü", ""]}),
    ):
        node = helper.make_node("OneHotEncoder", ["x"], ["y"], domain="ai.onnx.ml", **named)
        model = model_of(node, (kind, [3]), TensorProto.FLOAT)
        program = compile_model(model)
        wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
        numbers = as_numbers(texts_of(program), x) if kind == TensorProto.STRING else x
        np.testing.assert_array_equal(run(program, numbers), wanted)


def test_the_vm_counts_the_same_ngrams_as_the_engine() -> None:
    node = helper.make_node(
        "TfIdfVectorizer", ["x"], ["y"], mode="TF", min_gram_length=1, max_gram_length=2, max_skip_count=1,
        pool_int64s=[1, 2, 2, 1], ngram_counts=[0, 2], ngram_indexes=[0, 1, 2],
    )  # fmt: skip
    in_vm = InVm()
    in_vm(
        compile_model(model_of(node, (TensorProto.INT64, [6]), TensorProto.FLOAT)), {"x": np.array([1, 2, 1, 2, 2, 1])}
    )
    assert in_vm.outcome == "equal"
