"""
Compiled code: the same states as the interpreter's at any step, and nothing of it where it is off or not allowed.

`tests/hostile/compiled.py` is the fuzzer that holds both together on made-up programs; here are whole programs, and
what a made-up one would seldom meet.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from opml_dispute.engine.execution import BadExecution, Compiled, Execution, default_execution
from opml_dispute.engine.lib import candidates
from opml_dispute.engine.vm import Machine, StopKind
from opml_dispute.fpvm.statefile import load_state, save_state
from tests.fpvm.program import A0, A1, NOP, START, V0, beq, daddiu, immediate, machine, sd, special
from tests.programs.build import build_elf

GO = Path(__file__).resolve().parents[1] / "programs" / "go" / "threads.elf.gz"
STEP_LIMIT = 50_000_000
COLD_STEPS = 1 << 22
"""`COLD_STEPS` of native/jit/jit.c."""

on_x86 = pytest.mark.skipif(not candidates()[0].startswith("x86_64"), reason="compiles for x86-64 only")


def countdown(rounds: int) -> Machine:
    """A machine before a loop of four instructions that is run `rounds` times, in which a word of memory counts too."""
    loop = [daddiu(4, 4, -1), daddiu(5, 5, 3), immediate(0x05, 0, 4, -3), sd(5, 6, 0), *[NOP] * 20]
    return machine(loop, {4: rounds, 6: 0x20000})


def programs(folder: Path) -> list[tuple[str, bytes, bool]]:
    """(name, ELF file, ML extension)."""
    names = ("integer", "memory", "recursion", "unaligned", "syscalls", "float", "fused")
    built = [(name, build_elf(name, folder).read_bytes(), name in {"float", "fused"}) for name in names]
    return [*built, ("Go threads", gzip.decompress(GO.read_bytes()), False)]


def test_whole_programs_pass_through_the_same_states(tmp_path: Path) -> None:
    """At the end, and at random steps on the way, whatever the run was cut into."""
    random = Random(5)
    for name, elf, ml in programs(tmp_path):
        interpreted = Machine.from_elf(elf, ml=ml, execution=Execution.INTERPRETED)
        compiled = Machine.from_elf(elf, ml=ml, execution=Execution.COMPILED_AT_ONCE)
        cut = Machine.from_elf(elf, ml=ml, execution=Execution.COMPILED_AT_ONCE)
        end = interpreted.fork()
        assert end.run(STEP_LIMIT).kind is StopKind.EXITED, name
        at = 0
        for step in sorted(random.randrange(end.step) for _ in range(3)):
            interpreted.run(step - at)
            compiled.run(step - at)
            at = step
            assert compiled.step == interpreted.step == step, name
            assert compiled.state_hash() == interpreted.state_hash(), (name, step)
        compiled.run(STEP_LIMIT)
        assert compiled.state_hash() == end.state_hash(), name
        while not cut.exited:  # every piece from another fork or file, never at a block's end
            cut.run(end.step // 3 + 1)
            cut = cut.fork() if random.random() < 0.5 else load_state(save_state(cut))
        assert (cut.step, cut.state_hash()) == (end.step, end.state_hash()), name


@on_x86
def test_only_what_runs_long_is_compiled() -> None:
    short = countdown(1000)
    short.run(10_000)
    assert short.compiled() == Compiled(possible=True, entries=0, code_bytes=0, drops=0)
    long = countdown(COLD_STEPS)
    long.run(2 * COLD_STEPS)
    assert long.compiled().entries > 0
    assert long.compiled().drops == 0


@on_x86
def test_a_limit_of_steps_is_met_exactly_inside_of_compiled_code() -> None:
    compiled, interpreted = countdown(1 << 30), countdown(1 << 30)
    compiled.execute(Execution.COMPILED_AT_ONCE)
    interpreted.execute(Execution.INTERPRETED)
    for steps in (1, 2, 3, 4, 5, 6, 7, 99_990, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 100_003, 300_001):
        assert compiled.run(steps).steps == interpreted.run(steps).steps == steps
        assert compiled.state_hash() == interpreted.state_hash()
    assert compiled.compiled().entries > 0


@on_x86
def test_a_program_that_changes_its_own_loop_runs_the_changed_one() -> None:
    """The loop's first word, daddiu r5, r5, 1, is stored over by itself with another constant each time round."""
    word = daddiu(5, 5, 1)
    loop = [word, immediate(0x2B, 7, 6, 0), daddiu(7, 7, 1), beq(0, 0, -4), NOP, *[NOP] * 10]
    machines = [machine(loop, {5: 0, 6: START, 7: word}) for _ in range(2)]
    for at, execution in zip(machines, (Execution.INTERPRETED, Execution.COMPILED_AT_ONCE), strict=True):
        at.execute(execution)
        at.run(2_000)
    assert machines[0].state_hash() == machines[1].state_hash()
    assert machines[1].compiled().drops > 10
    assert not machines[1].compiled().possible  # so often that it is better interpreted


