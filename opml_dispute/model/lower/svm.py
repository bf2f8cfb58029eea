"""
Support vector machines (ai.onnx.ml).

A regressor is a weighted sum of kernels. A classifier has one such sum for each pair of classes: its sign is a vote,
and the class with most votes is the label. Where the model says how to read a sum as a probability (`prob_a`,
`prob_b`), those of the pairs are brought together into one for each class (`_coupled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.classic import ML, as_labels, floats, matrix, numbers_of_labels, post_transformed
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor

SWEEPS = 8
"""
Rounds of `_coupled`. It is done when the conditions of the optimum hold within 0.005 / classes, which of thousands of
random cases none needed more than 4 rounds for; one that did would end a little further from the optimum.
"""


def _kernel(g: Builder, x: Tensor, vectors: Tensor, kind: str, parameters: Sequence[float]) -> Tensor:
    """The kernel of each row of x with each support vector: [N][vectors]."""
    if len(parameters) not in (0, 3):
        raise Refuse(f"{len(parameters)} kernel_params; expected gamma, coef0 and degree")
    gamma, offset, degree = parameters or (0.0, 0.0, 0.0)
    if kind == "RBF":
        apart = g.sub(x.with_axis(1), vectors.with_axis(0))
        return g.exp(g.mul(g.reduce_sum(g.square(apart), (2,), keepdims=False), -gamma))
    product = g.contract(x, vectors.transposed((1, 0)))
    if kind == "LINEAR":
        return product
    shifted = g.add(g.mul(product, gamma), offset)
    if kind == "POLY":
        return g.power(shifted, degree)
    if kind == "SIGMOID":
        return g.tanh(shifted)
    raise Refuse(f"kernel_type {kind!r}; expected LINEAR, POLY, RBF or SIGMOID")


@lowers("SVMRegressor", domain=ML)
def svm_regressor(
    g: Builder,
    x: Tensor,
    *,
    coefficients: Sequence[float],
    kernel_params: Sequence[float] = (),
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: Sequence[float],
    support_vectors: Sequence[float] = (),
) -> Tensor:
    if len(rho) != 1:
        raise Refuse(f"rho holds {len(rho)} numbers; expected one")
    x = matrix(g, x)
    rows = n_supports or 1
    vectors = g.reshape(floats(g, support_vectors if n_supports else coefficients), (rows, x.shape[1]))
    if n_supports:
        weights = floats(g, coefficients).with_axis(1)
        y = g.contract(_kernel(g, x, vectors, kernel_type, kernel_params), weights)
    else:
        y = _kernel(g, x, vectors, kernel_type, kernel_params)
    y = g.add(y, float(rho[0]))
    if one_class:
        y = g.choose(g.less(0, y), 1.0, g.filled(y.shape, -1.0, DType.F32))
    return post_transformed(g, y, post_transform)


@lowers("SVMClassifier", domain=ML)
def svm_classifier(
    g: Builder,
    x: Tensor,
    *,
    classlabels_ints: Sequence[int] | None = None,
    classlabels_strings: Sequence[str] | None = None,
    coefficients: Sequence[float],
    kernel_params: Sequence[float] = (),
    kernel_type: str = "LINEAR",
    post_transform: str = "NONE",
    prob_a: Sequence[float] = (),
    prob_b: Sequence[float] = (),
    rho: Sequence[float],
    support_vectors: Sequence[float] = (),
    vectors_per_class: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """x: f32[N][features] -> labels i64[N], scores: f32[N][classes], or [N][pairs of classes] if more than one pair."""
    names = numbers_of_labels(g, classlabels_ints, classlabels_strings)
    labels, x = g.constant(np.array(names, np.int64)), matrix(g, x)
    if not vectors_per_class:
        raise Refuse("no vectors_per_class, which makes it a linear model; expected LinearClassifier for that")
    if len(vectors_per_class) != len(names) or len(names) < 2 or min(vectors_per_class) < 1:
        raise Refuse(f"vectors_per_class is {list(vectors_per_class)} for class labels {names}")
    vectors = g.reshape(floats(g, support_vectors), (sum(vectors_per_class), x.shape[1]))
    weights = _pair_weights(np.array(coefficients, np.float32), vectors_per_class)
    pairs = list(combinations(range(len(vectors_per_class)), 2))
    if len(rho) != len(pairs):
        raise Refuse(f"rho holds {len(rho)} numbers; expected one for each of {len(pairs)} pairs of classes")
    kernels = _kernel(g, x, vectors, kernel_type, kernel_params)
    sums = g.add(g.contract(kernels, g.constant(weights)), floats(g, rho))
    label = as_labels(g.take(labels, g.argreduce(Reduction.MAX, _votes(g, sums, pairs), 1), 0), classlabels_strings)
    if prob_a:
        if not len(prob_a) == len(prob_b) == len(pairs):
            raise Refuse(f"prob_a and prob_b hold {len(prob_a)} and {len(prob_b)} numbers; expected {len(pairs)} each")
        scores = _coupled(g, _pair_probabilities(g, sums, prob_a, prob_b), pairs)
        return label, post_transformed(g, scores, post_transform)
    if len(pairs) == 1:
        if post_transform != "NONE":
            raise Refuse(f"post_transform {post_transform!r} of the sum that parts two classes; expected NONE")
        return label, g.concat([g.negate(sums), sums], 1)
    return label, post_transformed(g, sums, post_transform)


def _pair_weights(coefficients: Array, vectors_per_class: Sequence[int]) -> Array:
    """
    What each support vector weighs in the sum of each pair of classes: [vectors][pairs], 0 for those of other classes.

    The coefficients are [classes - 1][vectors]: in row r, class c's vectors weigh against class r, or r + 1 if r >= c.
    """
    shape = (len(vectors_per_class) - 1, sum(vectors_per_class))
    if coefficients.size != shape[0] * shape[1]:
        raise Refuse(f"{coefficients.size} coefficients; expected {shape[0]} for each of {shape[1]} support vectors")
    rows = coefficients.reshape(shape)
    owner = np.repeat(np.arange(len(vectors_per_class)), vectors_per_class)
    columns = [
        np.where(owner == first, rows[second - 1], np.where(owner == second, rows[first], np.float32(0)))
        for first, second in combinations(range(len(vectors_per_class)), 2)
    ]
    return np.stack(columns, 1)


def _votes(g: Builder, sums: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """How many pairs each class wins: f32[N][classes]. A sum above 0 speaks for the first of its pair."""
    classes = pairs[-1][1] + 1
    first, second = (np.eye(classes, dtype=np.float32)[[pair[i] for pair in pairs]] for i in (0, 1))
    won = g.cast(g.less(0, sums), DType.F32)
    return g.contract(won, g.constant(first - second), g.constant(second.sum(0)))


def _pair_probabilities(g: Builder, sums: Tensor, prob_a: Sequence[float], prob_b: Sequence[float]) -> Tensor:
    """How likely the first of each pair is, were there only these two: f32[N][pairs], clear of 0 and 1."""
    likely = g.sub(1, g.sigmoid(g.add(g.mul(sums, floats(g, prob_a)), floats(g, prob_b))))
    return g.clipped(likely, 1e-7, float(np.float32(1) - np.float32(1e-7)))


def _coupled(g: Builder, likely: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """
    Probabilities of the classes, from those of the pairs: f32[N][classes].

    With r[i][j] how likely i is against j, p is where sum over i, j of (r[j][i] p[i] - r[i][j] p[j])^2 is least, found
    by going round the classes from p[i] = 1 / classes on. Source: T.-F. Wu, C.-J. Lin, R. C. Weng, "Probability
    estimates for multi-class classification by pairwise coupling", JMLR 5 (2004), algorithm 2; LIBSVM stops alike.
    """
    rows, classes = likely.shape[0], pairs[-1][1] + 1
    place = np.full((classes, classes), 2 * len(pairs), np.int64)  # on the diagonal: the zero at the end
    for number, (i, j) in enumerate(pairs):
        place[i, j], place[j, i] = number, len(pairs) + number
    entries = g.concat([likely, g.sub(1, likely), g.filled((rows, 1), 0.0, DType.F32)], 1)
    r = g.take(entries, g.constant(place), 1)  # [N][classes][classes]
    diagonal = g.reduce_sum(g.square(r), (1,), keepdims=False)  # [N][classes]
    unit = np.eye(classes, dtype=np.float32)
    product = g.mul(r, r.transposed((0, 2, 1)))
    q = g.sub(g.mul(diagonal.with_axis(2), g.constant(unit)), product)
    p = g.filled((rows, classes), 1 / classes, DType.F32)
    for _ in range(SWEEPS):
        qp = g.contract(q, p.with_axis(2)).without(2)
        pqp = g.reduce_sum(g.mul(p, qp), (1,))
        done = g.less(g.reduce_max(g.absolute(g.sub(qp, pqp)), (1,)), 0.005 / classes)
        moved = p
        for i in range(classes):
            slope, curve = qp.sliced(1, i, 1), diagonal.sliced(1, i, 1)
            step = g.div(g.sub(pqp, slope), curve)
            whole = g.add(1, step)
            gain = g.mul(step, g.add(g.mul(step, curve), g.mul(slope, 2)))
            pqp = g.div(g.div(g.add(pqp, gain), whole), whole)
            qp = g.div(g.add(qp, g.mul(step, q.picked(1, i))), whole)
            moved = g.div(g.add(moved, g.mul(step, g.constant(unit[i]))), whole)
        p = g.select(done, p, moved)
    return p
