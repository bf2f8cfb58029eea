"""
The node record: 512 bytes that describe one node's operation.

`Record` is the record as Python sees it; `Record.pack` writes the big-endian bytes that the PROGRAM section holds
and that are hashed, `Record.unpack` reads them back. The layout is drawn in native/program/record.h and explained in
docs/segment.md, "Node record". `program_header` makes the 512 bytes that stand before the first record.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.primitives import RECORD_BYTES

MAX_RANK = 8
MAX_INPUTS = 6
MAX_FREES = 7
IMMEDIATES = 4
BODY_WORDS = 40

PROGRAM_MAGIC = int.from_bytes(b"OPMLPROG", "big")
PROGRAM_VERSION = 2

SEC_PROGRAM = 0x00_0000_0000
SEC_WEIGHTS = 0x40_0000_0000
SEC_HEADER = 0x80_0000_0000
SEC_INPUT = 0xA0_0000_0000
SEC_OUTPUT = 0xB0_0000_0000
SEC_ARENA = 0xC0_0000_0000
SEC_END = 0x100_0000_0000

_HEAD = struct.Struct(">HBBBB6BI")
_WORDS = struct.Struct(f">QQQ6Q{MAX_FREES}Q{IMMEDIATES}Q{BODY_WORDS}q16x")
assert _HEAD.size + _WORDS.size == RECORD_BYTES  # docs/segment.md: a record has 512 bytes
_MASK64 = (1 << 64) - 1


def signed64(value: int) -> int:
    """The two's complement reading of 64 bits."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


@dataclass(frozen=True, slots=True)
class Free:
    """A block that becomes zero when its node is done."""

    log2_size: int
    offset: int
    """Bytes from the segment's base, a multiple of 2**log2_size."""

    def pack(self) -> int:
        return self.log2_size << 56 | self.offset

    @classmethod
    def unpack(cls, word: int) -> Free:
        return cls(word >> 56, word & (1 << 56) - 1)


@dataclass(frozen=True, slots=True)
class Record:
    """One node's operation and operands."""

    opcode: Opcode
    dtype_out: DType
    out: int
    """Byte offset of the output's element number 0 from the segment's base."""
    inputs: tuple[int, ...] = ()
    """Byte offsets of the inputs' elements number 0."""
    dtypes_in: tuple[DType, ...] = ()
    rank: int = 0
    """Dimensions of the iteration space, 0 to 8."""
    lo: int = 0
    """The first output element that this node makes."""
    hi: int = 0
    """One past the last output element that this node makes."""
    imm: tuple[int, ...] = (0,) * IMMEDIATES
    """Immediates, as unsigned 64-bit words; meaning by opcode."""
    body: tuple[int, ...] = (0,) * BODY_WORDS
    """Dimensions and strides, or what the opcode puts in their place; signed 64-bit words."""
    frees: tuple[Free, ...] = ()

    @property
    def dims(self) -> tuple[int, ...]:
        """The iteration space of a strided kernel."""
        return self.body[: self.rank]

    def strides(self, operand: int) -> tuple[int, ...]:
        """Strides in elements of operand 0 (output), 1, 2 or 3, of a strided kernel."""
        start = MAX_RANK * (1 + operand)
        return self.body[start : start + self.rank]

    def pack(self) -> bytes:
        """512 bytes, big-endian. Raises `struct.error` if a field is out of its range."""
        spare = MAX_INPUTS - len(self.inputs)
        head = _HEAD.pack(
            self.opcode,
            self.rank,
            len(self.inputs),
            len(self.frees),
            self.dtype_out,
            *self.dtypes_in,
            *(0,) * spare,
            0,
        )
        frees = [free.pack() for free in self.frees]
        words = (self.lo, self.hi, self.out, *self.inputs, *(0,) * spare, *frees, *(0,) * (MAX_FREES - len(frees)))
        return head + _WORDS.pack(*words, *self.imm, *self.body)

    @classmethod
    def unpack(cls, raw: bytes) -> Record:
        """What `pack` wrote. Raises `ValueError` for a number that names no opcode or element type."""
        opcode, rank, n_in, n_free, dtype_out, *rest = _HEAD.unpack(raw[: _HEAD.size])
        words = _WORDS.unpack(raw[_HEAD.size : RECORD_BYTES])
        frees = words[9 : 9 + MAX_FREES]
        immediates = words[9 + MAX_FREES : 9 + MAX_FREES + IMMEDIATES]
        return cls(
            opcode=Opcode(opcode),
            dtype_out=DType(dtype_out),
            out=words[2],
            inputs=words[3 : 3 + n_in],
            dtypes_in=tuple(DType(dtype) for dtype in rest[:n_in]),
            rank=rank,
            lo=words[0],
            hi=words[1],
            imm=immediates,
            body=words[9 + MAX_FREES + IMMEDIATES :],
            frees=tuple(Free.unpack(word) for word in frees[:n_free]),
        )


def strided_body(dims: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The body of a strided kernel: `dims`, then the strides of the output and of up to three inputs."""
    rows = [dims, *strides, *((),) * (4 - len(strides))]
    return tuple(word for row in rows for word in (*row, *(0,) * (MAX_RANK - len(row))))


def program_header(node_count: int, log2_steps: int, input_bytes: int, output_bytes: int) -> bytes:
    """
    The 512 bytes before the first record. No node takes more than 2**log2_steps VM steps: one that could is refused.
    """
    words = (PROGRAM_MAGIC, PROGRAM_VERSION, node_count, log2_steps, input_bytes, output_bytes)
    return struct.pack(">6Q", *words).ljust(RECORD_BYTES, b"\0")
