"""
The short form of scripts/long-run: millions of steps in place of billions, past where compiling starts.

Its third run is killed at planned steps, once while a snapshot is half written.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opml_dispute.engine.execution import Execution

ROOT = Path(__file__).resolve().parents[2]
GO = ROOT / "tests" / "programs" / "go" / "threads.elf.gz"
STEPS = 9_000_000
KILLS = 3


@pytest.fixture
def long_run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The library of the script."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.setattr(importlib.import_module("lib.environment"), "enter", lambda: None)  # we are inside already
    return importlib.import_module("lib.long_run")


@pytest.fixture
def run(long_run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    """Runs the script in this process: the facts that it prints, one object a run."""

    def run() -> Any:
        options = ["--elf", GO, "--steps", STEPS, "--points", 6, "--kills", KILLS, "--json"]
        monkeypatch.setattr(sys, "argv", ["long-run", *map(str, options)])
        runpy.run_path(str(ROOT / "scripts" / "long-run"), run_name="__main__")
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_a_run_that_is_compiled_killed_and_continued_passes_through_the_interpreters_states(
    run: Callable[[], Any],
) -> None:
    facts = run()
    assert [each["run"] for each in facts] == ["interpreted", "compiled", "compiled and killed"]
    assert [each["kills"] for each in facts] == [0, 0, KILLS]
    assert {each["steps"] for each in facts} == {STEPS}
    assert len({each["last_hash"] for each in facts}) == 1


def test_a_state_that_differs_is_told_with_its_step(
    run: Callable[[], Any], long_run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(self: Any, folder: Path) -> None:
        self.seconds = 1.0
        self.hashes = {step: f"{step + (step == self.points[2] and bool(self.kills))}" for step in self.points}

    monkeypatch.setattr(long_run.LongRun, "make", make)
    wrong = long_run.random_points(0, STEPS, 6)[2]
    with pytest.raises(SystemExit, match=rf"the states differ at steps \[{wrong}\]"):
        run()


def test_a_planned_kill_that_does_not_come_about_is_an_error(long_run: ModuleType, tmp_path: Path) -> None:
    steps = 20_000
    made = long_run.LongRun("short", GO, Execution.INTERPRETED, 7_000, [steps], kills=[steps + 1])
    with pytest.raises(long_run.LongRunFailed, match="was to be killed at step 20,001 ended with code 0"):
        made.make(tmp_path / "run")


def test_a_run_that_passes_a_point_again_in_another_state_is_an_error(long_run: ModuleType, tmp_path: Path) -> None:
    made = long_run.LongRun("short", GO, Execution.INTERPRETED, 7_000, [9_000], kills=[8_000])
    assert made._passed(["7 aa", "8 bb", "7 aa"]) == {7: "aa", 8: "bb"}
    with pytest.raises(long_run.LongRunFailed, match="step 8 had another state"):
        made._passed(["7 aa", "8 bb", "8 cc"])


def test_every_other_kill_is_where_a_snapshot_is_due(long_run: ModuleType) -> None:
    for seed in range(20):
        kills = long_run.random_kills(seed, 1000, 100, 5)
        assert kills == sorted(set(kills))
        assert len(kills) == 5
        assert 0 < kills[0] < kills[-1] < 1000
        assert sum(kill % 100 == 0 for kill in kills) >= 2
    assert len(long_run.random_kills(0, 1000, 5000, 3)) == 3  # a run without snapshots
