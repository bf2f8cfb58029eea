"""Why the contract refuses a step: in base states in the published machine's words, in ML states with values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import pytest

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import Machine
from opml_dispute.testing.evm_verifier import Verifier

PC: Final = 0x10000
DATA: Final = 0x20008
SYSCALL: Final = 0x0000000C
LD: Final = 0xDC410000  # ld r1, 0(r2)
BEQ: Final = 0x10000001
JR: Final = 0x00400008  # jr r2
J: Final = 0x08000000
EMPTY_STACK: Final = keccak256(bytes(64))
THREAD_BYTES: Final = {False: 298, True: 430}
MEMORY_PROOF_BYTES: Final = 60 * 32


@dataclass
class Witness:
    """A step to be refused; changed in place."""

    ml: bool
    state: bytearray
    proof: bytearray

    def flip_proof(self, part: int) -> None:
        """Damages the leaf of a memory proof."""
        self.proof[THREAD_BYTES[self.ml] + 32 + part * MEMORY_PROOF_BYTES + 700] ^= 1

    def end_proof_in(self, part: int) -> None:
        """Cuts a memory proof short by a word."""
        del self.proof[THREAD_BYTES[self.ml] + 32 + (part + 1) * MEMORY_PROOF_BYTES - 32 :]


@cache
def verifier(ml: bool) -> Verifier:
    """One of each version."""
    return Verifier(ml=ml)


def witness(
    ml: bool, instruction: int, registers: dict[int, int] | None = None, *, pc: int = PC, next_pc: int | None = None
) -> Witness:
    """Of a machine about to run one instruction; taken before a harmless one, since a refused step has none."""
    machine = Machine(ml=ml)
    machine.write(PC, b"\0" * 32)
    machine.write(DATA, b"data")
    machine.jump(PC)
    for index, value in (registers or {}).items():
        machine.set_register(index, value)
    nop = machine.step_witness()
    machine.write(PC, instruction.to_bytes(4, "big"))
    thread = bytearray(machine.thread_witness())
    thread[10:18] = pc.to_bytes(8, "big")
    thread[18:26] = (pc + 4 if next_pc is None else next_pc).to_bytes(8, "big")
    machine.set_thread(bytes(thread))
    # The proof of the no-operation has the siblings of the instruction's leaf; the data's proof is of a load.
    proof = bytearray(nop.proof)
    size = THREAD_BYTES[ml]
    proof[:size] = thread
    proof[size + 32 : size + 64] = machine.read(PC, 32)
    if instruction in {LD, SYSCALL}:
        proof = bytearray(machine.step_witness().proof)
    return Witness(ml, bytearray(machine.witness()), proof)


def damaged(
    instruction: int, registers: dict[int, int], change: Callable[[Witness], None]
) -> Callable[[bool], Witness]:
    """A witness of a good step, then changed."""

    def make(ml: bool) -> Witness:
        made = witness(ml, instruction, registers)
        change(made)
        return made

    return make


def without_threads(made: Witness) -> None:
    """Empties the active stack."""
    made.state[116:148] = EMPTY_STACK


def with_flag(made: Witness) -> None:
    """An exited flag that is neither 0 nor 1."""
    made.state[98] = 2


def exited_without_threads(made: Witness) -> None:
    """An exited machine whose stack is empty."""
    made.state[98] = 1
    without_threads(made)


def other_thread(made: Witness) -> None:
    """The thread's identity in the proof is another."""
    made.proof[7] ^= 1


def cut_thread(made: Witness) -> None:
    """The proof ends in the thread."""
    del made.proof[200:]


