"""Whole runs against single proven steps, and everything that ends a run."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from opml_dispute.engine.preimage_key import unlocalized_key
from opml_dispute.engine.vm import (
    FaultKind,
    FaultTarget,
    Machine,
    Reason,
    StopKind,
    VmError,
    preimage_part,
    step_from_witness,
)
from opml_dispute.fpvm.state import State
from opml_dispute.testing import fuzz
from tests.fpvm.program import (
    A0,
    A1,
    A2,
    DATA,
    NOP,
    PREIMAGES,
    START,
    SYSCALL,
    V0,
    beq,
    call,
    daddiu,
    immediate,
    machine,
    refused,
    sd,
    special,
    step,
    thread_of,
)

ADDRESSES = (START, START + 0x20, START + 0xFF8, DATA, DATA + 0xFFC, 0, 7, 2**64 - 8, 1 << 46, 0x8000_0000)


def random_program(seed: int, *, ml: bool) -> Machine:
    """
    Instructions that run into each other: loads and stores over data and over the program itself, jumps within it.

    Most registers point somewhere, so that memory is really shared.
    """
    rng = random.Random(seed)
    words = []
    for _ in range(256):
        kind = rng.random()
        opcode = rng.choice((*fuzz.MEMORY_OPCODES, *fuzz.RESERVING_OPCODES, *((0x31, 0x39) if ml else ())))
        operands = rng.getrandbits(26)
        if kind < 0.45:
            words.append(opcode << 26 | operands & ~0xFFFF | rng.choice((0, 1, 4, 7, 8, 0xFFF8, 0x20)))
        elif kind < 0.75:
            words.append(
                operands & ~0x3F | rng.choice([f for f in fuzz.SPECIAL_FUNCTS if f not in {8, 9, *range(0x1A, 0x20)}])
            )
        elif kind < 0.85:
            words.append(rng.choice((0x08, 0x09, 0x0C, 0x0D, 0x18, 0x19)) << 26 | operands)
        elif kind < 0.93:
            words += [rng.choice((0x04, 0x05, 0x06, 0x07)) << 26 | operands & ~0xFFFF | rng.randrange(1, 12), NOP]
        elif ml:
            words.append(
                rng.choice((0x11 << 26 | 0x10 << 21 | operands & 0x1FFFC0, 0x13 << 26 | operands & ~0x3F | 0x20))
            )
    at = machine(words, ml=ml)
    for register in range(1, 32):
        at.set_register(register, (rng.choice(ADDRESSES) + rng.randrange(-16, 16)) & (2**64 - 1))
    at.write(DATA, rng.randbytes(4096))
    return at


@pytest.mark.parametrize("ml", [False, True])
def test_a_run_is_its_steps(ml: bool) -> None:
    """Run at once, run in pieces with hashes and forks between, and proven step by step: one state."""
    stops = set()
    for seed in range(60):
        rng = random.Random(seed)
        at = random_program(seed, ml=ml)
        whole, pieces = at.fork(), at.fork()
        stop = whole.run(300)
        stops.add(stop.reason)
        while pieces.step < stop.steps:
            before = pieces.fork()
            pieces.run(min(rng.randrange(1, 40), stop.steps - pieces.step))
            if rng.random() < 0.5:
                pieces.state_hash()
            if rng.random() < 0.3:
                pieces, before = pieces.fork(), pieces
            del before
        assert pieces.state_hash() == whole.state_hash(), seed
        state = at.step_witness
        for number in range(min(stop.steps, 40)):
            witness = state(compact=bool(number & 1))
            assert step_from_witness(witness.state_data, witness.proof, ml=ml).post_hash == witness.post_hash
            at.run(1)
            assert at.state_hash() == witness.post_hash, (seed, number)
            state = at.step_witness
        if stop.kind == StopKind.NO_SUCCESSOR:
            with pytest.raises(VmError) as caught:
                whole.step_witness()
            assert caught.value.reason == stop.reason
    assert {Reason.NONE, Reason.UNSUPPORTED_INSTRUCTION} <= stops


def test_code_that_overwrites_what_comes_next() -> None:
    """A store to an instruction that was decoded already takes effect at the next step."""
    new = daddiu(8, 0, 42)
    code = [
        daddiu(9, 9, 1),
        immediate(0x2B, 10, A0, 12),  # sw over the third-next instruction, just below
        NOP,
        daddiu(8, 0, 1),
        beq(8, 11, 3),
        NOP,
        beq(0, 0, -7),
        NOP,
        NOP,
    ]
    at = machine(code, {A0: START, 10: daddiu(8, 0, 1), 11: 42})
    at.run(80)
    assert (at.registers()[8], at.registers()[9]) == (1, 10)
    at.set_register(10, new)
    at.run(9)
    assert at.registers()[8] == 42


def test_a_fork_does_not_see_its_origins_writes() -> None:
    """Neither through memory nor through pointers or code that either one remembers."""
    at = machine([sd(8, A0), daddiu(8, 8, 1), beq(0, 0, -3), NOP], {A0: DATA, 8: 1})
    at.run(8)
    fork = at.fork()
    at.run(40)
    fork.write(START, sd(8, A0, 8).to_bytes(4, "big"))
    fork.run(40)
    assert at.read(DATA, 16) == (12).to_bytes(8, "big") + bytes(8)
    assert fork.read(DATA, 16) == (2).to_bytes(8, "big") + (12).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("code", "registers", "reason", "words"),
    [
        ([0x44000000], {}, Reason.UNSUPPORTED_INSTRUCTION, "ILLEGAL (0x44000000) at pc 0x10000, step 0"),
        ([special(0x0D)], {}, Reason.UNSUPPORTED_INSTRUCTION, "there is no such instruction"),
        ([special(0x1A, rs=8, rt=9)], {9: 1 << 32}, Reason.DIVISION_BY_ZERO, "DIV (0x0109001a)"),
        ([special(0x1F, rs=8, rt=9)], {}, Reason.DIVISION_BY_ZERO, "division by zero"),
        ([SYSCALL], {V0: 5006}, Reason.UNSUPPORTED_SYSCALL, "number 5006"),
        ([SYSCALL], {V0: 2**32 + 5000}, Reason.UNSUPPORTED_SYSCALL, "number 4294972296"),
    ],
)
def test_what_has_no_successor_stops_with_its_place(
    code: list[int], registers: dict[int, int], reason: Reason, words: str
) -> None:
    at = machine(code, registers, ml=False)
    stop = refused(at, reason)
    assert words in stop.message
    assert (stop.pc, stop.instruction) == (START, code[0])
    with pytest.raises(VmError, match="cannot be proven") as caught:
        at.step_witness()
    assert caught.value.reason == reason


def test_a_branch_in_a_delay_slot_stops() -> None:
    at = machine(
        [beq(0, 8, 4), beq(0, 0, 4)], {8: 1}
    )  # not taken: the slot is a slot all the same? No: nextPC is pc + 4
    at.run(1)
    at.run(1)
    assert at.step == 2
    at = machine([beq(0, 0, 4), beq(0, 8, 4)], {8: 1})
    at.run(1)
    refused(at, Reason.BRANCH_IN_DELAY_SLOT)


def test_a_wild_jump_stops_where_it_lands() -> None:
    at = machine([special(0x08, rs=8), NOP], {8: 0xFFFF_FFFF_FFFF_FFFE})
    assert at.run(100).steps == 2
    refused(at, Reason.MISALIGNED_PC)
    at = machine([special(0x08, rs=8), NOP], {8: 0xFFFF_FFFF_FFFF_FFFC})
    assert at.run(4).kind == StopKind.STEP_LIMIT  # zero memory is nops, and addresses wrap
    assert at.pc == 4


@pytest.mark.parametrize("value", [1, 1 << 24, 0x7F, 1 << 22, 0xFE800001])
def test_fcsr_holds_condition_codes_only(value: int) -> None:
    ctc1 = 0x11 << 26 | 6 << 21 | 8 << 16 | 31 << 11
    refused(machine([ctc1], {8: value}), Reason.FCSR)
    at = machine([ctc1, 0x11 << 26 | 2 << 21 | 9 << 16 | 31 << 11], {8: 0xFFFFFFFF_FE800000})
    at.run(2)
    assert (thread_of(at).fcsr, at.registers()[9]) == (0xFE800000, 0xFFFFFFFF_FE800000)


def test_an_unknown_preimage_stops_and_may_be_given() -> None:
    key = unlocalized_key(2)
    code = [SYSCALL, daddiu(V0, 0, 5000), daddiu(A0, 0, 5), SYSCALL]
    at = machine(code, {V0: 5001, A0: 6, A1: DATA, A2: 32})
    at.set_scalars(replace(at.scalars, preimage_key=key))
    at.set_register(V0, 5000)
    at.set_register(A0, 5)
    stop = at.run(1)
    assert (stop.kind, stop.reason) == (StopKind.UNKNOWN_PREIMAGE, Reason.UNKNOWN_PREIMAGE)
    assert f"key 0x{key.hex()}, offset 0" in stop.message
    at.set_local(2, b"answer")
    PREIMAGES[key] = b"answer"
    try:
        witness = step(at)
    finally:
        del PREIMAGES[key]
    assert witness.preimage is not None
    assert (witness.preimage.key, witness.preimage.offset) == (key, 0)
    assert at.read(DATA, 8) == (6).to_bytes(8, "big")
    assert step_from_witness(witness.state_data, witness.proof, ml=True).reason == Reason.UNKNOWN_PREIMAGE


def test_a_preimage_ends_where_it_ends() -> None:
    """Reading on behind the last byte has no next state."""
    at = call(5000, 5, DATA, 8)
    at.set_scalars(replace(at.scalars, preimage_key=unlocalized_key(3), preimage_offset=8))
    at.set_local(3, b"abc")
    step_at = at.fork()
    step_at.run(1)
    assert (step_at.registers()[V0], step_at.read(DATA, 4)) == (3, b"abc\0")
    step_at.jump(START)
    step_at.set_register(V0, 5000)
    assert step_at.run(1).kind == StopKind.UNKNOWN_PREIMAGE
    assert preimage_part(b"abc", 11) is None
    assert preimage_part(b"abc", 10) == b"c"


def test_local_data_belongs_to_one_machine() -> None:
    """Forks that answer different games do not hear each other's data."""
    at = call(5000, 5, DATA, 8)
    at.set_scalars(replace(at.scalars, preimage_key=unlocalized_key(2), preimage_offset=8))
    forks = [at.fork() for _ in range(2)]
    for i, fork in enumerate(forks):
        fork.set_local(2, bytes([i + 1]) * 8)
    for i, fork in enumerate(forks):
        fork.run(1)
        assert fork.read(DATA, 8) == bytes([i + 1]) * 8
    assert at.run(1).kind == StopKind.UNKNOWN_PREIMAGE


