"""
The primitive operations of a program under construction: one method a kernel.

Each method checks its operands and appends an `Op`: a node record whose operands are still views of buffers, not
addresses. An operation whose operands are all known is computed at once instead, by its own kernel (`made`, `fold`).
Views cost nothing (`tensor`); a kernel that needs packed elements gets them through `contiguous`. What the operators of
ONNX mean in these terms is `builder` and `lower`; which address each buffer gets is `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from opml_dispute.model import fold
from opml_dispute.model.limits import Limits, Meter
from opml_dispute.model.opcodes import Binary, DType, Opcode, Pooling, Reduction, Unary
from opml_dispute.model.record import BODY_WORDS, IMMEDIATES, MAX_RANK, strided_body
from opml_dispute.model.refusals import NeedsConstant, Refuse
from opml_dispute.model.tensor import Array, Buffer, Shape, Tensor, broadcast_shapes, merged, row_major
from opml_dispute.model.windows import Windows

FOLD_LIMIT_BYTES = 1 << 16
"""A folded constant may be this large, or have as many elements as what it is made of. Larger ones are made when
running."""
PACK_LIMIT_BYTES = 1 << 26
"""A constant that a kernel needs packed may be this large: so weights that are one number repeated are weights too, and
not written anew in every run. Larger ones are made when running."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The ONNX node that a record comes from."""

    op_type: str
    name: str
    opset: int = 0
    """The version of the operator's set."""


