"""Tiles: every output once, no part above the budget, and not many more parts than the budget calls for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import Opcode
from tests.model.graphs import Graph

BUDGET = 1 << 20
AT_MOST = 4
"""Times as many parts as the steps of the whole would fill: four channels or rows made at once cost half of what they
cost one by one, and parts are rounded down to channels or rows."""


def _conv(channels: int, made: int, size: int, kernel: int, stride: int = 1) -> onnx.ModelProto:
    graph = Graph()
    x = graph.input("x", (1, channels, size, size))
    weights = graph.constant(np.ones((made, channels, kernel, kernel), np.float32))
    return graph.model([graph.node("Conv", x, weights, pads=[kernel // 2] * 4, strides=[stride] * 2)])


def _matmul(rows: int, depth: int, columns: int) -> onnx.ModelProto:
    graph = Graph()
    x = graph.input("x", (rows, depth))
    return graph.model([graph.node("MatMul", x, graph.constant(np.ones((depth, columns), np.float32)))])


CUT: dict[str, Callable[[], onnx.ModelProto]] = {
    "a few channels at a time": lambda: _conv(4, 32, 20, 3),
    "rows of a channel": lambda: _conv(32, 4, 56, 3),
    "parts of a row": lambda: _conv(128, 2, 12, 7),
    "windows of one tap": lambda: _conv(64, 64, 28, 1),
    "strides": lambda: _conv(16, 16, 56, 5, stride=2),
    "rows of a matrix": lambda: _matmul(150, 120, 90),
    "parts of a row of a matrix": lambda: _matmul(3, 2_000, 400),
}


@pytest.mark.parametrize("name", CUT)
def test_cut_into_about_as_few_parts_as_the_budget_allows(name: str) -> None:
    model = CUT[name]()
    whole, cut = compile_model(model, tile_budget=1 << 60), compile_model(model, tile_budget=BUDGET)
    kernels = (Opcode.CONV, Opcode.CONTRACT)
    (large,) = (node for t, node in enumerate(whole.nodes) if whole.record(t).opcode in kernels)
    parts = [cut.record(t) for t in range(cut.node_count) if cut.record(t).opcode in kernels]
    assert [part.lo for part in parts[1:]] == [part.hi for part in parts[:-1]]
    assert (parts[0].lo, parts[-1].hi) == (0, whole.record(large.record_index).hi)
    assert max(cut.node_steps) <= BUDGET
    assert 1 < len(parts) <= AT_MOST * whole.node_steps[large.record_index] / BUDGET + 1
