"""
What cases of kernels are made of: a record with its operands (`Case`), and a `Maker` that lays operands out.

Operands get random strides (broadcast, reversed, with gaps) and values. With `awkward=True` floats are NaNs with
payloads, infinities, subnormals, signed zeros and numbers of every size; without, they are well-behaved, so that
another order of summing differs little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.segment import ARENA, INPUT, WEIGHTS
from opml_dispute.model.opcodes import DType
from opml_dispute.model.record import Record

Array = npt.NDArray[Any]
Rng = np.random.Generator

REAL = (DType.F32, DType.F16, DType.BF16)
SIGNED = (DType.I8, DType.I16, DType.I32, DType.I64)
UNSIGNED = (DType.U8, DType.U16, DType.U32, DType.U64)
INTEGER = SIGNED + UNSIGNED
NUMBER = REAL + INTEGER

PRODUCTS: tuple[tuple[DType, DType, DType], ...] = (
    (DType.F32, DType.F32, DType.F32),
    (DType.F16, DType.F16, DType.F16),
    (DType.F16, DType.F16, DType.F32),
    (DType.BF16, DType.BF16, DType.BF16),
    *((a, b, DType.I32) for a in (DType.U8, DType.I8) for b in (DType.U8, DType.I8)),
    (DType.U16, DType.U16, DType.U32),
    (DType.I16, DType.I16, DType.I32),
    (DType.I32, DType.I32, DType.I32),
    (DType.U32, DType.I32, DType.U32),
    (DType.I64, DType.I64, DType.I64),
)


@dataclass(frozen=True)
class Case:
    """A record and what its inputs hold."""

    record: Record
    arrays: tuple[tuple[int, Array], ...] = ()
    """Offsets in the segment and what lies there, in host order."""
    start: Array | None = None
    """What the output's extent holds beforehand; None: a pattern."""
    notes: dict[str, Any] = field(default_factory=dict)

    def before(self, size_bytes: int) -> Array:
        """The output's extent beforehand, as elements."""
        dtype = self.record.dtype_out.numpy
        if self.start is not None:
            return np.resize(self.start, size_bytes // dtype.itemsize)
        return np.full(size_bytes, 0xA5, np.uint8).view(dtype)

    def part(self, lo: int, hi: int) -> Case:
        """The same node for the range [lo, hi)."""
        return replace(self, record=replace(self.record, lo=lo, hi=hi))


def values(rng: Rng, dtype: DType, count: int, *, awkward: bool) -> Array:
    """Elements of any type."""
    kind = dtype.numpy
    if dtype is DType.BOOL:
        return rng.integers(0, 2, count).astype(kind)
    if dtype.is_integer:
        limits = np.iinfo(kind)
        small = rng.integers(max(limits.min, -9), 10, count).astype(kind)
        wild = rng.integers(limits.min, limits.max, count, dtype=kind, endpoint=True)
        edges = np.array([0, 1, limits.min, limits.max, limits.max - 1], kind)
        picked = np.where(rng.random(count) < 0.5, small, wild)
        return np.where(rng.random(count) < 0.1, rng.choice(edges, count), picked).astype(kind)
    plain = rng.standard_normal(count).astype(np.float32)
    if not awkward:
        return plain.astype(kind)
    width = dtype.width
    bits = rng.integers(0, 1 << 8 * width, count, dtype=f"u{width}")
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 1e-40, -1e-45, 3e38], np.float32)
    with np.errstate(all="ignore"):
        named = rng.choice(special, count).astype(kind)
    pick = rng.random(count)
    mixed = np.where(pick < 0.6, plain.astype(kind), np.where(pick < 0.8, bits.view(kind), named))
    return mixed.astype(kind)


class Maker:
    """Lays out operands: outputs in ARENA, inputs in INPUT or WEIGHTS."""

    def __init__(self, rng: Rng, *, awkward: bool) -> None:
        self.rng, self.awkward = rng, awkward
        self.arrays: list[tuple[int, Array]] = []
        self._next = {INPUT.offset: INPUT.offset, WEIGHTS.offset: WEIGHTS.offset}

    def put(self, array: Array) -> int:
        """Offset of `array`'s first element."""
        section = int(self.rng.choice([INPUT.offset, WEIGHTS.offset]))
        offset = self._next[section]
        self._next[section] = (offset + array.nbytes + 127) // 64 * 64
        self.arrays.append((offset, np.ascontiguousarray(array).reshape(-1)))
        return offset

    def strided(self, dims: Sequence[int], *, apart: bool) -> tuple[list[int], int, int]:
        """Strides, the place of element 0, and how many elements all of it spans; `apart`: no two coincide."""
        strides = [0] * len(dims)
        reach = first = 0
        for d in self.rng.permutation(len(dims)):
            if not apart and self.rng.random() < 0.2:
                continue
            step = reach + 1 + (int(self.rng.integers(0, 3)) if self.rng.random() < 0.3 else 0)
            if not apart and self.rng.random() < 0.1:
                step = int(self.rng.integers(1, 3))
            strides[d] = -step if self.rng.random() < 0.2 else step
            far = step * (dims[d] - 1)
            reach += far
            first += far if strides[d] < 0 else 0
        if self.rng.random() < 0.4:  # what compilers make most: packed, row-major
            strides = [prod(dims[d + 1 :]) for d in range(len(dims))]
            return strides, 0, prod(dims)
        return strides, first, reach + 1

    def input(
        self, dims: Sequence[int], dtype: DType, data: Array | None = None, extra: int = 0
    ) -> tuple[int, list[int]]:
        """Offset and strides of an input over `dims`."""
        strides, first, span = self.strided(dims, apart=False)
        if data is None:
            data = values(self.rng, dtype, span + extra, awkward=self.awkward)
        return self.put(data) + first * dtype.width, strides

    def output(self, dims: Sequence[int], dtype: DType) -> tuple[int, list[int]]:
        strides, first, _ = self.strided(dims, apart=True)
        return ARENA.offset + 64 * int(self.rng.integers(0, 3)) + first * dtype.width, strides

    def dims(self, rank: int | None = None, most: int = 6) -> list[int]:
        rank = int(self.rng.integers(0, 5)) if rank is None else rank
        return [int(n) for n in self.rng.integers(1, most + 1, rank)]

    def case(self, record: Record, count: int, start: Array | None = None, *, cut: bool = True, **notes: Any) -> Case:
        lo, hi = 0, count
        if cut and self.rng.random() < 0.4:
            lo, hi = sorted(int(n) for n in self.rng.integers(0, count + 1, 2))
        return Case(replace(record, lo=lo, hi=hi), tuple(self.arrays), start, notes)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]


def words(*numbers: int) -> tuple[int, ...]:
    """Immediates: four unsigned 64-bit words."""
    return tuple(number & (1 << 64) - 1 for number in (*numbers, *(0,) * (4 - len(numbers))))


def body(*numbers: int) -> tuple[int, ...]:
    """A body of 40 words."""
    return (*numbers, *(0,) * (40 - len(numbers)))