@on_x86
def test_code_that_is_written_from_outside_is_met() -> None:
    at = countdown(1 << 40)
    at.execute(Execution.COMPILED_AT_ONCE)
    at.run(1000)
    fork = at.fork()
    at.write(START + 4, daddiu(5, 5, 100).to_bytes(4, "big"))
    before = at.registers()[5]
    at.run(400)
    fork.run(400)
    assert at.registers()[5] - before == 100 * 100
    assert fork.registers()[5] - before == 100 * 3
    assert at.compiled().drops == 1


def test_a_register_0_that_is_not_zero_reads_as_it_stands() -> None:
    at = machine([special(0x2D, rd=5, rs=5, rt=0), beq(2, 2, -2), NOP], {0: 7})
    at.execute(Execution.COMPILED_AT_ONCE)
    at.run(3000)
    assert at.registers()[5] == 7 * 1000


def test_threads_change_places_at_the_same_step() -> None:
    clone = [daddiu(V0, 0, 5055), immediate(0x0F, A0, 0, 5), immediate(0x0D, A0, A0, 0x0F00), 0x0C]
    loop = [daddiu(8, 8, 1), beq(0, 0, -2), daddiu(9, 9, 1)]
    machines = [machine([*clone, *loop], {A1: 0x5000_0000}, ml=False) for _ in range(2)]
    machines[0].execute(Execution.INTERPRETED)
    machines[1].execute(Execution.COMPILED_AT_ONCE)
    for steps in (99_999, 1, 1, 1, 99_999, 2, 450_000):
        for at in machines:
            at.run(steps)
        assert machines[0].witness() == machines[1].witness()
    assert machines[0].scalars.slice == machines[1].scalars.slice


def test_the_environment_says_how_machines_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, execution in (("0", Execution.INTERPRETED), ("1", Execution.COMPILED), ("", Execution.COMPILED)):
        monkeypatch.setenv("OPML_JIT", word)
        assert Machine(ml=True).execution is default_execution() is execution
    monkeypatch.setenv("OPML_JIT", "yes")
    with pytest.raises(BadExecution, match="OPML_JIT is 'yes'") as caught:
        Machine(ml=True)
    assert "unset OPML_JIT" in (caught.value.hint or "")
    assert Machine(ml=True, execution=Execution.INTERPRETED).fork().execution is Execution.INTERPRETED


@on_x86
@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="no list of this process's memory")
def test_no_memory_is_writable_and_executable() -> None:
    def mappings() -> set[tuple[str, str]]:
        """(addresses, protection) of what can be executed."""
        lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        return {(words[0], words[1]) for words in lines if "x" in words[1]}

    before = mappings()  # Python's own may be both
    at = countdown(1 << 40)
    at.execute(Execution.COMPILED_AT_ONCE)
    at.run(100_000)
    assert at.compiled().entries > 0
    new = mappings() - before
    assert new
    assert not [protection for _, protection in new if "w" in protection]


_WITHOUT_EXECUTABLE = """
import ctypes, sys
from opml_dispute.engine.vm import Execution, Machine
at = Machine(ml=True, execution=Execution.COMPILED_AT_ONCE)
at.write(0, bytes.fromhex("6484000164a50003" "1000fffd" "00000000"))
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    sys.exit(77)
at.run(4000)
assert at.registers()[4:6] == (1000, 3000), at.registers()
assert not at.compiled().possible
"""


@on_x86
def test_where_the_system_forbids_it_the_interpreter_goes_on_alone() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT_EXECUTABLE], capture_output=True, text=True, env=os.environ)
    if done.returncode == 77:
        pytest.skip("this system cannot refuse executable memory to a process")
    assert done.returncode == 0, done.stderr
