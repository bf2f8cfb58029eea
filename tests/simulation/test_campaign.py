"""A campaign loses nothing: it goes on where it was stopped, and never mixes results of different settings."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from opml_dispute.devnet.anvil import is_alive
from opml_dispute.simulation.campaign import Batch, Progress, keep_batch, play_batch, run
from opml_dispute.simulation.pool import InProcess, LocalProcesses, NoSuchPool, Pool, RayCluster
from opml_dispute.simulation.scenario import Sweep, parse, with_settings
from opml_dispute.simulation.schema import ScenarioError
from opml_dispute.simulation.trial import play

LIAR = {"strategy": "liar"}
SWEEP = parse({"name": "c", "trials": 10, "attacker": [{"strategy": "liar"}], "sweep": {"game.nodes": [2, 9]}})


class Stopped(Exception):
    """The kill of this test."""


def stop_after(count: int) -> InProcess:
    """A pool that dies after so many batches."""

    class Dies(InProcess):
        def run(self, function, tasks):  # type: ignore[no-untyped-def]
            for number, each in enumerate(super().run(function, tasks)):
                if number == count:
                    raise Stopped
                yield each

    return Dies()


def test_a_stopped_campaign_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    """What was finished is not played again, and the rows are those of an undisturbed run."""
    with pytest.raises(Stopped):
        run(SWEEP, tmp_path / "a", stop_after(5))
    told: list[Progress] = []
    resumed = run(SWEEP, tmp_path / "a", InProcess(), tell=told.append)
    assert told[0].done >= 5
    assert told[-1].done == told[-1].total == 20
    whole = run(SWEEP, tmp_path / "b", InProcess())
    assert [a.rows.equals(b.rows) for a, b in zip(resumed, whole, strict=True)] == [True, True]
    again: list[Progress] = []
    run(SWEEP, tmp_path / "a", InProcess(), tell=again.append)
    assert [progress.done for progress in again] == [20]


KILLED = """
import sys
from pathlib import Path
from opml_dispute.simulation.campaign import run
from opml_dispute.simulation.pool import InProcess
from opml_dispute.simulation.scenario import Sweep, parse, with_settings
sweep = parse({"name": "c", "trials": 80, "attacker": [{"strategy": "liar"}], "game": {"nodes": 2}})
run(sweep, Path(sys.argv[1]), InProcess())
"""


HASHED = """
from opml_dispute.simulation.scenario import parse
from opml_dispute.simulation.trial import play
attacker = [{"strategy": "liar", "gives_up_after": 2}]
print(play(parse({"name": "h", "load": {"games": 12, "arrival_h": 0.01}, "attacker": attacker}).base, 1))
"""


def test_a_row_is_the_same_in_every_process() -> None:
    """Many games in one block: no order depends on how a process hashes its strings."""
    told = {
        subprocess.run(
            [sys.executable, "-c", HASHED], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


def test_a_campaign_that_is_killed_goes_on_with_what_was_finished(tmp_path: Path) -> None:
    """By a signal that no process can catch, in the middle of a batch."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert kept
    sweep = parse({"name": "c", "trials": 20, "attacker": [LIAR], "game": {"nodes": 2}})
    told: list[Progress] = []
    (resumed,) = run(sweep, tmp_path, InProcess(), tell=told.append)
    assert told[0].done == 10 * min(len(kept), 2), "batches of 10"
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "nothing was played again"
    assert resumed.rows["seed"].to_list() == list(range(20))
    for seed in (0, 9, 10, 19):
        assert resumed.rows.row(seed, named=True) == pytest.approx(play(sweep.base, seed))


def test_more_trials_add_to_what_is_there_and_fewer_use_a_part(tmp_path: Path) -> None:
    """Trials are numbered by their seeds."""
    few = Sweep(with_settings(SWEEP.base, {"trials": 3}), {})
    more = Sweep(with_settings(SWEEP.base, {"trials": 7}), {})
    first = run(few, tmp_path, InProcess())[0].rows
    then = run(more, tmp_path, InProcess())[0].rows
    assert then["seed"].to_list() == list(range(7))
    assert then.head(3).equals(first)
    assert run(few, tmp_path, InProcess())[0].rows.equals(first)


def test_other_settings_have_other_results(tmp_path: Path) -> None:
    """One folder may hold several scenarios."""
    (one,) = run(Sweep(with_settings(SWEEP.base, {"trials": 1}), {}), tmp_path, InProcess())
    (other,) = run(Sweep(with_settings(SWEEP.base, {"trials": 1, "seed": 9}), {}), tmp_path, InProcess())
    assert not one.rows.equals(other.rows)


def test_a_half_written_file_counts_for_nothing(tmp_path: Path) -> None:
    """A file that is there is whole, for it gets its name last."""
    sweep = Sweep(with_settings(SWEEP.base, {"trials": 1}), {})
    place = tmp_path / sweep.base.fingerprint
    place.mkdir()
    (place / "trials-000000000-000001.7.partial").write_bytes(b"PAR1")
    (result,) = run(sweep, tmp_path, InProcess())
    assert len(result.rows) == 1


def test_a_batch_is_its_trials(tmp_path: Path) -> None:
    """Row by row."""
    batch = Batch(SWEEP.base, tmp_path, 4, 2)
    keep_batch(batch, play_batch(batch))
    rows = pl.read_parquet(next(tmp_path.glob("*.parquet"))).to_dicts()
    assert rows == [play(SWEEP.base, 4), play(SWEEP.base, 5)]


def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    """The pool changes nothing but the time."""
    sweep = Sweep(with_settings(SWEEP.base, {"trials": 4}), {})
    (here,) = run(sweep, tmp_path / "here", InProcess())
    (there,) = run(sweep, tmp_path / "there", LocalProcesses(2))
    assert here.rows.equals(there.rows)


@pytest.mark.parametrize("pool", [InProcess(), LocalProcesses(1)])
def test_a_trial_that_fails_ends_the_run_with_its_own_error(pool: Pool) -> None:
    """Also where the error has to come from another process."""
    with pytest.raises(ScenarioError, match=r"game\.nodes: 0 found") as caught:
        list(pool.run(parse, [{"name": "c", "game": {"nodes": 0}}]))
    assert caught.value.where == "game.nodes"


POOLED = """
import sys
from opml_dispute.simulation.pool import LocalProcesses
from tests.simulation.test_campaign import tell_process

if __name__ == "__main__":
    for _, pid in LocalProcesses(2).run(tell_process, range(10_000)):
        print(pid, flush=True)
"""


def tell_process(_: int) -> int:
    """Of the pool: which process computes this."""
    time.sleep(0.05)
    return os.getpid()


def test_no_process_of_a_pool_outlives_a_killed_command() -> None:
    """By a signal that no process can catch; without the processes, each would hold a core's memory for ever."""
    process = subprocess.Popen([sys.executable, "-c", POOLED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        pids = set[int]()
        while len(pids) < 2:
            pids.add(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"{pids} are still there"
        time.sleep(0.02)


def test_a_cluster_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error with what to do, not an ImportError."""
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(NoSuchPool, match="Ray is not installed"):
        RayCluster()
