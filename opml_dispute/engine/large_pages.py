"""
Weights that one run reads many times, in memory with large pages.

A language model's step reads all weights, which are more than a processor's caches hold. A mapped file has pages of
4 KiB, and looking up where each lies takes longer than the arithmetic; memory of the process's own may have pages of
2 MiB. So such weights are copied once, and the file's pages given back behind that: they are in this process's memory
once. A weight has one copy, however many programs read it, for as long as one of them does.

`often_read` finds places for copies, and `fill` copies before a run: planning takes memory that is free again by then.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.mapped_files import expect_unchanged, give_back, place_in_file

OFTEN: Final = 8
"""So many reads by one run pay for the copy."""

LARGE_PAGE: Final = 1 << 21
_ALIGNMENT: Final = 64
_WORTH_COPYING: Final = 16 * LARGE_PAGE
"""Bytes of weights, less than which stay in the caches or take few lookups."""

_Bytes = npt.NDArray[np.uint8]


@dataclass(eq=False)
class Copy:
    """A weight's place in large pages; `fill` puts it there."""

    data: _Bytes
    source: _Bytes
    mapping: mmap.mmap
    """The file that `source` is a part of."""
    is_filled: bool = False


_COPIES: WeakKeyDictionary[mmap.mmap, WeakValueDictionary[tuple[int, int], Copy]] = WeakKeyDictionary()
"""By mapping, and by where in it and how long."""


def often_read(data: Sequence[_Bytes], reads: Sequence[int]) -> dict[int, Copy]:
    """The places for copies of those of `data` that a run reads often, by `reads`, and that lie in a mapped file."""
    places = {i: place for i, count in enumerate(reads) if count >= OFTEN and (place := place_in_file(data[i]))}
    if not hasattr(mmap, "MADV_HUGEPAGE") or sum(data[i].size for i in places) < _WORTH_COPYING:
        return {}
    found: dict[int, Copy] = {}
    for i, (mapping, start) in places.items():
        copy = _COPIES.setdefault(mapping, WeakValueDictionary()).get((start, data[i].size))
        if copy is not None:
            found[i] = copy
    room = _large_pages(sum(_rounded(data[i].size) for i in places if i not in found))
    for i, (mapping, start) in places.items():
        if i not in found:
            size = data[i].size
            found[i] = _COPIES[mapping][start, size] = Copy(room[:size], data[i], mapping)
            room = room[_rounded(size) :]
    return found


def fill(copies: Iterable[Copy]) -> None:
    """Copies what was not copied yet. Raises `FileChanged` if a file was written to since it was mapped."""
    missing = [copy for copy in copies if not copy.is_filled]
    expect_unchanged({copy.mapping for copy in missing})  # before: what was cut off a file cannot be read
    for copy in missing:
        copy.data[:] = copy.source
        give_back(copy.source)
        copy.is_filled = True


def _rounded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _large_pages(size: int) -> _Bytes:
    """Memory that begins with a large page, where the system has any to give."""
    if not size:
        return np.empty(0, np.uint8)
    memory = mmap.mmap(-1, size + LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared memory has none
    memory.madvise(mmap.MADV_HUGEPAGE)
    room = np.frombuffer(memory, np.uint8)
    start = -room.ctypes.data % LARGE_PAGE
    return room[start : start + size]
