"""
The workspace of a schedule: the memory of blocks that are freed during the run.

`places_of` finds those blocks from the steps, with everything that is done to each. `Room` gives out memory for as
long as each of them lives.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from opml_dispute.engine.node_record import SCATTER
from opml_dispute.engine.segment import ARENA
from opml_dispute.engine.steps import Step

MOST_PARTS: Final = 256
"""Of a tensor: one made of more is put together by copying, since looking through them costs their square."""


@dataclass(slots=True)
class Place:
    """A block that is freed during the run, and its place in the workspace."""

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
    shares: Place | None = None
    """The place whose memory this one takes over."""
    within: tuple[Place, int] | None = None
    """The place that this one is a part of, and the bytes between their starts."""
    workspace: int = -1

    @property
    def born(self) -> int:
        """The first step that touches it."""
        return min([step for step, *_ in self.reads] + [step for step, *_ in self.writes], default=self.freed)

    def needs_zeros(self) -> bool:
        """Whether something may be read that was not written before."""
        covered: list[tuple[int, int]] = []
        events = [(step, 1, lo, hi, True) for step, lo, hi in self.reads]
        events += [(step, 2, lo, hi, dense) for step, lo, hi, dense in self.writes]
        for _, kind, lo, hi, dense in sorted(events):
            if kind == 2:
                if dense:
                    covered = joined([*covered, (lo, hi)])
                    if len(covered) > MOST_PARTS:
                        return True  # it may be otherwise, but to find out would take too long
            elif not any(begin <= lo and hi <= end for begin, end in covered):
                return True
        return False


def places_of(steps: list[Step]) -> dict[int, Place] | None:
    """The blocks that are freed during the run, by offset; None if a block is used in another way."""
    places: dict[int, Place] = {}
    for i, step in enumerate(steps):
        for offset, log2_size in step.frees:
            if offset in places:
                return None
            places[offset] = Place(offset, log2_size, i)
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
            operand.place = place
            place.used = max(place.used, operand.hi - place.offset)
            if j == 0:
                place.writes.append((i, operand.lo, operand.hi, step.dense))
            if j > 0 or step.opcode == SCATTER:
                place.reads.append((i, operand.lo, operand.hi))
    return places


def joined(extents: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in as few extents as there can be."""
    found: list[tuple[int, int]] = []
    for lo, hi in sorted(extents):
        if found and lo <= found[-1][1]:
            found[-1] = (found[-1][0], max(hi, found[-1][1]))
        else:
            found.append((lo, hi))
    return found


class Room:
    """Memory given out and taken back, each time the smallest hole that is large enough, of these the first."""

    def __init__(self) -> None:
        self.size = 0
        # An untrusted program may leave as many holes as it has nodes, so none of this looks at all of them.
        self._ends: dict[int, int] = {}
        """By each hole's offset; none touches another."""
        self._offsets: dict[int, int] = {}
        """By each hole's end."""
        self._by_length: list[tuple[int, int]] = []
        """(bytes, offset), ascending."""

    def take(self, size: int) -> int:
        """The offset of `size` bytes."""
        index = bisect_left(self._by_length, (size, -1))
        if index < len(self._by_length):
            length, offset = self._by_length[index]
            self._fill(offset)
            if length > size:
                self._dig(offset + size, offset + length)
            return offset
        offset = self._offsets.get(self.size, self.size)
        if offset != self.size:
            self._fill(offset)
        self.size = offset + size
        return offset

    def give_back(self, offset: int, size: int) -> None:
        """Free the memory."""
        end = offset + size
        if end in self._ends:
            following, end = end, self._ends[end]
            self._fill(following)
        if offset in self._offsets:
            offset = self._offsets[offset]
            self._fill(offset)
        self._dig(offset, end)

    def _dig(self, offset: int, end: int) -> None:
        self._ends[offset], self._offsets[end] = end, offset
        insort(self._by_length, (end - offset, offset))

    def _fill(self, offset: int) -> None:
        end = self._ends.pop(offset)
        del self._offsets[end]
        del self._by_length[bisect_left(self._by_length, (end - offset, offset))]
