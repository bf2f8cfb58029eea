"""
The steps of a schedule: node records as operations, and which of them run stretch by stretch.

`steps_of` makes one `Step` of the tiles of one operation. `chains_of` finds steps that each make element i from
elements i of the ones before, so that stretches of them may be made one after another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.blocks import ACTIVATION_HEAD, block_elements
from opml_dispute.engine.node_record import (
    ARGREDUCE,
    BLOCK_CONTRACT,
    BLOCK_GATHER,
    BLOCK_QUANTISE,
    CONV,
    COPY,
    ELEMENTWISE,
    FREES_AT,
    HI_AT,
    LO_AT,
    N_FREE_AT,
    RECORD,
    REDUCE,
    SCAN,
    SCATTER,
    TOPK,
    TREE,
    WINDOWS,
)
from opml_dispute.primitives import RECORD_BYTES

if TYPE_CHECKING:
    from opml_dispute.engine.workspace import Place

LONGEST_CHAIN: Final = 15
"""Steps, so that with a copy at the end they are no more than native/inference/schedule.c takes."""

_FREE_BITS: Final = (1 << 56) - 1


@dataclass(slots=True)
class Operand:
    """One operand of a step."""

    lo: int
    """The bytes [lo, hi) of the segment that it may touch."""
    hi: int
    width: int
    at: int
    """Where its element 0 lies."""
    place: Place | None = None
    """The block that it lies in, if that is freed during the run (`workspace.places_of`)."""


@dataclass(slots=True)
class Step:
    """An operation: a record, or several that are tiles of one range."""

    first: int
    """The node with the first of its records, or the number of one that no program has (`views`)."""
    last: int
    """The node with the last."""
    opcode: int
    count: int
    """Outputs in [lo, hi)."""
    whole: bool
    """Whether [lo, hi) is the whole range."""
    operands: list[Operand]
    """The output first."""
    packed: list[bool]
    """By operand: whether it lies packed in the order of the range, so that element i is the range's element i."""
    dense: bool
    """Whether every byte of the output's extent is written."""
    frees: Sequence[tuple[int, int]]
    """(offset, log2 size)."""
    of_view: str = ""
    """If it copies a view for later steps (`views`): "narrow" if it may be cut anywhere, else "wide"."""


def steps_of(records: bytes, extents: npt.NDArray[np.uint64], tiles_end: npt.NDArray[np.int64]) -> Iterator[Step]:
    """The steps of a program: consecutive tiles of one operation are one. See `schedule.make_schedule`."""
    shapes: dict[bytes, _Shape] = {}
    first = 0
    while first < len(tiles_end):
        last = int(tiles_end[first]) - 1
        frees: list[tuple[int, int]] = []
        for node in range(first, last + 1):
            count = records[RECORD_BYTES * node + N_FREE_AT]
            words = struct.unpack_from(f">{count}Q", records, RECORD_BYTES * node + FREES_AT) if count else ()
            frees += [(word & _FREE_BITS, word >> 56) for word in words]
        yield _step(records, first, last, extents[first].tolist(), frees or (), shapes)
        first = last + 1


_OUT_AT, _IMM_AT = 0x20, 0x90
"""Places in a record (docs/segment.md, "Node record")."""
_ADDRESSES = struct.Struct(">7Q")
_WORD = struct.Struct(">Q")

_Shape = tuple[int, int, int, int, list[bool]]
"""Opcode, inputs, outputs, elements written, and which operands lie packed: the same for all records of one shape."""


def _step(
    records: bytes,
    first: int,
    last: int,
    extents: list[list[int]],
    frees: Sequence[tuple[int, int]],
    shapes: dict[bytes, _Shape],
) -> Step:
    base = RECORD_BYTES * first
    key = records[base : base + N_FREE_AT] + records[base + _IMM_AT : base + RECORD_BYTES]
    shape = shapes.get(key)
    if shape is None:
        shape = shapes[key] = _shape(np.frombuffer(records, RECORD, 1, base)[0])
    opcode, n_in, total, elements, packed = shape
    at = _ADDRESSES.unpack_from(records, base + _OUT_AT)
    operands = [
        Operand(lo, hi, width, at[j] if at[j] != lo else lo)  # one number where they are equal: it saves memory
        for j, (lo, hi, width) in enumerate(extents[: 1 + n_in])
    ]
    (lo,) = _WORD.unpack_from(records, base + LO_AT)
    (hi,) = _WORD.unpack_from(records, RECORD_BYTES * last + HI_AT)
    whole = hi - lo == total
    out = operands[0]
    dense = whole and opcode != SCATTER and elements * out.width == out.hi - out.lo
    return Step(first, last, opcode, hi - lo, whole, operands, packed, dense, frees)


def _shape(row: Any) -> _Shape:
    opcode, rank, n_in = int(row["opcode"]), int(row["rank"]), int(row["n_in"])
    return opcode, n_in, *_range(opcode, rank, [int(x) for x in row["body"]], [int(x) for x in row["imm"]], n_in)


