"""A small file can describe any amount of work: the compiler says so before it does it."""

from __future__ import annotations

import resource
import time

import numpy as np
import onnx
import pytest

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.limits import BadLimit, Limits, ModelTooDear
from opml_dispute.model.refusals import ModelError
from tests.model.graphs import Graph


def bomb(log2_size: int) -> onnx.ModelProto:
    """A scalar, expanded to a square, times itself: a few hundred bytes."""
    size, g = 1 << log2_size, Graph()
    square = g.node("Expand", g.input("x", (1, 1)), g.constant(np.array([size, size], np.int64)))
    product = g.node("MatMul", square, square)
    return g.model([g.node("ReduceSum", product, g.constant(np.array([0, 1], np.int64)), keepdims=1)], opset=18)


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelTooDear, match="more than 524,288 nodes") as raised:
        compile_model(bomb(16))
    assert "OPML_LIMITS=nodes=N" in str(raised.value.hint)
    assert time.process_time() - started < 5.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10


@pytest.mark.parametrize("log2_size", [18, 20, 24, 31])
def test_a_larger_bomb_has_no_room_at_all(log2_size: int) -> None:
    with pytest.raises(ModelError):
        compile_model(bomb(log2_size))


def test_every_limit_holds_and_can_be_raised() -> None:
    model = bomb(9)
    allowed = compile_model(model)
    for limits, what in (
        (Limits(nodes=2), "nodes"),
        (Limits(operations=1), "operations"),
        (Limits(seconds=1e-9), "seconds"),
    ):
        with pytest.raises(ModelTooDear, match=what):
            compile_model(model, limits=limits)
    assert compile_model(model, limits=Limits(nodes=allowed.node_count)).model_root == allowed.model_root


def test_constants_have_a_limit() -> None:
    g = Graph()
    model = g.model([g.node("Add", g.input("x", (1000,)), g.constant(np.ones(1000, np.float32)))], opset=18)
    with pytest.raises(ModelTooDear, match="bytes of constants"):
        compile_model(model, limits=Limits(constant_bytes=3_999))
    compile_model(model, limits=Limits(constant_bytes=4_000))


def test_the_environment_raises_and_lowers_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPML_LIMITS", "nodes=1, seconds=60.5")
    assert Limits.of_environment() == Limits(nodes=1, seconds=60.5)
    with pytest.raises(ModelTooDear, match="more than 1 nodes"):
        compile_model(bomb(9))


@pytest.mark.parametrize(
    "text", ["nodes", "nodes=", "nodes=x", "nodes=-1", "nodes=0", "seconds=nan", "cats=3", "=", "nodes=1.5"]
)
def test_a_limit_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OPML_LIMITS", text)
    with pytest.raises(BadLimit, match="no limit"):
        Limits.of_environment()
