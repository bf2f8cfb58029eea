"""
The cases of requests, computed by workers in the background.

`RemoteCases` opens them: it has their models and inputs fetched (`request_fetcher`) and asks a `WorkerPool` about them.
The process that signs loads no model and computes nothing itself. `each` waits a while for all that a pass needs; what
takes longer goes on in the background and keeps nothing else from being done.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Final, TypeVar

from opml_dispute.actors.honest import Decision, consider
from opml_dispute.agent.request_fetcher import FetchedRequest, RequestFetcher
from opml_dispute.agent.second_opinion import second_opinion
from opml_dispute.agent.unexpected import Unexpected
from opml_dispute.availability.store import ContentStore
from opml_dispute.chain.contracts.oracle import RegisteredModel, RequestRecord
from opml_dispute.compute.messages import (
    InferenceTooLarge,
    ProgramUnusable,
    StoreLacks,
    bytes_of,
    integer_of,
    items_of,
)
from opml_dispute.compute.remote import RemoteTrace
from opml_dispute.compute.worker_pool import WorkerPool
from opml_dispute.engine.item_result import ItemResult
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.game.depths import Depths
from opml_dispute.operator.case import WrongStart, expect_start
from opml_dispute.operator.preflight import LONGEST
from opml_dispute.primitives import Address, Hash32, ModelId, RequestId, StateHash, StateRoot
from opml_dispute.trace.longest import NodeMeasure
from opml_dispute.trace.provider import WrongInference

PATIENCE_S: Final = 20.0
"""How long a pass waits for what it had computed; the rest is used by a later pass."""
MOST_KEPT: Final = 256
"""Requests and games whose answers stay in memory."""
BELIEVED_S: Final = 1_800.0
"""How long what the chain says of a request and its model is used before it is asked again: a node may have erred."""
_READ_AGAIN_S: Final = 60.0
"""After which a reading that failed is tried again."""
_THREADS: Final = 32
"""They wait for workers, most of the time."""
_AHEAD: Final = 64
"""Games that are judged before the first of them is played."""

T = TypeVar("T")
KeyT = TypeVar("KeyT", bound=Hashable)


class StillComputing(OpmlError):
    """An answer is not there yet."""

    hint = None


@dataclass
class RemoteCase:
    """One request, computed by workers: an `operator.inference.Deliverable` and a `preflight.Computed`."""

    request_id: RequestId
    fetched: FetchedRequest
    _worker_pool: WorkerPool
    _prestate: StateHash
    _lacks: Callable[[StoreLacks], object]
    """Is told when the store turned out to lack what it takes."""
    read_at: float = field(default_factory=time.monotonic)
    """When the chain was asked last."""
    opinions: list[StateRoot] = field(default_factory=list)
    """What another build of the engine came to, once it was asked."""

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises what the computation raises, and `InferenceTooLarge`."""
        try:
            return self._worker_pool.ask(self.fetched.files, question)
        except MemoryError:
            raise InferenceTooLarge(f"no memory to compute request 0x{self.request_id.hex()}") from None
        except StoreLacks as error:
            self._lacks(error)
            raise

    def another_opinion(self, store: ContentStore, ending: threading.Event) -> None:
        """Asks another build of the engine, once. Raises `SecondOpinionMissing`, and `StoreLacks`."""
        if self.opinions:
            return
        files = self.fetched.files
        try:
            program_file = store.use(files.program_name)
            if program_file is None:
                raise StoreLacks(f"the model of request 0x{files.key} is in the store no more", hint=None)
            image = files.read_image()
            self.opinions.append(second_opinion(program_file, image, files.item_count, ending=ending))
        except StoreLacks as error:
            self._lacks(error)
            raise

    @property
    def record(self) -> RequestRecord:
        """As the chain has it."""
        return self.fetched.record

    @property
    def registered(self) -> RegisteredModel:
        """As the chain has it."""
        return self.fetched.registered

    @cached_property
    def _final(self) -> Mapping[str, Any]:
        return self.ask({"ask": "final"})

    @property
    def final_root(self) -> StateRoot:
        """S_n. Raises `WrongStart`."""
        expect_start(self.request_id, self.record, StateRoot(bytes_of(self._final, "start", 32)))
        return StateRoot(bytes_of(self._final, "root", 32))

    @property
    def status(self) -> int:
        """Of the inference: 0, or what it failed with."""
        return integer_of(self._final, "status")

    @property
    def fault_node(self) -> int:
        """Where it failed."""
        return integer_of(self._final, "fault_node")

    @cached_property
    def _output(self) -> Mapping[str, Any]:
        return self.ask({"ask": "output"})

    @property
    def output_image(self) -> bytes:
        """The OUTPUT section's content."""
        return bytes_of(self._output, "image")

    @property
    def arena_root(self) -> Hash32:
        """Root of the ARENA section in S_n."""
        return Hash32(bytes_of(self._output, "arena_root", 32))

    @property
    def item_count(self) -> int:
        """1, or the items of a batch."""
        return self.record.item_count

    @property
    def node_count(self) -> int:
        """Of the program, once for each item: n of the root claim S_n."""
        return self.registered.node_count * self.item_count

    @property
    def depths(self) -> Depths:
        """Of the games of this request."""
        return Depths.for_model(self.node_count, self.registered.log2_steps)

    @cached_property
    def results(self) -> list[ItemResult]:
        """What became of each item of a batch; empty for a single inference."""
        return items_of(self.ask({"ask": "items"})) if self.item_count > 1 else []

    def longest(self, count: int, depth: int) -> Sequence[NodeMeasure]:
        """The nodes that take most, run in the VM; measured once."""
        if (count, depth) not in self._measured:
            answer = self.ask({"ask": "longest", "count": count, "depth": depth})
            self._measured[count, depth] = [NodeMeasure(*node) for node in answer["nodes"]]
        return self._measured[count, depth]

    @cached_property
    def _measured(self) -> dict[tuple[int, int], Sequence[NodeMeasure]]:
        return {}

    def trace(self) -> RemoteTrace:
        """The honest trace, for one game."""
        return RemoteTrace(self.ask, node_count=self.node_count, prestate=self._prestate, depths=self.depths)


