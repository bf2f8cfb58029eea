"""A run that is asked for the states of a game keeps some on its way, and answers as one that starts anew each time."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from opml_dispute.engine import analysis, kept_states
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment_memory import SegmentMemory
from opml_dispute.generation.files import open_model
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from tests.generation.models import Made, write_model

PROMPT = np.array([3, 1, 4, 1], np.int64)
ARENA_BYTE = (1 << 39) + (1 << 38)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """One that has no plan yet."""
    file = write_model(tmp_path / "model.gguf", Made())
    made = open_model(file, Binding(prompt_tokens=4, tokens=24))
    assert made.node_count > 1_200
    return made


@pytest.fixture
def nodes_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many nodes each call of the engine has run; every program counts as a long one."""
    counts: list[int] = []
    run = SegmentMemory.run

    def counting(self: SegmentMemory, count: int, joined_hi: int = 0) -> None:
        counts.append(count)
        run(self, count, joined_hi)

    monkeypatch.setattr(SegmentMemory, "run", counting)
    monkeypatch.setattr(analysis, "_LONG_NODES", 1)
    return counts


def asked(program: Program, **changes: object) -> Inference:
    inference = Inference(program, {"prompt": PROMPT}, **changes)  # type: ignore[arg-type]
    inference.expect_questions()
    return inference


def test_a_state_whose_root_was_asked_for_is_kept_as_the_run_leaves_it(program: Program) -> None:
    """A proposer waits for the root, and not for a copy of the state."""
    inference = Inference(program, {"prompt": PROMPT})
    inference.state_root(3)
    assert 3 not in inference._kept
    inference.run_to(0)
    assert 3 in inference._kept


def test_a_game_asks_for_little_more_than_one_run(program: Program, nodes_run: list[int]) -> None:
    """The states that a bisection asks for, from the last one on, take one run and parts of it."""
    inference, last = asked(program), program.node_count
    inference.state_root(last)
    assert sum(nodes_run) == last
    width = 1 << (last - 1).bit_length()
    low, most = 0, 0
    while width > 1:
        width //= 2
        before = sum(nodes_run)
        inference.state_root(min(low + width, last))
        most = max(most, sum(nodes_run) - before)
        low += width if random.Random(width).random() < 0.5 else 0
    assert most <= max(1 << (last - 1).bit_length() >> 4, 256)


def test_states_in_any_order_are_those_of_new_runs(program: Program, nodes_run: list[int]) -> None:
    """Also with a changed byte, from where on nothing is as it was."""
    del nodes_run[:]
    chance = random.Random(5)
    changes = {700: [(ARENA_BYTE, b"\x01" * 8)]}
    plain, changed = asked(program), asked(program, overrides=changes)
    wanted = [chance.randrange(program.node_count + 1) for _ in range(24)] + [0, 256, 512, 700, program.node_count]
    for t in wanted:
        assert plain.state_root(t) == Inference(program, {"prompt": PROMPT}).state_root(t)
        assert changed.state_root(t) == Inference(program, {"prompt": PROMPT}, overrides=changes).state_root(t)
        assert (plain.state_root(t) == changed.state_root(t)) == (t < 700)
    assert plain.outputs()["answer"].tolist() == Inference(program, {"prompt": PROMPT}).outputs()["answer"].tolist()


def test_states_are_kept_within_half_of_the_room(
    program: Program, nodes_run: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for has its place; none is kept on the way where it would take that."""
    del nodes_run[:]
    inference = asked(program)
    inference.run_to(program.node_count)
    sizes = [kept.live.size_bytes for kept in inference._kept.values()]
    assert len(sizes) == program.node_count // 256
    monkeypatch.setattr(kept_states, "KEPT_BYTES", 2 * sum(sizes[:2]))
    inference = asked(program)
    inference.run_to(program.node_count)
    assert list(inference._kept) == [256, 512]
