"""
Facts about a program that follow from its records alone, before it runs.

`ProgramAnalysis.of` derives them once for a program: the validation of every record, how elements lie in memory
(`Typing`), which nodes are tiles of one operation, and a schedule for the whole run. `with_roots` hashes blocks.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Final, Protocol

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.doubles import Pattern
from opml_dispute.engine.freed_memory import give_back_freed
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.engine.mapped_files import expect_unchanged, give_back, mappings_of
from opml_dispute.engine.node_record import FREES_AT, GATHER, HI_AT, LO_AT, N_FREE_AT, SCATTER, log2_steps_of
from opml_dispute.engine.schedule import Schedule, make_schedule
from opml_dispute.engine.segment import WEIGHTS, Placed
from opml_dispute.engine.segment_memory import Bytes, Validation, validate_records
from opml_dispute.engine.vm import Block
from opml_dispute.primitives import RECORD_BYTES, Hash32

_LOOK_AT_DATA: Final = (GATHER, SCATTER)
"""Each tile of these may fail on its own."""

_LONG_NODES: Final = 1 << 13
"""Planning so many takes some tenths of a second."""

_MOST_FOUND: Final = 1 << 12
"""So many answers of a program's `Typing` are kept; the first are those about its ends."""


class ProgramLike(Protocol):
    """The interface that an inference needs of a program: `model.program.Program`."""

    @property
    def records(self) -> bytes: ...
    @property
    def node_count(self) -> int: ...
    @property
    def inputs(self) -> Sequence[Placed]: ...
    @property
    def outputs(self) -> Sequence[Placed]: ...
    @property
    def output_bytes(self) -> int: ...
    @property
    def model_blocks(self) -> Sequence[Block]: ...
    @property
    def rooted_blocks(self) -> Sequence[Block]:
        """`model_blocks`, each with its root."""

    @property
    def model_root(self) -> Hash32: ...
    @staticmethod
    def double_patterns() -> Sequence[Pattern]:
        """The steps that operations of binary64 are in it (`doubles`)."""


