"""Small programs for VM tests: instruction words by name, and machines that stand before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from opml_dispute.engine.vm import Machine, Reason, StepWitness, Stop, StopKind, step_from_witness
from opml_dispute.fpvm.state import State, Thread

START = 0x10000
DATA = 0x20000
SEGMENT = 0x7000_0000_0000
SYSCALL = 0x0000000C
NOP = 0
V0, A0, A1, A2, A3, SP = 2, 4, 5, 6, 7, 29
U64 = (1 << 64) - 1


def special(funct: int, rd: int = 0, rs: int = 0, rt: int = 0, shamt: int = 0) -> int:
    """An instruction of opcode 0."""
    return rs << 21 | rt << 16 | rd << 11 | shamt << 6 | funct


def immediate(opcode: int, rt: int, rs: int, value: int) -> int:
    """An instruction with a 16-bit immediate: arithmetic, a load, a store, a branch."""
    return opcode << 26 | rs << 21 | rt << 16 | value & 0xFFFF


def daddiu(rt: int, rs: int, value: int) -> int:
    return immediate(0x19, rt, rs, value)


def sd(rt: int, base: int, offset: int = 0) -> int:
    return immediate(0x3F, rt, base, offset)


def beq(rs: int, rt: int, words: int) -> int:
    return immediate(0x04, rt, rs, words)


def machine(
    code: Sequence[int], registers: Mapping[int, int] | None = None, *, ml: bool = True, limit: int = 1 << 30
) -> Machine:
    """A machine before the first word of `code`, at START."""
    made = Machine(ml=ml, memory_limit_bytes=limit)
    made.write(START, b"".join(word.to_bytes(4, "big") for word in code))
    made.jump(START)
    for index, value in (registers or {}).items():
        made.set_register(index, value)
    return made


def thread_of(at: Machine) -> Thread:
    """The active thread."""
    return Thread.decode(at.thread_witness())


def step(at: Machine) -> StepWitness:
    """
    Makes one step, three ways: run whole, and from a witness in both encodings; they agree. Answers the witness.

    So whatever a test says of the machine afterwards, it says of all three.
    """
    witnesses = [at.step_witness(compact=compact) for compact in (False, True)]
    before = at.step
    stop = at.run(1)
    assert stop.kind in {StopKind.STEP_LIMIT, StopKind.EXITED}, stop
    assert at.step == before + 1
    for witness in witnesses:
        assert witness.post_hash == at.state_hash()
        proven = step_from_witness(
            witness.state_data, witness.proof, lambda key, offset: _part(at, key, offset), ml=at.ml
        )
        assert proven.post_hash == at.state_hash(), proven
        assert proven.post_state == at.witness()
    assert State.decode(at.witness()).hash() == at.state_hash()
    return witnesses[0]


PREIMAGES: dict[bytes, bytes] = {}
"""What `step` answers for the oracle: key -> data."""


def _part(_: Machine, key: bytes, offset: int) -> bytes | None:
    data = PREIMAGES.get(key)
    if data is None:
        return None
    whole = len(data).to_bytes(8, "big") + data
    return whole[offset : offset + 32] if offset < len(whole) else None


def refused(at: Machine, reason: Reason) -> Stop:
    """The next step has no successor, whichever way it is made, and nothing has changed."""
    before = at.state_hash()
    stop = at.run(1)
    assert (stop.kind, stop.reason, stop.steps) == (StopKind.NO_SUCCESSOR, reason, 0), stop
    assert at.state_hash() == before
    return stop


def call(number: int, *arguments: int, ml: bool = True) -> Machine:
    """A machine before a system call."""
    return machine([SYSCALL], {V0: number, A3: 77, **dict(zip((A0, A1, A2), arguments, strict=False))}, ml=ml)


def advanced(thread: Thread, **registers: int) -> Thread:
    """`thread` one instruction on; `registers` are r0=..., r31=...: those that change."""
    values = list(thread.registers)
    for name, value in registers.items():
        values[int(name[1:])] = value & U64
    return replace(thread, pc=thread.next_pc, next_pc=(thread.next_pc + 4) & U64, registers=tuple(values))


def changed_fields(before: bytes, after: bytes) -> dict[str, object]:
    """Of two states, the fields that differ, with their new values."""
    old, new = State.decode(before), State.decode(after)
    return {name: getattr(new, name) for name in State.__slots__ if getattr(old, name) != getattr(new, name)}
