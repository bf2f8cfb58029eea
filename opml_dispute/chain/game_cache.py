"""
Many games, kept up to date at little cost.

`GameCache.refresh` gives the games of a list as they stand at a block. A game that is known is read again only if the
chain's events name it since the last refresh, if the caller watches it closely, or if it was not read for a while: one
search for events then takes the place of thousands of reads, and an event that a node keeps back delays a game by
`reread_s`, no more. After a reorganisation, and where the node does not search events, everything is read again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.events import logs_between
from opml_dispute.chain.games import GameReader
from opml_dispute.chain.head_history import Course, HeadHistory
from opml_dispute.chain.rpc_errors import RpcFailed
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.primitives import Address

CHANGES: Final = ("ClaimAdded", "Stepped", "ClaimResolved", "Resolved")
"""The events of whatever changes a game's snapshot."""

OVERLAP_BLOCKS: Final = 4
"""Blocks that are searched once more: a node's index of events may lag behind its blocks."""

LONGEST_SEARCH_BLOCKS: Final = 7_200
"""Over a longer gap every game is read again."""


class GameCache:
    """The last known snapshot of each game."""

    def __init__(self, games: GameReader, *, reread_s: float = 900.0) -> None:
        """A game that no event names is read again after `reread_s` at the latest."""
        self._games, self._reread_s = games, reread_s
        self._known: dict[Address, Game] = {}
        self._reread_at: dict[Address, float] = {}
        self._heads = HeadHistory(games.rpc)
        self.reorganisations = 0
        """How often the chain before the last head was another one than before."""
        self.reads = 0
        """Snapshots read so far, for measurements."""

    def refresh(
        self, addresses: Sequence[Address], head: Head, *, closely: Iterable[Address] = ()
    ) -> dict[Address, Game | OpmlError]:
        """
        The games at `head`, or why one cannot be read. Those watched `closely` are read whatever the events say.

        ASSUMES that the addresses come from the factory's own list. At a node that has fallen behind what it gave
        before, the later snapshots stay. Raises an `RpcError` if the node gives no answers at all.
        """
        course = self._heads.course(head)
        lags = course == Course.BEHIND
        changed = self._changed(head, course)
        if changed is None:
            self._known.clear()
            self._reread_at.clear()
        now = time.monotonic()
        due = set() if lags else (changed or set()).union(closely)
        due |= set() if lags else {address for address, at in self._reread_at.items() if at < now}
        stale = [address for address in addresses if address not in self._known or address in due]
        failed: dict[Address, OpmlError] = {}
        self.reads += len(stale)
        for address, game in zip(stale, self._games.read_many(stale, at=head), strict=True):
            if isinstance(game, OpmlError):
                failed[address] = game
                self._known.pop(address, None)
                self._reread_at.pop(address, None)
                continue
            self._known[address] = game
            # Spread over the time, so that games that were found together are not read again together.
            spread = 0.5 + int(address[-4:], 16) / 0x20000
            self._reread_at[address] = now + self._reread_s * spread
        self._heads.note(head, course)
        return {address: failed[address] if address in failed else self._known[address] for address in addresses}

    def keep_only(self, addresses: Iterable[Address]) -> None:
        """The snapshots of all other games are dropped."""
        for address in self._known.keys() - set(addresses):
            del self._known[address], self._reread_at[address]

    def _changed(self, head: Head, course: Course) -> set[Address] | None:
        """The games that events name since the last refresh; None if everything has to be read again."""
        last, rpc = self._heads.last, self._games.rpc
        if last is None or course == Course.UNKNOWN:
            return None
        if course == Course.ELSEWHERE:
            self.reorganisations += 1
            return None
        if course == Course.BEHIND or head.number == last.number:
            return set()
        if head.number - last.number > LONGEST_SEARCH_BLOCKS:
            return None
        topics = ["0x" + FaultDisputeGame.artifact().events[name].topic.hex() for name in CHANGES]
        try:
            logs = logs_between(rpc, None, [topics], max(0, last.number + 1 - OVERLAP_BLOCKS), head.number)
        except RpcFailed as error:
            if error.passes:
                raise
            return None
        return {log.address for log in logs}
