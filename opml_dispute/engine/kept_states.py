"""States that an inference keeps in order to return to them without starting again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.live import Live

KEPT_BYTES: Final = 1 << 29
"""Room for kept states of one inference."""
_RESTS_LOG2: Final = 4
_LEAST_REST_LOG2: Final = 8
"""A run of fewer nodes is made again in no time."""


@dataclass(frozen=True, slots=True)
class KeptState:
    """A state to return to."""

    live: Live
    data: Sequence[npt.NDArray[np.uint8] | None]
    """The content of each live block, as the segment holds it; None for what is the run's input as it was given."""


class KeptStates(dict[int, KeptState]):
    """
    Kept states by index, never more than `KEPT_BYTES` of them; the oldest make room.

    A run also rests on its way, every so many nodes, so that later questions do not run all from the start. A game asks
    for the middle of ever smaller ranges, whose places are multiples of powers of two.
    """

    def __init__(self, kept: Mapping[int, KeptState], node_count: int) -> None:
        super().__init__(kept)
        self._rest = 1 << max((node_count - 1).bit_length() - _RESTS_LOG2, _LEAST_REST_LOG2)

    def next_rest(self, t: int) -> int:
        """The first index behind S_t where a run rests."""
        return t - t % self._rest + self._rest

    def rests_at(self, t: int, size_bytes: int) -> bool:
        """Whether to keep S_t, of this size: it takes the place of no other, and half of the room stays free."""
        return t % self._rest == 0 and 2 * (self._size_bytes + size_bytes) <= KEPT_BYTES

    def is_nearer(self, t: int, now: int) -> bool:
        """Whether a kept state is so much nearer to S_t than S_now is that it saves time to go on from there."""
        latest = self.latest(t)
        return latest is not None and latest >= now + (self._rest if now else 1)

    def latest(self, t: int) -> int | None:
        """The greatest index up to `t`, if there is any."""
        return max((kept for kept in self if kept <= t), default=None)

    def make_room(self, size_bytes: int) -> bool:
        """Whether a state of this size can be kept; older ones are given up for it."""
        if size_bytes > KEPT_BYTES:
            return False
        while self._size_bytes + size_bytes > KEPT_BYTES:
            del self[next(iter(self))]
        return True

    @property
    def _size_bytes(self) -> int:
        return sum(kept.live.size_bytes for kept in self.values())
