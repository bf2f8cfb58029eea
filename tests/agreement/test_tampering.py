"""
No part of a witness is taken on trust: whatever bit of a used part is flipped, the step is refused or differs.

Both sides are asked: the contract decides disputes, and the engine must not believe what the contract would refuse.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opml_dispute.testing.made_up_state import LEAF, SYSCALL, MadeUpState
from opml_dispute.testing.vectors import EngineStepper, Vector
from tests.agreement.harness import verifier

DATA = 0x20040
SEGMENT = 1 << 40
PARTS = {
    "add": MadeUpState(insn=0x00430820),
    "lw": MadeUpState(insn=0x8C410004, registers=(0, 0, DATA) + (0,) * 29),
    "sw": MadeUpState(insn=0xAC410004, registers=(0, 5, DATA) + (0,) * 29),
    "sc": MadeUpState(insn=0xE0410004, registers=(0, 5, DATA) + (0,) * 29, reservation=1, reserved_address=DATA + 4),
    "clock_gettime": MadeUpState(insn=SYSCALL, registers=(0, 0, 5222, 0, 1, DATA) + (0,) * 26, step=12_345),
    "tensor_map": MadeUpState(ml=True, insn=SYSCALL, registers=(0, 0, 7001, 0, SEGMENT, 40, DATA) + (0,) * 25),
    "tensor_root": MadeUpState(ml=True, insn=SYSCALL, registers=(0, 0, 7002, 0, SEGMENT, 40, DATA) + (0,) * 25),
    "madd.s": MadeUpState(ml=True, insn=0x4C831060, floats=(0, 0, 0x3F800001, 0x40490FDB, 0xBF800000) + (0,) * 27),
    "exited thread": MadeUpState(thread_exited=1, inner_root=b"\x11" * 32),
}
USED_WORDS = {"add": 60, "lw": 120, "sw": 120, "sc": 120, "clock_gettime": 180, "madd.s": 60, "exited thread": 0}


def used_bytes(name: str, case: MadeUpState, proof: bytes) -> int:
    """How much of the proof the step looks at."""
    if case.compact:
        return len(proof) if name != "exited thread" else 8 + 298 + 32
    words = USED_WORDS.get(name, 120 + 25)
    return len(case.thread()) + 32 + 32 * words


@pytest.mark.parametrize("compact", [False, True], ids=["full", "compact"])
@pytest.mark.parametrize("name", PARTS)
def test_a_flipped_bit_of_the_proof_is_refused(name: str, compact: bool) -> None:
    leaves = {at & ~31: bytes(range(32)) for at, size in PARTS[name].parts_touched() if size == LEAF}
    case = replace(PARTS[name], leaves=leaves, filling=b"dense", compact=compact)
    vector = case.vector()
    honest = EngineStepper().step_vector(vector)
    assert honest is not None
    assert verifier(ml=case.ml).step_vector(vector) == honest
    used = used_bytes(name, case, vector.proof)
    # One bit of every third byte, so of every word; which one moves along, so that all eight places are met.
    for at in range(0, used, 3):
        proof = bytearray(vector.proof)
        proof[at] ^= 1 << (at % 8)
        tampered = replace(vector, proof=bytes(proof))
        assert verifier(ml=case.ml).step_vector(tampered) is None, f"byte {at}"
        assert EngineStepper().step_vector(tampered) is None, f"byte {at}"
    if not compact:
        junk = replace(vector, proof=vector.proof[:used] + b"\xff" * 64)
        assert verifier(ml=case.ml).step_vector(junk) == honest
        short = replace(vector, proof=vector.proof[: used - 32])
        assert verifier(ml=case.ml).step_vector(short) is None


@pytest.mark.parametrize("ml", [False, True])
def test_a_proof_too_short_for_a_marker_is_refused_as_any_short_proof(ml: bool) -> None:
    """It is no compact proof, so its eight bytes are not looked for."""
    vector = next(replace(case, ml=ml).vector() for name, case in PARTS.items() if name == "add")
    for size in range(9):
        refusal = verifier(ml=ml).step(vector.state, vector.proof[:size], vector.context).refusal
        assert refusal is not None
        assert refusal.text.startswith("ProofTooShort(" if ml else "MIPS64: insufficient calldata for thread witness")
    alone = verifier(ml=True).step(replace(PARTS["add"], ml=True).vector().state, b"OPMLCMP1").refusal
    assert alone is not None
    assert alone.arguments[1] == 364, "a marker alone is a compact proof, which ends where it ends"


@pytest.mark.parametrize("name", PARTS)
def test_a_flipped_bit_of_the_state_shows(name: str) -> None:
    # A reservation far from all that is written, so that no single bit moves it there (where it would rightly vanish).
    reserved_address = PARTS[name].reserved_address or 3 << 61
    case = replace(PARTS[name], filling=b"dense", reserved_address=reserved_address)
    vector = case.vector()
    honest = verifier(ml=case.ml).step_vector(vector)
    assert honest is not None
    # Leaving an exited thread ends its time slice, however long that was.
    told = set(range(188)) - (set(range(107, 115)) if name == "exited thread" else set())
    for at in sorted(told):
        for bit in (0, 7):
            state = bytearray(vector.state)
            state[at] ^= 1 << bit
            tampered: Vector = replace(vector, state=bytes(state))
            found = verifier(ml=case.ml).step_vector(tampered)
            assert found != honest, f"byte {at}"
            assert found == EngineStepper().step_vector(tampered), f"byte {at}"


@pytest.mark.parametrize("ml", [False, True])
@pytest.mark.parametrize("insn", [0xE0410008, 0xF0410008], ids=["sc", "scd"])
def test_a_conditional_store_needs_a_reservation_of_its_own_kind(insn: int, ml: bool) -> None:
    """Where another was made, or none is left, an address that still stands there reserves nothing."""
    after = []
    for reservation in range(3):
        vector = MadeUpState(
            ml=ml, insn=insn, registers=(0, 5, DATA) + (0,) * 29, reservation=reservation, reserved_address=DATA + 8
        ).vector()
        after.append(EngineStepper().step_vector(vector))
        assert verifier(ml=ml).step_vector(vector) == after[-1]
    assert None not in after
