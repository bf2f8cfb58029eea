"""
Limits of repeated and batched requests to a node: `Patience` and `BatchSize`.
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
    """The number of requests that the node accepts at once, as observed."""

    def __init__(self) -> None:
        self.now = self._ceiling = BATCH_LIMIT
        self._successes = 0

    def shrink(self, refused: int, *, for_good: bool) -> None:
        """Halve the size after a batch of `refused` requests was refused; `for_good` if that is a fixed limit of the
        node."""
        self.now = max(1, min(self.now, refused // 2))
        self._successes = 0
        if for_good:
            self._ceiling = self.now

    def grow(self) -> None:
        """Note a success; after several, double the size, up to what was never refused for good."""
        self._successes += 1
        if self.now < self._ceiling and self._successes >= 8:
            self.now, self._successes = min(2 * self.now, self._ceiling), 0


class Patience:
    """The time and the number of tries after which a request is given up; progress renews them."""

    def __init__(
        self, patience_s: float, bears: Callable[[RpcError, int], bool], tell: Callable[[RpcError, float], None]
    ) -> None:
        """`bears` decides whether an error after so many tries is worth another; `tell` is called before each pause."""
        self._patience_s, self._bears, self._tell = patience_s, bears, tell
        self._tries = 0
        self.progress()

    def progress(self) -> None:
        """Restart the time: a request was answered."""
        self._deadline = time.monotonic() + self._patience_s
        self._pause_s = FIRST_PAUSE_S

    def wait(self, error: RpcError) -> bool:
        """Pause before the next try; False, without a pause, if there should be none."""
        self._tries += 1
        if not self._bears(error, self._tries) or time.monotonic() >= self._deadline:
            return False
        pause_s = max(self._pause_s, error.retry_after_s or 0.0)
        pause_s = max(0.01, min(pause_s, self._deadline - time.monotonic()))
        self._tell(error, pause_s)
        time.sleep(pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return True
