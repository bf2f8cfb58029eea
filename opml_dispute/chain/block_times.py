"""
Blocks by their time: where on the chain a request's event has to be.

`BlockTimes.span` finds the blocks of one second. It goes from the earliest block that is known to be late enough
backwards in growing strides, then closes in: ordinary nodes have recent blocks only (EIP-4444), and what is looked for
is seldom older than a few weeks. Times of blocks that no ordinary reorganisation takes back are remembered, so that a
search near an earlier one is short; an agent that starts looks for hundreds of requests.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from contextlib import nullcontext
from typing import Final

from opml_dispute.chain.answers import Head
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.rpc_errors import Refusal, RpcFailed
from opml_dispute.errors import OpmlError

SETTLED_BLOCKS: Final = 64
"""A block so far below the latest one is remembered."""

_HALVE_EVERY: Final = 3
"""One probe in so many halves what is left; the others guess by the times on both sides."""


class BlocksMissing(OpmlError):
    """The node does not go back far enough."""

    is_told_by_node = True
    hint = "use a node with older blocks"


class BlockTimes:
    """The times of one chain's blocks, as one node gives them. For several threads."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._guard, self._first_search = threading.Lock(), threading.Lock()
        self._numbers: list[int] = []
        self._times: list[int] = []
        """Of the blocks of `_numbers`, which ascend, and so do they."""
        self._settled = -1
        """The last block that is settled, as far as is known."""

    @property
    def remembers(self) -> bool:
        """Whether a search may rest on an earlier one."""
        return bool(self._numbers)

    def forget(self) -> None:
        """What was remembered may be of another chain."""
        with self._guard:
            self._numbers, self._times, self._settled = [], [], -1

    def span(self, timestamp_s: int) -> tuple[int, int]:
        """
        The first and the last block of that second; if there is none, the first is greater than the last.

        Raises `BlocksMissing` if the node does not go back so far.
        """
        # Threads that begin together would all ask what the first of them is about to know.
        with self._first_search if not self.remembers else nullcontext():
            if not self.remembers:
                return self._span(timestamp_s)
        return self._span(timestamp_s)

    def _span(self, timestamp_s: int) -> tuple[int, int]:
        old, young = self._around(timestamp_s)
        if young is None:
            head = self._head()
            if head.timestamp < timestamp_s:
                return head.number + 1, head.number
            young = head.number, head.timestamp
        first, first_s = self._first_since(timestamp_s, old, young)
        if first_s > timestamp_s:
            return first, first - 1
        return first, young[0] if young[1] == timestamp_s else self._last_until(timestamp_s, first, young[0])

    # ---- searching; blocks are pairs of a number and a time ----

    def _first_since(self, timestamp_s: int, old: tuple[int, int] | None, young: tuple[int, int]) -> tuple[int, int]:
        """The first block with this time or a later one: after `old`, and `young` at the latest."""
        stride, missing = 1, -1
        while old is None and young[0] > 0 and missing < 0:
            probe = max(0, young[0] - stride)
            found_s = self._time_of(probe)
            if found_s is None:
                missing = probe
            elif found_s < timestamp_s:
                old = probe, found_s
            else:
                young, stride = (probe, found_s), 2 * stride
        lowest, probes = (missing if old is None else old[0]), 0
        while young[0] - lowest > 1:
            probes += 1
            middle = (young[0] + lowest) // 2
            if old is not None and probes % _HALVE_EVERY and young[1] > old[1]:
                guess = old[0] + (timestamp_s - old[1]) * (young[0] - old[0]) // (young[1] - old[1])
                middle = min(max(guess, lowest + 1), young[0] - 1)
            found_s = self._time_of(middle)
            if found_s is None:
                missing = lowest = middle
            elif found_s < timestamp_s:
                old, lowest = (middle, found_s), middle
            else:
                young = middle, found_s
        if missing >= 0 and missing == young[0] - 1 and young[1] != timestamp_s:
            raise BlocksMissing(f"{self._rpc.url} has no blocks before {young[0]}")
        return young

    def _last_until(self, timestamp_s: int, first: int, young: int) -> int:
        """The last block that is not later than that: `first` or one after it, and before `young`."""
        low, high, stride = first, young, 1  # most often `first` is the only one
        while high - low > 1:
            probe = min(low + stride, (low + high) // 2) if stride else (low + high) // 2
            found_s = self._time_of(probe)
            if found_s is not None and found_s > timestamp_s:
                high, stride = probe, 0
            else:
                low, stride = probe, 2 * stride
        return low

    # ---- asking, and remembering ----

    def _head(self) -> Head:
        head = self._rpc.head()
        with self._guard:
            self._settled = max(self._settled, head.number - SETTLED_BLOCKS)
        return head

    def _time_of(self, number: int) -> int | None:
        """When a block was made; None if the node does not have it, not even when asked twice."""
        try:
            block = self._rpc.block(number) or self._rpc.block(number)
        except RpcFailed as error:
            if error.kind not in (Refusal.MISSING, Refusal.CAPABILITY):
                raise
            return None
        if block is None:
            return None
        self._remember(number, block.timestamp)
        return block.timestamp

    def _remember(self, number: int, timestamp_s: int) -> None:
        with self._guard:
            at = bisect_left(self._numbers, number)
            is_known = at < len(self._numbers) and self._numbers[at] == number
            # Blocks of a fork would not ascend: what does not fit is left out.
            fits = (at == 0 or self._times[at - 1] <= timestamp_s) and (
                at == len(self._times) or timestamp_s <= self._times[at]
            )
            if number <= self._settled and fits and not is_known:
                self._numbers.insert(at, number)
                self._times.insert(at, timestamp_s)

    def _around(self, timestamp_s: int) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """The last block that is known to be earlier than that, and the first that is known to be later."""
        with self._guard:
            before, after = bisect_left(self._times, timestamp_s) - 1, bisect_right(self._times, timestamp_s)
            old = (self._numbers[before], self._times[before]) if before >= 0 else None
            young = (self._numbers[after], self._times[after]) if after < len(self._times) else None
        return old, young
