"""
Steps of the host's own: what a schedule puts in the place of steps that native/fast/doubles.h has one operation for.

No program has their opcodes. Each takes the place of neighbouring steps, of which nothing is read elsewhere but what
the last one makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from opml_dispute.engine.node_record import RECORD
from opml_dispute.engine.steps import Operand, Step
from opml_dispute.engine.views import Records, walk_over

MOST_RANK: Final = 8
F32, I64, F64, U64 = 1, 7, 11, 13
"""Numbers of element types."""
WIDTHS: Final = {F32: 4, I64: 8, F64: 8, U64: 8}

View = tuple[tuple[int, int], ...]
"""(size, stride) of the dimensions of a walk over an operand, outermost first."""


@dataclass(frozen=True, slots=True)
class HostOperand:
    """What such a step reads."""

    at: int
    lo: int
    hi: int
    dtype: int
    strides: Sequence[int]


def view_of(records: Records, step: Step, j: int) -> View:
    """How operand `j` of a step is walked over."""
    row = records.one(step.first)
    rank = int(row["rank"])
    body: list[int] = row["body"].tolist()
    return tuple(walk_over(body[:rank], body[8 * (1 + j) : 8 * (1 + j) + rank]))


def packed_view(count: int) -> View:
    """Elements side by side."""
    return ((count, 1),) if count > 1 else ()


def together(count: int, views: Sequence[View]) -> tuple[list[int], list[list[int]]] | None:
    """The dimensions of one walk over all of `views`, of `count` elements each, and the strides of each; or None."""
    left = [list(reversed(view)) or [(1, 0)] for view in views]
    dims: list[int] = []
    rows: list[list[int]] = [[] for _ in views]
    while count > 1:
        sizes = [view[0][0] for view in left]
        size = min(sizes)
        if any(other % size for other in sizes) or size < 2:
            return None
        dims.insert(0, size)
        for view, row in zip(left, rows, strict=True):
            other, stride = view.pop(0)
            row.insert(0, stride)
            if other > size:
                view.insert(0, (other // size, stride * size))
        count //= size
    return dims or [1], [row or [0] for row in rows]


def rows_together(count: int, length: int, views: Sequence[View]) -> tuple[list[int], list[list[int]]] | None:
    """The same, with the numbers of a row of `length` as the last dimension."""
    rows: View = ((count // length, length), (length, 1)) if count > length else ((length, 1),)
    walk = together(count, [*views, rows])
    if walk is None or walk[0][-1] != length or len(walk[0]) > MOST_RANK:
        return None
    return walk[0], walk[1][:-1]


def are_local(steps: Sequence[Step], start: int, end: int) -> bool:
    """Whether what steps [start, end) but the last make is read, and freed, by them alone. ASSUMES `places_of`."""
    inside = range(start, end)
    last = steps[end - 1].operands[0].place
    for step in steps[start : end - 1]:
        place = step.operands[0].place
        if place is None or place is last or place.freed not in inside:
            return False
        if any(at not in inside for at, *_ in place.reads) or any(at not in inside for at, *_ in place.writes):
            return False
    return True


def host_step(
    records: Records,
    opcode: int,
    immediates: Sequence[int],
    old: Sequence[Step],
    dims: Sequence[int],
    operands: Sequence[HostOperand],
    *,
    trailing: int = 0,
    out: Operand | None = None,
    out_strides: Sequence[int] = (),
) -> Step:
    """
    The step in the place of `old`, which makes what the last of them makes, packed.

    The last `trailing` of the dimensions are those of what one output is made of. Where an output is a line of numbers,
    `out` is the packed tensor of them all, and `out_strides` are its strides by those dimensions.
    """
    last, rank = old[-1], len(dims)
    kept = list(dims[: rank - trailing])
    is_of_lines, out, count = out is not None, out or last.operands[0], prod(kept)
    row = np.zeros(1, RECORD)
    row["opcode"], row["rank"], row["n_in"], row["hi"] = opcode, rank, len(operands), count
    row["dtype_out"] = records.one(last.first)["dtype_out"]
    row["imm"][0, : len(immediates)] = immediates
    row["body"][0, :rank] = dims
    to = out_strides or [prod(kept[d + 1 :]) for d in range(len(kept))]
    row["body"][0, 8 : 8 + len(to)] = to
    row["out"] = out.at
    reach = np.zeros_like(records.reach_of(0))
    reach[0] = out.lo, out.hi, out.width
    found, packed = [Operand(out.lo, out.hi, out.width, out.at)], [not is_of_lines]
    for j, operand in enumerate(operands, 1):
        width = WIDTHS[operand.dtype]
        row["dtypes_in"][0, j - 1], row["inputs"][0, j - 1] = operand.dtype, operand.at
        row["body"][0, 8 * (1 + j) : 8 * (1 + j) + rank] = operand.strides
        reach[j] = operand.lo, operand.hi, width
        found.append(Operand(operand.lo, operand.hi, width, operand.at))
        packed.append(not trailing and tuple(walk_over(list(dims), list(operand.strides))) == packed_view(count))
    number = records.add(row, reach)
    places = [step.operands[0].place for step in old[:-1]]
    dropped = {place.offset for place in places if place is not None}
    frees = [free for step in old for free in step.frees if free[0] not in dropped]
    return Step(number, number, opcode, count, True, found, packed, is_of_lines or last.dense, frees)
