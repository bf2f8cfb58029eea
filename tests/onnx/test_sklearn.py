"""
scikit-learn's estimators, through skl2onnx: the same predictions as scikit-learn's own and ONNX Runtime's.

Labels and classes must be equal; numbers may differ as binary32 does from the binary64 that scikit-learn computes in.
One of each family runs in the VM as well, node by node. Rows that are predicted were not learnt from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from skl2onnx import to_onnx
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification, make_regression
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingRegressor,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, RadiusNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC, NuSVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from opml_dispute.model.compiler import compile_model
from tests.onnx.backend import Array, native
from tests.onnx.in_vm import InVm

FEATURES, ROWS, LEARNT = 6, 100, 70
"""Of the made-up data; rows from `LEARNT` on are predicted."""

VM_ROWS = 2


@dataclass(frozen=True)
class Data:
    """What an estimator learns from, and what it is asked about."""

    x: Array
    y: Array


def _classes(count: int) -> Data:
    x, y = make_classification(ROWS, FEATURES, n_informative=4, n_redundant=0, n_classes=count, random_state=0)
    return Data(x.astype(np.float32), y)


def _numbers(targets: int) -> Data:
    x, y = make_regression(ROWS, FEATURES, n_targets=targets, noise=0.1, random_state=0)
    return Data(x.astype(np.float32), y / 100)


def _counts() -> Data:
    data = _classes(3)
    return Data(np.floor(np.abs(3 * data.x)).clip(0, 5).astype(np.float32), data.y)


def _positive() -> Data:
    data = _numbers(1)
    return Data(data.x, np.exp(data.y / 2))


TWO, THREE, REAL, PAIRS, COUNTS, POSITIVE = _classes(2), _classes(3), _numbers(1), _numbers(2), _counts(), _positive()


@dataclass(frozen=True)
class Family:
    """Estimators of one kind; the first of them also runs in the VM."""

    members: Mapping[str, tuple[Callable[[], Any], Data]]


_R: dict[str, Any] = {"random_state": 0}
FAMILIES: Mapping[str, Family] = {
    "trees": Family(
        {
            "DecisionTreeClassifier": (lambda: DecisionTreeClassifier(max_depth=6, **_R), THREE),
            "DecisionTreeClassifier, two classes": (lambda: DecisionTreeClassifier(max_depth=6, **_R), TWO),
            "DecisionTreeRegressor": (lambda: DecisionTreeRegressor(max_depth=6, **_R), REAL),
            "DecisionTreeRegressor, two targets": (lambda: DecisionTreeRegressor(max_depth=6, **_R), PAIRS),
            "ExtraTreeClassifier": (lambda: ExtraTreeClassifier(max_depth=6, **_R), THREE),
            "ExtraTreeRegressor": (lambda: ExtraTreeRegressor(max_depth=6, **_R), REAL),
        }
    ),
    "forests": Family(
        {
            "RandomForestClassifier": (lambda: RandomForestClassifier(12, **_R), THREE),
            "RandomForestClassifier, two classes": (lambda: RandomForestClassifier(12, **_R), TWO),
            "RandomForestRegressor": (lambda: RandomForestRegressor(12, **_R), REAL),
            "RandomForestRegressor, two targets": (lambda: RandomForestRegressor(12, **_R), PAIRS),
            "ExtraTreesClassifier": (lambda: ExtraTreesClassifier(12, **_R), THREE),
            "ExtraTreesRegressor": (lambda: ExtraTreesRegressor(12, **_R), REAL),
            "IsolationForest": (lambda: IsolationForest(n_estimators=5, **_R), THREE),
        }
    ),
    "boosting": Family(
        {
            "GradientBoostingClassifier": (lambda: GradientBoostingClassifier(n_estimators=10, **_R), THREE),
            "GradientBoostingClassifier, two classes": (lambda: GradientBoostingClassifier(n_estimators=10, **_R), TWO),
            "GradientBoostingRegressor": (lambda: GradientBoostingRegressor(n_estimators=10, **_R), REAL),
            "AdaBoostClassifier": (lambda: AdaBoostClassifier(n_estimators=5, **_R), THREE),
            "AdaBoostRegressor": (lambda: AdaBoostRegressor(n_estimators=5, **_R), REAL),
        }
    ),
    "ensembles": Family(
        {
            "BaggingClassifier": (lambda: BaggingClassifier(n_estimators=4, **_R), THREE),
            "BaggingRegressor": (lambda: BaggingRegressor(n_estimators=4, **_R), REAL),
            "StackingRegressor": (
                lambda: StackingRegressor([("a", Ridge()), ("b", DecisionTreeRegressor(max_depth=4, **_R))]),
                REAL,
            ),
            "OneVsRestClassifier": (lambda: OneVsRestClassifier(LogisticRegression()), THREE),
            "CalibratedClassifierCV": (lambda: CalibratedClassifierCV(LogisticRegression(), cv=2), THREE),
        }
    ),
    "linear": Family(
        {
            "LogisticRegression": (lambda: LogisticRegression(), THREE),
            "LogisticRegression, two classes": (lambda: LogisticRegression(), TWO),
            "LinearRegression": (lambda: LinearRegression(), REAL),
            "LinearRegression, two targets": (lambda: LinearRegression(), PAIRS),
            "Ridge": (lambda: Ridge(), REAL),
            "RidgeClassifier": (lambda: RidgeClassifier(), THREE),
            "Lasso": (lambda: Lasso(alpha=0.01), REAL),
            "ElasticNet": (lambda: ElasticNet(alpha=0.01), REAL),
            "BayesianRidge": (lambda: BayesianRidge(), REAL),
            "HuberRegressor": (lambda: HuberRegressor(max_iter=1000), REAL),
            "PoissonRegressor": (lambda: PoissonRegressor(), POSITIVE),
            "SGDClassifier": (lambda: SGDClassifier(**_R), THREE),
            "SGDRegressor": (lambda: SGDRegressor(**_R), REAL),
            "Perceptron": (lambda: Perceptron(**_R), THREE),
            "LinearDiscriminantAnalysis": (lambda: LinearDiscriminantAnalysis(), THREE),
            "QuadraticDiscriminantAnalysis": (lambda: QuadraticDiscriminantAnalysis(reg_param=0.1), THREE),
        }
    ),
    "support vectors": Family(
        {
            "SVC": (lambda: SVC(), THREE),
            "SVC, two classes": (lambda: SVC(), TWO),
            "SVC, linear": (lambda: SVC(kernel="linear"), THREE),
            "SVC, polynomial": (lambda: SVC(kernel="poly"), THREE),
            "SVC, sigmoid": (lambda: SVC(kernel="sigmoid"), THREE),
            "SVC with probabilities": (lambda: SVC(probability=True, **_R), THREE),
            "SVC with probabilities, two classes": (lambda: SVC(probability=True, **_R), TWO),
            "NuSVC": (lambda: NuSVC(), TWO),
            "SVR": (lambda: SVR(), REAL),
            "NuSVR": (lambda: NuSVR(), REAL),
            "LinearSVC": (lambda: LinearSVC(), THREE),
            "LinearSVR": (lambda: LinearSVR(), REAL),
            "OneClassSVM": (lambda: OneClassSVM(), THREE),
        }
    ),
    "neighbours": Family(
        {
            "KNeighborsClassifier": (lambda: KNeighborsClassifier(3), THREE),
            "KNeighborsRegressor": (lambda: KNeighborsRegressor(3), REAL),
            "RadiusNeighborsRegressor": (lambda: RadiusNeighborsRegressor(radius=10), REAL),
        }
    ),
    "naive Bayes": Family(
        {
            "GaussianNB": (lambda: GaussianNB(), THREE),
            "BernoulliNB": (lambda: BernoulliNB(), THREE),
            "MultinomialNB": (lambda: MultinomialNB(), COUNTS),
            "ComplementNB": (lambda: ComplementNB(), COUNTS),
            "CategoricalNB": (lambda: CategoricalNB(min_categories=6), COUNTS),
        }
    ),
    "neural networks": Family(
        {
            "MLPClassifier": (lambda: MLPClassifier((12,), max_iter=60, **_R), THREE),
            "MLPClassifier, two classes": (lambda: MLPClassifier((12,), activation="tanh", max_iter=60, **_R), TWO),
            "MLPRegressor": (lambda: MLPRegressor(hidden_layer_sizes=(12, 8), max_iter=60, **_R), REAL),
        }
    ),
    "others": Family(
        {
            "KMeans": (lambda: KMeans(3, **_R), THREE),
            "PCA": (lambda: PCA(3), THREE),
            "GaussianProcessRegressor": (lambda: GaussianProcessRegressor(alpha=1.0), REAL),
        }
    ),
    "pipelines": Family(
        {
            "StandardScaler": (lambda: make_pipeline(StandardScaler(), LogisticRegression()), THREE),
            "MinMaxScaler": (lambda: make_pipeline(MinMaxScaler(), SVC()), THREE),
            "Normalizer": (lambda: make_pipeline(Normalizer(), KNeighborsClassifier(3)), THREE),
            "RobustScaler": (lambda: make_pipeline(RobustScaler(), Ridge()), REAL),
            "MaxAbsScaler": (lambda: make_pipeline(MaxAbsScaler(), Ridge()), REAL),
            "OneHotEncoder": (
                lambda: make_pipeline(
                    make_column_transformer(
                        (OneHotEncoder(handle_unknown="ignore"), [0, 1, 2]), remainder=MinMaxScaler()
                    ),
                    LogisticRegression(),
                ),
                COUNTS,
            ),
            "PolynomialFeatures": (lambda: make_pipeline(PolynomialFeatures(2), Ridge()), REAL),
            "SimpleImputer": (lambda: make_pipeline(SimpleImputer(), LogisticRegression()), THREE),
            "PCA": (lambda: make_pipeline(PCA(4), RandomForestClassifier(5, **_R)), THREE),
            "PowerTransformer": (lambda: make_pipeline(PowerTransformer(), Ridge()), REAL),
            "QuantileTransformer": (lambda: make_pipeline(QuantileTransformer(n_quantiles=20), Ridge()), REAL),
            "Binarizer": (lambda: make_pipeline(Binarizer(), BernoulliNB()), THREE),
        }
    ),
}
MEMBERS = [(family, member) for family, members in FAMILIES.items() for member in members.members]


@dataclass(frozen=True)
class Learnt:
    """An estimator that has learnt, and its ONNX model."""

    estimator: Any
    model: onnx.ModelProto
    rows: Array
    """What it is asked about."""


def _learnt(family: str, member: str) -> Learnt:
    make, data = FAMILIES[family].members[member]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few rounds, so some have not converged: what they say counts all the same
        estimator = make().fit(data.x[:LEARNT], data.y[:LEARNT])
        # Most classifiers would end in a ZipMap, a list of maps, which is not a tensor.
        maps = is_classifier(estimator) and not isinstance(estimator, LinearSVC)
        options = {id(estimator): {"zipmap": False}} if maps else None
        model = to_onnx(estimator, data.x[:1], options=options, target_opset={"": 18, "ai.onnx.ml": 3})
    return Learnt(estimator, model, data.x[LEARNT:])


def _same(got: Array, expected: Array, what: str) -> None:
    """Equal labels; close numbers."""
    if np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_allclose(got, expected.reshape(got.shape), rtol=2e-5, atol=2e-5, err_msg=what)
    else:
        np.testing.assert_array_equal(got, expected.reshape(got.shape), err_msg=what)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "member"), MEMBERS)
def test_predictions_are_scikit_learns_and_onnx_runtimes(family: str, member: str) -> None:
    learnt = _learnt(family, member)
    (name,) = (value.name for value in learnt.model.graph.input)
    program = compile_model(learnt.model, dims={f"{name}.0": len(learnt.rows)})
    got = native(program, {name: learnt.rows})
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(learnt.model.SerializeToString(), options)
    for spec, expected in zip(program.outputs, session.run(None, {name: learnt.rows}), strict=True):
        assert got[spec.name].dtype == expected.dtype
        _same(got[spec.name], expected, f"{spec.name}, ONNX Runtime")
    first, *others = (got[spec.name] for spec in program.outputs)
    answer = learnt.estimator.predict if hasattr(learnt.estimator, "predict") else learnt.estimator.transform
    _same(first, np.asarray(answer(learnt.rows)), "scikit-learn")
    if others and hasattr(learnt.estimator, "predict_proba"):
        _same(others[0], learnt.estimator.predict_proba(learnt.rows), "scikit-learn's probabilities")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_one_of_each_family_runs_in_the_vm(family: str) -> None:
    """The guest comes to the native state after every node, within its bound of steps."""
    member = next(iter(FAMILIES[family].members))
    learnt = _learnt(family, member)
    (name,) = (value.name for value in learnt.model.graph.input)
    program = compile_model(learnt.model, dims={f"{name}.0": VM_ROWS})
    in_vm = InVm()
    in_vm(program, {name: learnt.rows[:VM_ROWS]})
    assert in_vm.outcome == "equal", f"{in_vm.outcome} after {in_vm.steps:,} steps"
