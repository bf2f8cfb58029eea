"""
Running single records outside of a segment: the compiler computes constants with it.

`run_record` runs the kernel that a node with this record would run, so that a folded value has the bits of one that is
computed in an inference. `float_mode` sets this thread to the floating-point mode in which all results are specified,
for arithmetic that is done in Python: a library in this process may have set another one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.lib import library

Array = npt.NDArray[Any]


def run_record(record: bytes, operands: Sequence[tuple[int, Array]]) -> int:
    """
    Runs `record` (512 bytes) on arrays, one for each operand, the output first; answers 0 or the status latched.

    Each array comes with the offset in the segment at which, for the record, its block begins. Elements are in the
    host's byte order. ASSUMES that each array holds what the record's operand reaches (record.c bounds that by blocks,
    not by arrays).
    """
    base = operands[0][1].ctypes.data
    moved = (ctypes.c_uint64 * 7)(*((array.ctypes.data - base - offset) % (1 << 64) for offset, array in operands))
    status: int = _native().opml_fold(base, record, moved)
    return status


@contextmanager
def float_mode() -> Iterator[None]:
    """Round to nearest even, subnormals kept, no floating-point warnings, on this thread as long as it lasts."""
    before = _native().opml_float_mode_begin()
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _native().opml_float_mode_end(before)


@cache
def _native() -> ctypes.CDLL:
    """The library, with the signatures of native/inference/fold.c set."""
    lib = library()
    lib.opml_fold.restype = ctypes.c_int
    lib.opml_fold.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    lib.opml_float_mode_begin.restype = ctypes.c_uint64
    lib.opml_float_mode_begin.argtypes = []
    lib.opml_float_mode_end.restype = None
    lib.opml_float_mode_end.argtypes = [ctypes.c_uint64]
    return lib
