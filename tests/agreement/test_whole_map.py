"""
The whole map, not samples of it: every opcode, every funct, every sub-code, every system call number near those that
exist; every shift amount; every load and store at every alignment. Engine, contract and the third machine agree on
each, and what exists is exactly what the lists below say. They were copied by hand from docs/vm.md, not from a decoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pytest

from opml_dispute.engine.hashing import keccak256
from opml_dispute.testing.made_up_state import SYSCALL, MadeUpState
from opml_dispute.testing.vectors import EngineStepper, Load, Stepper
from tests.agreement.harness import verifier
from tests.reference_vm.step import ThirdStepper

DATA = 0x20000
WORDS = (0x0123456789ABCDEF, 0xFEDCBA9876543210, 0x80FF7F0080000001)
EDGES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF, WORDS[1])

OPCODES = {*range(0x10), *range(0x18, 0x1D), *range(0x20, 0x2F), 0x30, 0x34, 0x37, 0x38, 0x3C, 0x3F}
SPECIAL = {
    *(0x00, 0x02, 0x03, 0x04, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x17),
    *(*range(0x18, 0x28), *range(0x2A, 0x30), 0x38, 0x3A, 0x3B, 0x3C, 0x3E, 0x3F),
}
SPECIAL2 = {0x02, 0x20, 0x21, 0x24, 0x25}
ML_OPCODES = {0x11, 0x13, 0x31, 0x39}
FMTS = {0x00, 0x04, 0x08, 0x10}
SINGLE = {*range(0x08), *range(0x0C, 0x10), 0x11, 0x12, 0x13, 0x24, *range(0x30, 0x40)}
COP1X = {0x00, 0x08, 0x20, 0x28, 0x30, 0x38}
LOADS = (0x1A, 0x1B, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x30, 0x34, 0x37)
STORES = (0x28, 0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x38, 0x3C, 0x3F)
SYSCALLS = {
    *(5000, 5001, 5002, 5003, 5004, 5005, 5008, 5009, 5010, 5011, 5012, 5013, 5014, 5015, 5016, 5023, 5026, 5027, 5034),
    *(5036, 5038, 5055, 5058, 5061, 5070, 5087, 5095, 5100, 5102, 5129, 5178, 5194, 5196, 5205, 5208, 5216, 5217, 5220),
    *(5222, 5225, 5247, 5257, 5272, 5284, 5285, 5287, 5297, 5313),
}


@cache
def steppers(ml: bool) -> dict[str, Stepper]:
    return {"engine": EngineStepper(), "contract": verifier(ml=ml), "third": ThirdStepper()}


def exists(case: MadeUpState) -> bool:
    """Whether the step has a successor, on which all must agree: on whether, and on which."""
    vector = case.vector()
    answers = {name: stepper.step_vector(vector) for name, stepper in steppers(case.ml).items()}
    assert len(set(answers.values())) == 1, (vector.to_json(), answers)
    return answers["engine"] is not None


def registers(**values: int) -> tuple[int, ...]:
    """Nothing is 0 but R[0], so that nothing divides by 0; r4=… sets R[4]."""
    return tuple(values.get(f"r{index}", DATA + 0x100 * index if index else 0) for index in range(32))


def case(insn: int, *, ml: bool, **values: int) -> MadeUpState:
    return MadeUpState(
        ml=ml, insn=insn, registers=registers(**values), leaves={DATA: bytes(range(1, 33))}, filling=b"x"
    )


def existing(insns: dict[int, int], *, ml: bool) -> set[int]:
    """The keys of those instruction words that exist."""
    return {key for key, insn in insns.items() if exists(case(insn, ml=ml, r2=5038))}


@pytest.mark.parametrize("ml", [False, True])
def test_every_opcode(ml: bool) -> None:
    """With fields that are legal where the opcode is."""
    rest = 5 << 21 | 6 << 16 | 7 << 11
    words = {opcode: opcode << 26 | rest | (0x20 if opcode in {0x00, 0x1C, 0x13} else 0) for opcode in range(64)}
    words[0x11] |= 0x10 << 21
    words[0x11] &= ~(0x0F << 21)
    assert existing(words, ml=ml) == OPCODES | (ML_OPCODES if ml else set())


@pytest.mark.parametrize("ml", [False, True])
def test_every_funct(ml: bool) -> None:
    """Of SPECIAL and SPECIAL2; in the reserved fields first nothing, then everything."""
    for rest in (5 << 21 | 6 << 16 | 7 << 11, 5 << 21 | 6 << 16 | 7 << 11 | 31 << 6):
        assert existing({funct: rest | funct for funct in range(64)}, ml=ml) == SPECIAL | ({0x01} if ml else set())
        assert existing({funct: 0x1C << 26 | rest | funct for funct in range(64)}, ml=ml) == SPECIAL2


def test_every_branch_code() -> None:
    """All exist: unknown ones are branches not taken. In a delay slot none does."""
    for code in range(32):
        for value in (0, 1, 2**63, 2**64 - 1):
            branch = case(0x01 << 26 | 5 << 21 | code << 16 | 0x8004, ml=False, r5=value)
            assert exists(branch)
            assert not exists(MadeUpState(insn=branch.insn, registers=branch.registers, next_pc=0x40000))


def test_every_floating_point_funct() -> None:
    """fmt, functs of .s and .w, of COP1X; nothing of it in a base state."""
    fields = 6 << 16 | 7 << 11 | 8 << 6
    sets = {
        "fmt": ({fmt: 0x11 << 26 | fmt << 21 | fields for fmt in range(32)}, FMTS),
        ".s": ({funct: 0x11 << 26 | 0x10 << 21 | fields | funct for funct in range(64)}, SINGLE),
        ".w": ({funct: 0x11 << 26 | 0x14 << 21 | fields | funct for funct in range(64)}, {0x20}),
        "COP1X": ({funct: 0x13 << 26 | 5 << 21 | fields | funct for funct in range(64)}, COP1X),
        "cfc1": ({fs: 0x11 << 26 | 0x02 << 21 | fs << 11 for fs in range(32)}, {31}),
        "ctc1": ({fs: 0x11 << 26 | 0x06 << 21 | fs << 11 for fs in range(32)}, {31}),
    }
    for name, (words, expected) in sets.items():
        assert existing(words, ml=True) == expected, name
        assert existing(words, ml=False) == set(), name


def numbers() -> Iterable[int]:
    yield from range(64)
    yield from range(3990, 4400)
    yield from range(4980, 6200)
    yield from range(6990, 7010)
    yield from (2**16 + 5038, 2**32 + 5038, 2**32 + 7001, 2**63 + 5038, 2**64 - 1)


@pytest.mark.parametrize("ml", [False, True])
def test_every_system_call_number(ml: bool) -> None:
    """Near all that Linux has for MIPS, o32 and n64; all 64 bits count. A call that needs a pre-image has none."""
    needs_preimage = {5000}
    found = {n for n in numbers() if exists(case(SYSCALL, ml=ml, r2=n, r4=5 if n in needs_preimage else 1))}
    assert found == (SYSCALLS - needs_preimage) | ({7001, 7002} if ml else set())


@pytest.mark.parametrize("number", [5000, 5001])
def test_every_descriptor(number: int) -> None:
    """Those that exist, their neighbours, and numbers that are one of them but for high bits; no bytes, a few, many."""
    for descriptor in (*range(9), 99, 100, 101, 2**32 + 1, 2**32 + 100, 2**64 - 1):
        for count in (0, 1, 8, 9, 2**64 - 1):
            if (number, descriptor) != (5000, 5):
                assert exists(case(SYSCALL, ml=False, r2=number, r4=descriptor, r5=DATA + 3, r6=count))


def test_every_piece_of_a_preimage() -> None:
    """At each place of a word, of each length up to the word's end and beyond, none too; whole, and at its end."""
    data = bytes(range(0x80, 0xA8))
    key = b"\x02" + keccak256(data)[1:]
    for offset in (0, 8, 46, 47):
        part = Load("keccak", offset, data)
        for place in range(8):
            for count in (*range(10), 2**64 - 1):
                read = case(SYSCALL, ml=False, r2=5000, r4=5, r5=DATA + place, r6=count)
                there = replace(read, preimage_key=key, preimage_offset=offset, loads=(part,))
                assert exists(there), (offset, place, count)


