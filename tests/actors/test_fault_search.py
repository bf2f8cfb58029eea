"""Where a liar looks for faults, what one changes, and what is kept of the runs."""

from __future__ import annotations

import random
from itertools import islice, pairwise

import pytest

from opml_dispute.actors import liars
from opml_dispute.actors.faults import Fault
from opml_dispute.actors.liars import Liar, UselessFault, about_to_store
from opml_dispute.engine.segment import SEGMENT_BASE
from opml_dispute.engine.vm import FaultKind, FaultTarget
from tests.support.digits import digits_image, digits_liar, digits_program, guest, honest_inference


def test_places_outside_of_the_run_are_refused_with_those_that_are_in_it() -> None:
    liar, nodes = digits_liar(), digits_program().node_count
    last = nodes - 1
    steps = liar.steps_of(last)
    for node in (-1, nodes):
        with pytest.raises(UselessFault, match=rf"node {node} found, expected 0 to {last}$"):
            liar.steps_of(node)
    for step in (0, steps):
        with pytest.raises(UselessFault, match=rf"step {step} found, expected 1 to {steps - 1}: "):
            liar.inject(Fault(last, step, FaultTarget(FaultKind.HI, bit=3)))
    for step in (1, steps - 1):
        with pytest.raises(UselessFault, match="changes no tensor"):
            liar.inject(Fault(last, step, FaultTarget(FaultKind.HI, bit=3)))


def test_the_changes_make_of_the_right_tensors_what_the_machine_has() -> None:
    """In the last of ten probabilities, so that the change does not begin where its tensor does."""
    liar, node = digits_liar(), digits_program().node_count - 1
    run = liar._run(node)
    fault = run.float_stores[-1]
    machine = run.start.fork()
    machine.run(fault.after_step)
    machine.flip_bit(fault.target)
    machine.run(1 << run.depth)
    changes = run.changes_by(fault)
    assert changes
    assert all(offset not in dict(run.live) for offset, _ in changes), "it begins within its tensor"
    for (start, size), right in zip(run.live, run.right_tensors, strict=True):
        told = bytearray(right)
        for offset, data in changes:
            if start <= offset < start + size:
                told[offset - start : offset - start + len(data)] = data
        assert bytes(told) == machine.read(SEGMENT_BASE + start, size)


def test_what_a_node_frees_is_not_among_its_tensors() -> None:
    liar, program = digits_liar(), digits_program()
    freed = 0
    for node in range(program.node_count):
        gone = {block.offset for block in program.blocks if block.freed_node == node}
        kept = {
            block.offset
            for block in program.blocks
            if block.born_node <= node and (block.freed_node is None or block.freed_node > node)
        }
        assert not gone - kept & {offset for offset, _ in liar._run(node).live}
        assert {offset for offset, _ in liar._run(node).live} <= kept
        freed += len(gone)
    assert freed


def test_the_runs_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liars, "RUNS_KEPT", 2)
    liar = Liar(digits_program(), digits_image(0), honest_inference(), guest())
    for node, kept in ((0, [0]), (1, [0, 1]), (2, [1, 2]), (1, [2, 1]), (3, [1, 3])):
        assert liar.steps_of(node) > 1
        assert list(liar._runs) == kept


def test_the_next_store_is_the_next_one() -> None:
    """Found here by looking at every instruction; none comes after the program's end."""
    liar, node = digits_liar(), digits_program().node_count - 1
    run, chance = liar._run(node), random.Random(1)
    machine, stores = run.start.fork(), []
    while not machine.exited:
        if machine.step and about_to_store(machine, chance) is not None:
            stores.append(machine.step)
        machine.run(1)
    assert len(stores) >= 10
    for first, step in pairwise(stores):
        if step - first < 2000:
            found = run.next_store(first + 1, chance)
            assert found is not None
            assert (found.node_index, found.after_step) == (node, step)
    assert run.next_store(run.trace.exit_step, chance) is None


def test_faults_are_tried_in_places_that_a_machine_has() -> None:
    """Most in what is about to be stored; of the others half in float registers, in every bit of all of them."""
    node = digits_program().node_count - 1
    faults = list(islice(digits_liar()._candidates(2, node), 400))
    whole = [fault for fault in faults if fault.target.kind == FaultKind.REGISTER]
    floats = [fault for fault in faults if fault.target.kind == FaultKind.FLOAT_REGISTER]
    assert len(whole) + len(floats) == len(faults)
    steps = digits_liar().steps_of(node)
    assert all(1 <= fault.after_step < steps for fault in faults)
    for tried, numbers in ((whole, range(1, 32)), (floats, range(32))):
        assert {fault.target.index for fault in tried} >= {numbers[0], numbers[-1]}
        assert all(fault.target.index in numbers and 0 <= fault.target.bit < 32 for fault in tried)
    stored = set(digits_liar()._run(node).float_stores)
    at_stores = {(fault.after_step, fault.target.index) for fault in stored}
    share = sum((fault.after_step, fault.target.index) in at_stores for fault in floats) / len(faults)
    assert 0.5 < share < 0.9
