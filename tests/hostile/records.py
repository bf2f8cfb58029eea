"""
Untrusted node records, validated and run by every set of kernels, and whole hostile programs run natively.

What the validator lets through stays inside the extents that it names: everything around them is forbidden ground while
the plain kernels run (poisoned, where the process has AddressSanitizer), and found unchanged afterwards, whichever ran.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import pairwise
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import ARENA, HEADER, INPUT, OUTPUT, SEGMENT_LOG2, WEIGHTS
from opml_dispute.engine.segment_memory import SegmentMemory, native, validate_records
from opml_dispute.errors import OpmlError
from opml_dispute.model.opcodes import Opcode
from opml_dispute.model.record import BODY_WORDS, program_header, signed64
from opml_dispute.primitives import RECORD_BYTES
from tests.guest.programs import BareProgram, image, program
from tests.hostile.campaign import Move, random_number
from tests.kernels.bench import FAST, PLAIN, VM_BYTES
from tests.kernels.cases import case, contract, conv
from tests.kernels.maker import PRODUCTS, Case, Maker
from tests.kernels.spare import with_spare_words

MOST_WORK: Final = 1 << 20
"""Inner steps of a record that is run; a larger one is only judged."""
LARGE: Final = 2
"""In the place of a case's `awkward`: a contraction or convolution large enough for fast paths and for threads."""
WINDOW: Final = 1 << 16
WINDOWS: Final = (
    *((section.offset - WINDOW, section.offset + WINDOW) for section in (WEIGHTS, HEADER, INPUT, OUTPUT, ARENA)),
    ((1 << SEGMENT_LOG2) - WINDOW, 1 << SEGMENT_LOG2),
)
"""What is watched of the segment: both sides of every section's start, and the end."""
SECTIONS: Final = (WEIGHTS.offset, HEADER.offset, INPUT.offset, OUTPUT.offset, ARENA.offset, 1 << SEGMENT_LOG2)
WORDS_AT: Final = 16
"""Where the record's 64-bit fields begin."""

Memory = npt.NDArray[np.uint8]


class Records:
    """One record at a time."""

    name: Final = "records"

    def moves(self, rng: random.Random) -> list[Move]:
        """A good record, and what is made of it."""
        moves = [_random_case(rng)]
        if rng.random() < 0.3:
            return [*moves, ("spare", rng.randrange(1 << 16))]
        return moves + (_record_edits(rng, _made(*moves[0][1:]).record.pack()) if rng.random() < 0.85 else [])

    def play(self, moves: Sequence[Move]) -> None:
        """Judges the record, and runs it if it is good and not too long."""
        good = next((_made(*move[1:]) for move in moves if move[0] == "case"), None)
        if good is None:
            return
        raw = _edited_record(good.record.pack(), moves)
        judged = validate_records(raw)
        if judged.status[0] != 0 or work(raw) > MOST_WORK:
            assert judged.status[0] == 0 or not judged.extents.any()
            return
        extents = [(int(lo), int(hi)) for lo, hi, width in judged.extents[0] if width]
        for lo, hi in extents:
            assert WEIGHTS.offset <= lo < hi <= 1 << SEGMENT_LOG2
        answers = {mode: _run(good, raw, extents, mode) for mode in (PLAIN, FAST, VM_BYTES)}
        assert answers[PLAIN][0] == answers[FAST][0] == answers[VM_BYTES][0], answers
        assert answers[PLAIN][1] == answers[FAST][1], "the fast path has another answer"


class Programs:
    """Programs of several hostile records, run natively from state to state."""

    name: Final = "inferences"

    def moves(self, rng: random.Random) -> list[Move]:
        """Records, overrides of states, and how to ask."""
        moves: list[Move] = []
        for _ in range(rng.choice((1, 2, 3, 5))):
            start = _random_case(rng)
            moves.append(start)
            if rng.random() < 0.5:
                moves += _record_edits(rng, _made(*start[1:]).record.pack())
            if rng.random() < 0.3:
                moves.append(("parts", rng.randrange(2, 5)))
        for _ in range(rng.choice((0, 0, 1, 3))):
            place = rng.choice((*SECTIONS[:-1], 0, 512, 1024, random_number(rng) >> 24)) + 8 * rng.randrange(-4, 64)
            data = rng.choice((rng.randbytes(rng.choice((1, 8, 100))), random_number(rng).to_bytes(8, "big")))
            moves.append(("override", rng.randrange(6), place, data))
        moves += [("ask", rng.choice(("root", "blocks", "run")), rng.randrange(6)) for _ in range(rng.randrange(1, 5))]
        moves.append(("threads", rng.choice((1, 2, 3))))
        if rng.random() < 0.2:
            moves.append(("header", rng.randrange(64), random_number(rng).to_bytes(8, "big")))
        return moves

    def play(self, moves: Sequence[Move]) -> None:
        """Every answer that is asked for, in the order of asking; then all over again, with the same answers."""
        records, arrays, overrides, header = _program_of(moves)
        if not records or any(work(record) > MOST_WORK for record in records):
            return
        threads = next((move[1] for move in moves if move[0] == "threads"), 1)
        asked = [move[1:] for move in moves if move[0] == "ask"]
        made: BareProgram = program(records, arrays, header=header)
        try:
            states = Inference(made, image(arrays), overrides=overrides, threads=threads, memory_limit=1 << 26)
            first = [_ask(states, kind, t) for kind, t in asked]
            again = [_ask(states, kind, t) for kind, t in asked]
        except OpmlError:
            return
        assert first == again
        states.output_image()


