"""Operators that name places: gathering, scattering, sorting, one-hot."""

from __future__ import annotations

from opml_dispute.model.builder import Builder
from opml_dispute.model.emitter import Places
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

_REDUCTIONS = {
    "none": Reduction.NONE,
    "add": Reduction.SUM,
    "mul": Reduction.PROD,
    "max": Reduction.MAX,
    "min": Reduction.MIN,
}


_OF_BOOL = {Reduction.SUM: "max", Reduction.MAX: "max", Reduction.PROD: "min", Reduction.MIN: "min"}
"""What a reduction of bools is of 0 and 1: any, or all."""


def _reduction(name: str) -> Reduction:
    if name not in _REDUCTIONS:
        raise Refuse(f"reduction {name!r}; expected one of {', '.join(_REDUCTIONS)}")
    return _REDUCTIONS[name]


@lowers("Gather")
def gather(g: Builder, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return g.take(x, indices, g.axis(x, axis))


@lowers("GatherElements")
def gather_elements(g: Builder, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return g.take_along(x, indices, g.axis(x, axis))


@lowers("GatherND")
def gather_nd(g: Builder, x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """x[batch][place...] for each place; what a place leaves open is taken whole."""
    index = g.index(indices)
    b, q = batch_dims, index.shape[-1] if index.rank else 0
    rest = x.rank - b - q
    if not 0 <= b < index.rank or x.shape[:b] != index.shape[:b] or rest < 0:
        raise Refuse(f"places {list(indices.shape)} in {list(x.shape)} with {b} batch dimensions")
    if q == 0:
        return x.broadcast(index.shape[:-1] + x.shape)
    shape = (*index.shape[:-1], *x.shape[b + q :])
    data = (*x.strides[:b], *(0,) * (index.rank - 1 - b), *x.strides[b + q :])
    rows = (*index.strides[:-1], *(0,) * rest)
    places = Places(x.strides[b : b + q], x.shape[b : b + q], index.strides[-1])
    return g.gather(x, data, index, rows, shape, places)


def _copied(g: Builder, x: Tensor, *sources: Tensor) -> Tensor:
    """A copy of `x` that may be changed."""
    out = g.made(x.dtype, x.shape, x, *sources)
    g.copy(out, x)
    return out


@lowers("ScatterElements", "Scatter")
def scatter_elements(
    g: Builder, x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    """A copy of x in which each update stands at its own place, except along `axis`, where indices says."""
    along, how = g.axis(x, axis), _reduction(reduction)
    if x.dtype is DType.BOOL and how is not Reduction.NONE:
        bits = [g.cast(t, DType.U8) for t in (x, updates)]
        whole = scatter_elements(g, bits[0], indices, bits[1], axis=axis, reduction=_OF_BOOL[how])
        return g.cast(whole, DType.BOOL)
    index = g.index(indices)
    if index.shape != updates.shape:
        raise Refuse(f"updates {list(updates.shape)} at {list(indices.shape)}")
    g.check_beside(x, index, along)
    out = _copied(g, x, index, updates)
    stays = (*out.strides[:along], 0, *out.strides[along + 1 :])
    places = Places((out.strides[along],), (x.shape[along],))
    g.scatter(out, stays, updates, index, index.strides, places, how)
    return out


@lowers("ScatterND")
def scatter_nd(g: Builder, x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """A copy of x with each slice of updates at the place that indices names."""
    index, how = g.index(indices), _reduction(reduction)
    if x.dtype is DType.BOOL and how is not Reduction.NONE:
        bits = [g.cast(t, DType.U8) for t in (x, updates)]
        return g.cast(scatter_nd(g, bits[0], indices, bits[1], reduction=_OF_BOOL[how]), DType.BOOL)
    q = index.shape[-1] if index.rank else 0
    if not index.rank or q > x.rank or updates.shape != (*index.shape[:-1], *x.shape[q:]):
        raise Refuse(f"updates {list(updates.shape)} at {list(indices.shape)} in {list(x.shape)}")
    out = _copied(g, x, index, updates)
    if q == 0:
        raise Refuse("places without components")
    stays = (*(0,) * (index.rank - 1), *out.strides[q:])
    rows = (*index.strides[:-1], *(0,) * (x.rank - q))
    g.scatter(out, stays, updates, index, rows, Places(out.strides[:q], x.shape[:q], index.strides[-1]), how)
    return out


@lowers("TensorScatter")
def tensor_scatter(
    g: Builder, x: Tensor, update: Tensor, at: Tensor | None = None, *, axis: int = -2, mode: str = "linear"
) -> Tensor:
    """A cache x[batch][...] with update written along `axis` from at[batch] on; "circular" goes round."""
    along = g.axis(x, axis)
    if mode not in ("linear", "circular") or along == 0:
        raise Refuse(f"mode {mode!r} along axis {axis}; expected 'linear' or 'circular', and not the batch")
    others = [shape[:along] + shape[along + 1 :] for shape in (x.shape, update.shape)]
    if others[0] != others[1] or update.shape[along] > x.shape[along]:
        raise Refuse(f"an update {list(update.shape)} of {list(x.shape)} along axis {axis}")
    batch, length = x.shape[0], update.shape[along]
    if at is not None and at.shape != (batch,):
        raise Refuse(f"places {list(at.shape)} of {batch} updates")
    whole = x.shape[along]
    start = g.filled((batch,), 0, DType.I64) if at is None else g.index(at)
    if mode == "linear":
        start = g.bounded(start, 0, whole - length, "where an update is written")
    elif at is not None:  # a sum with a number near the ends of int64 would wrap
        start = _remainder(g, start, whole)
    index = g.add(start.with_axis(1), g.arange(length).with_axis(0))
    if mode == "circular":
        index = _remainder(g, index, whole)
    return written_along(g, x, update, index, along)


def written_along(g: Builder, x: Tensor, update: Tensor, index: Tensor, along: int) -> Tensor:
    """A copy of x[batch][...] with element i of an update along a dimension at place index[batch][i] of it."""
    length = update.shape[along]
    out = _copied(g, x, update, index)
    index = g.contiguous(index)
    rows = tuple(length if d == 0 else int(d == along) for d in range(x.rank))
    stays = (*out.strides[:along], 0, *out.strides[along + 1 :])
    g.scatter(out, stays, update, index, rows, Places((out.strides[along],), (x.shape[along],)), Reduction.NONE)
    return out


def _remainder(g: Builder, index: Tensor, size: int) -> Tensor:
    """The index less a multiple of the size: above -size and below size, which is the same place."""
    return g.sub(index, g.mul(g.div(index, size), size))


@lowers("OneHot")
def one_hot(g: Builder, indices: Tensor, depth: Tensor, values: Tensor, *, axis: int = -1) -> Tensor:
    """values[1] where a new dimension's number equals the index, else values[0]; no index is out of range."""
    size = g.known_number(depth, "the depth")
    index = g.index(indices)
    index = g.select(g.less(index, 0), g.add(index, size), index)
    place = axis + index.rank + 1 if axis < 0 else axis
    if not 0 <= place <= index.rank:
        raise Refuse(f"axis {axis} of {index.rank + 1} dimensions")
    numbers = g.arange(size)
    for _ in range(index.rank - place):
        numbers = numbers.with_axis(numbers.rank)
    off, on = (g.reshape(values, (2,)).picked(0, i) for i in (0, 1))
    return g.select(g.equal(index.with_axis(place), numbers), on, off)


def top_k(g: Builder, x: Tensor, k: int, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:
    """The k greatest (or least) elements in order, and their places; unsorted asks for less than this."""
    along = g.axis(x, axis)
    places = g.topk(x, k, along, largest=bool(largest))
    return g.take_along(x, places, along), places


@lowers("TopK", since=10)
def top_k_10(
    g: Builder, x: Tensor, k: Tensor, *, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Tensor, Tensor]:
    return top_k(g, x, g.known_number(k, "the number of elements"), axis=axis, largest=largest)


@lowers("TopK")
def top_k_1(g: Builder, x: Tensor, *, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    return top_k(g, x, k, axis=axis)


@lowers("ReverseSequence")
def reverse_sequence(g: Builder, x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """The first lengths[b] steps of batch entry b turned around, the rest as it is."""
    if {batch_axis, time_axis} != {0, 1} or x.rank < 2:
        raise Refuse(f"batch_axis {batch_axis} and time_axis {time_axis} of {list(x.shape)}; expected 0 and 1")
    if lengths.shape != x.shape[batch_axis : batch_axis + 1]:
        raise Refuse(f"lengths {list(lengths.shape)} of {x.shape[batch_axis]} sequences")
    held = g.bounded(lengths, 0, x.shape[time_axis], "the length of a sequence")
    return turned_sequences(g, x, held, batch_axis=batch_axis, time_axis=time_axis)


def turned_sequences(g: Builder, x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """As `reverse_sequence`. ASSUMES lengths, int64, of no more steps than there are, and of none below 0."""
    steps = g.arange(x.shape[time_axis]).with_axis(1 - time_axis)
    turned = g.sub(g.sub(lengths.with_axis(1 - batch_axis), 1), steps)
    index = g.select(g.less(turned, 0), steps, turned)
    for _ in range(x.rank - 2):
        index = index.with_axis(index.rank)
    return g.take_along(x, index.broadcast(x.shape), time_axis)


@lowers("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(g: Builder, x: Tensor, columns: Tensor) -> Tensor:
    if not x.rank:
        raise Refuse("columns of a scalar; expected one dimension or more")
    x = x.with_axis(0) if x.rank == 1 else x
    places = g.bounded(columns, 0, x.shape[-1] - 1, "a column")
    return g.take(x, g.reshape(places, (places.size,)), x.rank - 1)
