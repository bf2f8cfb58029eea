"""
Whole programs, compiled from C, run in the VM as they run elsewhere.

Each prints a digest of all it computed. The same source compiled for this machine says which digest is right; that
comparison is always made. Where qemu-mips64 is installed, it runs the same ELF file, and not only output and exit
code but every register and all writable memory must end up the same.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from opml_dispute.engine.vm import Machine, Reason, StopKind
from tests.programs import qemu
from tests.programs.build import ALL, TestProgram, build_elf, build_host, symbols

STEP_LIMIT = 100_000_000
MAPPED_START = 0x1000000000
"""Where the frame puts fresh memory: frame_mips64.c."""

EVERY = pytest.mark.parametrize("program", ALL, ids=lambda program: program.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where built programs lie during this module's tests."""
    return tmp_path_factory.mktemp("programs")


def run_in_vm(elf: Path, *, ml: bool) -> tuple[Machine, bytes]:
    """The machine after its exit, and what the program printed."""
    machine = Machine.from_elf(elf.read_bytes(), ml=ml)
    machine.listen()
    stop = machine.run(STEP_LIMIT)
    assert stop.kind == StopKind.EXITED, str(stop)
    output, lost = machine.printed()
    assert lost == 0
    return machine, output


@EVERY
def test_program_ends_as_on_the_host(program: TestProgram, folder: Path) -> None:
    """The same source, compiled for this machine, prints the same and exits with the same code."""
    host = subprocess.run([build_host(program.name, folder)], capture_output=True, timeout=60)
    elf = build_elf(program.name, folder)
    # Without floating point a program must not care whether the ML extension is on.
    for ml in (True,) if program.is_float else (False, True):
        machine, output = run_in_vm(elf, ml=ml)
        assert (output, machine.exit_code) == (host.stdout, host.returncode)


@EVERY
def test_program_ends_as_under_qemu(program: TestProgram, folder: Path) -> None:
    """Output, exit code, every register and all writable memory are what another implementation of MIPS64 makes."""
    emulator = qemu.find()
    if emulator is None:
        pytest.skip(qemu.WHY_SKIPPED)
    if program.is_fused:
        pytest.skip("qemu rounds MIPS64's madd.s twice, as some processors do; the VM's is fused (docs/vm.md)")
    elf = build_elf(program.name, folder)
    machine, output = run_in_vm(elf, ml=program.is_float)
    assert (output, machine.exit_code) == qemu.run(emulator, elf)

    place = symbols(elf.read_bytes())
    static = (place["writable_start"], place["writable_end"] - place["writable_start"])
    mapped = (MAPPED_START, int.from_bytes(machine.read(place["mapped_end"], 8), "big") - MAPPED_START)
    other = qemu.final_state(emulator, elf, place["exit_syscall"], [static, mapped])
    thread = machine.thread_witness()
    assert machine.pc == other.pc
    assert machine.registers() == other.registers
    assert (int.from_bytes(thread[26:34], "big"), int.from_bytes(thread[34:42], "big")) == (other.lo, other.hi)
    assert (machine.read(*static), machine.read(*mapped)) == other.memory
    if program.is_float:
        assert machine.float_registers() == other.fprs
        assert int.from_bytes(thread[426:430], "big") == other.conditions


def test_floating_point_needs_an_ml_state(folder: Path) -> None:
    """A base state has no floating point, as the base machine: the first such instruction has no successor."""
    machine = Machine.from_elf(build_elf("float", folder).read_bytes(), ml=False)
    stop = machine.run(STEP_LIMIT)
    assert (stop.kind, stop.reason) == (StopKind.NO_SUCCESSOR, Reason.UNSUPPORTED_INSTRUCTION)


@EVERY
def test_run_in_pieces_is_the_same_run(program: TestProgram, folder: Path) -> None:
    """Stopping anywhere, forking and going on leads to the same state hash."""
    elf = build_elf(program.name, folder)
    whole, _ = run_in_vm(elf, ml=program.is_float)
    machine = Machine.from_elf(elf.read_bytes(), ml=program.is_float)
    piece = 1
    while not machine.exited:
        machine.run(piece)
        machine.state_hash()
        machine = machine.fork()
        piece = piece * 3 // 2 + 1
    assert machine.step == whole.step
    assert machine.state_hash() == whole.state_hash()