@dataclass(frozen=True)
class Judgement:
    """What is to be done in a game."""

    plan: Decision
    case: RemoteCase | OpmlError | None
    """Prepared for the first bond, or why that failed; None if there is none to be staked."""


class RemoteCases:
    """Opens the cases of one deployment."""

    def __init__(
        self, fetcher: RequestFetcher, worker_pool: WorkerPool, *, prestate: StateHash, patience_s: float = PATIENCE_S
    ) -> None:
        self._fetcher, self._worker_pool, self._prestate = fetcher, worker_pool, prestate
        self.patience_s = patience_s
        self._cases: OrderedDict[RequestId, RemoteCase] = OrderedDict()
        self._traces: OrderedDict[Address, RemoteTrace] = OrderedDict()
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="cases")
        self._pending: dict[Hashable, Future[Any]] = {}
        self._ending = threading.Event()

    def be_patient(self, seconds: float) -> None:
        """Wait so long for what is fetched or computed: for one look that should see all."""
        self.patience_s = self._fetcher.patience_s = seconds

    def case(self, request_id: RequestId, *, ahead: bool = False) -> RemoteCase:
        """The case of a request; `ahead` of a game. Raises what fetching its model and its input here raises."""
        with self._guard:
            known = self._cases.get(request_id)
            if known is not None:
                self._cases.move_to_end(request_id)
        if known is not None and time.monotonic() - known.read_at < BELIEVED_S:
            return known
        try:
            fetched = self._fetcher.request(request_id, ahead=ahead)
        except OpmlError:
            if known is None:
                raise
            known.read_at = time.monotonic() - BELIEVED_S + _READ_AGAIN_S  # a node that fails must not stop a game
            return known
        if known is not None:
            if (fetched.record, fetched.registered) == (known.record, known.registered):
                known.read_at = time.monotonic()
                return known
            self._drop(request_id)
        made = RemoteCase(request_id, fetched, self._worker_pool, self._prestate, partial(self._forget, request_id))
        with self._guard:
            case = self._cases.setdefault(request_id, made)
            while len(self._cases) > MOST_KEPT:
                self._cases.popitem(last=False)
        return case

    def prefetch(self, request_id: RequestId) -> None:
        """Fetches what a request takes before a game needs it. Raises as `case`."""
        self.case(request_id, ahead=True)

    def prefetch_model(self, model_id: ModelId) -> None:
        """The same for a model. Raises `NotHere`."""
        self._fetcher.model(model_id, ahead=True)

    def hold(self, request_ids: Iterable[RequestId]) -> None:
        """Games are about these requests: what they take stays in the store."""
        for request_id in request_ids:
            case = self._cases.get(request_id)
            if case is not None:
                self._fetcher.hold(case.fetched)

    def trace(self, game: Game) -> RemoteTrace:
        """The honest trace of a game. Raises as `case`."""
        case = self.case(game.request_id)
        with self._guard:
            trace = self._traces.setdefault(game.address, case.trace())
            self._traces.move_to_end(game.address)
            while len(self._traces) > MOST_KEPT:
                self._traces.popitem(last=False)
        return trace

    def final_root(self, request_id: RequestId) -> tuple[StateRoot, int]:
        """S_n and the status of the inference. Raises what computing raises."""
        case = self.case(request_id)
        try:
            return case.final_root, case.status
        except WrongStart:
            self._drop(request_id)
            raise

    def _drop(self, request_id: RequestId) -> None:
        """The next look reads the request anew."""
        with self._guard:
            self._cases.pop(request_id, None)

    def warm(self, game: Game, now_s: int) -> Decision:
        """What the honest actor would do in a game. Raises what computing raises."""
        plan = consider(game, self.trace(game), now_s)
        if any(isinstance(one.error, WrongInference) for one in plan.unjudged):
            self._drop(game.request_id)  # what was read about the request may be why: it is read again
            with self._guard:
                self._traces.pop(game.address, None)
        return plan

    def judge(self, game: Game, now_s: int, enters: bool, opinion: bool, measures: bool) -> Judgement:
        """The plan in a game, with what the first bond needs if the account `enters` by it. Raises as `warm`."""
        plan = self.warm(game, now_s)
        if not enters or not plan.actions:
            return Judgement(plan, None)
        try:
            return Judgement(plan, self.prepare(game.request_id, game.depths.execution, opinion, measures))
        except OpmlError as error:
            return Judgement(plan, error)

    def prepare(self, request_id: RequestId, depth: int, opinion: bool, measures: bool) -> RemoteCase:
        """What is wanted before the first bond: another build's opinion, and the longest nodes in the VM."""
        case = self.case(request_id)
        if opinion:
            case.another_opinion(self._fetcher.store.contents, self._ending)
        if measures:
            case.longest(LONGEST, depth)
        return case

    def expect_others_could(self, request_id: RequestId) -> None:
        """Raises `NotHere` unless another computer could fetch the model and the input of a request."""
        self._fetcher.expect_others_could(self.case(request_id).fetched)

    def _forget(self, request_id: RequestId, why: StoreLacks) -> None:
        """What the store turned out to lack is fetched again; the next look computes."""
        with self._guard:
            case = self._cases.pop(request_id, None)
        if case is not None and isinstance(why, ProgramUnusable):
            self._fetcher.drop(case.fetched)

    # ---- many at once ----

    def each(
        self, work: Callable[..., T], items: Mapping[KeyT, tuple[object, ...]], *, patience_s: float | None = None
    ) -> dict[KeyT, T | OpmlError]:
        """
        `work` for each item, at the same time: results, or the errors in their place, by the items' keys.

        What is not done after a while is `StillComputing`, and goes on: the next call for the same key waits for it.
        """
        most_s = self.patience_s if patience_s is None else patience_s
        deadline = time.monotonic() + most_s
        for key, arguments in items.items():
            self._begin(work, key, arguments)
        return {key: self._outcome(work, key, deadline) for key in items}

    def stream(
        self, work: Callable[..., T], items: Sequence[tuple[Hashable, tuple[object, ...]]]
    ) -> Iterator[T | OpmlError]:
        """As `each`, for many: in order, each as soon as it and those before it are there."""
        deadline = time.monotonic() + self.patience_s
        begun = 0
        for number, (key, _) in enumerate(items):
            while begun < min(len(items), number + _AHEAD) and (begun <= number or time.monotonic() < deadline):
                self._begin(work, *items[begun])
                begun += 1
            yield self._outcome(work, key, deadline)

    def _begin(self, work: Callable[..., T], key: Hashable, arguments: tuple[object, ...]) -> None:
        pending = self._pending.get((work, key))
        # What one that took long found may be outdated, but what it computed is kept: it is asked again.
        if pending is None or (pending.done() and pending.exception() is None):
            self._pending[work, key] = self._pool.submit(work, *arguments)

    def _outcome(self, work: Callable[..., T], key: Hashable, deadline: float) -> T | OpmlError:
        future: Future[T] = self._pending[work, key]
        wait([future], timeout=max(0.0, deadline - time.monotonic()))
        if not future.done():
            return StillComputing("it is still being computed")
        del self._pending[work, key]
        try:
            return future.result()
        except OpmlError as error:
            return error
        except MemoryError:
            return InferenceTooLarge("there is no memory for it")
        except Exception as error:
            return Unexpected(error)

    def close(self) -> None:
        """Ends the workers, whatever they compute."""
        self._ending.set()
        self._worker_pool.close()
        self._fetcher.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
