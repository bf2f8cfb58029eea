"""ELF files: what becomes memory, and untrusted files."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

from opml_dispute.engine.vm import STACK_TOP, WRITTEN_ZEROS, Machine
from opml_dispute.fpvm.elf import ElfError, load_elf, parse_elf, prestate_of
from opml_dispute.fpvm.state import EMPTY_STACK, State, Thread, push_thread

LOAD, NOTE, ABIFLAGS, PHDR = 1, 4, 0x70000003, 6


@dataclass(frozen=True)
class Header:
    """A program header; its bytes are taken from `data`."""

    kind: int = LOAD
    address: int = 0x10000
    data: bytes = b"code"
    memory_bytes: int | None = None
    offset: int | None = None
    file_bytes: int | None = None


def elf(*headers: Header, entry: int = 0x10000, ident: bytes = b"\x7fELF\2\2\1", machine: int = 8) -> bytes:
    table, body = b"", b""
    start = 64 + 56 * len(headers)
    for header in headers:
        offset = start + len(body) if header.offset is None else header.offset
        size = len(header.data) if header.file_bytes is None else header.file_bytes
        memory = size if header.memory_bytes is None else header.memory_bytes
        table += struct.pack(">IIQQQQQQ", header.kind, 7, offset, header.address, 0, size, memory, 0)
        body += header.data
    fields = (ident.ljust(16, b"\0"), 2, machine, 1, entry, 64, 0, 0, 64, 56, len(headers), 0, 0, 0)
    return struct.pack(">16sHHIQQQIHHHHHH", *fields) + table + body


def test_the_initial_state() -> None:
    """Every field, as docs/vm.md has it."""
    at = Machine.from_elf(elf(Header(data=b"\x24\x08\x00\x01")), ml=False)
    registers = [0] * 32
    registers[29] = STACK_TOP
    thread = Thread(0, 0, 0, 0x10000, 0x10004, 0, 0, tuple(registers))
    assert Thread.decode(at.thread_witness()) == thread
    state = State.decode(at.witness())
    assert state == State(
        memory_root=state.memory_root,
        preimage_key=bytes(32),
        preimage_offset=0,
        heap=0x0000100000000000,
        ll_status=0,
        ll_address=0,
        ll_owner=0,
        exit_code=0,
        exited=0,
        step=0,
        slice=0,
        traverse_right=0,
        left_stack=push_thread(EMPTY_STACK, thread),
        right_stack=EMPTY_STACK,
        next_thread_id=1,
    )
    assert at.read(0x10000, 8) == b"\x24\x08\x00\x01\0\0\0\0"
    words = struct.unpack(">10Q", at.read(STACK_TOP, 80))
    assert words == (1, STACK_TOP + 128, 0, STACK_TOP + 96, 0, 6, 4096, 25, STACK_TOP + 80, 0)
    assert at.read(STACK_TOP + 80, 16) == b"4;byfairdiceroll"
    assert at.read(STACK_TOP + 96, 32).rstrip(b"\0") == b"GODEBUG=memprofilerate=0"
    assert at.read(STACK_TOP + 128, 16).rstrip(b"\0") == b"op-program"


def test_an_empty_memory_has_the_known_hash() -> None:
    """A check value of the OP Stack's machine: no segments, no stack, entry 0x10000."""
    at = Machine(ml=False)
    at.jump(0x10000)
    assert at.state_hash().hex() == "0355332f6b6ee4b6e3ad4bbfe97d9a6edec737cebc56467a08397324e156d972"
    at.run(1)
    assert at.state_hash().hex() == "031050a6dbfe5f1d7604f0e51b98212140a0bcd0a45a4ff2196d92fe88a34de0"


def test_segments_are_laid_down_in_file_order() -> None:
    """A later one covers an earlier one, with its zeros too."""
    at = Machine.from_elf(
        elf(
            Header(data=b"a" * 100),
            Header(address=0x10010, data=b"b" * 4, memory_bytes=40),
            Header(NOTE, 0x10030, b"c"),
        ),
        ml=True,
    )
    assert at.read(0x10000, 100) == b"a" * 16 + b"b" * 4 + bytes(28) + b"c" + bytes(7) + b"a" * 44


def test_segments_of_no_size_and_abi_flags_are_skipped() -> None:
    image = parse_elf(elf(Header(ABIFLAGS, data=b"x" * 24), Header(PHDR, data=b""), Header()))
    assert [segment.data for segment in image.segments] == [b"code"]


