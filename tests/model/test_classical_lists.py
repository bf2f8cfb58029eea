"""
Lists of operators of ai.onnx.ml that contradict one another, or the input, are refused.

Numbers beyond those that a model needs, or a list of one that is used for all, would make another model of it. And
what a tree's leaves leave open is as in ONNX Runtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import UnsupportedOp
from opml_dispute.model.tensor import Array
from tests.model.graphs import Graph

STUMP: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_featureids": [0, 0, 0],
    "nodes_values": [0.5, 0.0, 0.0],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0],
}
TWO_LEAVES: dict[str, Any] = {"target_treeids": [0, 0], "target_nodeids": [1, 2], "target_weights": [-1.5, 2.5]}


def ensemble(mode: int = 0, **changed: Any) -> dict[str, Any]:
    """One node and two leaves, as `TreeEnsemble` has them."""
    modes, splits = np.array([mode], np.uint8), np.array([0.5], np.float32)
    attributes: dict[str, Any] = {
        "nodes_modes": numpy_helper.from_array(modes), "nodes_splits": numpy_helper.from_array(splits),
        "nodes_featureids": [0], "nodes_truenodeids": [0], "nodes_trueleafs": [1], "nodes_falsenodeids": [1],
        "nodes_falseleafs": [1], "leaf_targetids": [0, 0], "tree_roots": [0], "n_targets": 1,
        "leaf_weights": numpy_helper.from_array(np.array([1, 2], np.float32)),
    }  # fmt: skip
    return attributes | changed


def numbers(*values: float) -> Any:
    return numpy_helper.from_array(np.array(values, np.float32))


NAN = float("nan")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "more coefficients": ("LinearRegressor", {"coefficients": [1.0] * 8, "targets": 1}),
    "fewer coefficients": ("LinearRegressor", {"coefficients": [1.0] * 4, "targets": 2}),
    "one intercept for two": ("LinearRegressor", {"coefficients": [1.0] * 8, "targets": 2, "intercepts": [1.0]}),
    "two intercepts for one": ("LinearRegressor", {"coefficients": [1.0] * 4, "targets": 1, "intercepts": [1.0, 2.0]}),
    "one score for three classes": ("LinearClassifier", {"coefficients": [1.0] * 4, "classlabels_ints": [1, 2, 3]}),
    "three scores for two classes": ("LinearClassifier", {"coefficients": [1.0] * 12, "classlabels_ints": [1, 2]}),
    "one intercept for three": (
        "LinearClassifier", {"coefficients": [1.0] * 12, "classlabels_ints": [1, 2, 3], "intercepts": [1.0]},
    ),
    "more offsets than features": ("Scaler", {"offset": [1.0] * 5, "scale": [1.0]}),
    "two scales": ("Scaler", {"offset": [1.0], "scale": [1.0, 2.0]}),
    "two imputed values": ("Imputer", {"imputed_value_floats": [1.0, 2.0]}),
    "fewer widths than inputs": ("FeatureVectorizer", {"inputdimensions": [4]}),
    "more widths than inputs": ("FeatureVectorizer", {"inputdimensions": [4, 4, 4, 4]}),
    "more values than keys": ("LabelEncoder", {"keys_floats": [0.0, 1.0], "values_int64s": [7, 8, 9]}),
    "fewer values than keys": ("LabelEncoder", {"keys_floats": [0.0, 1.0], "values_int64s": [7]}),
    "two numbers of rho": ("SVMRegressor", {"coefficients": [1.0] * 4, "rho": [1.0, 2.0]}),
    "rho of more pairs": (
        "SVMClassifier",
        {"coefficients": [1.0, 2.0], "rho": [1.0, 2.0], "support_vectors": [1.0] * 8, "vectors_per_class": [1, 1],
         "classlabels_ints": [0, 1]},
    ),
    "bases of more targets": (
        "TreeEnsembleRegressor", {**STUMP, **TWO_LEAVES, "target_ids": [0, 0], "base_values": [1.0, 2.0]},
    ),
    "one base for two targets": (
        "TreeEnsembleRegressor",
        {**STUMP, **TWO_LEAVES, "target_ids": [0, 1], "n_targets": 2, "base_values": [1.0]},
    ),
    "a mode that is none": ("TreeEnsemble", ensemble(7)),
    "an aggregation that is none": ("TreeEnsemble", ensemble(aggregate_function=-1)),
    "a transform that is none": ("TreeEnsemble", ensemble(post_transform=-1)),
    "no members": ("TreeEnsemble", ensemble(6)),
    "members of nobody": ("TreeEnsemble", ensemble(0, membership_values=numbers(1, NAN))),
    "two sets for one node": ("TreeEnsemble", ensemble(6, membership_values=numbers(1, NAN, 2, NAN))),
    "an empty set": ("TreeEnsemble", ensemble(6, membership_values=numbers(NAN))),
}  # fmt: skip


def model(op_type: str, attributes: dict[str, Any], x: Array, version: int) -> Any:
    graph = Graph()
    graph.input("x", x.shape, helper.np_dtype_to_tensor_dtype(x.dtype))
    outputs = 2 if op_type.endswith("Classifier") else 1
    inputs = ["x"] * 3 if op_type == "FeatureVectorizer" else ["x"]
    y = graph.node(op_type, *inputs, domain="ai.onnx.ml", outputs=outputs, **attributes)
    return graph.model([y], opset=18, domains={"ai.onnx.ml": version})


@pytest.mark.parametrize("name", CASES)
def test_lists_of_lengths_that_do_not_fit_are_refused(name: str) -> None:
    op_type, attributes = CASES[name]
    x = np.ones((3, 4), np.float32)
    with pytest.raises(UnsupportedOp):
        compile_model(model(op_type, attributes, x, 5 if op_type == "TreeEnsemble" else 3))


@pytest.mark.parametrize("function", ["MIN", "MAX"])
def test_the_extreme_of_no_weights_is_0(function: str) -> None:
    """Each leaf has a weight for one of three targets, and none has one for the last."""
    attributes = {**STUMP, **TWO_LEAVES, "target_ids": [0, 1], "n_targets": 3, "aggregate_function": function}
    x = np.array([[0], [1]], np.float32)
    made = model("TreeEnsembleRegressor", attributes, x, 3)
    (expected,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    (got,) = Inference(compile_model(made), {"x": x}).outputs().values()
    assert got.tolist() == expected.tolist() == [[-1.5, 0, 0], [0, 2.5, 0]]


def test_a_member_of_a_set_goes_the_true_way() -> None:
    x = np.array([[0.5], [1], [3]], np.float32)
    made = model("TreeEnsemble", ensemble(6, membership_values=numbers(1, 3, NAN)), x, 5)
    (expected,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    (got,) = Inference(compile_model(made), {"x": x}).outputs().values()
    assert got.tolist() == expected.tolist() == [[2], [1], [1]]


@pytest.mark.parametrize(("function", "expected"), [(2, [[5, 0, 0], [0, 7, 0]]), (3, [[5, 0, 0], [0, 7, 0]])])
def test_extremes_over_binary64_compare_with_the_exact_threshold(function: int, expected: list[list[int]]) -> None:
    """0.1 is the threshold, and greater than it in binary32."""
    changed = {
        "nodes_splits": numpy_helper.from_array(np.array([0.1])), "n_targets": 3, "leaf_targetids": [0, 1],
        "leaf_weights": numpy_helper.from_array(np.array([5.0, 7.0])), "aggregate_function": function,
    }  # fmt: skip
    x = np.array([[0.1], [np.nextafter(0.1, 1)]])
    made = model("TreeEnsemble", ensemble(0, **changed), x, 5)
    (reference,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    (got,) = Inference(compile_model(made), {"x": x}).outputs().values()
    assert got.tolist() == reference.tolist() == expected


@pytest.mark.parametrize(
    "changed",
    [
        {"nodes_truenodeids": [2]},
        {"nodes_falsenodeids": [-1]},
        {"nodes_falseleafs": [2]},
        {"nodes_trueleafs": [0], "nodes_truenodeids": [1]},
        {"leaf_targetids": [0, 1]},
        {"leaf_targetids": [0, -1]},
        {"n_targets": 0},
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_children_and_targets_that_there_are_not_are_refused(changed: dict[str, Any], dtype: type) -> None:
    weights = {
        "nodes_splits": numpy_helper.from_array(np.array([0.5], dtype)),
        "leaf_weights": numpy_helper.from_array(np.array([1, 2], dtype)),
    }
    with pytest.raises(UnsupportedOp):
        compile_model(model("TreeEnsemble", ensemble(0, **weights, **changed), np.ones((2, 1), dtype), 5))


def test_features_are_rows_where_the_operator_says_so() -> None:
    with pytest.raises(UnsupportedOp):
        compile_model(model("TreeEnsemble", ensemble(), np.ones(4, np.float32), 5))
