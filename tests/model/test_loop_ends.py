"""A loop that is too long is refused before its iterations are written out, where its end can be foreseen."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator

from opml_dispute.model import loop_ends
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import UnsupportedOp

LOOP = """<ir_version: 8, opset_import: ["" : 17]>
loop (float[2] x) => (float[2] y)
<int64 limit = {{{limit}}}, int64 start = {{{start}}}, int64 one = {{1}}, bool go = {{1}}> {{
    counter, y = Loop ({trips}, go, start, x) <body = b (int64 i, bool c, int64 n, float[2] a)
        => (bool on, int64 m, float[2] o) {{ {body} o = Add(a, a) }}>
}}"""


def loop_of(body: str, *, limit: int, start: int = 0, trips: str = "") -> onnx.ModelProto:
    return parser.parse_model(LOOP.format(body=body, limit=limit, start=start, trips=trips))


@pytest.mark.parametrize(
    ("body", "limit", "start", "trips"),
    [
        ("on = Less(i, limit) m = Identity(n)", 70_000, 0, ""),
        ("m = Add(n, one) on = Less(m, limit)", 70_000, 0, ""),
        ("m = Sub(n, one) on = Greater(n, limit)", 0, 70_000, ""),
        ("d = Mul(i, i) e = Equal(d, limit) on = Not(e) m = Identity(n)", 3, 0, ""),
        ("on = Less(i, limit) m = Identity(n)", 80_000, 70_000, "start"),
        ("on = Identity(c) m = Identity(n)", 0, 70_000, "start"),
    ],
)
def test_a_loop_whose_end_is_foreseen_is_refused_at_once(body: str, limit: int, start: int, trips: str) -> None:
    """Written out, 65,536 iterations take half a minute and more."""
    began = time.process_time()
    with pytest.raises(UnsupportedOp, match="more than 65,536 iterations"):
        compile_model(loop_of(body, limit=limit, start=start, trips=trips))
    assert time.process_time() - began < 3


def test_a_loop_that_ends_in_time_is_written_out() -> None:
    for body in ("on = Less(i, limit) m = Identity(n)", "m = Add(n, one) on = LessOrEqual(m, limit)"):
        program = compile_model(loop_of(body, limit=20))
        assert program.node_count == 21


def test_what_is_foreseen_is_what_happens() -> None:
    """Random conditions over the iteration number, a counter and constants, against ONNX's reference."""
    chance, foreseen = random.Random(5), 0
    for _ in range(60):
        graph, start, outer = _random_body(chance)
        found = loop_ends.conditions(graph, [np.array(start)], outer.get, 9)
        if found is None:
            continue
        foreseen += 1
        assert found == _conditions(graph, start, outer, 9), onnx.printer.to_text(graph)
    assert foreseen > 30


@pytest.mark.parametrize(
    "body",
    [
        "m = Mul(n, one) on = Less(m, limit)",
        "on = Less(n, limit) k = Add(i, one) m = Add(n, k)",
        "f = Cast <to = 1> (i) on = IsNaN(f) m = Identity(n)",
        "on = Less(i, nowhere) m = Identity(n)",
        "on = Not(on) m = Identity(n)",
    ],
)
def test_what_depends_on_more_is_not_foreseen(body: str) -> None:
    graph = loop_of(body, limit=5).graph.node[0].attribute[0].g
    assert loop_ends.conditions(graph, [np.array(1)], {"one": np.array(1), "limit": np.array(5)}.get, 4) is None


def _random_body(chance: random.Random) -> tuple[onnx.GraphProto, int, dict[str, Any]]:
    numbers, text = ["i", "n", "one", "limit"], []
    for k in range(chance.randint(0, 3)):
        text.append(
            f"t{k} = {chance.choice(['Add', 'Sub', 'Mul'])}({chance.choice(numbers)}, {chance.choice(numbers)})"
        )
        numbers.append(f"t{k}")
    truths = ["c"]
    for k in range(chance.randint(1, 3)):
        comparison = chance.choice(["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])
        text.append(f"p{k} = {comparison}({chance.choice(numbers)}, {chance.choice(numbers)})")
        truths.append(f"p{k}")
    text.append(f"q = {chance.choice(['And', 'Or'])}({chance.choice(truths)}, {chance.choice(truths)})")
    text.append(f"on = {chance.choice(['Not', 'Identity'])}(q)")
    text.append(f"m = {chance.choice(['Add(n, one)', 'Sub(n, one)', 'Add(limit, n)', 'Identity(n)', 'Sub(one, n)'])}")
    outer = {"one": np.array([1]), "limit": np.array(chance.randint(-3, 12))}
    graph = loop_of(" ".join(text), limit=1).graph.node[0].attribute[0].g
    return graph, chance.randint(-5, 10), outer


def _conditions(graph: onnx.GraphProto, start: int, outer: dict[str, Any], iterations: int) -> list[bool]:
    """Iteration by iteration, going on whatever the condition says."""
    body = onnx.GraphProto()
    body.CopyFrom(graph)
    del body.input[-1], body.output[-1], body.node[-1]  # the carried float
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in outer.items()]
    body.initializer.extend(constants)
    model = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    evaluator, n, said = ReferenceEvaluator(model), np.array(start), []
    for i in range(iterations):
        on, n = (np.asarray(each) for each in evaluator.run(None, {"i": np.array(i), "c": np.array(True), "n": n}))
        said.append(bool(on.any()))
    return said
