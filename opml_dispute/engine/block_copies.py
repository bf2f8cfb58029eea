"""Copies of blocks of a segment, which do not change with it."""

from __future__ import annotations

from weakref import WeakValueDictionary

import numpy as np

from opml_dispute.engine.analysis import size_of
from opml_dispute.engine.segment_memory import Bytes
from opml_dispute.engine.vm import Block


class BlockCopies:
    """One copy for each content, for as long as a caller holds it."""

    def __init__(self) -> None:
        self._copies: WeakValueDictionary[tuple[bytes, int, int], Bytes] = WeakValueDictionary()

    def of(self, block: Block) -> Bytes:
        """The block's bytes. A block whose root is not known is copied each time."""
        if block.root is None:
            return np.array(block.data)
        key = (bytes(block.root), block.word_bytes, size_of(block))
        found = self._copies.get(key)
        if found is None:
            found = self._copies[key] = np.array(block.data)
        return found