def _ask(states: Inference, kind: str, t: int) -> object:
    t = min(t, states.program.node_count)
    if kind == "root":
        return states.state_root(t)
    if kind == "blocks":
        return [(block.offset, block.log2_size, bytes(block.data)) for block in states.blocks_at(t)]
    states.run_to(t)
    return states.read(HEADER.offset, 32)


def _program_of(
    moves: Sequence[Move],
) -> tuple[list[bytes], list[tuple[int, Any]], dict[int, list[tuple[int, bytes]]], bytes | None]:
    """Records, arrays, overrides and program header that the moves describe."""
    records: list[bytes] = []
    arrays: list[tuple[int, Any]] = []
    overrides: dict[int, list[tuple[int, bytes]]] = {}
    for name, *arguments in moves:
        if name == "case":
            good = _made(*arguments)
            records.append(good.record.pack())
            arrays += good.arrays if not arrays else ()
        elif name in {"word", "byte"} and records:
            records[-1] = _edited_record(records[-1], [(name, *arguments)])
        elif name == "parts" and records:
            records[-1:] = _parts(records[-1], *arguments)
    header = program_header(len(records), 40, 0, 0)
    for name, *arguments in moves:
        if name == "override":
            t, place, data = arguments
            if 0 <= place <= (1 << SEGMENT_LOG2) - len(data) and t <= len(records):
                overrides.setdefault(t, []).append((place, data))
        elif name == "header":
            at, data = arguments
            header = (header[:at] + data + header[at + len(data) :])[:RECORD_BYTES]
    return records, arrays, overrides, header


