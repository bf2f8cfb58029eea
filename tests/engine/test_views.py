"""Views are copied before they are read, and every bit of the last state stays what single steps make it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from opml_dispute.engine.analysis import ProgramAnalysis
from opml_dispute.engine.node_record import COPY, RECORD
from opml_dispute.engine.segment import INPUT, OUTPUT
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType, Opcode, Reduction, Unary
from opml_dispute.model.record import Free, Record, strided_body
from tests.engine.test_schedule import A, assert_same, bare, named
from tests.kernels.maker import words
from tests.model.graphs import Graph

IMAGE = np.random.default_rng(0).standard_normal(4096).astype(">f4").tobytes()


def copies(made: object) -> int:
    """Of views, in the program's schedule."""
    schedule = ProgramAnalysis.of(made).schedule  # type: ignore[arg-type]
    assert schedule is not None
    further = np.frombuffer(schedule.copies, RECORD)
    strides = further["body"][:, 16:24]
    return int(((further["opcode"] == COPY) & ((further["rank"] > 1) | (strides[:, 0] != 1))).sum())


def view_of(kind: str, graph: Graph) -> str:
    """An image of 40 x 30 with 3, 8 or 24 channels, seen in another way."""
    if kind == "channels last":
        return graph.node("Transpose", graph.input("x", [1, 3, 40, 30]), perm=[0, 2, 3, 1])
    if kind == "channels first":
        return graph.node("Transpose", graph.input("x", [1, 40, 30, 3]), perm=[0, 3, 1, 2])
    if kind == "wide":
        return graph.node("Transpose", graph.input("x", [1, 40, 30, 24]), perm=[0, 3, 2, 1])
    ends = {"every second": (0, 1 << 30, 3, 2), "reversed": (-1, -(1 << 30), 2, -1), "short rows": (2, 20, 3, 1)}
    start, end, axis, step = ends[kind]
    numbers = [graph.constant(np.array([number])) for number in (start, end, axis, step)]
    return graph.node("Slice", graph.input("x", [1, 8, 40, 30]), *numbers)


