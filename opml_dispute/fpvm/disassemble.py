"""
An instruction as text.

`disassemble` answers what an assembler would take, with the target of a branch as an address. It reads a word as the VM
does: fields that an instruction does not use may hold anything. What the VM has no successor for is shown as `.word`.
`memory_access` says which bytes a load or a store touches, for the explanation of a step (`explain`).

Source: docs/vm.md; the tables here are its tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

REGISTERS: Final = (
    *("zero", "at", "v0", "v1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3"),
    *("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "t8", "t9", "k0", "k1", "gp", "sp", "fp", "ra"),
)
"""Names of R[0] .. R[31] in the N64 calling convention."""

_U64: Final = (1 << 64) - 1

_SHIFTS: Final = {
    0x00: "sll", 0x02: "srl", 0x03: "sra", 0x38: "dsll", 0x3A: "dsrl", 0x3B: "dsra",
    0x3C: "dsll32", 0x3E: "dsrl32", 0x3F: "dsra32",
}  # fmt: skip
_SHIFTS_BY_REGISTER: Final = {0x04: "sllv", 0x06: "srlv", 0x07: "srav", 0x14: "dsllv", 0x16: "dsrlv", 0x17: "dsrav"}
_THREE_REGISTERS: Final = {
    0x0A: "movz", 0x0B: "movn", 0x20: "add", 0x21: "addu", 0x22: "sub", 0x23: "subu", 0x24: "and", 0x25: "or",
    0x26: "xor", 0x27: "nor", 0x2A: "slt", 0x2B: "sltu", 0x2C: "dadd", 0x2D: "daddu", 0x2E: "dsub", 0x2F: "dsubu",
}  # fmt: skip
_PRODUCTS: Final = {
    0x18: "mult", 0x19: "multu", 0x1A: "div", 0x1B: "divu", 0x1C: "dmult", 0x1D: "dmultu", 0x1E: "ddiv", 0x1F: "ddivu",
}  # fmt: skip
_SIGNED_IMMEDIATE: Final = {
    0x08: "addi", 0x09: "addiu", 0x0A: "slti", 0x0B: "sltiu", 0x18: "daddi", 0x19: "daddiu",
}  # fmt: skip
_UNSIGNED_IMMEDIATE: Final = {0x0C: "andi", 0x0D: "ori", 0x0E: "xori"}
_COUNTS: Final = {0x20: "clz", 0x21: "clo", 0x24: "dclz", 0x25: "dclo"}
_BRANCHES_ON_ZERO: Final = {0x00: "bltz", 0x01: "bgez", 0x10: "bltzal", 0x11: "bgezal"}
LOADS: Final = {
    0x1A: ("ldl", 8), 0x1B: ("ldr", 8), 0x20: ("lb", 1), 0x21: ("lh", 2), 0x22: ("lwl", 4), 0x23: ("lw", 4),
    0x24: ("lbu", 1), 0x25: ("lhu", 2), 0x26: ("lwr", 4), 0x27: ("lwu", 4), 0x30: ("ll", 4), 0x34: ("lld", 8),
    0x37: ("ld", 8),
}  # fmt: skip
"""opcode -> (name, size in bytes of the aligned unit it looks at)"""
STORES: Final = {
    0x28: ("sb", 1), 0x29: ("sh", 2), 0x2A: ("swl", 4), 0x2B: ("sw", 4), 0x2C: ("sdl", 8), 0x2D: ("sdr", 8),
    0x2E: ("swr", 4), 0x38: ("sc", 4), 0x3C: ("scd", 8), 0x3F: ("sd", 8),
}  # fmt: skip
_FLOAT_LOAD, _FLOAT_STORE = 0x31, 0x39
_FLOAT_TWO: Final = {0x00: "add.s", 0x01: "sub.s", 0x02: "mul.s", 0x03: "div.s"}
_FLOAT_ONE: Final = {
    0x04: "sqrt.s", 0x05: "abs.s", 0x06: "mov.s", 0x07: "neg.s", 0x0C: "round.w.s", 0x0D: "trunc.w.s",
    0x0E: "ceil.w.s", 0x0F: "floor.w.s", 0x24: "cvt.w.s",
}  # fmt: skip
_CONDITIONS: Final = (
    *("f", "un", "eq", "ueq", "olt", "ult", "ole", "ule", "sf", "ngle", "seq", "ngl", "lt", "nge", "le", "ngt"),
)
_FUSED: Final = {0x20: "madd.s", 0x28: "msub.s", 0x30: "nmadd.s", 0x38: "nmsub.s"}


def disassemble(word: int, pc: int, *, ml: bool) -> str:
    """
    The instruction `word` at `pc`; `ml` says whether the state has the ML extension.

    >>> disassemble(0x03A4282D, 0x10000, ml=False), disassemble(0x1085FFFF, 0x10000, ml=False)
    ('daddu $a1, $sp, $a0', 'beq $a0, $a1, 0x10000')
    """
    opcode = word >> 26
    if opcode == 0x00:
        text = _special(word, ml=ml)
    elif opcode == 0x01:
        text = _branch_on_zero(word, pc)
    elif opcode in {0x02, 0x03}:
        # The upper bits come from the delay slot's address: of an instruction in sequence, pc + 4.
        target = ((pc + 4) & _U64 & ~0xFFFFFFF) | (word & 0x3FFFFFF) << 2
        text = f"{('j', 'jal')[opcode - 2]} {target:#x}"
    elif opcode in {0x11, 0x13, _FLOAT_LOAD, _FLOAT_STORE}:
        text = _floating(word, pc) if ml else None
    else:
        text = _immediate(word, pc)
    return text if text is not None else f".word 0x{word:08x}"


def memory_access(word: int, registers: Sequence[int], *, ml: bool) -> tuple[int, int, bool] | None:
    """
    (address, size in bytes, is it a store) of the aligned unit that a load or store touches; None for all else.

    `registers` are R[0] .. R[31] before the instruction. A failing store conditional is named like one that succeeds.
    """
    opcode, base, index = word >> 26, registers[word >> 21 & 31], registers[word >> 16 & 31]
    address, size, is_store = base + _simm(word), 4, False
    if opcode in LOADS:
        size = LOADS[opcode][1]
    elif opcode in STORES:
        size, is_store = STORES[opcode][1], True
    elif ml and opcode in {_FLOAT_LOAD, _FLOAT_STORE}:
        is_store = opcode == _FLOAT_STORE
    elif ml and opcode == 0x13 and word & 0x3F in {0x00, 0x08}:
        address, is_store = base + index, word & 0x3F == 0x08
    else:
        return None
    return address & _U64 & ~(size - 1), size, is_store


def _r(word: int, shift: int) -> str:
    return f"${REGISTERS[word >> shift & 31]}"


def _f(word: int, shift: int) -> str:
    return f"$f{word >> shift & 31}"


def _simm(word: int) -> int:
    return (word & 0x7FFF) - (word & 0x8000)


def _target(word: int, pc: int) -> str:
    return f"{(pc + 4 + 4 * _simm(word)) & _U64:#x}"


def _special(word: int, *, ml: bool) -> str | None:
    funct, shamt = word & 0x3F, word >> 6 & 31
    rs, rt, rd = _r(word, 21), _r(word, 16), _r(word, 11)
    if word == 0:
        return "nop"
    if funct in _SHIFTS:
        return f"{_SHIFTS[funct]} {rd}, {rt}, {shamt}"
    if funct in _SHIFTS_BY_REGISTER:
        return f"{_SHIFTS_BY_REGISTER[funct]} {rd}, {rt}, {rs}"
    if funct in _THREE_REGISTERS:
        return f"{_THREE_REGISTERS[funct]} {rd}, {rs}, {rt}"
    if funct in _PRODUCTS:
        name = _PRODUCTS[funct]
        return f"{name} $zero, {rs}, {rt}" if "div" in name else f"{name} {rs}, {rt}"
    if ml and funct == 0x01:
        return f"{'movt' if word >> 16 & 1 else 'movf'} {rd}, {rs}, $fcc{word >> 18 & 7}"
    plain = {
        0x08: f"jr {rs}",
        0x09: f"jalr {rd}, {rs}",
        0x0C: "syscall",
        0x0F: "sync" if rd == "$zero" else f"sync {rd}, {rs}  # copies: docs/vm.md",
        0x10: f"mfhi {rd}",
        0x11: f"mthi {rs}",
        0x12: f"mflo {rd}",
        0x13: f"mtlo {rs}",
    }
    return plain.get(funct)


def _branch_on_zero(word: int, pc: int) -> str:
    name = _BRANCHES_ON_ZERO.get(word >> 16 & 31)
    if name is None:
        return f".word 0x{word:08x}  # a branch never taken"
    return f"{name} {_r(word, 21)}, {_target(word, pc)}"


def _immediate(word: int, pc: int) -> str | None:
    opcode, rs, rt = word >> 26, _r(word, 21), _r(word, 16)
    if opcode in {0x04, 0x05}:
        return f"{('beq', 'bne')[opcode - 4]} {rs}, {rt}, {_target(word, pc)}"
    if opcode in {0x06, 0x07}:
        return f"{('blez', 'bgtz')[opcode - 6]} {rs}, {_target(word, pc)}"
    if opcode in _SIGNED_IMMEDIATE:
        return f"{_SIGNED_IMMEDIATE[opcode]} {rt}, {rs}, {_simm(word)}"
    if opcode in _UNSIGNED_IMMEDIATE:
        return f"{_UNSIGNED_IMMEDIATE[opcode]} {rt}, {rs}, {word & 0xFFFF:#x}"
    if opcode == 0x0F:
        return f"lui {rt}, {word & 0xFFFF:#x}"
    if opcode in LOADS or opcode in STORES:
        name, _ = LOADS.get(opcode) or STORES[opcode]
        return f"{name} {rt}, {_simm(word)}({rs})"
    if opcode == 0x1C:
        funct, rd = word & 0x3F, _r(word, 11)
        if funct == 0x02:
            return f"mul {rd}, {rs}, {rt}"
        return f"{_COUNTS[funct]} {rd}, {rs}" if funct in _COUNTS else None
    return None


def _floating(word: int, pc: int) -> str | None:
    opcode, funct = word >> 26, word & 0x3F
    if opcode in {_FLOAT_LOAD, _FLOAT_STORE}:
        return f"{'lwc1' if opcode == _FLOAT_LOAD else 'swc1'} {_f(word, 16)}, {_simm(word)}({_r(word, 21)})"
    if opcode == 0x13:
        if funct in _FUSED:
            return f"{_FUSED[funct]} {_f(word, 6)}, {_f(word, 21)}, {_f(word, 11)}, {_f(word, 16)}"
        place = f"{_r(word, 16)}({_r(word, 21)})"
        indexed = {0x00: f"lwxc1 {_f(word, 6)}, {place}", 0x08: f"swxc1 {_f(word, 11)}, {place}"}
        return indexed.get(funct)
    fmt = word >> 21 & 31
    if fmt == 0x10:
        return _single(word)
    if fmt == 0x08:
        name = ("bc1f", "bc1t", "bc1fl", "bc1tl")[word >> 16 & 3]
        return f"{name} $fcc{word >> 18 & 7}, {_target(word, pc)}"
    if fmt in {0x02, 0x06}:
        if word >> 11 & 31 != 31:
            return None
        return f"{'cfc1' if fmt == 0x02 else 'ctc1'} {_r(word, 16)}, $31"
    moves = {0x00: "mfc1", 0x04: "mtc1"}
    if fmt in moves:
        return f"{moves[fmt]} {_r(word, 16)}, {_f(word, 11)}"
    return f"cvt.s.w {_f(word, 6)}, {_f(word, 11)}" if fmt == 0x14 and funct == 0x20 else None


def _single(word: int) -> str | None:
    funct, ft, fs, fd = word & 0x3F, _f(word, 16), _f(word, 11), _f(word, 6)
    if funct in _FLOAT_TWO:
        return f"{_FLOAT_TWO[funct]} {fd}, {fs}, {ft}"
    if funct in _FLOAT_ONE:
        return f"{_FLOAT_ONE[funct]} {fd}, {fs}"
    if funct == 0x11:
        return f"{'movt.s' if word >> 16 & 1 else 'movf.s'} {fd}, {fs}, $fcc{word >> 18 & 7}"
    if funct in {0x12, 0x13}:
        return f"{('movz.s', 'movn.s')[funct - 0x12]} {fd}, {fs}, {_r(word, 16)}"
    if funct >= 0x30:
        return f"c.{_CONDITIONS[funct & 15]}.s $fcc{word >> 8 & 7}, {fs}, {ft}"
    return None
