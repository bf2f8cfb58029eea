"""Overrides of parts of an inference's states, which make a faulty trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.errors import OpmlError

Override: TypeAlias = tuple[int, bytes]
"""An offset in the segment, and the bytes (big-endian, as in VM memory) that replace what is there."""


class StateOutOfRange(OpmlError):
    """A state index that the inference does not have."""


class Overrides(dict[int, tuple[Override, ...]]):
    """The overrides of an inference of `node_count` nodes, by the index of the state that they change."""

    def __init__(self, changes: Mapping[int, Sequence[Override]], node_count: int) -> None:
        """Raises `StateOutOfRange` for a state that does not exist or a place outside the segment."""
        super().__init__({t: tuple(overrides) for t, overrides in changes.items()})
        for t, overrides in self.items():
            for offset, data in overrides:
                if not 0 <= t <= node_count or offset < 0 or offset + len(data) > 1 << SEGMENT_LOG2:
                    raise StateOutOfRange(
                        f"an override of S_{t} at 0x{offset:x}: no such state, or outside the segment"
                    )

    def meet(self, begin: int, end: int) -> bool:
        """Whether any of them changes a byte of [begin, end)."""
        return any(offset < end and offset + len(data) > begin for offset, data in self.until(None))

    def until(self, t: int | None) -> Iterator[Override]:
        """Those of the states up to S_t, or of all states if `t` is None."""
        for at, overrides in self.items():
            if t is None or at <= t:
                yield from overrides
