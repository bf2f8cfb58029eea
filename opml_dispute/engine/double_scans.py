"""
Cumulative sums and products of binary64 as one step of the host's own.

The compiler makes one in rounds (model/binary64_sums.py): in round i the numbers of a line from place 2^i on take in
those 2^i places before them, and two copies put what is made behind the first 2^i. `with_double_scans` finds the rounds
among steps in which single operations were found already (`doubles`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from opml_dispute.engine.doubles import Double
from opml_dispute.engine.host_steps import F64, MOST_RANK, WIDTHS, HostOperand, View, host_step, together, view_of
from opml_dispute.engine.node_record import COPY, DOUBLE_SCANS, DOUBLES
from opml_dispute.engine.steps import Step
from opml_dispute.engine.views import Records, walk_over
from opml_dispute.engine.workspace import places_of

_BYTES: Final = WIDTHS[F64]
_ROUND: Final = 3
"""Steps of a round: an operation and two copies."""


def with_double_scans(records: Records, steps: list[Step]) -> list[Step]:
    """`steps` with one step for all rounds of a cumulative sum or product."""
    if not any(step.opcode == DOUBLES for step in steps) or places_of(steps) is None:
        return steps
    result: list[Step] = []
    i = 0
    while i < len(steps):
        found = _Lines.of(records, steps, i)
        if found is None:
            result.append(steps[i])
            i += 1
        else:
            end, step = found
            result.append(step)
            i = end
    return result


@dataclass(slots=True)
class _Lines:
    """A tensor of `outer` x `length` x `inner` numbers, whose lines of `length` are scanned from step `start` on."""

    records: Records
    steps: list[Step]
    start: int
    outer: int
    length: int
    inner: int

    @classmethod
    def of(cls, records: Records, steps: list[Step], start: int) -> tuple[int, Step] | None:
        """The step behind the rounds that begin with one, and the step in their place; None if none do."""
        window = steps[start : start + 2 * _ROUND]
        kinds = [step.opcode for step in window]
        if kinds != [DOUBLES, COPY, COPY] * 2:
            return None
        first, firsts, second = window[0], window[1].count, window[3]
        later, earlier = second.operands[1], second.operands[-1]
        inner = (later.at - earlier.at) // (2 * _BYTES)  # in round 1 they are two places apart
        if inner < 1 or firsts % inner or first.count % firsts or not first.count:
            return None
        lines = cls(records, steps, start, firsts // inner, first.count // firsts + 1, inner)
        end = lines._end()
        return None if end is None else lines._replacement(end)

    def _part(self, count: int) -> View:
        """How `count` neighbouring places of all lines are walked over where the tensor lies packed."""
        strides = [self.length * self.inner, self.inner, 1]
        return tuple(walk_over([self.outer, count, self.inner], strides))

    def _end(self) -> int | None:
        """The step behind the last round; None if a round is not what it has to be."""
        function = self._function(self.start)
        if function not in (Double.ADD, Double.MUL):
            return None
        away, i, at = 1, self.start, None
        while away < self.length:
            if i + _ROUND > len(self.steps) or self._function(i) != function:
                return None
            at = self._joined(i, away, at)
            if at is None:
                return None
            away, i = 2 * away, i + _ROUND
        return i if self._is_local(i) else None

    def _function(self, i: int) -> int:
        step = self.steps[i]
        return int(self.records.one(step.first)["imm"][0]) if step.opcode == DOUBLES else 0

    def _joined(self, i: int, away: int, at: int | None) -> int | None:
        """Where the tensor lies that the round makes of one that lies packed at `at`, or anyhow; None if it is none."""
        made, head, tail = self.steps[i : i + _ROUND]
        rest = self.length - away
        counts = [self.outer * self.inner * size for size in (rest, away, rest)]
        if [head.opcode, tail.opcode] != [COPY, COPY] or [made.count, head.count, tail.count] != counts:
            return None
        if not all(step.whole and all(o.width == _BYTES for o in step.operands) for step in (made, head, tail)):
            return None
        later, earlier = made.operands[1], made.operands[-1]
        if len(made.operands) != 3 or not made.packed[0] or earlier.at != head.operands[1].at:
            return None
        views = [view_of(self.records, made, j) for j in (1, 2)]
        if views[0] != views[1]:
            return None
        if at is None:
            walk = self._walk(views[0])
            if walk is None or view_of(self.records, head, 1) != walk.firsts or later.at - earlier.at != walk.step:
                return None
        elif (
            (earlier.at, later.at) != (at, at + _BYTES * away * self.inner)
            or views[0] != self._part(rest)
            or view_of(self.records, head, 1) != self._part(away)
        ):
            return None
        to = head.operands[0].at
        fits = (
            view_of(self.records, head, 0) == self._part(away)
            and view_of(self.records, tail, 0) == self._part(rest)
            and tail.operands[0].at == to + _BYTES * away * self.inner
            and tail.packed[1]
            and tail.operands[1].at == made.operands[0].at
        )
        return to if fits else None

    def _walk(self, view: View) -> _Walk | None:
        """The walk over all but the last place of each line, taken apart."""
        shape = [self.outer, self.length - 1, self.inner]
        packed = [shape[1] * shape[2], shape[2], 1]
        parts = tuple((size, stride) for size, stride in zip(shape, packed, strict=True) if size > 1)
        walk = together(shape[0] * shape[1] * shape[2], [view, parts])
        if walk is None or len(walk[0]) > MOST_RANK:
            return None
        dims, (strides, places) = walk
        axis = [d for d, place in enumerate(places) if place == self.inner and dims[d] > 1]
        if len(axis) != 1 or dims[axis[0]] != self.length - 1:
            return None
        return _Walk(dims, strides, places, axis[0])

    def _is_local(self, end: int) -> bool:
        """Whether what the rounds make but for the last tensor is read, and freed, by them alone."""
        inside = range(self.start, end)
        last = self.steps[end - 1].operands[0].place
        if last is not None and (last.freed in inside or any(at in inside for at, *_ in last.reads)):
            return False
        for step in self.steps[self.start : end - 2]:  # the last two make the last tensor
            place = step.operands[0].place
            if place is None or place is last or place.freed not in inside:
                return False
            if any(at not in inside for at, *_ in place.reads) or any(at not in inside for at, *_ in place.writes):
                return False
        return True

    def _replacement(self, end: int) -> tuple[int, Step]:
        first, head, tail = self.steps[self.start], self.steps[end - 2], self.steps[end - 1]
        walk = self._walk(view_of(self.records, first, 1))
        assert walk is not None
        later, earlier = first.operands[1:]
        given = HostOperand(
            earlier.at, min(later.lo, earlier.lo), max(later.hi, earlier.hi), F64, walk.lines_last(walk.strides)
        )
        one, other = head.operands[0], tail.operands[0]
        out = replace(one, lo=min(one.lo, other.lo), hi=max(one.hi, other.hi))
        dims = walk.lines_last(walk.dims)
        dims[-1] = self.length
        whole = self.inner * (self.length - 1)  # from one outer place to the next, in the first round
        strides = [place // whole * self.inner * self.length if place >= whole else place for place in walk.places]
        immediates, old = (self._function(self.start), 1), self.steps[self.start : end]
        to = walk.lines_last(strides)
        return end, host_step(
            self.records, DOUBLE_SCANS, immediates, old, dims, [given], trailing=1, out=out, out_strides=to
        )


@dataclass(slots=True)
class _Walk:
    """A walk over a tensor, one dimension of which is that of its lines."""

    dims: list[int]
    strides: list[int]
    places: list[int]
    """Strides where it lies packed."""
    axis: int

    @property
    def step(self) -> int:
        """Bytes from one place of a line to the next."""
        return _BYTES * self.strides[self.axis]

    @property
    def firsts(self) -> View:
        """How the first place of all lines is walked over."""
        dims, strides = self.lines_last(self.dims)[:-1], self.lines_last(self.strides)[:-1]
        return tuple(walk_over(dims, strides))

    def lines_last(self, numbers: list[int]) -> list[int]:
        """One number a dimension, that of the lines' own last."""
        return [*numbers[: self.axis], *numbers[self.axis + 1 :], numbers[self.axis]]