class ProgramAnalysis:
    """Facts derived from a program's records; computed once, however many inferences run it."""

    _all: ClassVar[dict[int, ProgramAnalysis]] = {}

    def __init__(self, program: ProgramLike) -> None:
        self._records, self._blocks = program.records, program.model_blocks
        self._double_patterns = program.double_patterns
        self._judged: Validation | None = None
        self.typing = Typing(program, self.judged)

    @classmethod
    def of(cls, program: ProgramLike) -> ProgramAnalysis:
        """The cached analysis of `program`, which lives as long as the program."""
        if id(program) not in cls._all:
            cls._all[id(program)] = cls(program)
            weakref.finalize(program, cls._all.pop, id(program), None)  # None: two threads may both get here
        return cls._all[id(program)]

    @property
    def judged(self) -> Validation:
        """The validation of every record; made again if it was given up for a schedule's memory."""
        judged = self._judged
        if judged is None:
            judged = self._judged = validate_records(self._records, log2_steps_of(self._blocks[0]))
        return judged

    def tiles_end(self, node: int) -> int:
        """The first node after `node` that does not begin where its predecessor's range ends."""
        return self._tiles_end.item(node)

    def range_of(self, node: int) -> tuple[int, int]:
        """The outputs [lo, hi) that a node makes."""
        lo, hi = struct.unpack_from(">2Q", self._records, RECORD_BYTES * node + LO_AT)
        return lo, hi

    def fills(self, first: int, last: int) -> bool:
        """Whether the tiles `first` to `last`, which cannot fail, write every byte of their output's extent."""
        lo, hi, width = self.judged.output(first)
        outputs = self.range_of(last)[1] - self.range_of(first)[0]
        # Outputs do not overlap (native/program/record.c), so if their number fills the extent, it is filled.
        return outputs * width == hi - lo and self._records[RECORD_BYTES * first + 1] not in _LOOK_AT_DATA

    @cached_property
    def _tiles_end(self) -> npt.NDArray[np.int64]:
        return self._ends(apart=_LOOK_AT_DATA)

    def _ends(self, *, apart: Collection[int]) -> npt.NDArray[np.int64]:
        """By node, the first one after it that does not go on with its range; tiles of opcodes `apart` stay apart."""
        rows = np.frombuffer(self._records, np.uint8).reshape(-1, RECORD_BYTES)
        ends = np.arange(1, len(rows) + 1)
        if len(rows) < 2:
            return ends
        before, after = rows[:-1], rows[1:]
        same = np.full(RECORD_BYTES, 0xFF, np.uint8)
        same[[N_FREE_AT, *range(LO_AT, HI_AT + 8), *range(FREES_AT, FREES_AT + 56)]] = 0
        words = rows.view(np.uint64)
        goes_on = np.ones(len(before), bool)
        for place, mask in enumerate(same.view(np.uint64)):
            if mask:
                goes_on &= (words[:-1, place] ^ words[1:, place]) & mask == 0
        goes_on &= (before[:, HI_AT : HI_AT + 8] == after[:, LO_AT : LO_AT + 8]).all(axis=1)
        goes_on &= (before[:, N_FREE_AT] == 0) & (self.judged.status[:-1] == 0) & (self.judged.status[1:] == 0)
        goes_on &= ~np.isin(before[:, 1], list(apart))
        for node in np.flatnonzero(goes_on)[::-1]:
            ends[node] = ends[node + 1]
        return ends

    @property
    def plans_quickly(self) -> bool:
        """Whether `schedule` is there already, or costs little."""
        return "schedule" in vars(self) or len(self._records) < _LONG_NODES * RECORD_BYTES

    @cached_property
    def schedule(self) -> Schedule | None:
        """The schedule for running from the first state to the last; None if the records do not show that one is
        right."""
        if not self.typing.is_typed or self.judged.status.any():
            return None
        # Tiles of a GATHER are joined here: if one fails, all of the run is thrown away.
        ends = self._ends(apart=(SCATTER,))
        schedule = make_schedule(self._records, self.judged.extents, ends, self._blocks, self._double_patterns)
        nodes = len(self._records) // RECORD_BYTES
        if schedule is not None and nodes >= _LONG_NODES:
            self._judged = None  # a third of the records' size, and who has a schedule seldom looks at a node
        give_back_freed(nodes)
        return schedule


def frees_of(records: bytes, node: int) -> list[tuple[int, int]]:
    """(offset, log2 size) of the blocks that a record frees."""
    base = RECORD_BYTES * node
    words = struct.unpack_from(f">{records[base + N_FREE_AT]}Q", records, base + FREES_AT)
    return [(word & (1 << 56) - 1, word >> 56) for word in words]


