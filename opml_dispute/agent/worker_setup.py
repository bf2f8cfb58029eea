"""
Who computes for an agent, as its configuration says: processes, actors of a Ray cluster, or the agent itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from opml_dispute.agent.config import AgentConfig
from opml_dispute.agent.log import Log
from opml_dispute.agent.remote_cases import PATIENCE_S, RemoteCases
from opml_dispute.agent.request_fetcher import RequestFetcher
from opml_dispute.chain.system import System
from opml_dispute.compute.worker_pool import WorkerPool
from opml_dispute.compute.workers import HereWorker, ProcessWorker, Worker
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.trace.guest import absolute_prestate


def open_remote_cases(config: AgentConfig, system: System, store: ModelStore, log: Log) -> RemoteCases:
    """The cases of an agent; workers are started when they are needed. Raises `NoCluster`."""
    start: Callable[[], Worker]
    if config.ray is not None:
        from opml_dispute.compute.cluster import ray_workers

        start = ray_workers(config.ray, config.worker_memory_bytes)
    elif config.workers == 0:
        start = partial(HereWorker, store.folder)
    else:
        start = partial(ProcessWorker, store.folder, memory_bytes=config.worker_memory_bytes)
    prestate = absolute_prestate()
    worker_pool = WorkerPool(
        start,
        max(1, config.workers),
        folder=store.folder,
        prestate=bytes(prestate),
        timeout_s=config.compute_timeout_s,
        tell=lambda sentence: log.warning("worker", what=sentence),
    )
    # What this process computes itself keeps it busy in any case, so a pass waits for all of it.
    patience_s = PATIENCE_S if config.workers else config.compute_timeout_s
    fetcher = RequestFetcher(system, store, in_processes=config.workers > 0, memory_bytes=config.worker_memory_bytes)
    return RemoteCases(fetcher, worker_pool, prestate=prestate, patience_s=patience_s)
