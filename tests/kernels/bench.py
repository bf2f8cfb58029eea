"""
A place to run single node records.

`Bench` is memory in the guise of a segment: `run` lays a case's arrays down, runs its record with the plain kernels,
the fast paths, the kernels on the VM's own bytes, or the fast paths with weights packed before the run, and answers the
bytes that the output may lie in. Cases come from `cases`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.segment_memory import SegmentMemory, Validation, native, validate_records
from tests.kernels.maker import Array, Case

PLAIN, FAST, VM_BYTES, PACKED = 0, 1, 2, 3
NOT_PACKED = -1
"""The status of a node whose weights are not packed before a run, where that was asked for."""


class Bench:
    """Memory to run single records on; one serves a whole test session."""

    def __init__(self) -> None:
        self.segment = SegmentMemory(vm_bytes=False, threads=1)

    def run(self, case: Case, mode: int = PLAIN, raw: bytes | None = None) -> tuple[int, Array]:
        """The status, and the output's extent after running `case`, as elements in host order; `raw`: its record."""
        memory, swap = self.segment.memory, mode == VM_BYTES
        lo, hi = extent(case)
        dtype = case.record.dtype_out.numpy
        for offset, array in case.arrays:
            memory[offset : offset + array.nbytes] = _bytes(array, swap)
        memory[lo:hi] = _bytes(case.before(hi - lo), swap)
        status = native().opml_kernel(self.segment.address, case.record.pack() if raw is None else raw, mode)
        seen = memory[lo:hi].copy()
        memory[lo:hi] = 0
        for offset, array in case.arrays:
            memory[offset : offset + array.nbytes] = 0
        words = seen.view(f">u{dtype.itemsize}" if swap else f"=u{dtype.itemsize}").astype(f"=u{dtype.itemsize}")
        return status, words.view(dtype)


def extent(case: Case) -> tuple[int, int]:
    """The bytes [lo, hi) of the segment that the output may lie in; nothing if the record is refused."""
    judged: Validation = validate_records(case.record.pack())
    lo, hi, _ = judged.extents[0, 0]
    return int(lo), int(hi)


def same_bits(x: Array, y: Array) -> bool:
    """Whether two arrays hold the same bytes."""
    return x.dtype == y.dtype and x.tobytes() == y.tobytes()


def _bytes(array: npt.NDArray[Any], swap: bool) -> npt.NDArray[np.uint8]:
    width = array.dtype.itemsize
    words = np.ascontiguousarray(array).reshape(-1).view(f"=u{width}")
    return (words.astype(f">u{width}") if swap else words).view(np.uint8)
