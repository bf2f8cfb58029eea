"""
The worker's side: open cases, with their models loaded and their VM runs kept, and the answers to questions about them.

`CaseServer.answer` takes a message and gives one; it never raises. The program of a case is found by its root in a
store, and checked against it. The input comes with the question; the process that asks has checked it against its root.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from opml_dispute import __version__
from opml_dispute.availability.store import ContentStore, program_name
from opml_dispute.compute.messages import (
    BadMessage,
    as_error,
    bytes_of,
    integer_of,
    items_message,
    message_bytes,
    message_of,
    run_of,
)
from opml_dispute.engine.batch import BatchInference, fullest_run, native_run
from opml_dispute.engine.inference import Inference
from opml_dispute.errors import OpmlError
from opml_dispute.game.position import Position
from opml_dispute.model.program import Program
from opml_dispute.model.program_file import ProgramFileError, read_program
from opml_dispute.trace.guest import absolute_prestate, guest_machine
from opml_dispute.trace.longest import measure_longest
from opml_dispute.trace.split import SplitTrace

MOST_CASES: Final = 4
"""Cases that stay open: each holds a run, and its VM runs."""
_PART_BYTES: Final = 1 << 26


class NotOpen(OpmlError):
    """A case that is not open here was asked about."""


@dataclass
class _OpenCase:
    program: Program
    inference: Inference | BatchInference
    trace: SplitTrace


class CaseServer:
    """Answers for the cases that it was given."""

    def __init__(self, store: ContentStore, *, most_cases: int = MOST_CASES, budget_bytes: int | None = None) -> None:
        """`budget_bytes` bounds what the VM runs of a case may keep in memory."""
        self._store, self._most_cases, self._budget_bytes = store, most_cases, budget_bytes
        self._open: OrderedDict[str, _OpenCase] = OrderedDict()
        self._taking, self._incoming = ExitStack(), store.folder
        self._questions: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "hello": self._hello,
            "take": self._take,
            "open": self._open_case,
            "final": self._final,
            "root": self._root,
            "hash": self._hash,
            "step": self._step,
            "ahead": self._ahead,
            "longest": self._longest,
            "output": self._output,
            "items": self._items,
        }

    def answer(self, raw: bytes) -> bytes:
        """The answer to one question; an error is an answer too."""
        try:
            question = message_of(raw)
            return message_bytes(self._questions[str(question.get("ask"))](question))
        except NotOpen:
            return message_bytes({"not_open": True})
        except Exception as error:  # whatever goes wrong is told: who asks decides
            return message_bytes(as_error(error))

    # ---- opening ----

    def _hello(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"version": __version__, "prestate": absolute_prestate()}

    def _take(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """A part of a program's file, for a worker on another computer; the last one makes it whole."""
        root, part, at = bytes_of(question, "root", 32), bytes_of(question, "part"), integer_of(question, "at")
        if at == 0:
            self._taking.close()
            # A folder of its own: other workers on that computer may be sent the same program at the same time.
            self._incoming = self._taking.enter_context(self._store.incoming()) / "program"
        with self._incoming.open("ab" if at else "wb") as file:
            if file.tell() != at:
                raise BadMessage("a part of a program is missing")
            file.write(part)
        if question.get("last"):
            self._store.adopt(program_name(root), self._incoming, "agent:")
            self._taking.close()
        return {}

    def _open_case(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        key, model_root = str(question["case"]), bytes_of(question, "model_root", 32)
        if key in self._open:
            return {"opened": True}
        path = self._store.use(program_name(model_root))
        program = next((kept.program for kept in self._open.values() if kept.program.model_root == model_root), None)
        if program is None and path is not None:
            try:
                program = read_program(path)
            except ProgramFileError:
                program = None
        if program is None or program.model_root != model_root:
            return {"needs": "program"}
        items = integer_of(question, "items")
        inference = native_run(program, bytes_of(question, "image"), items)
        inference.expect_questions()
        trace = SplitTrace(
            inference,
            guest_machine(),
            node_count=program.node_count * items,
            spawn=guest_machine,
            budget_bytes=self._budget_bytes,
        )
        closed = []
        while len(self._open) >= self._most_cases:
            closed.append(self._open.popitem(last=False)[0])
        self._open[key] = _OpenCase(program, inference, trace)
        return {"opened": True, "closed": closed}

    def _case(self, question: Mapping[str, Any]) -> _OpenCase:
        key = str(question.get("case"))
        if key not in self._open:
            raise NotOpen(key)
        self._open.move_to_end(key)
        return self._open[key]

    # ---- the ML phase ----

    def _final(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        case = self._case(question)
        start, root = case.trace.state_root(0), case.trace.root_claim()
        return {"start": start, "root": root, "status": case.inference.status, "fault_node": case.inference.fault_node}

    def _root(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"root": self._case(question).inference.state_root(integer_of(question, "t"))}

    def _output(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        inference = fullest_run(self._case(question).inference)
        return {"image": inference.output_image(), "arena_root": inference.output_proof().arena_root}

    def _items(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        run = self._case(question).inference
        return items_message(run.results() if isinstance(run, BatchInference) else [])

    # ---- the FPVM phase ----

    def _hash(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"hash": self._case(question).trace.run_hash(run_of(question["run"]), _place(question))}

    def _step(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        data = self._case(question).trace.run_step(run_of(question["run"]), _place(question))
        read = data.local_read
        return {
            "state_data": data.witness.state_data,
            "proof": data.witness.proof,
            "local_read": None if read is None else [read.ident, read.offset],
        }

    def _ahead(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        self._case(question).trace.make_runs([run_of(run) for run in question["runs"]])
        return {}

    def _longest(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        case = self._case(question)
        measured = measure_longest(
            case.program,
            fullest_run(case.inference),
            count=integer_of(question, "count"),
            depth=integer_of(question, "depth"),
        )
        return {"nodes": [node.as_list() for node in measured]}


def _place(question: Mapping[str, Any]) -> Position:
    return Position.from_gindex(int(str(question["at"])))
