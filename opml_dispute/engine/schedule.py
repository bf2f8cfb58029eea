"""
The schedule: how an inference runs from its first state to its last when nobody asks for a state between.

S_t ties every node to blocks of its own, which are fresh when it begins and zero again when they are freed. Who wants
S_n alone need not pay for that: only INPUT, OUTPUT, the header and what is never freed are part of it. So

1. tiles of one operation are one step (`_steps`);
2. a chain of steps that each make element i from elements i runs stretch by stretch (`_chains`); what lives within a
   chain only never leaves a worker's buffer;
3. blocks that are freed do not lie in ARENA but share a small workspace (`_Room`), and weights are read where the
   program holds them;
4. what is only copied into a larger tensor, as a concatenation does, is made there at once (`_make_in_place`).

The kernels and their order within each output are the same, and so is every bit. `make_schedule` takes only programs
for which that can be seen from the records: no block may be touched after it is freed, none freed twice, none in parts.
For the others it answers None, and they run node by node; so does a run in which a node fails, from the start.

native/inference/schedule.c does what is planned here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.segment import ARENA, HEADER, OUTPUT, WEIGHTS
from opml_dispute.engine.vm import Block

RECORD_BYTES: Final = 512
RECORD: Final = np.dtype(
    [
        ("opcode", ">u2"), ("rank", "u1"), ("n_in", "u1"), ("n_free", "u1"), ("dtype_out", "u1"),
        ("dtypes_in", "u1", 6), ("zero", ">u4"), ("lo", ">u8"), ("hi", ">u8"), ("out", ">u8"), ("inputs", ">u8", 6),
        ("frees", ">u8", 7), ("imm", ">u8", 4), ("body", ">i8", 40), ("reserved", ">u8", 2),
    ]
)  # fmt: skip
"""A node record (native/program/record.h)."""

COPY, FILL, UNARY, BINARY, SELECT, CAST, CONTRACT, CONV, POOL = 1, 2, 3, 4, 5, 6, 7, 8, 9
REDUCE, ARGREDUCE, GATHER, SCATTER, TOPK, SCAN, TREE, POOL_INDEX = 10, 11, 12, 13, 14, 15, 16, 17
"""Opcodes (native/program/opcodes.h)."""
ELEMENTWISE: Final = frozenset({COPY, FILL, UNARY, BINARY, SELECT, CAST})
WINDOWS: Final = frozenset({CONV, POOL, POOL_INDEX})

IN_WORKSPACE, IN_PROCESS, IN_BUFFER = 1 << 60, 1 << 61, 1 << 62
"""Where an operand lies that is not in the segment (native/inference/schedule.c)."""
LONGEST_CHAIN: Final = 15
"""Steps, so that with a copy at the end they are no more than native/inference/schedule.c takes."""
MOST_PARTS: Final = 256
"""Of a tensor: one made of more is put together by copying, since looking through them costs their square."""
MOST_STEPS: Final = 1 << 16
"""Programs of more are run node by node: what planning costs here grows with them."""

_FREE_BITS: Final = (1 << 56) - 1
_ALIGNMENT: Final = 64
_PROGRAM_START: Final = np.dtype([("magic", "S8"), ("version", ">u8"), ("node_count", ">u8"), ("log2_steps", ">u8")])
_PROGRAM_VERSION: Final = 2
_LOG2_STEPS: Final = range(16, 41)
"""LEAST_LOG2_STEPS to MOST_LOG2_STEPS (native/program/record.h)."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """What native/inference/schedule.c runs."""

    records: bytes
    """512 bytes a step."""
    chained: bytes
    """A byte a step: 1 if it runs with the one before it."""
    clearings: npt.NDArray[np.uint64]
    """[n][step, offset, size]: parts of the workspace that must be zero before a step."""
    workspace_bytes: int
    buffers: int
    """Of each worker, for what lives within a chain."""
    loads: tuple[Block, ...]
    """Weights that must lie in the segment."""
    written: tuple[tuple[int, int], ...]
    """What of the segment the run changes, and S_n holds: extents, in the order of writing."""
    repeats: bool
    """Whether the run makes the same S_n where `written` still holds what an earlier run put there."""
    keeps: tuple[object, ...]
    """What the records point into."""


@dataclass(slots=True)
class Operand:
    """One operand of a step."""

    lo: int
    """The bytes [lo, hi) of the segment that it may touch."""
    hi: int
    width: int
    at: int
    """Where its element 0 lies."""


@dataclass(slots=True)
class Step:
    """An operation: a record, or several that are tiles of one range."""

    raw: bytearray
    opcode: int
    count: int
    """Outputs in [lo, hi)."""
    whole: bool
    """Whether [lo, hi) is the whole range."""
    operands: list[Operand]
    """The output first."""
    packed: list[bool]
    """By operand: whether it lies packed in the order of the range, so that element i is the range's element i."""
    dense: bool
    """Whether every byte of the output's extent is written."""
    frees: list[tuple[int, int]]
    """(offset, log2 size)."""


