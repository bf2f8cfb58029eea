"""
One inference, run natively: the states S_0 ... S_n and what lies in them.

An `Inference` holds a segment in memory (native/ml.c) and moves it from state to state. `run_to` goes to any t, going
back by starting again from the nearest state it kept; `state_root` and `blocks_at` answer about any state, in any
order. Hashing costs the live blocks only: `_Live` knows which they are, and keeps the root of each until a node
writes to it. `overrides` put wrong bytes into a state, and the run goes on from there: how a liar's story is told.

**Typed programs.** The segment holds elements in the host's byte order, which needs every byte to belong to elements
of one width. `Typing` finds out from the records. Honest programs are so; any other is run by the same kernels on the
VM's own bytes (native/kernels_bytes.c): slower, never different.

What a state consists of is `segment`'s; what a node does, docs/kernels.md.
"""

from __future__ import annotations

import ctypes
import os
import struct
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import OpmlError
from ..merkle import SparseTree
from ..primitives import Hash32, StateRoot
from ..segment import (
    ARENA,
    HEADER,
    INPUT,
    MODEL_LOG2,
    OUTPUT,
    SEGMENT_LOG2,
    OutputProof,
    Placed,
    header_leaf,
    input_image,
    tensors,
)
from .hashing import hash_pair, merkle_root
from .lib import library
from .vm import Block

Bytes: TypeAlias = npt.NDArray[np.uint8]

RECORD_BYTES: Final = 512
OPERANDS: Final = 7
"""Of a record: the output, then at most six inputs."""
LEAST_BLOCK_LOG2: Final = 6
KEPT_BYTES: Final = 1 << 29
"""Room for kept states, from which an earlier state is reached faster than from the start."""

_LO_AT: Final = 0x10
_HI_AT: Final = 0x18
_FREES_AT: Final = 0x58
_LOOK_AT_DATA: Final = (12, 13)
"""GATHER and SCATTER: each tile may fail on its own."""
_HEADER_WORDS: Final = struct.Struct(">4Q")


class SegmentUnavailable(OpmlError):
    """This system does not give the address space or memory that an inference needs."""


class StateOutOfRange(OpmlError):
    """A state index that the inference does not have."""


class ProgramLike(Protocol):
    """What an inference needs of a program: `model.program.Program`."""

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
    def model_root(self) -> Hash32: ...


Override: TypeAlias = tuple[int, bytes]
"""An offset in the segment, and the bytes (big-endian, as in VM memory) that replace what is there."""


