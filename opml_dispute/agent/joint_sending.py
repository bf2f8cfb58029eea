"""
Transactions of many games under one key, sent together.

The rounds of several games run in threads. Each hands over what it has to send, and waits. One thread at a time sends,
and takes along what the others have handed over meanwhile, under consecutive nonces: moves in sixteen games take a
block or two, not sixteen. The first one to come waits for no other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from opml_dispute.chain.sender import IN_FLIGHT
from opml_dispute.errors import OpmlError
from opml_dispute.operator.intents import Done, Intent
from opml_dispute.primitives import Address

Outcome: TypeAlias = Done | OpmlError | None
SendAll: TypeAlias = Callable[[Sequence[tuple[Address, Intent]]], Sequence[Outcome]]
"""Sends intents, each with its game, that do not depend on each other; answers each one's outcome."""


@dataclass(frozen=True)
class _HandedOver:
    game: Address
    intents: Sequence[Intent]
    outcomes: Future[Sequence[Outcome]] = field(default_factory=Future)


class JointSending:
    """For the threads of one pass."""

    def __init__(self, send_all: SendAll) -> None:
        self._send_all = send_all
        self._waiting: deque[_HandedOver] = deque()
        self._guard, self._sending = threading.Lock(), threading.Lock()

    def send(self, game: Address, intents: Sequence[Intent]) -> Sequence[Outcome]:
        """Returns when all are mined or refused. Raises what sending raises."""
        mine = _HandedOver(game, intents)
        with self._guard:
            self._waiting.append(mine)
        with self._sending:
            while not mine.outcomes.done():  # otherwise another thread took it along
                self._send_some()
        return mine.outcomes.result()

    def _send_some(self) -> None:
        taken: list[_HandedOver] = []
        with self._guard:
            while self._waiting and sum(len(one.intents) for one in taken) < IN_FLIGHT:
                taken.append(self._waiting.popleft())
        try:
            outcomes = deque(self._send_all([(one.game, intent) for one in taken for intent in one.intents]))
        except BaseException as error:
            for one in taken:
                one.outcomes.set_exception(error)
            return
        for one in taken:
            one.outcomes.set_result([outcomes.popleft() for _ in one.intents])
