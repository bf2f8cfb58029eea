"""States that an inference keeps in order to return to them without starting again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.live import Live

KEPT_BYTES: Final = 1 << 29
"""Room for kept states of one inference."""


@dataclass(frozen=True, slots=True)
class KeptState:
    """A state to return to."""

    live: Live
    data: Sequence[npt.NDArray[np.uint8] | None]
    """The content of each live block, as the segment holds it; None for what is the run's input as it was given."""


class KeptStates(dict[int, KeptState]):
    """Kept states by index, never more than `KEPT_BYTES` of them; the oldest make room."""

    def latest(self, t: int) -> int | None:
        """The greatest index up to `t`, if there is any."""
        return max((kept for kept in self if kept <= t), default=None)

    def make_room(self, size_bytes: int) -> bool:
        """Whether a state of this size can be kept; older ones are given up for it."""
        if size_bytes > KEPT_BYTES:
            return False
        while sum(kept.live.size_bytes for kept in self.values()) + size_bytes > KEPT_BYTES:
            del self[next(iter(self))]
        return True
