"""
The scripts that hunt for a difference between engine and contract, on a difference that was planted.

What `scripts/fuzz-vm` prints must be what `scripts/vectors` reads: a difference that was found on one machine can be
examined on another.
"""

from __future__ import annotations

import gzip
import importlib
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.primitives import StateHash
from opml_dispute.testing.vectors import EngineStepper, Vector

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

Run = Callable[..., tuple[dict[str, Any], int]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script in this process: the object it prints, and its exit code."""
    monkeypatch.syspath_prepend(SCRIPTS)
    environment = importlib.import_module("lib.environment")
    monkeypatch.setattr(environment, "enter", lambda: None)  # we are inside already

    def run(name: str, *arguments: object) -> tuple[dict[str, Any], int]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        assert isinstance(ended.value.code, int)
        answer = json.loads(capsys.readouterr().out)
        assert isinstance(answer, dict)
        return answer, ended.value.code

    return run


def loads_left_at_the_third_byte(vector: Vector) -> bool:
    """Whether the vector's instruction is lwl at the third byte of a word."""
    start = 8 if vector.proof.startswith(b"OPMLCMP1") else 0
    pc = int.from_bytes(vector.proof[start + 10 : start + 18], "big")
    leaf_at = start + (430 if vector.ml else 298) + 32
    word = int.from_bytes(vector.proof[leaf_at + pc % 32 : leaf_at + pc % 32 + 4], "big")
    register_at = start + 42 + 8 * (word >> 21 & 31)
    base = int.from_bytes(vector.proof[register_at : register_at + 8], "big")
    return word >> 26 == 0x22 and (base + word) % 4 == 2


def test_a_planted_difference_is_printed_as_a_vector_that_shows_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The engine gets one instruction at one alignment wrong: a rare thing, found, made small, and seen again."""
    right = EngineStepper.step_vector

    def broken(stepper: EngineStepper, vector: Vector) -> StateHash | None:
        post = right(stepper, vector)
        return StateHash(b"\x03" * 32) if post is not None and loads_left_at_the_third_byte(vector) else post

    monkeypatch.setattr(EngineStepper, "step_vector", broken)
    found, code = run("fuzz-vm", "--seed", 12, "--steps", 10_000)
    assert (code, found["mismatches"]) == (1, 1)
    assert found["results"]["contract"] == found["results"]["third"] == found["vector"]["post"]
    assert found["results"]["engine"] == "0x" + "03" * 32

    file = tmp_path / "found.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(found["vector"]).encode() + b"\n"))
    seen, code = run("vectors", file)
    assert code == 1
    assert (seen["vectors"], seen["engine_agree"], seen["contract_agree"]) == (1, 0, 1)
    assert len(seen["engine_disagreements"]) == 1

    monkeypatch.setattr(EngineStepper, "step_vector", right)
    seen, code = run("vectors", file)
    assert (code, seen["engine_agree"], seen["contract_agree"]) == (0, 1, 1)


def test_without_a_difference_nothing_is_printed(run: Run) -> None:
    """And the exit code says so."""
    found, code = run("fuzz-vm", "--seed", 3, "--steps", 400)
    assert (code, found["mismatches"], found["steps"]) == (0, 0, 400)
    assert "vector" not in found
