"""Every instruction word by its operation fields: engine and contract make the same ones, and refuse the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Final

import pytest

from opml_dispute.testing.made_up_state import LEAF, SYSCALL, U64, MadeUpState
from opml_dispute.testing.vectors import EngineStepper
from tests.agreement.harness import verifier

SPECIAL, REGIMM, COP1, COP1X, SPECIAL2 = 0x00, 0x01, 0x11, 0x13, 0x1C
REGISTERS: Final = tuple(0x20008 + 0x808 * number for number in range(32))
FLOATS: Final = tuple(range(0x3F800000, 0x3F800020))
OPERANDS: Final = 2 << 21 | 3 << 16 | 4 << 11
NO_OPCODE: Final = {
    *(0x10, 0x12, 0x14, 0x15, 0x16, 0x17),  # other coprocessors, branches likely
    *(0x1D, 0x1E, 0x1F, 0x2F, 0x32, 0x33),  # jalx, extensions, cache, coprocessor 2, prefetch
    *(0x35, 0x36, 0x3A, 0x3B, 0x3D, 0x3E),  # doubles and coprocessor 2
}
"""What neither version of the machine has, with any fields. `NO_FLOATS` comes on top in the base version."""
NO_FLOATS: Final = {COP1, COP1X, 0x31, 0x39}
REFUSED: Final = {
    False: {SPECIAL: 17, SPECIAL2: 59, COP1: 32 * 64, COP1X: 64},
    True: {SPECIAL: 16, SPECIAL2: 59, COP1: 1823, COP1X: 58},
}
"""How many words are refused below opcodes that choose by further fields."""

IMMEDIATE: Final = (*range(0x08, 0x10), 0x18, 0x19)
BRANCHES: Final = range(0x04, 0x08)
EDGES: Final = (0, 1, 63, 0x7FFFFFFF, 0xFFFFFFFF80000000, 1 << 63, U64)


class WithMemory(MadeUpState):
    """Proves the memory at the first operand as well when the instruction has none, in case it is read nevertheless."""

    def parts_touched(self) -> list[tuple[int, int]]:
        """As in the base class, and never none."""
        base, offset = self.registers[self.insn >> 21 & 31], (self.insn & 0x7FFF) - (self.insn & 0x8000)
        return super().parts_touched() or [((base + offset) & U64, LEAF)]


def words() -> Iterator[int]:
    """One of each operation, system calls aside, which registers choose."""
    for opcode in range(64):
        first = opcode << 26
        if opcode in {SPECIAL, SPECIAL2, COP1X}:
            yield from (first | OPERANDS | funct for funct in range(64) if (opcode, funct) != (SPECIAL, SYSCALL))
        elif opcode == REGIMM:
            yield from (first | 2 << 21 | sub << 16 | 16 for sub in range(32))
        elif opcode == COP1:
            yield from (first | form << 21 | 3 << 16 | 4 << 11 | funct for form in range(32) for funct in range(64))
        else:
            yield first | OPERANDS


@pytest.mark.parametrize("ml", [False, True], ids=["base", "ml"])
def test_engine_and_contract_make_the_same_words_and_refuse_the_same(ml: bool) -> None:
    engine, contract = EngineStepper(), verifier(ml=ml)
    refused: Counter[int] = Counter()
    for word in words():
        vector = WithMemory(ml=ml, insn=word, registers=REGISTERS, floats=FLOATS).vector()
        post = engine.step_vector(vector)
        assert contract.step_vector(vector) == post, f"{word:#010x}"
        refused[word >> 26] += post is None
    wholly = NO_OPCODE if ml else NO_OPCODE | NO_FLOATS
    assert +refused == dict.fromkeys(wholly, 1) | REFUSED[ml]


@pytest.mark.parametrize("ml", [False, True], ids=["base", "ml"])
def test_register_operations_agree_at_the_edges_of_their_operands(ml: bool) -> None:
    engine = EngineStepper()
    operations = [word for word in words() if word >> 26 in {SPECIAL, SPECIAL2}]
    made = [
        word for word in operations if engine.step_vector(MadeUpState(ml=ml, insn=word, registers=REGISTERS).vector())
    ]
    assert len(made) == len(operations) - REFUSED[ml][SPECIAL] - REFUSED[ml][SPECIAL2]
    for word, s, t in product(made, EDGES, EDGES):
        expect_agreement(ml, word, s, t)


@pytest.mark.parametrize("ml", [False, True], ids=["base", "ml"])
def test_immediate_operations_and_branches_agree_at_the_edges_of_their_operands(ml: bool) -> None:
    for opcode, immediate, s in product(IMMEDIATE, (0, 1, 0x7FFF, 0x8000, 0xFFFF), (*EDGES, 0x7FFF, U64 - 0x7FFF)):
        expect_agreement(ml, opcode << 26 | OPERANDS & ~0xFFFF | immediate, s, s)
    for opcode, s, t in product(BRANCHES, EDGES, EDGES):
        expect_agreement(ml, opcode << 26 | OPERANDS & ~0xFFFF | 16, s, t)
    for condition, s in product(range(32), EDGES):
        expect_agreement(ml, REGIMM << 26 | 2 << 21 | condition << 16 | 16, s, 0)


def expect_agreement(ml: bool, word: int, s: int, t: int) -> None:
    """Of registers 2 and 3 at these values."""
    vector = MadeUpState(ml=ml, insn=word, registers=(0, 0, s, t, *REGISTERS[4:]), hi=s ^ 5, lo=t ^ 6).vector()
    found, expected = verifier(ml=ml).step_vector(vector), EngineStepper().step_vector(vector)
    assert found == expected, f"{word:#010x} of {s:#x} and {t:#x}"
