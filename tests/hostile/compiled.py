"""
Compiled code beside the interpreter: the same program in three machines, stopped at the same places, in equal states.

Two of them compile: one everything at once, one what is met often, as in real runs, whose regions lack what was never
met.

The programs are made so that they live: loops and calls among a few dozen blocks, at the end of the address space too,
delay slots full, registers that point to data, to the edge of a page, to the code itself; loads and stores of every
width and alignment, load linked and store conditional, divisions, forms that extend 32 bits, floating point, system
calls and threads. Between the runs memory, registers and code are changed from outside, and machines are forked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from opml_dispute.engine.vm import Execution, FaultKind, FaultTarget, Machine
from opml_dispute.errors import OpmlError
from opml_dispute.testing.fuzz import random_instruction
from tests.hostile.campaign import Move, random_number

CODE: Final = 0x10000
END: Final = 1 << 64
"""Of the address space: behind it is address 0."""
DATA: Final = 0x20000
POINTERS: Final = {26: DATA, 27: DATA + 4096 - 16, 28: CODE, 29: 0x7FFF_FFFF_F000, 30: 0xFFFF_FFFF_FFFF_F800}
"""Registers that programs use as addresses and seldom write."""
_FREE: Final = (1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 24)
_CALLS: Final = (5178, 5178, 5023, 5055, 5058, 5222, 5313, 5194, 5012, 5009, 5000, 5001, 7002, 7001)
_CLONE_FLAGS: Final = 0x50F00
_LOADS: Final = (0x20, 0x21, 0x23, 0x24, 0x25, 0x27, 0x37, 0x22, 0x26, 0x1A, 0x1B, 0x31)
_STORES: Final = (0x28, 0x29, 0x2B, 0x3F, 0x2A, 0x2E, 0x2C, 0x2D, 0x39)
_THREE: Final = (
    *(0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x2F),
    *(0x04, 0x06, 0x07, 0x14, 0x16, 0x17, 0x0A, 0x0B, 0x00, 0x02, 0x03, 0x38, 0x3A, 0x3B, 0x3C, 0x3E, 0x3F),
)
_HI_LO: Final = (0x18, 0x19, 0x1C, 0x1D, 0x10, 0x12, 0x11, 0x13)
_IMMEDIATE: Final = (0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x18, 0x19)
_SINGLE: Final[tuple[int, ...]] = (0, 1, 2, 3, 4, 5, 6, 7, 0x0C, 0x0D, 0x0E, 0x0F, 0x11, 0x12, 0x13, *range(0x30, 0x40))


class CompiledCode:
    """See the module."""

    name: Final = "compiled"

    def moves(self, rng: random.Random) -> list[Move]:
        """A program, what its registers hold, and runs with changes between them."""
        start, code = living_code(rng, at_end=rng.random() < 0.15)
        moves: list[Move] = [("new", rng.random() < 0.6), ("code", start, code)]
        moves += [("register", index, value) for index, value in (POINTERS | {28: start}).items()]
        moves += [("register", index, random_number(rng)) for index in _FREE]
        moves += [("write", DATA, rng.randbytes(2 * 4096)), ("jump", start)]
        if rng.random() < 0.1:
            moves.append(("register", 0, 1))
        for _ in range(rng.randrange(2, 12)):
            moves.append(
                ("run", rng.choice((1, 2, 3, 7, 40, 41, 1000, 5000, 5001)) if rng.random() < 0.95 else 120_000)
            )
            match rng.randrange(14):
                case 0:
                    words = living_code(rng)[1][: rng.choice((4, 8, 64))]
                    moves.append(("write", start + 4 * rng.randrange(400), words))
                case 1:
                    moves.append(("fork",))
                case 2:
                    moves.append(("register", rng.choice(_FREE), random_number(rng)))
                case 3:
                    moves.append(("jump", (start + 4 * rng.randrange(100)) % END))
                case 4:
                    moves.append(("flip", rng.choice((FaultKind.REGISTER, FaultKind.MEMORY, FaultKind.PC)), 5, 3))
                case 5:
                    moves.append(("subtree", DATA, rng.choice((5, 8, 12, 13))))
                case 6:
                    moves.append(("zero", DATA + rng.randrange(4096), rng.randrange(5000)))
        return moves

    def play(self, moves: Sequence[Move]) -> None:
        """See the module."""
        machines: list[Machine] = []
        for kind, *arguments in moves:
            if kind == "new":
                kinds = (Execution.INTERPRETED, Execution.COMPILED_AT_ONCE, Execution.COMPILED_EARLY)
                machines = [Machine(ml=arguments[0], memory_limit_bytes=1 << 24, execution=how) for how in kinds]
            elif kind == "fork":
                machines = [machine.fork() for machine in machines]
            elif machines:
                answers = [_told(_MOVES[kind], machine, *arguments) for machine in machines]
                for how, answer in zip(("at once", "early"), answers[1:], strict=True):
                    assert answer == answers[0], f"{kind}: interpreted {answers[0]}, compiled {how} {answer}"


def living_code(rng: random.Random, *, at_end: bool = False) -> tuple[int, bytes]:
    """A program whose branches, jumps and calls stay inside of it, and its address; `at_end`: of the address space."""
    count = rng.choice((3, 8, 20, 60))
    blocks = [_straight(rng, rng.choice((0, 1, 3, 6, 12, 90 if rng.random() < 0.1 else 4))) for _ in range(count)]
    sizes = [len(block) + _END_WORDS for block in blocks]
    first = END - 4 * sum(sizes) if at_end else CODE
    starts = [first + 4 * sum(sizes[:index]) for index in range(count)]
    words: list[int] = []
    for block in blocks:
        words += block
        words += _end(rng, first + 4 * len(words), starts)
    return first, b"".join(word.to_bytes(4, "big") for word in words)


_END_WORDS: Final = 5


def _end(rng: random.Random, at: int, starts: Sequence[int]) -> list[int]:
    """Five words: how a block ends, its delay slot included. `at` is where they will stand."""
    target = rng.choice(starts)
    if rng.random() < 0.1:
        target += 4 * rng.randrange(4)
    slot = _straight(rng, 1)[0] if rng.random() < 0.7 else 0
    register = rng.choice(_FREE)
    match rng.randrange(8):
        case 0:  # j, jal
            return _padded([rng.choice((2, 3)) << 26 | target >> 2 & 0x3FFFFFF, slot])
        case 1:  # a register: lui, ori, jr or jalr
            jump = rng.choice((25 << 21 | 8, 25 << 21 | 31 << 11 | 9, 25 << 21 | 25 << 11 | 9))
            return _padded([0x0F << 26 | 25 << 16 | target >> 16 & 0xFFFF, _ori(25, target), jump, slot])
        case 2:  # jr ra, if something was linked
            return _padded([_branch(0x04, 31, 0, 3), 0, 31 << 21 | 8, slot])
        case 3:  # a register counted down to zero
            return _padded(
                [0x19 << 26 | register << 21 | register << 16 | 0xFFFF, _to(0x05, register, 0, at + 4, target), slot]
            )
        case 4:
            code = rng.choice((0x00, 0x01, 0x00, 0x01, 0x10, 0x11, 0x02))
            return _padded([_to(0x01, register, code, at, target), slot])
        case 5:
            return _padded([_to(rng.choice((0x06, 0x07)), register, 0, at, target), slot])
        case _:
            return _padded([_to(rng.choice((0x04, 0x05)), register, rng.choice((0, *_FREE)), at, target), slot])


def _padded(words: list[int]) -> list[int]:
    return words + [0] * (_END_WORDS - len(words))


def _ori(register: int, value: int) -> int:
    return 0x0D << 26 | register << 21 | register << 16 | value & 0xFFFF


def _branch(opcode: int, rs: int, rt: int, words: int) -> int:
    return opcode << 26 | rs << 21 | rt << 16 | words & 0xFFFF


def _to(opcode: int, rs: int, rt: int, at: int, target: int) -> int:
    return _branch(opcode, rs, rt, (target - at - 4) >> 2)


def _straight(rng: random.Random, count: int) -> list[int]:
    words: list[int] = []
    while len(words) < count:
        words += _some(rng)
    return words[:count]


def _some(rng: random.Random) -> list[int]:
    """One instruction, or a few that belong together."""
    a, b, c = (rng.choice((*_FREE, *_FREE, 0)) for _ in range(3))
    pointer = rng.choice((26, 26, 26, 26, 27, 27, 29, 30, 28 if rng.random() < 0.1 else 26))
    offset = rng.choice((0, 8, 16, 24, rng.randrange(-64, 64), rng.randrange(-2048, 2048))) & 0xFFFF
    kind = rng.choices(range(11), (8, 2, 4, 5, 4, 1.2, 1.2, 2, 0.25, 0.05, 0.4))[0]
    match kind:
        case 0:
            return [b << 21 | c << 16 | a << 11 | rng.randrange(32) << 6 | rng.choice(_THREE)]
        case 1:
            return [b << 21 | c << 16 | rng.choice((0, a)) << 11 | rng.choice(_HI_LO)]
        case 2:
            return [rng.choice(_IMMEDIATE) << 26 | b << 21 | a << 16 | rng.getrandbits(16)]
        case 3:
            return [rng.choice(_LOADS) << 26 | pointer << 21 | a << 16 | offset]
        case 4:
            return [rng.choice(_STORES) << 26 | pointer << 21 | a << 16 | offset]
        case 5:  # ll, something, sc
            wide, between = rng.choice((0, 4)), [0] if rng.random() < 0.5 else _some(rng)[:1]
            linked = [(0x30 | wide) << 26 | pointer << 21 | a << 16 | offset]
            return linked + between + [(0x38 | wide) << 26 | pointer << 21 | b << 16 | offset]
        case 6:  # a divisor that is not zero, mostly
            guard = [0x0D << 26 | c << 21 | c << 16 | 1] if rng.random() < 0.98 else []
            return [*guard, b << 21 | c << 16 | rng.choice((0x1A, 0x1B, 0x1E, 0x1F))]
        case 7:
            return [_float(rng, a)]
        case 8:  # a system call
            number = rng.choice(_CALLS)
            arguments = [0x0F << 26 | 4 << 16 | _CLONE_FLAGS >> 16, _ori(4, _CLONE_FLAGS)] if number == 5055 else []
            return [*arguments, 0x19 << 26 | 2 << 16 | number, 0x0C]
        case 9:
            return [random_instruction(rng, ml=True)]
        case _:
            return [0x1C << 26 | b << 21 | c << 16 | a << 11 | rng.choice((0x02, 0x20, 0x21, 0x24, 0x25))]


def _float(rng: random.Random, register: int) -> int:
    fs, ft, fd, fr = (rng.randrange(8) for _ in range(4))
    match rng.randrange(6):
        case 0:  # mfc1, mtc1
            return 0x11 << 26 | rng.choice((0, 4)) << 21 | register << 16 | fs << 11
        case 1:
            return 0x13 << 26 | fr << 21 | ft << 16 | fs << 11 | fd << 6 | rng.choice((0x20, 0x28, 0x30, 0x38))
        case 2:  # cvt.s.w, cfc1
            return rng.choice((0x11 << 26 | 0x14 << 21 | fs << 11 | fd << 6 | 0x20, 0x4440F800 | register << 16))
        case 3:  # lwxc1, swxc1; movci
            indexed = 0x13 << 26 | 26 << 21 | fs << 11 | fd << 6 | rng.choice((0, 8))
            return rng.choice((indexed, 3 << 21 | rng.randrange(32) << 16 | register << 11 | 1))
        case _:
            return 0x11 << 26 | 0x10 << 21 | ft << 16 | fs << 11 | fd << 6 | rng.choice(_SINGLE)


def _told(what: Callable[..., object], machine: Machine, *arguments: Any) -> object:
    try:
        return what(machine, *arguments)
    except OpmlError as error:
        return str(error)


def _run(machine: Machine, steps: int) -> object:
    stop = machine.run(steps)
    printed: object = None
    with suppress(OpmlError):
        printed = machine.state_hash()
    return stop, printed, machine.thread_counts(), machine.scalars


_MOVES: Final[dict[str, Callable[..., object]]] = {
    "run": _run,
    "code": lambda machine, address, data: machine.write(address, data),
    "write": lambda machine, address, data: machine.write(address, data),
    "zero": lambda machine, address, size: machine.zero(address, size),
    "subtree": lambda machine, address, log2_size: machine.put_subtree(address, log2_size, bytes(range(32))),
    "register": lambda machine, index, value: machine.set_register(index, value),
    "jump": lambda machine, address: machine.jump(address),
    "flip": lambda machine, kind, index, bit: machine.flip_bit(FaultTarget(FaultKind(kind), index, bit)),
}
