"""
Actors on a Ray cluster of two nodes compute what is right, and one that is lost costs a retry.

Needs Ray: `pip install '.[cluster]' in the checkout`, then `pytest tests/compute/test_cluster.py`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[cluster]' in the checkout")

from opml_dispute.compute.cluster import NoCluster, RayWorker, ray_workers  # noqa: E402
from opml_dispute.compute.messages import bytes_of  # noqa: E402
from opml_dispute.compute.worker_pool import WorkerPool  # noqa: E402
from opml_dispute.trace.guest import absolute_prestate  # noqa: E402
from tests.compute.cases import KnownCase, known_case  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes, whose stores are not ours: programs have to be sent."""
    from ray.cluster_utils import Cluster

    kept = dict(os.environ)
    os.environ |= {"OPML_HOME": str(tmp_path_factory.mktemp("elsewhere")), "RAY_DISABLE_IMPORT_WARNING": "1"}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.getcwd()}
    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        os.environ.clear()
        os.environ |= kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


class Started:
    """Makes actors, and remembers them."""

    def __init__(self, address: str) -> None:
        self._make = ray_workers(address, None)
        self.workers: list[RayWorker] = []

    def __call__(self) -> RayWorker:
        self.workers.append(self._make())
        return self.workers[-1]


@pytest.fixture
def start(cluster: Any) -> Started:
    return Started(cluster.address)


@pytest.fixture
def workers(start: Started, folder: Path) -> Iterator[WorkerPool]:
    made = WorkerPool(start, 2, folder=folder, prestate=bytes(absolute_prestate()), timeout_s=60.0)
    yield made
    made.close()


def final_root(workers: WorkerPool, case: KnownCase) -> bytes:
    return bytes_of(workers.ask(case.files, {"ask": "final"}), "root", 32)


def right_root(case: KnownCase) -> bytes:
    return bytes(case.inference.state_root(case.program.node_count))


def is_gone(worker: RayWorker) -> bool:
    """Whether an actor answers no more: one that was killed may still do so for a moment."""
    try:
        ray.get(worker.actor.__ray_ready__.remote(), timeout=30)
    except ray.exceptions.RayActorError:
        return True
    return False


def test_a_sweep_is_played_on_the_cluster_and_written_here(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows as in this process, of trials that the cluster's nodes played."""
    from opml_dispute.simulation import campaign
    from opml_dispute.simulation.pool import InProcess, RayCluster
    from opml_dispute.simulation.scenario import parse

    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    table = {"name": "c", "trials": 16, "game": {"nodes": 2}, "attacker": [{"strategy": "liar"}]}
    sweep = parse(table | {"sweep": {"game.nodes": [2, 3]}})
    there = campaign.run(sweep, tmp_path / "there", RayCluster())
    here = campaign.run(sweep, tmp_path / "here", InProcess())
    assert [one.rows.equals(other.rows) for one, other in zip(there, here, strict=True)] == [True, True]
    assert sorted(file.name for file in (tmp_path / "there").rglob("*.parquet")) == sorted(
        file.name for file in (tmp_path / "here").rglob("*.parquet")
    )


def test_a_trial_that_fails_on_the_cluster_ends_the_run_with_its_own_error(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opml_dispute.simulation.pool import RayCluster
    from opml_dispute.simulation.scenario import parse
    from opml_dispute.simulation.schema import ScenarioError

    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with pytest.raises(ScenarioError, match=r"game\.nodes"):
        list(RayCluster().run(parse, [{"name": "c", "game": {"nodes": 0}}]))


def test_cases_are_computed_on_both_nodes_and_lost_actors_replaced(
    workers: WorkerPool, start: Started, folder: Path
) -> None:
    cases = [known_case(folder, sample) for sample in range(4)]
    with ThreadPoolExecutor(4) as pool:
        roots = list(pool.map(lambda case: final_root(workers, case), cases))
    assert roots == [right_root(case) for case in cases]
    assert len({worker.node_id for worker in start.workers}) == 2, "one actor a node"
    for worker in list(start.workers):
        ray.kill(worker.actor)
        deadline = time.monotonic() + 30
        while not is_gone(worker):
            assert time.monotonic() < deadline
    assert [final_root(workers, case) for case in cases] == roots
    assert workers.lost == 2


def test_node_that_goes_costs_a_retry(cluster: Any, workers: WorkerPool, start: Started, folder: Path) -> None:
    cases = [known_case(folder, sample) for sample in range(2)]
    third = cluster.add_node(**NODE)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda case: final_root(workers, case), cases))
    doomed = next(node for node in cluster.worker_nodes if node is not third)
    cluster.remove_node(doomed, allow_graceful=False)
    assert [final_root(workers, case) for case in cases] == [right_root(case) for case in cases]
    assert workers.lost <= 1


def test_connecting_leaves_signals_alone(cluster: Any) -> None:
    ray.shutdown()
    before = signal.getsignal(signal.SIGTERM)
    ray_workers(cluster.address, None)
    assert signal.getsignal(signal.SIGTERM) is before


def test_cluster_that_is_not_there_is_named() -> None:
    ray.shutdown()
    with pytest.raises(NoCluster, match=r"there is no Ray cluster at '127\.0\.0\.1:1'"):
        ray_workers("127.0.0.1:1", None)