def test_every_end_of_the_heap() -> None:
    """Of maps that fill it to the last page, and a page or a byte more, or that wrap; a hint is answered as it is."""
    end = 0x600000000000
    for heap in (0x100000000000, end - 0x2000, end - 0x1000, end, 2**64 - 0x1000):
        for length in (0, 1, 0xFFF, 0x1000, 0x1001, 0x2000, 0x2001, end, 2**63, 2**64 - 0x1000, 2**64 - 1):
            for hint in (0, 1):
                mapping = case(SYSCALL, ml=False, r2=5009, r4=hint, r5=length)
                assert exists(replace(mapping, heap=heap))


def test_every_kind_of_futex() -> None:
    """Operations and their neighbours; in either half of a word what is waited for, something else, and high bits."""
    halves = (0x01020304, 0x05060708)
    values = (*halves, *(half | 1 << 32 for half in halves), 0, 0xFFFFFFFF, 2**64 - 1)
    for operation in (0, 1, 127, 128, 129, 130, 2**32 + 128):
        for place in (0, 3, 4, 7):
            for value in values:
                assert exists(case(SYSCALL, ml=False, r2=5194, r4=DATA + place, r5=operation, r6=value))


def test_every_command_of_fcntl() -> None:
    """And numbers near them, for descriptors that exist and others."""
    for descriptor in (*range(9), 100, 2**32, 2**64 - 1):
        for command in (*range(6), 2**32 + 1):
            assert exists(case(SYSCALL, ml=False, r2=5070, r4=descriptor, r5=command))


