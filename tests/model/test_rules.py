"""Every compiled program satisfies the rules, and each rule catches a program that does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx
import pytest
from hypothesis import given, settings

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.derived import PlannedBlock
from opml_dispute.model.program import Program
from opml_dispute.model.record import SEC_ARENA, SEC_INPUT, SEC_OUTPUT, SEC_WEIGHTS, Free, Record
from opml_dispute.model.rules import RULES, BrokenRule, check, section_of
from opml_dispute.model.tensor import Array
from opml_dispute.models import DIGITS
from tests.model.graphs import models


@settings(max_examples=60, deadline=None)
@given(models())
def test_compiled_programs_satisfy_every_rule(pair: tuple[onnx.ModelProto, dict[str, Array]]) -> None:
    """Compiled programs satisfy every rule."""
    check(compile_model(pair[0]))
    check(compile_model(pair[0], tile_budget=1 << 16))


@settings(max_examples=40, deadline=None)
@given(models())
def test_only_the_outputs_are_left_at_the_end(pair: tuple[onnx.ModelProto, dict[str, Array]]) -> None:
    """Committing to the last state costs the outputs alone."""
    program = compile_model(pair[0])
    left = {block.offset for block in program.blocks if block.freed_node is None}
    assert left == {spec.offset for spec in (*program.inputs, *program.outputs)}


@settings(max_examples=40, deadline=None)
@given(models())
def test_outputs_stand_block_after_block_from_the_sections_start(
    pair: tuple[onnx.ModelProto, dict[str, Array]],
) -> None:
    program = compile_model(pair[0])
    for specs, start in ((program.inputs, SEC_INPUT), (program.outputs, SEC_OUTPUT)):
        expected = start
        for spec in specs:
            size = 1 << spec.log2_size
            expected = -(-expected // size) * size
            assert spec.offset == expected
            assert spec.size_bytes <= size < max(2 * spec.size_bytes, 65)
            expected += size


Tamper = Callable[[list[Record]], list[Record]]


def _with_record(index: int, **changes: object) -> Tamper:
    def tamper(records: list[Record]) -> list[Record]:
        records[index] = replace(records[index], **changes)  # type: ignore[arg-type]
        return records

    return tamper


Tampered = tuple[Program, Sequence[PlannedBlock]]


def _block(program: Program, index: int, **changes: object) -> Tampered:
    """Other blocks than those that the records use."""
    blocks = list(program.blocks)
    blocks[index] = replace(blocks[index], **changes)  # type: ignore[arg-type]
    return program, tuple(blocks)


def _records(program: Program, tamper: Tamper) -> Tampered:
    """Other records, with the blocks as they were."""
    records = tamper([program.record(i) for i in range(program.node_count)])
    return replace(program, records=b"".join(record.pack() for record in records)), program.blocks


def _arena(program: Program) -> int:
    """The first block of ARENA."""
    return next(i for i, block in enumerate(program.blocks) if section_of(block.offset) == "ARENA")


def _last(program: Program) -> Record:
    return program.record(program.node_count - 1)


BREAKERS: Sequence[tuple[int, Callable[[Program], Tampered]]] = (
    (0, lambda p: (replace(p, origins=p.origins[:-1]), p.blocks)),
    (0, lambda p: (replace(p, records=b"", origins=()), ())),
    (1, lambda p: _block(p, _arena(p), offset=p.blocks[_arena(p)].offset + 64, log2_size=12)),
    (1, lambda p: _block(p, 0, log2_size=5)),
    (2, lambda p: _block(p, 0, log2_size=37)),
    (2, lambda p: (p, (*p.blocks, p.blocks[_arena(p)]))),
    (3, lambda p: _records(p, _with_record(0, out=SEC_WEIGHTS))),
    (3, lambda p: _records(p, _with_record(1, inputs=(0,)))),
    (4, lambda p: _records(p, _with_record(1, body=(1 << 20, *p.record(1).body[1:])))),
    (4, lambda p: _records(p, _with_record(1, body=(*p.record(1).body[:16], -1, *p.record(1).body[17:])))),
    (4, lambda p: _records(p, _with_record(0, body=(*p.record(0).body[:3], 99, *p.record(0).body[4:])))),
    (4, lambda p: _records(p, _with_record(6, imm=(1 << 20, *p.record(6).imm[1:])))),
    (5, lambda p: _records(p, _with_record(8, inputs=(p.blocks[_arena(p)].offset, *p.record(8).inputs[1:])))),
    (6, lambda p: _records(p, _with_record(8, out=p.blocks[_arena(p)].offset))),
    (7, lambda p: _records(p, _with_record(2, frees=()))),
    (7, lambda p: _records(p, _with_record(2, frees=p.record(2).frees * 2))),
    (7, lambda p: _records(p, _with_record(-1, frees=(*_last(p).frees, Free(6, SEC_OUTPUT))))),
    (8, lambda p: _block(p, _arena(p), word_bytes=8)),
    (8, lambda p: _records(p, _with_record(1, inputs=(p.record(1).inputs[0] + 2,)))),
    (0, lambda p: _records(p, _with_record(1, lo=1))),
    (9, lambda p: _records(p, _with_record(1, hi=p.record(1).hi - 1))),
    (10, lambda p: _records(p, _with_record(1, imm=(99, *p.record(1).imm[1:])))),
)


@pytest.mark.parametrize("number", range(len(BREAKERS)))
def test_each_rule_catches_what_breaks_it(number: int) -> None:
    """And it is that rule which does, not another."""
    rule, tamper = BREAKERS[number]
    with pytest.raises(BrokenRule) as caught:
        check(*tamper(compile_model(DIGITS)))
    assert str(caught.value).startswith(RULES[rule].sentence), caught.value


def test_every_rule_is_broken_by_something_above() -> None:
    assert {rule for rule, _ in BREAKERS} == set(range(len(RULES)))


def test_addresses_of_arena_are_never_used_twice() -> None:
    program = compile_model(DIGITS)
    arena: list[PlannedBlock] = [block for block in program.blocks if block.offset >= SEC_ARENA]
    ends = [block.offset + (1 << block.log2_size) for block in arena]
    assert all(end <= block.offset for end, block in zip(ends, arena[1:], strict=False))
