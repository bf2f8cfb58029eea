"""
Whether each claim is right by this computer's own recomputation, found in a thread while pages are shown.

`Judge.findings` answers at once with the findings so far and has the rest computed; `version` changes whenever
more is known. A verdict is kept by the claim's whole line of ancestors, so that neither a new move nor a reorganisation
can bring a stale one back. A value that cannot be computed here is reported, never guessed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from opml_dispute.actors.disputed_range import DisputedRange, frontier
from opml_dispute.agent.local_cases import LocalCases, OpenCase
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Claim, Game
from opml_dispute.primitives import Address, RequestId
from opml_dispute.web.disputed import (
    AskedView,
    InstructionView,
    NodeView,
    asked_view,
    instruction_view,
    node_view,
    question_of,
)
from opml_dispute.web.graph_view import GraphOperations

MAX_JUDGED: Final = 4_000
"""Claims of one game: the line that the game has come down to, then the earliest."""
MAX_RUNS: Final = 8
"""Subgames of one game whose VM run is made; each can take a minute and much memory."""
MAX_KNOWN: Final = 16
"""Games and requests whose findings are kept."""
MAX_ITEMS: Final = 16
"""Items of a batch whose inputs and answers are shown, from the first on."""


@dataclass
class Findings:
    """What is known of one game."""

    right: dict[int, bool] = field(default_factory=dict)
    """By claim index: whether the claim has the right value."""
    expected: dict[int, bytes] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    """By claim index: why it could not be judged."""
    problem: str | None = None
    """Why nothing can be computed."""
    is_done: bool = False
    asked: AskedView | None = None
    operations: GraphOperations | None = None
    node: NodeView | None = None
    instruction: InstructionView | None = None
    question: DisputedRange | None = None
    """What node and instruction were found for."""

    @property
    def root_is_right(self) -> bool | None:
        """None if that is not known."""
        return self.right.get(0)


@dataclass
class _Known:
    findings: Findings = field(default_factory=Findings)
    verdicts: dict[int, bytes] = field(default_factory=dict)
    """The right value by a claim's line."""
    failed: dict[int, str] = field(default_factory=dict)
    version: int = 0
    job: Future[None] | None = None
    seen: tuple[int, ...] = ()
    """The lines of the game that the findings are about."""
    is_ended: bool = False


def claim_lines(game: Game) -> tuple[int, ...]:
    """For each claim a number that stands for it with all its ancestors."""
    lines: list[int] = []
    for claim in game.claims:
        above = 0 if claim.parent_index is None else lines[claim.parent_index]
        lines.append(hash((above, claim.position.gindex, bytes(claim.value))))
    return tuple(lines)


