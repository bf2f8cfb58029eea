"""
The first and the last state of an inference that runs again and again: it goes to and fro between them.

A small model runs in microseconds. To make the blocks of S_0 and S_n anew for each of its runs takes several times as
long, the more so as what a run reads has driven the interpreter's own memory out of the caches.
"""

from __future__ import annotations

from opml_dispute.engine.live import Live
from opml_dispute.engine.segment_memory import SegmentMemory


class BothEnds:
    """What is known of S_0 and S_n. Neither's blocks change: `first` is given up before a node runs by itself."""

    def __init__(self, segment: SegmentMemory) -> None:
        self._segment = segment
        self.first: Live | None = None
        """The blocks of S_0, if a run began there that may be repeated."""
        self.last: Live | None = None
        """The blocks of S_n, if a whole run made it."""
        self.left: tuple[tuple[int, int], ...] = ()
        """What an earlier run left in S_0, where only the same run may find it: extents of the segment."""

    def clear(self) -> None:
        """Makes zero what an earlier run left in S_0, if that is the current state."""
        if self.left:
            for lo, hi in self.left:
                self._segment.zero(lo, hi - lo)
            self.left, self.first = (), None
