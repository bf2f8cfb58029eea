"""
Long runs of a program in processes of their own, with snapshots in files, killed and continued.

`LongRun.make` starts a worker (this module, `python -m lib.long_run`), kills it now and then, and starts the next one,
which takes the newest snapshot. A worker writes a snapshot whole or not at all, and a line for every point it passed.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
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

STEPS_OF_A_ROUND = 2_800_000
"""Of the Go program, at least."""
SNAPSHOT, HASHES = "snapshot.bin", "hashes"


class LongRunFailed(OpmlError):
    """A worker ended otherwise than by being killed, or the program cannot be built."""


def go_program(source: Path, folder: Path, steps: int) -> Path:
    """The Go program, built to make so many steps. Raises `LongRunFailed`."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise LongRunFailed("there is no `go` to build the program with", hint="install Go, or name a program: --elf")
    elf = folder / "long.elf"
    flags = f"-s -w -X main.rounds={steps // STEPS_OF_A_ROUND + 2}"
    target = {"GOOS": "linux", "GOARCH": "mips64", "GOMIPS64": "softfloat", "CGO_ENABLED": "0"}
    command = [go, "build", "-ldflags", flags, "-o", str(elf), "."]
    done = subprocess.run(command, cwd=source, env=os.environ | target, capture_output=True, text=True)
    if done.returncode != 0:
        raise LongRunFailed(f"go build: {done.stderr.strip()}")
    return elf


def random_points(seed: int, steps: int, count: int) -> list[int]:
    """Steps at which states are compared, the last one among them."""
    rng = random.Random(f"points/{seed}")
    return sorted({steps, *(rng.randrange(1, steps) for _ in range(count - 1))})


@dataclass
class LongRun:
    """One way to make the run."""

    name: str
    elf: Path
    execution: Execution
    interval: int
    """Steps between snapshots."""
    points: Sequence[int]
    kills: int = 0
    hashes: Mapping[int, str] = field(default_factory=dict)
    seconds: float = 0
    killed: int = 0

    def make(self, folder: Path, *, seed: int) -> None:
        """Makes it, with its files in `folder`. Raises `LongRunFailed`."""
        folder.mkdir()
        (folder / "elf").write_bytes(self._program())
        rng, started = random.Random(f"kills/{seed}"), time.monotonic()
        while True:
            with subprocess.Popen(self._command(folder), cwd=Path(__file__).parents[1]) as worker:
                wait = rng.uniform(0.5, 8) if self.killed < self.kills else None
                try:
                    code = worker.wait(wait)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    self.killed += 1
                    continue
            if code != 0:
                raise LongRunFailed(f"{self.name}: its process ended with code {code}")
            break
        self.seconds = time.monotonic() - started
        self.hashes = {int(step): hash_ for step, hash_ in map(str.split, (folder / HASHES).read_text().splitlines())}

    def _program(self) -> bytes:
        data = self.elf.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data

    def _command(self, folder: Path) -> list[str]:
        numbers = [int(self.execution), self.interval, *self.points]
        return [sys.executable, "-m", "lib.long_run", str(folder), *map(str, numbers)]

    def facts(self) -> dict[str, object]:
        """What there is to say about it, for JSON."""
        speed = round(self.points[-1] / self.seconds / 1e6)
        told = {"run": self.name, "steps": self.points[-1], "seconds": round(self.seconds, 1), "Msteps_per_s": speed}
        return told | {"kills": self.killed, "last_hash": self.hashes[self.points[-1]]}

    def __str__(self) -> str:
        facts = self.facts()
        return f"{self.name}: {json.dumps({name: facts[name] for name in facts if name != 'run'})}"


def work(folder: Path, execution: Execution, interval: int, points: Sequence[int]) -> None:
    """A worker: from the newest snapshot, or the program's start, to the last point."""
    snapshot = folder / SNAPSHOT
    if snapshot.exists():
        machine = load_state(snapshot.read_bytes())
        machine.execute(execution)
    else:
        machine = Machine.from_elf((folder / "elf").read_bytes(), ml=False, execution=execution)
    while machine.step < points[-1]:
        next_point = next(point for point in points if point > machine.step)
        next_snapshot = (machine.step // interval + 1) * interval
        at = min(next_point, next_snapshot)
        stop = machine.run(at - machine.step)
        if machine.step != at:
            sys.exit(f"the program does not make {at} steps: {stop.message}")
        if at == next_point:
            with (folder / HASHES).open("a") as told:
                told.write(f"{at} {machine.state_hash().hex()}\n")
        if at == next_snapshot:
            fresh = snapshot.with_suffix(".fresh")
            fresh.write_bytes(save_state(machine))
            fresh.replace(snapshot)


if __name__ == "__main__":
    folder_, execution_, interval_, *points_ = sys.argv[1:]
    work(Path(folder_), Execution(int(execution_)), int(interval_), [int(point) for point in points_])
