"""What pages draw is what is the case: places, arcs, brackets, pictures, shapes."""

from __future__ import annotations

import base64
import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.game.resolve import forecast
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.models import DIGITS
from opml_dispute.operator.inspection import made_up_inputs
from opml_dispute.web.claim_list import MAX_ROWS, ClaimRow, Reading, nested_rows, numbered_rows
from opml_dispute.web.claim_map import MAX_LINKED, draw_map, lay_out
from opml_dispute.web.disputed import node_view
from opml_dispute.web.graph_view import MAX_GRAPH_ROWS, GraphOperation, GraphOperations, draw_bracket, graph_rows
from opml_dispute.web.pages import stakes_by_address
from opml_dispute.web.tensor_view import picture_of, view_tensor
from tests.support.builders import FAULTY, ToyTable
from tests.web.games import crowded


@pytest.fixture(scope="module")
def digits() -> Program:
    return compile_model(DIGITS)


@pytest.fixture(scope="module")
def table() -> ToyTable:
    found = ToyTable()
    found.root(FAULTY)
    return found


@pytest.mark.parametrize("count", [1, 2, 37, 400, 3_000])
def test_no_two_claims_stand_at_one_place(table: ToyTable, count: int) -> None:
    game = crowded(table.game(), count)
    layout = lay_out(game)
    places = {(claim.position.depth, layout.lane_of[claim.index]) for claim in game.claims}
    assert len(places) == count
    assert set(layout.lane_of) == set(range(layout.lanes))
    for claim in game.claims[1:]:
        assert claim.parent_index is not None
        assert layout.lane_of[claim.index] >= layout.lane_of[claim.parent_index], "lines only go right and down"


@pytest.mark.parametrize("count", [1, 30, MAX_LINKED, MAX_LINKED + 1, 10_000])
def test_a_drawing_has_a_mark_for_each_claim_and_few_elements_for_many(table: ToyTable, count: int) -> None:
    drawn = str(draw_map(crowded(table.game(), count), {0: False}))
    if count <= MAX_LINKED:
        assert drawn.count("<circle") == count
        assert drawn.count('href="#claim-') == count
    else:
        assert drawn.count("<path") < 8
        assert drawn.count("h0") == count


def shown(rows: list[ClaimRow]) -> list[int]:
    found: list[int] = []
    for row in rows:
        found += [row.claim.index, *shown(row.answers)]
    return found


def left_out(rows: list[ClaimRow]) -> int:
    return sum(row.left_out + left_out(row.answers) for row in rows)


@pytest.mark.parametrize("count", [1, 9, MAX_ROWS, 10_000])
def test_the_list_shows_each_claim_once_or_counts_it(table: ToyTable, count: int) -> None:
    game = crowded(table.game(), count)
    reading = Reading(game, game.created_at_s + 700, forecast(game), {}, {}, {})
    rows = nested_rows(reading)
    indices = shown(rows)
    assert len(indices) == len(set(indices)) <= MAX_ROWS
    assert 0 in indices
    if count <= MAX_ROWS:
        assert sorted(indices) == list(range(count))
        assert left_out(rows) == 0
    else:
        assert left_out(rows) > 0
    parts = [numbered_rows(reading, start, 200) for start in range(0, count, 200)]
    assert [row.claim.index for part in parts for row in part] == list(range(count))


def test_bonds_add_up(table: ToyTable) -> None:
    """The players' bonds and payments add up to those of the claims."""
    game = crowded(table.game(), 500)
    purses = stakes_by_address(game, forecast(game))
    staked = sum(claim.bond_wei for claim in game.claims)
    assert sum(purse.staked_wei for purse in purses) == staked == sum(purse.gets_wei for purse in purses)
    assert sum(purse.claims for purse in purses) == 500


def test_operations_read_from_what_was_made_before_them(digits: Program) -> None:
    operations = GraphOperations.of(digits)
    assert [operation.op_type for operation in operations[:3]] == ["Conv", "Relu", "MaxPool"]
    for operation in operations:
        assert all(source < operation.index for source in operation.reads)
    # A chain of layers, and the softmax, whose subtraction and division reach back over one node.
    assert [operation.reads for operation in operations[:9]] == [(), (0,), (1,), (2,), (3,), (4,), (5,), (6,), (7,)]
    assert [operation.reads for operation in operations[9:]] == [(8,), (8, 9), (10,), (11,), (11, 12)]


def long_graph(count: int) -> GraphOperations:
    return GraphOperations(
        GraphOperation(i, "Relu", f"relu{i}", "UNARY.RELU", 3 * i, 3 * i + 3, 10, ()) for i in range(count)
    )


