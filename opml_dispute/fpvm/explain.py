"""
The effects of a step, and the differences of two states, for operators who examine a dispute.

1. `explain_step` executes one step and answers an `Explanation`: the instruction as text, and every register, word of
   memory and field of the state that changed.
2. `compare` answers the `Difference`s of two machines. Memory is compared by its tree: equal subtrees are never opened,
   so states that differ in few places are compared fast, however large.

This module only describes: the engine and the contract decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from opml_dispute.engine.vm import Machine, VmError
from opml_dispute.fpvm.disassemble import REGISTERS, disassemble, memory_access
from opml_dispute.fpvm.state import Thread
from opml_dispute.primitives import QUANTUM

SYSCALL: Final = 0x0C

LEAF_LOG2: Final = 5
_U64: Final = (1 << 64) - 1

SYSCALLS: Final = {
    5000: "read", 5001: "write", 5002: "open", 5003: "close", 5004: "stat", 5005: "fstat", 5008: "lseek",
    5009: "mmap", 5010: "mprotect", 5011: "munmap", 5012: "brk", 5013: "rt_sigaction", 5014: "rt_sigprocmask",
    5015: "ioctl", 5016: "pread64", 5023: "sched_yield", 5026: "mincore", 5027: "madvise", 5034: "nanosleep",
    5036: "setitimer", 5038: "getpid", 5055: "clone", 5058: "exit", 5061: "uname", 5070: "fcntl", 5087: "readlink",
    5095: "getrlimit", 5100: "getuid", 5102: "getgid", 5129: "sigaltstack", 5178: "gettid", 5194: "futex",
    5196: "sched_getaffinity", 5205: "exit_group", 5208: "epoll_ctl", 5216: "timer_create", 5217: "timer_settime",
    5220: "timer_delete", 5222: "clock_gettime", 5225: "tgkill", 5247: "openat", 5257: "readlinkat",
    5272: "epoll_pwait", 5284: "eventfd2", 5285: "epoll_create1", 5287: "pipe2", 5297: "prlimit64",
    5313: "getrandom", 7001: "tensor_map", 7002: "tensor_root",
}  # fmt: skip
"""Names of the system calls that the VM has. Source: docs/vm.md, "System calls"."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two states."""

    where: str
    """A register ("a0", "f3", "hi"), a field of the state, or memory: "[0x10008]"."""
    before: int | str
    after: int | str

    def __str__(self) -> str:
        return f"{self.where} {_shown(self.before)} -> {_shown(self.after)}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One step."""

    step: int
    """How many steps were made before it."""
    thread_id: int
    pc: int
    word: int | None
    """The instruction; None if the step executes none (a thread ends, or its time is over)."""
    text: str
    """The instruction as text, or what happens instead."""
    changes: tuple[Difference, ...]


def explain_step(machine: Machine) -> Explanation:
    """
    Makes `machine`'s next step and tells what it did.

    Raises `VmError` if there is no next step; the machine is then where it was.
    """
    step, before, fields = machine.step, _active(machine), machine.scalars
    word = None
    if machine.exited:
        text = "(the program has ended; its last state repeats)"
    elif before.exited:
        text = "(the thread has ended and is removed)"
    elif fields.slice >= QUANTUM:
        text = "(the thread's time is over; another has its turn)"
    else:
        word = _instruction(machine, before.pc)
        text = disassemble(word, before.pc, ml=machine.ml)
        if _is_syscall(word):
            text += f"  {syscall_text(before)}"
    touched = [] if word is None else _touched(machine, word, before)
    old = [_read(machine, address, size) for address, size in touched]
    stop = machine.run(1)
    if not machine.exited and stop.steps != 1:
        raise VmError(f"step {step} cannot be made: {stop}", stop.reason)
    changes = list(_thread_changes(machine, before))
    for (address, size), was in zip(touched, old, strict=True):
        now = _read(machine, address, size)
        if was != now:
            changes.append(Difference(f"[0x{address:x}]", was, now))
    # The step counters of the machine and of the slice change with every step, so they are left out.
    later = machine.scalars
    for name in later.__dataclass_fields__:
        if name not in {"step", "slice"} and getattr(fields, name) != getattr(later, name):
            changes.append(Difference(name, *_pair(getattr(fields, name), getattr(later, name))))
    return Explanation(step, before.thread_id, before.pc, word, text, tuple(changes))


def syscall_text(thread: Thread) -> str:
    """
    The system call that a thread is about to make, with its arguments.

    A number that the VM does not have is shown as such.
    """
    number, (a0, a1, a2) = thread.registers[2], thread.registers[4:7]
    name = SYSCALLS.get(number, f"call {number}")
    return f"{name}({_shown(a0)}, {_shown(a1)}, {_shown(a2)})"


