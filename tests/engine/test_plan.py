"""
What people are told about a program is not what it is run by: states follow from records, weights and input alone.
"""

from __future__ import annotations

from dataclasses import replace

from opml_dispute.engine.inference import Inference
from opml_dispute.model.program import Program
from opml_dispute.primitives import StateRoot
from tests.support.digits import digits_image, digits_program


def roots(program: Program) -> list[StateRoot]:
    """Of all states of the run on one picture, given as the chain gives it."""
    inference = Inference(program, digits_image())
    return [inference.state_root(t) for t in range(program.node_count + 1)]


def test_names_need_not_be_there() -> None:
    program = digits_program()
    bare = replace(program, origins=(), notes=(), fixed={})
    assert bare.model_root == program.model_root
    assert roots(bare) == roots(program)