@dataclass(slots=True)
class _Place:
    """A block that comes and goes, and its place in the workspace."""

    offset: int
    log2_size: int
    freed: int
    """The step that frees it."""
    used: int = 0
    """Bytes from its start that are ever touched."""
    reads: list[tuple[int, int, int]] = field(default_factory=list)
    """(step, lo, hi); a step that reads what it writes to counts."""
    writes: list[tuple[int, int, int, bool]] = field(default_factory=list)
    """(step, lo, hi, all of it)."""
    buffer: int | None = None
    """A worker's buffer, if it never leaves its chain."""
    shares: _Place | None = None
    """The place whose memory this one takes over."""
    within: tuple[_Place, int] | None = None
    """The place that this one is a part of, and the bytes between their starts."""
    workspace: int = -1

    @property
    def born(self) -> int:
        return min([step for step, *_ in self.reads] + [step for step, *_ in self.writes], default=self.freed)

    def needs_zeros(self) -> bool:
        """Whether something may be read that was not written before."""
        covered: list[tuple[int, int]] = []
        events = [(step, 1, lo, hi, True) for step, lo, hi in self.reads]
        events += [(step, 2, lo, hi, dense) for step, lo, hi, dense in self.writes]
        for _, kind, lo, hi, dense in sorted(events):
            if kind == 2:
                if dense:
                    covered = _joined([*covered, (lo, hi)])
            elif not any(begin <= lo and hi <= end for begin, end in covered):
                return True
        return False


def make_schedule(
    records: bytes,
    extents: npt.NDArray[np.uint64],
    tiles_end: npt.NDArray[np.int64],
    blocks: Sequence[Block],
) -> Schedule | None:
    """
    A schedule for records that are all good (`inference.judge`); None where none can be shown to be right.

    `extents` are the judge's; `tiles_end[i]` the first node after i that does not go on with its range; `blocks` the
    program and its weights.
    """
    count = len(records) // RECORD_BYTES
    if not 0 < np.unique(tiles_end).size <= MOST_STEPS or not _starts_well(blocks[0], count):
        return None
    steps = list(_steps(records, extents, tiles_end))
    places = _places(steps)
    if places is None:
        return None
    return _Planner(steps, places, blocks).schedule()


def _starts_well(program: Block, count: int) -> bool:
    """Whether the program's header is one that nodes run under."""
    start = np.frombuffer(program.data, _PROGRAM_START, 1)[0]
    known = (start["magic"], int(start["version"]), int(start["node_count"])) == (b"OPMLPROG", _PROGRAM_VERSION, count)
    return known and int(start["log2_steps"]) in _LOG2_STEPS


def log2_steps_of(program: Block) -> int:
    """The logarithm of the VM steps that a node may take, as the program's header has it."""
    return int(np.frombuffer(program.data, _PROGRAM_START, 1)[0]["log2_steps"])


def _steps(records: bytes, extents: npt.NDArray[np.uint64], tiles_end: npt.NDArray[np.int64]) -> Iterator[Step]:
    rows = np.frombuffer(records, RECORD)
    first = 0
    while first < len(rows):
        last = int(tiles_end[first]) - 1
        row = rows[first : first + 1].copy()
        row["hi"], row["n_free"], row["frees"] = rows[last]["hi"], 0, 0
        frees = [int(word) for i in range(first, last + 1) for word in rows[i]["frees"][: rows[i]["n_free"]]]
        yield _step(row[0], extents[first], [(word & _FREE_BITS, word >> 56) for word in frees])
        first = last + 1


