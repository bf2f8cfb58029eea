"""The page about a model draws every operation with its cost, and names of a model reach the browser as text."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.models import DIGITS
from opml_dispute.operator.inspection import inspect_program, operation_seconds
from opml_dispute.web.graph_view import GraphOperation, GraphOperations
from opml_dispute.web.model_page import MAX_OPERATIONS, cost_rows, model_document
from tests.cli.conftest import Cli, cli
from tests.web.nesting import assert_well_formed

__all__ = ["cli"]

HOSTILE = "<script>window.hacked=1</script>\"'&\u202e"


@pytest.fixture(scope="module")
def digits() -> Program:
    return compile_model(DIGITS)


def made_up(count: int) -> GraphOperations:
    """A chain of operations, each one step dearer than the one before."""
    return GraphOperations(
        GraphOperation(
            index, "Relu", f"n{index}", "UNARY.RELU", index, index + 1, index + 1, (index - 1,) if index else ()
        )
        for index in range(count)
    )


@pytest.mark.parametrize("timed", [False, True])
def test_every_operation_is_drawn_and_the_file_needs_nothing_else(digits: Program, timed: bool) -> None:
    text = model_document("digits.onnx", inspect_program(digits, timed=timed), [("weights", "some bytes")])
    assert_well_formed(text)
    assert text.count('<circle class="op') == len(GraphOperations.of(digits))
    assert ("ms</span>" in text) == timed
    assert "Content-Security-Policy" in text
    assert "<script" not in text
    assert not re.search(r'(?:href|src)="(?!#|data:)', text)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    model = onnx.load(DIGITS)
    for node in model.graph.node:
        node.name = HOSTILE
    program = compile_model(model)
    text = model_document(HOSTILE, inspect_program(program, timed=False), [("note", HOSTILE)])
    assert_well_formed(text)
    assert "<script" not in text
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;") >= len(model.graph.node)


@pytest.mark.parametrize("count", [1, 2, 300, MAX_OPERATIONS, MAX_OPERATIONS + 700])
def test_costs_add_up_to_the_whole_however_many_rows_are_left_out(count: int) -> None:
    operations = made_up(count)
    seconds = [0.5] * count
    rows = cost_rows(operations, seconds)
    assert sum(row.steps for row in rows) == sum(operation.steps for operation in operations)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert sum(row.seconds or 0 for row in rows) == pytest.approx(0.5 * count)
    assert max(row.bar for row in rows) == 1
    drawn = [row.graph.operation for row in rows if row.graph.operation is not None]
    assert len(drawn) == min(count, MAX_OPERATIONS)
    assert sum(row.graph.left_out for row in rows) == count - len(drawn)
    marked = [row for row in rows if row.graph.in_bracket]
    assert 0.5 <= sum(row.share for row in marked) <= 0.5 + max(row.share for row in marked)


def test_each_stretch_of_nodes_is_timed_by_itself(digits: Program) -> None:
    ends = [operation.end_node for operation in GraphOperations.of(digits)]
    seconds = operation_seconds(digits, ends)
    assert len(seconds) == len(ends)
    assert all(0 < spent < 1 for spent in seconds)


def test_inspect_saves_the_page(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "model.html"
    result = cli("model", "inspect", "--no-time", "--html", page, "--json")
    assert result.code == 0, result.err
    assert result.object_with("page")["page_bytes"] == page.stat().st_size
    refused = cli("model", "inspect", "--no-time", "--html", tmp_path)
    assert refused.code == 1
    assert str(tmp_path) in refused.err