@pytest.mark.parametrize("count", [1, 5, MAX_GRAPH_ROWS, 1_000])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_graph_rows_show_the_bracket_and_count_the_rest(count: int, place: float, part: float) -> None:
    operations, nodes = long_graph(count), 3 * count
    low = min(nodes - 1, int(place * nodes))
    high = max(low + 1, min(nodes, low + int(part * nodes)))
    rows = graph_rows(operations, low, high)
    assert len(rows) <= MAX_GRAPH_ROWS + 3
    assert sum(1 if row.operation else row.left_out for row in rows) == count
    assert [row.operation.index for row in rows if row.operation][:1] == [0]
    hot = [row for row in rows if row.in_bracket and row.operation]
    assert operations.at(low) in [row.operation for row in hot]
    assert all(row.operation and row.operation.end_node > low and row.operation.first_node < high for row in hot)
    numbers = [row.operation.index for row in rows if row.operation]
    assert all(a < b for a, b in pairwise(numbers))


@pytest.mark.parametrize(("low", "high", "whole"), [(0, 1, 1), (0, 1, 10**12), (10**12 - 1, 10**12, 10**12), (5, 9, 9)])
def test_a_bracket_is_never_invisible_nor_outside(low: int, high: int, whole: int) -> None:
    drawn = str(draw_bracket(low, high, whole, "<b>"))
    start, width = (float(text.partition('"')[0]) for text in drawn.partition('class="part" x="')[2].split('width="'))
    assert width >= 6
    assert start >= 0
    assert start + width <= 1000.1
    assert "<b>" not in drawn


def decoded(uri: str) -> bytes:
    """The pixels of a PNG, row after row, with a filter byte before each."""
    raw = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    place, content = 8, b""
    while place < len(raw):
        (size,) = struct.unpack_from(">I", raw, place)
        kind, data = raw[place + 4 : place + 8], raw[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", raw, place + 8 + size)[0] == zlib.crc32(kind + data)
        content += data if kind == b"IDAT" else b""
        place += 12 + size
    return zlib.decompress(content)


def test_a_picture_has_the_values_as_shades() -> None:
    values = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    drawn = picture_of(values)
    assert drawn is not None
    uri, size = drawn
    assert size == (4, 4)
    rows = np.frombuffer(decoded(uri), np.uint8).reshape(4, 5)[:, 1:]
    assert rows.reshape(-1).tolist() == [round(255 * value / 15) for value in range(16)]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 24, 4, 4), (16 * 5 - 1, 4)),
        ((1, 64, 8, 3), None),
        ((1, 3, 16, 16), (16, 16)),
        ((1, 20, 16, 3), (16, 20)),
        ((20, 16, 4), (16, 20)),
    ],
)
def test_planes_of_a_layer_are_not_taken_for_colours(shape: tuple[int, ...], size: tuple[int, int] | None) -> None:
    """At most sixteen of them are drawn side by side; a last dimension of 3 or 4 is colours in an image only."""
    drawn = picture_of(np.random.default_rng(1).normal(size=shape))
    assert (None if drawn is None else drawn[1]) == size


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((1, 1, 8, 8), np.float32),
        np.full((3, 8, 8), np.nan, np.float32),
        np.array([[[np.inf, -np.inf, 0, 1]] * 4], np.float32),
        np.full((5, 5), np.finfo(np.float64).max) * np.array([1, -1, 1, -1, 1]),
        np.zeros((0, 8, 8), np.float32),
        np.zeros((2, 0), np.int64),
        np.zeros((), np.float32),
        np.ones((1, 3, 16, 16), np.uint8),
        np.ones((1, 16, 16, 3), np.uint8),
        np.ones((100, 8, 8), bool),
        np.ones((1, 2_000, 2_000), np.int8),
        np.array([np.iinfo(np.int64).min, np.iinfo(np.int64).max]),
    ],
    ids=lambda values: f"{values.dtype}-{values.shape}",
)
def test_any_tensor_can_be_shown(values: np.ndarray) -> None:
    seen = view_tensor("x", "F32", values.shape, "ARENA", values.nbytes, values)
    if seen.picture is not None:
        width, height = seen.picture_size
        assert len(decoded(seen.picture)) in (height * (width + 1), height * (3 * width + 1))


def test_operands_of_every_node_have_the_model_s_shapes(digits: Program) -> None:
    inference = Inference(digits, made_up_inputs(digits))
    shapes = [
        [operand.shape for operand in node_view(digits, inference, node).operands] for node in range(digits.node_count)
    ]
    assert shapes[0] == [(1, 12, 8, 8), (1, 1, 8, 8), (12, 1, 3, 3), (12,)]
    assert shapes[2] == [(1, 12, 4, 4), (1, 12, 8, 8)]
    assert shapes[-1][0] == (1, 10)
    assert all(operand.summary for operand in node_view(digits, inference, 3).operands)
