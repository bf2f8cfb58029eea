"""
Sums and products of binary64, by pairs or one after another, as one step of the host's own.

The compiler makes a sum by pairs in rounds (model/binary64_sums.py): each adds the even numbers of a row to the odd
ones, and puts an odd last one behind them by two copies. `with_double_sums` finds the rounds among steps in which
single operations were found already (`doubles`), from the first to the one that leaves a number of each row, and the
products that are summed, if nothing else reads them. Sums of what trees weigh are made in order, an operation each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opml_dispute.engine.doubles import Double
from opml_dispute.engine.host_steps import (
    F64,
    MOST_RANK,
    WIDTHS,
    HostOperand,
    View,
    are_local,
    host_step,
    packed_view,
    rows_together,
    view_of,
)
from opml_dispute.engine.node_record import COPY, DOUBLE_SUMS, DOUBLES
from opml_dispute.engine.segment import INPUT, OUTPUT, WEIGHTS
from opml_dispute.engine.steps import Operand, Step
from opml_dispute.engine.views import Records, walk_over
from opml_dispute.engine.workspace import places_of

_BYTES = WIDTHS[F64]
MOST_ROUNDS: Final = 40
"""Of more numbers than a tensor has."""
_BY_PAIRS, _IN_ORDER = 0, 1
"""An immediate of the step."""


def with_double_sums(records: Records, steps: list[Step]) -> list[Step]:
    """`steps` with one step for all rounds of a sum or a product, and for sums in order."""
    if not any(step.opcode == DOUBLES for step in steps) or places_of(steps) is None:
        return steps
    result: list[Step] = []
    i = 0
    while i < len(steps):
        if steps[i].opcode != DOUBLES:
            result.append(steps[i])
            i += 1
            continue
        rounds = _Rounds(records, steps, i)
        end = rounds.end()
        if end:
            products = rounds.products()
            if products is not None:
                result.pop()
            result.append(rounds.replacement(end, products))
        else:
            end, found = _in_order(records, steps, i)
            result.append(found or steps[i])
        i = end
    return result


def _function(records: Records, step: Step) -> int:
    return int(records.one(step.first)["imm"][0]) if step.opcode == DOUBLES else 0


def _in_order(records: Records, steps: list[Step], start: int) -> tuple[int, Step | None]:
    """The sum of equally distant tensors, one after another, that begins with a step, and the step behind it."""
    first = steps[start]
    if _function(records, first) != Double.ADD:
        return start + 1, None
    view, (left, right) = view_of(records, first, 1), first.operands[1:]
    apart, odd_bytes = divmod(right.at - left.at, _BYTES)
    if view != view_of(records, first, 2) or odd_bytes or not first.packed[0]:
        return start + 1, None
    end, at, read = start + 1, right.at, [left, right]
    while end < len(steps) and _function(records, steps[end]) == Double.ADD and steps[end].count == first.count:
        before, (total, other) = steps[end - 1].operands[0], steps[end].operands[1:]
        at += apart * _BYTES
        if (total.at, other.at) != (before.at, at) or not (steps[end].packed[0] and steps[end].packed[1]):
            break
        if view_of(records, steps[end], 2) != view:
            break
        read.append(other)
        end += 1
    while end > start + 1 and not are_local(steps, start, end):
        end -= 1
    terms = end - start + 1
    if terms < 3 or len(view) >= MOST_RANK or not _lie_together(read[:terms]):
        return start + 1, None
    lo, hi = min(each.lo for each in read[:terms]), max(each.hi for each in read[:terms])
    given = HostOperand(left.at, lo, hi, F64, [stride for _, stride in view] + [apart])
    dims = [size for size, _ in view] + [terms]
    immediates = Double.ADD, 1, _IN_ORDER
    return end, host_step(records, DOUBLE_SUMS, immediates, steps[start:end], dims, [given], trailing=1)


def _lie_together(read: Sequence[Operand]) -> bool:
    """
    Whether what is read may be one operand: it lies in one block, or in one section of those without blocks that are
    freed. ASSUMES `places_of`.

    Blocks that are freed need not be as far apart in a run's workspace as they are in the segment; and where sections
    meet, an operand of both would hide that a run reads what an earlier one put into OUTPUT.
    """
    place = read[0].place
    if not all(each.place is place for each in read):
        return False
    lo, hi = min(each.lo for each in read), max(each.hi for each in read)
    sections = (WEIGHTS, INPUT, OUTPUT)
    return place is not None or any(section.offset <= lo and hi <= section.end for section in sections)


@dataclass(slots=True)
class _Rows:
    """Rows of numbers that a round reads."""

    at: int
    row: View
    """How rows are walked over."""
    length: int
    """Numbers of a row."""
    step: int
    """From one of them to the next."""


class _Rounds:
    """The rounds that may begin with a step."""

    def __init__(self, records: Records, steps: list[Step], start: int) -> None:
        self.records, self.steps, self.start = records, steps, start
        self.function = _function(records, steps[start])
        self.rows: _Rows

    def end(self) -> int:
        """The step behind the last round; 0 if there are not two rounds or more that belong together."""
        if self.function not in (Double.ADD, Double.MUL):
            return 0
        for end, count in self._candidates():
            if self._holds(end, count) and are_local(self.steps, self.start, end) and _lie_together(self._read()):
                self.last = end
                return end
        return 0

    def _candidates(self) -> list[tuple[int, int]]:
        """Where the rounds may end, and how many rows there are then: the last end first."""
        found: list[tuple[int, int]] = []
        i, before = self.start, 1 << 62
        while (
            i < len(self.steps)
            and _function(self.records, self.steps[i]) == self.function
            and self.steps[i].count <= before
        ):
            if len(found) == MOST_ROUNDS:
                break
            before = self.steps[i].count
            found.append((i + 1, before))
            i += 3 if i + 2 < len(self.steps) and self.steps[i + 1].opcode == self.steps[i + 2].opcode == COPY else 1
        return [pair for pair in reversed(found) if pair[0] - self.start > 1]

    def _view(self, i: int, j: int) -> View:
        return view_of(self.records, self.steps[i], j)

    def _holds(self, end: int, count: int) -> bool:
        """Whether steps up to `end` leave one number of each of `count` rows."""
        first = self.steps[self.start]
        pairs, rest = divmod(first.count, count)
        left, right = first.operands[1:]
        step, odd_bytes = divmod(right.at - left.at, _BYTES)
        row = _without(self._view(self.start, 1), pairs, 2 * step)
        if rest or odd_bytes or row is None:
            return False
        joins = end > self.start + 1 and self.steps[self.start + 1].opcode == COPY
        self.rows = _Rows(left.at, row, 2 * pairs + joins, step)
        rows, i = self.rows, self.start
        while i < end:
            if not self._is_round(i, rows, count):
                return False
            made, pairs, i = self.steps[i].operands[0], rows.length // 2, i + 1
            width = pairs + rows.length % 2
            if rows.length % 2:
                joined = self._joined(i, rows, made, count) if i + 2 <= end else None
                if joined is None:
                    return False
                made, i = joined, i + 2
            rows = _Rows(made.at, tuple(walk_over([count], [width])), width, 1)
        return rows.length == 1 and len(row) < MOST_RANK

    def _is_round(self, i: int, rows: _Rows, count: int) -> bool:
        """Whether step `i` joins the even numbers of rows with the odd ones."""
        pairs = rows.length // 2
        step = self.steps[i]
        if _function(self.records, self.steps[i]) != self.function or step.count != pairs * count or not step.packed[0]:
            return False
        view = _with(rows.row, pairs, 2 * rows.step)
        left, right = step.operands[1:]
        return (
            view == self._view(i, 1) == self._view(i, 2)
            and (left.at, right.at) == (rows.at, rows.at + _BYTES * rows.step)
            and left.width == right.width == _BYTES
        )

    def _joined(self, i: int, rows: _Rows, made: Operand, count: int) -> Operand | None:
        """What two copies make of a round's sums and of the last numbers of its rows, which stand alone."""
        one, other = self.steps[i : i + 2]
        if one.opcode != COPY or other.opcode != COPY or not (one.whole and other.whole):
            return None
        pairs = rows.length // 2
        to, lasts = one.operands[0], rows.at + _BYTES * rows.step * (rows.length - 1)
        width = pairs + 1
        fits = (
            (one.count, other.count) == (count * pairs, count)
            and (one.operands[1].at, self._view(i, 1)) == (made.at, packed_view(count * pairs))
            and self._view(i, 0) == tuple(walk_over([count, pairs], [width, 1]))
            and (other.operands[0].at, self._view(i + 1, 0))
            == (to.at + _BYTES * pairs, tuple(walk_over([count], [width])))
            and (other.operands[1].at, self._view(i + 1, 1)) == (lasts, rows.row)
            and all(operand.width == _BYTES for step in (one, other) for operand in step.operands)
        )
        return to if fits else None

    def _read(self) -> list[Operand]:
        """The even numbers and the odd ones; and the last of a row that has no other."""
        alone = [self.steps[self.start + 2].operands[1]] if self.rows.length % 2 else []
        return self.steps[self.start].operands[1:] + alone

    def products(self) -> Step | None:
        """The step before the rounds, if it makes the products that they sum, packed, and for them alone."""
        rows, place = self.rows, self.start - 1
        if place < 0 or self.function != Double.ADD or _function(self.records, self.steps[place]) != Double.MUL:
            return None
        made = self.steps[place]
        packed = tuple(walk_over([made.count // rows.length], [rows.length]))
        if (rows.at, rows.row, rows.step) != (made.operands[0].at, packed, 1) or self._walk(made) is None:
            return None
        return made if are_local(self.steps, place, self.last) else None

    def _walk(self, products: Step) -> tuple[list[int], list[list[int]]] | None:
        views = [view_of(self.records, products, j) for j in (1, 2)]
        return rows_together(products.count, self.rows.length, views)

    def replacement(self, end: int, products: Step | None) -> Step:
        """The step in the place of those up to `end`, and of `products`."""
        rows = self.rows
        immediates = self.function, 1, _BY_PAIRS
        if products is None:
            read = self._read()
            lo, hi = min(each.lo for each in read), max(each.hi for each in read)
            dims = [size for size, _ in rows.row] + [rows.length]
            given = [HostOperand(rows.at, lo, hi, F64, [stride for _, stride in rows.row] + [rows.step])]
            old = self.steps[self.start : end]
        else:
            walk = self._walk(products)
            assert walk is not None
            dims, strides = walk
            given = [
                HostOperand(operand.at, operand.lo, operand.hi, F64, row)
                for operand, row in zip(products.operands[1:], strides, strict=True)
            ]
            old = self.steps[self.start - 1 : end]
        return host_step(self.records, DOUBLE_SUMS, immediates, old, dims, given, trailing=1)


def _with(row: View, count: int, stride: int) -> View:
    """A walk over `count` numbers of each row."""
    whole = [*row, (count, stride)]
    return tuple(walk_over([size for size, _ in whole], [stride for _, stride in whole]))


def _without(view: View, count: int, stride: int) -> View | None:
    """The walk over rows of a walk over `count` numbers of each; None if it is no such walk."""
    if count == 1:
        return view
    if not view:
        return None
    size, apart = view[-1]
    if apart != stride or size % count:
        return None
    return view[:-1] if size == count else (*view[:-1], (size // count, stride * count))
