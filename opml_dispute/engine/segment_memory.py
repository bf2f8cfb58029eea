"""
The native side of an inference: the segment's address space, the running of nodes, and the validation of records.

`SegmentMemory` is native/inference/ml.c as an object, `ReadySchedule` is native/inference/schedule.c;
`validate_records` is the validator of native/program/record.c. `inference` decides which nodes to run.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.large_pages import fill
from opml_dispute.engine.lib import library
from opml_dispute.engine.schedule import Schedule
from opml_dispute.engine.segment import SEGMENT_LOG2
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import RECORD_BYTES

Bytes: TypeAlias = npt.NDArray[np.uint8]

OPERANDS: Final = 7
"""Of a record: the output, then at most six inputs."""
TOO_MANY_STEPS: Final = 8
"""The status of a node that could take more VM steps than its program allows (native/program/opcodes.h)."""
NO_LIMIT_LOG2: Final = 63


class SegmentUnavailable(OpmlError):
    """This system does not give the address space or memory that an inference needs."""


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of native/program/record.c for each record."""

    status: npt.NDArray[np.int32]
    """[records]: 0, or what the node latches."""
    extents: npt.NDArray[np.uint64]
    """[records][operand][lo, hi, element width]: the bytes each operand may touch."""
    steps: npt.NDArray[np.uint64]
    """[records]: VM steps that the node takes at most, whatever its data; 0 where record.c refused."""

    def output(self, record: int) -> tuple[int, int, int]:
        """Of one record's output: lo, hi, element width."""
        found = self.extents
        return found.item(record, 0, 0), found.item(record, 0, 1), found.item(record, 0, 2)


def validate_records(records: bytes, log2_steps: int = NO_LIMIT_LOG2) -> Validation:
    """
    The validation of `records`, 512 bytes each, in a program whose nodes may take 2**log2_steps VM steps.
    """
    count = len(records) // RECORD_BYTES
    status = np.zeros(count, np.int32)
    extents = np.zeros((count, OPERANDS, 3), np.uint64)
    steps = np.zeros(count, np.uint64)
    native().opml_records_check(records, count, status.ctypes.data, extents.ctypes.data, steps.ctypes.data)
    status[steps > (1 << min(log2_steps, NO_LIMIT_LOG2))] = TOO_MANY_STEPS
    return Validation(status, extents, steps)


class SegmentMemory:
    """2^40 bytes of address space; pages come as they are touched."""

    def __init__(self, *, vm_bytes: bool, threads: int) -> None:
        """
        `vm_bytes`: elements lie as the VM holds them, not in the host's byte order.

        Raises `SegmentUnavailable`.
        """
        self.handle = native().opml_ml_new(int(vm_bytes), threads)
        if not self.handle:
            raise SegmentUnavailable(
                f"cannot reserve 2^{SEGMENT_LOG2} bytes of address space",
                hint="lift the limit of this process's address space (ulimit -v unlimited), or allow overcommit",
            )
        lib = native()
        self._announce, self._run = lib.opml_ml_fresh, lib.opml_ml_run  # looked up once: most nodes take microseconds
        self.address: int = native().opml_ml_segment(self.handle)
        self.memory: Bytes = np.ctypeslib.as_array((ctypes.c_uint8 * (1 << SEGMENT_LOG2)).from_address(self.address))
        """The segment itself; not to be used once this object is gone."""

    def announce(self, block: int, log2_size: int, lo: int, hi: int) -> None:
        """
        For speed alone: the next node writes every byte of [lo, hi), in the block at `block`, which is zero so far.

        ASSUMES that this is so, and that the node cannot fail.
        """
        self._announce(self.handle, block, log2_size, lo, hi)

    def run(self, count: int, joined_hi: int = 0) -> None:
        """Makes `count` transitions; with `joined_hi` of tiles that end there, in one go (native/inference/ml.c)."""
        self._run(self.handle, count, joined_hi)

    def zero(self, offset: int, size: int) -> None:
        """`size` bytes at `offset` become zero."""
        native().opml_ml_zero(self.handle, offset, size)

    def __del__(self) -> None:
        handle, self.handle = getattr(self, "handle", None), None
        if handle:
            native().opml_ml_free(handle)