class Inference:
    """A native run of one program on one input."""

    def __init__(
        self,
        program: ProgramLike,
        inputs: Mapping[str, npt.NDArray[Any]] | bytes,
        *,
        overrides: Mapping[int, Sequence[Override]] | None = None,
        threads: int = 1,
        memory_limit: int | None = None,
    ) -> None:
        """
        `inputs` are arrays by name, or the INPUT section's bytes. `overrides[t]` is written over S_t as soon as node
        t - 1 has run. `memory_limit` bounds the bytes of live tensors; by default the machine's memory.

        Raises `BadInput` for inputs that the model does not take, `SegmentUnavailable` if there is no room.
        """
        self.program = program
        self.input_image = inputs if isinstance(inputs, bytes) else input_image(program.inputs, inputs)
        if len(self.input_image) > 1 << INPUT.log2_size:
            raise SegmentUnavailable(f"an input of {len(self.input_image):,} bytes; INPUT holds 2^{INPUT.log2_size}")
        self.overrides = {t: tuple(changes) for t, changes in (overrides or {}).items()}
        self._check_overrides()
        self._limit = memory_limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._known = _Known.of(program)
        self._judged, self._typing = self._known.judged, self._known.typing
        self._segment = _Segment(vm_bytes=not self._typing.is_typed, threads=threads)
        self._live = _Live()
        self._kept: dict[int, _Kept] = {}
        self._roots: dict[int, StateRoot] = {}
        self._input_root: Hash32 | None = None
        self._overridden_model = self._overridden(0, 1 << MODEL_LOG2)
        self._load_model()
        self._t = 0
        self._start()

    # States

    @property
    def is_typed(self) -> bool:
        """Whether the program runs on elements in host order, with every fast path."""
        return self._typing.is_typed

    def run_to(self, t: int) -> None:
        """
        Makes S_t the current state. Raises `StateOutOfRange` unless 0 <= t <= node count, `SegmentUnavailable` if live
        tensors outgrow the memory limit.
        """
        if not 0 <= t <= self.program.node_count:
            raise StateOutOfRange(f"S_{t} found, expected S_0 to S_{self.program.node_count}")
        if t < self._t:
            self._restore(max((kept for kept in self._kept if kept <= t), default=None))
        while self._t < t:
            self._transition(t)

    def state_root(self, t: int) -> StateRoot:
        """S_t."""
        if t not in self._roots:
            self.run_to(t)
            self._roots[t] = self._hash()
            self._keep()
        return self._roots[t]

    def blocks_at(self, t: int) -> list[Block]:
        """The content of the whole segment at S_t, for `Machine.add_subtree(S_t, 40, ...)`. Copies what may change."""
        self.run_to(t)
        self._roots[t] = self._hash()  # so that every block has its root
        return self._model_blocks() + [replace(block, data=np.array(block.data)) for block in self._tree_blocks()]

    @property
    def status(self) -> int:
        """Of S_n: 0, or why the inference failed (native/opcodes.h, `enum inference_status`)."""
        return self._final_header[2]

    @property
    def fault_node(self) -> int:
        """Of S_n: the node that failed, if one did."""
        return self._final_header[3]

    def output_image(self) -> bytes:
        """The OUTPUT section of S_n from offset 0 to the end of the last output."""
        self.run_to(self.program.node_count)
        return self.read(OUTPUT.offset, self.program.output_bytes)

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        """The outputs in S_n, by name; whatever `status` says."""
        return tensors(self.program.outputs, self.output_image(), OUTPUT)

    def output_proof(self) -> OutputProof:
        """What shows the output under S_n on chain."""
        self.run_to(self.program.node_count)
        self._hash()
        tree = SparseTree(SEGMENT_LOG2, self._tree_blocks())
        return OutputProof(
            self._model_root(),
            tree.subtree(INPUT.offset, INPUT.log2_size),
            tree.subtree(ARENA.offset, ARENA.log2_size),
            self.program.node_count,
        )

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Bytes of the current state, as VM memory would hold them."""
        return self._typing.read(self._segment.memory, offset, size_bytes)

    # One transition, and the way back

    def _transition(self, goal: int) -> None:
        """The next state, or several at once if their nodes are tiles of one operation; none beyond S_goal."""
        _, node, status, _ = self._header()
        touched: tuple[int, int] | None = None
        frees: list[tuple[int, int]] = []
        count, joined_hi = 1, 0
        if status == 0 and node < self.program.node_count:
            state, lo, hi, frees = self._effect(node)
            if state == 0:
                touched = lo, hi
                self._live.touch(lo, hi)
                if self._live.size_bytes > self._limit:
                    raise SegmentUnavailable(
                        f"live tensors of {self._live.size_bytes:,} bytes at node {node}; "
                        f"{self._limit:,} bytes of memory are there"
                    )
            if state == 0 and not self._overridden_model and node == self._t:
                last = min(self._known.tiles_end(node), goal, *(t for t in self.overrides if t > self._t)) - 1
                if last > node:
                    count = last - node + 1
                    joined_hi = _hi(self.program.records, last)
                    frees = _frees(self.program.records, last)
        self._segment.run(count, joined_hi)
        if touched is not None and self._header()[2] == 0:
            for offset, log2_size in frees:
                self._live.free(offset, log2_size)
        self._live.changed(HEADER.offset)
        self._t += count
        self._override(self._t)

    def _effect(self, node: int) -> tuple[int, int, int, list[tuple[int, int]]]:
        """Status of record `node`, the extent of its output, and the blocks it frees."""
        if self._overridden_model:
            # A liar may have changed the program itself: what runs is what lies in memory now.
            place = RECORD_BYTES * (1 + node)
            raw = self._segment.memory[place : place + RECORD_BYTES].tobytes()
            judged, node = judge(raw), 0
        else:
            raw, judged = self.program.records, self._judged
        lo, hi, _ = judged.extents[node, 0]
        status = int(judged.status[node])
        return status, int(lo), int(hi), [] if status else _frees(raw, node)

    def _start(self) -> None:
        """S_0 in a segment whose upper half is zero."""
        self._live = _Live()
        self._live.touch(HEADER.offset, HEADER.offset + 32)
        if self.input_image:
            self._live.touch(INPUT.offset, INPUT.offset + len(self.input_image))
            self._typing.write(self._segment.memory, INPUT.offset, self.input_image)
        self._write_header(header_leaf(0))
        self._t = 0
        self._override(0)

    def _restore(self, t: int | None) -> None:
        """Goes back to the kept state t, or to S_0."""
        for entry in self._live.entries():
            self._segment.zero(entry.offset, entry.used)
        if self._overridden_model:
            for changes in self.overrides.values():
                for offset, data in changes:
                    self._segment.zero(offset, max(0, min(len(data), (1 << MODEL_LOG2) - offset)))
            self._load_model()
            for at in sorted(at for at in self.overrides if t is not None and at <= t):
                self._write_overrides(at, below=1 << MODEL_LOG2)
        if t is None:
            self._start()
            return
        kept = self._kept[t]
        self._live = kept.live.copy()
        for entry, content in zip(kept.live.entries(), kept.data, strict=True):
            self._segment.memory[entry.offset : entry.offset + entry.used] = content
        self._t = t

    def _keep(self) -> None:
        """Keeps the current state, if there is room."""
        size = self._live.size_bytes
        if self._t in self._kept or self._t == 0 or size > KEPT_BYTES:
            return
        while sum(kept.live.size_bytes for kept in self._kept.values()) + size > KEPT_BYTES:
            del self._kept[next(iter(self._kept))]
        data = [self._segment.memory[e.offset : e.offset + e.used].copy() for e in self._live.entries()]
        self._kept[self._t] = _Kept(self._live.copy(), data)

    # Overrides

    def _check_overrides(self) -> None:
        for t, changes in self.overrides.items():
            for offset, data in changes:
                if not 0 <= t <= self.program.node_count or offset < 0 or offset + len(data) > 1 << SEGMENT_LOG2:
                    raise StateOutOfRange(
                        f"an override of S_{t} at 0x{offset:x}: no such state, or outside the segment"
                    )

    def _overridden(self, begin: int, end: int) -> bool:
        return any(o < end and o + len(d) > begin for changes in self.overrides.values() for o, d in changes)

    def _override(self, t: int) -> None:
        for offset, data in self.overrides.get(t, ()):
            for lo, hi in _pieces(max(offset, 1 << MODEL_LOG2), offset + len(data)):
                self._live.touch(lo, hi)
        self._write_overrides(t, below=1 << SEGMENT_LOG2)

    def _write_overrides(self, t: int, *, below: int) -> None:
        for offset, data in self.overrides.get(t, ()):
            self._typing.write(self._segment.memory, offset, data[: max(0, below - offset)])

    # The header

    def _header(self) -> tuple[int, int, int, int]:
        """Magic, node index, status, fault node."""
        raw = self._segment.memory[HEADER.offset : HEADER.offset + 32].tobytes()
        magic, node, status, fault = _HEADER_WORDS.unpack(raw)
        return magic, node, status, fault

    @property
    def _final_header(self) -> tuple[int, int, int, int]:
        self.run_to(self.program.node_count)
        return self._header()

    def _write_header(self, leaf: bytes) -> None:
        self._segment.memory[HEADER.offset : HEADER.offset + 32] = np.frombuffer(leaf, np.uint8)

    # Hashing

    def _load_model(self) -> None:
        memory = self._segment.memory
        for block in self.program.model_blocks:
            data = np.frombuffer(block.data, np.uint8)
            if self._typing.is_typed or block.word_bytes == 1:
                memory[block.offset : block.offset + data.size] = data
            else:
                swapped = data.view(f"=u{block.word_bytes}").astype(f">u{block.word_bytes}").view(np.uint8)
                memory[block.offset : block.offset + data.size] = swapped

    def _model_root(self) -> Hash32:
        if not self._overridden_model:
            return self.program.model_root
        return SparseTree(MODEL_LOG2, self._model_blocks()).root

    def _model_blocks(self) -> list[Block]:
        """The lower half of the current state."""
        if not self._overridden_model:
            return list(self._known.model_blocks)
        lower = _Live()
        for block in self.program.model_blocks:
            lower.touch(block.offset, block.offset + _size(block))
        for t, changes in self.overrides.items():
            for offset, data in changes:
                if t <= self._t:
                    for lo, hi in _pieces(offset, min(offset + len(data), 1 << MODEL_LOG2)):
                        lower.touch(lo, hi)
        return [self._block(entry) for entry in lower.entries()]

    def _block(self, entry: _Entry) -> Block:
        """A live block as the current state has it; its data is the segment's own memory where that can be."""
        width = self._typing.width_of(self._segment.memory, entry.offset, entry.used)
        if width is None:
            raw = np.frombuffer(self.read(entry.offset, entry.used), np.uint8)
            return Block(entry.offset, entry.log2_size, raw, 1, entry.root)
        data = self._segment.memory[entry.offset : entry.offset + entry.used]
        return Block(entry.offset, entry.log2_size, data, width, entry.root)

    def _tree_blocks(self) -> list[Block]:
        return [self._block(entry) for entry in self._live.entries()]

    def _hash(self) -> StateRoot:
        for entry in self._live.entries():
            if entry.root is None:
                block = self._block(entry)
                entry.root = merkle_root(block.data, block.log2_size, block.word_bytes)
        tree = SparseTree(SEGMENT_LOG2, self._tree_blocks())
        upper = tree.subtree(1 << MODEL_LOG2, MODEL_LOG2)
        return StateRoot(hash_pair(self._model_root(), upper))


