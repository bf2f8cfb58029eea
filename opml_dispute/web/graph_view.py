"""
The computation graph with the bracket on it: operations in the order in which they run, and what is still in question.

`GraphOperations.of` gathers a program's nodes into operations (the tiles of one are one) with the operations that each
reads from, as the records say it. `graph_rows` picks those around the bracket, with the stretches between left out
counted, and `draw_arcs` draws who reads from whom beside them.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.program import Program

ROW: Final = 34
"""Height of a row, in pixels: the style sheet has the same."""
MAX_GRAPH_ROWS: Final = 40
_CONTEXT: Final = 4
"""GraphOperations shown before and behind the bracket."""
_LANE: Final = 9
_MAX_LANES: Final = 7


@dataclass(frozen=True)
class GraphOperation:
    """One operation of the model."""

    index: int
    op_type: str
    name: str
    kernel: str
    first_node: int
    end_node: int
    """One past its last node."""
    steps: int
    """VM steps of its nodes together, at most."""
    reads: tuple[int, ...]
    """GraphOperations whose results it reads."""


@dataclass(frozen=True)
class GraphRow:
    """A row of the drawing: an operation, or a stretch that is left out."""

    operation: GraphOperation | None
    left_out: int = 0
    in_bracket: bool = False


class GraphOperations(tuple[GraphOperation, ...]):
    """All operations of a program, in order."""

    __slots__ = ()

    @classmethod
    def of(cls, program: Program) -> GraphOperations:
        """Those of a program; who reads from whom follows from its records."""
        nodes = program.nodes
        starts = [index for index, node in enumerate(nodes) if node.tile == 0]
        reads = _reads(program, starts)
        found = []
        for index, (start, end) in enumerate(zip(starts, [*starts[1:], len(nodes)], strict=True)):
            node, steps = nodes[start], sum(tile.steps for tile in nodes[start:end])
            found.append(GraphOperation(index, node.op_type, node.name, node.kernel, start, end, steps, reads[index]))
        return cls(found)

    def at(self, node_index: int) -> GraphOperation:
        """The operation that a node belongs to."""
        return self[bisect_right(self, node_index, key=lambda operation: operation.first_node) - 1]


def _reads(program: Program, starts: list[int]) -> list[tuple[int, ...]]:
    """For each operation, the operations that made what it reads."""
    places = sorted(block.offset for block in program.blocks)
    extents = validate_records(program.records).extents.tolist()
    maker: dict[int, int] = {}
    found: list[tuple[int, ...]] = []
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], len(extents)], strict=True)):
        sources: set[int] = set()
        for node in range(start, end):
            for lo, hi, _ in extents[node][1:]:
                source = maker.get(bisect_right(places, lo)) if hi > lo else None
                if source is not None and source != index:
                    sources.add(source)
        for node in range(start, end):
            maker[bisect_right(places, extents[node][0][0])] = index
        found.append(tuple(sorted(sources)))
    return found


def graph_rows(operations: GraphOperations, low: int, high: int) -> list[GraphRow]:
    """
    The rows to show: all if they are few, else the ends and what surrounds the nodes [low, high) in question.
    """
    first, last = operations.at(low).index, operations.at(max(low, high - 1)).index
    if len(operations) <= MAX_GRAPH_ROWS:
        shown = set(range(len(operations)))
    else:
        room = MAX_GRAPH_ROWS - 2 * _CONTEXT - 2
        inside = range(first, last + 1)
        shown = {0, len(operations) - 1, *range(first - _CONTEXT, first), *range(last + 1, last + 1 + _CONTEXT)}
        shown |= set(inside[: room // 2]) | set(inside[-(room // 2) :]) if len(inside) > room else set(inside)
    rows: list[GraphRow] = []
    expected = 0
    for index in sorted(index for index in shown if 0 <= index < len(operations)):
        if index > expected:
            rows.append(GraphRow(None, index - expected, first <= expected <= last))
        rows.append(GraphRow(operations[index], 0, first <= index <= last))
        expected = index + 1
    return rows


def draw_arcs(rows: list[GraphRow]) -> Markup:
    """Beside the rows: a dot for each operation, and lines from what it reads. Both ends of a line are shown rows."""
    row_of = {row.operation.index: number for number, row in enumerate(rows) if row.operation is not None}
    placed: list[tuple[int, int, int]] = []  # lane (0: straight down), upper row, lower row
    taken: list[list[tuple[int, int]]] = [[] for _ in range(_MAX_LANES)]
    for bottom, row in enumerate(rows):
        for source in () if row.operation is None else row.operation.reads:
            if source not in row_of:
                continue
            top, lane = row_of[source], 0
            if bottom - top > 1:
                lane = 1 + next((at for at, spans in enumerate(taken) if _is_free(spans, top, bottom)), _MAX_LANES - 1)
                taken[lane - 1].append((top, bottom))
            placed.append((lane, top, bottom))
    spine, height = _LANE * (1 + max((lane for lane, _, _ in placed), default=0)), ROW * len(rows)
    width = spine + _LANE
    parts = [f'<svg class="arcs" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">']
    for lane, top, bottom in placed:
        kind = "arc hot" if rows[top].in_bracket and rows[bottom].in_bracket else "arc"
        x, y1, y2 = spine - _LANE * lane, _y(top), _y(bottom)
        bend = ROW // 2
        line = (
            f"V{y2}" if not lane else f"C{x} {y1} {x} {y1} {x} {y1 + bend}V{y2 - bend}C{x} {y2} {x} {y2} {spine} {y2}"
        )
        parts.append(f'<path class="{kind}" d="M{spine} {y1}{line}"/>')
    for number, row in enumerate(rows):
        if row.operation is None:
            parts.append(f'<path class="gap" d="M{spine} {_y(number) - 9}v18"/>')
        else:
            hot = " hot" if row.in_bracket else ""
            parts.append(f'<circle class="op{hot}" cx="{spine}" cy="{_y(number)}" r="4.5"/>')
    parts.append("</svg>")
    return Markup("".join(parts))


def draw_bracket(low: int, high: int, whole: int, label: str) -> Markup:
    """Where the stretch [low, high) lies in the whole; never invisible."""
    start = 1000 * low / whole
    width = max(6.0, 1000 * (min(high, whole) - low) / whole)
    start = min(start, 1000 - width)
    return Markup(
        '<svg class="bracket" viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="whole" x="0" y="6" width="1000" height="4"/>'
        '<rect class="part" x="{}" y="1" width="{}" height="14"/></svg>'
    ).format(label, f"{start:.1f}", f"{width:.1f}")


def _y(row: int) -> int:
    return ROW * row + ROW // 2


def _is_free(spans: list[tuple[int, int]], top: int, bottom: int) -> bool:
    return all(bottom <= low or top >= high for low, high in spans)
