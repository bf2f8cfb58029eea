"""
A trace whose values are computed by workers: what a player believes in, without the model in its own memory.

`RemoteTrace` keeps every answer, which never changes, so that a game that is judged again asks for what is new only.
VM runs that are needed for the first time are made together, before the questions about them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from opml_dispute.compute.messages import BadMessage, bytes_of, run_message
from opml_dispute.engine.values import StepWitness
from opml_dispute.game.depths import Depths
from opml_dispute.game.position import Position
from opml_dispute.primitives import StateHash, StateRoot
from opml_dispute.trace.phases import NodeRun, PhasedTrace, RunKey
from opml_dispute.trace.provider import LocalRead, StepData
from opml_dispute.trace.runs import RunDeferred

MOST_KEPT: Final = 1 << 16
"""Answers; each is small."""

T = TypeVar("T")


class Asks(Protocol):
    """Answers questions about one case."""

    def __call__(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer. Raises what the computation raises."""
        ...


class RemoteTrace(PhasedTrace):
    """The honest trace of one case."""

    def __init__(self, ask: Asks, *, node_count: int, prestate: StateHash, depths: Depths | None = None) -> None:
        super().__init__(node_count, depths)
        self._ask, self._prestate = ask, prestate
        self._kept: OrderedDict[object, Any] = OrderedDict()
        self._made: set[RunKey] = set()
        self._deferred: dict[RunKey, NodeRun] | None = None

    def prestate(self) -> StateHash:
        """Of this release."""
        return self._prestate

    def state_root(self, t: int) -> StateRoot:
        """S_t."""
        return self._known(t, lambda: StateRoot(bytes_of(self._ask({"ask": "root", "t": t}), "root", 32)))

    def run_hash(self, run: NodeRun, place: Position) -> StateHash:
        """See `PhasedTrace`."""
        return self._known(
            (run.key, place.gindex), lambda: StateHash(bytes_of(self._about(run, "hash", place), "hash", 32))
        )

    def run_step(self, run: NodeRun, place: Position) -> StepData:
        """See `PhasedTrace`. The witness's pre-image and next state stay with the worker."""
        return self._known((run.key, place.gindex, "step"), lambda: _step_of(self._about(run, "step", place)))

    def ahead(self, judge: Callable[[], T]) -> T:
        """What `judge` answers, after all VM runs that it needs for the first time were made."""
        self._deferred = wanted = dict[RunKey, NodeRun]()
        try:
            answer = judge()
        finally:
            self._deferred = None
        if not wanted:
            return answer
        self._ask({"ask": "ahead", "runs": [run_message(run) for run in wanted.values()]})
        self._made |= wanted.keys()
        return judge()

    def _about(self, run: NodeRun, what: str, place: Position) -> Mapping[str, Any]:
        if self._deferred is not None and run.key not in self._made:
            self._deferred[run.key] = run
            raise RunDeferred("a VM run is needed first")
        return self._ask({"ask": what, "run": run_message(run), "at": str(place.gindex)})

    def _known(self, question: object, find: Callable[[], T]) -> T:
        if question not in self._kept:
            self._kept[question] = find()
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        found: T = self._kept[question]
        return found


def _step_of(answer: Mapping[str, Any]) -> StepData:
    read = answer.get("local_read")
    if read is not None and not (isinstance(read, list) and [type(part) for part in read] == [int, int]):
        raise BadMessage("a worker's answer has no local_read")
    witness = StepWitness(bytes_of(answer, "state_data"), bytes_of(answer, "proof"), None, StateHash(bytes(32)))
    return StepData(witness, None if read is None else LocalRead(read[0], read[1]))
