"""
Memory that was freed, and that the C library keeps for later.

Planning a long program makes hundreds of thousands of small objects, and few are left when it is done. The pages that
they were on stay with the process, unless the C library is told to give them back.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

WORTH_GIVING_BACK: Final = 4096
"""Nodes of a program: planning fewer leaves too little to be worth it."""


def give_back_freed(nodes: int, *, cycles: bool = False) -> None:
    """
    Gives the system back what planning a program of `nodes` nodes has freed, if these are many.

    `cycles`: frees objects that refer to each other first. That looks at all objects of the process, which takes half a
    second where there are millions. Only glibc gives memory back; with another C library nothing happens.
    """
    if nodes < WORTH_GIVING_BACK:
        return
    if cycles:
        gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
