"""`model inspect` tells what a person needs before putting money on a model, and scripts the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from opml_dispute.engine.analysis import size_of
from opml_dispute.engine.inference import Inference
from opml_dispute.game import gas
from opml_dispute.game.depths import Depths
from opml_dispute.game.gas import dispute_bonds_wei, dispute_gas, dispute_moves
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import PlannedBlock, Program
from opml_dispute.models import DIGITS
from opml_dispute.operator.inspection import inspect_program, peak_live_bytes
from tests.cli.conftest import Cli
from tests.model.graphs import Graph
from tests.model.test_survey import hopeless

SNAPSHOTS = Path(__file__).parents[2] / "contracts" / "snapshots" / "game.json"


@pytest.fixture(scope="module")
def digits() -> Program:
    return compile_model(DIGITS)


def test_all_facts_are_there(cli: Cli, digits: Program) -> None:
    """Inputs, outputs, nodes by operator and kernel, weights, root, memory, time, steps, depths, moves, gas, bonds."""
    facts = cli("model", "inspect", "--json").object_with("model_root")
    depths = Depths.for_model(digits.node_count, digits.log2_steps)
    assert facts["model_root"] == "0x" + digits.model_root.hex()
    assert (facts["inputs"], facts["outputs"]) == (["image f32[1, 1, 8, 8]"], ["probabilities f32[1, 10]"])
    assert (facts["nodes"], facts["log2_steps"]) == (digits.node_count, digits.log2_steps)
    assert facts["weights_bytes"] == digits.weights_bytes
    assert 0 < facts["native_seconds"] < facts["native_cold_seconds"]
    assert facts["native_warm_runs"] >= 3
    assert facts["native_status"] == 0
    assert (facts["split_depth"], facts["max_depth"]) == (depths.split, depths.max)
    assert (facts["moves"], facts["gas"]) == (dispute_moves(depths), dispute_gas(depths))
    assert (facts["proposer_bonds_wei"], facts["challenger_bonds_wei"]) == dispute_bonds_wei(depths)
    for shares in (facts["operators"], facts["kernels"]):
        assert sum(share["nodes"] for share in shares.values()) == digits.node_count
        assert sum(share["steps"] for share in shares.values()) == facts["total_steps"]
    assert facts["operators"]["Conv"]["nodes"] == 2
    steps = [node["steps"] for node in facts["largest"]]
    assert steps == sorted(digits.node_steps, reverse=True)


def test_people_are_told_the_same(cli: Cli) -> None:
    result = cli("model", "inspect")
    facts = cli("model", "inspect", "--json", "--no-time").object_with("model_root")
    assert result.code == 0
    for number in ("total_steps", "weights_bytes", "peak_live_bytes", "gas"):
        assert f"{facts[number]:,}" in result.out, number
    assert f"limit 2^{facts['log2_steps']}" in result.out
    for text in (facts["model_root"], *facts["inputs"], *facts["outputs"], *facts["operators"], *facts["kernels"]):
        assert text in result.out
    assert f"split depth {facts['split_depth']}, max depth {facts['max_depth']}" in result.out
    assert f"{facts['moves']} moves" in result.out
    assert "one thread" in result.out


def test_as_many_nodes_are_listed_as_asked_for(cli: Cli) -> None:
    """The costliest; none for 0. Without --time nothing is run."""
    two = cli("model", "inspect", "--nodes", 2, "--no-time", "--json").object_with("largest")
    assert [node["name"] for node in two["largest"]] == ["conv2", "conv1"]
    assert two["native_seconds"] is None
    none = cli("model", "inspect", "--nodes", 0, "--no-time")
    assert "conv2" not in none.out
    assert "native run" not in none.out


def test_every_operator_in_the_way_is_named(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "hopeless.onnx"
    onnx.save(hopeless(), path)
    named = ("RandomNormalLike", "Unique", "Bernoulli", "LpNormalization", "NonMaxSuppression")
    result = cli("model", "inspect", path, "--dim", "batch=2", "--dim", "seq=3")
    assert result.code == 1
    for op_type in named:
        assert op_type in result.out
        assert op_type in result.err
    assert "p 3; expected 1 or 2" in result.out
    facts, error = cli("model", "inspect", path, "--dim", "batch=2", "--dim", "seq=3", "--json").objects
    assert tuple(obstacle["op_type"] for obstacle in facts["unsupported"]) == named
    assert error["error"] == "ModelNotSupported"


def test_every_dimension_without_a_size_is_named(cli: Cli, tmp_path: Path) -> None:
    """With the options that would bind them, which do."""
    graph = Graph()
    x, y = graph.input("x", ["batch", "width"]), graph.input("y", ["batch", 1])
    path = tmp_path / "open.onnx"
    onnx.save(graph.model([graph.node("Mul", x, y)]), path)
    result = cli("model", "inspect", path)
    assert result.code == 1
    assert "'batch' (of x.0, y.0), 'width' (of x.1)" in result.err
    assert "--dim batch=1 --dim width=1" in result.err
    assert "'width'" in cli("model", "inspect", path, "--dim", "batch=3").err
    bound = cli("model", "inspect", path, "--dim", "batch=3", "--dim", "width=2", "--json").object_with("inputs")
    assert bound["inputs"] == ["x f32[3, 2]", "y f32[3, 1]"]


def test_a_run_that_fails_on_made_up_input_says_so(cli: Cli, tmp_path: Path) -> None:
    """The only index there is lies outside: the status is shown, the time as well."""
    graph = Graph()
    places = graph.input("places", [1], onnx.TensorProto.INT64)
    beyond = graph.node("Add", places, graph.constant(np.array([5])))
    path = tmp_path / "outside.onnx"
    onnx.save(graph.model([graph.node("Gather", graph.constant(np.ones(3, np.float32)), beyond)]), path)
    result = cli("model", "inspect", path)
    assert result.code == 0
    assert "fail with status 7" in result.out


def test_peak_memory_counts_what_lives_at_once() -> None:
    """A freed block is still there while the node runs that frees it."""

    def block(born: int, freed: int | None, size: int) -> PlannedBlock:
        return PlannedBlock(0, 6, 4, born, freed, size)

    assert peak_live_bytes([block(-1, None, 10)], 3) == 10
    assert peak_live_bytes([block(-1, 0, 10), block(0, 1, 20), block(1, None, 5)], 2) == 30
    assert peak_live_bytes([block(0, 0, 7), block(1, 1, 8), block(2, None, 3)], 3) == 8
    assert peak_live_bytes([block(0, 1, 7), block(1, 2, 8), block(2, None, 3)], 3) == 15
    assert peak_live_bytes([], 1) == 0


def test_peak_memory_is_what_a_run_really_holds(digits: Program) -> None:
    """Node by node, by the native engine's own account of what is live."""
    (spec,) = digits.inputs
    inference = Inference(digits, {spec.name: np.zeros(spec.shape, np.float32)})
    held = []
    for t in range(digits.node_count + 1):
        inference.run_to(t)
        held.append(sum(map(size_of, inference._tree_blocks())) - 32)  # without the header
    told = inspect_program(digits, timed=False).peak_live_bytes
    assert max(held) <= told <= 2 * max(held)


def test_gas_follows_the_contracts_snapshots() -> None:
    """Each part within a tenth of what the contracts' tests last measured."""
    snapshots = {name: int(used) for name, used in json.loads(SNAPSHOTS.read_text()).items()}
    parts = {
        gas.CREATE_GAS: snapshots["create a game"],
        gas.MOVE_GAS: snapshots["attack, depth 2"],
        gas.FIRST_MOVE_GAS: snapshots["attack, depth 1"] - snapshots["attack, depth 2"],
        28 * gas.SETTLE_CLAIM_GAS: snapshots["settle 27 claims and the game"],
        gas.PAYOUT_GAS: snapshots["claim credit, first call"] + snapshots["claim credit, second call"],
    }
    for expected, measured in parts.items():
        assert abs(expected - measured) <= measured / 10, (expected, measured)
