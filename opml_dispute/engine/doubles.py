"""
Operations of binary64: the steps that the compiler makes of each, and the host's own step in their place.

No kernel computes in binary64, so a program does it with operations on u64, some hundred nodes for a sum
(docs/operators.md, "Binary64"). A processor has one instruction for that. `with_doubles` finds sequences of steps that
are such an operation and puts a step of native/fast/doubles.c in their place. What is such a sequence says a `Pattern`,
which the compiler's side makes by emitting the operation (model/double_patterns.py): every step must be the pattern's,
read what the pattern's reads, and make what nothing outside the sequence reads. So a program that looks almost alike
runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.host_steps import F64, MOST_RANK, HostOperand, View, host_step, packed_view, together
from opml_dispute.engine.node_record import COPY, DOUBLES, RECORD
from opml_dispute.engine.segment import HEADER, WEIGHTS
from opml_dispute.engine.steps import Operand, Step
from opml_dispute.engine.values import Block
from opml_dispute.engine.views import Records, walk_over
from opml_dispute.engine.workspace import places_of
from opml_dispute.primitives import RECORD_BYTES

Bits = npt.NDArray[np.uint64]


class Double(IntEnum):
    """The operations; native/fast/doubles.h has the same numbers."""

    ADD = 1
    SUB = 2
    MUL = 3
    DIV = 4
    MIN = 5
    MAX = 6
    EQ = 7
    LT = 8
    LE = 9
    SQRT = 10
    FLOOR = 11
    CEIL = 12
    TRUNC = 13
    ROUND = 14
    NEG = 15
    ABS = 16
    RELU = 17
    SIGN = 18
    ISNAN = 19
    OF = 20
    """From another type."""
    TO = 21
    """To another type; to u32 by the low bits of int64, to less than 32 bits by those of int32."""
    RISING_KEY = 22
    """Integers in the order of the numbers, a NaN the greatest,"""
    FALLING_KEY = 23
    """or the least."""
    OF_KEY = 24
    RECIPROCAL = 25
    TO_NEAREST = 26
    """To uint32, or an integer of fewer bits: the nearest number of the type."""


@dataclass(frozen=True, slots=True)
class Made:
    """What step number `step` of the pattern makes."""

    step: int


@dataclass(frozen=True, slots=True)
class Given:
    """An operand of the operation: 0 or 1."""

    number: int


@dataclass(frozen=True, slots=True)
class Fixed:
    """A number that is the same whatever the operands."""

    bits: int


@dataclass(frozen=True, slots=True)
class Derived:
    """A number for each number of the operand that is a constant: the row of this number in what `derive` answers."""

    row: int


Reference = Made | Given | Fixed | Derived


@dataclass(frozen=True, slots=True)
class PatternStep:
    """One step of a pattern."""

    kind: bytes
    """What its record says beside places and shapes: the bytes `_KIND` of it."""
    of: int
    """What it depends on: bit 0 for the first operand, bit 1 for the second. The steps of one such set have as many
    elements, and read one another's one by one; those of more than one repeat the others'."""
    reads: tuple[Reference, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Pattern:
    """The steps of an operation."""

    function: Double
    steps: tuple[PatternStep, ...]
    types: tuple[int, ...]
    """Of the operands."""
    known: int | None = None
    """The operand that is a constant, whose bits are row 0 of what `derive` answers."""
    derive: Callable[[Bits], Sequence[npt.NDArray[Any]]] | None = None


_KIND: Final = [0, 1, 3, *range(5, 12), *range(0x90, 0xB0)]
"""Of a record: opcode, inputs, types, immediates."""


def with_doubles(
    records: Records, steps: list[Step], blocks: Sequence[Block], patterns: Callable[[], Sequence[Pattern]]
) -> list[Step]:
    """
    `steps`, in the order of their records, with operations of binary64 in the places of their sequences.

    `blocks` are the program's, `patterns` is asked only for a program that has numbers of binary64. The steps of the
    result are new where they differ, and belong to no place yet.
    """
    rows = np.frombuffer(records.program, np.uint8).reshape(-1, RECORD_BYTES)
    if not (rows[:, 5:12] == F64).any() or places_of(steps) is None:
        return steps
    kinds = np.ascontiguousarray(rows[[step.first for step in steps]][:, _KIND]).view(f"V{len(_KIND)}").reshape(-1)
    different, numbers = np.unique(kinds, return_inverse=True)
    names = {kind.tobytes(): number for number, kind in enumerate(different)}
    found = _Finder(records, steps, blocks)
    by_start: dict[int, list[Pattern]] = {}
    for pattern in patterns():
        for start in _starts(pattern, names, numbers):
            by_start.setdefault(start, []).append(pattern)
    result: list[Step] = []
    done = 0
    for start in sorted(by_start):
        if start < done:
            continue
        for pattern in sorted(by_start[start], key=lambda pattern: -len(pattern.steps)):
            replacement = found.match(pattern, start)
            if replacement is not None:
                result += steps[done:start]
                result += replacement
                done = start + len(pattern.steps)
                break
    return [*result, *steps[done:]]


def _starts(pattern: Pattern, names: Mapping[bytes, int], numbers: npt.NDArray[np.int64]) -> list[int]:
    """Where steps of a pattern's kinds stand after one another."""
    wanted = np.array([names.get(step.kind, -1) for step in pattern.steps])
    count = len(numbers) - len(wanted) + 1
    if count < 1 or (wanted < 0).any():
        return []
    starts = np.flatnonzero(numbers[:count] == wanted[0])
    for place, kind in enumerate(wanted):
        if not starts.size:
            break
        starts = starts[numbers[starts + place] == kind]
    return [int(start) for start in starts]


