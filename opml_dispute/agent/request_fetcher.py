"""
The model and the input of a request, fetched before they are computed with.

`RequestFetcher.request` answers at once for what is in the store. Other processes (`operator.fetch_process`) fetch what
is not, in the background: a server that is slow, a model that compiles for minutes, or one that no server has keeps
nothing else waiting. What a game needs does not wait for what is only prefetched. What failed is tried again after
growing pauses, and the reason is told until then; other registrations of the same model, and other requests with the
same input, have tries of their own.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Final

from opml_dispute import plain_json
from opml_dispute.agent.processes import run_process
from opml_dispute.availability.store import input_name
from opml_dispute.chain.contracts.oracle import RegisteredModel, RequestRecord
from opml_dispute.chain.requests import InputByRoot, read_request, request_image
from opml_dispute.chain.system import System
from opml_dispute.compute.messages import CaseFiles, StoreLacks
from opml_dispute.compute.workers import TOO_MUCH_MEMORY
from opml_dispute.errors import OpmlError
from opml_dispute.operator.fetch_process import FetchOrder, fetch_into_store, order_text
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.outside_view import OutsideView
from opml_dispute.primitives import ModelId, RequestId

PATIENCE_S: Final = 10.0
"""How long a request waits for what is on its way, before a later look finds it."""
FIRST_REST_S: Final = 60.0
LONGEST_REST_S: Final = 3_600.0
MOST_AT_ONCE: Final = 2
"""Of what games need; and as many of what is prefetched."""
MOST_INPUT_BYTES: Final = 1 << 28
"""Of an input that the chain has by its root: it passes through the process that signs."""
COMPILE_S: Final = 1_800.0
_MORE_MEMORY: Final = "more for each process: compute.memory"


class NotHere(OpmlError):
    """A model or an input is not on this computer, or not yet."""

    hint = "a file of your own: `opml-dispute preflight REQUEST --model FILE --input-image FILE` keeps it here"


@dataclass(frozen=True)
class FetchedRequest:
    """A request with all that computing it takes."""

    request_id: RequestId
    record: RequestRecord
    registered: RegisteredModel
    files: CaseFiles
    input_uri: str | None
    """Where the input is, if the chain has its root only."""


@dataclass(frozen=True)
class _Job:
    """Something on its way."""

    future: Future[None]
    begun: float
    ahead: bool


@dataclass
class _Failed:
    error: OpmlError
    until: float
    times: int


class RequestFetcher:
    """Fetches models and inputs of one deployment into one store."""

    def __init__(
        self, system: System, store: ModelStore, *, in_processes: bool = True, memory_bytes: int | None = None
    ) -> None:
        """
        Without `in_processes`, threads of this process fetch what is missing, and are waited for.

        `memory_bytes` is what a process that fetches something may hold.
        """
        self.store = store
        self.patience_s = PATIENCE_S if in_processes else math.inf
        self._system, self._in_processes, self._memory_bytes = system, in_processes, memory_bytes
        self._guard = threading.Lock()
        self._jobs: dict[Hashable, _Job] = {}
        self._failed: dict[Hashable, _Failed] = {}
        self._ending = threading.Event()
        self._pools = {
            ahead: ThreadPoolExecutor(max_workers=MOST_AT_ONCE, thread_name_prefix="ahead" if ahead else "fetch")
            for ahead in (False, True)
        }

    def request(self, request_id: RequestId, *, ahead: bool = False) -> FetchedRequest:
        """All that a request takes; `ahead` of a game. Raises `NotHere`, and what reading the chain raises."""
        record = read_request(self._system, request_id)
        registered = self.model(record.model_id, ahead=ahead)
        read_image, input_uri = self._image(request_id, record, registered, ahead)
        files = CaseFiles(request_id.hex(), bytes(registered.model_root), read_image, record.item_count)
        return FetchedRequest(request_id, record, registered, files, input_uri)

    def model(self, model_id: ModelId, *, ahead: bool = False) -> RegisteredModel:
        """A registered model whose program is in the store. Raises `NotHere`."""
        registered = self._system.rpc.read(self._system.registry.model(model_id))
        self._fetch(FetchOrder(model_id, registered), ahead=ahead)
        return registered

    def drop(self, request: FetchedRequest) -> None:
        """The program's copy in the store turned out to be damaged: it is fetched again."""
        self.store.contents.drop(request.files.program_name)

    def hold(self, request: FetchedRequest) -> None:
        """A game is about it: what is fetched for others does not take its place in the store."""
        self.store.contents.hold(request.files.program_name)
        if request.input_uri is not None:
            self.store.contents.hold(input_name(request.record.input_root))

    def expect_others_could(self, request: FetchedRequest) -> None:
        """
        Another computer could have the model and the input as well, by fetching them now.

        Raises `NotHere` if not, or not known yet. Nothing is known where nothing may be fetched.
        """
        if self.store.fetcher.policy.allow == "nothing":
            return
        model_id, registered = request.record.model_id, request.registered
        if not self.store.is_sample(registered):
            self._fetch(FetchOrder(model_id, registered, fresh=True))
        if request.input_uri is not None:
            root = bytes(request.record.input_root)
            self._fetch(FetchOrder(model_id, registered, root, request.input_uri, fresh=True))

    def close(self) -> None:
        """Ends what is on its way."""
        self._ending.set()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    # ---- fetching ----

    def _image(
        self, request_id: RequestId, record: RequestRecord, registered: RegisteredModel, ahead: bool
    ) -> tuple[Callable[[], bytes], str | None]:
        try:
            image = request_image(self._system, request_id, record)
            return lambda: image, None
        except InputByRoot as by_root:
            uri, root, size_bytes = by_root.uri, bytes(record.input_root), registered.input_bytes
        if size_bytes > MOST_INPUT_BYTES:
            raise NotHere(
                f"input 0x{root.hex()} may have {size_bytes:,} bytes, and an agent takes {MOST_INPUT_BYTES:,} at most",
                hint="play the games of this request by hand: opml-dispute respond GAME --input-image FILE",
            )
        self._fetch(FetchOrder(record.model_id, registered, root, uri), ahead=ahead)
        return partial(self._kept_image, root, size_bytes), uri

    def _kept_image(self, root: bytes, size_bytes: int) -> bytes:
        """From the store, where it was put. Raises `StoreLacks` if it is there no more."""
        image = self.store.kept_image(root, size_bytes)
        if image is None:
            raise StoreLacks(f"input 0x{root.hex()} is in the store no more", hint=None)
        return image

    def _fetch(self, order: FetchOrder, *, ahead: bool = False) -> None:
        """Returns once it is in the store. Raises `NotHere`."""
        if self._is_done(order):
            return
        # WHY NOT by root: any account may register a model's root, or ask about an input's, with a dead URI of its own.
        key = (order.model_id, order.input_root, order.input_uri, order.fresh)
        with self._guard:
            failed = self._failed.get(key)
            if failed is not None and time.monotonic() < failed.until:
                raise failed.error
            job = self._jobs.get(key)
            if job is None or (job.ahead and not ahead and job.future.cancel()):
                job = self._jobs[key] = _Job(self._pools[ahead].submit(self._job, order), time.monotonic(), ahead)
        wait([job.future], timeout=None if self.patience_s == math.inf else self.patience_s)
        if not job.future.done() or job.future.cancelled():
            spent_s, where = time.monotonic() - job.begun, order.uri or "this computer"
            told = f"{order.what} is not here yet: it is being fetched from {where} since {spent_s:.0f} s"
            raise NotHere(told, hint=None)
        with self._guard:
            if self._jobs.get(key) is job:
                del self._jobs[key]
            error = job.future.exception()
            if error is None:
                self._failed.pop(key, None)
                return
            if not isinstance(error, OpmlError):
                raise error
            times = 1 if failed is None else failed.times + 1
            rest_s = min(FIRST_REST_S * 2 ** (times - 1), LONGEST_REST_S)
            rests = NotHere(f"{order.what} cannot be had: {error}", hint=error.hint or NotHere.hint)
            self._failed[key] = _Failed(rests, time.monotonic() + rest_s, times)
        raise rests from None

    def _is_done(self, order: FetchOrder) -> bool:
        """It is in the store, where it is checked when it is read; or it could be fetched lately, if that is asked."""
        if order.fresh:
            return OutsideView(self.store).is_fresh(order.name, order.uri)
        return self.store.contents.path(order.name).exists()

    def _job(self, order: FetchOrder) -> None:
        if not self._in_processes:
            fetch_into_store(self.store, order)
            return
        timeout_s = self.store.fetcher.policy.timeout_s + COMPILE_S
        command = [sys.executable, "-m", "opml_dispute.operator.fetch_process"]
        if self._memory_bytes is not None:
            command += ["--memory", str(self._memory_bytes)]
        try:
            result = run_process(command, given=order_text(self.store, order), timeout_s=timeout_s, ending=self._ending)
            if result.code == TOO_MUCH_MEMORY:
                raise NotHere("fetching it takes more memory than a process may have", hint=_MORE_MEMORY)
            answer = plain_json.loads(result.out)
        except TimeoutError:
            raise NotHere(f"fetching it took longer than {timeout_s:.0f} s") from None
        except OSError as error:
            raise NotHere(f"no process can be started to fetch it: {error.strerror}") from None
        except ValueError:
            raise NotHere("the process that fetches it ended without an answer", hint=None) from None
        if "error" in answer:
            raise NotHere(str(answer["error"]), hint=answer.get("hint"))
