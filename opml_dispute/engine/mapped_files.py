"""
Data that lies in a mapped file: its pages are given back once they have been read, so that a model larger than memory
passes through memory without filling it.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from opml_dispute.engine.lib import Buffer


def give_back(data: Buffer) -> None:
    """
    Lets this process's pages of `data` go if a file is mapped there; they are read again when they are looked at.

    Does nothing to data of any other kind. The mapping must not have been written to.
    """
    if isinstance(data, bytes | bytearray) or not len(data):
        return
    view = np.frombuffer(data, np.uint8) if isinstance(data, memoryview) else data
    mapping = _mapping_of(view)
    if mapping is None:
        return
    start = view.__array_interface__["data"][0] - np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    mapping.madvise(mmap.MADV_DONTNEED, first, min(start + view.nbytes, len(mapping)) - first)


def _mapping_of(view: np.ndarray[Any, Any]) -> mmap.mmap | None:
    """The read-only mapping that an array is a view of, if it is one."""
    base: object = view
    while isinstance(base, np.ndarray | memoryview):
        if isinstance(base, np.ndarray) and base.flags.writeable:
            return None
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None
