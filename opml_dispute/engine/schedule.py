"""
The schedule: how an inference runs from its first state to its last when no state between them is needed.

S_t ties every node to blocks of its own, which are fresh when it begins and zero again when they are freed. A run that
needs only S_n can do without them: only INPUT, OUTPUT, the header and blocks that are never freed are part of it. So

1. tiles of one operation are one step (`steps`), and so are the nodes of one of binary64 (`doubles`);
2. a chain of steps that each make element i from elements i runs stretch by stretch (`steps.chains_of`); what lives
   within a chain only never leaves a worker's buffer; a small step that only interrupts a chain comes before it
   (`steps.without_interruptions`);
3. blocks that are freed do not lie in ARENA but share a small workspace (`workspace`), and weights are read where the
   program holds them, or, if often, from copies in large pages (`large_pages`);
4. chains that look at the same rows, as those of a normalisation, are made some rows at a time
   (native/inference/rows.c);
5. a view, whose elements do not lie side by side, is copied before it is read (`views`);
6. a tensor that is only copied into a larger one, as in a concatenation, is computed there at once (`_make_in_place`).

The kernels and their order within each output are the same, and so is every bit. `make_schedule` takes only programs
for which that can be seen from the records: no block may be touched after it is freed, none freed twice, none in parts.
For the others it answers None, and they run node by node; so does a run in which a node fails, from the start.

native/inference/schedule.c runs the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.addresses import IN_BUFFER, IN_WORKSPACE, addresses_of
from opml_dispute.engine.double_extremes import with_double_extremes
from opml_dispute.engine.double_scans import with_double_scans
from opml_dispute.engine.double_sums import with_double_sums
from opml_dispute.engine.doubles import Pattern, with_doubles
from opml_dispute.engine.large_pages import Copy
from opml_dispute.engine.node_record import COPY, ELEMENTWISE, RECORD, SCATTER, starts_well
from opml_dispute.engine.ranks import with_ranks
from opml_dispute.engine.segment import ARENA, OUTPUT, WEIGHTS
from opml_dispute.engine.steps import Step, chains_of, steps_of, without_interruptions
from opml_dispute.engine.values import Block
from opml_dispute.engine.views import Records, with_views_copied
from opml_dispute.engine.workspace import MOST_PARTS, Place, Room, joined, places_of
from opml_dispute.primitives import RECORD_BYTES

MOST_STEPS: Final = 1 << 18
"""Programs of more are run node by node: what planning costs here grows with them."""

_ALIGNMENT: Final = 64
_SMALL_BYTES: Final = 1 << 15
"""Blocks of at most so many do not take over the memory of larger ones: with a number for each row where rows were,
chains that look at the same rows could not be made together."""
_MOST_READS: Final = 127
"""So many reads, or more, count as this many."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """The input of native/inference/schedule.c."""

    steps: npt.NDArray[np.uint64]
    """[steps][the number of a record, one past its last output, the operands' addresses]: see `Schedule.records`."""
    records: bytes
    """Those of the program, which the first numbers name."""
    copies: bytes
    """Further records, with the numbers behind: those that copy views and read them, and those that bring results from
    buffers to their places."""
    chained: bytes
    """A byte a step: bit 0 if it runs with the one before it; the others as `_Planner._reads`."""
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
    weight_copies: tuple[Copy, ...]
    """Those of it that must be filled before a run (`large_pages.fill`)."""


def make_schedule(
    records: bytes,
    extents: npt.NDArray[np.uint64],
    tiles_end: npt.NDArray[np.int64],
    blocks: Sequence[Block],
    double_patterns: Callable[[], Sequence[Pattern]],
) -> Schedule | None:
    """
    A schedule for records that are all good (`inference.judge`); None where none can be shown to be right.

    `extents` are the judge's; `tiles_end[i]` the first node after i that does not go on with its range; `blocks` the
    program and its weights; `double_patterns` are asked for where there are numbers of binary64.
    """
    count = len(records) // RECORD_BYTES
    if not 0 < np.unique(tiles_end).size <= MOST_STEPS or not starts_well(blocks[0], count):
        return None
    nodes = Records(records, extents)
    in_order = with_doubles(nodes, list(steps_of(records, extents, tiles_end)), blocks, double_patterns)
    for with_host_steps in (with_double_scans, with_double_sums, with_double_extremes, with_ranks):
        in_order = with_host_steps(nodes, in_order)
    steps = without_interruptions(in_order)
    places = places_of(steps)
    if places is None:
        return None
    with_copies = with_views_copied(nodes, steps)
    if len(with_copies) > len(steps):
        steps, places = with_copies, places_of(with_copies)
        if places is None:
            return None
    weights = sorted((b for b in blocks if b.offset >= WEIGHTS.offset), key=lambda block: block.offset)
    return _Planner(nodes, steps, places).schedule(weights)


class _Planner:
    """Makes a schedule."""

    def __init__(self, records: Records, steps: list[Step], places: dict[int, Place]) -> None:
        self.records = records
        self.steps, self.places = steps, places
        self.wholes: set[int] = set()  # places that have parts made in them
        self.copies = bytearray(b"".join(row.tobytes() for row in records.further))
        self.buffers = 0

    def schedule(self, weights: Sequence[Block]) -> Schedule:
        """See `make_schedule`; `weights` ascend."""
        chains = list(chains_of(self.steps))
        ends = {i: chain.stop - 1 for chain in chains for i in chain}
        starts = {i: chain.start for chain in chains for i in chain}
        for chain in chains:
            self._within(chain)
        chains = [chain for chain in chains if not self._make_in_place(chain)]
        workspace_bytes = self._lay_out(starts, ends)
        unclean: dict[int, list[Place]] = {}
        for place in self.places.values():
            if place.workspace >= 0 and place.shares is None and place.within is None and place.needs_zeros():
                unclean.setdefault(starts[place.born], []).append(place)
        clearings: list[tuple[int, int, int]] = []
        order: list[int] = []  # steps, and the numbers of copies less what there are of them
        chained = bytearray()
        for chain in chains:
            clearings += [(len(chained), place.workspace, place.used) for place in unclean.get(chain.start, ())]
            order += chain
            chained += bytes((i != chain.start) | self._reads(i) << 1 for i in chain)
            if self._copy_back(chain):
                order.append(-len(self.copies) // RECORD_BYTES)
                chained.append(1)
        found = addresses_of(*self.records.of([self.steps[i].first for i in order if i >= 0]), self.places, weights)
        return Schedule(
            self._rows(order, found.at),
            self.records.program,
            bytes(self.copies),
            bytes(chained),
            np.array(clearings, np.uint64).reshape(-1, 3),
            workspace_bytes,
            self.buffers,
            found.loads,
            tuple(self._written()),
            self._repeats(),
            found.keeps,
            found.copies,
        )

    def _rows(self, order: Sequence[int], at: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """`Schedule.steps`: those of `order`, with the addresses `at` of those that are no copies."""
        rows = np.zeros((len(order), 2 + at.shape[1]), np.int64)
        numbers = np.array(order, np.int64)
        ours, copied = np.flatnonzero(numbers >= 0), np.flatnonzero(numbers < 0)
        rows[ours, 0] = [self.steps[i].first for i in numbers[ours]]
        rows[ours, 1] = self.records.of([self.steps[i].last for i in numbers[ours]])[0]["hi"]
        rows[ours, 2:] = at
        copies = np.frombuffer(self.copies, RECORD)[-numbers[copied] - 1]
        rows[copied, 0] = self.records.count - numbers[copied] - 1
        rows[copied, 1], rows[copied, 2] = copies["hi"], copies["out"]
        rows[copied, 3:] = copies["inputs"]
        return rows.view(np.uint64)

    # Within a chain

    def _within(self, chain: range) -> None:
        """Gives buffers to what lives in `chain` only, and lets its last output take over its head's memory."""
        if len(chain) == 1:
            return
        last = chain[-1]
        busy: dict[int, int] = {}  # buffer -> the last step that reads it
        for i in chain:
            step = self.steps[i]
            place = step.operands[0].place
            if place is None or not self._is_local(place, chain) or step.opcode not in ELEMENTWISE:
                continue
            place.buffer = self._free_buffer(busy, i)
            busy[place.buffer] = max((at for at, *_ in place.reads), default=i)
        head, end = self.steps[chain.start].operands[0].place, self.steps[last].operands[0].place
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

    def _is_local(self, place: Place, chain: range) -> bool:
        """Whether all that ever happens to `place` is one write in `chain`, and later reads of just what that wrote."""
        if len(place.writes) != 1 or place.freed not in chain:
            return False
        written, lo, hi, _ = place.writes[0]
        # WHY the extents too: beside what was written lie zeros, which a buffer does not have.
        return written in chain and all(at > written and (begin, end) == (lo, hi) for at, begin, end in place.reads)

    def _reads(self, step: int) -> int:
        """How many later steps read the output of `step`, each as a whole, before it is gone; 0 if others may."""
        place = self.steps[step].operands[0].place
        if place is None or place.buffer is not None or place.within is not None or len(place.writes) != 1:
            return 0
        written, lo, hi, _ = place.writes[0]
        whole = all(at > written and (begin, end) == (lo, hi) for at, begin, end in place.reads)
        return min(len(place.reads), _MOST_READS) if whole else 0

    def _free_buffer(self, busy: Mapping[int, int], step: int) -> int:
        number = next(n for n in range(len(busy) + 1) if busy.get(n, -1) < step)
        self.buffers = max(self.buffers, number + 1)
        return number

    def _spot(self, place: Place, step: int) -> tuple[int, int]:
        """Where in its block a step's output begins, and its elements' width."""
        out = self.steps[step].operands[0]
        return out.at - place.offset, out.width

    def _copy_back(self, chain: range) -> bool:
        """Whether a chain's result has to be brought from its buffer to its place; then `copies` gets that record."""
        last = self.steps[chain[-1]]
        place = last.operands[0].place
        if place is None or place.buffer is None or place.shares is None:
            return False
        row = np.zeros(1, RECORD)
        row["opcode"], row["rank"], row["n_in"], row["hi"] = COPY, 1, 1, last.count
        row["dtype_out"] = row["dtypes_in"][0, 0] = self.records.one(last.first)["dtype_out"]
        row["body"][0, 0] = last.count
        row["body"][0, [8, 16]] = 1
        row["out"] = IN_WORKSPACE | (place.shares.workspace + last.operands[0].at - place.offset)
        row["inputs"][0, 0] = IN_BUFFER | place.buffer
        self.copies += row.tobytes()
        return True

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
        source, target = of.place, to.place
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
        owners: dict[int, Place] = {}
        for place in self.places.values():
            if not place.used or (place.buffer is not None and place.shares is None):
                continue
            owner = place.shares or place
            owner = owner.within[0] if owner.within else owner
            owners[owner.offset] = owner
            begin, end = spans.get(owner.offset, (len(starts), -1))
            spans[owner.offset] = min(begin, starts[place.born]), max(end, ends[place.freed])
        rooms = {False: Room(), True: Room()}  # by whether blocks are small
        alive: list[tuple[int, int, int]] = []  # (end, offset, size), a heap
        for key in sorted(owners, key=lambda key: spans[key]):
            begin, end = spans[key]
            while alive and alive[0][0] < begin:
                _, offset, size = heappop(alive)
                rooms[size <= _SMALL_BYTES].give_back(offset, size)
            size = -(-owners[key].used // _ALIGNMENT) * _ALIGNMENT
            owners[key].workspace = rooms[size <= _SMALL_BYTES].take(size)
            heappush(alive, (end, owners[key].workspace, size))
        for owner in owners.values():
            if owner.used <= _SMALL_BYTES:
                owner.workspace += rooms[False].size
        for place in self.places.values():
            if place.within is not None:
                place.workspace = place.within[0].workspace + place.within[1]
        for place in self.places.values():
            if place.shares is not None:
                place.workspace = place.shares.workspace
        return rooms[False].size + rooms[True].size

    def _written(self) -> Iterator[tuple[int, int]]:
        for step in self.steps:
            out = step.operands[0]
            if out.lo < ARENA.offset or out.place is None:
                yield out.lo, out.hi

    def _repeats(self) -> bool:
        """Whether nothing is read of what stays before this run has written it; which bytes it writes never varies."""
        covered: list[tuple[int, int]] = []
        for step in self.steps:
            stay = [j for j, operand in enumerate(step.operands) if operand.lo >= OUTPUT.offset]
            stay = [j for j in stay if step.operands[j].lo < ARENA.offset or step.operands[j].place is None]
            for j in stay:
                operand = step.operands[j]
                if (j or step.opcode == SCATTER) and not any(
                    lo <= operand.lo and operand.hi <= hi for lo, hi in covered
                ):
                    return False
            if 0 in stay and step.dense:
                covered = joined([*covered, (step.operands[0].lo, step.operands[0].hi)])
                if len(covered) > MOST_PARTS:
                    return False
        return True


__all__ = ["Schedule", "make_schedule"]
