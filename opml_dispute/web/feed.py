"""
Games as pages need them: the state at the latest block, read anew only when something happened.

Everything that changes a game emits an event, so a game that has no new event since it was read is as it was. That is
only asked of games with many claims (`MANY_CLAIMS`): small ones are read again at each new block. A reorganisation is
noticed by the hash of the block that was read at; then, and where a node does not answer for logs, the game is read
anew.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from opml_dispute.chain import answers
from opml_dispute.chain.answers import Head
from opml_dispute.chain.rpc_errors import RpcFailed
from opml_dispute.chain.system import System
from opml_dispute.game.claim import Game
from opml_dispute.primitives import Address

MANY_CLAIMS: Final = 100
MAX_GAMES: Final = 16
"""Games that are kept."""


@dataclass(frozen=True)
class _Seen:
    head: Head
    game: Game


class GameFeed:
    """Reads games of one system, for many readers at once."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._seen: OrderedDict[Address, _Seen] = OrderedDict()
        self._guard = threading.Lock()
        self._locks: dict[Address, threading.Lock] = {}

    def game(self, address: Address, head: Head | None = None) -> tuple[Head, Game]:
        """The game at `head`, else at the latest block. Raises what `GameReader.read` raises."""
        head = head or self._system.head()
        with self._guard:
            lock = self._locks.setdefault(address, threading.Lock())
        with lock:  # several readers of one page wait for one reading
            seen = self._seen.get(address)
            if seen is not None and (seen.head.hash == head.hash or self._is_unchanged(seen, address, head)):
                game = seen.game
            else:
                try:
                    game = self._system.games.read(address, at=head)
                except BaseException:
                    with self._guard:
                        self._locks.pop(address, None)
                    raise
            with self._guard:
                self._seen[address] = _Seen(head, game)
                self._seen.move_to_end(address)
                while len(self._seen) > MAX_GAMES:
                    old, _ = self._seen.popitem(last=False)
                    self._locks.pop(old, None)
        return head, game

    def _is_unchanged(self, seen: _Seen, address: Address, head: Head) -> bool:
        if len(seen.game.claims) < MANY_CLAIMS or head.number <= seen.head.number:
            return False
        rpc = self._system.rpc
        blocks = {"fromBlock": hex(seen.head.number + 1), "toBlock": hex(head.number)}
        try:
            events = rpc.request("eth_getLogs", {"address": address, **blocks}, parse=answers.logs)
            before = rpc.block(seen.head.number)
        except RpcFailed:
            return False
        return not events and before is not None and before.hash == seen.head.hash
