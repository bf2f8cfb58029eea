"""
A few seconds of every campaign of hostile input, on the engine as it is built; `scripts/fuzz-engine` is the long run.

In processes of their own: a crash is a failed test with a case to replay, not the end of the tests.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.hostile.campaign import case_rng, edited, random_edits, read_case, write_case
from tests.hostile.hunt import CAMPAIGNS, hunt

SECONDS = 2.0


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_nothing_crashes_the_engine(name: str, tmp_path: Path) -> None:
    hunted = hunt(name, seed=1, seconds=SECONDS, environment=os.environ, keep=tmp_path)
    assert hunted.finding is None, str(hunted.finding)
    assert hunted.cases > 10


def test_a_crash_is_noticed_and_its_case_shrunk(tmp_path: Path) -> None:
    """With an engine that is not there nothing works, so that any one move is enough."""
    broken = dict(os.environ, OPML_ENGINE_LIBRARY=str(tmp_path / "missing.so"))
    found = hunt("machines", seed=1, seconds=SECONDS, environment=broken, keep=tmp_path).finding
    assert found is not None
    assert found.number == 0
    assert len(found.moves) == 1
    assert "EngineMissing" in found.last_words
    assert read_case(found.file) == ("machines", list(found.moves))


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_case_is_the_same_whenever_it_is_made_or_read(name: str, tmp_path: Path) -> None:
    campaign = CAMPAIGNS[name]
    moves = campaign.moves(case_rng(campaign, 5, 3))
    assert moves == campaign.moves(case_rng(campaign, 5, 3))
    write_case(tmp_path / "case", campaign, moves)
    assert read_case(tmp_path / "case") == (name, moves)


def test_edits_fit_whatever_is_left_to_edit() -> None:
    rng = random.Random(1)
    for _ in range(300):
        edits = random_edits(rng, 100, part="a")
        assert edited(bytes(100), edits, "b") == bytes(100)
        edited(b"", edits, "a")
        edited(rng.randbytes(rng.randrange(9)), edits, "a")
