"""
The table of decision trees that the TREE kernel reads: tree by tree, a child always after its parents, so that every
walk ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from opml_dispute.engine.freed_memory import large_arrays_apart
from opml_dispute.model.lower.tree_lists import distinct, picked, pieces
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array

MODES = {"LEAF": 0, "BRANCH_LEQ": 1, "BRANCH_LT": 2, "BRANCH_GTE": 3, "BRANCH_GT": 4, "BRANCH_EQ": 5, "BRANCH_NEQ": 6}
_NAN_IS_TRUE = 0x100
_MOST_FEATURES = 1 << 31
BYTES_OF_NODE = 24
"""Of all lists of a tree's nodes, about."""


@dataclass(slots=True)
class TreeNodes:
    """
    Nodes, each a comparison with two ways on, or (mode 0) a leaf with its weights; an element each.

    Not frozen, because `tree_table` takes the arrays away.
    """

    mode: Array
    feature: Array
    threshold: Array
    """f32 or f64."""
    yes: Array
    """The number of the next node; -1 if there is none."""
    no: Array
    nan_is_true: Array
    owner: Array
    """Of each weight: the number of its leaf."""
    targets: Array
    weights: Array
    """f32 or f64; of one leaf in their order."""

    def of_leaves(self) -> TreeNodes:
        """Without weights that belong to no leaf."""
        kept = self.mode[self.owner] == 0
        if kept.all():
            return self
        return replace(self, owner=self.owner[kept], targets=self.targets[kept], weights=self.weights[kept])


@dataclass(frozen=True, slots=True)
class TreeTable:
    nodes: np.ndarray[Any, np.dtype[np.int32]]
    thresholds: np.ndarray[Any, np.dtype[np.float32]]
    roots: np.ndarray[Any, np.dtype[np.int32]]
    targets: np.ndarray[Any, np.dtype[np.int32]]
    weights: np.ndarray[Any, np.dtype[np.float32]]
    depth: int
    """Comparisons on the longest way to a leaf."""
    leaf_weights: int
    """Weights of the leaf that has most."""
    features: int
    """One more than the greatest feature that is looked at."""


def tree_table(nodes: TreeNodes, roots: Array) -> TreeTable:
    """
    The nodes that the roots reach, parents first. Raises `Refuse` if a way leads nowhere or round.

    The arrays of `nodes` are gone afterwards: of millions of nodes, each is let go as soon as it is in the table.
    """
    with large_arrays_apart(BYTES_OF_NODE * nodes.mode.size):
        return _tree_table(nodes, roots)


def _tree_table(nodes: TreeNodes, roots: Array) -> TreeTable:
    level, tree = tree_levels(nodes, roots)
    order, depth = _order(nodes, roots, level, tree), int(level.max(initial=0))
    del level, tree
    place = np.full(nodes.mode.size, -1, np.int32)
    for first, end in pieces(order.size):
        place[order[first:end]] = np.arange(first, end, dtype=np.int32)
    own = nodes.of_leaves()
    counts = picked(_narrow(np.bincount(own.owner, minlength=place.size)), order)
    first_nodes, at = place[roots], picked(place, own.owner)
    targets, weights = own.targets, own.weights
    del own, nodes.owner, nodes.targets, nodes.weights
    nodes.yes, nodes.no = picked(place, nodes.yes), picked(place, nodes.no)  # rows; of leaves they mean nothing
    del place
    for name in ("mode", "feature", "threshold", "yes", "no", "nan_is_true"):
        setattr(nodes, name, picked(getattr(nodes, name), order))
    del order
    thresholds = _thresholds(nodes)
    del nodes.threshold
    table = np.empty((counts.size, 4), np.int32)
    begin = most_weights = features = 0
    for first, end in pieces(counts.size):
        told = _rows(nodes, slice(first, end), counts, table[first:end])
        own_weights = np.maximum(told, 0)
        before = np.cumsum(own_weights) - own_weights + begin
        features = max(features, 1 + int(table[first:end, 1].max(initial=-1, where=told < 0)))
        table[first:end, 1] += np.where(told >= 0, before, 0).astype(np.int32)
        begin, most_weights = begin + int(own_weights.sum()), max(most_weights, int(own_weights.max()))
    del counts, nodes.mode, nodes.feature, nodes.yes, nodes.no, nodes.nan_is_true
    targets, weights = _weights(targets, weights, at, table, most_weights)
    return TreeTable(table, thresholds, first_nodes, targets, weights, depth, most_weights, features)


