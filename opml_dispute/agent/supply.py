"""
What computing a request needs, brought here before it is needed: the model by its root, and the input.

`Supply.of` answers at once for what is here. What has to be fetched is fetched in the background, by other processes
(`operator.bringing`): a server that is slow, a model that compiles for minutes, or one that can be had nowhere keeps
nothing else waiting. What failed is tried again after growing pauses, and the reason is told until then.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from opml_dispute import plain_json
from opml_dispute.agent.errands import run_errand
from opml_dispute.chain.contracts.oracle import RegisteredModel, RequestRecord
from opml_dispute.chain.requests import InputByRoot, read_request, request_image
from opml_dispute.chain.system import System
from opml_dispute.compute.messages import CaseFiles
from opml_dispute.errors import OpmlError
from opml_dispute.operator.bringing import BringOrder, bring, order_text
from opml_dispute.operator.model_store import ModelStore, input_name, program_name
from opml_dispute.primitives import ModelId, RequestId

PATIENCE_S: Final = 10.0
"""How long a request waits for what is on its way, before a later look finds it."""
FIRST_REST_S: Final = 60.0
LONGEST_REST_S: Final = 3_600.0
RECHECK_S: Final = 86_400.0
"""How long it counts that others could have fetched something."""
MOST_AT_ONCE: Final = 2
MOST_KEPT: Final = 256
COMPILE_S: Final = 1_800.0


class NotHere(OpmlError):
    """A model or an input is not on this computer, or not yet."""

    hint = "a file of your own: `opml-dispute preflight REQUEST --model FILE --input-image FILE` keeps it here"


@dataclass(frozen=True)
class RequestSupply:
    """A request with all that computing it takes."""

    request_id: RequestId
    record: RequestRecord
    registered: RegisteredModel
    files: CaseFiles
    input_uri: str | None
    """Where the input is, if the chain has its root only."""


@dataclass
class _Failed:
    error: OpmlError
    until: float
    times: int


class Supply:
    """Brings models and inputs of one deployment into one store."""

    def __init__(self, system: System, store: ModelStore, *, in_processes: bool = True) -> None:
        """Without `in_processes`, threads of this process bring what is missing, and are waited for."""
        self.store = store
        self.patience_s = PATIENCE_S if in_processes else math.inf
        self._system, self._in_processes = system, in_processes
        self._supplied: OrderedDict[RequestId, RequestSupply] = OrderedDict()
        self._guard = threading.Lock()
        self._jobs: dict[Hashable, Future[None]] = {}
        self._begun: dict[Hashable, float] = {}
        self._failed: dict[Hashable, _Failed] = {}
        self._fetched: dict[Hashable, float] = {}
        """When others could have fetched it, last."""
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=MOST_AT_ONCE, thread_name_prefix="supply")

    def of(self, request_id: RequestId) -> RequestSupply:
        """All that a request takes. Raises `NotHere`, and what reading the chain raises."""
        with self._guard:
            if request_id in self._supplied:
                self._supplied.move_to_end(request_id)
                return self._supplied[request_id]
        record = read_request(self._system, request_id)
        registered = self.model(record.model_id)
        image, input_uri = self._image(request_id, record, registered)
        files = CaseFiles(request_id.hex(), bytes(registered.model_root), image)
        found = RequestSupply(request_id, record, registered, files, input_uri)
        with self._guard:
            self._supplied[request_id] = found
            while len(self._supplied) > MOST_KEPT:
                self._supplied.popitem(last=False)
        return found

    def model(self, model_id: ModelId) -> RegisteredModel:
        """A registered model whose program is in the store. Raises `NotHere`."""
        registered = self._system.rpc.read(self._system.registry.model(model_id))
        self._bring(f"model 0x{model_id.hex()}", registered.uri, BringOrder(model_id, registered))
        return registered

    def drop(self, supplied: RequestSupply) -> None:
        """The program's copy in the store turned out to be damaged: it is brought again."""
        self.store.contents.drop(supplied.files.program_name)
        with self._guard:
            self._supplied.pop(supplied.request_id, None)

    def expect_others_could(self, supplied: RequestSupply) -> None:
        """
        Another computer could have the model and the input as well, by fetching them now.

        Raises `NotHere` if not, or not known yet. Nothing is known where nothing may be fetched.
        """
        if self.store.fetcher.policy.allow == "nothing":
            return
        model_id, registered = supplied.record.model_id, supplied.registered
        if not self.store.is_sample(registered):
            order = BringOrder(model_id, registered, fresh=True)
            self._bring(f"model 0x{model_id.hex()}", registered.uri, order)
        if supplied.input_uri is not None:
            root = bytes(supplied.record.input_root)
            order = BringOrder(model_id, registered, root, supplied.input_uri, fresh=True)
            self._bring(f"input 0x{root.hex()}", supplied.input_uri, order)

    def close(self) -> None:
        """Ends what is on its way."""
        self._ending.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ---- bringing ----

    def _image(
        self, request_id: RequestId, record: RequestRecord, registered: RegisteredModel
    ) -> tuple[bytes, str | None]:
        try:
            return request_image(self._system, request_id, record), None
        except InputByRoot as by_root:
            root = bytes(record.input_root)
            order = BringOrder(record.model_id, registered, root, by_root.uri)
            self._bring(f"input 0x{root.hex()}", by_root.uri, order)
            return self.store.image(root, by_root.uri, registered.input_bytes), by_root.uri

    def _bring(self, what: str, uri: str, order: BringOrder) -> None:
        """Returns once it is in the store. Raises `NotHere`."""
        if not order.fresh and self._has(order):
            return  # it is checked when it is read
        key = (order.input_root or bytes(order.registered.model_root), order.fresh)
        with self._guard:
            fetched_at = self._fetched.get(key)
            if fetched_at is not None and time.monotonic() - fetched_at < RECHECK_S:
                return
            failed = self._failed.get(key)
            if failed is not None and time.monotonic() < failed.until:
                raise failed.error
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = self._pool.submit(self._job, order)
                self._begun[key] = time.monotonic()
        try:
            job.result(timeout=None if self.patience_s == math.inf else self.patience_s)
        except TimeoutError:
            if not job.done():
                spent_s = time.monotonic() - self._begun[key]
                raise NotHere(
                    f"{what} is not here yet: it is being brought from {uri or 'this computer'} since {spent_s:.0f} s",
                    hint=None,
                ) from None
            raise
        except OpmlError as error:
            with self._guard:
                self._jobs.pop(key, None)
                times = 1 if failed is None else failed.times + 1
                rest_s = min(FIRST_REST_S * 2 ** (times - 1), LONGEST_REST_S)
                told = NotHere(f"{what} cannot be had: {error}", hint=error.hint or NotHere.hint)
                self._failed[key] = _Failed(told, time.monotonic() + rest_s, times)
            raise told from None
        with self._guard:
            self._jobs.pop(key, None)
            self._failed.pop(key, None)
            if order.fresh:
                self._fetched[key] = time.monotonic()

    def _has(self, order: BringOrder) -> bool:
        root = order.input_root
        name = program_name(order.registered.model_root) if root is None else input_name(root)
        return self.store.contents.path(name).exists()

    def _job(self, order: BringOrder) -> None:
        if not self._in_processes:
            bring(self.store, order)
            return
        timeout_s = self.store.fetcher.policy.timeout_s + COMPILE_S
        command = [sys.executable, "-m", "opml_dispute.operator.bringing"]
        try:
            result = run_errand(command, given=order_text(self.store, order), timeout_s=timeout_s, ending=self._ending)
            answer = plain_json.loads(result.out)
        except TimeoutError:
            raise NotHere(f"bringing it took longer than {timeout_s:.0f} s") from None
        except OSError as error:
            raise NotHere(f"no process can be started to bring it: {error.strerror}") from None
        except ValueError:
            raise NotHere("the process that brings it ended without an answer", hint=None) from None
        if "error" in answer:
            raise NotHere(str(answer["error"]), hint=answer.get("hint"))
