"""
Where trials are computed: in this process, in a pool of processes, or on a Ray cluster.

`Pool.run` maps a function over tasks and yields results as they come, in any order. The function and the tasks must be
picklable. A task that fails ends the run with its own error; what was finished before is not lost, for the
caller has written it down by then.
"""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from opml_dispute.errors import OpmlError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


class NoSuchPool(OpmlError):
    """Trials cannot be computed where they were asked to be."""


class PoolBroken(OpmlError):
    """A process of the pool is gone, killed or out of memory; what was finished is kept."""

    hint = "run the same command again to go on, with fewer --workers if memory is short"


class Pool(Protocol):
    """Somewhere to compute."""

    def run(self, function: Callable[[TaskT], ResultT], tasks: Iterable[TaskT]) -> Iterator[tuple[TaskT, ResultT]]:
        """Each task with its result, in the order in which they are finished."""
        ...


class InProcess:
    """One after the other, here: for tests and debugging."""

    def run(self, function: Callable[[TaskT], ResultT], tasks: Iterable[TaskT]) -> Iterator[tuple[TaskT, ResultT]]:
        """See `Pool`."""
        for task in tasks:
            yield task, function(task)


class LocalProcesses:
    """A pool of processes on this machine."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))

    def run(self, function: Callable[[TaskT], ResultT], tasks: Iterable[TaskT]) -> Iterator[tuple[TaskT, ResultT]]:
        """See `Pool`."""
        # WHY NOT fork: the parent has threads (polars), and a fork of a threaded process may hang.
        context = multiprocessing.get_context("spawn")
        starting = partial(_end_with, os.getpid())
        with ProcessPoolExecutor(self.workers, mp_context=context, initializer=starting) as executor:
            futures = {executor.submit(function, task): task for task in tasks}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BrokenProcessPool as error:
                raise PoolBroken("a process that computed trials ended abruptly") from error
            finally:
                for future in futures:
                    future.cancel()


_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG


def _end_with(parent: int) -> None:
    """
    Called in a process of the pool: it ends when the one that started it ends, even by a signal that none can catch.

    Else it waits for ever: the other processes of the pool hold its queue open. Does nothing outside Linux.
    """
    try:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(1)  # it died before it could be died with


class RayCluster:
    """A Ray cluster: the one that the environment names, or a local one."""

    def __init__(self) -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError:
            raise NoSuchPool(
                "Ray is not installed", hint="pip install '.[cluster]' in the checkout, or use --pool processes"
            ) from None
        if not self._ray.is_initialized():
            self._ray.init(log_to_driver=False)

    def run(self, function: Callable[[TaskT], ResultT], tasks: Iterable[TaskT]) -> Iterator[tuple[TaskT, ResultT]]:
        """See `Pool`."""
        remote = self._ray.remote(_apply)
        # Once for all tasks. Ray takes functions as they are, and no partial ones.
        given = self._ray.put(function)
        waiting = {remote.remote(given, task): task for task in tasks}
        try:
            while waiting:
                (ready, *_), _ = self._ray.wait(list(waiting), num_returns=1)
                yield waiting[ready], self._ray.get(ready)
                del waiting[ready]
        except self._ray.exceptions.RaySystemError as error:
            raise PoolBroken(f"the Ray cluster lost trials: {error}") from error
        finally:
            for ready in waiting:
                self._ray.cancel(ready)


def _apply(function: Callable[[TaskT], ResultT], task: TaskT) -> ResultT:
    return function(task)


POOLS: dict[str, Callable[[int | None], Pool]] = {
    "here": lambda workers: InProcess(),
    "processes": LocalProcesses,
    "ray": lambda workers: RayCluster(),
}
"""By the name that the command line knows."""
