"""Recurrent layers beside ONNX Runtime: a threshold bounds what goes into gates, and gates may be coupled."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from tests.model.graphs import Array, Graph

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
HIDDEN = 3


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op_type", GATES)
def test_a_threshold_bounds_what_goes_into_the_gates_and_not_the_state(op_type: str, direction: str) -> None:
    """The output of an LSTM is that of its whole state, which a long input makes larger than the threshold."""
    rng = np.random.default_rng(5)
    directions, gates = 2 if direction == "bidirectional" else 1, GATES[op_type]

    def numbers(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    graph, x, state = Graph(), numbers(6, 2, 4), numbers(directions, 2, HIDDEN)
    names = [graph.input("x", x.shape)]
    names += [graph.constant(numbers(directions, gates * HIDDEN, width)) for width in (4, HIDDEN)]
    names += ["", "", graph.input("state", state.shape)] + (["state"] if op_type == "LSTM" else [])
    out = graph.node(op_type, *names, outputs=2, hidden_size=HIDDEN, direction=direction, clip=0.3)
    model = graph.model([out, f"{out}.1"], opset=14)
    feeds = {"x": x, "state": state}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ours = Inference(compile_model(model), feeds).outputs()
    for mine, wanted in zip(ours.values(), session.run(None, feeds), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("with_peepholes", [False, True])
def test_a_coupled_gate_forgets_what_the_input_gate_does_not_take(with_peepholes: bool) -> None:
    rng = np.random.default_rng(7)

    def numbers(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    graph, x = Graph(), numbers(4, 2, 5)
    names = [graph.input("x", x.shape)]
    names += [graph.constant(numbers(1, 4 * HIDDEN, width)) for width in (5, HIDDEN)]
    names += ["", "", "", "", *([graph.constant(numbers(1, 3 * HIDDEN))] if with_peepholes else [])]
    out = graph.node("LSTM", *names, outputs=3, hidden_size=HIDDEN, input_forget=1)
    model = graph.model([out, f"{out}.1", f"{out}.2"], opset=14)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ours = Inference(compile_model(model), {"x": x}).outputs()
    for mine, wanted in zip(ours.values(), session.run(None, {"x": x}), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-5)
