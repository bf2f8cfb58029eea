"""
Decision trees over binary64 features: the kernel compares in binary32, so it is given ranks in the place of numbers.

Where a feature stands among all thresholds that trees compare it with decides every comparison: `ranked` counts the
thresholds below it and up to it. The trees then answer the number of a leaf each, and `summed` adds up what belongs to
these leaves in binary64, tree by tree.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.tree_table import TreeNodes
from opml_dispute.model.opcodes import Binary, DType, Reduction, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor

_MOST_NUMBERS: Final = 1 << 23
"""Leaves, and thresholds of one feature: twice as many are whole numbers in binary32."""
_MOST_WEIGHTS: Final = 1 << 24
MOST_IN_ORDER: Final = 512
"""Trees whose weights are added one after another; those of more are added by pairs."""


def ranked(g: Builder, x: Tensor, nodes: TreeNodes) -> tuple[Tensor, Array]:
    """
    Ranks of the features of x[N][F], binary32, and the thresholds as ranks.

    Threshold number j of a feature, counted from the least, has the rank 2 j + 1; a number between two thresholds has
    the even rank between theirs, and NaN is NaN.
    """
    inner = np.flatnonzero(nodes.mode != 0)
    features, exact = nodes.feature[inner], nodes.threshold[inner].astype(np.float64)
    thresholds = np.full(nodes.mode.size, np.nan)
    rows, width = x.shape
    columns: list[Tensor] = []
    keys = g.wide.ordered(x, largest=True)
    limits = g.wide.ordered(g.constant(exact), largest=True).values() if exact.size else exact.astype(np.int64)
    by_feature = np.argsort(features, kind="stable")
    starts = np.searchsorted(features[by_feature], np.arange(width + 1))
    for feature in range(width):
        mine = by_feature[starts[feature] : starts[feature + 1]]
        mine = mine[~np.isnan(exact[mine])]
        known, place = np.unique(limits[mine], return_inverse=True)
        if known.size > _MOST_NUMBERS:
            raise Refuse(f"{known.size:,} thresholds of one feature; expected at most {_MOST_NUMBERS:,}")
        thresholds[inner[mine]] = 2 * place + 1
        if not known.size:
            columns.append(g.filled((rows, 1), 0.0, DType.F32))
            continue
        key, against = keys.sliced(1, feature, 1), g.constant(known)
        counts = [
            g.reduce_sum(g.cast(g.binary(function, against, key), DType.I32), (1,))
            for function in (Binary.LT, Binary.LE)
        ]
        columns.append(g.cast(g.add(*counts), DType.F32))
    ranks = g.concat(columns, 1)
    return g.choose(g.unary(Unary.ISNAN, x), float("nan"), ranks), thresholds


def numbered(nodes: TreeNodes, thresholds: Array, tree: Array) -> TreeNodes:
    """
    The same trees, which compare ranks, and whose leaves weigh their number, each for its tree.

    `tree` is the number of each node's tree. Raises `Refuse` where two trees share a node.
    """
    inner = nodes.mode != 0
    parents = np.bincount(np.concatenate([nodes.yes[inner], nodes.no[inner]]), minlength=inner.size)
    leaves = np.flatnonzero(~inner)
    if parents.max(initial=0) > 1 or leaves.size > _MOST_NUMBERS:
        raise Refuse(
            f"trees that share nodes, or {leaves.size:,} leaves; expected at most {_MOST_NUMBERS:,}, of one tree"
        )
    return replace(
        nodes,
        threshold=thresholds,
        owner=leaves,
        targets=tree[leaves],
        weights=np.arange(leaves.size, dtype=np.float64),
    )


_NEUTRAL: Final[dict[Reduction, tuple[float, np.ufunc]]] = {
    Reduction.SUM: (0.0, np.add),
    Reduction.MIN: (float("inf"), np.minimum),
    Reduction.MAX: (float("-inf"), np.maximum),
}
"""What a leaf without a weight for a target has there, and what becomes of several."""


def or_nothing(g: Builder, scores: Tensor, function: Reduction) -> Tensor:
    """Greatest or least weights; that of no weights at all is 0, as ONNX Runtime has it."""
    return g.choose(g.equal(scores, _NEUTRAL[function][0]), 0, scores)


def summed(g: Builder, leaves: Tensor, nodes: TreeNodes, targets: int, function: Reduction) -> Tensor:
    """What the leaves (numbers, [N][trees]) weigh for each target, binary64, [N][targets]."""
    order = np.flatnonzero(nodes.mode == 0)
    if order.size * targets > _MOST_WEIGHTS:
        raise Refuse(f"{order.size * targets:,} weights of leaves; expected at most {_MOST_WEIGHTS:,}")
    place = np.full(nodes.mode.size, -1)
    place[order] = np.arange(order.size)
    own = nodes.of_leaves()
    nothing, combine = _NEUTRAL[function]
    weights = np.full((order.size, targets), nothing)
    combine.at(weights, (place[own.owner], own.targets), own.weights)
    rows = g.take(g.constant(weights), g.cast(leaves, DType.I64), 0)
    trees = leaves.shape[1]
    if function is not Reduction.SUM:
        return or_nothing(g, g.reduce(function, rows, (1,)), function)
    if trees > MOST_IN_ORDER:
        return g.reduce_sum(rows, (1,), keepdims=False)
    total = rows.sliced(1, 0, 1)
    for tree in range(1, trees):
        total = g.add(total, rows.sliced(1, tree, 1))
    return total.without(1)
