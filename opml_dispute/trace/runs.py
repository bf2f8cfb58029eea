"""
The VM runs of many subgames, within a budget of memory.

A player who opens a subgame makes the other side run a node in the VM, and a liar can open many. `VmRuns` makes each
run once: answers are small and kept for good, also the answer that there is none; of the machines, which are large, as
many are kept as the budget allows. A run that has to make room first loses most of its snapshots: the next question
about it is usually near the last, so the few that stay are close enough.

`deferring` collects the runs that would be needed, instead of making them, and `run_all` makes those at once, on
several processors.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Final, Generic, TypeVar

from opml_dispute.errors import OpmlError
from opml_dispute.trace.phases import RunKey
from opml_dispute.trace.provider import TraceError
from opml_dispute.trace.vm import MachineT, VmTrace

MOST_ANSWERS: Final = 1 << 16
"""The number of answers kept; each is small."""

_LEAST_BUDGET_BYTES: Final = 1 << 28

T = TypeVar("T")


class RunDeferred(TraceError):
    """A VM run is needed first, which is made together with others."""


class VmRuns(Generic[MachineT]):
    """Runs by subgame."""

    def __init__(self, budget_bytes: int | None = None, *, at_once: bool = False) -> None:
        """
        By default the machines may take a quarter of this computer's memory. `at_once` says that they share nothing, so
        that several can run at the same time.
        """
        self._workers = len(os.sched_getaffinity(0)) if at_once else 1
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self.budget_bytes = budget_bytes or max(_LEAST_BUDGET_BYTES, memory_bytes // 4)
        self.made = 0
        """The number of runs that were started."""
        self._traces: OrderedDict[RunKey, VmTrace[MachineT]] = OrderedDict()
        self._answers: OrderedDict[tuple[RunKey, object], Any] = OrderedDict()
        self._deferred: dict[RunKey, Callable[[], VmTrace[MachineT]]] | None = None

    def answer(
        self,
        key: RunKey,
        question: object,
        make: Callable[[], VmTrace[MachineT]],
        ask: Callable[[VmTrace[MachineT]], T],
    ) -> T:
        """
        What `ask` says about the run, remembered under `question`. `make` begins the run if it has to be made.

        Raises what either raises (a `TraceError` of `ask` again and without another try), and `RunDeferred` inside
        `deferring`.
        """
        if (key, question) in self._answers:
            known = self._answers[key, question]
            if isinstance(known, TraceError):
                raise known
            found: T = known
            return found
        trace = self.trace(key, make)
        try:
            found = ask(trace)
        except TraceError as error:
            self._remember(key, question, error)
            raise
        self._remember(key, question, found)
        self._make_room(key)
        return found

    def _remember(self, key: RunKey, question: object, answer: object) -> None:
        self._answers[key, question] = answer
        if len(self._answers) > MOST_ANSWERS:
            self._answers.popitem(last=False)

    def trace(self, key: RunKey, make: Callable[[], VmTrace[MachineT]]) -> VmTrace[MachineT]:
        """The run itself. Raises as `answer`."""
        if key not in self._traces:
            if self._deferred is not None:
                self._deferred[key] = make
                raise RunDeferred("a VM run is needed first")
            self._traces[key] = make()
            self.made += 1
        self._traces.move_to_end(key)
        return self._traces[key]

    @contextmanager
    def deferring(self) -> Iterator[dict[RunKey, Callable[[], VmTrace[MachineT]]]]:
        """Within this context no VM is run; the runs that are needed are put into the dictionary."""
        wanted: dict[RunKey, Callable[[], VmTrace[MachineT]]] = {}
        self._deferred = wanted
        try:
            yield wanted
        finally:
            self._deferred = None

    def run_all(self, wanted: dict[RunKey, Callable[[], VmTrace[MachineT]]]) -> None:
        """Make these runs to their ends, several at a time. `answer` reports the failed ones."""
        keys = list(wanted)
        for start in range(0, len(keys), self._workers):
            begun: list[VmTrace[MachineT]] = []
            for key in keys[start : start + self._workers]:
                with suppress(OpmlError, MemoryError):
                    begun.append(self.trace(key, wanted[key]))
            if len(begun) > 1:
                with ThreadPoolExecutor(len(begun)) as pool:
                    list(pool.map(_run_to_end, begun))
            else:
                for trace in begun:
                    _run_to_end(trace)
            self._make_room(keys[min(start + self._workers, len(keys)) - 1])

    def _make_room(self, current: RunKey) -> None:
        """Shrinks old runs, then drops them, until the rest fits; the current one stays as it is."""
        for act in (self._shrink, self._drop):
            for key in [key for key in self._traces if key != current]:
                if sum(trace.memory_used_bytes for trace in self._traces.values()) <= self.budget_bytes:
                    return
                act(key)

    def _shrink(self, key: RunKey) -> None:
        self._traces[key].shrink()

    def _drop(self, key: RunKey) -> None:
        del self._traces[key]


def _run_to_end(trace: VmTrace[MachineT]) -> None:
    try:
        _ = trace.exit_step
    except (OpmlError, MemoryError):
        return  # the next question about it fails in the same way, and is told
