"""Operators that make one element of many: reductions, arg-reductions, cumulative sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.exact import logarithm, square_root
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.lower.shape import known_axes
from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.tensor import Shape, Tensor

Reducer = Callable[[Builder, Tensor, tuple[int, ...]], Tensor]
"""Reduces over axes, which stay with a size of 1."""


def _wide(g: Builder, x: Tensor) -> Tensor:
    """Integers of 64 bits, so that sums of smaller ones do not wrap on the way."""
    return x if x.dtype is DType.U64 else g.cast(x, DType.I64)


def _mean(g: Builder, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return g.cast(g.reduce_mean(_wide(g, x), axes), x.dtype) if x.dtype.is_integer else g.reduce_mean(x, axes)


def _l2(g: Builder, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    if x.dtype.is_integer:
        return g.cast(square_root(g, g.reduce_sum(g.square(_wide(g, x)), axes)), x.dtype)
    return g.sqrt(g.reduce_sum(g.square(x), axes))


def _log_sum_exp(g: Builder, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The greatest is taken out before exp, so that nothing overflows; an infinite one is left in."""
    if x.dtype.is_integer:
        return _integer_log_sum_exp(g, x, axes)
    greatest = g.reduce_max(x, axes)
    finite = g.less(g.absolute(greatest), float("inf"))
    shift = g.choose(finite, greatest, 0)
    return g.add(g.log(g.reduce_sum(g.exp(g.sub(x, shift)), axes)), shift)


def _log_sum(g: Builder, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    if x.dtype.is_integer:
        return g.cast(logarithm(g, g.reduce_sum(_wide(g, x), axes)), x.dtype, saturate=True)
    return g.log(g.reduce_sum(x, axes))


def _integer_log_sum_exp(g: Builder, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The greatest, which stays exact, plus the logarithm of the others' share; the fraction is cut off."""
    wide = _wide(g, x)
    greatest = g.reduce_max(wide, axes)
    if not all(x.shape[d] for d in axes):  # minus infinity, as an integer
        least = int(np.iinfo(x.dtype.numpy).min)
        return g.filled(greatest.shape, least, x.dtype)
    share = g.log(g.reduce_sum(g.exp(g.negate(g.cast(g.sub(greatest, wide), DType.F32))), axes))
    whole = g.cast(g.floor(share), wide.dtype)
    down = g.add(greatest, whole)
    if not wide.dtype.is_signed:
        return g.cast(down, x.dtype)
    up = g.both(g.less(down, 0), g.less(g.floor(share), share))
    return g.cast(g.add(down, g.cast(up, wide.dtype)), x.dtype)


def _extreme(g: Builder, x: Tensor, axes: tuple[int, ...], function: str) -> Tensor:
    """The greatest or least; of bool, whether any or all hold."""
    if x.dtype is DType.BOOL:
        return g.cast(_extreme(g, g.cast(x, DType.U8), axes, function), DType.BOOL)
    return g.reduce_max(x, axes) if function == "max" else g.reduce_min(x, axes)


_REDUCERS: dict[str, Reducer] = {
    "ReduceSum": lambda g, x, axes: g.reduce_sum(x, axes),
    "ReduceProd": lambda g, x, axes: g.reduce_prod(x, axes),
    "ReduceMean": _mean,
    "ReduceMax": lambda g, x, axes: _extreme(g, x, axes, "max"),
    "ReduceMin": lambda g, x, axes: _extreme(g, x, axes, "min"),
    "ReduceL1": lambda g, x, axes: g.reduce_sum(g.absolute(x), axes),
    "ReduceL2": _l2,
    "ReduceSumSquare": lambda g, x, axes: g.reduce_sum(g.square(x), axes),
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": _log_sum_exp,
}


def _reducer(name: str, reducer: Reducer) -> None:
    def reduced(g: Builder, x: Tensor, over: tuple[int, ...], keepdims: int) -> Tensor:
        result = reducer(g, x, over) if over else reducer(g, x.with_axis(0), (0,)).without(0)
        for d in () if keepdims else reversed(over):
            result = result.without(d)
        return result

    # Axes became an input in version 18 (ReduceSum: 13); since then none may also mean "leave it alone".
    @lowers(name, since=13 if name == "ReduceSum" else 18, in_f32=True)
    def lower(
        g: Builder, x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        over = known_axes(g, axes, x.rank)
        if not over:
            over = () if noop_with_empty_axes else tuple(range(x.rank))
        return reduced(g, x, over, keepdims)

    @lowers(name, in_f32=True)
    def lower_1(g: Builder, x: Tensor, *, axes: Shape | None = None, keepdims: int = 1) -> Tensor:
        return reduced(g, x, g.axes(x, axes or None), keepdims)


for _name, _function in _REDUCERS.items():
    _reducer(_name, _function)


def _arg(name: str, function: Reduction) -> None:
    @lowers(name)
    def lower(g: Builder, x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        along = g.axis(x, axis)
        index = g.argreduce(function, x, along, last=bool(select_last_index))
        return index.with_axis(along) if keepdims else index


_arg("ArgMax", Reduction.MAX)
_arg("ArgMin", Reduction.MIN)


def _cumulative(name: str, function: Reduction) -> None:
    @lowers(name, in_f32=True)
    def lower(g: Builder, x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
        along = g.axis(x, g.known_number(axis, "the axis"))
        return g.scan(function, x, along, exclusive=bool(exclusive), reverse=bool(reverse))


_cumulative("CumSum", Reduction.SUM)
_cumulative("CumProd", Reduction.PROD)
