"""
Open cases with their traces, computed by threads of this process: for the monitor, `show --words` and `explore`.

These only look: they need a case's objects, to show what a node computed, and have no key that an untrusted model could
reach. A process that signs has other processes compute (`remote_cases`). The native engine computes without the
interpreter's lock, so other threads run meanwhile.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeVar

from opml_dispute.agent.unexpected import Unexpected
from opml_dispute.availability.fetching import Fetcher, FetchPolicy
from opml_dispute.chain.system import System
from opml_dispute.compute.messages import InferenceTooLarge
from opml_dispute.errors import OpmlError
from opml_dispute.operator.case import Case, WrongStart, open_case
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import RequestId, StateRoot
from opml_dispute.trace.split import SplitTrace

MAX_OPEN: Final = 8
"""The number of cases that stay open; each holds a model's weights and a run."""

AHEAD: Final = MAX_OPEN // 2
"""Results that are computed before they are asked for."""

T = TypeVar("T")


@dataclass
class OpenCase:
    """A case with its honest trace; neither may be used by two threads at once."""

    case: Case
    trace: SplitTrace
    lock: threading.Lock


class LocalCases:
    """Opens the cases of one deployment, and keeps the `MAX_OPEN` used last."""

    def __init__(self, system: System, store: ModelStore, *, workers: int) -> None:
        # WHY NOT fetch: a page, or a look at all games, must not wait for an untrusted server.
        self._system, self._store = system, replace(store, fetcher=Fetcher(FetchPolicy(allow="nothing")))
        self._open: OrderedDict[RequestId, OpenCase] = OrderedDict()
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="cases")

    @contextmanager
    def holding(self, request_id: RequestId) -> Iterator[OpenCase]:
        """The case of a request with its trace, for one thread at a time. Raises what `open_case` raises."""
        opened = self._opened(request_id)
        with opened.lock:
            yield opened

    def final_root(self, request_id: RequestId) -> tuple[StateRoot, int]:
        """S_n and the status of the inference. Raises what `open_case` raises, and `InferenceTooLarge`."""
        opened = self._opened(request_id)
        with opened.lock:
            try:
                return opened.case.final_root, opened.case.status
            except WrongStart:
                with self._guard:
                    self._open.pop(request_id, None)  # it is read anew
                raise
            except MemoryError:
                raise InferenceTooLarge(f"no memory to compute request 0x{request_id.hex()}") from None

    def each(self, work: Callable[..., T], items: Iterable[tuple[object, ...]]) -> list[T | OpmlError]:
        """Let the workers call `work` for each item: the results, or errors, in order."""
        return list(self.stream(work, items))

    def stream(self, work: Callable[..., T], items: Iterable[tuple[object, ...]]) -> Iterator[T | OpmlError]:
        """
        The same, each as soon as it and those before it are there.

        The workers are at most `AHEAD` items before what was taken, so that what they opened is open still when it is
        used.
        """
        waiting: deque[Future[T]] = deque()
        left = iter(items)
        while True:
            waiting.extend(self._pool.submit(work, *item) for item in islice(left, AHEAD - len(waiting)))
            if not waiting:
                return
            try:
                outcome: T | OpmlError = waiting.popleft().result()
            except OpmlError as error:
                outcome = error
            except Exception as error:
                outcome = Unexpected(error)
            yield outcome

    def close(self) -> None:
        """End the workers, without waiting for their results."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _opened(self, request_id: RequestId) -> OpenCase:
        with self._guard:
            if request_id in self._open:
                self._open.move_to_end(request_id)
                return self._open[request_id]
        case = open_case(self._system, request_id, store=self._store)
        opened = OpenCase(case, case.trace(), threading.Lock())
        with self._guard:
            opened = self._open.setdefault(request_id, opened)
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        return opened