class Judge:
    """Judges games of one system."""

    def __init__(self, cases: LocalCases) -> None:
        self._cases = cases
        self._known: OrderedDict[Address, _Known] = OrderedDict()
        self._asked: OrderedDict[RequestId, Future[list[AskedView]]] = OrderedDict()
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._is_closed = False

    def findings(self, game: Game) -> Findings:
        """The findings so far; the rest is being computed."""
        with self._guard:
            known = self._of(game.address)
            lines = claim_lines(game)
            if known.seen != lines:
                known.seen = lines
                known.findings = self._carried(known, game, lines)
            if not known.findings.is_done and known.job is None and not self._is_closed:
                known.job = self._pool.submit(self._work, game, known, lines)
            found = known.findings
            # Copies: the work goes on while a page is made of them.
            return replace(found, right=dict(found.right), expected=dict(found.expected), problems=dict(found.problems))

    def wait_for(self, game: Game) -> Findings:
        """All findings; waits until they are computed."""
        while True:
            found = self.findings(game)
            if found.is_done:
                return found
            job = self._known[game.address].job
            if job is not None:
                job.result()

    def version(self, address: Address) -> int:
        """Changes when more is known of a game."""
        known = self._known.get(address)
        return 0 if known is None else known.version

    def asked(self, request_id: RequestId) -> list[AskedView] | str | None:
        """
        What a request asks and our answers, of a batch those of the first items; why that is not known; None while it
        is being computed.
        """
        with self._guard:
            job = self._asked.get(request_id)
            if job is None:
                job = self._asked[request_id] = self._pool.submit(self._ask, request_id)
                while len(self._asked) > MAX_KNOWN:
                    self._asked.popitem(last=False)[1].cancel()
        if not job.done():
            return None
        try:
            return job.result()
        except OpmlError as error:
            with self._guard:
                self._asked.pop(request_id, None)  # asked again at the next look: a model may have come
            return _sentence(error)

    def close(self) -> None:
        """Ends the work; what runs in the engine is not waited for."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _of(self, address: Address) -> _Known:
        known = self._known.setdefault(address, _Known())
        self._known.move_to_end(address)
        while len(self._known) > MAX_KNOWN:
            _, old = self._known.popitem(last=False)
            old.is_ended = True
        return known

    def _carried(self, known: _Known, game: Game, lines: tuple[int, ...]) -> Findings:
        """Findings about a game as it is now, with what was found before about the same claims."""
        before = known.findings
        after = Findings(asked=before.asked, operations=before.operations, problem=None)
        for claim, line in zip(game.claims, lines, strict=True):
            if line in known.verdicts:
                _add(after, claim, known.verdicts[line])
            elif line in known.failed:
                after.problems[claim.index] = known.failed[line]
        if before.question == question_of(game):
            after.node, after.instruction, after.question = before.node, before.instruction, before.question
        return after

    def _ask(self, request_id: RequestId) -> list[AskedView]:
        with self._cases.holding(request_id) as opened:
            return [asked_view(opened.case, item) for item in range(min(opened.case.item_count, MAX_ITEMS))]

    def _work(self, game: Game, known: _Known, lines: tuple[int, ...]) -> None:
        """Everything that can be found of one state of a game; stops when the game has moved on."""
        findings = known.findings
        try:
            self._find(game, known, findings, lines)
        except OpmlError as error:
            findings.problem = _sentence(error)
        except MemoryError:
            findings.problem = "there is not enough memory to compute this request"
        finally:
            with self._guard:
                known.job = None
                # Otherwise the game has moved on, and the next look begins again with what was found.
                findings.is_done = True
                known.version += 1

    def _find(self, game: Game, known: _Known, findings: Findings, lines: tuple[int, ...]) -> None:
        with self._cases.holding(game.request_id) as opened:
            items = question_of(game).items(game)
            if len(items) == 1 and (findings.asked is None or findings.asked.item not in (None, items[0])):
                findings.asked = asked_view(opened.case, items[0])
                known.version += 1
            if findings.operations is None:
                findings.operations = GraphOperations.of(opened.case.program)
                known.version += 1
        runs: set[int] = set()
        for count, claim in enumerate(_in_order(game)):
            if self._is_closed or known.is_ended or known.seen != lines or count >= MAX_JUDGED:
                break
            line = lines[claim.index]
            if line in known.verdicts or line in known.failed:
                continue
            if claim.position.depth > game.depths.split:
                runs.add(_execution_root(game, claim))
                if len(runs) > MAX_RUNS:
                    continue
            with self._cases.holding(game.request_id) as opened:
                try:
                    expected = bytes(opened.trace.claim_at(game, claim))
                except OpmlError as error:
                    known.failed[line] = _sentence(error)
                    with self._guard:
                        findings.problems[claim.index] = known.failed[line]
                    continue
            known.verdicts[line] = expected
            with self._guard:
                _add(findings, claim, expected)
            if count % 8 == 0:
                known.version += 1
        if known.seen == lines:
            with self._cases.holding(game.request_id) as opened:
                _look_closer(game, opened, findings)


def _look_closer(game: Game, opened: OpenCase, findings: Findings) -> None:
    """The node and the instruction that the game has come down to."""
    question = question_of(game)
    if question.node_high - question.node_low == 1:
        item, node = divmod(question.node_low, opened.case.program.node_count)
        findings.node = node_view(opened.case.program, opened.case.item(item), node)
        try:
            findings.instruction = instruction_view(game, opened.trace)
        except OpmlError:
            findings.instruction = None  # its claims say why, each for itself
    findings.question = question


def _in_order(game: Game) -> list[Claim]:
    """The root claim and the line that the game has come down to, then the others from the first on."""
    line: list[Claim] = []
    claim: Claim | None = frontier(game)
    while claim is not None:
        line.append(claim)
        claim = game.parent(claim)
    first = {claim.index for claim in line}
    return [*reversed(line), *(claim for claim in game.claims if claim.index not in first)]


def _execution_root(game: Game, claim: Claim) -> int:
    while claim.position.depth > game.depths.execution_root:
        parent = game.parent(claim)
        assert parent is not None  # the root claim is above the split
        claim = parent
    return claim.index


def _add(findings: Findings, claim: Claim, expected: bytes) -> None:
    findings.right[claim.index] = expected == claim.value
    findings.expected[claim.index] = expected


def _sentence(error: OpmlError) -> str:
    return f"{error}. {error.hint}." if error.hint else f"{error}."