KINDS = ["channels last", "channels first", "wide", "every second", "reversed", "short rows"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", ["Relu", "Gelu", "HardSwish", "Softmax", "LogSoftmax", "LpNormalization"])
def test_an_operator_that_reads_a_view_several_times_copies_it_once(kind: str, op: str) -> None:
    graph = Graph()
    made = compile_model(graph.model([graph.node(op, view_of(kind, graph))], opset=20))
    assert copies(made) == 1
    assert_same(made, named(made))


@pytest.mark.parametrize("kind", KINDS)
def test_views_of_other_types_are_copied_too(kind: str) -> None:
    """A cast reads a view of binary32, a choice one of bool."""
    graph = Graph()
    of = view_of(kind, graph)
    positive = graph.node("Greater", of, graph.constant(np.array(0, np.float32)))
    whole = graph.node("Cast", of, to=6)
    seen = graph.node("Transpose", positive, perm=[3, 1, 0, 2])
    chosen = graph.node("Where", seen, graph.constant(np.array(1, np.float32)), graph.constant(np.array(2, np.float32)))
    made = compile_model(graph.model([whole, chosen]))
    assert copies(made) == 2
    assert_same(made, named(made))


@pytest.mark.parametrize("budget", [1 << 26, 1 << 16])
def test_a_view_that_a_chain_behind_a_convolution_reads_is_copied_before_that(budget: int) -> None:
    rng = np.random.default_rng(1)
    graph = Graph()
    weights = graph.constant(rng.standard_normal((8, 8, 3, 3)).astype(np.float32))
    made_by = graph.node("Conv", graph.input("image", [1, 8, 20, 20]), weights, pads=[1] * 4)
    turned = graph.node("Transpose", graph.input("x", [1, 20, 20, 8]), perm=[0, 3, 1, 2])
    made = compile_model(graph.model([graph.node("Tanh", graph.node("Add", made_by, turned))]), tile_budget=budget)
    assert copies(made) == 1
    assert_same(made, named(made))


def test_two_views_in_one_step_and_one_in_two_chains() -> None:
    graph = Graph()
    x = graph.input("x", [48, 40])
    exponential = graph.node("Exp", x)
    turned = graph.node("Transpose", exponential, perm=[1, 0])
    also = graph.node("Transpose", graph.input("y", [48, 40]), perm=[1, 0])
    total = graph.node("Add", turned, also)
    sums = graph.node("ReduceSum", total, graph.constant(np.array([0])), keepdims=0)
    last = graph.node(
        "Mul",
        turned,
        graph.node("Transpose", graph.node("Expand", sums, graph.constant(np.array([40, 48]))), perm=[0, 1]),
    )
    made = compile_model(graph.model([last, total]))
    assert copies(made) == 2
    assert_same(made, named(made))


def test_few_elements_long_rows_and_repeated_elements_are_read_where_they_lie() -> None:
    graph = Graph()
    small = graph.node("Relu", graph.node("Transpose", graph.input("x", [8, 8]), perm=[1, 0]))
    rows = graph.node("Relu", graph.node("Transpose", graph.input("y", [8, 8, 64]), perm=[1, 0, 2]))
    again = graph.node("Relu", graph.node("Expand", graph.input("z", [64, 1]), graph.constant(np.array([64, 64]))))
    made = compile_model(graph.model([small, rows, again]))
    assert copies(made) == 0
    assert_same(made, named(made))


def turned(out: int, at: int, frees: Sequence[Free] = ()) -> Record:
    """-x of a matrix of 32 x 32 at `at`, transposed."""
    return Record(
        Opcode.UNARY, DType.F32, out, (at,), (DType.F32,), 2, 0, 1024, words(Unary.NEG),
        strided_body([32, 32], [[32, 1], [1, 32]]), tuple(frees),
    )  # fmt: skip


def plain(out: int, at: int, function: Unary, frees: Sequence[Free] = ()) -> Record:
    return Record(
        Opcode.UNARY, DType.F32, out, (at,), (DType.F32,), 1, 0, 1024, words(function),
        strided_body([1024], [[1], [1]]), tuple(frees),
    )  # fmt: skip


X, Y = A, A + (1 << 14)
FREE_X, FREE_Y = Free(12, X), Free(12, Y)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        # Twice the same: one copy.
        ((turned(OUTPUT.offset, INPUT.offset), turned(OUTPUT.offset + 4096, INPUT.offset)), 1),
        # What is seen changes in between: two.
        (
            (
                *(plain(X, INPUT.offset, Unary.ABS), turned(OUTPUT.offset, X), plain(X, INPUT.offset, Unary.SIGN)),
                turned(OUTPUT.offset + 4096, X, [FREE_X]),
            ),
            2,
        ),
        # So it does in parts, by a step that is none of a chain.
        (
            (
                *(plain(X, INPUT.offset, Unary.ABS), turned(OUTPUT.offset, X)),
                Record(
                    *(Opcode.REDUCE, DType.F32, X + 64, (INPUT.offset,), (DType.F32,), 2, 0, 32),
                    words(Reduction.SUM, 1), strided_body([32, 32], [[1, 0], [32, 1]]),
                ),
                turned(OUTPUT.offset + 4096, X, [FREE_X]),
            ),
            2,
        ),
        # The first reader frees what it sees.
        ((plain(X, INPUT.offset, Unary.ABS), turned(Y, X, [FREE_X]), turned(OUTPUT.offset, Y, [FREE_Y])), 2),
    ],
)  # fmt: skip
def test_a_view_is_copied_again_when_what_it_shows_has_changed(records: Sequence[Record], expected: int) -> None:
    made = bare(*records)
    assert copies(made) == expected
    assert_same(made, IMAGE)


def test_what_is_seen_after_it_was_freed_makes_no_schedule() -> None:
    made = bare(
        plain(X, INPUT.offset, Unary.ABS),
        turned(Y, X, [FREE_X]),
        turned(OUTPUT.offset, X),
        plain(Y, X, Unary.ABS, [FREE_Y]),
    )
    assert ProgramAnalysis.of(made).schedule is None
    assert_same(made, IMAGE, scheduled=False)