def _step(row: Any, extents: npt.NDArray[np.uint64], frees: list[tuple[int, int]]) -> Step:
    opcode, rank, n_in = int(row["opcode"]), int(row["rank"]), int(row["n_in"])
    at = [int(row["out"]), *(int(x) for x in row["inputs"][:n_in])]
    operands = [Operand(int(lo), int(hi), int(width), at[j]) for j, (lo, hi, width) in enumerate(extents[: 1 + n_in])]
    body = [int(x) for x in row["body"]]
    total, elements, packed = _range(opcode, rank, body, [int(x) for x in row["imm"]], n_in)
    count = int(row["hi"]) - int(row["lo"])
    whole = count == total
    out = operands[0]
    dense = whole and opcode != SCATTER and elements * out.width == out.hi - out.lo
    return Step(bytearray(row.tobytes()), opcode, count, whole, operands, packed, dense, frees)


def _range(opcode: int, rank: int, body: list[int], imm: list[int], n_in: int) -> tuple[int, int, list[bool]]:
    """A record's outputs, the elements that they write, and which operands lie packed in the range's order."""
    others = [False] * n_in
    if opcode in WINDOWS:
        channels = body[3] if opcode == CONV else body[2]
        outputs = body[1] * channels * prod(body[20 : 20 + body[0]])
        return outputs, outputs, [True, *others]
    if opcode == TREE:
        return body[0], body[0] * body[5], [False, *others]
    dims = body[:rank]
    kept = rank - (imm[1] if opcode in (REDUCE, ARGREDUCE) else 1 if opcode in (TOPK, SCAN) else 0)
    outputs = prod(dims[:kept])
    if opcode in (TOPK, SCAN):
        return outputs, outputs * (imm[2] if opcode == TOPK else dims[-1]), [False, *others]
    rows = [body[8 * (1 + j) : 8 * (1 + j) + kept] for j in range(1 + n_in if opcode in ELEMENTWISE else 1)]
    packed = [_is_packed(dims[:kept], row) for row in rows]
    return outputs, outputs, packed if opcode in ELEMENTWISE else [*packed, *others]


