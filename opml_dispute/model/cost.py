"""
The bound of a node's VM steps, by the same code that validates records.

`most_steps` asks native/program/steps.c, which host and guest share (docs/segment.md, "Steps"): so the compiler cuts by
the bound that decides.
"""

from __future__ import annotations

from dataclasses import replace

from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.record import Record

UNBOUNDED = 1 << 63
"""More steps than any node may take: of a record that is too large for one node, but can be cut."""


def most_steps(record: Record) -> int:
    """
    VM steps that a node of this record takes, at most; `UNBOUNDED` if it has more work than one node may have.

    0 for a record that is refused however it is cut: the compiler says so for the whole program.
    """
    judged = validate_records(record.pack())
    if judged.status[0] == 0:
        return int(judged.steps[0])
    one_output = replace(record, hi=min(record.lo + 1, record.hi))
    return UNBOUNDED if validate_records(one_output.pack()).status[0] == 0 else 0