@pytest.mark.parametrize(
    ("target", "changed"),
    [
        (FaultTarget(FaultKind.REGISTER, 9, 63), "registers"),
        (FaultTarget(FaultKind.FLOAT_REGISTER, 31, 31), "float_registers"),
        (FaultTarget(FaultKind.HI, bit=5), "hi"),
        (FaultTarget(FaultKind.LO, bit=0), "lo"),
        (FaultTarget(FaultKind.PC, bit=2), "pc"),
    ],
)
def test_a_flipped_bit_is_one_bit(target: FaultTarget, changed: str) -> None:
    at = machine([NOP])
    before, whole = thread_of(at), at.thread_witness()
    at.flip_bit(target)
    after = thread_of(at)
    names = type(before).__slots__
    assert [name for name in names if getattr(before, name) != getattr(after, name)] == [changed]
    difference = int.from_bytes(whole, "big") ^ int.from_bytes(at.thread_witness(), "big")
    assert difference.bit_count() == 1
    at.flip_bit(target)
    assert thread_of(at) == before


def test_a_flipped_memory_bit_is_seen_by_all() -> None:
    at = machine([immediate(0x37, 8, A0, 0)], {A0: DATA})
    before = at.fork()
    at.run(1)
    at.jump(START)
    at.flip_bit(FaultTarget(FaultKind.MEMORY, DATA + 3, 17))
    assert at.read(DATA, 8) == (1 << 17).to_bytes(8, "big")
    step(at)
    assert at.registers()[8] == 1 << 17
    assert before.read(DATA, 8) == bytes(8)
    assert str(FaultTarget(FaultKind.MEMORY, DATA + 3, 17)) == f"bit 17 of memory word 0x{DATA:x}"