def _parts(raw: bytes, count: int) -> list[bytes]:
    """The record cut into `count`, as a compiler cuts a long one: the ranges adjoin."""
    lo, hi = (int.from_bytes(raw[at : at + 8], "big") for at in (16, 24))
    if not lo < hi < 1 << 32:
        return [raw]
    bounds = [lo + (hi - lo) * i // count for i in range(count + 1)]
    return [raw[:16] + begin.to_bytes(8, "big") + end.to_bytes(8, "big") + raw[32:] for begin, end in pairwise(bounds)]


def work(raw: bytes) -> int:
    """At least the inner steps that a record takes, whatever its opcode; unbounded numbers give a large answer."""
    opcode, rank = int.from_bytes(raw[:2], "big"), raw[2]
    words = [int.from_bytes(raw[at : at + 8], "big") for at in range(WORDS_AT, RECORD_BYTES - 16, 8)]
    lo, hi, body, imm = words[0], words[1], words[20 : 20 + BODY_WORDS], words[16:20]
    count = max(hi - lo, 0)
    if opcode in {Opcode.CONV, Opcode.POOL, Opcode.POOL_INDEX}:
        return count * prod(max(n, 1) for n in body[8 : 8 + min(body[0], 3)]) * (max(body[2], 1) if opcode == 8 else 1)
    if opcode in {Opcode.BLOCK_QUANTISE, Opcode.BLOCK_CONTRACT, Opcode.BLOCK_GATHER}:
        return count * (body[2] if opcode == Opcode.BLOCK_CONTRACT else 256)
    if opcode == Opcode.TREE:
        return count * (max(body[3], 1) * (1 + body[6] + body[7]) + body[5])
    inner = prod(max(n, 1) for n in body[max(rank - imm[1], 0) : rank]) if imm[1] <= rank else 1
    if opcode == Opcode.CONTRACT:
        inner = imm[0]
    elif opcode not in {Opcode.REDUCE, Opcode.ARGREDUCE, Opcode.TOPK, Opcode.SCAN}:
        inner = 4
    return count * max(inner, 1) * (imm[2] if opcode == Opcode.TOPK else 1)


def _random_case(rng: random.Random) -> Move:
    if rng.random() < 0.15:
        return ("case", rng.getrandbits(32), int(rng.choice((Opcode.CONTRACT, Opcode.CONV))), LARGE)
    return ("case", rng.getrandbits(32), int(rng.choice(list(Opcode))), rng.randrange(2))


@lru_cache(256)
def _made(number: int, opcode: int, kind: int) -> Case:
    rng = np.random.default_rng(number)
    if kind != LARGE:
        return case(rng, Opcode(opcode), awkward=bool(kind))
    make, product = Maker(rng, awkward=bool(number & 1)), PRODUCTS[number % len(PRODUCTS) if number % 3 == 0 else 0]
    if opcode == Opcode.CONTRACT:
        m, n, k = (int(rng.choice((1, 2, 7, 16, 33, 64, 97))) for _ in range(3))
        return contract(make, (m, n, k), product)
    size, kernel, stride, pad = (int(rng.integers(*limits)) for limits in ((5, 20), (1, 6), (1, 3), (0, 3)))
    out = max((size + 2 * pad - kernel) // stride + 1, 1)
    groups = int(rng.choice((1, 1, 2, 4)))
    fields = [[n, n, 1] for n in (size, kernel, stride, 1, pad, out, pad)]
    fields[4][2] = fields[6][2] = 0
    return conv(make, fields, (1, 4 * groups, int(rng.choice((4, 8, 20))) // 4 * 4 * groups, groups), product)


def _record_edits(rng: random.Random, raw: bytes) -> list[Move]:
    """Fields of the record replaced: by edges, by neighbours of what they held, by places near a section's ends."""
    edits: list[Move] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if rng.random() < 0.2:
            edits.append(("byte", rng.randrange(16), rng.choice((rng.randrange(20), rng.randrange(256)))))
            continue
        at = WORDS_AT + 8 * rng.choice((0, 1, rng.randrange(2, 9), rng.randrange(9, 20), rng.randrange(20, 60)))
        old = signed64(int.from_bytes(raw[at : at + 8], "big"))
        match rng.randrange(6):
            case 0:
                new = random_number(rng)
            case 1:
                new = rng.choice(SECTIONS) + rng.choice((0, 0, 4, 64, -4, -64, -4096, rng.randrange(-200, 200)))
            case 2:
                new = rng.randrange(-3, 12)
            case 3:
                new = -old
            case _:
                new = old + rng.choice((-64, -8, -1, 1, 1, 2, 8, 64))
        edits.append(("word", at, new % (1 << 64)))
    return edits


def _edited_record(raw: bytes, moves: Sequence[Move]) -> bytes:
    out = bytearray(raw)
    for name, *arguments in moves:
        if name == "byte":
            out[arguments[0]] = arguments[1]
        elif name == "word":
            out[arguments[0] : arguments[0] + 8] = arguments[1].to_bytes(8, "big")
        elif name == "spare":
            out = bytearray(with_spare_words(bytes(out), arguments[0]))
    return bytes(out)


@cache
def _bench() -> SegmentMemory:
    return SegmentMemory(vm_bytes=False, threads=1)


def _run(good: Case, raw: bytes, extents: Sequence[tuple[int, int]], mode: int) -> tuple[int, bytes]:
    """The status, and the bytes of the output's extent that are watched."""
    memory, lo, hi = _bench().memory, *extents[0]
    for begin, end in extents:
        _fill(memory, begin, end)
    for offset, array in good.arrays:
        words = array if mode != VM_BYTES else array.view(f"=u{array.itemsize}").byteswap()
        memory[offset : offset + array.nbytes] = words.view(np.uint8)
    before = [memory[begin:end].copy() for begin, end in WINDOWS]
    with _forbidden(memory, extents if mode != FAST else None):
        status = native().opml_kernel(memory.ctypes.data, raw, mode)
    for (begin, end), old in zip(WINDOWS, before, strict=True):
        changed = np.flatnonzero(memory[begin:end] != old) + begin
        stray = changed[(changed < lo) | (changed >= hi)]
        assert not stray.size, f"wrote at 0x{int(stray[0]):x}, outside of [0x{lo:x}, 0x{hi:x})"
    seen = [memory[max(lo, begin) : min(hi, end)].tobytes() for begin, end in WINDOWS if lo < end and hi > begin]
    for begin, end in (*extents, *((offset, offset + array.nbytes) for offset, array in good.arrays)):
        _bench().zero(begin, end - begin)
    return int(status), b"".join(seen)


def _fill(memory: Memory, begin: int, end: int) -> None:
    """A pattern where an operand may lie, as far as it is watched."""
    for low, high in WINDOWS:
        if begin < high and end > low:
            part = memory[max(begin, low) : min(end, high)]
            part[:] = np.resize(np.array([0x3F, 0x80, 0, 1, 0, 0, 0, 7], np.uint8), part.size)


@contextmanager
def _forbidden(memory: Memory, allowed: Sequence[tuple[int, int]] | None) -> Iterator[None]:
    """The watched parts of the segment are poisoned but for `allowed`, if this process has AddressSanitizer."""
    process = ctypes.CDLL(None)
    if allowed is None or not hasattr(process, "__asan_poison_memory_region"):
        yield
        return
    base = memory.ctypes.data

    def call(function: str, begin: int, end: int) -> None:
        getattr(process, function)(ctypes.c_void_p(base + begin), ctypes.c_size_t(end - begin))

    for begin, end in WINDOWS:
        call("__asan_poison_memory_region", begin, end)
    for begin, end in allowed:
        for low, high in WINDOWS:
            if begin < high and end > low:
                call("__asan_unpoison_memory_region", max(begin, low), min(end, high))
    try:
        yield
    finally:
        for begin, end in WINDOWS:
            call("__asan_unpoison_memory_region", begin, end)
