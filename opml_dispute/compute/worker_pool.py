"""
Several workers as one: cases shared out among them, and asked again where a worker is lost.

A case stays with the worker that has it open. If that one is busy for longer while another is free, the case moves: a
model that takes long, or a worker that hangs, keeps no other game waiting. A worker that dies, or gives no answer in
time, is replaced, and the question is asked again elsewhere; a case that loses a worker every time is given up for a
while, so that it cannot take the others' place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from opml_dispute.compute.messages import (
    BadMessage,
    CaseFiles,
    ComputeFailed,
    ProgramUnusable,
    StoreLacks,
    bytes_of,
    message_bytes,
    message_of,
    raise_error,
)
from opml_dispute.compute.workers import Worker, WorkerLost

TRIES: Final = 3
MOVE_AFTER_S: Final = 2.0
"""How long a case waits for its own worker while another one is free."""
FIRST_REST_S: Final = 60.0
LONGEST_REST_S: Final = 3_600.0
HELLO_S: Final = 60.0
_PART_BYTES: Final = 1 << 26


@dataclass
class _Slot:
    """A place for one worker."""

    number: int
    worker: Worker | None = None
    opened: set[str] = field(default_factory=set)
    is_busy: bool = False


@dataclass
class _Rest:
    """A case that lost workers: not before which time it is tried again."""

    losses: int = 0
    until: float = 0.0
    reason: str = ""


class WorkerPool:
    """Workers that are started when they are needed. For several threads."""

    def __init__(
        self,
        start: Callable[[], Worker],
        count: int,
        *,
        folder: Path,
        prestate: bytes,
        timeout_s: float,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        """`start` makes a worker; `folder` is the store of programs; `tell` is told of lost workers, in sentences."""
        self._start, self._folder, self._prestate, self._timeout_s, self._tell = (
            start,
            folder,
            prestate,
            timeout_s,
            tell,
        )
        self._slots = [_Slot(number) for number in range(count)]
        self._home: dict[str, _Slot] = {}
        self._resting: dict[str, _Rest] = {}
        self._free = threading.Condition()
        self._is_closed = False
        self.lost = 0
        """Workers that had to be replaced."""

    def ask(self, case: CaseFiles, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer about a case. Raises what it carries, and `ComputeFailed` if no worker gives one."""
        self._expect_rested(case)
        reason = ""
        for _ in range(TRIES):
            with self._slot_for(case.key) as slot:
                try:
                    answer = self._ask_slot(slot, case, question)
                except WorkerLost as lost:
                    reason = str(lost)
                    self._lose(slot, case, reason)
                    continue
            self._resting.pop(case.key, None)
            raise_error(answer)
            return answer
        self._rest(case, reason)
        raise ComputeFailed(f"request 0x{case.key} cannot be computed: {TRIES} workers were lost over it ({reason})")

    def close(self) -> None:
        """Ends all workers at once, whatever they compute."""
        with self._free:
            self._is_closed = True
            self._free.notify_all()
        for slot in self._slots:
            if slot.worker is not None:
                slot.worker.stop()

    # ---- sharing out ----

    @contextmanager
    def _slot_for(self, key: str) -> Iterator[_Slot]:
        slot = self._take(key)
        try:
            yield slot
        finally:
            with self._free:
                slot.is_busy = False
                self._free.notify_all()

    def _take(self, key: str) -> _Slot:
        begun = time.monotonic()
        with self._free:
            while True:
                if self._is_closed:
                    raise ComputeFailed("the workers were ended", hint=None)
                home = self._home.get(key)
                free = [slot for slot in self._slots if not slot.is_busy]
                waited_s = time.monotonic() - begun
                if home is None or home not in free:
                    may_move = home is None or waited_s >= MOVE_AFTER_S
                    chosen = min(free, key=self._load) if free and may_move else None
                else:
                    chosen = home
                if chosen is not None:
                    chosen.is_busy = True
                    self._home[key] = chosen
                    return chosen
                self._free.wait(0.2)

    def _load(self, slot: _Slot) -> tuple[int, int]:
        return len(slot.opened), slot.number

    # ---- one worker ----

    def _ask_slot(self, slot: _Slot, case: CaseFiles, question: Mapping[str, Any]) -> Mapping[str, Any]:
        worker = slot.worker or self._started(slot)
        for _ in range(2):
            if case.key not in slot.opened:
                self._open(slot, worker, case)
            answer = self._exchange(worker, {**question, "case": case.key})
            if not answer.get("not_open"):
                return answer
            slot.opened.discard(case.key)  # it had to make room
        raise WorkerLost("it does not keep what it was given")

    def _started(self, slot: _Slot) -> Worker:
        worker = self._start()
        slot.worker, slot.opened = worker, set()
        hello = self._exchange(worker, {"ask": "hello"}, timeout_s=HELLO_S)
        raise_error(hello)
        if bytes_of(hello, "prestate", 32) != self._prestate:
            worker.stop()
            slot.worker = None
            raise ComputeFailed(
                f"a worker is of another release ({str(hello.get('version'))[:20]}): its guest is not this one's",
                hint="install the same release of opml-dispute on every computer of the cluster",
            )
        if self._is_closed:
            worker.stop()
        return worker

    def _open(self, slot: _Slot, worker: Worker, case: CaseFiles) -> None:
        opening = {
            "ask": "open",
            "case": case.key,
            "model_root": case.model_root,
            "image": case.read_image(),
            "items": case.item_count,
        }
        answer = self._exchange(worker, opening)
        if answer.get("needs") == "program":
            self._send_program(worker, case)
            answer = self._exchange(worker, opening)
        raise_error(answer)
        if not answer.get("opened"):
            raise ProgramUnusable(f"the copy of the model of request 0x{case.key} is damaged", hint=None)
        slot.opened.add(case.key)
        closed = {str(key) for key in answer.get("closed") or ()}  # it made room
        slot.opened -= closed
        with self._free:
            for key in closed:
                if self._home.get(key) is slot:
                    del self._home[key]

    def _send_program(self, worker: Worker, case: CaseFiles) -> None:
        """To a worker of another computer, whose store does not have it."""
        path = self._folder / case.program_name
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                for at in range(0, size, _PART_BYTES):
                    part = file.read(_PART_BYTES)
                    is_last = at + _PART_BYTES >= size
                    sending = {"ask": "take", "root": case.model_root, "at": at, "part": part, "last": is_last}
                    raise_error(self._exchange(worker, sending))
        except OSError as error:
            raise StoreLacks(f"cannot read {path}: {error.strerror}", hint=None) from None

    def _exchange(
        self, worker: Worker, question: Mapping[str, Any], *, timeout_s: float | None = None
    ) -> Mapping[str, Any]:
        raw = worker.ask(message_bytes(question), timeout_s or self._timeout_s)
        try:
            return message_of(raw)
        except BadMessage as error:
            raise WorkerLost(str(error)) from None

    # ---- losses ----

    def _lose(self, slot: _Slot, case: CaseFiles, reason: str) -> None:
        if slot.worker is not None:
            with suppress(Exception):  # it is gone, or goes
                slot.worker.stop()
        slot.worker, slot.opened = None, set()
        with self._free:
            self._home.pop(case.key, None)
        if not self._is_closed:
            self.lost += 1
            self._tell(f"A worker was lost over request 0x{case.key}: {reason}; another one is asked")

    def _expect_rested(self, case: CaseFiles) -> None:
        rest = self._resting.get(case.key)
        if rest is not None and time.monotonic() < rest.until:
            left_s = rest.until - time.monotonic()
            raise ComputeFailed(
                f"request 0x{case.key} is left alone for {left_s:.0f} s: workers were lost over it ({rest.reason})"
            )

    def _rest(self, case: CaseFiles, reason: str) -> None:
        rest = self._resting.setdefault(case.key, _Rest())
        rest.losses += 1
        rest.reason = reason
        rest.until = time.monotonic() + min(FIRST_REST_S * 2 ** (rest.losses - 1), LONGEST_REST_S)
