"""
Long runs of a program in processes of their own, with snapshots in files, killed and continued.

`LongRun.make` starts a worker (this module, `python -m lib.long_run`) and, when that was killed, the next one, which
takes the newest snapshot. A worker writes a snapshot whole or not at all, and a line for every point it passed.

Kills are planned, so that they come about however fast the processor is: at a certain step a worker sends itself the
signal that no process survives; where a snapshot is due at that step, when half of its file is written.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opml_dispute.engine.execution import Execution
from opml_dispute.engine.vm import Machine
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.statefile import load_state, save_state

STEPS_OF_A_ROUND = 45_000_000
"""Of the Go program, at least."""
SNAPSHOT, HASHES = "snapshot.bin", "hashes"
NEVER = 0
"""In place of a step at which a worker is killed."""


class LongRunFailed(OpmlError):
    """A worker ended otherwise than by being killed, or the program cannot be built."""


def go_program(source: Path, folder: Path, steps: int) -> Path:
    """The Go program, built to make so many steps. Raises `LongRunFailed`."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise LongRunFailed("there is no `go` to build the program with", hint="install Go, or name a program: --elf")
    elf = folder / "long.elf"
    flags = f"-X main.rounds={steps // STEPS_OF_A_ROUND + 2}"
    command = [go, "build", "-ldflags", flags, "-o", str(elf), "."]
    # docs/op-stack.md says what happens with the new collector. A toolchain without the choice builds with what it has.
    for choice in ({"GOEXPERIMENT": "nogreenteagc"}, {}):
        target = {"GOOS": "linux", "GOARCH": "mips64", "GOMIPS64": "softfloat", "CGO_ENABLED": "0"} | choice
        done = subprocess.run(command, cwd=source, env=os.environ | target, capture_output=True, text=True)
        if done.returncode == 0:
            return elf
        if "unknown GOEXPERIMENT" not in done.stderr:
            break
    raise LongRunFailed(f"go build: {done.stderr.strip()}")


def random_points(seed: int, steps: int, count: int) -> list[int]:
    """Steps at which states are compared, the last one among them."""
    rng = random.Random(f"points/{seed}")
    return sorted({steps, *(rng.randrange(1, steps) for _ in range(count - 1))})


def random_kills(seed: int, steps: int, interval: int, count: int) -> list[int]:
    """Steps at which a run is killed: every other one that of a snapshot, as far as there are so many."""
    rng = random.Random(f"kills/{seed}")
    snapshots = range(interval, steps, interval)
    kills = set(rng.sample(snapshots, min(count // 2, len(snapshots))))
    while len(kills) < min(count, steps - 1):
        kills.add(rng.randrange(1, steps))
    return sorted(kills)


@dataclass
class LongRun:
    """One way to make the run."""

    name: str
    elf: Path
    execution: Execution
    interval: int
    """Steps between snapshots."""
    points: Sequence[int]
    kills: Sequence[int] = ()
    """Steps at which its process is killed, ascending, before the last point."""
    hashes: Mapping[int, str] = field(default_factory=dict)
    seconds: float = 0

    def make(self, folder: Path) -> None:
        """Makes it, with its files in `folder`. Raises `LongRunFailed`, also if a planned kill does not come about."""
        folder.mkdir()
        (folder / "elf").write_bytes(self._program())
        started = time.monotonic()
        for kill in (*self.kills, NEVER):
            worker = subprocess.run(self._command(folder, kill), cwd=Path(__file__).parents[1])
            expected = 0 if kill == NEVER else -signal.SIGKILL
            if worker.returncode != expected:
                plan = "was not to be killed" if kill == NEVER else f"was to be killed at step {kill:,}"
                raise LongRunFailed(f"{self.name}: a process that {plan} ended with code {worker.returncode}")
        self.seconds = time.monotonic() - started
        self.hashes = self._passed((folder / HASHES).read_text().splitlines())

    def _passed(self, lines: Sequence[str]) -> dict[int, str]:
        """The hash at each point. A run that was continued may have passed a point twice, in the same state."""
        hashes: dict[int, str] = {}
        for step, hash_ in map(str.split, lines):
            if hashes.setdefault(int(step), hash_) != hash_:
                raise LongRunFailed(f"{self.name}: after it was continued, step {int(step):,} had another state")
        return hashes

    def _program(self) -> bytes:
        data = self.elf.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data

    def _command(self, folder: Path, kill: int) -> list[str]:
        numbers = [int(self.execution), self.interval, kill, *self.points]
        return [sys.executable, "-m", "lib.long_run", str(folder), *map(str, numbers)]

    def facts(self) -> dict[str, object]:
        """What there is to say about it, for JSON."""
        speed = round(self.points[-1] / self.seconds / 1e6)
        told = {"run": self.name, "steps": self.points[-1], "seconds": round(self.seconds, 1), "Msteps_per_s": speed}
        return told | {"kills": len(self.kills), "last_hash": self.hashes[self.points[-1]]}

    def __str__(self) -> str:
        facts = self.facts()
        return f"{self.name}: {json.dumps({name: facts[name] for name in facts if name != 'run'})}"


def work(folder: Path, execution: Execution, interval: int, kill: int, points: Sequence[int]) -> None:
    """A worker: from the newest snapshot, or the program's start, to the last point or to where it is killed."""
    snapshot = folder / SNAPSHOT
    if snapshot.exists():
        machine = load_state(snapshot.read_bytes())
        machine.execute(execution)
    else:
        machine = Machine.from_elf((folder / "elf").read_bytes(), ml=False, execution=execution)
    while machine.step < points[-1]:
        next_point = next(point for point in points if point > machine.step)
        next_snapshot = (machine.step // interval + 1) * interval
        at = min(next_point, next_snapshot, kill if kill > machine.step else next_point)
        stop = machine.run(at - machine.step)
        if machine.step != at:
            sys.exit(f"the program does not make {at} steps: {stop.message}")
        if at == next_point:
            with (folder / HASHES).open("a") as told:
                told.write(f"{at} {machine.state_hash().hex()}\n")
        if at == next_snapshot:
            fresh, data = snapshot.with_suffix(".fresh"), save_state(machine)
            fresh.write_bytes(data if at != kill else data[: len(data) // 2])
        if at == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if at == next_snapshot:
            fresh.replace(snapshot)


if __name__ == "__main__":
    folder_, execution_, *numbers_ = sys.argv[1:]
    interval_, kill_, *points_ = map(int, numbers_)
    work(Path(folder_), Execution(int(execution_)), interval_, kill_, points_)
