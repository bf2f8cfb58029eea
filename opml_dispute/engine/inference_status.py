"""
The statuses of failed inferences in words; S_n commits to the status.

Twin: native/program/opcodes.h, `enum inference_status`. Source: docs/segment.md, "Status".
"""

from __future__ import annotations

from typing import Final

_WORDS: Final = {
    1: "bad program: magic, version or node count of its header",
    2: "bad opcode: the node's operation is outside the format",
    3: "bad dtype: an element type that the kernel does not take",
    4: "bad shape: rank, dimension or range, or too much work for one node",
    5: "bad operand: outside its section, misaligned, or overlapping the output",
    6: "bad free: a freed block outside the arena, or misaligned",
    7: "index out of range: an index tensor names an element that is not there",
}


def status_words(status: int) -> str:
    """
    A status of a failed inference, with its meaning.

    >>> status_words(7)
    'status 7 (index out of range: an index tensor names an element that is not there)'
    """
    return f"status {status} ({_WORDS[status]})" if status in _WORDS else f"status {status}"
