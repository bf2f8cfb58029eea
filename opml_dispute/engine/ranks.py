"""
Ranks of keys among thresholds, as one step of the host's own.

Trees over binary64 compare ranks (model/lower/wide_trees.py): for each feature, how many thresholds are below it and
how many are not above it, the two added up. `with_ranks` finds these eight steps.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

from opml_dispute.engine.host_steps import I64, HostOperand, are_local, host_step, packed_view, rows_together, view_of
from opml_dispute.engine.node_record import BINARY, CAST, RANKS, REDUCE
from opml_dispute.engine.steps import Step
from opml_dispute.engine.views import Records
from opml_dispute.engine.workspace import places_of

_BOOL, _I32, _F32 = 9, 6, 1
_ADD, _LT, _LE, _SUM = 1, 19, 20, 1
_KINDS: Final = (
    (BINARY, _LT, I64, _BOOL), (CAST, 0, _BOOL, _I32), (REDUCE, _SUM, _I32, _I32),
    (BINARY, _LE, I64, _BOOL), (CAST, 0, _BOOL, _I32), (REDUCE, _SUM, _I32, _I32),
    (BINARY, _ADD, _I32, _I32), (CAST, 0, _I32, _F32),
)  # fmt: skip
"""Opcode, first immediate, types of the first input and of the output."""


def with_ranks(records: Records, steps: list[Step]) -> list[Step]:
    """`steps` with one step for each feature's rank."""
    kinds = [_kind(records, step) for step in steps if step.opcode in (BINARY, CAST, REDUCE)]
    if _KINDS[3] not in kinds or places_of(steps) is None:
        return steps
    result: list[Step] = []
    i = 0
    while i < len(steps):
        found = _rank(records, steps, i)
        result.append(found or steps[i])
        i += len(_KINDS) if found else 1
    return result


def _kind(records: Records, step: Step) -> tuple[int, int, int, int]:
    row = records.one(step.first)
    return step.opcode, int(row["imm"][0]), int(row["dtypes_in"][0]), int(row["dtype_out"])


def _rank(records: Records, steps: list[Step], start: int) -> Step | None:
    """The step in the place of those from `start` on; None if they are not those of a rank."""
    end = start + len(_KINDS)
    window = steps[start:end]
    if len(window) < len(_KINDS) or any(
        step.opcode != kind[0] or _kind(records, step) != kind for step, kind in zip(window, _KINDS, strict=True)
    ):
        return None
    below, _, lower, upto, _, upper, total, single = window
    row = records.one(lower.first)
    length = _length(row)
    outputs = below.count // length
    pairs = [(below, window[1], 1), (window[1], lower, 1), (upto, window[4], 1), (window[4], upper, 1),
             (lower, total, 1), (upper, total, 2), (total, single, 1)]  # fmt: skip
    if (
        any(not step.whole or not step.packed[0] for step in window)
        or any(_length(records.one(step.first)) != length or step.count != outputs for step in (lower, upper))
        or {below.count, upto.count} != {length * outputs}
        or {total.count, single.count} != {outputs}
        or any(not _reads(records, reader, j, made) for made, reader, j in pairs)
        or not are_local(steps, start, end)
    ):
        return None
    views = [view_of(records, below, j) for j in (1, 2)]
    same = [
        (a.at, a.lo, a.hi) == (b.at, b.lo, b.hi) for a, b in zip(below.operands[1:], upto.operands[1:], strict=True)
    ]
    if not all(same) or views != [view_of(records, upto, j) for j in (1, 2)]:
        return None
    walk = rows_together(below.count, length, views)
    if walk is None or walk[1][1][-1] != 0:
        return None
    given = [
        HostOperand(operand.at, operand.lo, operand.hi, I64, strides)
        for operand, strides in zip(below.operands[1:], walk[1], strict=True)
    ]
    return host_step(records, RANKS, (0, 1), window, walk[0], given, trailing=1)


def _length(row: Any) -> int:
    """Numbers that a reduction takes for each output."""
    rank, trailing = int(row["rank"]), int(row["imm"][1])
    return prod(row["body"][rank - trailing : rank].tolist())


def _reads(records: Records, step: Step, j: int, made: Step) -> bool:
    """Whether operand `j` of a step is all that another step makes, in the order in which it lies."""
    operand, of = step.operands[j], made.operands[0]
    is_packed = view_of(records, step, j) == packed_view(made.count)
    return (operand.at, operand.hi, operand.width) == (of.at, of.hi, of.width) and is_packed
