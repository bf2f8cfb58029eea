"""
A multi-threaded Go program, runtime, scheduler, garbage collector and all, runs to its end in the base machine.

go/README.md says what it does and how it was built. Its output does not depend on the order in which threads run; its
state hash does, and must be the same in every run all the same, for the VM has only one order.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from random import Random

import pytest

from opml_dispute.engine.vm import Machine, StopKind
from opml_dispute.testing.evm_verifier import Verifier

GO = Path(__file__).resolve().parent / "go"
GO_VERSION = "go1.26.8"
STEP_LIMIT = 50_000_000
EXIT_CODE = 31
SYSCALL = 0x0000000C
EXIT_GROUP = 5205


@cache
def go_elf() -> bytes:
    """The program, as committed."""
    return gzip.decompress((GO / "threads.elf.gz").read_bytes())


@cache
def finished() -> Machine:
    """The machine after one uninterrupted run."""
    machine = Machine.from_elf(go_elf(), ml=False)
    machine.listen()
    stop = machine.run(STEP_LIMIT)
    assert stop.kind == StopKind.EXITED, str(stop)
    return machine


def syscall_number(machine: Machine) -> int | None:
    """The system call that the next instruction makes, if it makes one."""
    word = int.from_bytes(machine.read(machine.pc, 4), "big")
    return machine.registers()[2] if word == SYSCALL else None


def threads_made(machine: Machine) -> int:
    """How many threads the program has had: the next thread's id, from the state."""
    return int.from_bytes(machine.witness()[180:188], "big")


def test_go_program_prints_what_it_prints_elsewhere() -> None:
    """Output and exit code are those of the same source on another processor."""
    output, lost = finished().printed()
    assert (output, lost) == ((GO / "expected.txt").read_bytes(), 0)
    assert finished().exit_code == EXIT_CODE


def test_go_program_used_several_threads() -> None:
    """Otherwise this would be a test of something else: four pinned threads, and the runtime's own."""
    assert threads_made(finished()) > 4


def test_go_program_ends_in_one_state() -> None:
    """Stopped at random places, forked and hashed on the way, the run comes to the same state hash."""
    random = Random(1)
    machine = Machine.from_elf(go_elf(), ml=False)
    while not machine.exited:
        machine.run(random.randrange(1, 1_000_000))
        machine.state_hash()
        machine = machine.fork()
    assert machine.step == finished().step
    assert machine.state_hash() == finished().state_hash()


def test_contract_agrees_on_steps_of_the_go_program() -> None:
    """The first of each system call of the start, thread switches, and steps anywhere: the contract's hash is ours."""
    verifier = Verifier(ml=False)
    random = Random(2)
    machine = Machine.from_elf(go_elf(), ml=False)
    calls: set[int] = set()

    def check(at: Machine) -> None:
        for compact in (False, True):
            witness = at.step_witness(compact=compact)
            verdict = verifier.step(witness.state_data, witness.proof)
            assert verdict.post == witness.post_hash, f"step {at.step}: {verdict.refusal}"

    for _ in range(100_000):  # single steps through the start of the runtime, for its system calls
        number = syscall_number(machine)
        if number is not None and number not in calls:
            calls.add(number)
            check(machine)
        machine.run(1)
    assert len(calls) >= 6
    switches = 0
    while not machine.exited and switches < 20:
        before = machine.fork()
        machine.run(200)
        if machine.thread_witness()[:8] != before.thread_witness()[:8]:
            switches += 1
            while before.step < machine.step and syscall_number(before) is None:
                before.run(1)
            check(before)
    while not machine.exited:
        check(machine)
        machine.run(random.randrange(1, 600_000))
    check(finished())


@pytest.mark.slow
def test_go_program_is_built_from_this_source(tmp_path: Path) -> None:
    """The committed file is what README.md's build line makes, where that Go version is there to tell."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed; the committed program was run all the same")
    environment = dict(os.environ, GOTOOLCHAIN="local", GOFLAGS="", GOCACHE=str(tmp_path / "cache"))
    version = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, env=environment).stdout.strip()
    if version != GO_VERSION:
        pytest.skip(f"Go is {version}, the committed program was built with {GO_VERSION}")
    environment.update(CGO_ENABLED="0", GOOS="linux", GOARCH="mips64", GOMIPS64="softfloat")
    built = tmp_path / "threads.elf"
    flags = ["-trimpath", "-buildvcs=false", "-ldflags=-w -buildid="]
    subprocess.run([go, "build", *flags, "-o", str(built), "."], cwd=GO, env=environment, check=True)
    assert built.read_bytes() == go_elf()
