"""Threads: made, preempted, ended; reservations between them. docs/vm.md, "Threads" and "Load linked"."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opml_dispute.engine.vm import Machine, Reason, StopKind
from opml_dispute.fpvm.state import Thread
from tests.fpvm.program import (
    A0,
    A1,
    A2,
    DATA,
    NOP,
    SP,
    START,
    SYSCALL,
    V0,
    advanced,
    beq,
    call,
    changed_fields,
    daddiu,
    immediate,
    machine,
    refused,
    sd,
    step,
    thread_of,
)

QUANTUM = 100_000
CLONE, YIELD, EXIT, EXIT_GROUP, FUTEX = 5055, 5023, 5058, 5205, 5194
CLONE_FLAGS = 0x50F00
LL, SC, LLD, SCD = 0x30, 0x38, 0x34, 0x3C


def with_child(ml: bool = True) -> Machine:
    """Just after a clone; the child (thread 1) is active."""
    at = call(CLONE, CLONE_FLAGS, 0x5000_0000, ml=ml)
    at.write(START + 4, (0x64080001).to_bytes(4, "big") * 64)  # daddiu $t0, $zero, 1
    step(at)
    return at


def activate_next(at: Machine) -> None:
    """Makes the active thread yield."""
    thread = thread_of(at)
    at.set_register(V0, YIELD)
    at.write(thread.pc, SYSCALL.to_bytes(4, "big"))
    step(at)


@pytest.mark.parametrize("ml", [False, True])
def test_a_child_is_its_parent_but_for_stack_and_result(ml: bool) -> None:
    at = call(CLONE, CLONE_FLAGS, 0x5000_0000, ml=ml)
    parent = thread_of(at)
    if ml:
        parent = replace(parent, float_registers=tuple(range(32)), fcsr=1 << 25)
    parent = replace(parent, lo=5, hi=6)
    at.set_thread(parent.encode())
    before = at.witness()
    step(at)
    registers = list(parent.registers)
    registers[SP], registers[V0], registers[7] = 0x5000_0000, 0, 0
    child = replace(advanced(parent), thread_id=1, registers=tuple(registers))
    assert thread_of(at) == child
    assert Thread.decode(at.thread_witness(right=False, index=0)) == advanced(parent, r2=1, r7=0)
    changed = changed_fields(before, at.witness())
    assert set(changed) == {"left_stack", "step", "next_thread_id"}  # the slice began anew
    assert changed["next_thread_id"] == 2


@pytest.mark.parametrize("flags", [0, CLONE_FLAGS + 1, CLONE_FLAGS | 1 << 32])
def test_other_clone_flags_end_the_vm(flags: int) -> None:
    at = call(CLONE, flags, 0)
    thread = thread_of(at)
    step(at)
    assert (at.exited, at.exit_code, at.state_hash()[0]) == (True, 2, 2)
    assert thread_of(at) == thread


def test_threads_take_turns_there_and_back() -> None:
    """0 1 2 | 2 1 0 | 0 1 2: the last one of a pass is the first of the next."""
    at = machine([SYSCALL, SYSCALL, beq(0, 0, -2), SYSCALL], {V0: CLONE, A0: CLONE_FLAGS, A1: 0x5000_0000})
    step(at)  # thread 1 is active now, with result 0
    at.set_register(V0, CLONE)
    step(at)
    assert at.thread_counts() == (3, 0)
    order = []
    for _ in range(9):
        order.append(thread_of(at).thread_id)
        activate_next(at)
    assert order == [2, 1, 0, 0, 1, 2, 2, 1, 0]


def test_a_slice_has_a_hundred_thousand_instructions() -> None:
    at = machine([daddiu(8, 8, 1), beq(0, 0, -2), NOP])
    thread = thread_of(at)
    assert at.run(QUANTUM).steps == QUANTUM
    assert (at.scalars.slice, at.thread_counts()) == (QUANTUM, (1, 0))
    running = thread_of(at)
    step(at)  # the forced switch: the only thread moves over, unchanged
    assert (at.scalars.slice, at.thread_counts(), at.scalars.traverse_right) == (0, (0, 1), 1)
    assert thread_of(at) == running != thread
    assert at.run(3 * QUANTUM).kind == StopKind.STEP_LIMIT
    assert at.scalars.step == 4 * QUANTUM + 1


def test_running_on_meets_the_same_states_as_running_in_steps() -> None:
    """Around a slice's end, where the run loop leaves its fast path."""
    whole, pieces = (machine([daddiu(8, 8, 1), beq(0, 0, -2), NOP]) for _ in range(2))
    whole.run(QUANTUM - 2)
    pieces.run(QUANTUM - 2)
    for _ in range(6):
        step(pieces)
        whole.run(1)
        assert whole.state_hash() == pieces.state_hash()


@pytest.mark.parametrize("slice_", [QUANTUM, QUANTUM + 5, 2**64 - 1])
def test_a_slice_beyond_its_end_is_over(slice_: int) -> None:
    at = with_child()
    at.set_scalars(replace(at.scalars, slice=slice_))
    step(at)
    assert (at.scalars.slice, thread_of(at).thread_id) == (0, 0)


