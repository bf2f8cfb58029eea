"""
Whether the latest block of a node goes on the chain that it showed before.

A node that shows an earlier block than before has fallen behind, or its chain was reorganised and is shorter now. Some
of the blocks that were the latest ones are remembered: if one of them is another block now, it was a reorganisation. If
none is, that is not known, and the node counts as behind for `BEHIND_S`; after that its chain is the one there is.
"""

from __future__ import annotations

import time
from collections import deque
from enum import Enum
from typing import Final

from opml_dispute.chain.answers import Head
from opml_dispute.chain.rpc import Rpc

MOST_LAG_BLOCKS: Final = 64
"""
A node that shows an earlier block than before has fallen behind, if it is by so many blocks at most. If it is by more,
what it showed before was not the chain: what was read there is read again.
"""

BEHIND_S: Final = 90.0
"""How long, by this computer's clock, a node may show earlier blocks than before until they are believed."""

_REMEMBERED: Final = 64


class Course(Enum):
    """How a latest block stands to those before it."""

    ONWARD = 1
    """On the same chain, or the first one."""
    BEHIND = 2
    """Earlier than before, on the same chain as far as is known."""
    ELSEWHERE = 3
    """On another chain."""
    UNKNOWN = 4
    """The node does not have the blocks that would tell."""


class HeadHistory:
    """The latest blocks that one reader has seen of one node."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._heads: deque[Head] = deque(maxlen=_REMEMBERED)
        """Their numbers ascend."""
        self._behind_since_s: float | None = None

    @property
    def last(self) -> Head | None:
        """The latest one."""
        return self._heads[-1] if self._heads else None

    def course(self, head: Head) -> Course:
        """What a latest block means. Raises an `RpcError` if the node does not say what it needs to know."""
        last = self.last
        if last is None:
            return Course.ONWARD
        if last.number - head.number > MOST_LAG_BLOCKS:
            return Course.ELSEWHERE
        known = next((one for one in reversed(self._heads) if one.number <= head.number), None)
        if known is not None:
            same = head if known.number == head.number else self._rpc.block(known.number)
            if same is not None and same.hash != known.hash:
                return Course.ELSEWHERE
            if head.number >= last.number:
                return Course.UNKNOWN if same is None else Course.ONWARD
        ahead = self._rpc.block(last.number)
        if ahead is not None:  # it is behind a balancer
            return Course.BEHIND if ahead.hash == last.hash else Course.ELSEWHERE
        now_s = time.monotonic()
        self._behind_since_s = now_s if self._behind_since_s is None else self._behind_since_s
        return Course.BEHIND if now_s - self._behind_since_s < BEHIND_S else Course.ELSEWHERE

    def note(self, head: Head, course: Course) -> None:
        """What was read at a latest block is known now."""
        if course == Course.BEHIND:
            return
        if course == Course.ELSEWHERE:
            self._heads.clear()
        self._behind_since_s = None
        if not self._heads or head.number > self._heads[-1].number:
            self._heads.append(head)
