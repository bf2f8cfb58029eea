"""The guest runs a node of the sample model; every step tried is provable, and the contract comes to the same state."""

from __future__ import annotations

import random

import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS, digit_samples
from opml_dispute.primitives import item_data
from opml_dispute.trace.guest import guest_machine
from tests.agreement.harness import check_step, verifier


@pytest.mark.parametrize("node_index", [0, 2])
def test_the_guest_runs_a_node_step_by_step(node_index: int) -> None:
    """The start (pre-images, mapping the segment), steps all over the kernel, and the verdict at the end."""
    program = compile_model(DIGITS)
    images, _ = digit_samples()
    inference = Inference(program, images[0].astype(">f4").tobytes())
    start, end = inference.state_root(node_index), inference.state_root(node_index + 1)
    machine = guest_machine()
    machine.set_local(2, start)
    machine.set_local(3, end)
    machine.set_local(6, item_data())
    machine.add_subtree(start, SEGMENT_LOG2, inference.blocks_at(node_index))
    local = {2: bytes(start), 3: bytes(end), 6: item_data()}
    preimages = {b"\x01" + ident.to_bytes(31, "big"): data for ident, data in local.items()}
    whole = machine.fork()
    whole.run(1 << 40)
    assert (whole.exited, whole.exit_code) == (True, 0)

    verifier(ml=True).forget_preimages()
    rng = random.Random(node_index)
    middle = sorted(rng.sample(range(300, max(whole.step - 200, 301)), k=min(200, max(whole.step - 500, 1))))
    for step in [*range(300), *middle, *range(max(whole.step - 200, 300), whole.step + 2)]:
        if step > machine.step:
            machine.run(step - machine.step)
        check_step(machine, compact=step % 2 == 0, preimages=preimages)
    assert machine.state_hash() == whole.state_hash()
