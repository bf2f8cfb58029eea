"""
Host and VM come to the same, whatever program a stranger registers.

A disagreement, a guest that does not end, or more steps than estimated: each would lose an honest player a game.
`python -m tests.guest.hostile` hunts for longer.
"""

from __future__ import annotations

import pytest

from opml_dispute.engine.inference import judge

from .hostile import disagreement, hostile_program, too_much


@pytest.mark.parametrize("first", range(0, 160, 16))
def test_hostile_programs_come_to_the_same_everywhere(first: int) -> None:
    for seed in range(first, first + 16):
        hostile = hostile_program(seed)
        if not too_much(hostile):
            assert disagreement(hostile) is None, f"seed {seed}: {hostile.records}"


def test_hostile_programs_are_various() -> None:
    """Most run, some are refused, with every kind of refusal; every kernel is there, typed and not."""
    found = [hostile_program(seed) for seed in range(600)]
    statuses = {int(status) for hostile in found for status in judge(hostile.made.records).status}
    assert statuses >= {0, 2, 3, 4, 5, 6}
    assert len({record.opcode for hostile in found for record in hostile.records}) == 17
