"""A small file can describe any amount of work: the compiler says so before it does it."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.fewest import Fewest
from opml_dispute.model.limits import BadLimit, Limits, ModelTooDear
from opml_dispute.model.refusals import ModelError, UnsupportedOp
from tests.model.graphs import Graph, parsed


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


LOOP = """
    agraph (int64 n, float[3] x) => (float[3] y) {{
        known = Constant <value = int64 {{{trips}}}> ()
        start = Constant <value = bool {{1}}> ()
        y = Loop ({given}, start, x) <
            body = turn (int64 i, bool go, float[3] v) => (bool again, float[3] w) {{ {condition} w = Add (v, v) }}
        >
    }}"""


@pytest.mark.parametrize("trips", [65_537, 70_000, 2**62])
@pytest.mark.parametrize("given", ["known", ""])
@pytest.mark.parametrize(
    "condition",
    ["again = Identity (go)", "k = Identity (go) again = Identity (k)", "again = Constant <value = bool {1}> ()"],
)
def test_a_loop_that_nothing_ends_early_is_refused_before_its_first_iteration(
    condition: str, given: str, trips: int
) -> None:
    model = parsed(LOOP.format(trips=trips, given=given, condition=condition))
    with pytest.raises(UnsupportedOp, match="more than 65,536 iterations"):
        compile_model(model, limits=Limits(lowered=10))


def test_a_loop_that_ends_early_may_have_been_given_more() -> None:
    """Its own condition ends it after the first iteration, whatever its number of iterations says."""
    model = parsed(
        LOOP.format(trips=2**62, given="known", condition="one = Constant <value = int64 {0}> () again = Less (one, i)")
    )
    assert compile_model(model).node_count > 0


def test_a_loop_that_data_ends_is_refused_when_its_second_iteration_is_known() -> None:
    model = parsed(LOOP.format(trips=1, given="n", condition="again = Identity (go)"))
    with pytest.raises(ModelTooDear, match="operations for 65,534 more iterations"):
        compile_model(model, max_sizes={"y": 65_536}, limits=Limits(lowered=10))
    assert compile_model(model, max_sizes={"y": 5}).node_count > 0


def test_a_long_scan_is_refused_before_its_first_iteration() -> None:
    model = parsed("""
        agraph (float[65537] x) => (float[65537] y) {
            y = Scan <num_scan_inputs = 1, body = each (float e) => (float u) { u = Neg (e) }> (x)
        }""")
    with pytest.raises(UnsupportedOp, match="more than 65,536 iterations"):
        compile_model(model, limits=Limits(lowered=10))


def test_loops_that_make_no_operations_have_a_limit() -> None:
    """Loops within loops that only hand values on would be gone through for years."""
    model = parsed("""
        agraph (float[3] x) => (float[3] y) {
            n = Constant <value = int64 {60000}> ()
            start = Constant <value = bool {1}> ()
            y = Loop (n, start, x) <
                body = turn (int64 i, bool go, float[3] v) => (bool again, float[3] w) {
                    again = Identity (go)
                    w = Loop (n, go, v) <
                        body = inner (int64 j, bool on, float[3] u) => (bool more, float[3] t) {
                            more = Identity (on)
                            t = Identity (u)
                        }
                    >
                }
            >
        }""")
    with pytest.raises(ModelTooDear, match="more than 5,000 nodes of its graphs lowered"):
        compile_model(model, limits=Limits(lowered=5_000))


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


def doubling(depth: int) -> onnx.ModelProto:
    """Functions, each of which calls the one before it twice: the last one does 2**depth things."""
    calls = "\n".join(
        f"""<domain: "local", opset_import: ["" : 18, "local" : 1]>
        f{level} (x) => (y) {{ z = local.f{level - 1} (x) y = local.f{level - 1} (z) }}"""
        for level in range(1, depth + 1)
    )
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 18, "local" : 1]>
        agraph (float[3] x) => (float[3] y) {{ y = local.f{depth} (x) }}
        <domain: "local", opset_import: ["" : 18]> f0 (x) => (y) {{ y = Identity (x) }}
        {calls}""")


def nested_loops(depth: int, trips: int) -> onnx.ModelProto:
    """Loops inside one another, of so many iterations each, that only hand a value on."""
    body, given = "y0 = Identity (v0)", "v0"
    for level in range(1, depth + 1):
        body = f"""y{level} = Loop (n, go, v{level}) <body = b{level} (int64 i{level}, bool c{level}, float[3] {given})
            => (bool k{level}, float[3] y{level - 1}) {{ k{level} = Identity (c{level}) {body} }}>"""
        given = f"v{level}"
    return parsed(f"""
        agraph (float[3] {given}) => (float[3] y{depth}) {{
            n = Constant <value = int64 {{{trips}}}> ()
            go = Constant <value = bool {{1}}> ()
            {body}
        }}""")


@pytest.mark.parametrize("make", [lambda: doubling(60), lambda: nested_loops(3, 256)], ids=["functions", "loops"])
def test_what_multiplies_in_a_small_file_is_refused_before_anything_is_lowered(
    make: Callable[[], onnx.ModelProto],
) -> None:
    started = time.process_time()
    with pytest.raises(ModelTooDear, match=r"more than 1,048,576 nodes of its graphs lowered \([0-9,]+ at least\)"):
        compile_model(make())
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("make", [lambda: doubling(6), lambda: nested_loops(2, 12)], ids=["functions", "loops"])
def test_what_is_foreseen_is_what_is_lowered(make: Callable[[], onnx.ModelProto]) -> None:
    model = make()
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    least = Fewest(functions, most_iterations=65_536).of_graph(model.graph)
    compile_model(model, limits=Limits(lowered=least))
    with pytest.raises(ModelTooDear, match="at least"):
        compile_model(model, limits=Limits(lowered=least - 1))


def test_of_an_if_the_smaller_branch_is_foreseen() -> None:
    """The other one, a long loop, is not taken here."""
    turn = "(int64 i, bool go, float[3] u) => (bool again, float[3] t) { again = Identity (go) t = Neg (u) }"
    loop = f"Loop (many, yes, x) <body = turn {turn}>"
    model = parsed(f"""
        agraph (float[3] x) => (float[3] y) {{
            many = Constant <value = int64 {{5000}}> ()
            yes = Constant <value = bool {{1}}> ()
            y = If (yes) <
                then_branch = cheap () => (float[3] a) {{ a = Neg (x) }},
                else_branch = dear () => (float[3] b) {{ b = {loop} }}
            >
        }}""")
    assert compile_model(model, limits=Limits(lowered=10)).node_count == 1