def test_a_huge_zero_segment_costs_nothing() -> None:
    """Sixteen terabytes, less what lies below."""
    at = Machine.from_elf(elf(Header(memory_bytes=0x0000_0FFF_FFFE_0000)), ml=True)
    assert at.read(0x10000, 4) == b"code"
    assert at.memory_used_bytes < 1 << 20


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"", "has 64 bytes, the file has 0"),
        (b"\x7fELF" + bytes(59), "has 64 bytes, the file has 63"),
        (bytes(64), "starts with 00000000"),
        (elf(ident=b"\x7fELF\1\2\1"), "class and byte order are 1 and 2"),
        (elf(ident=b"\x7fELF\2\1\1"), "class and byte order are 2 and 1"),
        (elf(machine=62), "for machine 62"),
        (elf(Header())[:100], "program header 0 ends at byte 120 of 100"),
        (elf(Header(data=b"x" * 50))[:-1], "ends at byte 170 of a file of 169"),
        (elf(Header(offset=2**64 - 1)), "of a file of"),
        (elf(Header(file_bytes=2**63, memory_bytes=2**63)), "in or above the heap"),
        (elf(Header(memory_bytes=3)), "4 bytes in the file and 3 in memory"),
        (elf(Header(NOTE, memory_bytes=5)), "4 bytes in the file and 5 in memory"),
        (elf(Header(memory_bytes=2**64 - 1)), "in or above the heap"),
        (elf(Header(address=2**64 - 2)), "in or above the heap"),
        (elf(Header(address=0x0000_1000_0000_0000 - 3)), "in or above the heap"),
        (elf(Header(address=0x0001_0000_0000_0000)), "in or above the heap"),
    ],
)
def test_what_is_no_program_is_refused(file: bytes, words: str) -> None:
    with pytest.raises(ElfError, match=words):
        Machine.from_elf(file, ml=True)


def test_the_last_byte_below_the_heap_is_a_programs() -> None:
    assert (
        Machine.from_elf(elf(Header(address=0x0000_1000_0000_0000 - 4)), ml=True).read(0x0FFF_FFFF_FFFC, 4) == b"code"
    )


def test_too_small_program_headers_are_refused() -> None:
    file = bytearray(elf(Header()))
    file[54:56] = (32).to_bytes(2, "big")
    with pytest.raises(ElfError, match="the file's have 32"):
        parse_elf(bytes(file))


def test_damaged_files_are_loaded_or_refused() -> None:
    """Whatever bits are wrong: an `ElfError`, or a machine; nothing else, and no memory eaten."""
    rng = random.Random(7)
    good = elf(Header(data=b"x" * 64), Header(NOTE, 0x20000, b"note"), Header(address=0x30000, memory_bytes=9000))
    loaded = 0
    for _ in range(1000):
        file = bytearray(good)
        for _ in range(rng.randrange(1, 5)):
            file[rng.randrange(232)] = rng.getrandbits(8)
        try:
            at = Machine.from_elf(bytes(file[: rng.choice((len(file), rng.randrange(len(file))))]), ml=True)
        except ElfError:
            continue
        loaded += 1
        assert at.memory_used_bytes < 1 << 20
        assert at.run(100).steps <= 100
    assert loaded > 50


def test_the_absolute_prestate_is_a_hash_that_says_unfinished(tmp_path: Path) -> None:
    file = elf(Header())
    assert prestate_of(file, ml=True) != prestate_of(file, ml=False)
    assert prestate_of(file, ml=True)[0] == 3
    path = tmp_path / "program"
    path.write_bytes(file)
    assert load_elf(path, ml=True).state_hash() == prestate_of(file, ml=True)
    with pytest.raises(ElfError, match="cannot read"):
        load_elf(tmp_path / "missing", ml=True)


def test_zeros_of_a_base_programs_segments_have_pages_up_to_a_limit() -> None:
    """Cannon's state files hold those pages. Beyond the limit, which a short file can announce, there are none."""
    first, second = 0x10000, 0x20_0000_0000
    half = WRITTEN_ZEROS // 2

    def pages(*, ml: bool, memory_bytes: int) -> set[int]:
        sizes = {first: 4 + half, second: memory_bytes}
        headers = [Header(address=address, memory_bytes=size) for address, size in sizes.items()]
        machine = Machine.from_elf(elf(*headers), ml=ml)
        return {address for address, _ in machine.memory_parts()[1] if address < STACK_TOP - (1 << 20)}

    within = pages(ml=False, memory_bytes=4 + half)
    assert within == {start + offset for start in (first, second) for offset in range(0, 4 + half, 4096)}
    for ml, size in ((False, 5 + half), (False, 1 << 36), (True, 4 + half)):
        assert len(pages(ml=ml, memory_bytes=size)) <= 4  # where a segment's data and its zeros begin and end
