"""
Runs campaigns in processes of their own, notices when one dies, and shrinks what killed it.

`hunt` shares a time among campaigns, one worker process each; a worker tells before each case which one it is about to
play, so that a crash names its case. `Finding` is what came of it: the case shrunk, in a file that `scripts/fuzz-engine
--replay` plays again, and the last words of the process.

    python -m tests.hostile.hunt CAMPAIGN SEED FIRST SECONDS TOLD    a worker: cases from FIRST on; TOLD says which
    python -m tests.hostile.hunt FILE                                plays one case
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.hostile.campaign import Campaign, Move, case_rng, read_case, write_case
from tests.hostile.compiled import CompiledCode
from tests.hostile.files import Programs, States
from tests.hostile.machines import Machines
from tests.hostile.program_files import OnnxFiles, ProgramFiles
from tests.hostile.records import Programs as Inferences
from tests.hostile.records import Records
from tests.hostile.witnesses import Witnesses

CAMPAIGNS: Final[dict[str, Campaign]] = {
    campaign.name: campaign
    for campaign in (
        *(Machines(), CompiledCode(), Programs(), States()),
        *(Witnesses(), Records(), Inferences(), ProgramFiles(), OnnxFiles()),
    )
}
ROOT: Final = Path(__file__).resolve().parents[2]
HANG_S: Final = 90
"""No case of a few thousand steps takes so long, on the slowest build there is."""
SHRINK_S: Final = 120
LAST_WORDS: Final = 60
"""Lines of a dying process that are kept."""


@dataclass(frozen=True)
class Finding:
    """A case that killed the engine, hung it, or broke a promise."""

    campaign: str
    seed: int
    number: int
    """Which case of the seed it was."""
    moves: Sequence[Move]
    """As few as shrinking left."""
    file: Path
    """Where they are written."""
    last_words: str

    def __str__(self) -> str:
        moves = "\n".join(f"  {move}" if len(str(move)) < 300 else f"  {str(move)[:300]}..." for move in self.moves)
        return (
            f"{self.campaign}: case {self.number} of seed {self.seed}, shrunk to {len(self.moves)} moves:\n{moves}\n"
            f"replay: scripts/fuzz-engine --replay {self.file}\n{self.last_words}"
        )


@dataclass(frozen=True)
class Hunted:
    """What a campaign came to."""

    campaign: str
    cases: int
    seconds: float
    finding: Finding | None


def hunt(name: str, *, seed: int, seconds: float, environment: Mapping[str, str], keep: Path) -> Hunted:
    """Plays cases of one campaign for so many seconds of its process, or until one goes wrong; files go to `keep`."""
    with tempfile.NamedTemporaryFile() as told:
        told.write(bytes(8))
        told.flush()
        arguments = [name, str(seed), "0", str(seconds), told.name]
        started = time.monotonic()
        words = _watch(arguments, environment, Path(told.name))
        number = int.from_bytes(Path(told.name).read_bytes()[:8], "little")
    took = time.monotonic() - started
    if words is None:
        return Hunted(name, number, took, None)
    campaign = CAMPAIGNS[name]
    keep.mkdir(parents=True, exist_ok=True)
    file = keep / f"{name}-{seed}-{number}.json"
    moves = shrink(campaign, campaign.moves(case_rng(campaign, seed, number)), environment, file)
    words = replay(file, environment) or words
    return Hunted(name, number, took, Finding(name, seed, number, moves, file, words))


def replay(file: Path, environment: Mapping[str, str]) -> str | None:
    """Plays one case in a process of its own: its last words if it goes wrong, else None."""
    return _watch([str(file)], environment, None)


def shrink(campaign: Campaign, moves: Sequence[Move], environment: Mapping[str, str], file: Path) -> list[Move]:
    """The case without the moves that it goes wrong without, as far as the time reaches; `file` holds it in the end."""
    kept = list(moves)
    write_case(file, campaign, kept)
    until = time.monotonic() + SHRINK_S
    size = max(len(kept) // 2, 1)
    while time.monotonic() < until:
        for at in range(0, len(kept), size):
            fewer = kept[:at] + kept[at + size :]
            write_case(file, campaign, fewer)
            if fewer and replay(file, environment) is not None:
                kept = fewer
                break
        else:
            if size == 1:
                break
            size = size // 2
    write_case(file, campaign, kept)
    return kept


def _watch(arguments: Sequence[str], environment: Mapping[str, str], told: Path | None) -> str | None:
    """Runs this module in a process; its last words if it died or hung, else None."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.hunt", *arguments],
            cwd=ROOT,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        before, since, hung = b"", time.monotonic(), False
        while True:
            try:
                process.wait(1)
                break
            except subprocess.TimeoutExpired:
                now = told.read_bytes() if told is not None else b""
                if now != before:
                    before, since = now, time.monotonic()
                elif time.monotonic() - since > HANG_S:
                    process.kill()
                    hung = True
        output.seek(0)
        words = "".join(output.readlines()[:LAST_WORDS])
    if hung:
        return f"{words}hung: no end of a case in {HANG_S} s"
    return None if process.returncode == 0 else f"{words}exit code {process.returncode}"


def _work(name: str, seed: int, first: int, seconds: float, told: Path) -> None:
    campaign, number = CAMPAIGNS[name], first
    campaign.play([])  # pays for what is loaded once
    until = time.monotonic() + seconds
    with told.open("r+b") as file, mmap.mmap(file.fileno(), 8) as place:
        while time.monotonic() < until:
            place[:] = number.to_bytes(8, "little")
            campaign.play(campaign.moves(case_rng(campaign, seed, number)))
            number += 1
        place[:] = number.to_bytes(8, "little")


def _main(arguments: Sequence[str]) -> None:
    try:
        if len(arguments) == 1:
            name, moves = read_case(Path(arguments[0]))
            CAMPAIGNS[name].play(moves)
        else:
            name, seed, first, seconds, told = arguments
            _work(name, int(seed), int(first), float(seconds), Path(told))
    except Exception:
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)


if __name__ == "__main__":
    _main(sys.argv[1:])
