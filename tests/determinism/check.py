"""
The comparison as a command: every subject, on every build, machine and number of threads, and in the VM.

`main` is what scripts/determinism calls. What it compares with are the states of this process, run by one thread; a
line a subject says where they were found again, or the first state that differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence

from opml_dispute.engine.lib import candidates
from opml_dispute.model.program import Program
from opml_dispute.toolchain.native import ISAS
from opml_dispute.trace.guest import run_node_in_vm
from tests.determinism import replay
from tests.determinism.states import in_build, states
from tests.determinism.subjects import SUBJECTS, Run, runs

VM_STEPS = 1 << 32
"""A subject whose nodes may take more VM steps than this is run there in part: `VM_NODES` nodes."""
VM_NODES = 12


class Differs(AssertionError):
    """Not the same bits."""


def compare(expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> None:
    """Raises `Differs`, naming the first state that does."""
    if [len(run) for run in expected] != [len(run) for run in found]:
        raise Differs("another number of states")
    for number, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        for t, (root, other) in enumerate(zip(wanted, got, strict=True)):
            if root != other:
                last = len(wanted) - 3
                where = f"S_{t}" if t <= last else f"S_{last}, {('scheduled', 'tiles in one go')[t - last - 1]}"
                raise Differs(f"run {number}: {where} is 0x{other}; expected 0x{root}")


def vm_nodes(run: Run) -> list[int]:
    """The nodes to run in the VM: all, or spread over the program where they are too long."""
    assert isinstance(run.program, Program)
    count = run.program.node_count
    if sum(run.program.node_steps) <= VM_STEPS:
        return list(range(count))
    return sorted({round(i * (count - 1) / (VM_NODES - 1)) for i in range(VM_NODES)})


def in_vm(run: Run) -> int:
    """Runs nodes in the VM from the native states; how many were run. Raises `Differs`."""
    inference, chosen = run.inference(), vm_nodes(run)
    for t in chosen:
        if not run_node_in_vm(inference, t).agrees:
            raise Differs(f"the VM does not come to S_{t + 1}")
    return len(chosen)


def variants(threads: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Every build of the engine for this kind of machine that runs here, each with each number of threads."""
    for isa in reversed(candidates()):
        for count in threads:
            yield isa, count


def _checks(subject: str, expected: Sequence[Sequence[str]], threads: Sequence[int], vm: bool) -> Iterator[str]:
    """Runs everything for one subject; one word for each way that agrees."""
    for isa, count in variants(threads):
        compare(expected, in_build(isa, [subject], count)[subject])
        yield f"{isa}/{count}"
    emulator = replay.find()
    if emulator is not None:
        for count in threads:
            compare(expected, replay.replay(emulator, runs(subject), count))
            yield f"aarch64/{count}"
    if vm:
        programs = [run for run in runs(subject) if isinstance(run.program, Program)]
        done = sum(map(in_vm, programs))
        total = sum(run.program.node_count for run in programs)
        yield "guest" if done == total else f"guest ({done} of {total:,} nodes)"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/determinism",
        description="Compare all states of inferences: on every build of the engine, on AArch64, in the VM.",
    )
    parser.add_argument("-k", metavar="PATTERN", default="", help="only subjects whose name contains PATTERN")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    parser.add_argument("--no-vm", action="store_true", help="leave the VM out")
    parser.add_argument("--json", action="store_true", help="one JSON object a subject")
    options = parser.parse_args(arguments)
    missing = sorted(set(ISAS.get("x86_64", ())) - set(candidates()))
    if replay.find() is None:
        missing.append(f"aarch64 ({replay.WHY_SKIPPED})")
    if missing:
        print(f"not run here: {', '.join(missing)}", file=sys.stderr)
    failed = 0
    for subject in SUBJECTS:
        if options.k not in subject:
            continue
        begin, agreed, problem = time.monotonic(), list[str](), ""
        expected = states(subject)
        try:
            for way in _checks(subject, expected, options.threads, not options.no_vm):
                agreed.append(way)
        except Differs as difference:
            problem, failed = str(difference), failed + 1
        seconds = time.monotonic() - begin
        count = sum(map(len, expected))
        if options.json:
            facts = {
                "subject": subject,
                "states": count,
                "same": agreed,
                "differs": problem,
                "seconds": round(seconds, 1),
            }
            print(json.dumps(facts), flush=True)
        else:
            verdict = f"DIFFERS after {', '.join(agreed)}: {problem}" if problem else f"same: {', '.join(agreed)}"
            print(f"{subject:24} {count:6,} states  {verdict}  ({seconds:.1f} s)", flush=True)
    return 1 if failed else 0
