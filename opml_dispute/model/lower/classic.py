"""Classical machine learning (ai.onnx.ml): linear models, encoders, scalers."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

import numpy as np
from onnx import TensorProto

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType, Reduction, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

ML = "ai.onnx.ml"


def post_transformed(g: Builder, scores: Tensor, name: str) -> Tensor:
    """ONNX's last step on scores [N][targets]."""
    if name in ("", "NONE"):
        return scores
    if name == "SOFTMAX":
        return g.softmax(scores, (1,))
    if name == "LOGISTIC":
        return g.sigmoid(scores)
    if name == "SOFTMAX_ZERO":
        # What scored exactly nothing stays at nothing.
        nothing = g.equal(scores, 0)
        powers = g.choose(nothing, 0, g.exp(g.sub(scores, g.reduce_max(scores, (1,)))))
        return g.div(powers, g.maximum(g.reduce_sum(powers, (1,)), 1e-38))
    if name == "PROBIT":
        return g.mul(_inverse_erf(g, g.sub(g.mul(scores, 2), 1)), 1.4142135)
    raise Refuse(f"post_transform {name!r}; expected NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT")


def _inverse_erf(g: Builder, x: Tensor) -> Tensor:
    """Winitzki's approximation of erf's inverse, as ONNX Runtime computes it."""
    log = g.log(g.mul(g.sub(1, x), g.add(x, 1)))
    v = g.add(g.mul(log, 0.5), 2 / (3.14159 * 0.147))
    root = g.sqrt(g.sub(g.square(v), g.mul(log, 1 / 0.147)))
    size = g.sqrt(g.sub(root, v))
    return g.choose(g.less(x, 0), g.negate(size), size)


def numbers_of_labels(g: Builder, integers: Sequence[int] | None, texts: Sequence[str] | None) -> list[int]:
    """The labels of classes, those of text as their numbers. Raises `Refuse` if there are none."""
    labels = list(integers) if integers else g.text_numbers(list(texts or ())).tolist()
    if not labels:
        raise Refuse("no class labels")
    return labels


def as_labels(label: Tensor, texts: Sequence[str] | None) -> Tensor:
    """The same labels, of text if the classes have such names."""
    return label.marked(TensorProto.STRING) if texts else label


def class_labels(g: Builder, scores: Tensor, labels: Sequence[int]) -> Tensor:
    """The label of each row's greatest score, the first of equals."""
    best = g.argreduce(Reduction.MAX, scores, 1)
    return g.take(g.constant(np.array(labels, np.int64)), best, 0)


def two_classes(
    g: Builder, score: Tensor, labels: Sequence[int], transform: str, *, positive: bool
) -> tuple[Tensor, Tensor]:
    """
    One score [N][1] of the second class as two scores, and the label.

    A score made of weights that are all positive is a probability, decided at one half; others are decided at zero.
    """
    second = g.less(g.scalar(0.5 if positive else 0.0, score.dtype), score).without(1)
    score = g.cast(score, DType.F32)
    label = g.select(second, *(g.scalar(labels[i], DType.I64) for i in (1, 0)))
    if positive and transform != "LOGISTIC":
        scores = g.concat([g.sub(1, score), score], 1)
        return label, scores if transform == "NONE" else post_transformed(g, scores, transform)
    scores = g.concat([g.negate(score), score], 1)
    return label, post_transformed(g, scores, transform)


def matrix(g: Builder, x: Tensor) -> Tensor:
    """Rows of features, binary32."""
    x = g.cast(x, DType.F32)
    return x.with_axis(0) if x.rank == 1 else x


def floats(g: Builder, values: Sequence[float]) -> Tensor:
    """A constant vector, binary32."""
    return g.constant(np.array(values, np.float32))


def _linear(
    g: Builder, x: Tensor, coefficients: Sequence[float], intercepts: Sequence[float] | None, scores: int
) -> Tensor:
    """x: [N][features] -> f32[N][scores]. Raises `Refuse` for more or fewer numbers than that takes."""
    x = matrix(g, x)
    shape = (scores, x.shape[1])
    if len(coefficients) != scores * x.shape[1]:
        raise Refuse(f"{len(coefficients)} coefficients; expected {x.shape[1]} for each of {scores}")
    if intercepts and len(intercepts) != scores:
        raise Refuse(f"{len(intercepts)} intercepts; expected {scores}, or none")
    bias = floats(g, intercepts) if intercepts else None
    return g.contract(x, g.reshape(floats(g, coefficients), shape).transposed((1, 0)), bias)


def _for_features(g: Builder, values: Sequence[float], x: Tensor, name: str) -> Tensor:
    """One number for all features, or one for each: binary32. Raises `Refuse` for another number of numbers."""
    if not x.rank or len(values) not in (1, x.shape[-1]):
        raise Refuse(
            f"{name} of {len(values)} numbers for an input of shape {list(x.shape)}; expected 1, or one a feature"
        )
    return floats(g, values)


