"""
The greatest or least of numbers of binary64, as one step of the host's own.

The compiler makes keys of the numbers, reduces these as integers, and makes a number of the result. Where the keys are
read by nothing else, `with_double_extremes` has the numbers compared as they are: memory is read once, and nothing as
large as the operand is written.
"""

from __future__ import annotations

from math import prod
from typing import Final

from opml_dispute.engine.doubles import Double
from opml_dispute.engine.host_steps import F64, I64, WIDTHS, HostOperand, are_local, host_step, packed_view, view_of
from opml_dispute.engine.node_record import DOUBLE_EXTREMES, DOUBLES, REDUCE
from opml_dispute.engine.steps import Step
from opml_dispute.engine.views import Records
from opml_dispute.engine.workspace import places_of

_STEPS: Final = 3
_OF_REDUCTION: Final = {(3, Double.RISING_KEY): Double.MAX, (4, Double.FALLING_KEY): Double.MIN}
"""What a reduction of keys comes to, by its function and the keys'."""


def with_double_extremes(records: Records, steps: list[Step]) -> list[Step]:
    """`steps` with one step in the place of three, for each extreme."""
    if not any(step.opcode == DOUBLES for step in steps) or places_of(steps) is None:
        return steps
    result: list[Step] = []
    i = 0
    while i < len(steps):
        found = _extreme(records, steps, i)
        result.append(found or steps[i])
        i += _STEPS if found else 1
    return result


def _extreme(records: Records, steps: list[Step], start: int) -> Step | None:
    """The step in the place of those from `start` on; None if they are not those of an extreme."""
    window = steps[start : start + _STEPS]
    if [step.opcode for step in window] != [DOUBLES, REDUCE, DOUBLES] or not all(step.whole for step in window):
        return None
    keys, reduces, numbers = window
    keyed, row, last = (records.one(step.first) for step in window)
    function = _OF_REDUCTION.get((int(row["imm"][0]), Double(int(keyed["imm"][0]))))
    if function is None or int(last["imm"][0]) != Double.OF_KEY or int(row["dtypes_in"][0]) != I64:
        return None
    if not (keys.packed[0] and keys.packed[1] and reduces.packed[0] and numbers.packed[0] and numbers.packed[1]):
        return None
    made, read = keys.operands[0], reduces.operands[1]
    rank, reduced, x = int(row["rank"]), int(row["imm"][1]), keys.operands[1]
    dims, strides = row["body"][:rank].tolist(), row["body"][16 : 16 + rank].tolist()
    if (
        (read.lo, read.hi, prod(dims)) != (made.lo, made.hi, keys.count)
        or numbers.operands[1].at != reduces.operands[0].at
        or numbers.count != reduces.count
        or view_of(records, keys, 1) != packed_view(keys.count)
        or not are_local(steps, start, start + _STEPS)
    ):
        return None
    at = x.at + (read.at - made.at) * WIDTHS[F64] // WIDTHS[I64]
    given = HostOperand(at, x.lo, x.hi, F64, strides)
    return host_step(records, DOUBLE_EXTREMES, (function, reduced), window, dims, [given], trailing=reduced)
