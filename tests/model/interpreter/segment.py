"""The segment as arrays, and the views of it that a record names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import Program
from opml_dispute.model.record import Record

Array = npt.NDArray[Any]


class IndexOutOfRange(Exception):
    """What the segment's status 7 stands for."""


class Segment:
    """The segment's blocks as numpy arrays of bytes in host order, by offset."""

    def __init__(self, program: Program) -> None:
        self.blocks: dict[int, tuple[int, npt.NDArray[np.uint8]]] = {}
        for block in program.weights:
            self.reserve(block.offset, block.log2_size)
            raw = np.frombuffer(block.data, np.uint8)
            self.blocks[block.offset][1][: raw.size] = raw
        for planned in program.blocks:
            self.reserve(planned.offset, planned.log2_size)

    def reserve(self, offset: int, log2_size: int) -> None:
        self.blocks[offset] = (1 << log2_size, np.zeros(1 << log2_size, np.uint8))

    def elements(self, offset: int, dtype: DType) -> tuple[Array, int]:
        """The block around `offset` as elements of `dtype`, and the index of the one at `offset`."""
        start = max(o for o in self.blocks if o <= offset)
        size, raw = self.blocks[start]
        assert offset < start + size, hex(offset)
        return raw.view(dtype.numpy), (offset - start) // dtype.width

    def view(self, offset: int, dtype: DType, dims: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """The operand over an iteration space; writing to it writes the block."""
        elements, first = self.elements(offset, dtype)
        reach = first + sum((size - 1) * stride for size, stride in zip(dims, strides, strict=True))
        assert 0 <= reach < elements.size or math.prod(dims) == 0
        width = dtype.width
        view: Array = np.lib.stride_tricks.as_strided(elements[first:], dims, [stride * width for stride in strides])
        return view


def store(out: Array, values: Array, record: Record) -> None:
    """Writes the part [lo, hi) of `values` (the whole iteration space) into the view `out`."""
    made = np.arange(math.prod(out.shape)).reshape(out.shape)
    np.copyto(out, np.asarray(values).astype(out.dtype), where=(made >= record.lo) & (made < record.hi))


def operand(segment: Segment, record: Record, number: int) -> Array:
    """Operand 0 (output), 1, 2 or 3 over the iteration space."""
    offset = record.out if number == 0 else record.inputs[number - 1]
    dtype = record.dtype_out if number == 0 else record.dtypes_in[number - 1]
    return segment.view(offset, dtype, record.dims, record.strides(number))


def packed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def dense(segment: Segment, record: Record, number: int, *shape: int) -> Array:
    offset = record.out if number == 0 else record.inputs[number - 1]
    dtype = record.dtype_out if number == 0 else record.dtypes_in[number - 1]
    return segment.view(offset, dtype, shape, packed(shape))
