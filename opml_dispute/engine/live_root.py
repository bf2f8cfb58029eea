"""
The root of a state's upper half, from its live blocks.

One call hashes what changed and goes up to the root. It follows a run that has driven everything else out of the
caches, so what counts is how little it looks at.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from struct import Struct
from typing import Final

import numpy as np

from opml_dispute.engine.analysis import Typing
from opml_dispute.engine.hashing import HASH_BYTES, merkle_root
from opml_dispute.engine.lib import library
from opml_dispute.engine.live import LiveBlock
from opml_dispute.engine.segment import MODEL_LOG2
from opml_dispute.engine.segment_memory import SegmentMemory
from opml_dispute.primitives import Hash32

_BLOCK: Final = Struct("=QQQBBB32s5x")
"""`struct block` of native/memory/content.h."""
_ROOT_AT: Final = 27


def upper_root(entries: Sequence[LiveBlock], typing: Typing, segment: SegmentMemory, *, threads: int) -> Hash32:
    """The root of the upper half of `segment`, whose live blocks are `entries`; each gets its own root."""
    rows = [_row(entry, typing, segment) for entry in entries]
    table = ctypes.create_string_buffer(b"".join(rows), _BLOCK.size * len(rows) or 1)
    out = ctypes.create_string_buffer(HASH_BYTES)
    if not library().opml_blocks_root(table, len(rows), 1 << MODEL_LOG2, MODEL_LOG2, threads, out):
        raise MemoryError("no memory to hash in")
    for at, entry in enumerate(entries):
        if entry.root is None:
            first = _BLOCK.size * at + _ROOT_AT
            entry.root = Hash32(table.raw[first : first + HASH_BYTES])
    return Hash32(out.raw)


def _row(entry: LiveBlock, typing: Typing, segment: SegmentMemory) -> bytes:
    root = entry.root
    if root is None:
        found = typing.width_of(segment.memory, entry.offset, entry.used)
        if found is not None:
            address = segment.address + entry.offset
            return _BLOCK.pack(entry.offset, address, entry.used, entry.log2_size, found, 0, b"")
        as_held = np.frombuffer(typing.read(segment.memory, entry.offset, entry.used), np.uint8)
        root = merkle_root(as_held, entry.log2_size)
    return _BLOCK.pack(entry.offset, 0, 0, entry.log2_size, 1, 1, root)
