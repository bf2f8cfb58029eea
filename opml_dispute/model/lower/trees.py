"""
Decision-tree ensembles: three ways of writing them down, one kernel.

Each operator's attributes become a list of `TreeNode`s per tree, which `_table` lays out as the TREE kernel reads it: a
child always after its parents, so that every walk ends. A test for membership becomes a chain of equalities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.classic import class_labels, post_transformed, two_classes
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor

ML = "ai.onnx.ml"
_MODES = {"LEAF": 0, "BRANCH_LEQ": 1, "BRANCH_LT": 2, "BRANCH_GTE": 3, "BRANCH_GT": 4, "BRANCH_EQ": 5, "BRANCH_NEQ": 6}
_NAN_IS_TRUE = 0x100


@dataclass(slots=True)
class TreeNode:
    """A comparison with two ways on, or (mode 0) a leaf with its weights."""

    mode: int
    feature: int = 0
    threshold: float = 0.0
    yes: int = -1
    no: int = -1
    weights: tuple[tuple[int, float], ...] = ()
    """(target, weight) of a leaf."""
    nan_is_true: bool = False


@dataclass(frozen=True, slots=True)
class _Table:
    nodes: np.ndarray[Any, np.dtype[np.int32]]
    thresholds: np.ndarray[Any, np.dtype[np.float32]]
    roots: np.ndarray[Any, np.dtype[np.int32]]
    targets: np.ndarray[Any, np.dtype[np.int32]]
    weights: np.ndarray[Any, np.dtype[np.float32]]
    depth: int
    """Comparisons on the longest way to a leaf."""
    leaf_weights: int
    """Weights of the leaf that has most."""


def _table(nodes: Sequence[TreeNode], roots: Sequence[int]) -> _Table:
    """The nodes that the roots reach, parents first. Raises `Refuse` if a way leads nowhere or round."""
    order: list[int] = []
    state: dict[int, int] = {}
    depth: dict[int, int] = {}
    for root in roots:
        stack = [(root, False)]
        while stack:
            at, done = stack.pop()
            if not 0 <= at < len(nodes):
                raise Refuse(f"a tree that leads to node {at} of {len(nodes)}")
            children = [nodes[at].yes, nodes[at].no] if nodes[at].mode else []
            if done:
                state[at] = 2
                depth[at] = 1 + max(depth[c] for c in children) if children else 0
                order.append(at)
            elif state.get(at) == 1:
                raise Refuse(f"a tree that comes back to node {at}")
            elif at not in state:
                state[at] = 1
                stack.append((at, True))
                for child in children:
                    if state.get(child) == 1:
                        raise Refuse(f"a tree that comes back to node {child}")
                    stack.append((child, False))
    order.reverse()
    place = {at: i for i, at in enumerate(order)}
    rows: list[tuple[int, int, int, int]] = []
    targets: list[int] = []
    weights: list[float] = []
    for at in order:
        node = nodes[at]
        if node.mode:
            flags = _NAN_IS_TRUE if node.nan_is_true else 0
            rows.append((node.mode | flags, node.feature, place[node.yes], place[node.no]))
        else:
            rows.append((0, len(targets), len(node.weights), 0))
            targets += [target for target, _ in node.weights]
            weights += [weight for _, weight in node.weights]
    table = np.array(rows, np.int32).reshape(-1, 4)
    return _Table(
        table,
        _thresholds(np.array([nodes[at].threshold for at in order], np.float64), table[:, 0] & 0xFF),
        np.array([place[root] for root in roots], np.int32),
        np.array(targets or [0], np.int32),
        np.array(weights or [0.0], np.float32),
        max((depth[root] for root in roots), default=0),
        max((len(nodes[at].weights) for at in order if not nodes[at].mode), default=0),
    )


def _thresholds(exact: Array, modes: Array) -> Array:
    """
    Thresholds in binary32, rounded so that every binary32 number compares with them as with the exact ones.

    Where the comparison includes or excludes what is below the threshold, that decides the direction: x <= t and x > t
    mean the greatest binary32 number up to t, x < t and x >= t the least from t on. No number equals a threshold
    between two of them; NaN stands for that.
    """
    rounded = exact.astype(np.float32)
    wide = rounded.astype(np.float64)
    down, up = np.float32(-np.inf), np.float32(np.inf)
    below = np.where(wide > exact, np.nextafter(rounded, down), rounded)
    above = np.where(wide < exact, np.nextafter(rounded, up), rounded)
    result = np.where(np.isin(modes, (_MODES["BRANCH_LEQ"], _MODES["BRANCH_GT"])), below, rounded)
    result = np.where(np.isin(modes, (_MODES["BRANCH_LT"], _MODES["BRANCH_GTE"])), above, result)
    equality = np.isin(modes, (_MODES["BRANCH_EQ"], _MODES["BRANCH_NEQ"]))
    return np.where(equality & (wide != exact), np.float32(np.nan), result).astype(np.float32)


def _ensemble(g: Builder, x: Tensor, table: _Table, targets: int, function: Reduction) -> Tensor:
    x = g.cast(x, DType.F32)
    if x.rank == 1:
        x = x.with_axis(0)
    features = int(table.nodes[(table.nodes[:, 0] & 0xFF) != 0, 1].max(initial=-1)) + 1
    if x.rank != 2 or features > x.shape[1]:
        raise Refuse(f"input {list(x.shape)} for trees that look at {features} features")
    parts = [table.nodes, table.thresholds, table.roots, table.targets, table.weights]
    constants = [g.constant(part) for part in parts]
    return g.tree(x, constants, targets, function, table.depth, table.leaf_weights)


def _flat(value: Tensor | Sequence[float] | None) -> list[float]:
    """An attribute given as a list or as a tensor."""
    if value is None:
        return []
    if isinstance(value, Tensor):
        exact = value.buffer.binary64
        return list(map(float, value.values().reshape(-1) if exact is None else exact))
    return [float(v) for v in value]


def _classic_nodes(attributes: dict[str, Any], prefix: str) -> tuple[list[TreeNode], list[int]]:
    """Nodes and roots from the attributes of TreeEnsembleRegressor and -Classifier."""
    trees, ids = attributes["nodes_treeids"], attributes["nodes_nodeids"]
    place = {(tree, node): i for i, (tree, node) in enumerate(zip(trees, ids, strict=True))}
    leaf: dict[int, list[tuple[int, float]]] = {}
    owners = zip(attributes[f"{prefix}_treeids"], attributes[f"{prefix}_nodeids"], strict=True)
    contributions = zip(attributes[f"{prefix}_ids"], _flat(attributes[f"{prefix}_weights"]), strict=True)
    for owner, (target, weight) in zip(owners, contributions, strict=True):
        if owner not in place:
            raise Refuse(f"a weight for node {owner[1]} of tree {owner[0]}, which does not exist")
        leaf.setdefault(place[owner], []).append((int(target), float(weight)))
    values = _flat(attributes["nodes_values"])
    missing = attributes.get("nodes_missing_value_tracks_true") or (0,) * len(trees)
    nodes = []
    for i, (tree, mode) in enumerate(zip(trees, attributes["nodes_modes"], strict=True)):
        if mode not in _MODES:
            raise Refuse(f"a node of mode {mode!r}; expected one of {', '.join(_MODES)}")
        if mode == "LEAF":
            nodes.append(TreeNode(0, weights=tuple(leaf.get(i, ()))))
            continue
        yes, no = ((tree, attributes[f"nodes_{way}nodeids"][i]) for way in ("true", "false"))
        nodes.append(
            TreeNode(
                _MODES[mode],
                attributes["nodes_featureids"][i],
                values[i],
                place.get(yes, -1),
                place.get(no, -1),
                nan_is_true=bool(missing[i]),
            )
        )
    roots: dict[int, int] = {}
    for i, tree in enumerate(trees):
        roots.setdefault(tree, i)
    return nodes, list(roots.values())


@lowers("TreeEnsembleRegressor", domain=ML)
def tree_ensemble_regressor(
    g: Builder,
    x: Tensor,
    *,
    aggregate_function: str = "SUM",
    base_values: Sequence[float] | None = None,
    base_values_as_tensor: Tensor | None = None,
    n_targets: int = 1,
    nodes_falsenodeids: Sequence[int],
    nodes_featureids: Sequence[int],
    nodes_hitrates: object = None,
    nodes_hitrates_as_tensor: object = None,
    nodes_missing_value_tracks_true: Sequence[int] | None = None,
    nodes_modes: Sequence[str],
    nodes_nodeids: Sequence[int],
    nodes_treeids: Sequence[int],
    nodes_truenodeids: Sequence[int],
    nodes_values: Sequence[float] | None = None,
    nodes_values_as_tensor: Tensor | None = None,
    post_transform: str = "NONE",
    target_ids: Sequence[int],
    target_nodeids: Sequence[int],
    target_treeids: Sequence[int],
    target_weights: Sequence[float] | None = None,
    target_weights_as_tensor: Tensor | None = None,
) -> Tensor:
    nodes, roots = _classic_nodes(
        {
            "nodes_falsenodeids": nodes_falsenodeids, "nodes_featureids": nodes_featureids, "nodes_modes": nodes_modes,
            "nodes_missing_value_tracks_true": nodes_missing_value_tracks_true, "nodes_nodeids": nodes_nodeids,
            "nodes_treeids": nodes_treeids, "nodes_truenodeids": nodes_truenodeids,
            "nodes_values": nodes_values or nodes_values_as_tensor, "target_ids": target_ids,
            "target_nodeids": target_nodeids, "target_treeids": target_treeids,
            "target_weights": target_weights or target_weights_as_tensor,
        },
        "target",
    )  # fmt: skip
    function = {"SUM": Reduction.SUM, "AVERAGE": Reduction.SUM, "MIN": Reduction.MIN, "MAX": Reduction.MAX}
    if aggregate_function not in function:
        raise Refuse(f"aggregate_function {aggregate_function!r}; expected one of {', '.join(function)}")
    scores = _ensemble(g, x, _table(nodes, roots), n_targets, function[aggregate_function])
    if aggregate_function == "AVERAGE":
        scores = g.div(scores, len(roots))
    base = _flat(base_values or base_values_as_tensor)
    if base:
        scores = g.add(scores, g.constant(np.array(base, np.float32)))
    return post_transformed(g, scores, post_transform)


@lowers("TreeEnsembleClassifier", domain=ML)
def tree_ensemble_classifier(
    g: Builder,
    x: Tensor,
    *,
    base_values: Sequence[float] | None = None,
    base_values_as_tensor: Tensor | None = None,
    class_ids: Sequence[int],
    class_nodeids: Sequence[int],
    class_treeids: Sequence[int],
    class_weights: Sequence[float] | None = None,
    class_weights_as_tensor: Tensor | None = None,
    classlabels_int64s: Sequence[int] | None = None,
    classlabels_strings: Sequence[str] | None = None,
    nodes_falsenodeids: Sequence[int],
    nodes_featureids: Sequence[int],
    nodes_hitrates: object = None,
    nodes_hitrates_as_tensor: object = None,
    nodes_missing_value_tracks_true: Sequence[int] | None = None,
    nodes_modes: Sequence[str],
    nodes_nodeids: Sequence[int],
    nodes_treeids: Sequence[int],
    nodes_truenodeids: Sequence[int],
    nodes_values: Sequence[float] | None = None,
    nodes_values_as_tensor: Tensor | None = None,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:
    """The label of the best class, and all scores. Two classes may share one score: that of the second."""
    nodes, roots = _classic_nodes(
        {
            "nodes_falsenodeids": nodes_falsenodeids, "nodes_featureids": nodes_featureids, "nodes_modes": nodes_modes,
            "nodes_missing_value_tracks_true": nodes_missing_value_tracks_true, "nodes_nodeids": nodes_nodeids,
            "nodes_treeids": nodes_treeids, "nodes_truenodeids": nodes_truenodeids,
            "nodes_values": nodes_values or nodes_values_as_tensor, "class_ids": class_ids,
            "class_nodeids": class_nodeids, "class_treeids": class_treeids,
            "class_weights": class_weights or class_weights_as_tensor,
        },
        "class",
    )  # fmt: skip
    labels = list(classlabels_int64s or range(len(classlabels_strings or ())))
    base = _flat(base_values or base_values_as_tensor)
    weights = [weight for node in nodes for _, weight in node.weights]
    if len(labels) == 2 and len(set(class_ids)) == 1 and len(base) <= 1:
        for node in nodes:
            node.weights = tuple((0, weight) for _, weight in node.weights)
        scores = _ensemble(g, x, _table(nodes, roots), 1, Reduction.SUM)
        if base:
            scores = g.add(scores, base[0])
        return two_classes(g, scores, labels, post_transform, positive=all(w >= 0 for w in [*weights, *base]))
    scores = _ensemble(g, x, _table(nodes, roots), len(labels), Reduction.SUM)
    if base:
        scores = g.add(scores, g.constant(np.array(base, np.float32)))
    return class_labels(g, scores, labels), post_transformed(g, scores, post_transform)


@lowers("TreeEnsemble", domain=ML, since=5)
def tree_ensemble(
    g: Builder,
    x: Tensor,
    *,
    aggregate_function: int = 1,
    leaf_targetids: Sequence[int],
    leaf_weights: Tensor,
    membership_values: Tensor | None = None,
    n_targets: int = 1,
    nodes_falseleafs: Sequence[int],
    nodes_falsenodeids: Sequence[int],
    nodes_featureids: Sequence[int],
    nodes_hitrates: object = None,
    nodes_missing_value_tracks_true: Sequence[int] | None = None,
    nodes_modes: Tensor,
    nodes_splits: Tensor,
    nodes_trueleafs: Sequence[int],
    nodes_truenodeids: Sequence[int],
    post_transform: int = 0,
    tree_roots: Sequence[int],
) -> Tensor:
    """Inner nodes first, then the leaves, each with one weight."""
    modes, splits = nodes_modes.values(), _flat(nodes_splits)
    inner, missing = len(splits), nodes_missing_value_tracks_true or (0,) * len(splits)
    nodes: list[TreeNode] = [TreeNode(0) for _ in range(inner)]
    nodes += [TreeNode(0, weights=((t, w),)) for t, w in zip(leaf_targetids, _flat(leaf_weights), strict=True)]
    members = iter(_members(_flat(membership_values)))
    for i in range(inner):
        yes = nodes_truenodeids[i] + (inner if nodes_trueleafs[i] else 0)
        no = nodes_falsenodeids[i] + (inner if nodes_falseleafs[i] else 0)
        mode, feature, nan = int(modes[i]), nodes_featureids[i], bool(missing[i])
        if mode < 6:
            nodes[i] = TreeNode(mode + 1, feature, splits[i], yes, no, nan_is_true=nan)
            continue
        values = next(members)
        for value in reversed(values[1:]):  # each asks for one value, and hands on to the next
            nodes.append(TreeNode(_MODES["BRANCH_EQ"], feature, value, yes, no, nan_is_true=nan))
            no = len(nodes) - 1
        nodes[i] = TreeNode(_MODES["BRANCH_EQ"], feature, values[0], yes, no, nan_is_true=nan)
    functions = (Reduction.SUM, Reduction.SUM, Reduction.MIN, Reduction.MAX)
    scores = _ensemble(g, x, _table(nodes, list(tree_roots)), n_targets, functions[aggregate_function])
    if aggregate_function == 0:
        scores = g.div(scores, len(tree_roots))
    names = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
    return post_transformed(g, scores, names[post_transform])


def _members(values: Sequence[float]) -> list[list[float]]:
    """The sets of values, which NaNs divide."""
    sets: list[list[float]] = [[]]
    for value in values:
        if value != value:
            sets.append([])
        else:
            sets[-1].append(value)
    return [members for members in sets if members]