@pytest.mark.parametrize(
    "target",
    [
        FaultTarget(FaultKind.REGISTER, 32),
        FaultTarget(FaultKind.REGISTER, 1, 64),
        FaultTarget(FaultKind.FLOAT_REGISTER, 1, 32),
        FaultTarget(FaultKind.FLOAT_REGISTER, 1),
    ],
)
def test_there_is_no_such_bit(target: FaultTarget) -> None:
    with pytest.raises(VmError, match="cannot flip"):
        machine([NOP], ml=target.bit == 32).flip_bit(target)


@pytest.mark.parametrize("size", [0, 187, 189, 192])
def test_a_state_of_another_length_has_no_successor(size: int) -> None:
    witness = machine([NOP]).step_witness()
    outcome = step_from_witness(witness.state_data[:size].ljust(size, b"\0"), witness.proof, ml=True)
    assert (outcome.post_hash, outcome.reason) == (None, Reason.BAD_STATE)


@pytest.mark.parametrize("compact", [False, True])
def test_a_proof_that_ends_early_is_refused_wherever_it_ends(compact: bool) -> None:
    at = machine([sd(8, A0)], {A0: DATA})
    witness = at.step_witness(compact=compact)
    used = len(witness.proof) if compact else 462 + 2 * 1920
    for size in range(used):
        outcome = step_from_witness(witness.state_data, witness.proof[:size], ml=True)
        if compact or used - size >= 32:  # the full encoding's padding may stand for zeros that were there
            assert outcome.post_hash is None
            assert outcome.reason in {Reason.PROOF_TOO_SHORT, Reason.THREAD_PROOF, Reason.MEMORY_PROOF}
    assert step_from_witness(witness.state_data, witness.proof[:used] + b"\xff" * 99, ml=True).post_hash


