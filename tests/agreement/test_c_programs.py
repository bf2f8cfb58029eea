"""Steps of compiled programs, anywhere in their runs: the contract comes to the state that the engine comes to."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from opml_dispute.engine.vm import Machine
from tests.agreement.harness import check_step
from tests.programs.build import ALL, TestProgram, build_elf

STEPS = 25


@pytest.mark.parametrize("program", ALL, ids=lambda program: program.name)
def test_contract_makes_the_steps_of_a_program(program: TestProgram, tmp_path: Path) -> None:
    """Some steps at random, in both encodings, and the last one."""
    random = Random(program.name)
    machine = Machine.from_elf(build_elf(program.name, tmp_path).read_bytes(), ml=True)
    end = machine.fork()
    end.run(1 << 40)
    for step in sorted(random.randrange(end.step) for _ in range(STEPS)):
        machine.run(step - machine.step)
        check_step(machine.fork(), compact=random.random() < 0.5)
    machine.run(end.step - 1 - machine.step)
    check_step(machine, compact=True)
    assert machine.exited
