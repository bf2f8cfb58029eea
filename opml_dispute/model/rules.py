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
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from opml_dispute.engine.blocks import ACTIVATION_HEAD
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.block_formats import BlockFormat
from opml_dispute.model.derived import PlannedBlock
from opml_dispute.model.opcodes import WIDTHS, Opcode
from opml_dispute.model.program import Program
from opml_dispute.model.record import (
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
from opml_dispute.primitives import RECORD_BYTES

BLOCKS = frozenset({Opcode.BLOCK_QUANTISE, Opcode.BLOCK_CONTRACT, Opcode.BLOCK_GATHER})


class BrokenRule(AssertionError):
    """The compiler made a program that breaks one of its own rules."""


@dataclass(frozen=True)
class View:
    """A program, decoded once for all rules."""

    program: Program
    blocks: Sequence[PlannedBlock]
    """Those of INPUT, OUTPUT and ARENA."""

    @cached_property
    def records(self) -> list[Record]:
        return [self.program.record(i) for i in range(self.program.node_count)]

    @cached_property
    def places(self) -> list[tuple[int, int, str]]:
        """Offset, log2 size and section of every block, weights included, ascending."""
        planned = [(block.offset, block.log2_size) for block in self.blocks]
        weights = [(block.offset, block.log2_size) for block in self.program.weights]
        return sorted((offset, log2, section_of(offset)) for offset, log2 in planned + weights)

    @cached_property
    def lives(self) -> dict[int, PlannedBlock]:
        """Planned blocks by offset."""
        return {block.offset: block for block in self.blocks}

    @cached_property
    def _starts(self) -> list[int]:
        return [start for start, _, _ in self.places]

    @cached_property
    def _holders(self) -> dict[int, int]:
        """What `holder` has found: a long program asks for the same bytes again and again."""
        return {}

    def holder(self, offset: int) -> int:
        """The offset of the block that contains byte `offset`. Raises `BrokenRule` if none does."""
        known = self._holders.get(offset)
        if known is not None:
            return known
        at = bisect_right(self._starts, offset) - 1
        if at < 0 or offset >= self.places[at][0] + (1 << self.places[at][1]):
            raise BrokenRule(f"byte {offset:#x} lies in no block")
        self._holders[offset] = self.places[at][0]
        return self.places[at][0]


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


def _unaligned(view: View) -> Iterator[str]:
    for offset, log2_size, _ in view.places:
        if log2_size < 6 or offset % (1 << log2_size):
            yield f"block of 2^{log2_size} bytes at {offset:#x}"


def _overlapping(view: View) -> Iterator[str]:
    for (start, log2_size, section), (behind, *_) in zip(view.places, view.places[1:], strict=False):
        if start + (1 << log2_size) > behind:
            yield f"blocks at {start:#x} and {behind:#x} ({section})"
    for start, log2_size, section in view.places:
        if start + (1 << log2_size) > _ENDS[section][1]:
            yield f"block at {start:#x} reaches out of {section}"


def _misplaced(view: View) -> Iterator[str]:
    for i, record in enumerate(view.records):
        if section_of(record.out) not in ("OUTPUT", "ARENA"):
            yield f"node {i} writes to {section_of(record.out)}"
        for source in record.inputs:
            if section_of(source) not in ("WEIGHTS", "INPUT", "OUTPUT", "ARENA"):
                yield f"node {i} reads from {section_of(source)}"


def _far_reaches(view: View) -> Iterator[str]:
    reaches: dict[tuple[object, ...], list[tuple[int, int]]] = {}  # records of one shape reach alike
    for i, record in enumerate(view.records):
        shape = (record.opcode, record.rank, len(record.inputs), record.imm, record.body)
        reach = reaches.get(shape)
        if reach is None:
            reach = reaches[shape] = _reach(record)
        operands = zip((record.dtype_out, *record.dtypes_in), (record.out, *record.inputs), reach, strict=True)
        for dtype, offset, (below, above) in operands:
            width = WIDTHS[dtype]
            first, last = offset - below * width, offset + (above + 1) * width - 1
            if view.holder(first) != view.holder(last):
                yield f"node {i} ({record.opcode.name}) takes bytes {first:#x} to {last:#x}"


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
    for i, record in enumerate(view.records):
        for source in record.inputs:
            block = view.lives.get(view.holder(source))
            if block is not None and not (block.born_node < i and (block.freed_node is None or i <= block.freed_node)):
                yield f"node {i} reads {source:#x}, live from {block.born_node} to {block.freed_node}"


def _stray_writes(view: View) -> Iterator[str]:
    for i, record in enumerate(view.records):
        block = view.lives.get(view.holder(record.out))
        if block is None or i < block.born_node or (block.freed_node is not None and i > block.freed_node):
            yield f"node {i} writes {record.out:#x}, which holds nothing then"


def _unfreed(view: View) -> Iterator[str]:
    last: dict[int, int] = {}
    for i, record in enumerate(view.records):
        last.update(dict.fromkeys(map(view.holder, (record.out, *record.inputs)), i))
    freed: set[int] = set()
    for i, record in enumerate(view.records):
        for free in record.frees:
            block = view.lives.get(free.offset)
            if section_of(free.offset) != "ARENA":
                yield f"node {i} frees {free.offset:#x} of {section_of(free.offset)}"
            elif free.offset in freed:
                yield f"node {i} frees {free.offset:#x}, which was freed before"
            elif block is None or (block.log2_size, block.freed_node) != (free.log2_size, i):
                yield f"node {i} frees {free.offset:#x}, which is no block that ends there"
            elif last.get(free.offset) != i:
                yield f"node {i} frees {free.offset:#x}, which node {last.get(free.offset)} touches last"
            freed.add(free.offset)
    for block in view.blocks:
        if (section_of(block.offset) == "ARENA") != (block.offset in freed):
            yield f"block {block.offset:#x} of {section_of(block.offset)} ends with node {block.freed_node}"


def _untyped(view: View) -> Iterator[str]:
    widths = {block.offset: block.word_bytes for block in view.blocks}
    widths |= {block.offset: block.word_bytes for block in view.program.weights}
    types = {spec.offset: spec.dtype for spec in (*view.program.inputs, *view.program.outputs)}
    for i, record in enumerate(view.records):
        operands = zip((record.dtype_out, *record.dtypes_in), (record.out, *record.inputs), strict=True)
        for dtype, offset in operands:
            holder = view.holder(offset)
            width = WIDTHS[dtype]
            if offset % width or widths[holder] != width or types.setdefault(holder, dtype) is not dtype:
                yield f"node {i} takes {dtype.name} at {offset:#x}"


def _gaps_in_tiles(view: View) -> Iterator[str]:
    for i, record in enumerate(view.records):
        before = view.records[i - 1] if i else None
        behind = view.records[i + 1] if i + 1 < len(view.records) else None
        expected = 0 if record.lo == 0 or before is None else before.hi
        if record.lo != expected or record.hi <= record.lo:
            yield f"node {i} makes [{record.lo}, {record.hi}); expected to start at {expected}"
        if record.lo and before and replace(before, lo=record.lo, hi=record.hi, frees=record.frees) != record:
            yield f"node {i} goes on with another operation than node {i - 1}"
        if (behind is None or behind.lo == 0) and record.rank and record.opcode in _FLAT:
            total = prod(record.dims)
            if record.hi != total:
                yield f"tiles end with node {i} at {record.hi} of {total} outputs"


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
    operations = sum(record.lo == 0 for record in view.records)
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
    view = View(program, program.blocks if blocks is None else blocks)
    for rule in RULES:
        try:
            found = next(rule.broken(view), None)
        except BrokenRule as nowhere:
            found = str(nowhere)
        if found is not None:
            raise BrokenRule(f"{rule.sentence}: {found}")
