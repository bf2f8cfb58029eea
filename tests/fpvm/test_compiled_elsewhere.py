"""Compiled code of AArch64, under an emulator, passes through the states of this processor's interpreter."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from opml_dispute.engine.vm import Machine
from tests.determinism import replay
from tests.hostile.campaign import Move
from tests.hostile.elsewhere import cases_of, play

GO = Path(__file__).resolve().parents[1] / "programs" / "go" / "threads.elf.gz"

pytestmark = pytest.mark.skipif(replay.find() is None, reason=replay.WHY_SKIPPED)


@pytest.fixture
def emulator() -> str:
    found = replay.find()
    assert found is not None
    return found


def test_made_up_programs_pass_through_the_same_states(emulator: str) -> None:
    assert play(emulator, cases_of(seed=1, first=0, count=25)) > 500


def test_a_go_program_passes_through_the_same_states(emulator: str) -> None:
    program = Machine.from_elf(gzip.decompress(GO.read_bytes()), ml=False)
    moves: list[Move] = [("new", False)]
    moves += [("write", address, page) for address, page in program.memory_parts()[1] if any(page)]
    moves += [("register", index, value) for index, value in enumerate(program.registers())]
    moves += [("jump", program.pc), *(("run", steps) for steps in (800_777, 700_001))]
    assert play(emulator, [moves]) > 1000
