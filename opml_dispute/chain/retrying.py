"""
How often, and how much at once, a node is asked: `Patience` and `BatchSize`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from opml_dispute.chain.rpc_errors import RpcError

BATCH_LIMIT: Final = 100
"""Requests in one JSON-RPC batch, as long as the node does not object."""

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 5.0


class BatchSize:
    """How many requests the node takes at once, as far as it has shown."""

    def __init__(self) -> None:
        self.now = self._ceiling = BATCH_LIMIT
        self._successes = 0

    def shrink(self, refused: int, *, for_good: bool) -> None:
        """`refused` at once were too many; `for_good` if that will not change."""
        self.now = max(1, min(self.now, refused // 2))
        self._successes = 0
        if for_good:
            self._ceiling = self.now

    def grow(self) -> None:
        """All went well; after a while twice as many are tried, up to what was never refused for good."""
        self._successes += 1
        if self.now < self._ceiling and self._successes >= 8:
            self.now, self._successes = min(2 * self.now, self._ceiling), 0


class Patience:
    """When to stop asking again. Progress renews it."""

    def __init__(
        self, patience_s: float, bears: Callable[[RpcError, int], bool], tell: Callable[[RpcError, float], None]
    ) -> None:
        """`bears` says whether an error is worth another try, after so many; `tell` hears of each pause."""
        self._patience_s, self._bears, self._tell = patience_s, bears, tell
        self._tries = 0
        self.progress()

    def progress(self) -> None:
        """Something was answered: the time starts anew."""
        self._deadline = time.monotonic() + self._patience_s
        self._pause_s = FIRST_PAUSE_S

    def wait(self, error: RpcError) -> bool:
        """Pauses before the next try; False, at once, if there should be none."""
        self._tries += 1
        if not self._bears(error, self._tries) or time.monotonic() >= self._deadline:
            return False
        pause_s = max(self._pause_s, error.retry_after_s or 0.0)
        pause_s = max(0.01, min(pause_s, self._deadline - time.monotonic()))
        self._tell(error, pause_s)
        time.sleep(pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return True
