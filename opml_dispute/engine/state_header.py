"""The HEADER of a state in a segment's memory: which node is next, and whether one has failed."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from opml_dispute.engine.segment import HEADER, header_leaf
from opml_dispute.engine.segment_memory import Bytes

_WORDS: Final = struct.Struct(">4Q")


class StateHeader:
    """The header in one segment, for a program of `node_count` nodes."""

    def __init__(self, memory: Bytes, node_count: int) -> None:
        # A small model runs in microseconds, so nothing is made anew for a run.
        self._bytes = memory[HEADER.offset : HEADER.offset + _WORDS.size]
        self._first = np.frombuffer(header_leaf(0), np.uint8)
        self._last = np.frombuffer(header_leaf(node_count), np.uint8)

    def read(self) -> tuple[int, int, int, int]:
        """Magic, node index, status, fault node."""
        magic, node, status, fault = _WORDS.unpack_from(self._bytes.data)
        return magic, node, status, fault

    def write_first(self) -> None:
        """That of S_0."""
        self._bytes[:] = self._first

    def write_last(self) -> None:
        """That of S_n, of a run in which no node failed."""
        self._bytes[:] = self._last