def _is_packed(dims: list[int], strides: list[int]) -> bool:
    step = 1
    for size, stride in zip(reversed(dims), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _places(steps: list[Step]) -> dict[int, _Place] | None:
    """The blocks that come and go, by offset; None if that is not what they do."""
    places: dict[int, _Place] = {}
    for i, step in enumerate(steps):
        for offset, log2_size in step.frees:
            if offset in places:
                return None
            places[offset] = _Place(offset, log2_size, i)
    offsets = sorted(places)
    for offset, following in pairwise(offsets):
        if offset + (1 << places[offset].log2_size) > following:
            return None
    for i, step in enumerate(steps):
        for j, operand in enumerate(step.operands):
            if operand.lo < ARENA.offset:
                continue
            index = bisect_right(offsets, operand.hi - 1) - 1
            place = places[offsets[index]] if index >= 0 else None
            if place is None or place.offset + (1 << place.log2_size) <= operand.lo:
                continue  # never freed: it stays in ARENA
            if operand.lo < place.offset or operand.hi > place.offset + (1 << place.log2_size) or i > place.freed:
                return None
            place.used = max(place.used, operand.hi - place.offset)
            if j == 0:
                place.writes.append((i, operand.lo, operand.hi, step.dense))
            if j > 0 or step.opcode == SCATTER:
                place.reads.append((i, operand.lo, operand.hi))
    return places


def _joined(extents: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in as few extents as there can be."""
    found: list[tuple[int, int]] = []
    for lo, hi in sorted(extents):
        if found and lo <= found[-1][1]:
            found[-1] = (found[-1][0], max(hi, found[-1][1]))
        else:
            found.append((lo, hi))
    return found


class _Planner:
    """Puts a schedule together."""

    def __init__(self, steps: list[Step], places: dict[int, _Place], blocks: Sequence[Block]) -> None:
        self.steps, self.places = steps, places
        self.offsets = sorted(places)
        self.weights = sorted(blocks[1:], key=lambda block: block.offset)
        self.weight_offsets = [block.offset for block in self.weights]
        self.wholes: set[int] = set()  # places that have parts made in them
        self.loads: dict[int, Block] = {}
        self.keeps: list[object] = []
        self.buffers = 0

    def schedule(self) -> Schedule:
        """See `make_schedule`."""
        chains = list(_chains(self.steps))
        ends = {i: chain.stop - 1 for chain in chains for i in chain}
        starts = {i: chain.start for chain in chains for i in chain}
        for chain in chains:
            self._within(chain)
        chains = [chain for chain in chains if not self._make_in_place(chain)]
        workspace_bytes = self._lay_out(starts, ends)
        unclean: dict[int, list[_Place]] = {}
        for place in self.places.values():
            if place.workspace >= 0 and place.shares is None and place.within is None and place.needs_zeros():
                unclean.setdefault(starts[place.born], []).append(place)
        clearings: list[tuple[int, int, int]] = []
        records, chained = bytearray(), bytearray()
        for chain in chains:
            clearings += [(len(chained), place.workspace, place.used) for place in unclean.get(chain.start, ())]
            for i in chain:
                self._put(records, self.steps[i])
                chained.append(i > chain.start)
            if (copy := self._copy_back(chain)) is not None:
                records += copy
                chained.append(1)
        return Schedule(
            bytes(records),
            bytes(chained),
            np.array(clearings, np.uint64).reshape(-1, 3),
            workspace_bytes,
            self.buffers,
            tuple(self.loads.values()),
            tuple(self._written()),
            self._repeats(),
            tuple(self.keeps),
        )

    def _place(self, operand: Operand) -> _Place | None:
        """Where an operand comes and goes, if it does."""
        index = bisect_right(self.offsets, operand.lo) - 1
        place = self.places[self.offsets[index]] if index >= 0 else None
        return place if place is not None and operand.hi <= place.offset + (1 << place.log2_size) else None

    # Within a chain

    def _within(self, chain: range) -> None:
        """Gives buffers to what lives in `chain` only, and lets its last output take over its head's memory."""
        if len(chain) == 1:
            return
        last = chain[-1]
        busy: dict[int, int] = {}  # buffer -> the last step that reads it
        for i in chain:
            step = self.steps[i]
            place = self._place(step.operands[0])
            if place is None or not self._is_local(place, chain) or step.opcode not in ELEMENTWISE:
                continue
            place.buffer = self._free_buffer(busy, i)
            busy[place.buffer] = max((at for at, *_ in place.reads), default=i)
        head, end = self._place(self.steps[chain.start].operands[0]), self._place(self.steps[last].operands[0])
        if head is None or end is None or end.buffer is not None or head.buffer is not None:
            return
        if (
            self._is_local(head, chain)
            and (end.born, len(end.writes), end.used, end.needs_zeros()) == (last, 1, head.used, False)
            and self._spot(end, last) == self._spot(head, chain.start)
        ):
            end.shares = head
            if any(at == last for at, *_ in head.reads):
                # WHY a detour: kernels may assume that what they read and what they write lie apart.
                end.buffer = self._free_buffer(busy, last)

    def _is_local(self, place: _Place, chain: range) -> bool:
        """Whether all that ever happens to `place` is one write in `chain`, and later reads of just what that wrote."""
        if len(place.writes) != 1 or place.freed not in chain:
            return False
        written, lo, hi, _ = place.writes[0]
        # WHY the extents too: beside what was written lie zeros, which a buffer does not have.
        return written in chain and all(at > written and (begin, end) == (lo, hi) for at, begin, end in place.reads)

    def _free_buffer(self, busy: Mapping[int, int], step: int) -> int:
        number = next(n for n in range(len(busy) + 1) if busy.get(n, -1) < step)
        self.buffers = max(self.buffers, number + 1)
        return number

    def _spot(self, place: _Place, step: int) -> tuple[int, int]:
        """Where in its block a step's output begins, and its elements' width."""
        out = self.steps[step].operands[0]
        return out.at - place.offset, out.width

    def _copy_back(self, chain: range) -> bytes | None:
        """The step that brings a chain's result from its buffer to its place, if it has one."""
        last = self.steps[chain[-1]]
        place = self._place(last.operands[0])
        if place is None or place.buffer is None or place.shares is None:
            return None
        row = np.zeros(1, RECORD)
        row["opcode"], row["rank"], row["n_in"], row["hi"] = COPY, 1, 1, last.count
        row["dtype_out"] = row["dtypes_in"][0, 0] = np.frombuffer(last.raw, RECORD)["dtype_out"][0]
        row["body"][0, 0] = last.count
        row["body"][0, [8, 16]] = 1
        row["out"] = IN_WORKSPACE | (place.shares.workspace + last.operands[0].at - place.offset)
        row["inputs"][0, 0] = IN_BUFFER | place.buffer
        return row.tobytes()

    # Parts of larger tensors

    def _make_in_place(self, chain: range) -> bool:
        """
        Whether `chain` is a copy into a part of a larger tensor that can be left out: what it copies is made there.

        All of the copied place is written once, at once, and read by nothing else; nothing else writes that part of the
        larger one, and nothing reads of that before the copy would have been made.
        """
        step = self.steps[chain.start]
        if len(chain) != 1 or step.opcode != COPY or not step.whole or step.packed != [True, True]:
            return False
        to, of = step.operands
        source, target = self._place(of), self._place(to)
        if source is None or target is None or of.width != to.width or of.hi - of.lo != to.hi - to.lo:
            return False
        owner = source.shares or source
        if (
            source.reads != [(chain.start, of.lo, of.hi)]
            or [(lo, hi, dense) for _, lo, hi, dense in source.writes] != [(of.lo, of.hi, True)]
            or (of.lo, of.at, of.hi) != (source.offset, source.offset, source.offset + source.used)
            or (owner.offset != source.offset and owner.used != source.used)
            or (source.buffer is not None and source.shares is None)
            or any(place.buffer is not None or place.within for place in (owner, target))
            or target.shares is not None
            or owner.offset in self.wholes
            or len(target.writes) > MOST_PARTS
        ):
            return False
        others = [(lo, hi) for at, lo, hi, _ in target.writes if at != chain.start]
        if (
            any(lo < to.hi and to.lo < hi for lo, hi in others)
            or any(at <= chain.start and lo < to.hi and to.lo < hi for at, lo, hi in target.reads)
            or target.needs_zeros()
            or owner.needs_zeros()
            or owner is target
        ):
            return False
        self.wholes.add(target.offset)
        owner.within = target, to.at - target.offset
        return True

    # Places

    def _lay_out(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> int:
        """Gives every block its place in the workspace for as long as it lives; answers the workspace's size."""
        spans: dict[int, tuple[int, int]] = {}
        owners: dict[int, _Place] = {}
        for place in self.places.values():
            if not place.used or (place.buffer is not None and place.shares is None):
                continue
            owner = place.shares or place
            owner = owner.within[0] if owner.within else owner
            owners[owner.offset] = owner
            begin, end = spans.get(owner.offset, (len(starts), -1))
            spans[owner.offset] = min(begin, starts[place.born]), max(end, ends[place.freed])
        room = _Room()
        alive: list[tuple[int, int, int]] = []  # (end, offset, size)
        for key in sorted(owners, key=lambda key: spans[key]):
            begin, end = spans[key]
            for gone in [entry for entry in alive if entry[0] < begin]:
                alive.remove(gone)
                room.give_back(*gone[1:])
            size = -(-owners[key].used // _ALIGNMENT) * _ALIGNMENT
            owners[key].workspace = room.take(size)
            alive.append((end, owners[key].workspace, size))
        for place in self.places.values():
            if place.within is not None:
                place.workspace = place.within[0].workspace + place.within[1]
        for place in self.places.values():
            if place.shares is not None:
                place.workspace = place.shares.workspace
        return room.size

    def _put(self, records: bytearray, step: Step) -> None:
        """Appends a step's record, its operands where they lie."""
        raw = bytearray(step.raw)
        for j, operand in enumerate(step.operands):
            at = self._address(step, j, operand)
            raw[0x20 + 8 * j : 0x28 + 8 * j] = at.to_bytes(8, "big")
        records += raw

    def _address(self, step: Step, j: int, operand: Operand) -> int:
        if WEIGHTS.offset <= operand.lo < HEADER.offset:
            return self._weight(step, j, operand)
        place = self._place(operand) if operand.lo >= ARENA.offset else None
        if place is None:
            return operand.at
        if place.buffer is not None and (place.shares is None or j == 0):
            return IN_BUFFER | place.buffer
        return IN_WORKSPACE | (place.workspace + operand.at - place.offset)

    def _weight(self, step: Step, j: int, operand: Operand) -> int:
        """Where the program holds it; in the segment, where that cannot be used as it is."""
        index = bisect_right(self.weight_offsets, operand.lo) - 1
        if index >= 0 and not (step.opcode in WINDOWS and j == 1):  # there fast paths read past the end
            block = self.weights[index]
            data = np.frombuffer(block.data, np.uint8)
            address = data.ctypes.data + operand.at - block.offset
            if operand.hi <= block.offset + data.size and address % operand.width == 0:
                self.keeps.append(data)
                return IN_PROCESS | address
        for block in self.weights:
            if block.offset < operand.hi and block.offset + (1 << block.log2_size) > operand.lo:
                self.loads[block.offset] = block
        return operand.at

    def _written(self) -> Iterator[tuple[int, int]]:
        for step in self.steps:
            out = step.operands[0]
            if out.lo < ARENA.offset or self._place(out) is None:
                yield out.lo, out.hi

    def _repeats(self) -> bool:
        """Whether nothing is read of what stays before this run has written it; which bytes it writes never varies."""
        covered: list[tuple[int, int]] = []
        for step in self.steps:
            stay = [j for j, operand in enumerate(step.operands) if operand.lo >= OUTPUT.offset]
            stay = [j for j in stay if step.operands[j].lo < ARENA.offset or self._place(step.operands[j]) is None]
            for j in stay:
                operand = step.operands[j]
                if (j or step.opcode == SCATTER) and not any(
                    lo <= operand.lo and operand.hi <= hi for lo, hi in covered
                ):
                    return False
            if 0 in stay and step.dense:
                covered = _joined([*covered, (step.operands[0].lo, step.operands[0].hi)])
                if len(covered) > MOST_PARTS:
                    return False
        return True


def _chains(steps: Sequence[Step]) -> Iterator[range]:
    """All steps, in their order, as chains of one or more."""
    first = 0
    while first < len(steps):
        end = first + 1
        if steps[first].whole and steps[first].packed[0] and steps[first].opcode != SCATTER:
            while end < len(steps) and end - first < LONGEST_CHAIN and _follows(steps[first:end], steps[end]):
                end += 1
        yield range(first, end)
        first = end


def _follows(chain: Sequence[Step], step: Step) -> bool:
    """
    Whether `step` makes element i from elements i of what `chain` makes, and disturbs nothing that the chain reads.

    So stretches may be made one after another, each by all steps, and by different threads.
    """
    out = step.operands[0]
    if step.opcode not in ELEMENTWISE or not step.whole or not step.packed[0] or step.count != chain[0].count:
        return False
    reads = False
    for earlier in chain:
        if any(_meet(out, other) for other in earlier.operands):
            return False
        made = earlier.operands[0]
        for operand, packed in zip(step.operands[1:], step.packed[1:], strict=True):
            if _meet(operand, made):
                if not packed or (operand.at, operand.width) != (made.at, made.width):
                    return False
                reads = True
    return reads


def _meet(one: Operand, other: Operand) -> bool:
    return one.lo < other.hi and other.lo < one.hi


class _Room:
    """Memory given out and taken back, each time the smallest hole that is large enough."""

    def __init__(self) -> None:
        self.size = 0
        self._holes: list[tuple[int, int]] = []  # (offset, end), ascending, none touching another

    def take(self, size: int) -> int:
        """The offset of `size` bytes."""
        fitting = [(end - offset, offset) for offset, end in self._holes if end - offset >= size]
        if fitting:
            length, offset = min(fitting)
            self._holes.remove((offset, offset + length))
            if length > size:
                self._holes.append((offset + size, offset + length))
                self._holes.sort()
            return offset
        offset = self.size
        if self._holes and self._holes[-1][1] == self.size:
            offset = self._holes.pop()[0]
        self.size = offset + size
        return offset

    def give_back(self, offset: int, size: int) -> None:
        """Makes it a hole again."""
        self._holes = _joined([*self._holes, (offset, offset + size)])


__all__ = ["Schedule", "make_schedule"]