class PackedWeights:
    """
    What is packed of a schedule's weights, from its second run on, for all inferences (native/inference/weights.c).
    """

    def __init__(self, schedule: Schedule) -> None:
        """Raises `SegmentUnavailable` if there is no memory."""
        self.handle = native().opml_weights_new(len(schedule.chained))
        if not self.handle:
            raise SegmentUnavailable(f"no memory for the weights of {len(schedule.chained):,} steps")
        _PACKED[schedule] = self

    def __del__(self) -> None:
        handle, self.handle = getattr(self, "handle", None), None
        if handle:
            native().opml_weights_free(handle)


_PACKED: Final = WeakKeyDictionary[Schedule, PackedWeights]()


class ReadySchedule:
    """A schedule made ready for one segment (native/inference/schedule.c)."""

    def __init__(self, schedule: Schedule, segment: SegmentMemory) -> None:
        """
        Raises `SegmentUnavailable` if there is no memory for its workspace, `FileChanged` if the file that weights are
        copied from was written to.
        """
        fill(schedule.weight_copies)
        self._weights = _PACKED.get(schedule) or PackedWeights(schedule)
        self._schedule, self._segment = schedule, segment  # all three must outlive what is made of them
        clearings = schedule.clearings
        self._handle = native().opml_schedule_new(
            segment.handle,
            self._weights.handle,
            schedule.records,
            len(schedule.records) // RECORD_BYTES,
            schedule.copies,
            schedule.steps.ctypes.data,
            len(schedule.chained),
            schedule.chained,
            clearings.ctypes.data,
            len(clearings),
            schedule.workspace_bytes,
            schedule.buffers,
        )
        if not self._handle:
            raise SegmentUnavailable(f"no memory for a workspace of {schedule.workspace_bytes:,} bytes")
        self.written = schedule.written
        """As the schedule's."""
        self._run = native().opml_schedule_run  # looked up once: a small model runs in microseconds

    def run(self) -> bool:
        """From S_0 to S_n; false if a node fails, and then S_0 is as it was."""
        if self._run(self._segment.handle, self._handle) == 0:
            return True
        for lo, hi in self.written:
            self._segment.zero(lo, hi - lo)
        return False

    def __del__(self) -> None:
        handle, self._handle = getattr(self, "_handle", None), None
        if handle:
            native().opml_schedule_free(handle)


def native() -> ctypes.CDLL:
    """The library, with the signatures of native/inference/ml.c set."""
    lib = library()
    if not getattr(lib, "opml_ml_typed", False):
        pointer, bytes_, u64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "opml_ml_new": (pointer, [ctypes.c_int, ctypes.c_uint]),
            "opml_ml_free": (None, [pointer]),
            "opml_ml_segment": (pointer, [pointer]),
            "opml_ml_fresh": (None, [pointer, u64, ctypes.c_uint, u64, u64]),
            "opml_ml_run": (None, [pointer, u64, u64]),
            "opml_ml_zero": (None, [pointer, u64, u64]),
            "opml_schedule_new": (
                pointer,
                [pointer, pointer, bytes_, u64, bytes_, pointer, u64, bytes_, pointer, u64, u64, ctypes.c_uint],
            ),
            "opml_weights_new": (pointer, [u64]),
            "opml_weights_free": (None, [pointer]),
            "opml_schedule_run": (ctypes.c_int, [pointer, pointer]),
            "opml_schedule_free": (None, [pointer]),
            "opml_records_check": (None, [ctypes.c_char_p, u64, pointer, pointer, pointer]),
            "opml_kernel": (ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_int]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        lib.opml_ml_typed = True  # type: ignore[attr-defined]
    return lib