def test_a_compact_proof_names_no_sibling_above_the_root() -> None:
    at = machine([NOP])
    witness = at.step_witness(compact=True)
    place = 8 + 462 + 32
    for bit in (59, 63):
        bitmap = int.from_bytes(witness.proof[place : place + 8], "big") | 1 << bit
        proof = witness.proof[:place] + bitmap.to_bytes(8, "big") + witness.proof[place + 8 :] + bytes(64)
        assert step_from_witness(witness.state_data, proof, ml=True).reason == Reason.PROOF_BITMAP


def test_random_bytes_are_no_witness() -> None:
    """No untrusted state file makes the engine fail, or gives a wrong result."""
    rng = random.Random(1)
    at = machine([sd(8, A0)], {A0: DATA})
    good = at.step_witness(compact=True)
    for _ in range(3000):
        state, proof = bytearray(good.state_data), bytearray(good.proof)
        for _ in range(rng.randrange(1, 4)):
            proof[rng.randrange(len(proof))] = rng.getrandbits(8)
        if rng.random() < 0.3:
            proof = bytearray(rng.randbytes(rng.randrange(7000)))
        if rng.random() < 0.3:
            state[rng.randrange(116)] ^= 1 << rng.randrange(8)
        outcome = step_from_witness(bytes(state), bytes(proof), ml=rng.random() < 0.5)
        if outcome.post_state is not None:
            assert State.decode(outcome.post_state).hash() == outcome.post_hash
            assert bytes(state[:32]) == good.state_data[:32] or State.decode(bytes(state)).exited
