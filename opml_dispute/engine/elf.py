"""
ELF files of programs for the VM, read as untrusted input.

`parse_elf` answers the entry point and the segments in file order, or raises `ElfError`; it never reads beyond the
file's end. Skipped and refused parts: docs/vm.md, "Initial state".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from opml_dispute.errors import OpmlError

PT_LOAD: Final = 1
PT_MIPS_ABIFLAGS: Final = 0x70000003
EM_MIPS: Final = 8
HEAP_START: Final = 0x0000100000000000
_HEADER: Final = struct.Struct(">16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct(">IIQQQQQQ")


class ElfError(OpmlError):
    """A file is not a program that this VM loads."""

    hint = "the VM loads 64-bit big-endian MIPS executables"


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of memory of a program: `data`, then zeros up to `memory_bytes`."""

    address: int
    data: bytes
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Image:
    """The initial memory that an ELF file describes."""

    entry: int
    segments: tuple[Segment, ...]
    """In file order: a later one overwrites an earlier one."""


def parse_elf(elf: bytes) -> Image:
    """The entry point and the segments of non-zero size. Raises `ElfError`."""
    if len(elf) < _HEADER.size:
        raise ElfError(f"an ELF header has {_HEADER.size} bytes, the file has {len(elf)}")
    ident, _, machine, _, entry, table, _, _, _, entry_bytes, count, _, _, _ = _HEADER.unpack_from(elf)
    if ident[:4] != b"\x7fELF":
        raise ElfError(f"the file starts with {ident[:4].hex()}, expected 7f454c46")
    if ident[4] != 2 or ident[5] != 2:
        raise ElfError(
            f"the file's class and byte order are {ident[4]} and {ident[5]}, expected 2 (64-bit) and 2 (big)"
        )
    if machine != EM_MIPS:
        raise ElfError(f"the file is for machine {machine}, expected {EM_MIPS} (MIPS)")
    if count and entry_bytes < _SEGMENT.size:
        raise ElfError(f"a program header has {_SEGMENT.size} bytes, the file's have {entry_bytes}")
    segments = []
    for index in range(count):
        at = table + index * entry_bytes
        if at + _SEGMENT.size > len(elf):
            raise ElfError(f"program header {index} ends at byte {at + _SEGMENT.size} of {len(elf)}")
        segment = _parse_segment(elf, index, at)
        if segment is not None:
            segments.append(segment)
    return Image(entry, tuple(segments))


def _parse_segment(elf: bytes, index: int, at: int) -> Segment | None:
    kind, _, offset, address, _, file_bytes, memory_bytes, _ = _SEGMENT.unpack_from(elf, at)
    if kind == PT_MIPS_ABIFLAGS:
        return None
    what = f"segment {index} (type {kind})"
    if file_bytes != memory_bytes and (kind != PT_LOAD or file_bytes > memory_bytes):
        raise ElfError(f"{what} has {file_bytes} bytes in the file and {memory_bytes} in memory")
    if memory_bytes == 0:
        return None
    last = address + memory_bytes - 1
    if last >= HEAP_START:  # which excludes all above 2^48 and all that wraps
        raise ElfError(f"{what} ends at 0x{last:x}, in or above the heap (0x{HEAP_START:x})")
    if offset + file_bytes > len(elf):
        raise ElfError(f"{what} ends at byte {offset + file_bytes} of a file of {len(elf)}")
    return Segment(address, elf[offset : offset + file_bytes], memory_bytes)
