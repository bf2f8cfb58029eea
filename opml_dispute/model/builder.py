"""
The operations that lowerings use: arithmetic, reductions, windows, assembly of tensors.

`Builder` adds to the kernels of `emitter` what lets a lowering read like its formula: numbers as operands, `keepdims`,
concatenation, padding, slices. It does not depend on ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

import numpy as np

from opml_dispute.model.block_emitter import BlockEmitter
from opml_dispute.model.emitter import Places
from opml_dispute.model.opcodes import Binary, DType, Reduction, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Shape, Tensor, broadcast_shapes

MOST_COMPUTED: Final = 1 << 24
"""Numbers that the compiler itself computes for one operator, one by one or in several arrays."""
MOST_IN_A_ROW: Final = 1 << 27
"""Numbers that only count up."""
_LONGEST: Final = 1 << 16
"""Elements that one output is reduced from, if there is a way to take fewer."""

Operand = Tensor | float | int
"""A tensor, or a number that takes the type of the other operand."""


class Builder(BlockEmitter):
    """Kernels, and the compositions of them that many operators share."""

    def _pair(self, x: Operand, y: Operand) -> tuple[Tensor, Tensor]:
        if isinstance(x, Tensor):
            return x, y if isinstance(y, Tensor) else self.scalar(y, x.dtype)
        assert isinstance(y, Tensor)
        return self.scalar(x, y.dtype), y

    def _two(self, function: Binary, x: Operand, y: Operand) -> Tensor:
        return self.binary(function, *self._pair(x, y))

    # Arithmetic

    def add(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.ADD, x, y)

    def sub(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.SUB, x, y)

    def mul(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.MUL, x, y)

    def div(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.DIV, x, y)

    def power(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.POW, x, y)

    def minimum(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.MIN, x, y)

    def maximum(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.MAX, x, y)

    def equal(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.EQ, x, y)

    def less(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.LT, x, y)

    def less_equal(self, x: Operand, y: Operand) -> Tensor:
        return self._two(Binary.LE, x, y)

    def both(self, x: Tensor, y: Tensor) -> Tensor:
        return self.binary(Binary.AND, x, y)

    def either(self, x: Tensor, y: Tensor) -> Tensor:
        return self.binary(Binary.OR, x, y)

    def negate(self, x: Tensor) -> Tensor:
        return self.unary(Unary.NEG, x)

    def absolute(self, x: Tensor) -> Tensor:
        return self.unary(Unary.ABS, x)

    def reciprocal(self, x: Tensor) -> Tensor:
        return self.unary(Unary.RECIPROCAL, x)

    def sqrt(self, x: Tensor) -> Tensor:
        return self.unary(Unary.SQRT, x)

    def exp(self, x: Tensor) -> Tensor:
        return self.unary(Unary.EXP, x)

    def log(self, x: Tensor) -> Tensor:
        return self.unary(Unary.LOG, x)

    def tanh(self, x: Tensor) -> Tensor:
        return self.unary(Unary.TANH, x)

    def sigmoid(self, x: Tensor) -> Tensor:
        return self.unary(Unary.SIGMOID, x)

    def relu(self, x: Tensor) -> Tensor:
        return self.unary(Unary.RELU, x)

    def floor(self, x: Tensor) -> Tensor:
        return self.unary(Unary.FLOOR, x)

    def invert(self, x: Tensor) -> Tensor:
        """Logical not of bool."""
        return self.unary(Unary.NOT, x)

    def square(self, x: Tensor) -> Tensor:
        return self.mul(x, x)

    def choose(self, condition: Tensor, x: Operand, y: Operand) -> Tensor:
        """`x` where `condition` holds, else `y`; one of the two may be a number."""
        return self.select(condition, *self._pair(x, y))

    def clipped(self, x: Tensor, low: Operand | None, high: Operand | None) -> Tensor:
        """`x` held between `low` and `high`; `high` wins where they cross."""
        if low is not None:
            x = self.maximum(x, low)
        return x if high is None else self.minimum(x, high)

    # Reductions

    def axes(self, x: Tensor, axes: Sequence[int] | None) -> tuple[int, ...]:
        """`axes` counted from the front, ascending; all if None. Raises `Refuse` for one that is not there."""
        if axes is None:
            return tuple(range(x.rank))
        return tuple(sorted({x.axis(int(axis)) for axis in axes}))

    def distinct_axes(self, x: Tensor, axes: Sequence[int] | None) -> list[int]:
        """`axes` counted from the front, in their order; all if None. Raises `Refuse` for one that is named twice."""
        found = list(range(x.rank)) if axes is None else [self.axis(x, axis) for axis in axes]
        if len(set(found)) < len(found):
            raise Refuse(f"axes {list(axes or ())} of {list(x.shape)}, of which one is named twice")
        return found

    @staticmethod
    def expect_rank(x: Tensor, least: int, most: int | None, what: str) -> None:
        """Raises `Refuse` for a tensor of fewer dimensions than `least`, or of more than `most`, if there is a most."""
        if x.rank < least or (most is not None and x.rank > most):
            wanted = f"{least}" if least == most else f"{least} to {most}" if most else f"at least {least}"
            raise Refuse(f"{what} of shape {list(x.shape)}; expected {wanted} dimensions")

    def axis(self, x: Tensor, axis: int) -> int:
        """`axis` counted from the front. Raises `Refuse` if it is not there."""
        return self.axes(x, (axis,))[0]

    def _reduced(self, function: Reduction, x: Tensor, axes: Sequence[int] | None, keepdims: bool) -> Tensor:
        over = self.axes(x, axes)
        if prod(x.shape[d] for d in over) == 0:
            shape = tuple(size for d, size in enumerate(x.shape) if d not in over)
            result = self.filled(shape, _neutral(function, x.dtype), x.dtype)
        elif not over:
            result = x
        else:
            result = self.reduce(function, *self._staged(function, x, over))
        if keepdims:
            for d in over:
                result = result.with_axis(d)
        return result

    def _staged(self, function: Reduction, x: Tensor, over: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
        """
        `x` and its axes to reduce, or where one output would take too long, what is left of both after earlier stages.

        Axes side by side are cut as one, so that a stage reads its elements where they lie. Of axes that are apart, the
        last is reduced before the others.
        """
        if prod(x.shape[d] for d in over) <= _LONGEST:
            return x, over
        x, over = self._joined(x, over)
        while len(over) > 1:
            inner, axis = self._staged(function, x, over[-1:])
            x, over = self.reduce(function, inner, axis), over[:-1]
        return self._in_parts(function, x, over[0]), over

    def _joined(self, x: Tensor, over: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
        """The same elements with axes of `over` that are side by side made one, and where these axes are."""
        sizes: list[int] = []
        where: list[int] = []
        for d, size in enumerate(x.shape):
            if d in over and d - 1 in over:
                sizes[-1] *= size
            else:
                where += [len(sizes)] if d in over else []
                sizes.append(size)
        return self.reshape(x, tuple(sizes)), tuple(where)

    def _in_parts(self, function: Reduction, x: Tensor, axis: int) -> Tensor:
        """`x` with a long axis reduced to some hundred parts, or as it is."""
        size = x.shape[axis]
        if size <= _LONGEST:
            return x
        chunk = min(1 << ((size // 256).bit_length() - 1), _LONGEST)
        whole = size // chunk
        head = x.sliced(axis, 0, whole * chunk)
        split = self.reshape(head, (*x.shape[:axis], whole, chunk, *x.shape[axis + 1 :]))
        parts = [self.reduce(function, split, (axis + 1,))]
        if size % chunk:
            parts.append(self.reduce(function, x.sliced(axis, whole * chunk, size % chunk), (axis,)).with_axis(axis))
        return self.concat(parts, axis)

    def extremes_of_parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """
        What has the least element of `x`, and what has its greatest: `x` itself, or if it is long, those of its parts.

        The parts of both come one after another, so that they are read once from memory.
        """
        if x.size <= _LONGEST:
            return x, x
        row = self.reshape(x, (x.size,))
        return self._in_parts(Reduction.MIN, row, 0), self._in_parts(Reduction.MAX, row, 0)

    def reduce_sum(self, x: Tensor, axes: Sequence[int] | None, *, keepdims: bool = True) -> Tensor:
        return self._reduced(Reduction.SUM, x, axes, keepdims)

    def reduce_prod(self, x: Tensor, axes: Sequence[int] | None, *, keepdims: bool = True) -> Tensor:
        return self._reduced(Reduction.PROD, x, axes, keepdims)

    def reduce_max(self, x: Tensor, axes: Sequence[int] | None, *, keepdims: bool = True) -> Tensor:
        return self._reduced(Reduction.MAX, x, axes, keepdims)

    def reduce_min(self, x: Tensor, axes: Sequence[int] | None, *, keepdims: bool = True) -> Tensor:
        return self._reduced(Reduction.MIN, x, axes, keepdims)

    def reduce_mean(self, x: Tensor, axes: Sequence[int] | None, *, keepdims: bool = True) -> Tensor:
        """The mean; of nothing, NaN."""
        count = prod(x.shape[d] for d in self.axes(x, axes))
        return self.div(self.reduce_sum(x, axes, keepdims=keepdims), count)

    def softmax(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Powers of e over their sum along `axes`."""
        powers = self.exp(self.sub(x, self.reduce_max(x, axes)))  # <= 0 before exp, so no overflow
        return self.div(powers, self.reduce_sum(powers, axes))

    # Linear algebra

    def matmul(self, a: Tensor, b: Tensor, bias: Tensor | None = None, dtype: DType | None = None) -> Tensor:
        """As numpy's matmul: vectors count as one row or one column, which the result then lacks."""
        if not a.rank or not b.rank:
            raise Refuse("a matrix product with a scalar")
        row, column = a.rank == 1, b.rank == 1
        product = self.contract(a.with_axis(0) if row else a, b.with_axis(1) if column else b, bias, dtype)
        if row:
            product = product.without(-2)
        return product.without(-1) if column else product

    # Assembly

    def concat(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """The parts one after another along `axis`, counted from the front."""
        if any(part.rank <= axis for part in parts):
            raise Refuse(f"cannot join {' and '.join(str(list(part.shape)) for part in parts)} along axis {axis}")
        shapes = {(*part.shape[:axis], *part.shape[axis + 1 :]) for part in parts}
        if len(shapes) != 1 or len({part.dtype for part in parts}) != 1:
            found = " and ".join(f"{part.dtype.name}{list(part.shape)}" for part in parts)
            raise Refuse(f"cannot join {found} along axis {axis}")
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        out = self.made(parts[0].dtype, tuple(shape), *parts)
        start = 0
        for part in parts:
            self.copy(out.sliced(axis, start, part.shape[axis]), part)
            start += part.shape[axis]
        return out

    def stack(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """The parts one after another along a new axis."""
        return self.concat([part.with_axis(axis) for part in parts], axis)

    def pad(self, x: Tensor, before: Sequence[int], after: Sequence[int], value: Operand = 0) -> Tensor:
        """`x` with `value` around it; a negative width takes elements away, and beyond them what is put at the other
        end."""
        before, after = list(before), list(after)
        for d, size in enumerate(x.shape):
            if size + before[d] + after[d] < 0:
                raise Refuse(f"widths {before[d]} and {after[d]} at the ends of axis {d} of {list(x.shape)}")
            cut = min(max(-before[d], 0), size)
            cut_end = min(max(-after[d], 0), size - cut)
            x = x.sliced(d, cut, size - cut - cut_end) if cut or cut_end else x
            before[d], after[d] = before[d] + cut, after[d] + cut_end
            before[d], after[d] = max(before[d] + min(after[d], 0), 0), max(after[d] + min(before[d], 0), 0)
        if not any(before) and not any(after):
            return x
        shape = tuple(b + size + a for b, size, a in zip(before, x.shape, after, strict=True))
        fill = value if isinstance(value, Tensor) else self.scalar(value, x.dtype)
        out = self.made(x.dtype, shape, x, fill)
        self.copy(out, fill)
        inner = out
        for d, size in enumerate(x.shape):
            inner = inner.sliced(d, before[d], size)
        self.copy(inner, x)
        return out

    def flattened(self, x: Tensor, axis: int) -> Tensor:
        """The matrix whose rows are the dimensions before `axis`."""
        return self.reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:])))

    def windows(self, x: Tensor, kernel: Shape, strides: Shape, dilations: Shape, out_spatial: Shape) -> Tensor:
        """A view: x[N][C][spatial] -> [N][C][out_spatial][kernel]. ASSUMES that every window lies inside."""
        lead = x.rank - len(kernel)
        steps = x.strides[lead:]
        moved = tuple(step * stride for step, stride in zip(steps, strides, strict=True))
        taps = tuple(step * dilation for step, dilation in zip(steps, dilations, strict=True))
        return Tensor(x.buffer, (*x.shape[:lead], *out_spatial, *kernel), (*x.strides[:lead], *moved, *taps), x.offset)

    # Numbers that are given at run time

    def index(self, x: Tensor) -> Tensor:
        """Places or lengths as int64; an unsigned number beyond it stays beyond, and does not become negative."""
        return self.cast(x, DType.I64, saturate=x.dtype is DType.U64)

    def bounded(self, x: Tensor, low: int | None, high: int | None, what: str) -> Tensor:
        """
        The integers `x` as int64, none below `low` or above `high`, where there are such limits.

        One that is makes the inference fail with the status of an index out of range. Raises `Refuse` where it is known
        already, since every inference would fail; `what` names the numbers.
        """
        if x.is_constant:
            self.expect_bounded(x.values(), low, high, what)
            return self.index(x)
        index = self.index(x)
        above = None if high is None else self.less(min(high, np.iinfo(np.int64).max), index)
        below = None if low is None else self.less(index, low)
        beyond = self.either(above, below) if above is not None and below is not None else above or below
        assert beyond is not None, "there is a limit"
        return self.add(index, self.take(self.filled((1,), 0, DType.I64), self._one_where(beyond), 0))

    def unless(self, wrong: Tensor, x: Tensor) -> Tensor:
        """`x`, of any type; where `wrong` (bool, which broadcasts to it) holds, the inference fails as in `bounded`."""
        return self.select(self.take(self.filled((1,), True, DType.BOOL), self._one_where(wrong), 0), x, x)

    def _one_where(self, wrong: Tensor) -> Tensor:
        """1, an index that is not there in a tensor of one element, where `wrong` holds, else 0."""
        return self.select(wrong, self.scalar(1, DType.I64), self.scalar(0, DType.I64))

    @staticmethod
    def expect_bounded(values: Array, low: int | None, high: int | None, what: str) -> None:
        """Raises `Refuse` for a known number below `low` or above `high`, where there are such limits."""
        for value in map(int, (values.min(), values.max()) if values.size else ()):
            if (high is not None and value > high) or (low is not None and value < low):
                least, most = "" if low is None else f" from {low}", "" if high is None else f" up to {high}"
                raise Refuse(f"{what} is {value}; expected a number{least}{most}")

    # Places

    def common_shape(self, *shapes: Shape) -> Shape:
        """The shape that all broadcast to. Raises `Refuse` if there is none."""
        return broadcast_shapes(*shapes)

    def take(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """
        x[..., indices, ...] along `axis`: the indices' dimensions stand where `axis` stood.

        Known indices in an even progression make a view. Others make a GATHER; one outside latches a status.
        """
        size = x.shape[axis]
        if indices.is_constant:
            given = indices.values().reshape(-1)
            places = given.astype(np.int64)  # what wraps is above any size
            if np.any((places < -size) | (places >= size) | (given > np.iinfo(np.int64).max >> 1)):
                raise Refuse(f"an index outside of [-{size}, {size}) along axis {axis} of {list(x.shape)}")
            places = np.where(places < 0, places + size, places)
            steps = np.diff(places)
            if places.size and (places.size == 1 or (steps == steps[0]).all()):
                step = int(steps[0]) if places.size > 1 else 1
                run = x.sliced(axis, int(places[0]), places.size, step)
                return self.reshape(run, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
        index = self.index(indices)
        shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
        data = (*x.strides[:axis], *(0,) * index.rank, *x.strides[axis + 1 :])
        rows = (*(0,) * axis, *index.strides, *(0,) * (x.rank - axis - 1))
        return self.gather(x, data, index, rows, shape, Places((x.strides[axis],), (size,)))

    def take_along(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """x[i][indices[i][j][k]][k] for each point (i, j, k) of `indices`, here with `axis` 1."""
        index = self.index(indices)
        self.check_beside(x, index, axis)
        data = (*x.strides[:axis], 0, *x.strides[axis + 1 :])
        places = Places((x.strides[axis],), (x.shape[axis],))
        return self.gather(x, data, index, index.strides, index.shape, places)

    def check_beside(self, x: Tensor, indices: Tensor, axis: int) -> None:
        """Raises `Refuse` unless each index has its element beside it, in every dimension but `axis`."""
        rest = [d for d in range(x.rank) if d != axis]
        if indices.rank != x.rank or any(indices.shape[d] > x.shape[d] for d in rest):
            raise Refuse(f"indices {list(indices.shape)} along axis {axis} of {list(x.shape)}")

    def scatter_along(self, out: Tensor, axis: int, indices: Tensor, updates: Tensor, how: Reduction) -> None:
        """Puts `updates` into `out` at the places along `axis` that `indices`, a vector, names; `out` is changed."""
        index = self.index(indices)
        stays = (*out.strides[:axis], 0, *out.strides[axis + 1 :])
        rows = tuple(index.strides[0] if d == axis else 0 for d in range(out.rank))
        self.scatter(out, stays, updates, index, rows, Places((out.strides[axis],), (out.shape[axis],)), how)

    def expect_few(self, count: int, what: str, most: int = MOST_COMPUTED) -> None:
        """
        Raises `Refuse` if an operator asks for more numbers than the compiler should compute for it, or for fewer than
        none: before it computes them, since a few bytes of an untrusted model can ask for any number.
        """
        if not 0 <= count <= most:
            raise Refuse(f"{count:,} {what}; expected {most:,} at most")

    def arange(self, count: int, dtype: DType = DType.I64) -> Tensor:
        """0, 1, … `count` - 1."""
        self.expect_few(count, "numbers in a row", MOST_IN_A_ROW)
        self.meter.afford(8 * count)
        return self.constant(np.arange(count).astype(dtype.numpy))


def _neutral(function: Reduction, dtype: DType) -> float | int | bool:
    """The result of an empty reduction."""
    if function is Reduction.SUM:
        return 0
    if function is Reduction.PROD:
        return 1
    lowest = function is Reduction.MAX
    if dtype.is_float:
        return -np.inf if lowest else np.inf
    if dtype is DType.BOOL:
        return not lowest
    limits = np.iinfo(dtype.numpy)
    return int(limits.min if lowest else limits.max)
