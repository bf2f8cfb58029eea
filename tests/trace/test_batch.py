"""A batch: every item's nodes run in the VM from the batch's states, and an item that fails spoils no other."""

from __future__ import annotations

import pytest
from onnx import parser

from opml_dispute.engine.batch import BatchInference, fullest_run
from opml_dispute.engine.batch_tree import batch_root, room_log2, siblings_of
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.overrides import StateOutOfRange
from opml_dispute.engine.segment import SEGMENT_LOG2, initial_root, section_root
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS, digit_samples
from opml_dispute.primitives import LocalIdent, item_data
from opml_dispute.trace.guest import guest_machine

ITEMS = 3
LOOK_UP = """
<ir_version: 8, opset_import: ["" : 17]>
table (int64[1] at) => (float[1, 2] y)
<float[4, 2] rows = {1, 2, 3, 4, 5, 6, 7, 8}>
{
    y = Gather (rows, at)
}
"""


def test_states_follow_from_the_items_own() -> None:
    """T_t has the states of single runs as its leaves: those before at their ends, those behind at their starts."""
    program = compile_model(DIGITS)
    images = [digit_samples()[0][i].astype(">f4").tobytes() for i in range(ITEMS)]
    batch = BatchInference(program, images)
    runs = [Inference(program, image) for image in images]
    n = program.node_count
    assert batch.node_count == ITEMS * n
    assert batch.item_roots(0) == [initial_root(program.model_root, section_root(image)) for image in images]
    for t in (1, n - 1, n, n + 5, 2 * n, 3 * n - 1, 3 * n):
        expected = [run.state_root(min(max(t - i * n, 0), n)) for i, run in enumerate(runs)]
        assert batch.item_roots(t) == expected
        assert bytes(batch.state_root(t)) == bytes(batch_root(expected, SEGMENT_LOG2))
    with pytest.raises(StateOutOfRange):
        batch.state_root(3 * n + 1)
    assert [result.output_image for result in batch.results()] == [run.output_image() for run in runs]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64])
def test_siblings_lead_to_the_root(count: int) -> None:
    roots = [bytes([i + 1]) * 32 for i in range(count)]
    for item in range(count):
        root, level = roots[item], SEGMENT_LOG2
        for number, beside in enumerate(siblings_of(item, roots, SEGMENT_LOG2)):
            pair = [beside, root] if (item >> number) & 1 else [root, beside]
            root = batch_root(pair, level + number)
        assert root == batch_root(roots, SEGMENT_LOG2)
        assert len(siblings_of(item, roots, SEGMENT_LOG2)) == room_log2(count)


def run_in_vm(batch: BatchInference, t: int, disputed: bytes) -> int:
    """The guest's exit code for the node from T_t to the disputed root."""
    machine = guest_machine()
    item = min(t // batch.program.node_count, batch.item_count - 1)
    machine.set_local(LocalIdent.STARTING_ROOT, batch.state_root(t))
    machine.set_local(LocalIdent.DISPUTED_ROOT, disputed)
    machine.set_local(LocalIdent.ITEM, item_data(item, room_log2(batch.item_count)))
    for root, log2_size, blocks in batch.subtrees_at(t):
        machine.add_subtree(root, log2_size, blocks)
    while not machine.exited:
        machine.run(1 << 40)
    return machine.exit_code


def test_the_guest_runs_a_node_of_any_item() -> None:
    program = compile_model(DIGITS)
    batch = BatchInference(program, [digit_samples()[0][i].astype(">f4").tobytes() for i in range(ITEMS)])
    n = program.node_count
    for t in (0, n - 1, n, 2 * n + 3, 3 * n - 1):
        assert run_in_vm(batch, t, batch.state_root(t + 1)) == 0
        assert run_in_vm(batch, t, batch.state_root(t)) == 1
    # Behind the last node nothing changes.
    assert run_in_vm(batch, 3 * n, batch.state_root(3 * n)) == 0
    # A node may change its own item only.
    wrong = [*batch.item_roots(1)[:-1], batch.item_roots(3 * n)[-1]]
    assert run_in_vm(batch, 0, batch_root(wrong, SEGMENT_LOG2)) == 1


def test_an_item_that_fails_spoils_no_other() -> None:
    """The second of three items looks an index up that is out of range."""
    program = compile_model(parser.parse_model(LOOK_UP))
    images = [index.to_bytes(8, "big", signed=True) for index in (1, 9, 3)]
    batch = BatchInference(program, images)
    assert [result.status != 0 for result in batch.results()] == [False, True, False]
    assert batch.status == 0
    for t in range(batch.node_count):
        assert run_in_vm(batch, t, batch.state_root(t + 1)) == 0
    assert BatchInference(program, [images[1], images[1]]).status != 0


def test_an_item_that_fails_is_not_what_a_dispute_is_measured_by() -> None:
    """An item that fails in front runs nothing behind its fault, and the others do."""
    program = compile_model(parser.parse_model(LOOK_UP))
    good, bad = (index.to_bytes(8, "big", signed=True) for index in (1, 9))
    batch = BatchInference(program, [bad, good, bad])
    assert fullest_run(batch) is batch.item(1)
    assert fullest_run(batch).status == 0
    assert fullest_run(BatchInference(program, [bad, bad])).status != 0
    single = Inference(program, good)
    assert fullest_run(single) is single
