"""What is counted beside the states, for `cannon run --debug-info`; tests/cannon/test_recorded.py has Cannon's own."""

from __future__ import annotations

import pytest

from opml_dispute.engine.execution import Counts, Execution
from opml_dispute.engine.vm import Machine
from tests.fpvm.program import NOP, beq, immediate, machine, sd

LL, SC, LLD, SCD = 0x30, 0x38, 0x34, 0x3C
ADDRESS, ELSEWHERE = 6, 7
NOTHING = Counts(0, 0, 0, 0, 0, 0)


def looping(*words: int) -> Machine:
    """These instructions again and again; registers 6 and 7 point to two words of memory."""
    return machine([*words, beq(0, 0, -len(words) - 1), NOP], {ADDRESS: 0x20000, ELSEWHERE: 0x21000})


def linked(register: int = ADDRESS, opcode: int = LL) -> int:
    return immediate(opcode, 9, register, 0)


def conditional(register: int = ADDRESS, opcode: int = SC) -> int:
    return immediate(opcode, 10, register, 0)


@pytest.mark.parametrize("execution", [Execution.INTERPRETED, Execution.COMPILED_AT_ONCE, Execution.COMPILED_EARLY])
@pytest.mark.parametrize(
    ("words", "made", "failed", "longest", "lost"),
    [
        ([linked(), conditional()], 1, 0, 1, 0),
        ([linked(), NOP, NOP, conditional()], 1, 0, 3, 0),
        ([linked(opcode=LLD), NOP, conditional(opcode=SCD)], 1, 0, 2, 0),
        ([linked(), conditional(opcode=SCD)], 0, 1, 1, 0),
        ([linked(), conditional(ELSEWHERE)], 0, 1, 1, 0),
        ([linked(), sd(9, ADDRESS, 0), conditional()], 0, 1, 2, 1),
        ([linked(), immediate(0x28, 9, ADDRESS, 7), conditional()], 0, 1, 2, 1),
        ([linked(), immediate(0x28, 9, ADDRESS, 8), conditional()], 1, 0, 2, 0),
        ([linked(), sd(9, ELSEWHERE, 0), conditional()], 1, 0, 2, 0),
        ([linked(), NOP, linked(), conditional(), conditional()], 1, 1, 1, 0),
        ([conditional()], 0, 1, 0, 0),
    ],
)
def test_links_and_what_became_of_them_are_counted(
    execution: Execution, words: list[int], made: int, failed: int, longest: int, lost: int
) -> None:
    at, rounds = looping(*words), 40
    at.execute(execution)
    at.count()
    for _ in range(rounds):
        at.run(len(words) + 2)
    assert at.counts() == Counts(made * rounds, failed * rounds, longest, lost * rounds, 0, 0)


def test_each_slice_that_ends_is_counted() -> None:
    at = looping(NOP)
    at.count()
    at.run(100_000)
    assert at.counts() == NOTHING
    at.run(1)
    assert at.counts().preemptions == 1
    at.run(3 * 100_001)
    assert at.counts().preemptions == 4


def test_forks_and_proofs_count_nothing() -> None:
    at = looping(linked(), conditional())
    at.count()
    fork = at.fork()
    fork.run(50)
    assert fork.counts() == at.counts() == NOTHING
    at.run(1)
    at.step_witness()
    assert at.counts() == NOTHING
    at.run(1)
    assert at.counts() == Counts(1, 0, 1, 0, 0, 0)


def test_nothing_is_counted_unless_asked_for() -> None:
    at = looping(linked(), conditional())
    at.run(50)
    assert at.counts() == NOTHING
