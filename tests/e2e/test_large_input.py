"""An input that no transaction can carry: asked about, lied about, disputed, answered and read, on a real chain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.chain.quoting import TRANSACTION_GAS_CAP
from opml_dispute.cli.demo.large_input import WAYS, dispute_a_large_input
from opml_dispute.cli.demo.stage import Stage

ROWS, COLUMNS = 200, 180
"""Of the model's input, in float32: 144,000 bytes, three parts or two blobs."""


def write_model(path: Path) -> None:
    """Means of the columns, multiplied with random weights: several nodes, and an answer of many numbers."""
    weights = np.random.default_rng(3).standard_normal((COLUMNS, 40)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("MatMul", ["mean", "w"], ["product"]),
            helper.make_node("Sigmoid", ["product"], ["y"]),
        ],
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, COLUMNS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 40])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("way", WAYS)
def test_a_lie_about_a_large_input_loses_and_the_truth_is_delivered_and_read(way: str, tmp_path: Path) -> None:
    """Both have model and input from where the chain says; each transaction is below a public chain's cap."""
    file = tmp_path / "rows.onnx"
    write_model(file)
    with Stage.open() as stage:
        result = dispute_a_large_input(stage, file, tmp_path, way=way, seed=1)
        assert stage.system.rpc.balance_wei(stage.system.input_blobs.address) == 0
        assert stage.system.rpc.balance_wei(stage.system.oracle.address) == 0
    sent = {one.kind: one for one in result.transactions}
    assert sent["publish"].count == (3 if way == "parts" else 1)
    assert result.blobs == (0 if way == "parts" else 2)
    assert sent["publish"].gas < (8_000_000 if way == "parts" else 200_000)
    assert result.largest_gas < TRANSACTION_GAS_CAP // 6
    assert result.winner == "challenger"
    assert (sent["step"].count, sent["finalize"].count, sent["prove-part"].count) == (1, 1, 2)
    assert result.paid_out_wei["challenger"] > result.bonds_wei["challenger"]
    assert result.paid_out_wei["proposer"] == 0
    assert f"of node {result.node} " in result.fault, "the step is in the node that the fault is in"
