"""
The VM's speed beside qemu-mips64 on the same programs in the same run; snapshots, hashes, random steps; gas by kind.

Speeds are the best of a few runs, over processor time, so that a busy machine does not blur them; latencies are by the
clock. qemu translates code and keeps no Merkle tree; where it is not installed its column is empty. Gas is that of the
contract in an in-process EVM, on the steps of a real node's run.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from lib.benchmarks import step
from lib.environment import ROOT
from lib.long_run import go_program
from onnx import TensorProto, helper

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.engine.vm import Execution, Machine, StepWitness
from opml_dispute.fpvm.disassemble import disassemble
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS, digit_samples
from opml_dispute.primitives import item_data
from opml_dispute.testing.evm_verifier import Verifier
from opml_dispute.trace.guest import guest_machine
from opml_dispute.trace.vm import VmTrace

Row = dict[str, Any]

REPEAT = 3
CONTRACTION_SIZE = 320
"""Of the square matrices whose product the guest makes: 33 million products, some 55 million steps."""
INTEGER_SCALE, MEMORY_SCALE, FUSED_SCALE = 100, 10, 2500
"""So that each program makes at least 100 million steps."""
GO_STEPS = 1_000_000_000
RANDOM_STEPS = 40

KINDS = {
    "add": ("addu ", "daddu ", "daddiu ", "addiu "),
    "branch": ("beq ", "bne "),
    "mult": ("dmult ", "dmultu ", "mult ", "multu "),
    "load": ("ld ", "lw ", "lwu "),
    "store": ("sd ", "sw "),
    "float load": ("lwc1 ", "lwxc1 "),
    "add.s": ("add.s ",),
    "madd.s": ("madd.s ",),
    "compare": ("c.",),
}
"""Kinds of steps by how their text begins; system calls are told apart by number."""
CALLS = {5000: "oracle read", 5001: "oracle write", 5205: "exit_group", 7001: "tensor_map", 7002: "tensor_root"}
IN_GAME = {"add", "load", "store", "float load", "madd.s", "oracle read", "tensor_map", "tensor_root"}
"""Kinds whose step is also sent in a game."""
PEER_EXEC_GAS = {"add": 33_524, "load": 45_215, "store": 56_632, "oracle read": 65_773}
"""The OP Stack's verifier on such a step: measured once on its own contract, not repeated here."""
SYSCALL_WORD = 0x0C


def run() -> list[Row]:
    """All measurements, units in their names: M is a million, cpu_s are seconds of processor time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [_guest_contraction()]
        for what, source, scale, ml in (
            ("contraction in C", "fused", FUSED_SCALE, True),
            ("mixed integer code", "integer", INTEGER_SCALE, False),
            ("memory-heavy code", "memory", MEMORY_SCALE, False),
        ):
            rows.append(_beside_qemu(what, _build(source, folder, scale), ml=ml))
        if shutil.which("go") is not None:
            program = go_program(ROOT / "tests" / "programs" / "go" / "long", folder, GO_STEPS)
            rows.append(_beside_qemu("Go program", program, ml=False))
        for what, source, scale in (
            ("mixed integer code", "integer", INTEGER_SCALE),
            ("memory-heavy code", "memory", MEMORY_SCALE),
        ):
            rows.append(_snapshots(what, _build(source, folder, scale)))
    return rows + _gas()


def _build(source: str, folder: Path, scale: int) -> Path:
    """One of the tests' programs, doing `scale` times the work."""
    sys.path.insert(0, str(ROOT))
    from tests.programs.build import build_elf

    return build_elf(source, folder, scale=scale)


