"""
Workers on a Ray cluster: stateful actors, one a CPU, spread over the nodes.

An actor is a `CaseServer` in a process that Ray starts on some node. Ray restarts none of them: the `worker_pool`
replaces a lost actor, as it does a lost process. Programs reach a node's own store in messages, and inputs come with
the questions. Ray's nodes exchange pickled objects among themselves, so a cluster must be the operator's own and closed
to others.
"""

from __future__ import annotations

import importlib
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from opml_dispute.availability.store import ContentStore
from opml_dispute.compute.case_server import CaseServer
from opml_dispute.compute.workers import WorkerLost, watch_memory
from opml_dispute.errors import OpmlError
from opml_dispute.home import home

REACH_S: Final = 10.0
START_S: Final = 120.0
"""How long the cluster may take to find a place for an actor."""


class NoCluster(OpmlError):
    """There is no Ray, or no cluster where one was named."""


class Actor:
    """A case server in a process of the cluster."""

    def __init__(self, memory_bytes: int | None) -> None:
        if memory_bytes is not None:
            watch_memory(memory_bytes)
        store = ContentStore(home() / "models")
        self._server = CaseServer(store, budget_bytes=None if memory_bytes is None else memory_bytes // 4)

    def answer(self, raw: bytes) -> bytes:
        """See `CaseServer.answer`."""
        return self._server.answer(raw)

    def node(self) -> str:
        """Where it runs, for those who look."""
        return str(importlib.import_module("ray").get_runtime_context().get_node_id())


class RayWorker:
    """A `Worker` that is an actor."""

    def __init__(self, ray: Any, memory_bytes: int | None) -> None:
        """Raises `WorkerLost` if the cluster has no place for it."""
        self._ray = ray
        try:
            remote = ray.remote(Actor).options(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")
            self.actor = remote.remote(memory_bytes)
            self.node_id: str = ray.get(self.actor.node.remote(), timeout=START_S)
        except Exception as error:  # Ray has many errors, and none of them says anything about a case
            raise WorkerLost(f"the cluster gives no place for a worker ({type(error).__name__})") from None

    def ask(self, raw: bytes, timeout_s: float) -> bytes:
        """See `Worker`."""
        try:
            return bytes(self._ray.get(self.actor.answer.remote(raw), timeout=timeout_s))
        except self._ray.exceptions.GetTimeoutError:
            self.stop()
            raise WorkerLost("it did not answer in time") from None
        except Exception as error:  # actors die, nodes die, and the cluster can be gone
            self.stop()
            raise WorkerLost(f"the actor is gone ({type(error).__name__})") from None

    def stop(self) -> None:
        """See `Worker`."""
        with suppress(Exception):
            self._ray.kill(self.actor, no_restart=True)


def ray_workers(address: str, memory_bytes: int | None) -> Callable[[], RayWorker]:
    """
    What starts an actor on the cluster at `address` ("auto": the cluster of this computer).

    Raises `NoCluster`.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise NoCluster(
            "Ray is not installed", hint="pip install '.[cluster]' in the checkout, or leave compute.ray out"
        ) from None
    if not ray.is_initialized():
        with _own_signals():
            try:
                _expect_listening(address)
                ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
            except Exception as error:  # Ray has no single class for it
                raise NoCluster(
                    f"there is no Ray cluster at {address!r} ({type(error).__name__})",
                    hint="start one with `ray start --head`, or name its address in compute.ray",
                ) from None
    return lambda: RayWorker(ray, memory_bytes)


def _expect_listening(address: str) -> None:
    """Ray itself tries for minutes. Raises `OSError`."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=REACH_S).close()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself when it connects; how this process ends stays its own affair."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        with suppress(ValueError):  # not the main thread: then nothing was taken
            for number, handler in kept.items():
                signal.signal(number, handler)
