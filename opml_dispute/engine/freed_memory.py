"""
Memory that was freed, and that the C library keeps for later.

Planning a long program makes hundreds of thousands of small objects, and few are left when it is done. The pages that
they were on stay with the process, unless the C library is told to give them back.
"""

from __future__ import annotations

import ctypes
from typing import Final

WORTH_GIVING_BACK: Final = 4096
"""Nodes of a program: planning fewer leaves too little to be worth it."""


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
