"""
The primitive operations of a program under construction: one method per kernel.

Each method checks its operands and records an operation (`recorder`). Views cost nothing (`tensor`); a kernel that
needs packed elements gets them through `contiguous`. What the operators of ONNX mean in these terms is `builder` and
`lower`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from opml_dispute.model.binary64_sums import Binary64Sums
from opml_dispute.model.limits import Meter
from opml_dispute.model.opcodes import Binary, DType, Opcode, Pooling, Reduction, Unary
from opml_dispute.model.record import MAX_RANK, strided_body
from opml_dispute.model.recorder import Recorder
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import MOST_SPREAD_BYTES, Shape, Tensor, broadcast_shapes, merged, row_major
from opml_dispute.model.windows import Windows

PACK_LIMIT_BYTES = MOST_SPREAD_BYTES
"""A constant that a kernel needs packed may be this large: so weights that are one number repeated are weights too, and
not written anew in every run. Larger ones are made when running."""


@dataclass(frozen=True, slots=True)
class Places:
    """How an index tensor names places: each has one component per axis that it moves along."""

    strides: Shape
    """Of the data, per component, in elements."""
    sizes: Shape
    """Of the axes: an index below 0 counts from the end, one outside latches a status."""
    step: int = 0
    """Elements from one component to the next in the index tensor."""


COMPARISONS = frozenset({Binary.EQ, Binary.LT, Binary.LE})
LOGIC = frozenset({Binary.AND, Binary.OR, Binary.XOR})
PREDICATES = frozenset({Unary.ISNAN, Unary.ISINF, Unary.NOT})


class Emitter(Recorder):
    """Records the operations of one program: one method per kernel."""

    def __init__(self, meter: Meter | None = None) -> None:
        super().__init__(meter)
        self._packed: dict[tuple[int, Shape, Shape, int], tuple[Tensor, Tensor]] = {}
        self.narrowed = 0
        """How often binary64 numbers were made binary32."""

    @property
    def wide(self) -> Binary64Sums:
        """
        What stands in for kernels where the numbers are binary64.

        WHY NOT kept: it and the emitter would hold each other, and so all tensors, in memory until a collection.
        """
        return Binary64Sums(self)

    # Moves

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
        if x.dtype is DType.F64:
            return self.wide.unary(function, x, flags)
        dtype = DType.BOOL if function in PREDICATES else x.dtype
        out = self.made(dtype, x.shape, x)
        self._strided(Opcode.UNARY, out, [x], imm=(function, *flags))
        return out

    def binary(self, function: Binary, x: Tensor, y: Tensor, *, out: Tensor | None = None) -> Tensor:
        """
        `function` of each pair, broadcast; bool for comparisons and logic, else the operands' type.

        `out` is the view that takes the result, where it is to be made in a part of a larger tensor.
        """
        if x.dtype is not y.dtype:
            raise Refuse(f"operands of types {x.dtype.name} and {y.dtype.name}; expected one type")
        if (function in LOGIC) != (x.dtype is DType.BOOL) and function is not Binary.EQ:
            raise Refuse(f"{function.name} of {x.dtype.name} operands")
        dtype = DType.BOOL if function in COMPARISONS or function in LOGIC else x.dtype
        shape = self._common(x, y)
        if x.dtype is DType.F64:
            made = self.wide.binary(function, x, y)
            return made if out is None else self._placed(made, out)
        out = self._into(out, dtype, shape, x, y)
        self._strided(Opcode.BINARY, out, [x.broadcast(shape), y.broadcast(shape)], imm=(function,))
        return out

    def select(self, condition: Tensor, x: Tensor, y: Tensor, *, out: Tensor | None = None) -> Tensor:
        """`x` where `condition` (bool) holds, else `y`; broadcast. `out` as for `binary`."""
        if condition.dtype is not DType.BOOL or x.dtype is not y.dtype:
            found = f"{condition.dtype.name}, {x.dtype.name} and {y.dtype.name}"
            raise Refuse(f"a choice by types {found}; expected BOOL and twice one type")
        shape = self._common(condition, x, y)
        operands = [condition, x, y]
        out = self._into(out, x.dtype, shape, *operands)
        self._strided(Opcode.SELECT, out, [t.broadcast(shape) for t in operands])
        return out

    def cast(self, x: Tensor, dtype: DType, *, saturate: bool = False, out: Tensor | None = None) -> Tensor:
        """
        `x` as `dtype`; integers wrap, or saturate if asked to; floats always saturate when made integers.

        `out` is the view that takes the result, where it is to be made in a part of a larger tensor.
        """
        if x.dtype is dtype:
            return x if out is None else self._placed(x, out)
        if DType.F64 in (x.dtype, dtype):
            made = self.wide.of(x) if dtype is DType.F64 else self.wide.to(x, dtype)
            return made if out is None else self._placed(made, out)
        out = self._into(out, dtype, x.shape, x)
        self._strided(Opcode.CAST, out, [x], imm=(int(saturate),))
        return out

    def _placed(self, made: Tensor, out: Tensor) -> Tensor:
        """A result in the view that is to take it."""
        self.copy(out, made)
        return out

    # Contractions and windows

    def contract(
        self,
        a: Tensor,
        b: Tensor,
        bias: Tensor | None = None,
        dtype: DType | None = None,
        *,
        out: Tensor | None = None,
    ) -> Tensor:
        """
        a[..., M, K] times b[..., K, N], batch dimensions broadcast, plus `bias` broadcast to [..., M, N].

        k ascends, one fused multiply-add each, onto +0; the bias is added last (docs/arithmetic.md, "Contractions").
        `out` is the view that takes the result, where it is to be made in a part of a larger tensor.
        """
        if dtype is None and a.dtype.is_integer and a.dtype.width < 4:  # summed in 32 bits, which wrap as the type does
            wide = DType.I32 if a.dtype.is_signed else DType.U32
            return self.cast(self.contract(a, b, bias and self.cast(bias, wide), wide), a.dtype)
        (m, k), (k_b, n) = a.shape[-2:], b.shape[-2:]
        if k != k_b:
            raise Refuse(f"cannot multiply {list(a.shape)} by {list(b.shape)}: {k} columns meet {k_b} rows")
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        if k == 0:  # a sum of nothing, which no record may ask for
            zero = self.filled((*batch, m, n), 0, dtype or a.dtype)
            return zero if bias is None else self.binary(Binary.ADD, zero, bias)
        if a.dtype is DType.F64:
            made = self.wide.contract(a, b, bias)
            return made if out is None else self._placed(made, out)
        sources = [t for t in (a, b, bias) if t is not None]
        out = self._into(out, dtype or a.dtype, (*batch, m, n), *sources)
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
        if bias is not None and bias.shape != w.shape[:1]:
            raise Refuse(f"a bias {list(bias.shape)} for {w.shape[0]} channels; expected one number for each")
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
        if x.dtype is DType.F64:
            return self.wide.reduce(function, x, axes)
        shape = tuple(size for d, size in enumerate(x.shape) if d not in axes)
        out = self.made(x.dtype, shape, x)
        self._along(Opcode.REDUCE, out, out, x, axes, (function,))
        return out

    def argreduce(self, function: Reduction, x: Tensor, axis: int, *, last: bool = False) -> Tensor:
        """Where along `axis` (which disappears) the greatest or least element is: the first, or the last, of equals."""
        if not x.shape[axis]:
            raise Refuse(f"the place of an extreme among no elements (axis {axis} of {list(x.shape)})")
        x = self.wide.ordered(x, largest=function is Reduction.MAX)
        out = self.made(DType.I64, x.shape[:axis] + x.shape[axis + 1 :], x)
        self._along(Opcode.ARGREDUCE, out, out, x, (axis,), (function, int(last)))
        return out

    def topk(self, x: Tensor, k: int, axis: int, *, largest: bool) -> Tensor:
        """Where (int64) along `axis` the `k` greatest or least elements are, in order; of equals the first first."""
        if not 0 <= k <= x.shape[axis]:
            raise Refuse(f"the first {k} of {x.shape[axis]} elements")
        x = self.wide.ordered(x, largest=largest)
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
        if x.dtype is DType.F64:
            return self.wide.scan(function, x, axis, exclusive=exclusive, reverse=reverse)
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
        self,
        x: Tensor,
        data_strides: Shape,
        indices: Tensor,
        index_strides: Shape,
        shape: Shape,
        places: Places,
        *,
        out: Tensor | None = None,
    ) -> Tensor:
        """
        The elements of `x` at the places that `indices` (int64) names, for each point of the output's `shape`.

        Point idx reads x's element sum(idx * data_strides) plus what each component of its place adds; the components
        lie `places.step` elements apart from indices' element sum(idx * index_strides) on. `out` is the view that takes
        them, where they are to lie in a part of a larger tensor.
        """
        out = self._into(out, x.dtype, shape, x, indices)
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
        _expect_known_places(views[2], places)
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

    def _common(self, *tensors: Tensor) -> Shape:
        return broadcast_shapes(*(t.shape for t in tensors))


def _expect_known_places(indices: Tensor, places: Places) -> None:
    """Raises `Refuse` for an index that is known and names an element that is not there: every inference would fail."""
    if not indices.is_constant or not indices.size:
        return
    once = tuple(size if stride else 1 for size, stride in zip(indices.shape, indices.strides, strict=True))
    for component, size in enumerate(places.sizes):
        at = indices.offset + component * places.step
        values = Tensor(indices.buffer, once, indices.strides, at).values()
        if values.min() < -size or values.max() >= size:
            raise Refuse(
                f"an index that is known, and names an element that is not there; expected -{size} to {size - 1}"
            )
