"""
What people are told about a program is not what it is run by: states follow from records, weights and input alone.

A compiled program's plan (where blocks lie, how wide their elements are, when they are freed) and its names are not
under the model root. So whoever sent the file, or whatever the disk did to it, an honest player claims the true states.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.program import Program
from opml_dispute.primitives import StateRoot
from tests.support.digits import digits_image, digits_program, honest_inference


def roots(program: Program) -> list[StateRoot]:
    """Of all states of the run on one picture, given as the chain gives it."""
    inference = Inference(program, digits_image())
    return [inference.state_root(t) for t in range(program.node_count + 1)]


@pytest.mark.parametrize(
    "change",
    [
        *({"word_bytes": 1}, {"word_bytes": 8}, {"freed_node": 0}, {"freed_node": None}, {"born_node": 3}),
        *({"size_bytes": 0}, {"log2_size": 30}, {"offset": 0}),
    ],
    ids=str,
)
def test_a_wrong_plan_changes_no_state(change: dict[str, Any]) -> None:
    program = digits_program()
    wrong = replace(program, blocks=tuple(replace(block, **change) for block in program.blocks))
    assert wrong.model_root == program.model_root
    assert roots(wrong) == [honest_inference().state_root(t) for t in range(program.node_count + 1)]


def test_neither_blocks_nor_names_need_be_there() -> None:
    program = digits_program()
    bare = replace(program, blocks=(), nodes=(), notes=(), fixed={})
    assert bare.model_root == program.model_root
    assert roots(bare) == roots(program)
