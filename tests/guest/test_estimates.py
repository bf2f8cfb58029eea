"""
The steps that a compiled model's nodes are estimated at, against what the guest takes for them.

No node takes more than its estimate, which the registered step bound relies on. And the estimate is worth showing: over
a model it is at most a fifth above the truth. Kernels whose cost hangs on the data (`BY_DATA`) are estimated at their
worst, so for them only the first holds. Single records, and the worst operands, are test_cost.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from opml_dispute.engine.segment import input_image
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import Opcode
from opml_dispute.model.program import Program
from opml_dispute.trace.guest import run_node_in_vm
from tests.determinism.subjects import Run, kernel_model, runs
from tests.model.graphs import Array, Graph

AT_MOST = 1.2
SMALL_STEPS = 2_000
"""What a node costs once is estimated at its most, which only small nodes feel."""

BY_DATA: Mapping[Opcode, str] = {
    Opcode.TOPK: "how often an element enters the heap, and how deep it sinks",
    Opcode.TREE: "how deep the leaves lie that are reached",
}
"""Kernels whose cost hangs on the data, and on what of it."""


def _model(build: Callable[[Graph, str], str], *shape: int) -> Run:
    graph = Graph()
    made = compile_model(graph.model([build(graph, graph.input("x", shape))], opset=18))
    x = np.random.default_rng(shape).standard_normal(shape).astype(np.float32)
    return Run(made, input_image(made.inputs, {"x": x}))


def _numbers(*shape: int) -> Array:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def _matmul(rows: int, depth: int, columns: int) -> Run:
    return _model(lambda g, x: g.node("MatMul", x, g.constant(_numbers(depth, columns))), rows, depth)


def _conv(channels: int, made: int, size: int, kernel: int, *, stride: int = 1, groups: int = 1) -> Run:
    weights = _numbers(made, channels // groups, kernel, kernel)

    def build(g: Graph, x: str) -> str:
        return g.node("Conv", x, g.constant(weights), pads=[kernel // 2] * 4, strides=[stride] * 2, group=groups)

    return _model(build, 1, channels, size, size)


SIZES: Mapping[str, Callable[[], Run]] = {
    "MatMul 16 x 16 x 16": lambda: _matmul(16, 16, 16),
    "MatMul 37 x 53 x 29": lambda: _matmul(37, 53, 29),
    "MatMul 1 x 256 x 256": lambda: _matmul(1, 256, 256),
    "MatMul 128 x 64 x 96": lambda: _matmul(128, 64, 96),
    "MatMul 16 x 1024 x 1024": lambda: _matmul(16, 1024, 1024),
    "MatMul 64 x 1024 x 1024, in tiles": lambda: _matmul(64, 1024, 1024),
    "Conv 1x1, 64 channels": lambda: _conv(64, 64, 14, 1),
    "Conv 3x3, 16 channels": lambda: _conv(16, 16, 28, 3),
    "Conv 3x3, stride 2": lambda: _conv(16, 32, 28, 3, stride=2),
    "Conv 7x7, 3 channels": lambda: _conv(3, 16, 56, 7, stride=2),
    "Conv 3x3, channel by channel": lambda: _conv(32, 32, 28, 3, groups=32),
    "Softmax 64 x 1000": lambda: _model(lambda g, x: g.node("Softmax", x), 64, 1000),
    "LayerNormalization 64 x 256": lambda: _model(
        lambda g, x: g.node("LayerNormalization", x, g.constant(_numbers(256))), 64, 256
    ),
    "Gelu 128 x 256": lambda: _model(lambda g, x: g.node("Mul", x, g.node("Erf", x)), 128, 256),
    "Transpose 96 x 50 x 40": lambda: _model(lambda g, x: g.node("Transpose", x, perm=[2, 0, 1]), 96, 50, 40),
}


def _compare(run: Run) -> dict[Opcode, tuple[int, int, int]]:
    """By kernel: nodes, steps that the guest takes, steps estimated. Asserts that no estimate is too low."""
    inference, made = run.inference(), run.program
    assert isinstance(made, Program)
    found: dict[Opcode, tuple[int, int, int]] = {}
    for t, node in enumerate(made.nodes):
        taken = run_node_in_vm(inference, t)
        assert taken.agrees
        assert taken.steps <= node.estimated_steps <= made.step_bound, node
        opcode = made.record(t).opcode
        nodes, steps, estimated = found.get(opcode, (0, 0, 0))
        found[opcode] = nodes + 1, steps + taken.steps, estimated + node.estimated_steps
    return found


def _assert_close(found: Mapping[Opcode, tuple[int, int, int]]) -> None:
    nodes, taken, estimated = (sum(column) for column in zip(*found.values(), strict=True))
    assert estimated <= AT_MOST * taken + SMALL_STEPS * nodes, f"{estimated / taken:.2f} times: {found}"


def test_the_sample_model_is_estimated_closely() -> None:
    (run,) = runs("digits")
    _assert_close(_compare(run))


@pytest.mark.parametrize("name", SIZES)
def test_models_of_several_sizes_are_estimated_closely(name: str) -> None:
    _assert_close(_compare(SIZES[name]()))


@pytest.mark.parametrize("opcode", Opcode)
def test_each_kernel_is_estimated_closely(opcode: Opcode) -> None:
    """On the model of that kernel: large, and with awkward numbers in it."""
    found = _compare(kernel_model(opcode))
    if opcode not in BY_DATA:
        _assert_close(found)
