"""
A model in one file: its computation graph drawn, and what each operation costs, to keep or to send.

`model_document` needs no chain: everything follows from the compiled program, and times are of this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opml_dispute.operator.inspection import Inspection, Share, operation_seconds
from opml_dispute.web.graph_view import GraphOperation, GraphOperations, GraphRow, draw_arcs
from opml_dispute.web.saving import render_standalone
from opml_dispute.writing import write_result

MAX_OPERATIONS: Final = 2_000
"""Operations that are drawn: of a larger model the costliest, with the stretches between them counted."""
_COSTLY: Final = 0.5
"""The costliest operations are marked until they make up this part of all VM steps."""


@dataclass(frozen=True)
class CostRow:
    """A row of the drawing, with what its operation costs; a stretch that is left out has the costs of its own."""

    graph: GraphRow
    steps: int
    """VM steps at most."""
    share: float
    """Of the VM steps of the whole program, 0 to 1."""
    bar: float
    """Of the VM steps of the costliest row, 0 to 1."""
    seconds: float | None
    """Of a native run by one thread; None if it was not measured."""


@dataclass(frozen=True)
class OperatorRow:
    """What all operations of one ONNX operator cost together."""

    operator: Share
    share: float
    seconds: float | None


def model_document(name: str, inspection: Inspection, lines: Sequence[tuple[str, str]]) -> str:
    """
    One HTML file about the model `name`, without a script or a link. `lines` are its facts, each with its name.

    Runs the model natively, operation by operation, if the inspection was timed.
    """
    operations = GraphOperations.of(inspection.program)
    ends = [operation.end_node for operation in operations]
    seconds = operation_seconds(inspection.program, ends) if inspection.run is not None else None
    rows = cost_rows(operations, seconds)
    by_operator = _by_operator(inspection, operations, seconds)
    costs: dict[str, Any] = {"rows": rows, "operators": by_operator, "arcs": draw_arcs([row.graph for row in rows])}
    return render_standalone("inspection.html", name=name, lines=lines, operations=operations, **costs)


def save_model(name: str, inspection: Inspection, lines: Sequence[tuple[str, str]], path: Path) -> int:
    """Write that file; its size in bytes. Raises `Unwritable`."""
    content = model_document(name, inspection, lines).encode()
    write_result(path, content)
    return len(content)


def cost_rows(operations: GraphOperations, seconds: Sequence[float] | None) -> list[CostRow]:
    """The rows to draw, in the order in which operations run; `seconds` are of each operation."""
    total = sum(operation.steps for operation in operations) or 1
    costliest = sorted(operations, key=lambda operation: (-operation.steps, operation.index))
    marked: set[int] = set()
    summed = 0
    for operation in costliest:
        if summed >= _COSTLY * total:
            break
        marked.add(operation.index)
        summed += operation.steps
    shown = sorted(operation.index for operation in costliest[:MAX_OPERATIONS])
    rows: list[tuple[GraphRow, Sequence[GraphOperation]]] = []
    expected = 0
    for index in [*shown, len(operations)]:
        if index > expected:
            rows.append((GraphRow(None, index - expected), operations[expected:index]))
        if index < len(operations):
            rows.append((GraphRow(operations[index], 0, index in marked), operations[index : index + 1]))
        expected = index + 1
    steps = [sum(operation.steps for operation in of) for _, of in rows]
    most = max(steps, default=0) or 1
    spent = [None if seconds is None else sum(seconds[operation.index] for operation in of) for _, of in rows]
    return [
        CostRow(row, cost, cost / total, cost / most, passed)
        for (row, _), cost, passed in zip(rows, steps, spent, strict=True)
    ]


def _by_operator(
    inspection: Inspection, operations: GraphOperations, seconds: Sequence[float] | None
) -> list[OperatorRow]:
    total = inspection.total_steps or 1
    spent: dict[str, float] = {}
    for operation, passed in zip(operations, seconds or (), strict=seconds is not None):
        spent[operation.op_type] = spent.get(operation.op_type, 0.0) + passed
    return [OperatorRow(share, share.steps / total, spent.get(share.name)) for share in inspection.operators]