@dataclass(slots=True)
class _Operand:
    """An operand of an operation that was found."""

    at: int
    lo: int
    hi: int
    view: View


class _Mismatch(Exception):
    """The steps are not the pattern's."""


def _expect(holds: bool) -> None:
    if not holds:
        raise _Mismatch


class _Finder:
    """Compares steps with patterns."""

    def __init__(self, records: Records, steps: list[Step], blocks: Sequence[Block]) -> None:
        self.records, self.steps = records, steps
        self.weights = sorted((b for b in blocks if WEIGHTS.offset <= b.offset < HEADER.offset), key=lambda b: b.offset)
        self._starts = [block.offset for block in self.weights]
        self._same: dict[tuple[int, int], int | None] = {}
        self._views: dict[bytes, list[View]] = {}
        self._derived: dict[tuple[int, int, int, int], bool] = {}

    def match(self, pattern: Pattern, start: int) -> list[Step] | None:
        """The steps in the place of those from `start` on; None if these are not the pattern's."""
        try:
            return _Window(self, pattern, start).replacement()
        except _Mismatch:
            return None

    def view(self, step: Step, j: int) -> View:
        """How operand `j` of a step is walked over."""
        record = self.records.program[RECORD_BYTES * step.first : RECORD_BYTES * (step.first + 1)]
        key = record[2:4] + record[0xB0:0x1F0]
        views = self._views.get(key)
        if views is None:
            row = np.frombuffer(record, RECORD)[0]
            rank = int(row["rank"])
            body = row["body"].tolist()
            views = [
                tuple(walk_over(body[:rank], body[8 * (1 + n) : 8 * (1 + n) + rank])) for n in range(1 + row["n_in"])
            ]
            self._views[key] = views
        return views[j]

    def content(self, lo: int, hi: int, width: int) -> npt.NDArray[Any]:
        """The numbers of weights in [lo, hi), as unsigned integers."""
        number = int(np.searchsorted(self._starts, lo, "right")) - 1
        _expect(number >= 0)
        block = self.weights[number]
        data = np.frombuffer(block.data, np.uint8)[lo - block.offset : hi - block.offset]
        _expect(data.size == hi - lo and block.word_bytes == width)
        return data.view(f"u{width}")

    def same(self, operand: Operand) -> int | None:
        """The bits that all of an operand's numbers have, if it lies among the weights; None if it is anything else."""
        key = operand.lo, operand.hi
        if key not in self._same:
            self._same[key] = None
            if operand.lo >= WEIGHTS.offset and operand.hi <= HEADER.offset:
                content = self.content(operand.lo, operand.hi, operand.width)
                self._same[key] = int(content[0]) if (content == content[0]).all() else None
        return self._same[key]