def _guest_contraction() -> Row:
    """The guest itself on one MatMul node."""
    size = CONTRACTION_SIZE
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "g", tensors[:2], tensors[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    program = compile_model(model)
    random = np.random.default_rng(0)
    arrays = {name: random.standard_normal((size, size), dtype=np.float32) for name in "ab"}
    inference = Inference(program, arrays)
    start = inference.state_root(0)
    machine = guest_machine()
    machine.set_local(2, start)
    machine.set_local(3, inference.state_root(1))
    machine.set_local(6, item_data())
    machine.add_subtree(start, SEGMENT_LOG2, inference.blocks_at(0))
    steps, seconds, exit_code = _run(machine)
    if exit_code != 0:
        sys.exit("error: the guest finds another state than the native run")
    what = f"guest: MatMul {size}"
    return _speed(what, steps, seconds, _interpreted_s(machine), None)


def _beside_qemu(what: str, elf: Path, *, ml: bool) -> Row:
    machine = Machine.from_elf(elf.read_bytes(), ml=ml)
    steps, seconds, _ = _run(machine)
    emulator = shutil.which("qemu-mips64") or shutil.which("qemu-mips64-static")
    qemu_s = None
    if emulator is not None:
        qemu_s = min(_children_s(lambda: subprocess.run([emulator, elf], capture_output=True)) for _ in range(REPEAT))
    return _speed(what, steps, seconds, _interpreted_s(machine), qemu_s)


def _interpreted_s(machine: Machine) -> float:
    """Best seconds of a whole run without compiled code."""
    machine.execute(Execution.INTERPRETED)
    return _run(machine)[1]


def _speed(what: str, steps: int, seconds: float, interpreted_s: float, qemu_s: float | None) -> Row:
    return {
        "program": what,
        "Msteps": steps / 1e6,
        "cpu_s": seconds,
        "Msteps_per_s": steps / seconds / 1e6,
        "interpreted_Msteps_per_s": steps / interpreted_s / 1e6,
        "qemu_cpu_s": qemu_s,
        "qemu_Msteps_per_s": None if qemu_s is None else steps / qemu_s / 1e6,
    }


def _snapshots(what: str, elf: Path) -> Row:
    """Hashes and forks of a long run, and random steps of it after one run."""
    machine = Machine.from_elf(elf.read_bytes(), ml=True)
    machine.state_hash()
    machine.run(50_000_000)
    first_hash = _time(machine.state_hash)
    machine.run(1000)
    small_hash = _time(machine.state_hash)
    forks: list[Machine] = []
    fork_s = _time(lambda: forks.extend(machine.fork() for _ in range(1000))) / 1000
    trace = VmTrace(Machine.from_elf(elf.read_bytes(), ml=True), depth=40)
    run_s = _time(lambda: trace.exit_step)
    random = Random(1)
    times = []
    for _ in range(RANDOM_STEPS):
        step = random.randrange(trace.exit_step)
        times.append(_time(partial(_answer, trace, step)))
    return {
        "trace": what,
        "Msteps": trace.exit_step / 1e6,
        "hash_after_50M_steps_ms": first_hash * 1e3,
        "hash_after_1000_ms": small_hash * 1e3,
        "fork_us": fork_s * 1e6,
        "one_run_s": run_s,
        "random_step_mean_ms": 1e3 * sum(times) / len(times),
        "random_step_worst_ms": 1e3 * max(times),
    }


def _answer(trace: VmTrace[Machine], step: int) -> None:
    """What a dispute asks about a step: its witness, the hash before and the hash after."""
    machine = trace.machine_at(step)
    machine.state_hash()
    machine.step_witness()


def _gas() -> list[Row]:
    """The first step of each kind in the run of one node of the sample model, in both encodings."""
    program = compile_model(DIGITS)
    inference = Inference(program, {program.inputs[0].name: digit_samples()[0][:1].reshape(program.inputs[0].shape)})
    rows: dict[str, Row] = {}
    numbers: dict[str, int] = {}
    verifier = Verifier(ml=True)
    node = 0
    start, end = inference.state_root(node), inference.state_root(node + 1)
    machine = guest_machine()
    machine.set_local(2, start)
    machine.set_local(3, end)
    machine.set_local(6, item_data())
    machine.add_subtree(start, SEGMENT_LOG2, inference.blocks_at(node))
    local = {2: bytes(start), 3: bytes(end)}
    while not machine.exited:
        kind = _kind(machine)
        if kind is not None and kind not in rows:
            rows[kind] = _step_gas(kind, verifier, machine, local)
            numbers[kind] = machine.step
        machine.run(1)
    order = [*KINDS, *CALLS.values()]
    kinds = sorted(rows, key=order.index)
    in_game = {kind: numbers[kind] for kind in kinds if kind in IN_GAME}
    return [rows[kind] for kind in kinds] + step.run(in_game)


def _kind(machine: Machine) -> str | None:
    word = int.from_bytes(machine.read(machine.pc, 4), "big")
    if word == SYSCALL_WORD:
        registers = machine.registers()
        name = CALLS.get(registers[2])
        return None if name == "oracle write" and registers[4] != 6 else name
    text = disassemble(word, machine.pc, ml=True)
    return next((kind for kind, starts in KINDS.items() if text.startswith(starts)), None)


def _step_gas(kind: str, verifier: Verifier, machine: Machine, local: dict[int, bytes]) -> Row:
    row: Row = {"step": kind, "peer_exec_gas": PEER_EXEC_GAS.get(kind)}
    for encoding in ("full", "compact"):
        witness = machine.step_witness(compact=encoding == "compact")
        _load(verifier, witness, local)
        verdict = verifier.step(witness.state_data, witness.proof)
        if verdict.post != witness.post_hash:
            sys.exit(f"error: engine and contract differ on {kind} at step {machine.step}")
        row |= {
            f"{encoding}_bytes": len(witness.proof),
            f"{encoding}_exec_gas": verdict.execution_gas,
            f"{encoding}_tx_gas": verdict.gas_used,
        }
    return row


def _load(verifier: Verifier, witness: StepWitness, local: dict[int, bytes]) -> None:
    verifier.forget_preimages()
    if witness.preimage is not None:
        ident = int.from_bytes(witness.preimage.key[1:], "big")
        verifier.load_local(ident, local[ident], 32, witness.preimage.offset)


def _run(machine: Machine) -> tuple[int, float, int]:
    """(steps, best seconds, exit code) of a whole run."""
    last: list[Machine] = []

    def once() -> None:
        fork = machine.fork()
        fork.run(1 << 40)
        last[:] = [fork]

    seconds = min(_processor_s(once) for _ in range(REPEAT))
    if not last[0].exited:
        sys.exit("error: a benchmark program did not come to its end")
    return last[0].step, seconds, last[0].exit_code


def _processor_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _children_s(work: Callable[[], object]) -> float:
    """Processor time of the processes that `work` starts and waits for."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    started = used()
    work()
    return used() - started


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
