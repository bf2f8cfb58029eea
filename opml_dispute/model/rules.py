"""
The rules that every program must satisfy.

`RULES` is the list; `check` applies it after every compilation, and the tests apply it to random programs. A broken
rule is a bug of the compiler, not of the model, so it is a `BrokenRule`, which keeps its traceback. The last rule is
the segment's own validator of untrusted records (native/program/record.c): no program is made, or read from a file,
that would fail at every run.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.blocks import ACTIVATION_HEAD
from opml_dispute.engine.node_record import FREES_AT, HI_AT, LO_AT, N_FREE_AT
from opml_dispute.engine.segment_memory import OPERANDS, validate_records
from opml_dispute.model.block_formats import BlockFormat
from opml_dispute.model.block_table import STAYS, BlockTable, Column, FreeTable
from opml_dispute.model.derived import PlannedBlock
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.program import Program
from opml_dispute.model.record import (
    MAX_FREES,
    SEC_ARENA,
    SEC_END,
    SEC_HEADER,
    SEC_INPUT,
    SEC_OUTPUT,
    SEC_PROGRAM,
    SEC_WEIGHTS,
    Record,
    signed64,
)
from opml_dispute.model.record_table import NOWHERE, BlockIndex, RecordTable
from opml_dispute.primitives import RECORD_BYTES

BLOCKS = frozenset({Opcode.BLOCK_QUANTISE, Opcode.BLOCK_CONTRACT, Opcode.BLOCK_GATHER})
Flags = npt.NDArray[np.bool_]


class BrokenRule(AssertionError):
    """The compiler made a program that breaks one of its own rules."""


@dataclass(frozen=True)
class View:
    """A program, decoded once for all rules."""

    program: Program
    table: BlockTable
    """The blocks of INPUT, OUTPUT and ARENA."""

    @cached_property
    def records(self) -> RecordTable:
        return RecordTable(self.program.records)

    @cached_property
    def places(self) -> BlockIndex:
        """Every block, weights included, ascending."""
        weights = [(block.offset, block.log2_size, block.word_bytes) for block in self.program.weights]
        return BlockIndex(self.table, weights)

    @cached_property
    def holders(self) -> Column:
        """[nodes][operand]: the number of the block that its first element lies in."""
        return self.places.holder(self.records.at)

    @cached_property
    def rows(self) -> Column:
        """[nodes][operand]: the row in `table` of that block, `NOWHERE` for weights."""
        return np.where(self.holders == NOWHERE, NOWHERE, self.places.row[self.holders])

    def expect_holders(self, operands: Flags) -> None:
        """Raises `BrokenRule` unless each of `operands`, [nodes][the first operands], lies in a block."""
        for node, j in np.argwhere(operands & (self.holders[:, : operands.shape[1]] == NOWHERE))[:1]:
            raise BrokenRule(f"byte {self.records.at[node, j]:#x} lies in no block")

    def is_live(self, operand: int) -> Flags:
        """[nodes]: whether the block of operand 0 is alive when it is written, that of another when it is read."""
        row, node = self.rows[:, operand], np.arange(len(self.rows))
        born, freed = self.table.born_node[row], self.table.freed_node[row]
        begun = born <= node if operand == 0 else born < node
        live: Flags = begun & ((freed == STAYS) | (node <= freed))
        return live


@dataclass(frozen=True)
class Rule:
    """A sentence that holds for every program, and how to find what breaks it."""

    sentence: str
    broken: Callable[[View], Iterator[str]]


_ENDS = {
    "PROGRAM": (SEC_PROGRAM, SEC_WEIGHTS),
    "WEIGHTS": (SEC_WEIGHTS, SEC_HEADER),
    "HEADER": (SEC_HEADER, SEC_INPUT),
    "INPUT": (SEC_INPUT, SEC_OUTPUT),
    "OUTPUT": (SEC_OUTPUT, SEC_ARENA),
    "ARENA": (SEC_ARENA, SEC_END),
}


_NAMES, _STARTS = list(_ENDS), [start for start, _ in _ENDS.values()]


def section_of(offset: int) -> str:
    """The section that byte `offset` of the segment lies in."""
    return _NAMES[bisect_right(_STARTS, offset) - 1]


def _section(offsets: Column) -> Column:
    """The sections of bytes, as numbers of `_NAMES`."""
    return np.searchsorted(_STARTS, offsets, "right") - 1


def _numbers(*names: str) -> list[int]:
    return [_NAMES.index(name) for name in names]


def _unaligned(view: View) -> Iterator[str]:
    places = view.places
    for i in np.flatnonzero((places.log2_size < 6) | (places.offset % places.size_bytes != 0)):
        yield f"block of 2^{places.log2_size[i]} bytes at {places.offset[i]:#x}"


def _overlapping(view: View) -> Iterator[str]:
    offset, end = view.places.offset, view.places.offset + view.places.size_bytes
    for i in np.flatnonzero(end[:-1] > offset[1:]):
        yield f"blocks at {offset[i]:#x} and {offset[i + 1]:#x} ({section_of(int(offset[i]))})"
    limits = np.array([stop for _, stop in _ENDS.values()], np.int64)
    for i in np.flatnonzero(end > limits[_section(offset)]):
        yield f"block at {offset[i]:#x} reaches out of {section_of(int(offset[i]))}"


def _misplaced(view: View) -> Iterator[str]:
    sections = _section(view.records.at)
    writes = ~np.isin(sections[:, 0], _numbers("OUTPUT", "ARENA"))
    for i in np.flatnonzero(writes):
        yield f"node {i} writes to {_NAMES[sections[i, 0]]}"
    reads = view.records.used[:, 1:] & ~np.isin(sections[:, 1:], _numbers("WEIGHTS", "INPUT", "OUTPUT", "ARENA"))
    for i, j in np.argwhere(reads):
        yield f"node {i} reads from {_NAMES[sections[i, 1 + j]]}"


def _far_reaches(view: View) -> Iterator[str]:
    records, used = view.records, view.records.used
    reaches = np.zeros((len(records.shapes), OPERANDS, 2), np.int64)
    for shape, record in enumerate(records.shapes):
        for j, reach in zip(range(1 + len(record.inputs)), _reach(record), strict=True):
            reaches[shape, j] = [min(elements, SEC_END) for elements in reach]  # as far is outside of all blocks
    below, above = np.moveaxis(reaches[records.shape_of], 2, 0)
    first = records.at - below * records.widths
    last = records.at + (above + 1) * records.widths - 1
    holder, other = view.places.holder(first), view.places.holder(last)
    for node, j in np.argwhere(used & ((holder == NOWHERE) | (other == NOWHERE)))[:1]:
        offset = first[node, j] if holder[node, j] == NOWHERE else last[node, j]
        raise BrokenRule(f"byte {offset:#x} lies in no block")
    for node, j in np.argwhere(used & (holder != other)):
        name = records.shapes[records.shape_of[node]].opcode.name
        yield f"node {node} ({name}) takes bytes {first[node, j]:#x} to {last[node, j]:#x}"


def _reach(record: Record) -> list[tuple[int, int]]:
    """How many elements each operand (output first) reaches below and above the one that its offset names."""
    body = record.body
    if record.opcode in (Opcode.CONV, Opcode.POOL, Opcode.POOL_INDEX):
        rank, n, c, m, groups = body[:5]
        inputs, taps, outputs = (prod(body[at : at + rank]) for at in (5, 8, 20))
        if record.opcode is not Opcode.CONV:
            return [(0, n * c * outputs - 1), (0, n * c * inputs - 1)]
        sizes = [n * m * outputs, n * c * inputs, m * c // groups * taps, m]
        return [(0, size - 1) for size in sizes[: 1 + len(record.inputs)]]
    if record.opcode is Opcode.TREE:
        n, features, nodes, trees, weights, targets = body[:6]
        sizes = [n * targets, n * features, 4 * nodes, nodes, trees, weights, weights]
        return [(0, size - 1) for size in sizes]
    if record.opcode in BLOCKS:
        return [(0, size - 1) for size in _block_operands(record)]
    rows = [[*zip(record.dims, record.strides(j), strict=True)] for j in range(1 + len(record.inputs))]
    if record.opcode in (Opcode.REDUCE, Opcode.ARGREDUCE):
        rows[0] = rows[0][: record.rank - record.imm[1]]
    elif record.opcode is Opcode.TOPK:
        rows[0][-1] = (record.imm[2], rows[0][-1][1])
    elif record.opcode is Opcode.CONTRACT:
        for j in (1, 2):
            rows[j].append((record.imm[0], signed64(record.imm[j])))
    elif record.opcode in (Opcode.GATHER, Opcode.SCATTER):
        q = record.imm[0]
        rows[1 if record.opcode is Opcode.GATHER else 0] += zip(body[36 : 36 + q], body[32 : 32 + q], strict=True)
        rows[2].append((q, signed64(record.imm[1])))
    reached = [[(size - 1) * stride for size, stride in row] for row in rows]
    return [(-sum(s for s in steps if s < 0), sum(s for s in steps if s > 0)) for steps in reached]


def _block_operands(record: Record) -> list[int]:
    """Elements of each operand of a kernel of blocks."""
    m, n, k = record.body[:3]
    if record.opcode is Opcode.BLOCK_QUANTISE:
        return [m * (k // record.imm[0]) * (ACTIVATION_HEAD + record.imm[0]), m * k]
    fmt = BlockFormat(record.imm[0])
    if record.opcode is Opcode.BLOCK_CONTRACT:
        return [m * n, m * fmt.activation_bytes(k), n * fmt.row_bytes(k), n][: 1 + len(record.inputs)]
    return [m * k, n * fmt.row_bytes(k), m][: 1 + len(record.inputs)]


def _dead_reads(view: View) -> Iterator[str]:
    view.expect_holders(view.records.used)
    for j in range(1, OPERANDS):
        planned = view.records.used[:, j] & (view.rows[:, j] != NOWHERE)
        for i in np.flatnonzero(planned & ~view.is_live(j)):
            born, freed = (column[view.rows[i, j]] for column in (view.table.born_node, view.table.freed_node))
            until = "the end" if freed == STAYS else freed
            yield f"node {i} reads {view.records.at[i, j]:#x}, live from {born} to {until}"


def _stray_writes(view: View) -> Iterator[str]:
    view.expect_holders(view.records.used[:, :1])
    for i in np.flatnonzero((view.rows[:, 0] == NOWHERE) | ~view.is_live(0)):
        yield f"node {i} writes {view.records.at[i, 0]:#x}, which holds nothing then"


def _unfreed(view: View) -> Iterator[str]:
    table, frees = view.table, FreeTable.of(view.program.records)
    view.expect_holders(view.records.used)
    last = np.full(table.offset.size, -1, np.int64)
    node, _ = np.nonzero(view.records.used)
    touched = view.rows[view.records.used]
    np.maximum.at(last, touched[touched != NOWHERE], node[touched != NOWHERE])
    place = view.places.at(frees.offset)
    row = np.where(place == NOWHERE, NOWHERE, view.places.row[place])
    seen = np.zeros(frees.offset.size, bool)
    seen[np.unique(frees.offset, return_index=True)[1]] = True
    ends_there = (row != NOWHERE) & (table.log2_size[row] == frees.log2_size) & (table.freed_node[row] == frees.node)
    outside = _section(frees.offset) != _NAMES.index("ARENA")
    for k in np.flatnonzero(outside | ~seen | ~ends_there | (last[row] != frees.node)):
        what = f"node {frees.node[k]} frees {frees.offset[k]:#x}"
        if outside[k]:
            yield f"{what} of {section_of(int(frees.offset[k]))}"
        elif not seen[k]:
            yield f"{what}, which was freed before"
        elif not ends_there[k]:
            yield f"{what}, which is no block that ends there"
        else:
            yield f"{what}, which node {last[row[k]]} touches last"
    in_arena = _section(table.offset) == _NAMES.index("ARENA")
    for k in np.flatnonzero(in_arena != np.isin(table.offset, frees.offset)):
        until = "the end" if table.freed_node[k] == STAYS else f"node {table.freed_node[k]}"
        yield f"block {table.offset[k]:#x} of {section_of(int(table.offset[k]))} ends with {until}"


def _untyped(view: View) -> Iterator[str]:
    records, used = view.records, view.records.used
    view.expect_holders(used)
    holders, dtypes = view.holders[used], records.dtypes[used]
    types = np.zeros(view.places.offset.size, np.uint8)
    types[holders[::-1]] = dtypes[::-1]  # of equal indices the last one counts: the first that touches a block
    for spec in (*view.program.inputs, *view.program.outputs):
        types[view.places.at(np.array([spec.offset]))] = spec.dtype
    other_width = view.places.word_bytes[view.holders] != records.widths
    wrong = (records.at % records.widths != 0) | other_width | (types[view.holders] != records.dtypes)
    for i, j in np.argwhere(used & wrong):
        yield f"node {i} takes {DType(records.dtypes[i, j]).name} at {records.at[i, j]:#x}"


def _gaps_in_tiles(view: View) -> Iterator[str]:
    records = view.records
    lo, hi = records.lo, records.hi
    expected = np.where(lo == 0, 0, np.concatenate([[0], hi[:-1]]))
    for i in np.flatnonzero((lo != expected) | (hi <= lo)):
        yield f"node {i} makes [{lo[i]}, {hi[i]}); expected to start at {expected[i]}"
    bytes_of = np.frombuffer(view.program.records, np.uint8).reshape(-1, RECORD_BYTES)
    going_on = np.flatnonzero(lo[1:] != 0) + 1
    for first in range(0, going_on.size, _AT_A_TIME):
        some = going_on[first : first + _AT_A_TIME]
        for i in some[((bytes_of[some] != bytes_of[some - 1]) & _SAME).any(1)]:
            yield f"node {i} goes on with another operation than node {i - 1}"
    totals = np.array(
        [min(prod(r.dims), 1 << 62) if r.rank and r.opcode in _FLAT else -1 for r in records.shapes], np.int64
    )
    total = totals[records.shape_of]
    for i in np.flatnonzero(np.concatenate([lo[1:] == 0, [True]]) & (total != -1) & (hi != total)):
        yield f"tiles end with node {i} at {hi[i]} of {total[i]} outputs"


_AT_A_TIME: Final = 4096
"""Nodes whose records are compared at once: a long prompt's tiles are a hundred thousand."""
_SAME: Final = np.array(
    [
        at not in {N_FREE_AT, *range(LO_AT, HI_AT + 8), *range(FREES_AT, FREES_AT + 8 * MAX_FREES)}
        for at in range(RECORD_BYTES)
    ]
)
"""By byte of a record: whether tiles of one operation have it in common."""