def compare(one: Machine, other: Machine, *, limit: int = 1 << 16) -> Iterator[Difference]:
    """
    Every field, register and word of memory in which two states differ, in that order.

    Memory is given by 64-bit words, and by subtrees ("2^12 bytes at 0x1000") where a machine knows only their roots.
    It ends after `limit` leaves of memory that differ.
    """
    first, second = one.scalars, other.scalars
    for name in first.__dataclass_fields__:
        if getattr(first, name) != getattr(second, name):
            yield Difference(name, *_pair(getattr(first, name), getattr(second, name)))
    for right, (here, there) in enumerate(zip(one.thread_counts(), other.thread_counts(), strict=True)):
        side = ("left", "right")[right]
        if here != there:
            yield Difference(f"threads on the {side} stack", here, there)
        for index in range(min(here, there)):
            a = Thread.decode(one.thread_witness(right=bool(right), index=index))
            b = Thread.decode(other.thread_witness(right=bool(right), index=index))
            for difference in _differing_registers(a, b):
                where = difference.where
                if here > 1 or there > 1:
                    where = f"{side} stack, thread {a.thread_id}: {where}"
                yield Difference(where, difference.before, difference.after)
    for count, (address, log2_size) in enumerate(_differing(one, other, 0, 64)):
        if count == limit:
            return
        yield from _differing_words(one, other, address, log2_size)


def _differing(one: Machine, other: Machine, address: int, log2_size: int) -> Iterator[tuple[int, int]]:
    """
    Leaves, and subtrees known by their root alone, whose roots differ: (address, log2_size), ascending.

    ASSUMES that the subtree itself differs: the caller compared, or it is the whole memory.
    """
    if log2_size == LEAF_LOG2:
        yield address, log2_size
        return
    half = log2_size - 1
    places = (address, address + (1 << half))
    try:
        roots = [[machine.subtree_root(place, half) for machine in (one, other)] for place in places]
    except VmError:  # known by its root only, here or there
        yield address, log2_size
        return
    for place, (here, there) in zip(places, roots, strict=True):
        if here != there:
            yield from _differing(one, other, place, half)


def _differing_words(one: Machine, other: Machine, address: int, log2_size: int) -> Iterator[Difference]:
    if log2_size > LEAF_LOG2:
        roots = ("0x" + machine.subtree_root(address, log2_size).hex() for machine in (one, other))
        yield Difference(f"2^{log2_size} bytes at 0x{address:x}, by root", *roots)
        return
    here, there = one.read(address, 32), other.read(address, 32)
    for at in range(0, 32, 8):
        a, b = here[at : at + 8], there[at : at + 8]
        if a != b:
            yield Difference(f"[0x{address + at:x}]", int.from_bytes(a, "big"), int.from_bytes(b, "big"))


def _active(machine: Machine) -> Thread:
    return Thread.decode(machine.thread_witness())


def _instruction(machine: Machine, pc: int) -> int:
    return int.from_bytes(machine.read(pc & ~3, 4), "big")


def _is_syscall(word: int) -> bool:
    return word >> 26 == 0 and word & 0x3F == SYSCALL


def _touched(machine: Machine, word: int, thread: Thread) -> list[tuple[int, int]]:
    """(address, size) of the memory that an instruction may change."""
    access = memory_access(word, thread.registers, ml=machine.ml)
    if access is not None:
        address, size, is_store = access
        return [(address, size)] if is_store else []
    if not _is_syscall(word):
        return []
    number, (a0, a1, a2) = thread.registers[2], thread.registers[4:7]
    words = {
        5000: [(a1 & ~7, 8)] if a0 == 5 else [],
        5222: [(a1 & ~7, 8), ((a1 & ~7) + 8 & _U64, 8)] if a0 < 2 else [],
        5313: [(a0 & ~7, 8)],
        7002: [(a2 & ~31, 32)],
    }
    return words.get(number, [])


def _read(machine: Machine, address: int, size: int) -> int | str:
    try:
        data = machine.read(address, size)
    except VmError:
        return "(not known)"
    return int.from_bytes(data, "big") if size <= 8 else "0x" + data.hex()


def _thread_changes(machine: Machine, before: Thread) -> Iterator[Difference]:
    """What the step did to the thread that made it, wherever that thread is now."""
    for right in (False, True):
        count = machine.thread_counts()[right]
        for index in range(count):
            thread = Thread.decode(machine.thread_witness(right=right, index=index))
            if thread.thread_id == before.thread_id:
                for difference in _differing_registers(before, thread):
                    if difference.where not in {"pc", "next pc"}:
                        yield difference
                now = _active(machine).thread_id
                if now != before.thread_id:
                    yield Difference("active thread", before.thread_id, now)
                return
    yield Difference("active thread", before.thread_id, _active(machine).thread_id)


def _differing_registers(a: Thread, b: Thread) -> Iterator[Difference]:
    scalars = (
        ("thread id", a.thread_id, b.thread_id),
        ("exited", a.exited, b.exited),
        ("exit code", a.exit_code, b.exit_code),
        ("pc", a.pc, b.pc),
        ("next pc", a.next_pc, b.next_pc),
        ("lo", a.lo, b.lo),
        ("hi", a.hi, b.hi),
    )
    for where, before, after in scalars:
        if before != after:
            yield Difference(where, before, after)
    for name, before, after in zip(REGISTERS, a.registers, b.registers, strict=True):
        if before != after:
            yield Difference(name, before, after)
    for index, (before, after) in enumerate(zip(a.float_registers, b.float_registers, strict=False)):
        if before != after:
            yield Difference(f"f{index}", before, after)
    if a.fcsr != b.fcsr:
        yield Difference("fcsr", a.fcsr, b.fcsr)


def _pair(before: int | bytes, after: int | bytes) -> tuple[int | str, int | str]:
    return tuple("0x" + value.hex() if isinstance(value, bytes) else value for value in (before, after))  # type: ignore[return-value]


def _shown(value: int | str) -> str:
    return f"0x{value:x}" if isinstance(value, int) and value > 9 else str(value)