class _Window:
    """The steps from one on, compared with a pattern."""

    def __init__(self, finder: _Finder, pattern: Pattern, start: int) -> None:
        self.finder, self.pattern, self.start = finder, pattern, start
        self.steps = finder.steps[start : start + len(pattern.steps)]
        self.counts: dict[int, int] = {}
        self.repeats: dict[int, View] = {}  # of what depends on one operand, where it meets the other
        self.given: dict[int, _Operand] = {}
        self.derived: dict[int, _Operand] = {}

    def replacement(self) -> list[Step]:
        """See `_Finder.match`. Raises `_Mismatch`."""
        for step, wanted in zip(self.steps, self.pattern.steps, strict=True):
            _expect(step.whole and step.packed[0])
            _expect(self.counts.setdefault(wanted.of, step.count) == step.count)
            for j, reference in enumerate(wanted.reads, 1):
                self._compare(step, j, wanted.of, reference)
        self._compare_derived()
        end = self.start + len(self.steps)
        for step in self.steps[:-1]:
            place = step.operands[0].place
            _expect(place is not None and len(place.writes) == 1 and self.start <= place.freed < end)
            assert place is not None
            _expect(all(self.start <= at < end for at, *_ in place.reads))
        return self._made()

    def _compare(self, step: Step, j: int, of: int, reference: Reference) -> None:
        operand = step.operands[j]
        if isinstance(reference, Made):
            made, made_of = self.steps[reference.step].operands[0], self.pattern.steps[reference.step].of
            _expect((operand.at, operand.width) == (made.at, made.width))
            if made_of == of:
                _expect(step.packed[j] and operand.hi == made.hi)
                return
            _expect(made.lo <= operand.lo and operand.hi <= made.hi)
            self._repeat(made_of, self.finder.view(step, j))
        elif isinstance(reference, Fixed):
            _expect(self.finder.same(operand) == reference.bits)
        else:
            kept, number = (
                (self.given, reference.number) if isinstance(reference, Given) else (self.derived, reference.row)
            )
            view = self.finder.view(step, j)
            if isinstance(reference, Derived):
                assert self.pattern.known is not None
                self._repeat(1 << self.pattern.known, view)
            found = _Operand(operand.at, operand.lo, operand.hi, view)
            if isinstance(reference, Given) and of != 1 << number:
                found = self._repeated(number, found)
            _expect(kept.setdefault(number, found) == found)

    def _repeated(self, number: int, found: _Operand) -> _Operand:
        """The operand that is read as `found` where it meets the other one, behind the steps that read it alone."""
        _expect(number in self.given)
        given, count = self.given[number], self.counts[1 << number]
        if given.view == packed_view(count):
            self._repeat(1 << number, found.view)
        else:
            _expect(self.repeats.get(1 << number) == packed_view(count) and found.view == given.view)
        return _Operand(found.at, found.lo, found.hi, given.view)

    def _repeat(self, of: int, view: View) -> None:
        _expect(self.repeats.setdefault(of, view) == view)

    def _compare_derived(self) -> None:
        """Whether the constants are what the operation makes of the one that is its operand."""
        if self.pattern.known is None:
            return
        assert self.pattern.derive is not None
        own = self.derived[0]
        key = id(self.pattern), own.lo, own.hi, hash(tuple(sorted((n, o.lo) for n, o in self.derived.items())))
        known = self.finder._derived
        if key not in known:
            bits = self.finder.content(own.lo, own.hi, 8)
            rows = self.pattern.derive(bits)
            known[key] = all(self._holds(number, own, rows[number]) for number in self.derived)
        _expect(known[key])

    def _holds(self, number: int, own: _Operand, row: npt.NDArray[Any]) -> bool:
        operand = self.derived[number]
        width = row.dtype.itemsize
        if (operand.hi - operand.lo) // width != row.size or (operand.at - operand.lo) * 8 != (own.at - own.lo) * width:
            return False
        return bool((self.finder.content(operand.lo, operand.hi, width) == row.view(f"u{width}")).all())

    # The step in their place

    def _made(self) -> list[Step]:
        kept: list[Step] = []
        operands: list[_Operand] = []
        for number in range(len(self.pattern.types)):
            operands.append(self._operand(number, kept))
        count = self.steps[-1].count
        walk = together(count, [operand.view for operand in operands])
        for number in range(len(operands)):
            if (walk is None or len(walk[0]) > MOST_RANK) and not any(self._copies(number) is copy for copy in kept):
                operands[number] = self._operand(number, kept, copied=True)  # as it would have been
                walk = together(count, [operand.view for operand in operands])
        _expect(walk is not None and len(walk[0]) <= MOST_RANK)
        assert walk is not None
        dims, strides = walk
        given = [
            HostOperand(operand.at, operand.lo, operand.hi, dtype, row)
            for operand, dtype, row in zip(operands, self.pattern.types, strides, strict=True)
        ]
        old = [step for step in self.steps if not any(step is copy for copy in kept)]
        frees = [free for copy in kept for free in copy.frees]
        for copy in kept:
            copy.frees = ()
        step = host_step(self.finder.records, DOUBLES, (self.pattern.function,), old, dims, given)
        step.frees = [*frees, *step.frees]
        return [*kept, step]

    def _copies(self, number: int) -> Step | None:
        """The step that copies an operand before anything else reads it, if one does."""
        for k, wanted in enumerate(self.pattern.steps):
            if Given(number) in wanted.reads:
                return self.steps[k] if self.steps[k].opcode == COPY else None
        return None

    def _operand(self, number: int, kept: list[Step], *, copied: bool = False) -> _Operand:
        of = 1 << number
        repeat = self.repeats.get(of) if len(self.pattern.types) > 1 else None
        if number == self.pattern.known:
            return self.derived[0]  # packed, or repeated: no step copies it
        given, packed = self.given[number], packed_view(self.counts[of])
        if repeat is None or repeat == packed:
            if not copied:
                return given
        elif given.view == packed and not copied:
            return _Operand(given.at, given.lo, given.hi, repeat)
        copy = self._copies(number)
        _expect(copy is not None and copy.opcode == COPY)
        assert copy is not None
        kept.append(copy)
        kept.sort(key=lambda step: step.first)
        made = copy.operands[0]
        return _Operand(made.at, made.lo, made.hi, repeat or packed)