_FLAT = {
    Opcode.COPY,
    Opcode.FILL,
    Opcode.UNARY,
    Opcode.BINARY,
    Opcode.SELECT,
    Opcode.CAST,
    Opcode.CONTRACT,
    Opcode.GATHER,
    Opcode.SCATTER,
}
"""Kernels whose outputs are as many as their iteration space."""


def _misnumbered(view: View) -> Iterator[str]:
    program = view.program
    if len(program.records) % RECORD_BYTES or not program.node_count:
        yield f"{len(program.records)} bytes of records"
    operations = int((view.records.lo == 0).sum())
    if len(program.origins) != operations:
        yield f"{len(program.origins)} origins for {operations} operations"


def _refused(view: View) -> Iterator[str]:
    judged = validate_records(view.program.records, view.program.log2_steps)
    for i in judged.status.nonzero()[0]:
        yield f"node {i} is refused with status {judged.status[i]}; its bound is {judged.steps[i]:,} steps"


RULES: Sequence[Rule] = (
    Rule("a program has at least one node, and each operation its origin", _misnumbered),
    Rule("a block has at least 64 bytes and lies at a multiple of its size", _unaligned),
    Rule("no two blocks overlap, and none reaches out of its section", _overlapping),
    Rule("nodes read weights, inputs, outputs and activations, and write only the last two", _misplaced),
    Rule("what a node reads or writes lies in one block", _far_reaches),
    Rule("a node reads only what is live", _dead_reads),
    Rule("a node writes only what is live", _stray_writes),
    Rule("each block of ARENA is freed once, by the last node that touches it; no other block is", _unfreed),
    Rule("every block has one element type for its whole life", _untyped),
    Rule("tiles cover an output exactly once, in order", _gaps_in_tiles),
    Rule("the segment refuses no record, under the limit of steps that the program header names", _refused),
)


def check(program: Program, blocks: Sequence[PlannedBlock] | None = None) -> None:
    """
    Raises `BrokenRule` for the first rule that the program breaks.

    `blocks` are those of INPUT, OUTPUT and ARENA; by default those that the records use (`derived`).
    """
    view = View(program, program.block_table() if blocks is None else BlockTable.of(blocks))
    for rule in RULES:
        try:
            found = next(rule.broken(view), None)
        except BrokenRule as nowhere:
            found = str(nowhere)
        if found is not None:
            raise BrokenRule(f"{rule.sentence}: {found}")
