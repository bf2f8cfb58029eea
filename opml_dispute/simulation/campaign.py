"""
Many trials of a scenario, over all points of its sweep: computed in parallel, kept as Parquet, resumed after a kill.

Trials are cut into batches; a finished batch is one Parquet file, written here under another name and then renamed, so
that a file that is there is whole. A later run of the same scenario computes the batches that are missing. The folder
of a point carries the fingerprint of its settings: other settings never share results."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from opml_dispute.simulation.metrics import Columns
from opml_dispute.simulation.pool import Pool
from opml_dispute.simulation.scenario import Scenario, Sweep
from opml_dispute.simulation.trial import play

Play: TypeAlias = Callable[[Scenario, int], dict[str, Any]]
"""From a scenario and a seed to the row of that trial."""

BATCH_S = 20
"""Seconds that a batch of trials should take: little is lost by a kill, and there are not too many files."""

LARGEST_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Trials `first` to `first + count - 1` of one point."""

    scenario: Scenario
    folder: Path
    first: int
    count: int

    @property
    def path(self) -> Path:
        """Where its rows are kept."""
        return self.folder / f"trials-{self.first:09d}-{self.count:06d}.parquet"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is."""

    done: int
    total: int
    """Trials, those of an earlier run included."""
    elapsed_s: float
    left_s: float | None
    """Estimated from this run's speed; None before the first batch."""


@dataclass(frozen=True, slots=True)
class PointResult:
    """The rows of one point."""

    settings: dict[str, Any]
    """What the sweep varied."""
    scenario: Scenario
    rows: pl.DataFrame

    @property
    def columns(self) -> Columns:
        """Each column as numbers."""
        return {name: self.rows[name].cast(pl.Float64).to_numpy() for name in self.rows.columns}


def run(
    sweep: Sweep, folder: Path, pool: Pool, *, play: Play = play, tell: Callable[[Progress], None] = lambda _: None
) -> list[PointResult]:
    """
    Computes what is missing below `folder`, and returns every point's rows.

    `play` plays one trial; a process of the pool must be able to import it.
    """
    points = [(settings, scenario, folder / scenario.fingerprint) for settings, scenario in sweep.points()]
    missing: list[Batch] = []
    for _, scenario, place in points:
        place.mkdir(parents=True, exist_ok=True)
        (place / "scenario.json").write_text(json.dumps(asdict(scenario), indent=1), encoding="utf-8")
        missing += _missing(scenario, place)
    total = sum(scenario.trials for _, scenario, _ in points)
    left = sum(batch.count for batch in missing)
    started, done = time.monotonic(), total - left
    tell(Progress(done, total, 0.0, None if left else 0.0))
    # Written here: where a batch is played may be another machine.
    for batch, rows in pool.run(partial(play_batch, play=play), missing):
        keep_batch(batch, rows)
        done += batch.count
        left -= batch.count
        elapsed_s = time.monotonic() - started
        speed = (sum(each.count for each in missing) - left) / elapsed_s
        tell(Progress(done, total, elapsed_s, left / speed))
    return [PointResult(settings, scenario, _read(scenario, place)) for settings, scenario, place in points]


def play_batch(batch: Batch, play: Play = play) -> list[dict[str, Any]]:
    """Plays the trials of a batch; their rows."""
    return [play(batch.scenario, seed) for seed in range(batch.first, batch.first + batch.count)]


def keep_batch(batch: Batch, rows: list[dict[str, Any]]) -> None:
    """Writes the rows of a batch."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    unfinished = batch.path.with_suffix(f".{os.getpid()}.partial")
    frame.write_parquet(unfinished)
    unfinished.replace(batch.path)


def _missing(scenario: Scenario, place: Path) -> Iterator[Batch]:
    """The batches of a point that no file holds."""
    have = np.zeros(scenario.trials, dtype=bool)
    for first, count in _kept(place):
        have[first : first + count] = True
    size = max(1, min(LARGEST_BATCH, scenario.trials // 8 or 1, BATCH_S * 20 // max(1, scenario.load.games) or 1))
    start = 0
    while start < scenario.trials:
        if have[start]:
            start += 1
            continue
        end = start
        while end < scenario.trials and not have[end] and end - start < size:
            end += 1
        yield Batch(scenario, place, start, end - start)
        start = end


def _kept(place: Path) -> Iterator[tuple[int, int]]:
    for path in sorted(place.glob("trials-*.parquet")):
        _, first, count = path.stem.split("-")
        yield int(first), int(count)


def _read(scenario: Scenario, place: Path) -> pl.DataFrame:
    """The rows of a point, by seed; those of a longer earlier run are left out."""
    frames = [pl.read_parquet(path) for path in sorted(place.glob("trials-*.parquet"))]
    return (
        pl.concat(frames, how="vertical_relaxed").filter(pl.col("seed") < scenario.trials).unique("seed").sort("seed")
    )
