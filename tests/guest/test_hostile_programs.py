"""
Host and VM compute the same, whatever program a registrant registers.

A disagreement, a guest that does not end, or more steps than its bound: each would lose an honest player a game.
`python -m tests.guest.hostile_programs` hunts for longer.
"""

from __future__ import annotations

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import ARENA, INPUT, OUTPUT
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.opcodes import Binary, DType, Opcode, Unary
from opml_dispute.model.record import Free, Record, strided_body
from tests.guest.hostile_programs import disagreement, hostile_chain, hostile_program, too_much
from tests.guest.programs import program
from tests.kernels.maker import words


@pytest.mark.parametrize("first", range(0, 160, 16))
def test_hostile_programs_come_to_the_same_everywhere(first: int) -> None:
    for seed in range(first, first + 16):
        hostile = hostile_program(seed)
        if not too_much(hostile):
            assert disagreement(hostile) is None, f"seed {seed}: {hostile.records}"


@pytest.mark.parametrize("first", range(0, 80, 8))
def test_chains_with_something_odd_come_to_the_same_everywhere(first: int) -> None:
    for seed in range(first, first + 8):
        hostile = hostile_chain(seed)
        if not too_much(hostile):
            assert disagreement(hostile) is None, f"seed {seed}: {hostile.records}"


@pytest.mark.parametrize("seed", [3554])
def test_chains_that_once_disagreed(seed: int) -> None:
    assert disagreement(hostile_chain(seed)) is None


def test_beside_what_a_chain_keeps_in_a_buffer_lie_zeros() -> None:
    """A block of 128 bytes, half of it written; the next node adds both halves, and the run in one go must see that."""
    block, f32 = ARENA.offset, DType.F32
    pair, triple = strided_body([16], [[1], [1]]), strided_body([16], [[1], [1], [1]])
    negate = Record(Opcode.UNARY, f32, block, (INPUT.offset,), (f32,), 1, 0, 16, words(Unary.NEG), pair)
    halves = (block, block + 64)
    add = Record(
        Opcode.BINARY, f32, OUTPUT.offset, halves, (f32, f32), 1, 0, 16, words(Binary.ADD), triple, (Free(7, block),)
    )
    made = program([negate.pack(), add.pack()])
    given = np.arange(16, dtype=">f4").tobytes()
    at_once, singly = Inference(made, given), Inference(made, given)
    singly.run_to(1)
    assert at_once.state_root(2) == singly.state_root(2)
    assert at_once.read(OUTPUT.offset, 64) == (0 - np.arange(16, dtype=np.float32)).astype(">f4").tobytes()


def test_hostile_programs_are_various() -> None:
    """Most run, some are refused, with every kind of refusal; every kernel is there, typed and not."""
    found = [hostile_program(seed) for seed in range(600)]
    statuses = {int(status) for hostile in found for status in validate_records(hostile.made.records).status}
    assert statuses >= {0, 2, 3, 4, 5, 6}
    assert len({record.opcode for hostile in found for record in hostile.records}) == len(Opcode)