class Typing:
    """The element width of each place in memory, by which bytes are read and written."""

    def __init__(self, program: ProgramLike, judged: Validation) -> None:
        good = judged.extents[judged.status == 0].reshape(-1, 3)
        more = [
            (block.offset, block.offset + size_of(block), block.word_bytes)
            for block in program.model_blocks
            if block.offset >= WEIGHTS.offset
        ]
        for spec in program.inputs:
            width = spec.dtype.numpy.itemsize
            more.append((spec.offset, spec.offset + width * int(np.prod(spec.shape, dtype=np.int64)), width))
        found = np.concatenate([good[good[:, 2] > 0].astype(np.int64), np.array(more, np.int64).reshape(-1, 3)])
        regions = _united(found)
        self.is_typed = not (regions[:-1, 1] > regions[1:, 0]).any()
        self._regions = regions if self.is_typed else regions[:0]
        self._starts = self._regions[:, 0].copy()
        self._found: dict[tuple[int, int], tuple[int, int, int | None]] = {}  # what was asked for

    def width_of(self, memory: Bytes, offset: int, size: int) -> int | None:
        """The one width that `memory` at [offset, offset + size) can be read with; None if there is none."""
        region = self._found.get((offset, size)) or self._find(offset, size)
        lo, hi, width = region
        # Bytes that belong to no element are in the VM's order, which reads the same only if they are zero.
        if (offset < lo and memory[offset:lo].any()) or (hi < offset + size and memory[hi : offset + size].any()):
            return None
        return width

    def _find(self, offset: int, size: int) -> tuple[int, int, int | None]:
        """What `width_of` answers for [offset, offset + size), if what lies around [lo, hi) is zero: lo, hi, that."""
        inside = [region for region in self._around(offset, offset + size) if region[2] > 1]
        region = inside[0] if len(inside) == 1 else (offset, offset + size, None if inside else 1)
        if len(self._found) < _MOST_FOUND:
            self._found[offset, size] = region
        return region

    def read(self, memory: Bytes, offset: int, size: int) -> bytes:
        """Bytes of `memory` as the VM would hold them."""
        out = memory[offset : offset + size].copy()
        for lo, hi, width in self._around(offset, offset + size):
            if width == 1:
                continue
            begin, end = max(lo, offset), min(hi, offset + size)
            first, last = begin - begin % width, end + -end % width
            words = memory[first:last].view(f"=u{width}").astype(f">u{width}").view(np.uint8)
            out[begin - offset : end - offset] = words[begin - first : begin - first + end - begin]
        return out.tobytes()

    def write(self, memory: Bytes, offset: int, data: bytes) -> None:
        """Puts bytes, as the VM would hold them, into `memory`."""
        if not data:
            return
        size = len(data)
        raw = np.frombuffer(data, np.uint8)
        inside = self._around(offset, offset + size)
        # Whole words at both ends of every region: what surrounds the data there is read first.
        before = {}
        for lo, hi, width in inside:
            begin, end = max(lo, offset), min(hi, offset + size)
            first, last = begin - begin % width, end + -end % width
            words = np.frombuffer(self.read(memory, first, last - first), np.uint8).copy()
            words[begin - first : end - first] = raw[begin - offset : end - offset]
            before[first] = words.view(f">u{width}").astype(f"=u{width}").view(np.uint8)
        outside = np.ones(size, bool)
        for lo, hi, _ in inside:
            outside[max(lo, offset) - offset : min(hi, offset + size) - offset] = False
        memory[offset : offset + size][outside] = raw[outside]
        for first, words in before.items():
            memory[first : first + words.size] = words

    def _around(self, begin: int, end: int) -> list[tuple[int, int, int]]:
        """The regions that meet [begin, end)."""
        first = max(int(self._starts.searchsorted(begin, "right")) - 1, 0)
        # Only those that are looked at are copied: an untrusted program may have as many regions as nodes.
        near = self._regions[first : int(self._starts.searchsorted(end))].tolist()
        return [(lo, hi, width) for lo, hi, width in near if hi > begin]


def _united(found: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Regions (lo, hi, width) in rows, those of one width that meet made one, ascending."""
    parts = [np.zeros((0, 3), np.int64)]
    for width in np.unique(found[:, 2]):
        rows = found[found[:, 2] == width]
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        ends = np.maximum.accumulate(rows[:, 1])
        first = np.flatnonzero(np.concatenate([[True], rows[1:, 0] > ends[:-1]]))
        last = np.concatenate([first[1:], [len(rows)]]) - 1
        parts.append(np.stack([rows[first, 0], ends[last], rows[first, 2]], axis=1))
    regions = np.concatenate(parts)
    return regions[np.lexsort((regions[:, 2], regions[:, 1], regions[:, 0]))]


def with_roots(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """
    The blocks, each with its root; pages of mapped files are given back behind the hashing.

    Raises `FileChanged` if a mapped file was written to.
    """
    blocks, rooted = list(blocks), []
    mappings = mappings_of(block.data for block in blocks)
    expect_unchanged(mappings)  # before, too: what was cut off a mapped file cannot be read, and ends the process
    for block in blocks:
        if block.root is None:
            block = replace(block, root=merkle_root(block.data, block.log2_size, block.word_bytes))
            give_back(block.data)
        rooted.append(block)
    expect_unchanged(mappings)
    return tuple(rooted)


def size_of(block: Block) -> int:
    """Bytes of a block's data."""
    return np.frombuffer(block.data, np.uint8).size
