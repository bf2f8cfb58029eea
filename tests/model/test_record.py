"""Node records and their numbers: what Python writes is what the C headers say."""

from __future__ import annotations

import re
import struct
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml_dispute.model import opcodes, record
from opml_dispute.model.record import MAX_FREES, MAX_INPUTS, Free, Record, program_header, signed64
from opml_dispute.primitives import RECORD_BYTES
from opml_dispute.toolchain.native import NATIVE

WORDS = st.integers(0, 2**64 - 1)
SIGNED = st.integers(-(2**63), 2**63 - 1)
FREES = st.builds(Free, st.integers(6, 40), st.integers(0, 2**40 - 1))


@st.composite
def records(draw: st.DrawFn) -> Record:
    count = draw(st.integers(0, MAX_INPUTS))
    return Record(
        opcode=draw(st.sampled_from(opcodes.Opcode)),
        dtype_out=draw(st.sampled_from(opcodes.DType)),
        out=draw(WORDS),
        inputs=tuple(draw(WORDS) for _ in range(count)),
        dtypes_in=tuple(draw(st.sampled_from(opcodes.DType)) for _ in range(count)),
        rank=draw(st.integers(0, 8)),
        lo=draw(WORDS),
        hi=draw(WORDS),
        imm=tuple(draw(WORDS) for _ in range(4)),
        body=tuple(draw(st.lists(SIGNED, min_size=40, max_size=40))),
        frees=tuple(draw(st.lists(FREES, max_size=MAX_FREES))),
    )


@given(records())
def test_a_record_read_back_is_the_same(made: Record) -> None:
    raw = made.pack()
    assert len(raw) == RECORD_BYTES
    assert Record.unpack(raw) == made


def test_every_field_stands_where_the_header_draws_it() -> None:
    """native/program/record.h: offset and width of each field, by putting one number in each."""
    made = Record(
        opcode=opcodes.Opcode.CONTRACT,
        dtype_out=opcodes.DType.F32,
        out=0x20,
        inputs=(0x28, 0x30, 0x38),
        dtypes_in=(opcodes.DType.F32, opcodes.DType.F16, opcodes.DType.I64),
        rank=3,
        lo=0x10,
        hi=0x18,
        imm=(0x90, 0x98, 0xA0, 0xA8),
        body=tuple(range(0xB0, 0xB0 + 40)),
        frees=(Free(7, 0x58), Free(8, 0x60)),
    )
    raw = made.pack()
    assert raw[:12] == bytes([0, 7, 3, 3, 2, 1, 1, 10, 7, 0, 0, 0])
    for offset in (0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x90, 0x98, 0xA0, 0xA8):
        assert struct.unpack_from(">Q", raw, offset) == (offset,)
    assert struct.unpack_from(">2Q", raw, 0x58) == (7 << 56 | 0x58, 8 << 56 | 0x60)
    assert struct.unpack_from(">40q", raw, 0xB0) == tuple(range(0xB0, 0xB0 + 40))
    assert raw[0x1F0:] == bytes(16)


def test_the_program_header_holds_magic_version_and_sizes() -> None:
    raw = program_header(5, 24, 256, 40)
    assert len(raw) == RECORD_BYTES
    assert raw[:8] == b"OPMLPROG"
    assert struct.unpack_from(">5Q", raw, 8) == (2, 5, 24, 256, 40)
    assert not any(raw[0x30:])


@pytest.mark.parametrize(("raw", "value"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (2**64 - 1, -1)])
def test_signed64_reads_twos_complement(raw: int, value: int) -> None:
    assert signed64(raw) == value


HEADER = re.sub(r"/\*.*?\*/", "", (NATIVE / "program" / "opcodes.h").read_text(), flags=re.S)
ENUMS: dict[str, tuple[type[IntEnum], str]] = {
    "opcode": (opcodes.Opcode, "OP_"),
    "dtype": (opcodes.DType, "DT_"),
    "unary": (opcodes.Unary, "UN_"),
    "binary": (opcodes.Binary, "BIN_"),
    "reduction": (opcodes.Reduction, "RED_"),
}


@pytest.mark.parametrize("name", ENUMS)
def test_the_enumerations_are_those_of_opcodes_h(name: str) -> None:
    """Names and numbers, none missing on either side."""
    mirror, prefix = ENUMS[name]
    found = re.search(rf"enum {name} \{{(.*?)\}}", HEADER, flags=re.S)
    assert found is not None
    numbers: dict[str, int] = {}
    for item in found.group(1).split(","):
        if not (text := item.strip()):
            continue
        label, _, number = (part.strip() for part in text.partition("="))
        numbers[label.removeprefix(prefix)] = int(number) if number else list(numbers.values())[-1] + 1
    assert numbers == {member.name: member.value for member in mirror}


def test_the_sections_are_those_of_record_h() -> None:
    text = (NATIVE / "program" / "record.h").read_text()
    found = dict(re.findall(r"#define (SEC_\w+)\s+0x([0-9a-fA-F]+)ull", text))
    assert found
    for name, number in found.items():
        assert getattr(record, name) == int(number, 16), name
