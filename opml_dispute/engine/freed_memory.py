"""
Memory that was freed, and that the C library keeps for later.

Planning a long program makes hundreds of thousands of small objects, and few are left when it is done. The pages that
they were on stay with the process, unless the C library is told to give them back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

WORTH_GIVING_BACK: Final = 4096
"""Nodes of a program: planning fewer leaves too little to be worth it."""

_MMAP_THRESHOLD: Final = -3
"""glibc's M_MMAP_THRESHOLD: memory of so many bytes is mapped by itself."""
_APART_BYTES, _USUAL_BYTES = 1 << 20, 1 << 25
"""glibc raises the threshold to the second, its greatest, as such memory is freed."""


def give_back_freed(nodes: int) -> None:
    """
    Gives the system back what planning a program of `nodes` nodes has freed, if these are many.

    Only glibc does so; with another C library nothing happens. Nothing that planning makes goes round in a circle, so
    that no collection is needed, which would look at all that the process holds.
    """
    if nodes < WORTH_GIVING_BACK:
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


@contextmanager
def large_arrays_apart(bytes_: int) -> Iterator[None]:
    """
    As long as this lasts, memory of a MiB and more goes back to the system as soon as it is freed.

    For work on arrays of `bytes_` in all; for small ones nothing is done. What glibc keeps for later is of no use to
    arrays of other sizes, so that goes back first. With another C library nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or bytes_ < _USUAL_BYTES:
        yield
        return
    mallopt(_MMAP_THRESHOLD, _APART_BYTES)
    give_back_freed(WORTH_GIVING_BACK)
    try:
        yield
    finally:
        mallopt(_MMAP_THRESHOLD, _USUAL_BYTES)
