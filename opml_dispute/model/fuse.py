"""
Scales and shifts by constants, fused into the operation before them.

A normalisation whose statistics are known, or a bias that the model adds in a node of its own, is x * f + s with one f
and one s a channel. Where x comes from a convolution or a matrix product with constant weights, those are scaled
instead, and the shift becomes the bias; where x comes from another such scale or shift, two become one. The tensor
between disappears, with its node, its memory, and its cost in the VM.

`fuse` rewrites a list of operations. It chooses which nodes there are, and so how results are rounded, as everything
in the compiler does; its arithmetic is single operations of binary32, so a program is the same on every machine. It
does not change tensors that another operation reads, nor constants that would not stay finite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import Binary, DType, Opcode
from opml_dispute.model.recorder import Op
from opml_dispute.model.tensor import Array, Buffer, Shape, Tensor


def fuse(builder: Builder, ops: Sequence[Op], outputs: Sequence[Tensor]) -> list[Op]:
    """`ops`, which `builder` made and which `outputs` need, with scales and shifts fused."""
    return _Fuser(builder, ops, outputs).run()


class _Fuser:
    def __init__(self, builder: Builder, ops: Sequence[Op], outputs: Sequence[Tensor]) -> None:
        self.builder, self.ops = builder, ops
        self.done: list[Op | None] = []
        """The operations so far; None where an operation was fused into another."""
        self.maker: dict[int, int] = {}
        """By buffer, the place in `done` of the operation that writes to it."""
        self.readers = Counter(id(tensor.buffer) for op in ops for tensor in op.inputs)
        self.readers.update(id(tensor.buffer) for tensor in outputs)
        self.writers = Counter(id(op.out.buffer) for op in ops)

    def run(self) -> list[Op]:
        """See `fuse`."""
        for op in self.ops:
            self.done.append(None)
            self._put(len(self.done) - 1, op)
        return [op for op in self.done if op is not None]

    def _put(self, place: int, op: Op) -> None:
        """Add `op` to the finished operations: at `place`, or fused into an earlier operation."""
        self.done[place] = None
        change = _change_of(op)
        source = None if change is None else self._source(change.x, op)
        if change is not None and source is not None:
            before = self.maker[id(change.x.buffer)]
            earlier = _change_of(source)
            if earlier is not None and (earlier.function, change.function) == (Binary.ADD, Binary.MUL):
                # (x + s) * f = x * f + s * f: so the scale comes next to what it may be fused into.
                swapped = self._swapped(source, earlier, change)
                if swapped is not None:
                    scale, shift = swapped
                    self._put(before, scale)
                    self._put(place, replace(shift, out=op.out))
                    return
            by = self._together(source, earlier, change)
            if by is not None:
                self._put(before, replace(by, out=op.out))
                return
        self.done[place] = op
        self.maker[id(op.out.buffer)] = place

    def _source(self, x: Tensor, op: Op) -> Op | None:
        """The operation that makes all of `x`, if only `op` reads `x` and `op` makes all of its own output."""
        key = id(x.buffer)
        place = self.maker.get(key)
        if place is None or (self.readers[key], self.writers[key], self.writers[id(op.out.buffer)]) != (1, 1, 1):
            return None
        source = self.done[place]
        if source is None or source.out.shape != x.shape or not (_is_all(source, x) and _is_all(source, source.out)):
            return None
        return source if _is_all(op, op.out) else None

    def _together(self, source: Op, earlier: Change | None, change: Change) -> Op | None:
        """`source` with a change fused into it; None if that is not possible."""
        if source.opcode is Opcode.CONV:
            return _convolution(self.builder, source, change)
        if source.opcode is Opcode.CONTRACT:
            return self._product(source, change)
        if earlier is None or earlier.function is not change.function:
            return None
        values, axis = _both(self.builder, change.function, earlier.constant, change.constant)
        if values is None:
            return None
        return self._emitted(
            source, lambda g: g.binary(change.function, earlier.x, _column(g, values, earlier.x, axis))
        )

    def _swapped(self, source: Op, shift: Change, scale: Change) -> tuple[Op, Op] | None:
        """x * f, and the addition of s * f to that."""
        values, axis = _both(self.builder, Binary.MUL, shift.constant, scale.constant)
        if values is None:
            return None
        first = self._emitted(source, lambda g: g.binary(Binary.MUL, shift.x, scale.constant))
        if first is None:
            return None
        middle = first.out
        second = self._emitted(source, lambda g: g.binary(Binary.ADD, middle, _column(g, values, middle, axis)))
        if second is None:
            return None
        self.readers[id(middle.buffer)] = self.writers[id(middle.buffer)] = 1
        return first, second

    def _product(self, product: Op, change: Change) -> Op | None:
        """a[..., M, K] times b[..., K, N], plus bias[N]; the constant goes along N."""
        a, b, *more = product.inputs
        last = product.out.rank - 1
        values, bias = _along(change.constant, last), _along(more[0], last) if more else None
        if values is None or (more and bias is None):
            return None
        k, a_step, b_step = product.imm[0], _signed(product.imm[1]), _signed(product.imm[2])
        left = Tensor(a.buffer, (*a.shape[:-1], k), (*a.strides[:-1], a_step), a.offset)
        right = Tensor(b.buffer, (*b.shape[:-2], k, b.shape[-1]), (*b.strides[:-2], b_step, b.strides[-1]), b.offset)
        if change.function is Binary.ADD:
            bias = values if bias is None else _fold(self.builder, Binary.ADD, bias, values)
        elif not b.is_constant or any(b.strides[:-2]):
            return None
        else:
            right = Tensor(b.buffer, right.shape[-2:], right.strides[-2:], b.offset)
            if right.is_spread:
                return None
            scaled = _fold(self.builder, Binary.MUL, right.values(), values)
            if not _are_finite(scaled):
                return None
            right = self.builder.constant(scaled)
            bias = None if bias is None else _fold(self.builder, Binary.MUL, bias, values)
        if not _are_finite(bias):
            return None
        return self._emitted(product, lambda g: g.contract(left, right, None if bias is None else g.constant(bias)))

    def _emitted(self, like: Op, make: Callable[[Builder], Tensor]) -> Op | None:
        """The operation that `make` appends, removed from the list; None if it appends several."""
        outer, self.builder.origin = self.builder.origin, like.origin
        before = len(self.builder.ops)
        make(self.builder)
        made = self.builder.ops[before:]
        del self.builder.ops[before:]
        self.builder.origin = outer
        return made[0] if len(made) == 1 else None


@dataclass(frozen=True, slots=True)
class Change:
    """An operation that is `x`, scaled (`MUL`) or shifted (`ADD`) by a constant."""

    function: Binary
    x: Tensor
    constant: Tensor
    """Of the same shape as `x`."""


def _change_of(op: Op) -> Change | None:
    """`op` as a change; None if it is none."""
    if op.opcode is not Opcode.BINARY or op.inputs[0].dtype is not DType.F32:
        return None
    function, (x, y) = Binary(op.imm[0]), op.inputs
    if function is Binary.SUB and y.buffer.values is not None:
        negated = np.negative(y.buffer.values)
        function, y = Binary.ADD, Tensor(Buffer(DType.F32, y.buffer.size, negated), y.shape, y.strides, y.offset)
    if function not in (Binary.ADD, Binary.MUL) or x.is_constant == y.is_constant:
        return None
    return Change(function, y, x) if x.is_constant else Change(function, x, y)


def _convolution(g: Builder, conv: Op, change: Change) -> Op | None:
    """x[N][C] over w[M][C / groups], plus bias[M]; the constant goes along M."""
    values = _along(change.constant, 1)
    x, w, *more = conv.inputs
    if values is None or not all(t.is_constant and t.dtype is DType.F32 for t in (w, *more)):
        return None
    bias = more[0].values() if more else None
    if change.function is Binary.ADD:
        bias = values if bias is None else _fold(g, Binary.ADD, bias, values)
    else:
        weights = _fold(g, Binary.MUL, w.values(), values.reshape(-1, *(1,) * (w.rank - 1)))
        bias = None if bias is None else _fold(g, Binary.MUL, bias, values)
        if not _are_finite(weights):
            return None
        w = g.constant(weights)
    if not _are_finite(bias):
        return None
    return replace(conv, inputs=(x, w) if bias is None else (x, w, g.constant(bias)))


def _both(g: Builder, function: Binary, one: Tensor, other: Tensor) -> tuple[Array | None, int | None]:
    """`function` of two constants along the same axis (None: of two scalars), and that axis; None if there is none."""
    axes = {d for t in (one, other) for d, size in enumerate(t.shape) if size > 1 and t.strides[d]}
    axis = next(iter(axes), None)
    first, second = _along(one, axis), _along(other, axis)
    if len(axes) > 1 or first is None or second is None:
        return None, None
    values = _fold(g, function, first, second)
    return (values, axis) if _are_finite(values) else (None, None)


def _along(constant: Tensor, axis: int | None) -> Array | None:
    """The values of a constant that varies only along `axis` (None: nowhere); None if it varies otherwise."""
    if not constant.is_constant:
        return None
    if any(
        size > 1 and stride and d != axis
        for d, (size, stride) in enumerate(zip(constant.shape, constant.strides, strict=True))
    ):
        return None
    shape: Shape = () if axis is None else (constant.shape[axis],)
    strides: Shape = () if axis is None else (constant.strides[axis],)
    values = Tensor(constant.buffer, shape, strides, constant.offset)
    return None if values.is_spread else values.values()


def _column(g: Builder, values: Array, like: Tensor, axis: int | None) -> Tensor:
    """`values` as they lie along `axis` of `like`."""
    return g.constant(values if axis is None else values.reshape(-1, *(1,) * (like.rank - axis - 1)))


def _fold(g: Builder, function: Binary, x: Array, y: Array) -> Array:
    """`function` of two constants. ASSUMES that the result has no more elements than the larger of them."""
    return g.binary(function, g.constant(x), g.constant(y)).values()


def _is_all(op: Op, x: Tensor) -> bool:
    """Whether `x` is its whole buffer, packed, with an element for every output of `op`."""
    return x.is_contiguous and x.offset == 0 and x.size == x.buffer.size == op.count


def _are_finite(values: Array | None) -> bool:
    return values is None or bool(np.isfinite(values).all())


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