def test_clocks_and_random_bytes_at_every_place() -> None:
    """At steps around a second, and so late that they fill the word; flags of events, alone and with others."""
    for step in (0, 1, 9_999_999, 10_000_000, 10_000_001, 2**63, 2**64 - 2):
        for place in range(8):
            for number in (5222, 5313):
                for argument in (0, 1, 2, 8, 9, 2**64 - 1):
                    first, second = (argument, DATA + place) if number == 5222 else (DATA + place, argument)
                    asking = case(SYSCALL, ml=False, r2=number, r4=first, r5=second)
                    assert exists(replace(asking, step=step))
    for flags in (0, 1, 0x7F, 0x80, 0x81, 2**64 - 1, 2**64 - 0x81):
        assert exists(case(SYSCALL, ml=False, r2=5284, r4=1, r5=flags))


def test_every_shift_amount() -> None:
    """By immediate, with both 32s; and by register, also beyond 64."""
    for funct in (0x00, 0x02, 0x03, 0x38, 0x3A, 0x3B, 0x3C, 0x3E, 0x3F):
        for amount in range(32):
            assert exists(case(6 << 16 | 7 << 11 | amount << 6 | funct, ml=False, r6=WORDS[amount % 3]))
    for funct in (0x04, 0x06, 0x07, 0x14, 0x16, 0x17):
        for amount in (*range(66), 2**32, 2**64 - 1):
            assert exists(case(5 << 21 | 6 << 16 | 7 << 11 | funct, ml=False, r5=amount, r6=WORDS[amount % 3]))


def test_every_pair_of_edges_in_arithmetic() -> None:
    """Sums, products, quotients, comparisons. Only a divisor of 0 has no successor; for 32 bits its low half counts."""
    for funct in (*range(0x18, 0x28), *range(0x2A, 0x30)):
        for a in EDGES:
            for b in EDGES:
                is_zero = (b % 2**32 == 0 and funct in {0x1A, 0x1B}) or (b == 0 and funct in {0x1E, 0x1F})
                assert exists(case(5 << 21 | 6 << 16 | 7 << 11 | funct, ml=False, r5=a, r6=b)) != is_zero


@pytest.mark.parametrize("opcode", [*LOADS, *STORES])
def test_every_alignment(opcode: int) -> None:
    """Of loads and stores, the conditional ones with their reservation held and not; nothing traps."""
    for offset in range(16):
        for value in WORDS:
            access = case(opcode << 26 | 5 << 21 | 6 << 16 | offset, ml=False, r5=DATA, r6=value)
            assert exists(access)
            for tag in (1, 2):
                held = MadeUpState(
                    insn=access.insn,
                    registers=access.registers,
                    leaves=access.leaves,
                    filling=b"x",
                    reservation=tag,
                    reserved_address=DATA + offset,
                    reserving_thread=0,
                )
                assert exists(held)


@pytest.mark.parametrize("number", [7001, 7002])
def test_every_error_of_tensor_calls(number: int) -> None:
    """
    Sizes, alignments and neighbours, right and wrong, in both encodings. All have a successor; wrong ones need no proof
    but the instruction's, so that a proof cut behind it is enough for them, and for no other.
    """
    sizes = (*range(8), 12, 39, 40, 62, 63, 64, 65, 2**32 + 5, 2**63 + 40, 2**64 - 1)
    for k in sizes:
        span = 1 << k if 5 <= k <= 63 else 1 << 40
        for address in {0, 1 << 40, span, (1 << 64) - span, (1 << 40) + 1, (1 << 40) + 32, 1 << 63}:
            for leaf in {(address - 32) % 2**64, address, (address + span) % 2**64, DATA, DATA + 8, DATA + 1, 3 << 62}:
                is_right = (
                    5 <= k <= 63 and address % span == 0 and leaf % 32 == 0 and not address <= leaf < address + span
                )
                for compact in (False, True):
                    call = MadeUpState(
                        ml=True,
                        insn=SYSCALL,
                        registers=registers(r2=number, r4=address, r5=k, r6=leaf),
                        filling=b"x",
                        compact=compact,
                    )
                    assert exists(call)
                    instruction_only = 462 + 1920 if not compact else 8 + 462 + 40 + 59 * 32
                    assert exists(replace(call, cut=instruction_only)) != is_right
