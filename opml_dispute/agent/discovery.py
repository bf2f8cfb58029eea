"""
The games and requests of a deployment, read from the factory's and the oracle's lists.

`Discovery.refresh` reads the entries that are new since the last call, and some of the known ones in turn. It notices a
reorganisation of the chain, or an entry that a node gave wrong, by a known entry that has changed, and then reads
everything again. No event is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.dispute import GameEntry
from opml_dispute.chain.head_history import Course, HeadHistory
from opml_dispute.chain.system import System
from opml_dispute.primitives import Address, RequestId

READ_AGAIN: Final = 16
"""Known entries that are read again in each refresh, beside the last one."""


class _Again:
    """Which entries of a list are read again: the last one, and others in turn."""

    def __init__(self) -> None:
        self._next = 0

    def of(self, count: int) -> list[int]:
        """Of so many."""
        if not count:
            return []
        start, self._next = self._next % count, self._next + READ_AGAIN
        return sorted({count - 1, *((start + step) % count for step in range(min(READ_AGAIN, count)))})


@dataclass
class Discovery:
    """The lists as they were at the last refresh, oldest first."""

    system: System

    def __post_init__(self) -> None:
        self.games: list[GameEntry] = []
        self.requests: list[RequestId] = []
        self.reorganisations = 0
        self._heads = HeadHistory(self.system.rpc)
        self._games_again, self._requests_again = _Again(), _Again()

    def refresh(self, head: Head) -> tuple[list[GameEntry], list[RequestId]]:
        """
        What is new at `head`: everything after a reorganisation, nothing where the node has fallen behind.

        Raises the errors of reading; the lists are then unchanged.
        """
        rpc, factory, oracle = self.system.rpc, self.system.factory, self.system.oracle
        last = self._heads.last
        # WHY NOT ask in each refresh: a chain that is no shorter shows by its entries whether it is another one.
        course = Course.ONWARD if last is None or head.number > last.number else self._heads.course(head)
        if course == Course.BEHIND:
            return [], []
        game_count, request_count = rpc.read_all([factory.game_count(), oracle.request_count()], at=head)
        known_games, known_requests = len(self.games), len(self.requests)
        if course == Course.ELSEWHERE or not self._is_same(head, game_count, request_count):
            self.reorganisations += 1
            known_games = known_requests = 0
        games = rpc.read_range(factory.game_at, range(known_games, game_count), at=head)
        requests = rpc.read_range(oracle.request_id_at, range(known_requests, request_count), at=head)
        self.games = [*self.games[:known_games], *games]
        self.requests = [*self.requests[:known_requests], *requests]
        self._heads.note(head, course)
        return games, requests

    def _is_same(self, head: Head, game_count: int, request_count: int) -> bool:
        """Whether the last known entries are unchanged."""
        if game_count < len(self.games) or request_count < len(self.requests):
            return False
        rpc, factory, oracle = self.system.rpc, self.system.factory, self.system.oracle
        games, requests = self._games_again.of(len(self.games)), self._requests_again.of(len(self.requests))
        return rpc.read_each([factory.game_at(index) for index in games], at=head) == [
            self.games[index] for index in games
        ] and rpc.read_each([oracle.request_id_at(index) for index in requests], at=head) == [
            self.requests[index] for index in requests
        ]

    @property
    def addresses(self) -> list[Address]:
        """The games' addresses, oldest first."""
        return [entry.address for entry in self.games]
