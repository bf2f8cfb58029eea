"""
Views that are copied before they are read.

A transposed, reversed or thinned-out tensor is no tensor of its own: its readers have strides that say where its
elements lie. Reading it so takes a kernel several times as long as reading what lies side by side, and a softmax or an
activation reads it several times. `with_views_copied` puts a copy before the first of these readers, and makes the
others read that. The copy lies in a block that no program has, and is freed by its last reader; so it is laid out with
the others, in a worker's buffer if all of its readers are steps of one chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.node_record import BINARY, CAST, COPY, ELEMENTWISE, RECORD, REDUCE, SELECT, UNARY
from opml_dispute.engine.segment import LEAST_BLOCK_LOG2
from opml_dispute.engine.steps import Operand, Step, chains_of
from opml_dispute.primitives import RECORD_BYTES

LEAST: Final = 512
"""Views of fewer elements are read where they lie."""
LONG_ROW: Final = 64
"""So are those that have so many elements, or more, side by side."""
NARROW: Final = 8
"""Elements of a row, or between those of a row, that make no transposition of a view (native/fast/move.c)."""
MOST_ALIVE: Final = 16
"""Views that are remembered at a time, so that looking through them does not cost the square of the steps."""

LATER: Final = 8
"""So many steps later than it might be, the copy is freed that a reduction of rows reads: what another tensor of a
normalisation or a softmax is put in its place would keep them from being made some rows at a time (rows.c)."""

_FIRST_BLOCK: Final = 1 << 44
"""Copies lie in blocks from here on, far behind the segment."""
_FROM_VIEWS: Final = frozenset({UNARY, BINARY, SELECT, CAST})
"""Opcodes for whose sake a view is copied."""


class Records:
    """A program's records with their operands' extents, as the judge has them, and further ones that it has not."""

    def __init__(self, program: bytes, extents: npt.NDArray[np.uint64]) -> None:
        self.program = program
        self.count = len(program) // RECORD_BYTES
        """Of the program; the others have the numbers from here on."""
        self.further: list[npt.NDArray[Any]] = []
        self.reach: list[npt.NDArray[np.uint64]] = []
        """The further ones' extents."""
        self._rows = np.frombuffer(program, RECORD)
        self._extents = extents

    def add(self, record: npt.NDArray[Any], reach: npt.NDArray[np.uint64]) -> int:
        """The number of a record that is added: an array of one."""
        self.further.append(record)
        self.reach.append(reach)
        return self.count + len(self.further) - 1

    def one(self, number: int) -> Any:
        """A record, to be changed only if it is a further one."""
        return self._rows[number] if number < self.count else self.further[number - self.count][0]

    def reach_of(self, number: int) -> npt.NDArray[np.uint64]:
        """The same of its extents."""
        return self._extents[number] if number < self.count else self.reach[number - self.count]

    def of(self, numbers: Sequence[int]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Copies of the records of so many numbers, and of their extents."""
        wanted = np.array(numbers, np.int64)
        rows, reach = self._rows[np.minimum(wanted, self.count - 1)], self._extents[np.minimum(wanted, self.count - 1)]
        for place in np.flatnonzero(wanted >= self.count):
            rows[place], reach[place] = self.one(int(wanted[place])), self.reach_of(int(wanted[place]))
        return rows, reach.astype(np.int64)


@dataclass
class _View:
    """A view, and who reads it: (step, operand)."""

    operand: Operand
    readers: list[tuple[int, int]]
    kind: str
    """See `Step.of_view`: a transposition is made in blocks, and not for a stretch of it."""
    pays: bool = False


def with_views_copied(records: Records, steps: list[Step]) -> list[Step]:
    """`steps` with copies of views among them, whose records are added to `records`; readers of views are changed."""
    views = _views_of(records, steps)
    if not views:
        return steps
    heads = {i: chain.start for chain in chains_of(steps) for i in chain}
    before: dict[int, list[Step]] = {}
    at = _FIRST_BLOCK
    for view in views:
        first, _ = view.readers[0]
        # A chain goes on through a copy only if its head is elementwise.
        place = first if steps[heads[first]].opcode in ELEMENTWISE else heads[first]
        copy, log2_size = _copy_of(records, steps, view, at)
        before.setdefault(place, []).append(copy)
        at += 1 << log2_size
    return [each for i, step in enumerate(steps) for each in (*before.get(i, ()), step)]


def _views_of(records: Records, steps: Sequence[Step]) -> list[_View]:
    """The views that are worth a copy, by their first readers."""
    found: list[_View] = []
    alive: dict[tuple[Any, ...], _View] = {}
    for i, step in enumerate(steps):
        if (step.opcode in _FROM_VIEWS or step.opcode == REDUCE) and step.whole and not all(step.packed):
            for j in range(1, len(step.operands)):
                if not step.packed[j]:
                    _note(records, step, i, j, alive, found)
        if alive:
            out = step.operands[0]
            freed = [(offset, offset + (1 << log2_size)) for offset, log2_size in step.frees]
            for key, view in list(alive.items()):
                lo, hi = view.operand.lo, view.operand.hi
                if any(begin < hi and lo < end for begin, end in [(out.lo, out.hi), *freed]):
                    del alive[key]
    return [view for view in found if view.pays]


def _note(
    records: Records, step: Step, i: int, j: int, alive: dict[tuple[Any, ...], _View], found: list[_View]
) -> None:
    """Remembers that step `i` reads its operand `j`, if that is a view."""
    row = records.one(step.first)
    rank = int(row["rank"])
    dims, strides = row["body"][:rank].tolist(), row["body"][8 * (1 + j) : 8 * (1 + j) + rank].tolist()
    lies = walk_over(dims, strides)
    if prod(dims) < LEAST or any(stride == 0 for _, stride in lies) or (len(lies) == 1 and lies[0][1] == 1):
        return
    operand = step.operands[j]
    key = (operand.at, operand.width, *lies)
    view = alive.get(key)
    if view is None:
        while len(alive) >= MOST_ALIVE:
            del alive[next(iter(alive))]
        is_narrow = lies[-1][0] <= NARROW or abs(lies[-1][1]) <= NARROW
        view = alive[key] = _View(operand, [], "narrow" if is_narrow else "wide")
        found.append(view)
    view.readers.append((i, j))
    size, stride = lies[-1]
    if step.opcode in _FROM_VIEWS and step.packed[0] and (stride != 1 or size < LONG_ROW):
        view.pays = True


def walk_over(dims: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """(size, stride) of the dimensions that a walk over an operand has."""
    found: list[tuple[int, int]] = []
    for size, stride in zip(dims, strides, strict=True):
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return found


def _copy_of(records: Records, steps: Sequence[Step], view: _View, at: int) -> tuple[Step, int]:
    """The step that copies a view to a block at `at`, which its readers read from now on; and the block's log2 size."""
    first, j = view.readers[0]
    reader = records.one(steps[first].first)
    rank, dtype = int(reader["rank"]), int(reader["dtypes_in"][j - 1])
    dims = reader["body"][:rank].tolist()
    row = np.zeros(1, RECORD)
    row["opcode"], row["rank"], row["n_in"], row["hi"] = COPY, rank, 1, prod(dims)
    row["dtype_out"] = row["dtypes_in"][0, 0] = dtype
    row["body"][0, :rank] = dims
    row["body"][0, 8 : 8 + rank] = _packed(dims)
    row["body"][0, 16 : 16 + rank] = reader["body"][8 * (1 + j) : 8 * (1 + j) + rank]
    row["out"], row["inputs"][0, 0] = at, view.operand.at
    of = view.operand
    to = Operand(at, at + prod(dims) * of.width, of.width, at)
    reach = np.zeros_like(records.reach_of(0))
    reach[0], reach[1] = (to.lo, to.hi, to.width), (of.lo, of.hi, of.width)
    for i, operand in view.readers:
        _redirect(records, steps[i], operand, to)
    log2_size = max(LEAST_BLOCK_LOG2, (to.hi - to.lo - 1).bit_length())
    freed = view.readers[-1][0]
    if any(steps[i].opcode == REDUCE for i, _ in view.readers):
        freed = min(freed + LATER, len(steps) - 1)
    last = steps[freed]
    last.frees = [*last.frees, (at, log2_size)]
    number = records.add(row, reach)
    operands = [replace(to), replace(of)]
    step = Step(number, number, COPY, prod(dims), True, operands, [True, False], True, (), view.kind)
    return step, log2_size


def _redirect(records: Records, step: Step, j: int, to: Operand) -> None:
    """Has a step read its operand `j` packed, at `to`."""
    if step.first < records.count:
        row = np.array([records.one(step.first)])
        row["lo"], row["hi"], row["n_free"] = 0, step.count, 0
        step.first = step.last = records.add(row, records.reach_of(step.first).copy())
    record = records.one(step.first)
    rank = int(record["rank"])
    record["body"][8 * (1 + j) : 8 * (1 + j) + rank] = _packed(record["body"][:rank].tolist())
    record["inputs"][j - 1] = to.at
    records.reach_of(step.first)[j] = to.lo, to.hi, to.width
    step.operands[j] = replace(to)
    if step.opcode in ELEMENTWISE:
        step.packed = [packed or number == j for number, packed in enumerate(step.packed)]


def _packed(dims: Sequence[int]) -> list[int]:
    return [prod(dims[d + 1 :]) for d in range(len(dims))]