# What the records say, before anything runs


class _Known:
    """What is known of a program before it runs; worked out once, however many inferences it makes."""

    _all: ClassVar[dict[int, _Known]] = {}

    def __init__(self, program: ProgramLike) -> None:
        self.judged = judge(program.records)
        self.typing = Typing(program, self.judged)
        self._records, self._blocks = program.records, program.model_blocks

    @classmethod
    def of(cls, program: ProgramLike) -> _Known:
        """The one of `program`, as long as that lives."""
        if id(program) not in cls._all:
            cls._all[id(program)] = cls(program)
            weakref.finalize(program, cls._all.pop, id(program))
        return cls._all[id(program)]

    def tiles_end(self, node: int) -> int:
        """The first node after `node` that does not go on where its predecessor's range ends."""
        return int(self._tiles_end[node])

    @cached_property
    def _tiles_end(self) -> npt.NDArray[np.int64]:
        rows = np.frombuffer(self._records, np.uint8).reshape(-1, RECORD_BYTES)
        ends = np.arange(1, len(rows) + 1)
        if len(rows) < 2:
            return ends
        before, after = rows[:-1], rows[1:]
        same = np.ones(RECORD_BYTES, bool)
        same[[4, *range(_LO_AT, _HI_AT + 8), *range(_FREES_AT, _FREES_AT + 56)]] = False
        goes_on = (before[:, same] == after[:, same]).all(axis=1)
        goes_on &= (before[:, _HI_AT : _HI_AT + 8] == after[:, _LO_AT : _LO_AT + 8]).all(axis=1)
        goes_on &= (before[:, 4] == 0) & (self.judged.status[:-1] == 0) & (self.judged.status[1:] == 0)
        goes_on &= ~np.isin(before[:, 1], _LOOK_AT_DATA)
        for node in np.flatnonzero(goes_on)[::-1]:
            ends[node] = ends[node + 1]
        return ends

    @cached_property
    def model_blocks(self) -> tuple[Block, ...]:
        """Program and weights with their roots, so that no machine hashes them again."""
        return tuple(
            replace(block, root=block.root or merkle_root(block.data, block.log2_size, block.word_bytes))
            for block in self._blocks
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """What native/record.c says of each record."""

    status: npt.NDArray[np.int32]
    """[records]: 0, or what the node latches."""
    extents: npt.NDArray[np.uint64]
    """[records][operand][lo, hi, element width]: the bytes each operand may touch."""


def judge(records: bytes) -> Judged:
    """The judgement of `records`, 512 bytes each."""
    count = len(records) // RECORD_BYTES
    status = np.zeros(count, np.int32)
    extents = np.zeros((count, OPERANDS, 3), np.uint64)
    _native().opml_records_check(records, count, status.ctypes.data, extents.ctypes.data)
    return Judged(status, extents)


def _frees(records: bytes, node: int) -> list[tuple[int, int]]:
    """(offset, log2 size) of the blocks that a record frees."""
    base = RECORD_BYTES * node
    words = struct.unpack_from(f">{records[base + 4]}Q", records, base + _FREES_AT)
    return [(word & (1 << 56) - 1, word >> 56) for word in words]


def _hi(records: bytes, node: int) -> int:
    """The end of a record's range."""
    return int.from_bytes(records[RECORD_BYTES * node + _HI_AT : RECORD_BYTES * node + _HI_AT + 8], "big")


class Typing:
    """Which width the elements at each place have, and how bytes are read and written accordingly."""

    def __init__(self, program: ProgramLike, judged: Judged) -> None:
        good = judged.extents[judged.status == 0].reshape(-1, 3)
        found = [(int(lo), int(hi), int(width)) for lo, hi, width in np.unique(good[good[:, 2] > 0], axis=0)]
        for block in program.model_blocks[1:]:
            found.append((block.offset, block.offset + _size(block), block.word_bytes))
        for spec in program.inputs:
            width = spec.dtype.numpy.itemsize
            found.append((spec.offset, spec.offset + width * int(np.prod(spec.shape, dtype=np.int64)), width))
        regions = _united(found)
        self.is_typed = all(left[1] <= right[0] for left, right in pairwise(regions))
        self._regions = regions if self.is_typed else []
        self._starts = [lo for lo, _, _ in self._regions]

    def width_of(self, memory: Bytes, offset: int, size: int) -> int | None:
        """The one width that `memory` at [offset, offset + size) can be read with; None if there is none."""
        inside = [region for region in self._around(offset, offset + size) if region[2] > 1]
        if not inside:
            return 1
        if len(inside) > 1:
            return None
        lo, hi, width = inside[0]
        # What belongs to no element lies as the VM holds it, which reads alike only if it is zero.
        if memory[offset:lo].any() or memory[hi : offset + size].any():
            return None
        return width

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
        first = max(bisect_right(self._starts, begin) - 1, 0)
        found = []
        for region in self._regions[first:]:
            if region[0] >= end:
                break
            if region[1] > begin:
                found.append(region)
        return found


def _united(found: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Regions (lo, hi, width), those of one width that meet made one, ascending."""
    regions: list[tuple[int, int, int]] = []
    open_at: dict[int, int] = {}
    for lo, hi, width in sorted(found):
        last = open_at.get(width)
        if last is not None and regions[last][1] >= lo:
            regions[last] = (regions[last][0], max(regions[last][1], hi), width)
        else:
            open_at[width] = len(regions)
            regions.append((lo, hi, width))
    return sorted(regions)


def _size(block: Block) -> int:
    """Bytes of a block's data."""
    return np.frombuffer(block.data, np.uint8).size


# What is live


@dataclass(slots=True)
class _Entry:
    """A block that may hold something."""

    offset: int
    log2_size: int
    used: int
    """Bytes from its start beyond which it is zero."""
    root: Hash32 | None


class _Live:
    """The blocks of a state that may hold something; none lies in another."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._homes: dict[tuple[int, int], int] = {}  # extents already looked up -> offset of their block
        self.size_bytes = 0

    def entries(self) -> list[_Entry]:
        """By ascending offset."""
        return [self._entries[offset] for offset in sorted(self._entries)]

    def copy(self) -> _Live:
        twin = _Live()
        twin._entries = {offset: replace(entry) for offset, entry in self._entries.items()}
        twin.size_bytes = self.size_bytes
        return twin

    def touch(self, lo: int, hi: int) -> None:
        """The bytes [lo, hi) change."""
        home = self._homes.get((lo, hi))
        if home is not None:
            self._entries[home].root = None
            return
        log2_size = max(LEAST_BLOCK_LOG2, (lo ^ (hi - 1)).bit_length())
        offset = lo >> log2_size << log2_size
        for level in range(log2_size, SEGMENT_LOG2 + 1):
            entry = self._entries.get(offset >> level << level)
            if entry is not None and entry.log2_size >= level:
                self._grow(entry, hi - entry.offset)
                self._homes[lo, hi] = entry.offset
                return
        used = hi - offset
        for inner in self._inside(offset, log2_size):
            used = max(used, inner.offset - offset + inner.used)
            self._drop(inner)
        self._entries[offset] = _Entry(offset, log2_size, 0, None)
        self._grow(self._entries[offset], used)
        self._homes[lo, hi] = offset

    def changed(self, offset: int) -> None:
        """The block at `offset` changes within what it uses."""
        self._entries[offset].root = None

    def free(self, offset: int, log2_size: int) -> None:
        """A block becomes zero."""
        for entry in self._inside(offset, log2_size):
            self._drop(entry)
        for level in range(log2_size + 1, SEGMENT_LOG2 + 1):
            outer = self._entries.get(offset >> level << level)
            if outer is not None and outer.log2_size >= level:
                outer.root = None

    def _inside(self, offset: int, log2_size: int) -> list[_Entry]:
        end = offset + (1 << log2_size)
        return [
            entry for entry in self._entries.values() if offset <= entry.offset < end and entry.log2_size <= log2_size
        ]

    def _grow(self, entry: _Entry, used: int) -> None:
        entry.root = None
        used = -(-used // 8) * 8  # whole words, whatever their width
        if used > entry.used:
            self.size_bytes += used - entry.used
            entry.used = used

    def _drop(self, entry: _Entry) -> None:
        self.size_bytes -= entry.used
        del self._entries[entry.offset]
        self._homes = {extent: home for extent, home in self._homes.items() if home != entry.offset}


def _pieces(lo: int, hi: int) -> Iterator[tuple[int, int]]:
    """[lo, hi) cut where aligned blocks end: bytes across a section's middle make no block of the section's size."""
    lo = lo >> LEAST_BLOCK_LOG2 << LEAST_BLOCK_LOG2
    while lo < hi:
        size = min(lo & -lo, 1 << max(hi - lo - 1, 1).bit_length()) if lo else 1 << max(hi - 1, 1).bit_length()
        end = min(lo + max(size, 1 << LEAST_BLOCK_LOG2), hi)
        yield lo, end
        lo = end


@dataclass(frozen=True, slots=True)
class _Kept:
    """A state to go back to."""

    live: _Live
    data: list[Bytes]


# The native side


class _Segment:
    """2^40 bytes of address space (native/ml.c)."""

    def __init__(self, *, vm_bytes: bool, threads: int) -> None:
        self._handle = _native().opml_ml_new(int(vm_bytes), threads)
        if not self._handle:
            raise SegmentUnavailable(
                f"cannot reserve 2^{SEGMENT_LOG2} bytes of address space",
                hint="lift the limit of this process's address space (ulimit -v unlimited), or allow overcommit",
            )
        address = _native().opml_ml_segment(self._handle)
        self.memory: Bytes = np.ctypeslib.as_array((ctypes.c_uint8 * (1 << SEGMENT_LOG2)).from_address(address))

    def run(self, count: int, joined_hi: int) -> None:
        _native().opml_ml_run(self._handle, count, joined_hi)

    def zero(self, offset: int, size: int) -> None:
        _native().opml_ml_zero(self._handle, offset, size)

    def __del__(self) -> None:
        handle, self._handle = getattr(self, "_handle", None), None
        if handle:
            _native().opml_ml_free(handle)


def _native() -> ctypes.CDLL:
    """The library, with the signatures of native/ml.c set."""
    lib = library()
    if not getattr(lib, "opml_ml_typed", False):
        pointer, u64 = ctypes.c_void_p, ctypes.c_uint64
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "opml_ml_new": (pointer, [ctypes.c_int, ctypes.c_uint]),
            "opml_ml_free": (None, [pointer]),
            "opml_ml_segment": (pointer, [pointer]),
            "opml_ml_run": (None, [pointer, u64, u64]),
            "opml_ml_zero": (None, [pointer, u64, u64]),
            "opml_records_check": (None, [ctypes.c_char_p, u64, pointer, pointer]),
            "opml_kernel": (ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_int]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        lib.opml_ml_typed = True  # type: ignore[attr-defined]
    return lib


__all__ = ["Inference", "Judged", "Override", "SegmentUnavailable", "StateOutOfRange", "Typing", "judge"]
