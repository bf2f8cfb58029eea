"""Held against an assembler: what we print for an instruction, the compiler's assembler turns into that word again."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from opml_dispute.engine.elf import parse_elf
from opml_dispute.engine.vm import Machine
from opml_dispute.fpvm.disassemble import disassemble, memory_access
from tests.programs.build import ALL, build_elf

START = 0x10000


def assemble(lines: list[str], folder: Path) -> bytes:
    """The words that the compiler's assembler makes, from text with nothing left to its discretion."""
    source, target = folder / "text.s", folder / "text.o"
    source.write_text("\n".join([".set noreorder", ".set noat", ".set nomacro", ".text", *lines, ""]))
    flags = ["-target", "mips64-freestanding-none", "-mcpu=mips64", "-c", "-o", str(target), str(source)]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *flags], check=True, capture_output=True)
    elf = target.read_bytes()
    table, count = struct.unpack_from(">Q", elf, 40)[0], struct.unpack_from(">H", elf, 60)[0]
    sections = [struct.unpack_from(">IIQQQQ", elf, table + 64 * index) for index in range(count)]
    code = max((size, offset) for _, kind, flags_, _, offset, size in sections if kind == 1 and flags_ & 4)
    return elf[code[1] : code[1] + code[0]]


def relative(text: str, pc: int) -> str:
    """Branches by distance, as the assembler takes them without labels; jumps within the region as they are."""
    if re.match(r"b\w+ ", text):
        head, _, target = text.rpartition(" ")
        return f"{head} {int(target, 16) - pc - 4}"
    return text.partition("  #")[0]


def check(words: list[int], folder: Path) -> None:
    # This assembler takes no address after j and jal: test_jumps_go_where_the_text_says.
    words = [word for word in words if word >> 26 not in {0x02, 0x03}]
    lines = [relative(disassemble(word, START, ml=True), START) for word in words]
    made = assemble(lines, folder)
    assert len(made) == 4 * len(words)
    wrong = [
        (hex(word), line, made[4 * i : 4 * i + 4].hex())
        for i, (word, line) in enumerate(zip(words, lines, strict=True))
        if made[4 * i : 4 * i + 4] != word.to_bytes(4, "big")
    ]
    assert not wrong, wrong[:10]


def test_programs_read_back(tmp_path: Path) -> None:
    """Every word of the code of the test programs."""
    words = set()
    for program in ALL:
        code = parse_elf(build_elf(program.name, tmp_path).read_bytes()).segments[0].data
        words |= {int.from_bytes(code[at : at + 4], "big") for at in range(0, len(code) - 3, 4)}
    # Constants lie behind the code; read as instructions they may have bits set that no assembler sets.
    check(sorted(word for word in words if is_canonical(word)), tmp_path)


def is_canonical(word: int) -> bool:
    """Whether fields that the instruction does not use are zero, as an assembler leaves them. Source: the manual."""
    opcode, rs, rt, rd, shamt, funct = (
        word >> 26,
        word >> 21 & 31,
        word >> 16 & 31,
        word >> 11 & 31,
        word >> 6 & 31,
        word & 63,
    )
    if opcode == 0x00:
        if funct in {0x00, 0x02, 0x03, 0x38, 0x3A, 0x3B, 0x3C, 0x3E, 0x3F}:
            return rs == 0
        if funct in {0x08, 0x11, 0x13}:
            return rt == rd == shamt == 0
        if funct == 0x09:
            return rt == shamt == 0
        if funct in {0x0C, 0x0F}:
            return word in {0x0C, 0x0F}
        if funct in {0x10, 0x12}:
            return rs == rt == shamt == 0
        if 0x18 <= funct <= 0x1F:
            return rd == shamt == 0
        if funct == 0x01:
            return shamt == 0 and rt & 2 == 0
        return shamt == 0
    if opcode == 0x01:
        return rt in {0x00, 0x01, 0x10, 0x11}
    if opcode in {0x06, 0x07}:
        return rt == 0
    if opcode == 0x0F:
        return rs == 0
    if opcode == 0x1C:
        return shamt == 0 and (funct == 0x02 or rt == rd)
    if opcode == 0x11:
        if rs == 0x08:
            return True
        if rs in {0x00, 0x02, 0x04, 0x06}:
            return word & 0x7FF == 0
        if rs == 0x10:
            if funct >= 0x30:
                return shamt & 3 == 0
            if funct == 0x11:
                return rt & 2 == 0
            return funct in {0x00, 0x01, 0x02, 0x03, 0x12, 0x13} or rt == 0
        return rt == 0
    if opcode == 0x13:
        return funct >= 0x20 or (rd if funct == 0x00 else shamt) == 0
    return True


def test_random_words_read_back(tmp_path: Path) -> None:
    """Random words of every opcode; what is shown as `.word` reads back of itself."""
    random = Random(3)
    words = []
    for opcode in range(64):
        for _ in range(150):
            word = opcode << 26 | random.getrandbits(26)
            if opcode in {0x00, 0x1C} or (opcode == 0x11 and random.random() < 0.8):
                word &= ~(31 << 6) if random.random() < 0.7 else ~0
                if opcode == 0x11:
                    word = word & ~(31 << 21) | random.choice([0, 2, 4, 6, 8, 0x10, 0x10, 0x10, 0x14]) << 21
            if is_canonical(word):
                words.append(word)
    assert len(words) > 4000
    check(words, tmp_path)


@pytest.mark.parametrize("ml", [False, True])
def test_what_the_vm_refuses_is_no_instruction(ml: bool) -> None:
    """`.word` exactly where the engine decodes nothing; so the tables here are the engine's."""
    machine, random = Machine(ml=ml), Random(4)
    for index in range(20_000):
        word = (index % 64) << 26 | random.getrandbits(26)
        text = disassemble(word, START, ml=ml)
        is_word = text.startswith(".word") and "never taken" not in text
        assert is_word == (machine.operation_name(word) == "ILLEGAL"), f"0x{word:08x}"


def test_jumps_go_where_the_text_says() -> None:
    """The engine is at the address that the text names, after the delay slot."""
    random = Random(5)
    for _ in range(50):
        word = random.choice([0x02, 0x03]) << 26 | random.getrandbits(26)
        machine = Machine(ml=False)
        pc = random.getrandbits(40) & ~7
        machine.jump(pc)
        machine.write(pc, word.to_bytes(4, "big"))
        machine.run(2)
        assert disassemble(word, pc, ml=False).split()[1] == f"{machine.pc:#x}"


def test_memory_access_is_the_aligned_unit() -> None:
    """A misaligned address is that of the unit around it, as in the VM."""
    registers = [0x1003] * 32
    assert memory_access(0xDC840001, registers, ml=False) == (0x1000, 8, False)  # ld $4, 1($4)
    assert memory_access(0xA0840001, registers, ml=False) == (0x1004, 1, True)  # sb $4, 1($4)
    assert memory_access(0xC4840001, registers, ml=False) is None  # lwc1 is nothing in a base state
    assert memory_access(0xC4840001, registers, ml=True) == (0x1004, 4, False)
    assert memory_access(0x00851021, registers, ml=True) is None
