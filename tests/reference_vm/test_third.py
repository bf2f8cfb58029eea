"""The machine as docs/vm.md describes it is the machine that the engine runs: a step from the page alone agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.testing.fuzz import fuzz
from opml_dispute.testing.sequences import fuzz_programs
from opml_dispute.testing.vectors import EngineStepper, Stepper, read_vectors, replay
from tests.reference_vm.step import ThirdStepper

FILES = sorted((Path(__file__).parents[1] / "vectors").glob("*.jsonl.gz"))


def steppers() -> dict[bool, dict[str, Stepper]]:
    return {ml: {"engine": EngineStepper(), "third": ThirdStepper()} for ml in (False, True)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_vectors(path: Path) -> None:
    """The third implementation reproduces every vector."""
    count, tallies = replay(read_vectors(path), {"third": ThirdStepper()})
    assert count > 200
    assert not tallies["third"].disagreements, tallies["third"].disagreements[:5]


def test_made_up_states() -> None:
    """The third implementation agrees with the engine on made-up states."""
    found = fuzz(steppers(), seed=21, count=1_500)
    assert found is None, found and (found.vector.to_json(), found.results)


def test_random_programs() -> None:
    """The third implementation agrees with the engine on random programs."""
    found = fuzz_programs(steppers(), seed=21, count=1_500)
    assert found is None, found and (found.vector.to_json(), found.results)