@dataclass(eq=False, slots=True)
class Op:
    """A node record whose operands are views: `plan` puts in the addresses."""

    opcode: Opcode
    out: Tensor
    inputs: tuple[Tensor, ...]
    rank: int
    count: int
    """Output elements, the end of [lo, hi) of the whole operation."""
    grains: tuple[int, ...]
    """Tiles start at multiples of the first of these numbers of outputs that is not too many: what is made together
    first, then single rows, then anywhere."""
    imm: tuple[int, ...]
    body: tuple[int, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Places:
    """How an index tensor names places: each has one component per axis that it moves along."""

    strides: Shape
    """Of the data, per component, in elements."""
    sizes: Shape
    """Of the axes: an index below 0 counts from the end, one outside latches a status."""
    step: int = 0
    """Elements from one component to the next in the index tensor."""


MOVES = frozenset({Opcode.COPY, Opcode.FILL, Opcode.SELECT, Opcode.GATHER, Opcode.SCATTER})
COMPARISONS = frozenset({Binary.EQ, Binary.LT, Binary.LE})
LOGIC = frozenset({Binary.AND, Binary.OR, Binary.XOR})
PREDICATES = frozenset({Unary.ISNAN, Unary.ISINF, Unary.NOT})


class Emitter:
    """Collects the operations of one program, in the order they will run."""

    def __init__(self, meter: Meter | None = None) -> None:
        self.meter = meter or Meter(Limits())
        self.ops: list[Op] = []
        self.origin = Origin("", "")
        self._scalars: dict[tuple[DType, bytes], Buffer] = {}
        self._packed: dict[tuple[int, Shape, Shape, int], tuple[Tensor, Tensor]] = {}

    # Tensors out of nothing

    def constant(self, values: Array) -> Tensor:
        """A tensor whose elements are known now. Raises `Refuse` for a type that no kernel takes."""
        try:
            dtype = DType.of(values.dtype)
        except KeyError:
            raise Refuse(f"a constant of type {values.dtype}, which no kernel takes") from None
        flat = np.ascontiguousarray(values).reshape(-1)
        if flat.size == 1:
            # Equal scalars share one block: epsilons and zeros are everywhere.
            key = (dtype, flat.tobytes())
            buffer = self._scalars.setdefault(key, Buffer(dtype, 1, flat))
        else:
            self.meter.constant(flat.nbytes)
            buffer = Buffer(dtype, flat.size, flat)
        return Tensor(buffer, tuple(values.shape), row_major(values.shape))

    def scalar(self, value: float | int | bool, dtype: DType) -> Tensor:
        """A tensor of rank 0. ASSUMES that `value` fits `dtype`."""
        return self.constant(np.array(value).astype(dtype.numpy))

    def filled(self, shape: Shape, value: float | int | bool, dtype: DType) -> Tensor:
        """`value` everywhere: one element in memory, broadcast."""
        return self.scalar(value, dtype).broadcast(shape)

    def new(self, dtype: DType, shape: Shape, *sources: Tensor) -> Tensor:
        """Room for what will be known when the model runs, and depends on what `sources` depend on."""
        if any(size < 0 for size in shape):
            raise Refuse(f"a result of shape {list(shape)}")
        depends = frozenset[str]().union(*(source.buffer.depends for source in sources))
        return Tensor(Buffer(dtype, prod(shape), depends=depends), tuple(shape), row_major(shape))

    def made(self, dtype: DType, shape: Shape, *sources: Tensor) -> Tensor:
        """
        Room for a result that operations make of `sources`.

        Where all of these are known, and the result is worth its bytes, it is known as well: operations that write to
        it are computed at once (`_append`). ASSUMES that `sources` are all that it is made of.
        """
        result = self.new(dtype, shape, *sources)
        if sources and all(source.is_constant for source in sources) and self._folds(shape, dtype, *sources):
            self.meter.constant(result.buffer.size * dtype.width)
            result.buffer.values = np.zeros(result.buffer.size, dtype.numpy)
        return result

    def known(self, x: Tensor, what: str) -> Array:
        """The values of a tensor that must be constant; `what` names it in the error."""
        if not x.is_constant:
            raise NeedsConstant(what, x.buffer.depends)
        return x.values()

    # Moves

    def copy(self, out: Tensor, x: Tensor) -> None:
        """Copies `x`, broadcast, into the view `out`."""
        if x.dtype.width != out.dtype.width:
            raise Refuse(f"cannot copy {x.dtype.name} into {out.dtype.name}")
        values = x.buffer.values
        if values is not None and values.size == 1:
            bits = int(values.view(f"u{out.dtype.width}")[0])
            self._strided(Opcode.FILL, out, [], imm=(bits,))
        else:
            self._strided(Opcode.COPY, out, [x.broadcast(out.shape)])

    def contiguous(self, x: Tensor) -> Tensor:
        """The same elements, packed and row-major: `x` itself if it is, else a copy."""
        if x.is_contiguous:
            return Tensor(x.buffer, x.shape, row_major(x.shape), x.offset)
        if x.is_constant and (x.size * x.dtype.width <= PACK_LIMIT_BYTES or self._folds(x.shape, x.dtype, x)):
            return self._packed_constant(x)
        out = self.new(x.dtype, x.shape, x)
        self.copy(out, x)
        return out

    def _packed_constant(self, x: Tensor) -> Tensor:
        """A constant's elements, packed; once for each view, however many operations want it."""
        key = (id(x.buffer), x.shape, x.strides, x.offset)
        if key not in self._packed:
            self._packed[key] = (x, self.constant(x.values()))
        return self._packed[key][1]

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """The same elements, row-major, in another shape; a copy only where the strides demand one."""
        if prod(shape) != x.size or min(shape, default=0) < 0:
            raise Refuse(f"cannot reshape {list(x.shape)} ({x.size} elements) to {list(shape)}")
        view = x.reshaped(tuple(shape))
        if view is None:
            view = self.contiguous(x).reshaped(tuple(shape))
            assert view is not None
        return view

    # Elementwise

    def unary(self, function: Unary, x: Tensor, *flags: int) -> Tensor:
        """`function` of each element; bool for predicates, else `x`'s type."""
        dtype = DType.BOOL if function in PREDICATES else x.dtype
        out = self.made(dtype, x.shape, x)
        self._strided(Opcode.UNARY, out, [x], imm=(function, *flags))
        return out

    def binary(self, function: Binary, x: Tensor, y: Tensor) -> Tensor:
        """`function` of each pair, broadcast; bool for comparisons and logic, else the operands' type."""
        if x.dtype is not y.dtype:
            raise Refuse(f"operands of types {x.dtype.name} and {y.dtype.name}; expected one type")
        if (function in LOGIC) != (x.dtype is DType.BOOL) and function is not Binary.EQ:
            raise Refuse(f"{function.name} of {x.dtype.name} operands")
        dtype = DType.BOOL if function in COMPARISONS or function in LOGIC else x.dtype
        shape = self._common(x, y)
        out = self.made(dtype, shape, x, y)
        self._strided(Opcode.BINARY, out, [x.broadcast(shape), y.broadcast(shape)], imm=(function,))
        return out

    def select(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """`x` where `condition` (bool) holds, else `y`; broadcast."""
        if condition.dtype is not DType.BOOL or x.dtype is not y.dtype:
            found = f"{condition.dtype.name}, {x.dtype.name} and {y.dtype.name}"
            raise Refuse(f"a choice by types {found}; expected BOOL and twice one type")
        shape = self._common(condition, x, y)
        operands = [condition, x, y]
        out = self.made(x.dtype, shape, *operands)
        self._strided(Opcode.SELECT, out, [t.broadcast(shape) for t in operands])
        return out

    def cast(self, x: Tensor, dtype: DType, *, saturate: bool = False) -> Tensor:
        """`x` as `dtype`; integers wrap, or saturate if asked to; floats always saturate when made integers."""
        if x.dtype is dtype:
            return x
        out = self.made(dtype, x.shape, x)
        self._strided(Opcode.CAST, out, [x], imm=(int(saturate),))
        return out

    # Contractions and windows

    def contract(self, a: Tensor, b: Tensor, bias: Tensor | None = None, dtype: DType | None = None) -> Tensor:
        """
        a[..., M, K] times b[..., K, N], batch dimensions broadcast, plus `bias` broadcast to [..., M, N].

        k ascends, one fused multiply-add each, onto +0; the bias is added last (docs/arithmetic.md, "Contractions").
        """
        if dtype is None and a.dtype.is_integer and a.dtype.width < 4:  # summed in 32 bits, which wrap as the type does
            wide = DType.I32 if a.dtype.is_signed else DType.U32
            return self.cast(self.contract(a, b, bias and self.cast(bias, wide), wide), a.dtype)
        (m, k), (k_b, n) = a.shape[-2:], b.shape[-2:]
        if k != k_b:
            raise Refuse(f"cannot multiply {list(a.shape)} by {list(b.shape)}: {k} columns meet {k_b} rows")
        batch = self._broadcast(a.shape[:-2], b.shape[:-2])
        if k == 0:  # a sum of nothing, which no record may ask for
            zero = self.filled((*batch, m, n), 0, dtype or a.dtype)
            return zero if bias is None else self.binary(Binary.ADD, zero, bias)
        out = self.made(dtype or a.dtype, (*batch, m, n), *(t for t in (a, b, bias) if t is not None))
        a, b = a.broadcast((*batch, m, k)), b.broadcast((*batch, k, n))
        # Views over the iteration space batch, M, N: a does not move along N, nor b along M.
        rows = [
            Tensor(a.buffer, out.shape, (*a.strides[:-1], 0), a.offset),
            Tensor(b.buffer, out.shape, (*b.strides[:-2], 0, b.strides[-1]), b.offset),
        ]
        if bias is not None:
            rows.append(bias.broadcast(out.shape))
        self._strided(Opcode.CONTRACT, out, rows, imm=(k, a.strides[-1], b.strides[-2]), keep=2)
        return out

    def conv(
        self, x: Tensor, w: Tensor, bias: Tensor | None, at: Windows, *, groups: int = 1, dtype: DType | None = None
    ) -> Tensor:
        """x[N][C][spatial] over w[M][C/groups][kernel], plus bias[M]: docs/kernels.md, "CONV"."""
        if x.rank != w.rank or x.shape[1] != w.shape[1] * groups or w.shape[0] % max(groups, 1):
            raise Refuse(f"input {list(x.shape)} with weights {list(w.shape)} in {groups} groups")
        x, w = self.contiguous(x), self.contiguous(w)
        inputs = [x, w] if bias is None else [x, w, self.contiguous(bias)]
        out = self.made(dtype or x.dtype, (x.shape[0], w.shape[0], *at.out), *inputs)
        if out.size and not (x.size and w.size):
            raise Refuse(f"windows over {list(x.shape)} with weights {list(w.shape)}; expected elements in both")
        body = at.body(x.shape[2:], x.shape[0], x.shape[1], w.shape[0], groups)
        plane = prod(at.out)
        grains = (4 * plane, plane, at.out[-1])  # kernels/convolution.c makes four channels at once
        self._append(Opcode.CONV, out, inputs, len(at.out), body, grains=grains)
        return out

    def pool(self, kind: Pooling, x: Tensor, at: Windows) -> Tensor:
        """The maximum, average or sum of windows over x[N][C][spatial]."""
        x = self.contiguous(x)
        out = self.made(x.dtype, (*x.shape[:2], *at.out), x)
        self._windows(Opcode.POOL, out, x, at, (kind,))
        return out

    def pool_index(self, x: Tensor, at: Windows, *, column_major: bool = False) -> Tensor:
        """Where (int64) in x[N][C][spatial] the maximum of each window is; the last two dimensions may be swapped."""
        x = self.contiguous(x)
        out = self.made(DType.I64, (*x.shape[:2], *at.out), x)
        self._windows(Opcode.POOL_INDEX, out, x, at, (Pooling.MAX, int(column_major)))
        return out

    def _windows(self, opcode: Opcode, out: Tensor, x: Tensor, at: Windows, imm: tuple[int, ...]) -> None:
        if out.size and not x.size:
            raise Refuse(f"windows over {list(x.shape)}; expected elements")
        body = at.body(x.shape[2:], x.shape[0], x.shape[1], 0, 0)
        self._append(opcode, out, [x], len(at.out), body, imm=imm, grains=at.out[-1:])

    # Along axes

    def reduce(self, function: Reduction, x: Tensor, axes: Sequence[int]) -> Tensor:
        """`x` reduced over `axes` (counted from the front), which disappear. ASSUMES that they hold elements."""
        shape = tuple(size for d, size in enumerate(x.shape) if d not in axes)
        out = self.made(x.dtype, shape, x)
        self._along(Opcode.REDUCE, out, out, x, axes, (function,))
        return out

    def argreduce(self, function: Reduction, x: Tensor, axis: int, *, last: bool = False) -> Tensor:
        """Where along `axis` (which disappears) the greatest or least element is: the first, or the last, of equals."""
        if not x.shape[axis]:
            raise Refuse(f"the place of an extreme among no elements (axis {axis} of {list(x.shape)})")
        out = self.made(DType.I64, x.shape[:axis] + x.shape[axis + 1 :], x)
        self._along(Opcode.ARGREDUCE, out, out, x, (axis,), (function, int(last)))
        return out

    def topk(self, x: Tensor, k: int, axis: int, *, largest: bool) -> Tensor:
        """Where (int64) along `axis` the `k` greatest or least elements are, in order; of equals the first first."""
        if not 0 <= k <= x.shape[axis]:
            raise Refuse(f"the first {k} of {x.shape[axis]} elements")
        out = self.made(DType.I64, (*x.shape[:axis], k, *x.shape[axis + 1 :]), x)
        if k:
            self._lines(Opcode.TOPK, out, x, axis, (int(largest), 1, k))
        return out

    def scan(
        self, function: Reduction, x: Tensor, axis: int, *, exclusive: bool = False, reverse: bool = False
    ) -> Tensor:
        """Cumulative sums or products along `axis`."""
        if x.rank == 0:
            raise Refuse("a cumulative sum of a scalar")
        out = self.made(x.dtype, x.shape, x)
        self._lines(Opcode.SCAN, out, x, axis, (function, 1, int(exclusive) | int(reverse) << 1))
        return out

    def _lines(self, opcode: Opcode, out: Tensor, x: Tensor, axis: int, imm: tuple[int, ...]) -> None:
        """A kernel that takes whole lines of `x` along `axis`, the last dimension of its iteration space."""
        rest = [d for d in range(x.rank) if d != axis]
        shape = tuple(x.shape[d] for d in rest)
        rows = [tuple(t.strides[d] for d in rest) for t in (out, x)]
        outer, (out_row, x_row) = merged(shape, *rows)
        if len(outer) + 1 > MAX_RANK:
            raise Refuse(f"{opcode.name} over {len(outer) + 1} dimensions; a record holds {MAX_RANK}")
        body = strided_body((*outer, x.shape[axis]), [(*out_row, out.strides[axis]), (*x_row, x.strides[axis])])
        count = prod(outer) if x.size else 0
        self._append(opcode, out, [x], len(outer) + 1, body, imm=imm, count=count)

    # At places that a tensor names

    def gather(
        self, x: Tensor, data_strides: Shape, indices: Tensor, index_strides: Shape, shape: Shape, places: Places
    ) -> Tensor:
        """
        The elements of `x` at the places that `indices` (int64) names, for each point of the output's `shape`.

        Point idx reads x's element sum(idx * data_strides) plus what each component of its place adds; the components
        lie `places.step` elements apart from indices' element sum(idx * index_strides) on.
        """
        out = self.made(x.dtype, shape, x, indices)
        views = [
            out,
            Tensor(x.buffer, shape, data_strides, x.offset),
            Tensor(indices.buffer, shape, index_strides, indices.offset),
        ]
        self._at_places(Opcode.GATHER, views, places, ())
        return out

    def scatter(
        self,
        out: Tensor,
        out_strides: Shape,
        updates: Tensor,
        indices: Tensor,
        index_strides: Shape,
        places: Places,
        reduction: Reduction,
    ) -> None:
        """Puts `updates` into `out`, in their order, at the places that `indices` names, as `gather` reads them."""
        views = [
            Tensor(out.buffer, updates.shape, out_strides, out.offset),
            updates,
            Tensor(indices.buffer, updates.shape, index_strides, indices.offset),
        ]
        self._at_places(Opcode.SCATTER, views, places, (reduction,))

    def _at_places(self, opcode: Opcode, views: list[Tensor], places: Places, flags: tuple[int, ...]) -> None:
        if not 1 <= len(places.strides) <= 4:
            raise Refuse(f"an index of {len(places.strides)} components; a record holds 1 to 4")
        dims, rows = merged(views[1].shape, *(view.strides for view in views))
        if len(dims) > MAX_RANK:
            raise Refuse(f"{opcode.name} over {len(dims)} dimensions; a record holds {MAX_RANK}")
        if 0 in places.sizes and prod(dims) > 0:
            raise Refuse("an index into a dimension without elements")
        spare = (0,) * (4 - len(places.strides))
        where = (*places.strides, *spare, *places.sizes, *spare)
        body = strided_body(dims, [*rows, where])
        imm = (len(places.strides), places.step, *flags)
        self._append(opcode, views[0], views[1:], len(dims), body, imm=imm, count=prod(dims))

    def _along(
        self, opcode: Opcode, out: Tensor, kept: Tensor, x: Tensor, axes: Sequence[int], imm: tuple[int, ...]
    ) -> None:
        """A kernel whose iteration space is `kept`'s dimensions, then `axes` of `x`; imm[1] counts the latter."""
        kept_axes = [d for d in range(x.rank) if d not in axes]
        outer, (out_row, x_row) = merged(kept.shape, kept.strides, tuple(x.strides[d] for d in kept_axes))
        inner, (inner_row,) = merged(tuple(x.shape[d] for d in axes), tuple(x.strides[d] for d in axes))
        if not inner:
            inner, inner_row = (1,), (0,)
        if len(outer) + len(inner) > MAX_RANK:
            raise Refuse(f"{opcode.name} over {len(outer) + len(inner)} dimensions; a record holds {MAX_RANK}")
        body = strided_body((*outer, *inner), [(*out_row, *(0,) * len(inner)), (*x_row, *inner_row)])
        imm = (imm[0], len(inner), *imm[1:])
        self._append(opcode, out, [x], len(outer) + len(inner), body, imm=imm, grains=outer[-1:], count=prod(outer))

    def tree(
        self, x: Tensor, table: Sequence[Tensor], targets: int, function: Reduction, depth: int, leaf_weights: int
    ) -> Tensor:
        """Decision trees over the rows of x[N][F]; `table` is nodes, thresholds, roots, targets, weights."""
        x = self.contiguous(x)
        out = self.made(DType.F32, (x.shape[0], targets), x, *table)
        nodes, _, roots, _, weights = table
        body = (*x.shape, nodes.shape[0], roots.size, weights.size, targets, depth, leaf_weights)
        self._append(Opcode.TREE, out, [x, *table], 2, body, imm=(function,), count=x.shape[0])
        return out

    # Records

    def _strided(
        self, opcode: Opcode, out: Tensor, inputs: list[Tensor], *, imm: tuple[int, ...] = (), keep: int = 0
    ) -> None:
        """A kernel over `out`'s dimensions; the last `keep` of them stay as they are."""
        split = out.rank - keep
        views = [out, *inputs]
        outer, rows = merged(out.shape[:split], *(view.strides[:split] for view in views))
        dims = (*outer, *out.shape[split:])
        strides = [(*row, *view.strides[split:]) for row, view in zip(rows, views, strict=True)]
        excess = max(0, len(dims) - MAX_RANK)
        if out.size == 0:
            return
        grains = dims[-1:]
        if opcode is Opcode.CONTRACT:
            grains = (4 * dims[-1], dims[-1], 4)  # kernels/contraction.c makes four rows at once, and four columns
        # A record holds eight dimensions; what is left over becomes one operation a slice.
        for moved in _corners(dims[:excess], views, [row[:excess] for row in strides]):
            body = strided_body(dims[excess:], [row[excess:] for row in strides])
            rank, count = len(dims) - excess, prod(dims[excess:])
            self._append(opcode, moved[0], moved[1:], rank, body, imm=imm, grains=grains, count=count)

    def _append(
        self,
        opcode: Opcode,
        out: Tensor,
        inputs: Sequence[Tensor],
        rank: int,
        body: tuple[int, ...],
        *,
        imm: tuple[int, ...] = (),
        grains: tuple[int, ...] = (),
        count: int | None = None,
    ) -> None:
        if opcode not in MOVES and any(t.dtype is DType.F64 for t in (out, *inputs)):
            raise Refuse("it computes in binary64, which no kernel does; expected binary32")
        count = out.size if count is None else count
        if count == 0:
            return  # Nothing to make: an empty tensor has no elements to be wrong.
        self.meter.operation()
        words = tuple(word & (1 << 64) - 1 for word in (*imm, *(0,) * (IMMEDIATES - len(imm))))
        body = (*body, *(0,) * (BODY_WORDS - len(body)))
        if out.buffer.values is not None:
            if self._computed(opcode, out, inputs, rank, count, words, body):
                return
            self._leave_unknown(out.buffer, inputs)
        self.ops.append(Op(opcode, out, tuple(inputs), rank, count, (*grains, 1), words, body, self.origin))

    def _computed(
        self,
        opcode: Opcode,
        out: Tensor,
        inputs: Sequence[Tensor],
        rank: int,
        count: int,
        imm: tuple[int, ...],
        body: tuple[int, ...],
    ) -> bool:
        """Computes the operation now; False where that does not go. Raises `Refuse` if it would fail at every run."""
        if not all(tensor.is_constant for tensor in inputs):
            return False
        if count < fold.WORK_LIMIT < fold.work_of(opcode, inputs, count, imm, body):
            return False
        status = fold.run(opcode, out, inputs, rank, count, imm, body)
        if status == fold.INDEX_OUT_OF_RANGE:
            raise Refuse("an index that is known, and names an element that is not there")
        out.buffer.is_written = out.buffer.is_written or status == 0
        return status == 0

    def _leave_unknown(self, buffer: Buffer, inputs: Sequence[Tensor]) -> None:
        """What is in `buffer` will be known when the model runs; what was computed already is copied there."""
        before, buffer.values = buffer.values, None
        buffer.depends = buffer.depends.union(*(tensor.buffer.depends for tensor in inputs))
        if buffer.is_written and before is not None:
            self.copy(Tensor(buffer, (buffer.size,), (1,)), self.constant(before))

    def _folds(self, shape: Shape, dtype: DType, *sources: Tensor) -> bool:
        """Whether a constant of this size is worth its bytes: small, or no larger than what it is made of."""
        count = prod(shape)
        bytes_limit = max(FOLD_LIMIT_BYTES, *(t.buffer.size * t.dtype.width for t in sources))
        return count * dtype.width <= bytes_limit or count <= max(t.buffer.size for t in sources)

    def _common(self, *tensors: Tensor) -> Shape:
        return self._broadcast(*(t.shape for t in tensors))

    def _broadcast(self, *shapes: Shape) -> Shape:
        try:
            return broadcast_shapes(*shapes)
        except ValueError as error:
            raise Refuse(str(error)) from None


def _corners(dims: Shape, views: Sequence[Tensor], strides: Sequence[Shape]) -> Iterator[list[Tensor]]:
    """The views moved to each index of `dims`, in order."""
    for index in product(*map(range, dims)):
        yield [
            Tensor(v.buffer, v.shape, v.strides, v.offset + sum(i * s for i, s in zip(index, row, strict=True)))
            for v, row in zip(views, strides, strict=True)
        ]
