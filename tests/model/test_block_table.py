"""The columns of a program's blocks say what a walk over its records finds."""

from __future__ import annotations

from bisect import bisect_right

import onnx
from hypothesis import given, settings

from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.block_table import BlockTable
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.derived import PlannedBlock
from opml_dispute.model.program import Program
from opml_dispute.model.record import SEC_ARENA
from opml_dispute.model.record_table import NOWHERE, BlockIndex
from opml_dispute.model.tensor import Array
from opml_dispute.models import DIGITS
from tests.model.graphs import models


def walked(program: Program) -> list[PlannedBlock]:
    """The blocks of outputs and activations, found record by record."""
    found = {(spec.offset, spec.log2_size): spec.size_bytes for spec in program.outputs}
    freed: dict[tuple[int, int], int] = {}
    for node in range(program.node_count):
        for free in program.record(node).frees:
            freed[free.offset, free.log2_size] = node
    starts = sorted(offset for offset, _ in (*found, *freed))
    born: dict[int, int] = {}
    widths: dict[int, int] = {}
    ends: dict[int, int] = {}
    for node, (lo, hi, width) in enumerate(validate_records(program.records).extents[:, 0].tolist()):
        start = starts[bisect_right(starts, lo) - 1]
        born.setdefault(start, node)
        widths.setdefault(start, width)
        ends[start] = max(ends.get(start, 0), hi)
    return [
        PlannedBlock(offset, log2, widths[offset], born[offset], freed.get((offset, log2)),
                     found.get((offset, log2), ends[offset] - offset))
        for offset, log2 in sorted(found | freed)
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(models())
def test_blocks_are_those_that_a_walk_over_the_records_finds(pair: tuple[onnx.ModelProto, dict[str, Array]]) -> None:
    for budget in (1 << 16, 1 << 24):
        program = compile_model(pair[0], tile_budget=budget)
        assert [block for block in program.blocks if block.born_node >= 0] == walked(program)
        assert len(program.blocks) == len(program.inputs) + len(walked(program))


def test_a_table_holds_the_blocks_that_it_is_made_of() -> None:
    blocks = compile_model(DIGITS).blocks
    assert BlockTable.of(blocks).blocks() == blocks
    assert BlockTable.of(()).blocks() == ()


def test_each_byte_of_a_block_is_held_by_it_and_none_beside_it() -> None:
    table = BlockTable.of([PlannedBlock(SEC_ARENA, 6, 4, 0, 1, 64), PlannedBlock(SEC_ARENA + 128, 7, 4, 0, None, 100)])
    places = BlockIndex(table, [(1 << 38, 8, 2)])
    starts = [1 << 38, SEC_ARENA, SEC_ARENA + 128]
    for number, (start, size) in enumerate(zip(starts, (256, 64, 128), strict=True)):
        beside = (start - 1, start, start + size - 1, start + size)
        assert [places.holder(table.offset[:1] * 0 + at)[0] for at in beside] == [NOWHERE, number, number, NOWHERE]
        assert places.at(table.offset[:1] * 0 + start)[0] == number
        assert places.at(table.offset[:1] * 0 + start + 1)[0] == NOWHERE
