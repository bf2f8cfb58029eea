"""Models of scikit-learn, exported to ONNX, answer as in ONNX Runtime."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
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
from opml_dispute.model.refusals import UnsupportedOp
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


def test_a_classifier_that_ends_in_a_map_is_refused_with_a_way_out() -> None:
    x, y = load_iris(return_X_y=True)
    model = to_onnx(LogisticRegression(max_iter=500).fit(x, y), x[:1].astype(np.float32))
    with pytest.raises(UnsupportedOp, match="ZipMap") as caught:
        compile_model(model, dims={f"{model.graph.input[0].name}.0": 1})
    assert "zipmap" in str(caught.value.hint)
