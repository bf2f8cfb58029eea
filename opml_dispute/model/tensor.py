"""
Tensors while a model is being lowered: strided views of buffers.

A `Buffer` is a run of elements that will get one block of the segment. A `Tensor` is a way to walk through one: an
offset and a stride per dimension, in elements. Transposing, slicing, reversing and broadcasting make another
`Tensor` over the same `Buffer` and cost nothing, since most kernels take strides; `reshaped` does so where the
strides allow it and says so where they do not. A kernel that needs packed elements asks `emitter.Emitter.contiguous`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

MOST_SPREAD_BYTES: Final = 1 << 26
"""As large a view of a smaller constant may be where it is computed with, or written out, while compiling."""


@dataclass(eq=False, slots=True)
class Buffer:
    """Elements that will lie in one block. Compared by identity."""

    dtype: DType
    size: int
    """In elements."""
    values: Array | None = None
    """A constant's elements, flat, in the host's byte order; None for what is known only when the model runs."""
    input_name: str | None = None
    """The graph input that this buffer holds, if it holds one."""
    is_written: bool = False
    """Whether an operation has put elements into `values` already (`Emitter.made`)."""
    narrow: int = 0
    """ONNX's number of the type that the elements have in the model, where `dtype` only holds it (`elements`); or 0."""
    depends: frozenset[str] = field(default_factory=frozenset)
    """The graph inputs that the elements depend on."""
    dequantised: Dequantised | None = None
    """The integers that the elements stand for, if that is known."""


