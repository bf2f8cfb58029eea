"""Small steps between those of a chain come before it, where that changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opml_dispute.engine.analysis import ProgramAnalysis
from opml_dispute.engine.node_record import CAST, REDUCE, UNARY
from opml_dispute.engine.steps import Operand, Step, without_interruptions
from opml_dispute.model.compiler import compile_model
from tests.engine.test_schedule import assert_same
from tests.model.graphs import Graph

LARGE, SMALL = 4096, 4


def step(number: int, out: int, of: int, count: int, *, opcode: int = UNARY, frees: int | None = None) -> Step:
    """One that makes `count` binary32 at `out` from as many at `of`."""
    operands = [Operand(at, at + 4 * count, 4, at) for at in (out, of)]
    freed = () if frees is None else ((frees, 14),)
    return Step(number, number, opcode, count, True, operands, [True, True], True, freed)


def numbers(steps: list[Step]) -> list[int]:
    return [found.first for found in without_interruptions(steps)]


A, B, C, D, X = (n << 14 for n in range(1, 6))
CHAIN = [step(0, A, X, LARGE), step(2, B, A, LARGE), step(3, C, B, LARGE)]


def with_second(second: Step) -> list[Step]:
    return [CHAIN[0], second, *CHAIN[1:]]


def test_an_independent_step_comes_before_the_chain() -> None:
    assert numbers(with_second(step(1, D, D + 64, SMALL))) == [1, 0, 2, 3]


def test_what_it_freed_is_freed_where_it_was() -> None:
    order = without_interruptions(with_second(step(1, D, D + 64, SMALL, frees=X)))
    assert [(found.first, list(found.frees)) for found in order] == [(1, []), (0, [(X, 14)]), (2, []), (3, [])]


@pytest.mark.parametrize(
    "second",
    [
        step(1, D, A, SMALL),  # reads what the chain makes
        step(1, A, D, SMALL),  # writes over that
        step(1, X + 8, D, SMALL),  # writes over what the chain reads
        step(1, D, D + 64, SMALL, opcode=REDUCE),  # no elementwise step
        step(1, D, D + 4096, LARGE // 4),  # takes time of its own
    ],
)
def test_others_stay_where_they_are(second: Step) -> None:
    assert numbers(with_second(second)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("out", "of"), [(D, C), (C, D)])
def test_a_block_that_the_chain_frees_is_left_alone(out: int, of: int) -> None:
    """It is zero from then on, or another's."""
    steps = with_second(step(1, out, of, SMALL))
    steps[0] = replace(steps[0], frees=((C, 14),))
    assert numbers(steps) == [0, 1, 2, 3]


def test_a_step_before_no_chain_stays() -> None:
    steps = [step(0, A, X, LARGE, opcode=REDUCE), step(1, D, D + 64, SMALL, opcode=CAST), step(2, B, A, LARGE)]
    assert numbers(steps) == [0, 1, 2]


def test_a_dynamic_quantisation_is_one_pass_at_the_end() -> None:
    """The cast of its zero point lies between the quotient and the sum."""
    graph = Graph()
    model = graph.model([graph.node("DynamicQuantizeLinear", graph.input("x", [40, 500]), outputs=3)])
    made = compile_model(model)
    schedule = ProgramAnalysis.of(made).schedule
    assert schedule is not None
    assert [byte & 1 for byte in schedule.chained[-4:]] == [0, 1, 1, 1]
    assert_same(made, {"x": np.random.default_rng(2).standard_normal((40, 500)).astype(np.float32)})
