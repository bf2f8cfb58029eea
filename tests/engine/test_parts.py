"""
What is only copied into a larger tensor is made there: fewer steps, the same states.

Concatenations of all kinds: of results that nothing else needs, of one that is needed elsewhere too, of one twice,
along other axes, of concatenations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from opml_dispute.engine.analysis import ProgramAnalysis
from opml_dispute.engine.node_record import COPY, RECORD
from opml_dispute.model.compiler import compile_model
from tests.engine.test_schedule import assert_same, named

Nodes = Sequence[tuple[str, Sequence[str], str, dict[str, Any]]]
"""Operator, inputs, output, attributes."""


def copies_of(nodes: Nodes, shape: Sequence[int] = (1, 6, 9, 7)) -> int:
    """Runs a model of "x" and "z", both of one shape, to "y"; answers how many copies its schedule makes."""
    made = [helper.make_node(op, inputs, [out], **attributes) for op, inputs, out, attributes in nodes]
    made.append(helper.make_node("ReduceMax", ["end"], ["y"], keepdims=0, axes=[-1]))  # no copy, whatever came before
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "z")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(made, "parts", inputs, [output])
    program = compile_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10))
    assert_same(program, named(program, 5))
    schedule = ProgramAnalysis.of(program).schedule
    assert schedule is not None
    records = np.frombuffer(schedule.records + schedule.copies, RECORD)
    return int(np.sum(records["opcode"][schedule.steps[:, 0]] == COPY))


POOLS: Nodes = (
    ("MaxPool", ["x"], "a", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", ["z"], "b", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
)


@pytest.mark.parametrize(
    ("nodes", "copies"),
    [
        ((*POOLS, ("Concat", ["a", "b"], "end", {"axis": 1})), 0),
        ((*POOLS, ("Concat", ["a", "x", "b"], "end", {"axis": 1})), 1),
        ((*POOLS, ("Concat", ["a", "a"], "end", {"axis": 1})), 2),
        ((*POOLS, ("Concat", ["a", "b"], "c", {"axis": 1}), ("Concat", ["c", "c"], "end", {"axis": 1})), 2),
        ((*POOLS, ("Concat", ["a", "b"], "c", {"axis": 1}), ("Concat", ["x", "c"], "end", {"axis": 1})), 2),
        ((*POOLS, ("Concat", ["a", "b"], "c", {"axis": 3}), ("MaxPool", ["c"], "end", {"kernel_shape": [1, 2]})), 2),
    ],
    ids=["results", "an input between", "one twice", "a whole twice", "a whole as a part", "interleaved"],
)
def test_concatenations(nodes: Nodes, copies: int) -> None:
    """The compiler makes as many copies as expected for each concatenation."""
    assert copies_of(nodes) == copies


def test_a_part_that_is_needed_elsewhere_is_copied() -> None:
    nodes = (
        *POOLS,
        ("Concat", ["a", "b"], "c", {"axis": 1}),
        ("MaxPool", ["c"], "d", {"kernel_shape": [1, 1]}),
        ("Concat", ["d", "a"], "end", {"axis": 1}),
    )
    assert copies_of(nodes) >= 1


def test_ends_of_chains_are_made_in_place() -> None:
    nodes = (
        *POOLS,
        ("Relu", ["a"], "ra", {}),
        ("Neg", ["b"], "nb", {}),
        ("Add", ["nb", "x"], "nbx", {}),
        ("Concat", ["ra", "nbx"], "end", {"axis": 1}),
    )
    copies_of(nodes)
