"""Models of scikit-learn, exported to ONNX, answer as in ONNX Runtime."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, Normalizer, RobustScaler, StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeClassifier

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.tensor import Array

CLASSIFIERS: dict[str, Any] = {
    "ada boost": AdaBoostClassifier(n_estimators=3, random_state=1),
    "decision tree": DecisionTreeClassifier(random_state=1),
    "gradient boosting": GradientBoostingClassifier(n_estimators=5, random_state=1),
    "k neighbours": KNeighborsClassifier(3),
    "logistic regression": LogisticRegression(max_iter=500),
    "naive Bayes": GaussianNB(),
    "perceptron": MLPClassifier((8,), max_iter=50, random_state=1),
    "random forest": RandomForestClassifier(5, random_state=1),
    "ridge": RidgeClassifier(),
    "stochastic gradient": SGDClassifier(random_state=1),
}
REGRESSORS: dict[str, Any] = {
    "gradient boosting": GradientBoostingRegressor(n_estimators=5, random_state=1),
    "random forest": RandomForestRegressor(5, random_state=1),
    "scaled": make_pipeline(StandardScaler(), LinearRegression()),
    "support vectors": SVR(),
    "normalised": make_pipeline(Normalizer("l1"), RobustScaler(), Binarizer(), LinearRegression()),
    "clusters": KMeans(3, random_state=1),
}


def _exported(model: Any, x: Array, y: Array) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
        classifies = hasattr(model, "classes_")
        exported: onnx.ModelProto = to_onnx(
            model, x[:1], options={id(model): {"zipmap": False}} if classifies else None
        )
    return exported


def _assert_answers_agree(model: onnx.ModelProto, x: Array) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    name = session.get_inputs()[0].name
    expected = session.run(None, {name: x})
    program = compile_model(model, dims={f"{name}.0": len(x)})
    got = Inference(program, {name: x}).outputs()
    for spec, want in zip(program.outputs, expected, strict=True):
        assert got[spec.name].dtype == want.dtype
        np.testing.assert_allclose(got[spec.name], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gives_the_same_labels_and_scores(name: str, classes: int) -> None:
    x, y = load_iris(return_X_y=True)
    x, y = x[: 50 * classes].astype(np.float32), y[: 50 * classes]
    _assert_answers_agree(_exported(CLASSIFIERS[name], x, y), x[::7])


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_gives_the_same_numbers(name: str) -> None:
    x, y = load_diabetes(return_X_y=True)
    x = x.astype(np.float32)
    _assert_answers_agree(_exported(REGRESSORS[name], x, y), x[::17])


def test_a_classifier_that_ends_in_a_map_gives_the_scores_and_names_their_columns() -> None:
    """What ONNX Runtime gives as a list of maps, here as a tensor, with the labels in the program's notes."""
    x, y = load_iris(return_X_y=True)
    rows = x[:5].astype(np.float32)
    model = to_onnx(LogisticRegression(max_iter=500).fit(x, y), rows)
    assert "ZipMap" in [node.op_type for node in model.graph.node]
    (name,) = [value.name for value in model.graph.input]
    program = compile_model(model, dims={f"{name}.0": 5})
    assert any("whose columns are the classes [0, 1, 2]" in note for note in program.notes)
    scores = list(Inference(program, {name: rows}).outputs().values())[1]
    maps = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {name: rows})[1]
    np.testing.assert_allclose(scores, [[entry[label] for label in range(3)] for entry in maps], rtol=1e-5)


_SPLITS = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


@pytest.mark.parametrize("mode", _SPLITS)
@pytest.mark.parametrize("around", [0.1, -0.1, 1.0, 1e-40, 3.4e38, 0.0])
def test_binary64_thresholds_compare_with_binary32_numbers_exactly(mode: str, around: float) -> None:
    """Also between two neighbours, of which the nearer one would be wrong."""
    near = np.float32(around)
    neighbours = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    low, middle, high = map(float, neighbours)
    inputs = np.array([*neighbours, 0, np.inf, -np.inf], np.float32).reshape(-1, 1)
    compare = [np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal][_SPLITS.index(mode)]
    for threshold in (
        middle,
        middle + (high - middle) / 4,
        high - (high - middle) / 4,
        low + (middle - low) / 4,
        1e300,
    ):
        node = helper.make_node(
            "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, aggregate_function=1, post_transform=0,
            tree_roots=[0], nodes_modes=helper.make_tensor("m", TensorProto.UINT8, [1], [_SPLITS.index(mode)]),
            nodes_featureids=[0], nodes_splits=helper.make_tensor("s", TensorProto.DOUBLE, [1], [threshold]),
            nodes_truenodeids=[0], nodes_trueleafs=[1], nodes_falsenodeids=[1], nodes_falseleafs=[1],
            leaf_targetids=[0, 0], leaf_weights=helper.make_tensor("w", TensorProto.DOUBLE, [2], [1.0, 0.0]),
        )  # fmt: skip
        graph = helper.make_graph(
            [node], "tree", [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(inputs.shape))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(inputs.shape))],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
        program = compile_model(helper.make_model(graph, opset_imports=opsets, ir_version=10))
        (got,) = Inference(program, {"x": inputs}).outputs().values()
        assert got.reshape(-1).tolist() == compare(inputs.reshape(-1).astype(np.float64), threshold).tolist()


@pytest.mark.parametrize("widths", [[3, 2], [2, 3], [4, 2], [1, 5]])
def test_features_are_as_many_as_the_model_says(widths: list[int]) -> None:
    """Of an input with more columns the first are taken, one with fewer is filled up with zeros."""
    node = helper.make_node("FeatureVectorizer", ["x", "z"], ["y"], domain="ai.onnx.ml", inputdimensions=widths)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, n]) for name, n in (("x", 3), ("z", 2))]
    graph = helper.make_graph([node], "test", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    rng = np.random.default_rng(2)
    feeds = {"x": rng.random((2, 3), np.float32), "z": rng.random((2, 2), np.float32)}
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    (got,) = Inference(compile_model(model), feeds).outputs().values()
    assert np.array_equal(got, expected)
