"""Floating point: docs/vm.md, ML.3 to ML.10. Arithmetic is by fractions (`tests.floats.exact`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.floats import exact
from tests.reference_vm.state import U32, U64, NoSuccessor, half, need, sx, with_half

if TYPE_CHECKING:
    from tests.reference_vm.step import Step

FCSR_MASK: Final = 0xFE800000
BINARY: Final = {0x00: exact.add, 0x01: exact.sub, 0x02: exact.mul, 0x03: exact.div}
UNARY: Final[dict[int, Callable[[int], int]]] = {
    0x04: exact.sqrt,
    0x05: lambda a: a & ~exact.SIGN,
    0x06: lambda a: a,
    0x07: lambda a: a ^ exact.SIGN,
    0x0C: lambda a: exact.to_integer(a, "nearest"),
    0x0D: lambda a: exact.to_integer(a, "zero"),
    0x0E: lambda a: exact.to_integer(a, "up"),
    0x0F: lambda a: exact.to_integer(a, "down"),
    0x24: lambda a: exact.to_integer(a, "nearest"),
}
FUSED: Final = {0x20: exact.madd, 0x28: exact.msub, 0x30: exact.nmadd, 0x38: exact.nmsub}


def fcc_bit(code: int) -> int:
    return 23 if code == 0 else 24 + code


def fcc(step: Step) -> int:
    return step.t["FCSR"] >> fcc_bit(step.word >> 18 & 7) & 1


def set_f(step: Step, i: int, value: int) -> None:
    step.t[f"F{i}"] = value


def floating(step: Step) -> None:
    if step.opcode == 0x11:
        cop1(step)
    elif step.opcode == 0x13:
        cop1x(step)
    elif step.opcode in (0x31, 0x39):
        float_memory(step, step.va, step.rt, store=step.opcode == 0x39)
    else:
        raise NoSuccessor


def float_memory(step: Step, va: int, register: int, *, store: bool) -> None:
    word = step.read(1, va)
    if store:
        step.write(1, va, with_half(word, va, step.f(register)))
    else:
        set_f(step, register, half(word, va))
    step.advance()


def cop1(step: Step) -> None:
    fmt, t = step.rs, step.t
    if fmt == 0x08:
        float_branch(step)
        return
    if fmt == 0x00:
        step.set_r(step.rt, sx(32, step.f(step.rd)))
    elif fmt == 0x02:
        need(step.rd == 31)
        step.set_r(step.rt, sx(32, t["FCSR"]))
    elif fmt == 0x04:
        set_f(step, step.rd, step.r(step.rt) & U32)
    elif fmt == 0x06:
        value = step.r(step.rt) & U32
        need(step.rd == 31 and value & ~FCSR_MASK == 0)
        t["FCSR"] = value
    elif fmt == 0x10:
        single(step)
    elif fmt == 0x14:
        need(step.funct == 0x20)
        set_f(step, step.shamt, exact.from_integer(step.f(step.rd)))
    else:
        raise NoSuccessor
    step.advance()


def single(step: Step) -> None:
    fs, ft, fd = step.f(step.rd), step.f(step.rt), step.shamt
    if step.funct in BINARY:
        set_f(step, fd, BINARY[step.funct](fs, ft))
    elif step.funct in UNARY:
        set_f(step, fd, UNARY[step.funct](fs))
    elif step.funct in (0x11, 0x12, 0x13):
        zero = step.r(step.rt) == 0
        holds = {0x11: fcc(step) == step.word >> 16 & 1, 0x12: zero, 0x13: not zero}[step.funct]
        if holds:
            set_f(step, fd, fs)
    elif step.funct >= 0x30:
        bit = fcc_bit(step.word >> 8 & 7)
        holds = exact.compare(fs, ft, step.funct & 7)
        step.t["FCSR"] = step.t["FCSR"] & ~(1 << bit) | holds << bit
    else:
        raise NoSuccessor


def float_branch(step: Step) -> None:
    step.no_delay_slot()
    pc, following, t = step.t["pc"], step.t["nextPC"], step.t
    if fcc(step) == step.word >> 16 & 1:
        t["pc"], t["nextPC"] = following, pc + 4 + (step.simm << 2)
    elif step.word >> 17 & 1:
        t["pc"], t["nextPC"] = following + 4, following + 8
    else:
        t["pc"], t["nextPC"] = following, following + 4


def cop1x(step: Step) -> None:
    if step.funct in (0x00, 0x08):
        va = (step.r(step.rs) + step.r(step.rt)) & U64
        store = step.funct == 0x08
        float_memory(step, va, step.rd if store else step.shamt, store=store)
        return
    need(step.funct in FUSED)
    set_f(step, step.shamt, FUSED[step.funct](step.f(step.rd), step.f(step.rt), step.f(step.rs)))
    step.advance()