def test_a_dead_thread_is_taken_away_by_a_step_of_its_own() -> None:
    at = with_child()
    at.set_register(V0, EXIT)
    at.set_register(A0, 0x107)
    at.write(thread_of(at).pc, SYSCALL.to_bytes(4, "big"))
    child = thread_of(at)
    step(at)
    assert thread_of(at) == replace(child, exited=1, exit_code=7)
    assert not at.exited
    step(at)
    assert (at.thread_counts(), thread_of(at).thread_id, at.scalars.slice) == ((1, 0), 0, 0)


def test_the_last_threads_exit_is_the_vms() -> None:
    at = call(EXIT, 0x101)
    step(at)
    assert (at.exited, at.exit_code, at.state_hash()[0]) == (True, 1, 1)
    frozen = at.state_hash()
    assert at.run(10).kind == StopKind.EXITED
    assert at.state_hash() == frozen
    assert at.step_witness().proof == b""  # an exited VM needs nothing shown
    assert at.step_witness().post_hash == frozen


def test_exit_group_ends_all() -> None:
    at = with_child()
    at.set_register(V0, EXIT_GROUP)
    at.set_register(A0, 256)
    at.write(thread_of(at).pc, SYSCALL.to_bytes(4, "big"))
    child = thread_of(at)
    step(at)
    assert (at.exited, at.exit_code, at.state_hash()[0]) == (True, 0, 0)
    assert thread_of(at) == child


def test_a_vm_without_threads_has_no_successor() -> None:
    at = machine([NOP])
    at.resize_stack(right=False, count=0)
    assert at.run(1).reason == Reason.NO_THREAD
    assert at.run(1).kind == StopKind.NO_SUCCESSOR


def test_the_last_dead_thread_is_not_taken_away() -> None:
    at = machine([NOP])
    at.set_thread(replace(thread_of(at), exited=1).encode())
    refused(at, Reason.NO_THREAD)


@pytest.mark.parametrize(("value", "yields"), [(5, True), (6, False), (5 + (1 << 32), True)])
def test_futex_waits_while_the_value_is_there(value: int, yields: bool) -> None:
    at = with_child()
    at.write(DATA + 4, (5).to_bytes(4, "big"))
    for register, number in ((V0, FUTEX), (A0, DATA + 6), (A1, 128), (A2, value)):
        at.set_register(register, number)
    at.write(thread_of(at).pc, SYSCALL.to_bytes(4, "big"))
    step(at)
    assert (thread_of(at).thread_id == 0) == yields
    if not yields:
        assert at.registers()[V0] == 11


@pytest.mark.parametrize("linked", [LL, LLD])
@pytest.mark.parametrize("conditional", [SC, SCD])
@pytest.mark.parametrize("offset", [0, 1])
def test_a_store_succeeds_on_its_own_reservation_only(linked: int, conditional: int, offset: int) -> None:
    at = machine([immediate(linked, 8, A0, 8), immediate(conditional, 9, A0, 8 + offset)], {A0: DATA, 9: 0x1_2345_6789})
    at.write(DATA + 8, b"\xff" * 8)
    step(at)
    reserved = at.scalars
    assert (reserved.ll_status, reserved.ll_address, reserved.ll_owner) == (1 if linked == LL else 2, DATA + 8, 0)
    step(at)
    success = (linked == LL) == (conditional == SC) and offset == 0
    assert at.registers()[9] == int(success)
    if not success:
        assert at.read(DATA + 8, 8) == b"\xff" * 8
        assert at.scalars.ll_status == reserved.ll_status
    else:
        stored = (
            (0x2345_6789).to_bytes(4, "big") + b"\xff" * 4 if conditional == SC else (0x1_2345_6789).to_bytes(8, "big")
        )
        assert at.read(DATA + 8, 8) == stored
        assert at.scalars.ll_status == at.scalars.ll_address == 0


@pytest.mark.parametrize(("offset", "is_lost"), [(0, True), (7, True), (-8, False), (8, False)])
def test_any_write_to_the_word_ends_a_reservation(offset: int, is_lost: bool) -> None:
    at = machine([immediate(LL, 8, A0, 4), sd(9, A0, offset)], {A0: DATA})
    step(at)
    step(at)
    assert (at.scalars.ll_status == 0) == is_lost


def test_another_threads_reservation_is_not_ours() -> None:
    at = with_child()
    at.set_register(A0, DATA)
    at.write(thread_of(at).pc, immediate(LL, 8, A0, 0).to_bytes(4, "big"))
    step(at)
    activate_next(at)
    assert thread_of(at).thread_id == 0
    at.set_register(A0, DATA)
    at.set_register(9, 1)
    at.write(thread_of(at).pc, immediate(SC, 9, A0, 0).to_bytes(4, "big"))
    step(at)
    assert at.registers()[9] == 0
    assert at.scalars.ll_owner == 1