@lowers("LinearRegressor", domain=ML)
def linear_regressor(
    g: Builder,
    x: Tensor,
    *,
    coefficients: Sequence[float],
    intercepts: Sequence[float] | None = None,
    post_transform: str = "NONE",
    targets: int = 1,
) -> Tensor:
    return post_transformed(g, _linear(g, x, coefficients, intercepts, targets), post_transform)


@lowers("LinearClassifier", domain=ML)
def linear_classifier(
    g: Builder,
    x: Tensor,
    *,
    classlabels_ints: Sequence[int] | None = None,
    classlabels_strings: Sequence[str] | None = None,
    coefficients: Sequence[float],
    intercepts: Sequence[float] | None = None,
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:
    labels = numbers_of_labels(g, classlabels_ints, classlabels_strings)
    one_for_two = len(labels) == 2 and len(coefficients) == x.shape[-1]
    scores = _linear(g, x, coefficients, intercepts, 1 if one_for_two else len(labels))
    if one_for_two:
        if post_transform == "LOGISTIC":
            label, scores = two_classes(g, scores, labels, post_transform, positive=False)
            return as_labels(label, classlabels_strings), scores
        raise Refuse(f"one score for two classes with post_transform {post_transform!r}; expected LOGISTIC")
    label = as_labels(class_labels(g, scores, labels), classlabels_strings)
    return label, post_transformed(g, scores, post_transform)


@lowers("Scaler", domain=ML)
def scaler(
    g: Builder, x: Tensor, *, offset: Sequence[float] | None = None, scale: Sequence[float] | None = None
) -> Tensor:
    """(x - offset) * scale, one of each for all features or for each; of binary64 in binary64, rounded at the end."""
    x = x if x.dtype is DType.F64 else g.cast(x, DType.F32)
    x = g.sub(x, g.cast(_for_features(g, offset, x, "offset"), x.dtype)) if offset else x
    return g.cast(g.mul(x, g.cast(_for_features(g, scale, x, "scale"), x.dtype)) if scale else x, DType.F32)


@lowers("Normalizer", domain=ML)
def normalizer(g: Builder, x: Tensor, *, norm: str = "MAX") -> Tensor:
    """Over the largest, the sum of absolute values, or the root of the sum of squares of its row."""
    x = g.cast(x, DType.F32)
    last = (x.rank - 1,)
    if norm == "MAX":
        size = g.reduce_max(x, last)
    elif norm == "L1":
        size = g.reduce_sum(g.absolute(x), last)
    elif norm == "L2":
        size = g.sqrt(g.reduce_sum(g.square(x), last))
    else:
        raise Refuse(f"norm {norm!r}; expected MAX, L1 or L2")
    return g.div(x, g.choose(g.equal(size, 0), 1, size))


@lowers("Binarizer", domain=ML)
def binarizer(g: Builder, x: Tensor, *, threshold: float = 0.0) -> Tensor:
    """1 above the threshold, else 0, in the type of x."""
    if x.dtype.is_integer:
        limits = np.iinfo(x.dtype.numpy)
        if threshold != threshold or threshold >= limits.max:
            return g.filled(x.shape, 0, x.dtype)
        if threshold < limits.min:
            return g.filled(x.shape, 1, x.dtype)
        return g.cast(g.less(g.scalar(floor(threshold), x.dtype), x), x.dtype)
    return g.cast(g.less(g.scalar(threshold, x.dtype), x), x.dtype)


@lowers("FeatureVectorizer", domain=ML)
def feature_vectorizer(g: Builder, *xs: Tensor, inputdimensions: Sequence[int] | None = None) -> Tensor:
    """The inputs one behind another, each cut or filled up with zeros to as many columns as the model says it has."""
    rows = [matrix(g, x) for x in xs]
    if inputdimensions and len(inputdimensions) != len(rows):
        raise Refuse(f"{len(inputdimensions)} inputdimensions for {len(rows)} inputs")
    for i, width in enumerate(inputdimensions or ()):
        g.expect_few(width, "columns of features")
        row, missing = rows[i], width - rows[i].shape[1]
        rows[i] = g.pad(row, (0, 0), (0, missing)) if missing > 0 else row.sliced(1, 0, width)
    return g.concat(rows, 1)


@lowers("Imputer", domain=ML)
def imputer(
    g: Builder,
    x: Tensor,
    *,
    imputed_value_floats: Sequence[float] | None = None,
    imputed_value_int64s: Sequence[int] | None = None,
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Tensor:
    """One value (or NaN) replaced by another, one for all features or for each."""
    if imputed_value_int64s:
        _for_features(g, imputed_value_int64s, x, "imputed_value_int64s")
        return g.choose(g.equal(x, replaced_value_int64), g.constant(np.array(imputed_value_int64s, np.int64)), x)
    values = _for_features(g, imputed_value_floats or [0.0], x, "imputed_value_floats")
    if replaced_value_float != replaced_value_float:
        return g.select(g.unary(Unary.ISNAN, x), values, x)
    return g.select(g.equal(x, replaced_value_float), values, x)


@lowers("OneHotEncoder", domain=ML)
def one_hot_encoder(
    g: Builder,
    x: Tensor,
    *,
    cats_int64s: Sequence[int] | None = None,
    cats_strings: Sequence[str] | None = None,
    zeros: int = 1,
) -> Tensor:
    """A new last dimension: 1 at the category that x equals, else 0. An unknown one gives zeros."""
    if not zeros:
        raise Refuse("zeros 0, which makes an unknown category an error; expected 1")
    texts = () if cats_int64s else cats_strings or ()
    if bool(texts) != (x.narrow == TensorProto.STRING):
        raise Refuse(f"categories that are {'text' if texts else 'integers'}, and an input that is not")
    categories = g.text_numbers(texts) if texts else np.array(cats_int64s or [], np.int64)
    hits = g.equal(g.cast(x, DType.I64).with_axis(x.rank), g.constant(categories))
    last = {int(category): place for place, category in enumerate(categories)}
    if len(last) < categories.size:  # of categories that are named twice, ONNX Runtime takes the last
        hits = g.both(hits, g.constant(np.isin(np.arange(categories.size), list(last.values()))))
    return g.cast(hits, DType.F32)


@lowers("LabelEncoder", domain=ML, since=2)
def label_encoder(
    g: Builder,
    x: Tensor,
    *,
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    default_tensor: Tensor | None = None,
    keys_floats: Sequence[float] | None = None,
    keys_int64s: Sequence[int] | None = None,
    keys_strings: Sequence[str] | None = None,
    keys_tensor: Tensor | None = None,
    values_floats: Sequence[float] | None = None,
    values_int64s: Sequence[int] | None = None,
    values_strings: Sequence[str] | None = None,
    values_tensor: Tensor | None = None,
) -> Tensor:
    """The value that belongs to the key that x equals, else the default."""
    keys = keys_tensor or _listed(g, keys_floats, keys_int64s, keys_strings)
    values = values_tensor or _listed(g, values_floats, values_int64s, values_strings)
    if keys.size != values.size or keys.rank > 1 or values.rank > 1:
        raise Refuse(f"keys of shape {list(keys.shape)} for values of shape {list(values.shape)}")
    if (keys.narrow == TensorProto.STRING) != (x.narrow == TensorProto.STRING):
        raise Refuse("keys that are text for an input that is not, or the other way round")
    if default_tensor is not None:
        default = g.reshape(default_tensor, (1,))
    elif values.narrow == TensorProto.STRING:
        default = g.constant(g.text_numbers([default_string]))
    else:
        default = g.constant(np.array([default_float if values.dtype.is_float else default_int64], values.dtype.numpy))
    if keys.dtype is not x.dtype:
        keys = g.cast(keys, x.dtype)
    same = g.equal(x.with_axis(x.rank), keys)
    if keys.dtype.is_float:  # NaN is a key like others
        both = g.both(g.unary(Unary.ISNAN, x).with_axis(x.rank), g.unary(Unary.ISNAN, keys))
        same = g.either(same, both)
    # The first key that fits; the one behind the last stands for the default.
    hits = g.cast(same, DType.U8)
    found = g.reduce_max(hits, (x.rank,), keepdims=False)
    place = g.argreduce(Reduction.MAX, hits, x.rank)
    place = g.choose(g.equal(found, 0), keys.size, place)
    found = g.take(g.concat([values, default], 0), place, 0)
    return found.marked(values.narrow) if values.narrow else found


def _listed(
    g: Builder, floats_: Sequence[float] | None, integers: Sequence[int] | None, texts: Sequence[str] | None
) -> Tensor:
    """Keys or values in one of the three forms."""
    if texts is not None:
        return g.constant(g.text_numbers(texts)).marked(TensorProto.STRING)
    return g.constant(np.array(floats_, np.float32) if floats_ is not None else np.array(integers, np.int64))


@lowers("LabelEncoder", domain=ML)
def label_encoder_1(
    g: Builder,
    x: Tensor,
    *,
    classes_strings: Sequence[str] | None = None,
    default_int64: int = -1,
    default_string: str = "_Unused",
) -> Tensor:
    """Texts as their places in a list, or places as texts."""
    places = list(range(len(classes_strings or ())))
    if x.narrow == TensorProto.STRING:
        return label_encoder(g, x, keys_strings=classes_strings, values_int64s=places, default_int64=default_int64)
    return label_encoder(g, x, keys_int64s=places, values_strings=classes_strings, default_string=default_string)


@lowers("ZipMap", domain=ML)
def zip_map(
    g: Builder,
    x: Tensor,
    *,
    classlabels_int64s: tuple[int, ...] | None = None,
    classlabels_strings: tuple[str, ...] | None = None,
) -> Tensor:
    """
    The scores x[N][classes] themselves: a block holds numbers, and no list of maps.

    Which class each column stands for is in the program's notes.
    """
    labels: Sequence[object] = classlabels_int64s or classlabels_strings or ()
    if not x.rank or x.shape[-1] != len(labels):
        raise Refuse(f"scores {list(x.shape)} for {len(labels)} class labels")
    g.notes.append(f"the maps of {g.origin.name!r} are a tensor, whose columns are the classes {list(labels)!r}")
    return x