def cut_to_whole_words(made: Witness) -> None:
    """Ends the proof of a load with its last whole word: no zeros that pad calldata follow."""
    needed = THREAD_BYTES[made.ml] + 32 + 2 * MEMORY_PROOF_BYTES
    del made.proof[needed // 32 * 32 :]


CLOCK: Final = {2: 5222, 4: 0, 5: DATA}
CASES: Final[dict[str, tuple[Callable[[bool], Witness], str, str]]] = {
    "exited flag": (damaged(LD, {2: DATA}, with_flag), "InvalidExitedValue", "ExitedFlagInvalid"),
    "no thread": (damaged(LD, {2: DATA}, without_threads), "MIPS64: active thread stack is empty", "ThreadStackEmpty"),
    "no thread behind": (
        damaged(LD, {2: DATA}, exited_without_threads),
        "MIPS64: post-state active thread stack is empty",
        "ThreadStackEmpty",
    ),
    "thread": (damaged(LD, {2: DATA}, other_thread), "MIPS64: invalid thread witness", "ThreadProofMismatch"),
    "short thread": (
        damaged(LD, {2: DATA}, cut_thread),
        "MIPS64: insufficient calldata for thread witness",
        "ProofTooShort",
    ),
    "instruction's proof": (
        damaged(LD, {2: DATA}, lambda made: made.flip_proof(0)),
        "InvalidMemoryProof",
        "MemoryProofMismatch",
    ),
    "load's proof": (
        damaged(LD, {2: DATA}, lambda made: made.flip_proof(1)),
        "InvalidMemoryProof",
        "MemoryProofMismatch",
    ),
    "load's short proof": (
        damaged(LD, {2: DATA}, lambda made: made.end_proof_in(1)),
        "MIPS64Memory: check that there is enough calldata",
        "ProofTooShort",
    ),
    "load's proof without its last part of a word": (
        damaged(LD, {2: DATA}, cut_to_whole_words),
        "MIPS64Memory: check that there is enough calldata",
        "ProofTooShort",
    ),
    "clock's first proof": (
        damaged(SYSCALL, CLOCK, lambda made: made.flip_proof(1)),
        "InvalidMemoryProof",
        "MemoryProofMismatch",
    ),
    "clock's second proof": (
        damaged(SYSCALL, CLOCK, lambda made: made.flip_proof(2)),
        "InvalidSecondMemoryProof",
        "MemoryProofMismatch",
    ),
    "misaligned": (lambda ml: witness(ml, 0, pc=PC + 2), "InvalidPC", "ProgramCounterMisaligned"),
    "opcode": (lambda ml: witness(ml, 0x74000000), "MIPS64: invalid instruction", "InstructionUnsupported"),
    "special": (lambda ml: witness(ml, 0x00000005), "MIPS64: invalid instruction", "InstructionUnsupported"),
    "shift": (lambda ml: witness(ml, 0x00000039), "MIPS64: invalid instruction", "InstructionUnsupported"),
    "arithmetic": (lambda ml: witness(ml, 0x00000028), "MIPS64: invalid instruction", "InstructionUnsupported"),
    "special 2": (lambda ml: witness(ml, 0x70000000), "MIPS64: invalid instruction", "InstructionUnsupported"),
    "branch": (lambda ml: witness(ml, BEQ, next_pc=PC + 8), "MIPS64: branch in delay slot", "BranchInDelaySlot"),
    "jump": (lambda ml: witness(ml, J, next_pc=PC + 8), "MIPS64: jump in delay slot", "BranchInDelaySlot"),
    "jump to register": (lambda ml: witness(ml, JR, next_pc=PC + 8), "MIPS64: jump in delay slot", "BranchInDelaySlot"),
    "div": (lambda ml: witness(ml, 0x0043001A), "MIPS64: division by zero", "DivisionByZero"),
    "divu": (lambda ml: witness(ml, 0x0043001B), "MIPS64: division by zero", "DivisionByZero"),
    "ddiv": (lambda ml: witness(ml, 0x0043001E), "MIPS64: division by zero", "DivisionByZero"),
    "ddivu": (lambda ml: witness(ml, 0x0043001F), "MIPS64: division by zero", "DivisionByZero"),
}


@pytest.mark.parametrize("name", CASES)
def test_base_states_are_refused_in_the_published_words_and_ml_states_with_values(name: str) -> None:
    make, in_base, in_ml = CASES[name]
    for ml, expected in ((False, in_base), (True, in_ml)):
        made = make(ml)
        verdict = verifier(ml).step(bytes(made.state), bytes(made.proof))
        assert verdict.refusal is not None, f"{name}: the step was made"
        said = verdict.refusal.name if verdict.refusal.name != "Error" else verdict.refusal.text
        assert expected in said, (name, ml)
        if ml:
            assert "MIPS64" not in verdict.refusal.text