def _rows(nodes: TreeNodes, some: slice, counts: Array, table: Array) -> Array:
    """
    Fills the rows of some nodes, whose ways on are rows already, but for where the weights of leaves begin.

    Answers how many weights each leaf has, -1 for a branch.
    """
    mode, feature = nodes.mode[some], nodes.feature[some]
    inner = mode != 0
    weights = np.where(inner, 0, counts[some].astype(np.int64))
    table[:, 0] = mode
    table[inner & nodes.nan_is_true[some], 0] |= _NAN_IS_TRUE
    least, greatest = feature.min(initial=0, where=inner), feature.max(initial=0, where=inner)
    if least < 0 or greatest >= _MOST_FEATURES:
        raise Refuse(f"a tree that looks at feature {least} or {greatest}")
    table[:, 1] = np.where(inner, feature, 0)
    table[:, 2] = np.where(inner, nodes.yes[some], weights)
    table[:, 3] = np.where(inner, nodes.no[some], 0)
    return np.where(inner, -1, weights)


def _weights(targets: Array, weights: Array, at: Array, table: Array, most: int) -> tuple[Array, Array]:
    """
    These of the leaves that are reached, leaf by leaf; those of one leaf in their order.

    `at` is the row of each weight's leaf, -1 if it is not reached; no leaf has more than `most` weights.
    """
    if (at < 0).any():
        targets, weights, at = targets[at >= 0], weights[at >= 0], at[at >= 0]
    if not at.size:
        return np.zeros(1, np.int32), np.zeros(1, np.float32)
    if most == 1:
        at = table[at, 1]
        in_order = np.empty(at.size, np.int32), np.empty(at.size, np.float32)
        in_order[0][at], in_order[1][at] = targets, weights
        return in_order
    by_leaf = np.argsort(at, kind="stable")
    return targets[by_leaf].astype(np.int32), weights[by_leaf].astype(np.float32)


def _thresholds(nodes: TreeNodes) -> Array:
    """Of the branches, in binary32; 0 of leaves."""
    thresholds = np.empty(nodes.mode.size, np.float32)
    for first, end in pieces(thresholds.size):
        mode = nodes.mode[first:end]
        thresholds[first:end] = _in_binary32(np.where(mode != 0, nodes.threshold[first:end], 0), mode)
    return thresholds


def _narrow(numbers: Array) -> Array:
    """Numbers from -1 on in the narrowest integers with a sign that hold them."""
    kinds = (np.int8, np.int16, np.int32)
    greatest = numbers.max(initial=0)
    return numbers.astype(next((kind for kind in kinds if greatest <= np.iinfo(kind).max), np.int64))


