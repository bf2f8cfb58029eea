"""
Decision-tree ensembles: three ways of writing them down, one kernel.

Each operator's attributes become `TreeNodes`, arrays with an element for each node, which `tree_table` lays out as the
TREE kernel reads them. A test for membership becomes a chain of equalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from opml_dispute.engine.freed_memory import large_arrays_apart
from opml_dispute.model.builder import Builder
from opml_dispute.model.long_lists import Words
from opml_dispute.model.lower import wide_trees
from opml_dispute.model.lower.classic import (
    as_labels,
    class_labels,
    numbers_of_labels,
    post_transformed,
    two_classes,
)
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.lower.tree_lists import (
    Places,
    exact_numbers,
    given_as,
    numbers_as_given,
    taken,
    whole_numbers,
)
from opml_dispute.model.lower.tree_table import BYTES_OF_NODE, MODES, TreeNodes, TreeTable, tree_levels, tree_table
from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor

ML = "ai.onnx.ml"


def _ensemble(g: Builder, x: Tensor, table: TreeTable, targets: int, function: Reduction) -> Tensor:
    x = g.cast(x, DType.F32)
    if x.rank == 1:
        x = x.with_axis(0)
    if x.rank != 2 or table.features > x.shape[1]:
        raise Refuse(f"input {list(x.shape)} for trees that look at {table.features} features")
    parts = [table.nodes, table.thresholds, table.roots, table.targets, table.weights]
    constants = [g.constant(part) for part in parts]
    return g.tree(x, constants, targets, function, table.depth, table.leaf_weights)


def _scores(g: Builder, x: Tensor, nodes: TreeNodes, roots: Array, targets: int, function: Reduction) -> Tensor:
    """
    The sums (or extremes) of what the trees' leaves weigh, [N][targets]: binary64 if the features are.

    The arrays of `nodes` may be gone afterwards. Raises `Refuse` for a weight of a target that there is not.
    """
    if not roots.size:
        raise Refuse("no trees; expected at least one root")
    if targets < 1 or (nodes.targets.size and not (nodes.targets.min() >= 0 and nodes.targets.max() < targets)):
        raise Refuse(f"weights of targets {nodes.targets.min()} to {nodes.targets.max()}; expected 0 to {targets - 1}")
    if x.dtype is not DType.F64:
        certain = function is Reduction.SUM or _weighs_for_all(nodes, targets)
        scores = _ensemble(g, x, tree_table(nodes, roots), targets, function)
        return scores if certain else wide_trees.or_nothing(g, scores, function)
    rows = x.with_axis(0) if x.rank == 1 else x
    ranks, thresholds = wide_trees.ranked(g, rows, nodes)
    by_rank = wide_trees.numbered(nodes, thresholds, tree_levels(nodes, roots)[1])
    leaves = _ensemble(g, ranks, tree_table(by_rank, roots), roots.size, Reduction.SUM)
    return wide_trees.summed(g, leaves, nodes, targets, function)


def _weighs_for_all(nodes: TreeNodes, targets: int) -> bool:
    """Whether each leaf has a weight for each target."""
    own = nodes.of_leaves()
    return bool(np.unique(own.owner * targets + own.targets).size == int((nodes.mode == 0).sum()) * targets)


def _from_base(g: Builder, scores: Tensor, base: Array) -> Tensor:
    """Scores [N][targets] and what each starts from. Raises `Refuse` if that is not one number for each."""
    if base.size not in (0, scores.shape[1]):
        raise Refuse(f"{base.size} base values for {scores.shape[1]} targets; expected one for each, or none")
    return g.add(scores, g.constant(base.astype(scores.dtype.numpy))) if base.size else scores


def _classic_nodes(attributes: Mapping[str, Any], prefix: str) -> tuple[TreeNodes, Array]:
    """Nodes and roots from the attributes of TreeEnsembleRegressor and -Classifier."""
    with large_arrays_apart(BYTES_OF_NODE * len(attributes["nodes_modes"])):
        return _nodes_of_lists(attributes, prefix)


def _nodes_of_lists(attributes: Mapping[str, Any], prefix: str) -> tuple[TreeNodes, Array]:
    trees, ids = whole_numbers(attributes["nodes_treeids"]), whole_numbers(attributes["nodes_nodeids"])
    places = Places(trees, ids)
    of_trees, of_nodes = whole_numbers(attributes[f"{prefix}_treeids"]), whole_numbers(attributes[f"{prefix}_nodeids"])
    owner = places.of(of_trees, of_nodes)
    if (owner < 0).any():
        wrong = int(np.flatnonzero(owner < 0)[0])
        raise Refuse(f"a weight for node {of_nodes[wrong]} of tree {of_trees[wrong]}, which does not exist")
    modes = _mode_numbers(attributes["nodes_modes"])
    missing = attributes.get("nodes_missing_value_tracks_true")
    count = modes.size
    nodes = TreeNodes(
        modes,
        whole_numbers(attributes["nodes_featureids"]),
        numbers_as_given(attributes["nodes_values"]),
        places.of(trees, whole_numbers(attributes["nodes_truenodeids"])),
        places.of(trees, whole_numbers(attributes["nodes_falsenodeids"])),
        np.zeros(count, np.bool_) if missing is None or not len(missing) else whole_numbers(missing) != 0,
        owner,
        whole_numbers(attributes[f"{prefix}_ids"]),
        numbers_as_given(attributes[f"{prefix}_weights"]),
    )
    _expect_sizes(nodes, count, owner.size)
    firsts = np.sort(np.unique(trees, return_index=True)[1])
    return nodes, firsts.astype(np.int32)


def _mode_numbers(names: Words | Sequence[str]) -> Array:
    """Raises `Refuse` for a name that no mode has."""
    names = taken(names)
    different = names.words if isinstance(names, Words) else tuple(set(names))
    unknown = sorted(set(different) - set(MODES))
    if unknown:
        raise Refuse(f"a node of mode {unknown[0]!r}; expected one of {', '.join(MODES)}")
    if isinstance(names, Words):
        return np.array([MODES[name] for name in names.words], np.uint8)[names.codes]
    return np.fromiter(map(MODES.__getitem__, names), np.uint8, len(names))


def _expect_sizes(nodes: TreeNodes, count: int, weights: int) -> None:
    """Raises `Refuse` for lists of different lengths."""
    sizes = [part.size for part in (nodes.mode, nodes.feature, nodes.threshold, nodes.yes, nodes.no, nodes.nan_is_true)]
    if set(sizes) != {count} or {nodes.targets.size, nodes.weights.size} != {weights}:
        told = ", ".join(f"{size:,}" for size in (*sizes, nodes.targets.size, nodes.weights.size))
        raise Refuse(f"lists of lengths {told}, for {count:,} nodes and {weights:,} weights")


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
    nodes_modes: Words | Sequence[str],
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
            "nodes_values": given_as(nodes_values, nodes_values_as_tensor), "target_ids": target_ids,
            "target_nodeids": target_nodeids, "target_treeids": target_treeids,
            "target_weights": given_as(target_weights, target_weights_as_tensor),
        },
        "target",
    )  # fmt: skip
    function = {"SUM": Reduction.SUM, "AVERAGE": Reduction.SUM, "MIN": Reduction.MIN, "MAX": Reduction.MAX}
    if aggregate_function not in function:
        raise Refuse(f"aggregate_function {aggregate_function!r}; expected one of {', '.join(function)}")
    scores = _scores(g, x, nodes, roots, n_targets, function[aggregate_function])
    if aggregate_function == "AVERAGE":
        scores = g.div(scores, roots.size)
    base = exact_numbers(given_as(base_values, base_values_as_tensor))
    return post_transformed(g, g.cast(_from_base(g, scores, base), DType.F32), post_transform)


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
    nodes_modes: Words | Sequence[str],
    nodes_nodeids: Sequence[int],
    nodes_treeids: Sequence[int],
    nodes_truenodeids: Sequence[int],
    nodes_values: Sequence[float] | None = None,
    nodes_values_as_tensor: Tensor | None = None,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:
    """
    The label of the best class, and all scores.

    Two classes may share one score, that of the second: so it is where all weights are given to the first.
    """
    nodes, roots = _classic_nodes(
        {
            "nodes_falsenodeids": nodes_falsenodeids, "nodes_featureids": nodes_featureids, "nodes_modes": nodes_modes,
            "nodes_missing_value_tracks_true": nodes_missing_value_tracks_true, "nodes_nodeids": nodes_nodeids,
            "nodes_treeids": nodes_treeids, "nodes_truenodeids": nodes_truenodeids,
            "nodes_values": given_as(nodes_values, nodes_values_as_tensor), "class_ids": class_ids,
            "class_nodeids": class_nodeids, "class_treeids": class_treeids,
            "class_weights": given_as(class_weights, class_weights_as_tensor),
        },
        "class",
    )  # fmt: skip
    labels = numbers_of_labels(g, classlabels_int64s, classlabels_strings)
    base = exact_numbers(given_as(base_values, base_values_as_tensor))
    if len(labels) == 2 and len(np.unique(nodes.targets)) == 1 and base.size <= 1:
        positive = bool((nodes.of_leaves().weights >= 0).all() and (base >= 0).all())
        is_second = bool(nodes.targets[0])
        if is_second and base.size:
            raise Refuse("one base value for two classes, of which the second has weights; expected none, or two")
        nodes.targets = np.zeros_like(nodes.targets)
        scores = _scores(g, x, nodes, roots, 1, Reduction.SUM)
        if is_second:  # the first class has no weights: its score is 0
            label, _ = two_classes(g, scores, labels, "NONE", positive=positive)
            scores = g.cast(scores, DType.F32)
            both = g.concat([g.filled(scores.shape, 0, DType.F32), scores], 1)
            return as_labels(label, classlabels_strings), post_transformed(g, both, post_transform)
        if base.size:
            scores = g.add(scores, float(base[0]))
        label, scores = two_classes(g, scores, labels, post_transform, positive=positive)
        return as_labels(label, classlabels_strings), scores
    scores = _from_base(g, _scores(g, x, nodes, roots, len(labels), Reduction.SUM), base)
    label = as_labels(class_labels(g, scores, labels), classlabels_strings)
    return label, post_transformed(g, g.cast(scores, DType.F32), post_transform)


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
    if x.rank != 2:
        raise Refuse(f"input {list(x.shape)}; expected rows of features")
    splits, modes = exact_numbers(nodes_splits), nodes_modes.values().reshape(-1).astype(np.int64)
    inner, leaves = splits.size, exact_numbers(leaf_weights)
    for name, number, least_beyond in (
        ("mode", int(modes.max(initial=0)), 7),
        ("aggregate_function", aggregate_function, 4),
        ("post_transform", post_transform, 5),
    ):
        if not 0 <= number < least_beyond:
            raise Refuse(f"{name} {number}; expected 0 to {least_beyond - 1}")
    missing = nodes_missing_value_tracks_true
    parts = {
        "mode": np.minimum(modes + 1, MODES["BRANCH_EQ"] + (modes < 6)),
        "feature": whole_numbers(nodes_featureids),
        "threshold": splits,
        "yes": _children(nodes_truenodeids, nodes_trueleafs, inner, leaves.size),
        "no": _children(nodes_falsenodeids, nodes_falseleafs, inner, leaves.size),
        "nan_is_true": np.zeros(inner, np.int64)
        if missing is None or not len(missing)
        else whole_numbers(missing) != 0,
    }
    rows = {name: [*part.tolist(), *[0] * leaves.size] for name, part in parts.items()} if (modes >= 6).any() else {}
    members = _members(exact_numbers(membership_values).tolist())
    if len(members) != int((modes == 6).sum()):
        raise Refuse(f"{len(members)} sets of membership values for {int((modes == 6).sum())} nodes that test for one")
    for i, values in zip(np.flatnonzero(modes == 6).tolist(), members, strict=True):
        for value in reversed(values[1:]):  # each asks for one value, and hands on to the next
            row = {**{name: rows[name][i] for name in parts}, "threshold": value}
            for name in parts:
                rows[name].append(row[name])
            rows["no"][i] = len(rows["no"]) - 1
        rows["threshold"][i] = values[0]
    whole = {name: np.concatenate([part, np.zeros(leaves.size, part.dtype)]) for name, part in parts.items()}
    whole |= {name: np.array(row, parts[name].dtype) for name, row in rows.items()}
    whole["nan_is_true"] = whole["nan_is_true"] != 0
    owner = inner + np.arange(leaves.size)
    nodes = TreeNodes(**whole, owner=owner, targets=whole_numbers(leaf_targetids), weights=leaves)
    _expect_sizes(nodes, nodes.mode.size, leaves.size)
    functions = (Reduction.SUM, Reduction.SUM, Reduction.MIN, Reduction.MAX)
    scores = _scores(g, x, nodes, whole_numbers(tree_roots), n_targets, functions[aggregate_function])
    if aggregate_function == 0:
        scores = g.div(scores, len(tree_roots))
    names = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
    return post_transformed(g, g.cast(scores, DType.F32) if post_transform else scores, names[post_transform])


def _children(ids: Sequence[int], leafs: Sequence[int], inner: int, leaves: int) -> Array:
    """The places of nodes' children, leaves behind the inner nodes. Raises `Refuse` for one that there is not."""
    places: Array = whole_numbers(ids)
    is_leaf: Array = whole_numbers(leafs)
    if places.size != is_leaf.size or not np.isin(is_leaf, (0, 1)).all():
        raise Refuse(f"{places.size} children, of which {is_leaf.size} numbers say 0 or 1 for a leaf")
    if ((places < 0) | (places >= np.where(is_leaf != 0, leaves, inner))).any():
        raise Refuse(f"a child beyond {inner} nodes and {leaves} leaves")
    children: Array = places + inner * is_leaf
    return children


def _members(values: Sequence[float]) -> list[list[float]]:
    """The sets of values, behind each of which there is a NaN. Raises `Refuse` for an empty one."""
    sets: list[list[float]] = [[]]
    for value in values:
        if value != value:
            sets.append([])
        else:
            sets[-1].append(value)
    if not sets[-1]:
        sets.pop()
    if not all(sets):
        raise Refuse("an empty set of membership values")
    return sets