@dataclass(frozen=True, eq=False, slots=True)
class Dequantised:
    """Numbers of binary32 that are (integer - zero point) * scale, packed and row-major, all constants but integers."""

    integers: Tensor
    """Bytes, which lie as the numbers do."""
    scale: Array
    """One, or one for each place on `axis`."""
    zero_point: Array | None
    """As `scale`, of the integers' type; None for 0."""
    axis: int
    """From the front."""


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A view of a buffer. Element `idx` is the buffer's element `offset + sum(idx[d] * strides[d])`."""

    buffer: Buffer
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def dtype(self) -> DType:
        return self.buffer.dtype

    @property
    def narrow(self) -> int:
        """ONNX's number of the model's type, where `dtype` only holds it; or 0."""
        return self.buffer.narrow

    def marked(self, narrow: int) -> Tensor:
        """The same elements as ones of the narrow type. ASSUMES that nothing else knows a buffer without values."""
        if narrow == self.narrow:
            return self
        if self.buffer.values is None:
            self.buffer.narrow = narrow
            return self
        # Constants may be shared.
        return Tensor(replace(self.buffer, narrow=narrow), self.shape, self.strides, self.offset)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Elements in the view."""
        return prod(self.shape)

    @property
    def is_constant(self) -> bool:
        return self.buffer.values is not None

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie packed and row-major (the stride of a dimension of 1 does not matter)."""
        packed = row_major(self.shape)
        return self.size == 0 or all(
            size == 1 or stride == want for size, stride, want in zip(self.shape, self.strides, packed, strict=True)
        )

    @property
    def is_spread(self) -> bool:
        """Whether the view has few elements in so many places that it is not written out."""
        return self.size > self.buffer.size and self.size * self.dtype.width > MOST_SPREAD_BYTES

    def values(self) -> Array:
        """
        A constant's elements in this view's shape; read-only. ASSUMES `is_constant`.

        Raises `Refuse` for a view that spreads few elements over so many places that computing with them takes memory
        and time which the model's bytes do not show.
        """
        values = self.buffer.values
        assert values is not None
        if self.is_spread:
            found = f"{self.size:,} elements out of a constant of {self.buffer.size:,}"
            raise Refuse(f"{found}, to compute with now; expected {MOST_SPREAD_BYTES:,} bytes of them at most")
        if self.size == 0:
            return np.zeros(self.shape, values.dtype)
        width = values.itemsize
        view: Array = np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, [stride * width for stride in self.strides], writeable=False
        )
        return view

    def axis(self, axis: int) -> int:
        """`axis` counted from the front. Raises `Refuse` if the tensor has no such dimension."""
        if not -self.rank <= axis < self.rank:
            raise Refuse(f"axis {axis} of a tensor with {self.rank} dimensions")
        return axis % self.rank

    def transposed(self, order: Sequence[int]) -> Tensor:
        """Dimension d of the result is dimension `order[d]` of this view."""
        return Tensor(
            self.buffer, tuple(self.shape[d] for d in order), tuple(self.strides[d] for d in order), self.offset
        )

    def sliced(self, axis: int, start: int, count: int, step: int = 1) -> Tensor:
        """
        Elements `start`, `start + step`, … (`count` of them) along `axis`; `step` may be negative.

        Raises `IndexError` if one of them is not there.
        """
        last = start + (count - 1) * step
        if count < 0 or (count and not (min(start, last) >= 0 and max(start, last) < self.shape[axis])):
            raise IndexError(f"elements {start} to {last} along axis {axis} of {list(self.shape)}")
        offset = self.offset + (start * self.strides[axis] if count else 0)
        return Tensor(
            self.buffer,
            (*self.shape[:axis], count, *self.shape[axis + 1 :]),
            (*self.strides[:axis], step * self.strides[axis], *self.strides[axis + 1 :]),
            offset,
        )

    def picked(self, axis: int, index: int) -> Tensor:
        """Element `index` along `axis`, without that dimension."""
        return self.sliced(axis, index, 1).without(axis)

    def without(self, axis: int) -> Tensor:
        """The same elements without dimension `axis`. ASSUMES its size is 1."""
        axis = self.axis(axis)
        return Tensor(
            self.buffer,
            self.shape[:axis] + self.shape[axis + 1 :],
            self.strides[:axis] + self.strides[axis + 1 :],
            self.offset,
        )

    def with_axis(self, axis: int) -> Tensor:
        """The same elements with one more dimension, of size 1, at `axis` of the result."""
        if not -self.rank - 1 <= axis <= self.rank:
            raise IndexError(f"axis {axis} of a tensor with {self.rank + 1} dimensions")
        axis %= self.rank + 1
        return Tensor(
            self.buffer,
            (*self.shape[:axis], 1, *self.shape[axis:]),
            (*self.strides[:axis], 0, *self.strides[axis:]),
            self.offset,
        )

    def broadcast(self, shape: Shape) -> Tensor:
        """
        The view repeated to `shape`, as ONNX and numpy broadcast: aligned at the last dimension.

        Raises `Refuse` if a dimension is neither 1 nor the wanted one.
        """
        lead = len(shape) - self.rank
        if lead < 0 or any(have not in (1, want) for have, want in zip(self.shape, shape[lead:], strict=True)):
            raise Refuse(f"shape {list(self.shape)} does not broadcast to {list(shape)}")
        strides = (0 if have == 1 else stride for have, stride in zip(self.shape, self.strides, strict=True))
        return Tensor(self.buffer, tuple(shape), (*(0,) * lead, *strides), self.offset)

    def reshaped(self, shape: Shape) -> Tensor | None:
        """The same elements in `shape`, without moving any; None if the strides do not allow it."""
        assert prod(shape) == self.size, (self.shape, shape)
        if self.size == 0:
            return Tensor(self.buffer, tuple(shape), row_major(shape), self.offset)
        runs = _runs(self.shape, self.strides)
        strides: list[int] = []
        for want in reversed(shape):
            while runs and runs[-1][0] == 1:
                runs.pop()
            if want == 1:
                strides.append(0)
                continue
            size, stride = runs[-1]
            if size % want:
                return None
            strides.append(stride)
            runs[-1] = (size // want, stride * want)
        return Tensor(self.buffer, tuple(shape), tuple(reversed(strides)), self.offset)


def row_major(shape: Sequence[int]) -> Shape:
    """Strides of packed elements."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def broadcast_shapes(*shapes: Shape) -> Shape:
    """
    The shape that all of `shapes` broadcast to.

    >>> broadcast_shapes((3, 1), (4,), ())
    (3, 4)

    Raises `Refuse` if there is none.
    """
    rank = max(map(len, shapes), default=0)
    result = []
    for d in range(rank):
        sizes = {shape[d - rank + len(shape)] for shape in shapes if d - rank + len(shape) >= 0}
        if len(sizes - {1}) > 1:
            raise Refuse(f"shapes {' and '.join(str(list(s)) for s in shapes)} do not broadcast together")
        result.append(next(iter(sizes - {1}), 1))
    return tuple(result)


def merged(shape: Shape, *stride_rows: Shape) -> tuple[Shape, list[Shape]]:
    """
    The same walk with the fewest dimensions: sizes of 1 dropped, and neighbours joined where all rows allow it.

    >>> merged((2, 3, 1, 4), (12, 4, 4, 1), (4, 0, 0, 1))
    ((2, 3, 4), [(12, 4, 1), (4, 0, 1)])
    >>> merged((2, 3, 4), (12, 4, 1))
    ((24,), [(1,)])
    """
    kept: list[tuple[int, tuple[int, ...]]] = []
    for size, *strides in zip(shape, *stride_rows, strict=True):
        if size == 1:
            continue
        if kept and all(a == b * size for a, b in zip(kept[-1][1], strides, strict=True)):
            kept[-1] = (kept[-1][0] * size, tuple(strides))
        else:
            kept.append((size, tuple(strides)))
    rows = [tuple(strides[i] for _, strides in kept) for i in range(len(stride_rows))]
    return tuple(size for size, _ in kept), rows


def _runs(shape: Shape, strides: Shape) -> list[tuple[int, int]]:
    """The view as its longest evenly spaced runs, outermost first: (size, stride)."""
    sizes, (steps,) = merged(shape, strides)
    return list(zip(sizes, steps, strict=True))
