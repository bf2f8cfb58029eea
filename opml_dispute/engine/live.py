"""
The live blocks of a state: those that may be other than zero.

`Live` follows the run: `touch` before a node writes, `free` when a block becomes zero. Hashing a state then costs its
live blocks, and of those only what changed since their root was last computed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, replace

from opml_dispute.engine.segment import HEADER, INPUT, LEAST_BLOCK_LOG2
from opml_dispute.primitives import Hash32


@dataclass(slots=True)
class LiveBlock:
    """A block that may be other than zero."""

    offset: int
    log2_size: int
    used: int
    """Bytes from its start beyond which it is zero."""
    root: Hash32 | None

    @property
    def holds_input(self) -> bool:
        """Whether it is part of INPUT."""
        return INPUT.offset <= self.offset < INPUT.end


class Live:
    """The blocks of a state that may be other than zero; none lies within another."""

    def __init__(self) -> None:
        self._entries: dict[int, LiveBlock] = {}
        self._offsets: list[int] = []  # ascending, so that what lies in a range is found without looking at the rest
        self._homes: dict[tuple[int, int], int] = {}  # extents already looked up -> offset of their block
        self._extents: dict[int, list[tuple[int, int]]] = {}  # and back
        self.size_bytes = 0

    def entries(self) -> list[LiveBlock]:
        """By ascending offset."""
        return [self._entries[offset] for offset in self._offsets]

    def copy(self) -> Live:
        twin = Live()
        twin._entries = {offset: replace(entry) for offset, entry in self._entries.items()}
        twin._offsets = list(self._offsets)
        twin.size_bytes = self.size_bytes
        return twin

    def at_first(self) -> Live:
        """The blocks of S_0, if these are of a later state of the run: the input, whose root stays, and the header."""
        first = Live()
        first.put(LiveBlock(HEADER.offset, LEAST_BLOCK_LOG2, 32, None))
        for entry in self.entries():
            if entry.holds_input:
                first.put(replace(entry))
        return first

    def put(self, entry: LiveBlock) -> None:
        """One more block, apart from all others."""
        if entry.offset not in self._entries:
            insort(self._offsets, entry.offset)
        self._entries[entry.offset] = entry
        self.size_bytes += entry.used

    def touch(self, lo: int, hi: int) -> LiveBlock | None:
        """The bytes [lo, hi) change. Answers their block if there was nothing in it before."""
        home = self._homes.get((lo, hi))
        if home is not None:
            self._entries[home].root = None
            return None
        log2_size = max(LEAST_BLOCK_LOG2, (lo ^ (hi - 1)).bit_length())
        offset = lo >> log2_size << log2_size
        around = self._around(offset, log2_size)
        if around is not None:
            self._grow(around, hi - around.offset)
            self._settle(lo, hi, around.offset)
            return None
        used = hi - offset
        was_empty = True
        for inner in self._inside(offset, log2_size):
            was_empty = False
            used = max(used, inner.offset - offset + inner.used)
            self._drop(inner)
        self.put(LiveBlock(offset, log2_size, 0, None))
        self._grow(self._entries[offset], used)
        self._settle(lo, hi, offset)
        return self._entries[offset] if was_empty else None

    def changed(self, offset: int) -> None:
        """The block at `offset` changes within what it uses."""
        self._entries[offset].root = None

    def free(self, offset: int, log2_size: int) -> None:
        """A block becomes zero."""
        for entry in self._inside(offset, log2_size):
            self._drop(entry)
        outer = self._around(offset, log2_size + 1)
        if outer is not None:
            outer.root = None

    def _around(self, offset: int, log2_size: int) -> LiveBlock | None:
        """The block of at least that size in which the one at `offset` lies; None if there is none."""
        # INVARIANT: none lies within another, so only the last one that does not begin behind `offset` can hold it.
        index = bisect_right(self._offsets, offset)
        entry = self._entries[self._offsets[index - 1]] if index else None
        if entry is None or entry.log2_size < log2_size or offset - entry.offset >= 1 << entry.log2_size:
            return None
        return entry

    def _inside(self, offset: int, log2_size: int) -> list[LiveBlock]:
        first, end = bisect_left(self._offsets, offset), bisect_left(self._offsets, offset + (1 << log2_size))
        inside = [self._entries[place] for place in self._offsets[first:end]]
        return [entry for entry in inside if entry.log2_size <= log2_size]

    def _settle(self, lo: int, hi: int, offset: int) -> None:
        """Remembers the block of an extent."""
        self._homes[lo, hi] = offset
        self._extents.setdefault(offset, []).append((lo, hi))

    def _grow(self, entry: LiveBlock, used: int) -> None:
        entry.root = None
        used = -(-used // 8) * 8  # whole words, whatever their width
        if used > entry.used:
            self.size_bytes += used - entry.used
            entry.used = used

    def _drop(self, entry: LiveBlock) -> None:
        self.size_bytes -= entry.used
        del self._entries[entry.offset]
        del self._offsets[bisect_left(self._offsets, entry.offset)]
        for extent in self._extents.pop(entry.offset, ()):
            self._homes.pop(extent, None)


def pieces(lo: int, hi: int) -> Iterator[tuple[int, int]]:
    """[lo, hi) cut where aligned blocks end: bytes across a section's middle make no block of the section's size."""
    lo = lo >> LEAST_BLOCK_LOG2 << LEAST_BLOCK_LOG2
    while lo < hi:
        size = min(lo & -lo, 1 << max(hi - lo - 1, 1).bit_length()) if lo else 1 << max(hi - 1, 1).bit_length()
        end = min(lo + max(size, 1 << LEAST_BLOCK_LOG2), hi)
        yield lo, end
        lo = end
