"""
All states of a subject's runs, as the native engine makes them.

`states` computes them in this process. `in_build` does so in another one, with a build of the engine of one's choice
(the environment variable OPML_ENGINE_ISA) and a number of threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.lib import library_path
from opml_dispute.engine.vm import Block
from tests.determinism.subjects import Run, runs

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class State:
    """One state, and the blocks of INPUT, OUTPUT, ARENA and HEADER that hold something in it."""

    root: bytes
    blocks: Sequence[Block]


def walk(inference: Inference) -> Iterator[State]:
    """S_0 ... S_n in order. WHY NOT `state_root`: it keeps states to go back to, and no test goes back here."""
    for t in range(inference.program.node_count + 1):
        inference.run_to(t)
        yield State(inference._hash(), inference._tree_blocks())


def states(subject: str, threads: int = 1) -> list[list[str]]:
    """
    For each run of the subject its states, as hex: S_0 ... S_n node by node, then S_n twice more.

    The first time from S_0 by the schedule that skips the states between, then with tiles of an operation in one go.
    """
    return [[*_single(run, threads), _scheduled(run, threads), _joined(run, threads)] for run in runs(subject)]


def _single(run: Run, threads: int) -> list[str]:
    return [state.root.hex() for state in walk(run.inference(threads))]


def _scheduled(run: Run, threads: int) -> str:
    inference = run.inference(threads)
    inference.run_to(run.program.node_count)
    return inference._hash().hex()


def _joined(run: Run, threads: int) -> str:
    inference = run.inference(threads)
    inference.run_to(run.program.node_count - 1)
    inference.run_to(run.program.node_count)
    return inference._hash().hex()


class WrongBuild(AssertionError):
    """Another build of the engine was loaded than the one asked for."""


def in_build(isa: str, subjects: Sequence[str], threads: int = 1) -> dict[str, list[list[str]]]:
    """`states` of each subject, with the engine built for `isa`. Raises `WrongBuild` or `CalledProcessError`."""
    command = [sys.executable, "-m", "tests.determinism.states", str(threads), *subjects]
    environment = dict(os.environ, OPML_ENGINE_ISA=isa)
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for answer in found:
        if answer["library"] != f"libopml-{isa}.so":
            raise WrongBuild(f"{answer['library']} was loaded; expected the build for {isa}")
    return {answer["subject"]: answer["states"] for answer in found}


def main() -> None:
    threads, *subjects = sys.argv[1:]
    for subject in subjects:
        answer = {"subject": subject, "library": library_path().name, "states": states(subject, int(threads))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