def _order(nodes: TreeNodes, roots: Array, level: Array, tree: Array) -> Array:
    """
    The nodes that are reached, parents first: the last tree first, and of each what follows a yes before the rest.

    So most of a way lies together. Where nodes have several parents, tree by tree, the nearest to the root first.
    """
    reached = np.flatnonzero(level >= 0).astype(np.int32)
    inner = reached[nodes.mode[reached] != 0]
    is_child, children = np.zeros(level.size, np.bool_), (nodes.yes[inner], nodes.no[inner], roots)
    for some in children:
        is_child[some] = True
    if np.count_nonzero(is_child) < sum(some.size for some in children):
        return reached[np.lexsort((level[reached], tree[reached]))]
    del is_child, children
    by_level = np.split(inner[np.argsort(level[inner], kind="stable")], np.cumsum(np.bincount(level[inner]))[:-1])
    size, place = np.ones(level.size, np.int32), np.zeros(level.size, np.int32)
    for parents in reversed(by_level):
        size[parents] += size[nodes.yes[parents]] + size[nodes.no[parents]]
    ends = np.cumsum(size[roots[::-1]])[::-1]
    place[roots] = ends - size[roots]
    for parents in by_level:
        place[nodes.yes[parents]] = place[parents] + 1
        place[nodes.no[parents]] = place[parents] + 1 + size[nodes.yes[parents]]
    del size, by_level, inner
    order = np.empty(reached.size, np.int32)
    for first, end in pieces(reached.size):
        order[place[reached[first:end]]] = reached[first:end]
    return order


def tree_levels(nodes: TreeNodes, roots: Array) -> tuple[Array, Array]:
    """
    Of each node the longest way to it from a root, -1 if there is none; and the number of the last root that leads to
    it. Raises `Refuse` as `tree_table`.
    """
    size, inner = nodes.mode.size, nodes.mode != 0

    def children(of: Array) -> Array:
        of = of[inner[of]]
        return np.concatenate([nodes.yes[of], nodes.no[of]])

    seen, front = np.zeros(size, np.bool_), distinct(roots)
    while front.size:
        wrong = front[(front < 0) | (front >= size)]
        if wrong.size:
            raise Refuse(f"a tree that leads to node {wrong[0]} of {size}")
        seen[front] = True
        following = children(front)
        # What is no node's number is kept, to be told in the next round.
        front = distinct(following[~seen[np.clip(following, 0, size - 1)] | (following < 0) | (following >= size)])
    waiting = np.zeros(size, np.int32)
    for first, end in pieces(size):
        np.add.at(waiting, children(first + np.flatnonzero(seen[first:end])), 1)
    numbers = _narrow(np.arange(roots.size))
    level, tree = np.full(size, -1, np.int32), np.full(size, -1, numbers.dtype)
    np.maximum.at(tree, roots, numbers)
    front, depth = np.flatnonzero(seen & (waiting == 0)), 0
    while front.size:
        level[front] = depth
        following = children(front)
        np.maximum.at(tree, following, np.tile(tree[front[inner[front]]], 2))
        np.subtract.at(waiting, following, 1)
        front, depth = distinct(following[waiting[following] == 0]), depth + 1
    round_trip = np.flatnonzero(seen & (level < 0))
    if round_trip.size:
        raise Refuse(f"a tree that comes back to node {round_trip[0]}")
    return _narrow(level), tree


def _in_binary32(exact: Array, modes: Array) -> Array:
    """
    Thresholds in binary32, rounded so that every binary32 number compares with them as with the exact ones.

    Where the comparison includes or excludes what is below the threshold, that decides the direction: x <= t and x > t
    mean the greatest binary32 number up to t, x < t and x >= t the least from t on. No number equals a threshold
    between two of them; NaN stands for that.
    """
    rounded = exact.astype(np.float32)
    if exact.dtype == np.float32:
        return rounded
    wide = rounded.astype(np.float64)
    down, up = np.float32(-np.inf), np.float32(np.inf)
    below = np.where(wide > exact, np.nextafter(rounded, down), rounded)
    above = np.where(wide < exact, np.nextafter(rounded, up), rounded)
    result = np.where(np.isin(modes, (MODES["BRANCH_LEQ"], MODES["BRANCH_GT"])), below, rounded)
    result = np.where(np.isin(modes, (MODES["BRANCH_LT"], MODES["BRANCH_GTE"])), above, result)
    equality = np.isin(modes, (MODES["BRANCH_EQ"], MODES["BRANCH_NEQ"]))
    return np.where(equality & (wide != exact), np.float32(np.nan), result).astype(np.float32)
