"""The steps of a long program, which are held once for each kind, make what its nodes make one by one."""

from __future__ import annotations

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.files import compile_language_model, read_language_model
from opml_dispute.model.files import Binding
from opml_dispute.models import LETTERS
from opml_dispute.operator.inspection import made_up_inputs

PACKED_FROM = 1 << 13
"""Steps (native/inference/schedule.c)."""


def test_a_long_program_ends_in_the_same_state_as_node_by_node() -> None:
    """Twice, since a second run finds what the first one left."""
    program = compile_language_model(read_language_model(LETTERS), Binding(prompt_tokens=8, tokens=120), "letters")
    inputs = made_up_inputs(program)
    whole, single = (Inference(program, inputs, threads=2) for _ in range(2))
    schedule = whole._analysis.schedule
    assert schedule is not None
    assert len(schedule.steps) >= PACKED_FROM
    single.run_to(program.node_count - 1)
    expected = single.state_root(program.node_count)
    assert whole.state_root(program.node_count) == expected
    whole.run_to(0)
    whole.run_to(program.node_count)
    assert whole.output_image() == single.output_image()
    assert Inference(program, inputs).state_root(program.node_count) == expected
