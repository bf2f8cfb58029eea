"""An inference that goes to and fro between its first and its last state is at every stop what a fresh one is there."""

from __future__ import annotations

import random

import pytest

from opml_dispute.engine.analysis import ProgramAnalysis
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import ARENA, HEADER, INPUT, OUTPUT
from opml_dispute.engine.segment_memory import ReadySchedule
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import Unary
from opml_dispute.models import DIGITS, digit_samples
from tests.engine.test_schedule import INPUT_IMAGE, A, B, bare, fill, unary

SECTIONS = (HEADER, INPUT, OUTPUT, ARENA)


def content(inference: Inference) -> list[bytes]:
    return [inference.read(section.offset, 4096) for section in SECTIONS]


def fresh(inference: Inference, t: int) -> Inference:
    """Another inference of the same, at S_t."""
    other = Inference(inference.program, inference.input_image)
    other.run_to(t)
    return other


@pytest.mark.parametrize("seed", range(8))
def test_any_walk_finds_the_states_of_a_fresh_run(seed: int) -> None:
    """Ends most often; looked at, hashed from what is known of their blocks, or passed by."""
    rng = random.Random(seed)
    chain = bare(fill(A, 16), unary(Unary.NEG, B, INPUT.offset, 16), unary(Unary.ABS, OUTPUT.offset, B, 16, [B]))
    schedule = ProgramAnalysis.of(chain).schedule
    assert schedule is not None
    assert schedule.repeats
    walker = Inference(chain, INPUT_IMAGE)
    last = walker.program.node_count
    answers = {t: (fresh(walker, t).state_root(t), content(fresh(walker, t))) for t in range(last + 1)}
    for _ in range(150):
        t = rng.choice([0, last, 0, last, rng.randint(0, last)])
        walker.run_to(t)
        looks = rng.randrange(4)
        if looks == 0:
            assert content(walker) == answers[t][1]
        elif looks == 1:
            walker._roots.clear()  # so that it is hashed again
            assert walker.state_root(t) == answers[t][0]


def test_repeated_runs_make_no_blocks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second run on both ends are there, and the schedule is all that runs."""
    inference = Inference(compile_model(DIGITS), {"image": digit_samples()[0][:1]})
    last = inference.program.node_count
    for t in (last, 0, last):
        inference.run_to(t)
    expected = inference.output_image()
    runs: list[bool] = []
    run = ReadySchedule.run

    def counted(self: ReadySchedule) -> bool:
        runs.append(run(self))
        return runs[-1]

    monkeypatch.setattr(ReadySchedule, "run", counted)
    monkeypatch.setattr(Inference, "_restore", lambda *_: pytest.fail("it starts anew"))
    monkeypatch.setattr(Inference, "_run_whole", lambda *_: pytest.fail("it is planned anew"))
    for _ in range(3):
        inference.run_to(0)
        inference.run_to(last)
        assert inference.output_image() == expected
    assert runs == [True] * 3