def _range(opcode: int, rank: int, body: list[int], imm: list[int], n_in: int) -> tuple[int, int, list[bool]]:
    """A record's outputs, the elements that they write, and which operands lie packed in the range's order."""
    others = [False] * n_in
    if opcode in WINDOWS:
        channels = body[3] if opcode == CONV else body[2]
        outputs = body[1] * channels * prod(body[20 : 20 + body[0]])
        return outputs, outputs, [True, *others]
    if opcode == TREE:
        return body[0], body[0] * body[5], [False, *others]
    if opcode == BLOCK_CONTRACT:
        return body[0] * body[1], body[0] * body[1], [True, *others]
    if opcode in (BLOCK_QUANTISE, BLOCK_GATHER):  # outputs are blocks
        elements = imm[0] if opcode == BLOCK_QUANTISE else block_elements(imm[0])
        blocks = body[0] * (body[2] // elements)
        return blocks, blocks * (elements + (ACTIVATION_HEAD if opcode == BLOCK_QUANTISE else 0)), [False, *others]
    dims = body[:rank]
    kept = rank - (imm[1] if opcode in (REDUCE, ARGREDUCE) else 1 if opcode in (TOPK, SCAN) else 0)
    outputs = prod(dims[:kept])
    if opcode in (TOPK, SCAN):
        return outputs, outputs * (imm[2] if opcode == TOPK else dims[-1]), [False, *others]
    rows = [body[8 * (1 + j) : 8 * (1 + j) + kept] for j in range(1 + n_in if opcode in ELEMENTWISE else 1)]
    packed = [_is_packed(dims[:kept], row) for row in rows]
    return outputs, outputs, packed if opcode in ELEMENTWISE else [*packed, *others]


def _is_packed(dims: list[int], strides: list[int]) -> bool:
    step = 1
    for size, stride in zip(reversed(dims), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def chains_of(steps: Sequence[Step]) -> Iterator[range]:
    """All steps, in their order, as chains of one or more."""
    first = 0
    while first < len(steps):
        end = first + 1
        if steps[first].whole and steps[first].packed[0] and steps[first].opcode != SCATTER:
            while end < len(steps) and end - first < LONGEST_CHAIN and _follows(steps[first:end], steps[end]):
                end += 1
        yield range(first, end)
        first = end


SMALL: Final = 64
"""Outputs of a step that takes less time than a chain that is cut in two."""


def without_interruptions(steps: list[Step]) -> list[Step]:
    """
    The steps in an order in which small ones that have nothing to do with a chain around them come before it.

    What a step of the chain reads is there earlier than it has to be; nothing else changes. What a moved step freed is
    freed where it was.
    """
    order: list[Step] = []
    head = 0  # where in `order` the chain begins
    for step in steps:
        chain = order[head:]
        begun = bool(chain) and chain[0].whole and chain[0].packed[0] and chain[0].opcode in ELEMENTWISE
        if begun and len(chain) < LONGEST_CHAIN and _follows(chain, step):
            order.append(step)
        elif begun and step.count <= SMALL < chain[0].count and _moves_before(chain, step):
            order[-1].frees = [*order[-1].frees, *step.frees]
            step.frees = ()
            order.insert(head, step)
            head += 1
        else:
            head = len(order)
            order.append(step)
    return order


def _moves_before(chain: Sequence[Step], step: Step) -> bool:
    """Whether an elementwise `step` gives the same before all of `chain` as behind it, and so does the chain."""
    if step.opcode not in ELEMENTWISE:
        return False
    for earlier in chain:
        if any(_meet(step.operands[0], other) for other in earlier.operands):
            return False
        if any(_meet(operand, earlier.operands[0]) for operand in step.operands):
            return False
        freed = [(offset, offset + (1 << log2_size)) for offset, log2_size in earlier.frees]
        if any(operand.lo < hi and lo < operand.hi for operand in step.operands for lo, hi in freed):
            return False
    return True


def _follows(chain: Sequence[Step], step: Step) -> bool:
    """
    Whether `step` makes element i from elements i of what `chain` makes, and disturbs nothing that the chain reads.

    So stretches may be made one after another, each by all steps, and by different threads. Behind an elementwise head
    it need not read what the chain makes: a later step may join the two. A copy by itself is better left alone, since
    what it copies may be made in its place; so is that of a wide view, which stretches would cut badly.
    """
    out = step.operands[0]
    if "wide" in (chain[0].of_view, step.of_view):
        return False
    if step.opcode not in ELEMENTWISE or not step.whole or not step.packed[0] or step.count != chain[0].count:
        return False
    reads = chain[0].opcode in ELEMENTWISE and not _stands_alone(chain[0]) and not _stands_alone(step)
    for earlier in chain:
        if any(_meet(out, other) for other in earlier.operands):
            return False
        made = earlier.operands[0]
        for operand, packed in zip(step.operands[1:], step.packed[1:], strict=True):
            if _meet(operand, made):
                if not packed or (operand.at, operand.width) != (made.at, made.width):
                    return False
                reads = True
    return reads


def _stands_alone(step: Step) -> bool:
    return step.opcode == COPY and not step.of_view


def _meet(one: Operand, other: Operand) -> bool:
    return one.lo < other.hi and other.lo < one.hi
