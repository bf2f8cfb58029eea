"""Trees as tables: random ones, shared parts, shuffled numbers; and what is no tree is refused with a sentence."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import onnxruntime
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.lower.tree_table import TreeNodes, tree_table
from opml_dispute.model.refusals import UnsupportedOp
from tests.model.graphs import Array, Graph, single

ML = "ai.onnx.ml"


def random_forest(rng: np.random.Generator, *, shared: bool) -> dict[str, Any]:
    """Three trees of up to nine nodes under shuffled numbers; with `shared`, nodes may have several parents."""
    rows: list[tuple[int, int, str, int, int]] = []
    for tree in rng.permutation(5)[:3].tolist():
        count = int(rng.integers(1, 5))
        inner, size = count - 1, 2 * count - 1
        names = rng.permutation(20)[:size].tolist()
        for i in range(size):
            if i >= inner:
                rows.append((tree, names[i], "LEAF", 0, 0))
                continue
            # Of a chain each inner node has the next one on one side; others lead to any later node.
            later = (
                rng.integers(i + 1, size, 2).tolist() if shared else [i + 1 if i + 1 < inner else size - 1, inner + i]
            )
            yes, no = later if rng.random() < 0.5 else later[::-1]
            rows.append(
                (tree, names[i], str(rng.choice(["BRANCH_LEQ", "BRANCH_GT", "BRANCH_LT"])), names[yes], names[no])
            )
    leaves = [(tree, name) for tree, name, mode, *_ in rows if mode == "LEAF"]
    return {
        "nodes_treeids": [row[0] for row in rows],
        "nodes_nodeids": [row[1] for row in rows],
        "nodes_modes": [row[2] for row in rows],
        "nodes_truenodeids": [row[3] for row in rows],
        "nodes_falsenodeids": [row[4] for row in rows],
        "nodes_featureids": rng.integers(0, 3, len(rows)).tolist(),
        "nodes_values": [float(v) for v in np.round(rng.normal(size=len(rows)), 1).astype(np.float32)],
        "nodes_missing_value_tracks_true": rng.integers(0, 2, len(rows)).tolist(),
        "target_treeids": [tree for tree, _ in leaves],
        "target_nodeids": [name for _, name in leaves],
        "target_ids": rng.integers(0, 2, len(leaves)).tolist(),
        "target_weights": [float(v) for v in rng.integers(-8, 8, len(leaves))],
        "n_targets": 2,
    }


def walked(forest: dict[str, Any], x: Array) -> Array:
    """The sums, by going from node to node."""
    places = {pair: i for i, pair in enumerate(zip(forest["nodes_treeids"], forest["nodes_nodeids"], strict=True))}
    sums = np.zeros((len(x), 2), np.float32)
    for row, into in zip(x, sums, strict=True):
        for tree in dict.fromkeys(forest["nodes_treeids"]):
            at = forest["nodes_treeids"].index(tree)
            while (mode := forest["nodes_modes"][at]) != "LEAF":
                value, limit = row[forest["nodes_featureids"][at]], np.float32(forest["nodes_values"][at])
                holds = {"BRANCH_LEQ": value <= limit, "BRANCH_GT": value > limit, "BRANCH_LT": value < limit}[mode]
                if np.isnan(value):
                    holds = bool(forest["nodes_missing_value_tracks_true"][at])
                way = "true" if holds else "false"
                at = places[tree, forest[f"nodes_{way}nodeids"][at]]
            leaf = (tree, forest["nodes_nodeids"][at])
            owners = list(zip(forest["target_treeids"], forest["target_nodeids"], strict=True))
            into[forest["target_ids"][owners.index(leaf)]] += forest["target_weights"][owners.index(leaf)]
    return sums


@pytest.mark.parametrize("shared", [False, True])
def test_random_trees_are_walked_as_written(shared: bool) -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        forest = random_forest(rng, shared=shared)
        x = np.round(rng.normal(size=(6, 3)), 1).astype(np.float32)
        x[rng.random(x.shape) < 0.2] = np.nan
        program = compile_model(single("TreeEnsembleRegressor", x, domain=ML, **forest))
        (name,) = (spec.name for spec in program.inputs)
        (found,) = Inference(program, {name: x}).outputs().values()
        np.testing.assert_array_equal(found, walked(forest, x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes_truenodeids": [7, 0, 0]}, "a tree that leads to node -1 of 3"),
        ({"nodes_falsenodeids": [0, 0, 0]}, "a tree that comes back to node 0"),
        ({"nodes_modes": ["BRANCH_MEMBER", "LEAF", "LEAF"]}, "a node of mode 'BRANCH_MEMBER'; expected one of LEAF"),
        ({"target_nodeids": [1, 9]}, "a weight for node 9 of tree 0, which does not exist"),
        ({"nodes_values": [0.5, 0.0]}, "lists of lengths 3, 3, 2, 3, 3, 3, 2, 2, for 3 nodes and 2 weights"),
        ({"nodes_featureids": [1 << 40, 0, 0]}, "a tree that looks at feature"),
        ({"nodes_featureids": [5, 0, 0]}, "for trees that look at 6 features"),
    ],
)
def test_what_is_no_tree_is_refused(change: dict[str, Any], message: str) -> None:
    tree: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [1.0, 2.0],
    }
    x = np.zeros((1, 2), np.float32)
    with pytest.raises(UnsupportedOp, match=message):
        compile_model(single("TreeEnsembleRegressor", x, domain=ML, **(tree | change)))


def test_a_table_takes_little_more_room_than_it_and_its_nodes() -> None:
    depth, trees = 11, 200
    size = 2**depth - 1
    child = np.arange(1, size, 2, dtype=np.int32)  # of the inner nodes of a complete tree, which come first
    yes = np.concatenate([child, np.full(size - child.size, -1, np.int32)])
    starts = np.arange(trees, dtype=np.int32) * size
    is_leaf = np.tile(yes < 0, trees)
    tracemalloc.start()
    try:
        nodes = TreeNodes(
            np.where(is_leaf, 0, 1).astype(np.uint8),
            np.zeros(is_leaf.size, np.int8),
            np.ones(is_leaf.size, np.float32),
            (yes + starts[:, None]).reshape(-1),
            (yes + 1 + starts[:, None]).reshape(-1),
            np.zeros(is_leaf.size, np.bool_),
            np.flatnonzero(is_leaf).astype(np.int32),
            np.zeros(child.size * trees + trees, np.int8),
            np.ones(child.size * trees + trees, np.float32),
        )
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        table = tree_table(nodes, starts)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table.nodes.shape == (is_leaf.size, 4)
    assert (table.depth, table.features) == (depth - 1, 1)
    assert peak < 1.1 * (before + after)
    assert not hasattr(nodes, "yes")


@pytest.mark.parametrize("weights", [[0.1, 0.2, 0.4, 0.25], [0.1, -0.2, 0.4, -0.25]])
@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_weights_of_the_second_class_alone_are_its_score_and_the_first_has_none(
    transform: str, weights: list[float]
) -> None:
    """As in ONNX Runtime: only where all weights are the first class's they are the second's, and it has the rest."""
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1], "nodes_nodeids": [0, 1, 2, 0, 1, 2],
        "nodes_featureids": [0, 0, 0, 1, 0, 0], "nodes_values": [0.5, 0.0, 0.0, 0.2, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LT", "LEAF", "LEAF", "BRANCH_GTE", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0, 1, 0, 0], "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
        "class_treeids": [0, 0, 1, 1], "class_nodeids": [1, 2, 1, 2], "class_ids": [1, 1, 1, 1],
        "class_weights": weights, "classlabels_int64s": [4, 7], "post_transform": transform,
    }  # fmt: skip
    x = np.array([[0.5, 0.2], [0, 0], [1, 0], [-5, 5]], np.float32)
    graph = Graph()
    label = graph.node("TreeEnsembleClassifier", graph.input("x", x.shape), domain=ML, outputs=2, **attributes)
    model = graph.model([label, f"{label}.1"], domains={ML: 3})
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    found = list(Inference(compile_model(model), {"x": x}).outputs().values())
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    if transform == "NONE":
        assert not found[1][:, 0].any()
