"""
Operators whose results have as many elements as the data decides: non-zeros, distinct elements, chosen boxes.

Where the data is known, the result is. Elsewhere it gets the room that the model's user allows (`Builder.room`), with
zeros behind the elements that are there, and their number beside it. More elements than there is room for end the
inference with the status of an index out of range: nothing is cut off silently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import Binary, DType, Reduction, Unary
from opml_dispute.model.padding import Sized
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor

_CHOSEN_FROM = "elements to choose from while compiling"

MOST_KEYS = 1 << 10
"""Elements of one slice that `Unique` compares: each of them sorts all slices once."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which elements of a vector were chosen, in order: the first `count` of `places`."""

    places: Tensor
    """int64[room]; zeros from `count` on."""
    present: Tensor
    """bool[room]: before `count`."""
    count: Tensor
    """int64, of rank 0."""

    def padded(self, g: Builder, x: Tensor, axis: int = 0) -> Sized:
        """`x`, whose dimension `axis` has the room, with zeros behind what is there."""
        present = self.present
        for _ in range(x.rank - axis - 1):
            present = present.with_axis(present.rank)
        return Sized(g.select(present, x, g.scalar(0, x.dtype)), self.count, axis)


def within(g: Builder, count: Tensor, room: int) -> Tensor:
    """`count`, int64 of rank 0; where it is above `room`, the inference fails with an index out of range."""
    return g.bounded(count, None, room, "how many elements there are")


def counted(g: Builder, count: Tensor, room: int) -> tuple[Tensor, Tensor]:
    """Which of `room` elements are there, and how many, where no more than `room` may be."""
    held = within(g, count, room)
    return g.less(g.arange(room), held), held


def chosen(g: Builder, held: Tensor, room: int) -> Chosen:
    """The places at which `held`, a vector of bool, is true."""
    size = held.shape[0]
    if size == 0:
        count = g.scalar(0, DType.I64)
        return Chosen(g.filled((room,), 0, DType.I64), g.filled((room,), False, DType.BOOL), count)
    numbers = g.scan(Reduction.SUM, g.cast(held, DType.I64), 0)
    # What is not chosen, and what there is no room for, goes to a place behind the others.
    target = g.select(held, g.minimum(g.sub(numbers, 1), room), g.scalar(room, DType.I64))
    places = g.made(DType.I64, (room + 1,), held)
    g.copy(places, g.scalar(0, DType.I64))
    g.scatter_along(places, 0, target, g.arange(size), Reduction.NONE)
    present, count = counted(g, numbers.picked(0, size - 1), room)
    return Chosen(g.select(present, places.sliced(0, 0, room), g.scalar(0, DType.I64)), present, count)


@lowers("NonZero")
def non_zero(g: Builder, x: Tensor) -> Tensor | Sized:
    """The indices of all elements but zeros, one row a dimension."""
    if x.is_constant or not x.size:
        g.expect_few(x.size, _CHOSEN_FROM)
        # The index of a scalar has no components.
        places = np.nonzero(np.atleast_1d(x.values() if x.size else np.zeros(x.shape, np.bool_)))
        return g.constant(np.array(places, np.int64)[: x.rank])
    room = g.room("how many elements are not zero", x)
    flat = g.reshape(x, (x.size,))
    found = chosen(g, flat if x.dtype is DType.BOOL else g.invert(g.equal(flat, 0)), room)
    rows = [_component(g, found.places, x.shape, d) for d in range(x.rank)]
    if not rows:
        return Sized(g.filled((0, room), 0, DType.I64), found.count, 1)
    return Sized(g.stack(rows, 0), found.count, 1)


def _component(g: Builder, places: Tensor, shape: tuple[int, ...], d: int) -> Tensor:
    """Index number `d` of places that count the elements of `shape` row by row; 0 stays 0."""
    step, size = int(np.prod(shape[d + 1 :], dtype=np.int64)), max(shape[d], 1)
    whole = g.div(places, max(step, 1))
    return g.sub(whole, g.mul(g.div(whole, size), size))


@lowers("Compress")
def compress(g: Builder, x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor | Sized:
    """The slices along `axis` for which the condition holds."""
    if axis is None:
        x, along = g.reshape(x, (x.size,)), 0
    else:
        along = g.axis(x, axis)
    if condition.is_constant:
        g.expect_few(condition.size, _CHOSEN_FROM)
        kept = np.flatnonzero(condition.values())
        return g.take(x, g.constant(kept.astype(np.int64)), along)
    if condition.rank != 1 or condition.shape[0] > x.shape[along]:
        raise Refuse(f"a condition {list(condition.shape)} for {x.shape[along]} slices")
    found = chosen(g, condition, g.room("how many slices are kept", condition))
    if x.size == 0:
        shape = tuple(found.places.shape[0] if d == along else size for d, size in enumerate(x.shape))
        return Sized(g.filled(shape, 0, x.dtype), found.count, along)
    return found.padded(g, g.take(x, found.places, along), along)


@lowers("Unique")
def unique(g: Builder, x: Tensor, *, axis: int | None = None, sorted: int = 1) -> tuple[Tensor | Sized, ...]:
    """Distinct elements, or slices along `axis`: they, their first places, the place of each, and how often each is."""
    if axis is None:
        x, along = g.reshape(x, (x.size,)), 0
    else:
        along = g.axis(x, axis)
    count = x.shape[along]
    if x.is_constant:
        g.expect_few(x.size, _CHOSEN_FROM)
        return tuple(g.constant(part) for part in _distinct(x.values(), along, bool(sorted)))
    room = g.room("how many different elements there are", x)
    order = [along, *(d for d in range(x.rank) if d != along)]
    keys = g.flattened(g.contiguous(x.transposed(order)), 1) if count else None
    if keys is None or not count:
        raise Refuse("the different elements of an empty tensor; expected at least one element")
    places, first = _sorted(g, keys)
    group = g.sub(g.scan(Reduction.SUM, g.cast(first, DType.I64), 0), 1)
    found = chosen(g, first, room)
    # The first place of each group: of equals the sort keeps the order, but +0 and -0 are equals that it tells apart.
    earliest = g.new(DType.I64, (count,), x)
    g.copy(earliest, g.scalar(count, DType.I64))
    g.scatter_along(earliest, 0, group, places, Reduction.MIN)
    begins = g.select(found.present, found.places, g.scalar(count, DType.I64))
    ends = g.concat([begins.sliced(0, 1, room - 1), g.filled((1,), count, DType.I64)], 0)
    lengths = g.sub(ends, begins)
    heads = _fitted(g, earliest, room, count)
    if not sorted:
        heads, lengths, group = _by_first_place(g, heads, lengths, group)
    inverse = g.new(DType.I64, (count,), x)
    g.copy(inverse, g.scalar(0, DType.I64))
    g.scatter_along(inverse, 0, places, group, Reduction.NONE)
    heads = g.select(found.present, heads, g.scalar(0, DType.I64))
    values = found.padded(g, g.take(x, heads, along), along)
    return values, found.padded(g, heads), inverse, found.padded(g, lengths)


def _distinct(values: Array, axis: int, in_order: bool) -> list[Array]:
    """As `unique`, of what is known."""
    found = np.unique(values, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    distinct, first, inverse, counts = found[0], found[1], found[2].reshape(-1), found[3]
    if not in_order:
        order = np.argsort(first, kind="stable")
        names = np.empty_like(order)
        names[order] = np.arange(order.size)
        distinct, first, inverse, counts = np.take(distinct, order, axis), first[order], names[inverse], counts[order]
    return [distinct, *(part.astype(np.int64) for part in (first, inverse, counts))]


def _fitted(g: Builder, x: Tensor, room: int, value: int) -> Tensor:
    """The vector `x` with `room` elements: cut, or with `value` behind it."""
    size = x.shape[0]
    return x.sliced(0, 0, room) if room <= size else g.pad(x, (0,), (room - size,), value)


def _sorted(g: Builder, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Rows in ascending order, the first column counting most: their numbers, and which are unlike the one before."""
    count, width = keys.shape
    if width > MOST_KEYS:
        raise Refuse(f"slices of {width:,} elements; expected at most {MOST_KEYS:,}")
    if keys.dtype is DType.BOOL:
        keys = g.cast(keys, DType.U8)
    places = g.arange(count)
    for column in reversed(range(width)):
        key = g.take(keys.picked(1, column), places, 0)
        places = g.take(places, g.topk(key, count, 0, largest=False), 0)
    rows = g.take(keys, places, 0)
    before, after = rows.sliced(0, 0, count - 1), rows.sliced(0, 1, count - 1)
    same = g.equal(before, after)
    if keys.dtype.is_float:
        same = g.either(same, g.both(g.unary(Unary.ISNAN, before), g.unary(Unary.ISNAN, after)))
    unlike = g.reduce_max(g.cast(g.invert(same), DType.U8), (1,), keepdims=False)
    return places, g.concat([g.filled((1,), True, DType.BOOL), g.cast(unlike, DType.BOOL)], 0)


def _by_first_place(g: Builder, heads: Tensor, lengths: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Groups in the order in which their first elements stand; those that are not there keep to the end."""
    room = heads.shape[0]
    order = g.topk(heads, room, 0, largest=False)
    renamed = g.new(DType.I64, (room,), heads)
    g.copy(renamed, g.scalar(0, DType.I64))
    g.scatter_along(renamed, 0, order, g.arange(room), Reduction.NONE)
    # A group that there is no room for ends the inference elsewhere; here its number only has to exist.
    numbers = g.take(renamed, g.minimum(group, room - 1), 0)
    return g.take(heads, order, 0), g.take(lengths, order, 0), numbers


@lowers("NonMaxSuppression")
def non_max_suppression(
    g: Builder,
    boxes: Tensor,
    scores: Tensor,
    most: Tensor | None = None,
    overlap: Tensor | None = None,
    least_score: Tensor | None = None,
    *,
    center_point_box: int = 0,
) -> Tensor | Sized:
    """
    Boxes in order of their scores, but those that overlap a chosen one too much: rows of (batch, class, box).

    Each round chooses a box in every class at once. As ONNX Runtime does, boxes without an area overlap none.
    """
    if boxes.rank != 3 or scores.rank != 3 or boxes.shape != (scores.shape[0], scores.shape[2], 4):
        raise Refuse(f"boxes {list(boxes.shape)} with scores {list(scores.shape)}")
    if most is None or 0 in scores.shape:
        return g.filled((0, 3), 0, DType.I64)
    given = [t for t in (boxes, scores, most, overlap, least_score) if t is not None]
    limits = (most, overlap, least_score)
    if all(t.is_constant for t in given):
        whole = _suppressed(g, boxes, scores, limits, bool(center_point_box), scores.size)
        if whole.tensor.is_constant and whole.count.is_constant:
            return whole.tensor.sliced(0, 0, int(whole.count.values()))
    room = g.room("how many boxes are chosen", *given)
    return _suppressed(g, boxes, scores, limits, bool(center_point_box), room)


def _suppressed(
    g: Builder,
    boxes: Tensor,
    scores: Tensor,
    limits: tuple[Tensor, Tensor | None, Tensor | None],
    centred: bool,
    room: int,
) -> Sized:
    """The chosen boxes; `limits` are how many a class has at most, the overlap, and the least score."""
    most, overlap, least_score = limits
    _, classes, count = scores.shape
    rounds = min(count, room + 1)  # one more than there is room for, so that a class alone can be too large
    if most.is_constant:
        rounds = min(rounds, max(int(most.values().reshape(())), 0))
    if rounds == 0:
        return Sized(g.filled((room, 3), 0, DType.I64), g.scalar(0, DType.I64), 0)
    order = g.topk(scores, count, 2, largest=True)
    candidate = g.filled(scores.shape, True, DType.BOOL)
    if least_score is not None:
        candidate = g.less(g.reshape(least_score, ()), g.take_along(scores, order, 2))
    corners = _corners(g, boxes, order, centred=centred)
    threshold = g.scalar(0, boxes.dtype) if overlap is None else _share(g, overlap)
    places, held = _rounds(g, corners, candidate, threshold, rounds)
    if not most.is_constant:
        held = g.both(held, g.less(g.arange(rounds), g.reshape(g.index(most), ())))
    picked = g.take_along(order, places, 2)
    found = chosen(g, g.reshape(held, (held.size,)), room)
    row = g.take(g.reshape(picked, (picked.size,)), found.places, 0)
    group = g.div(found.places, rounds)
    batch = g.div(group, classes)
    columns = [batch, g.sub(group, g.mul(batch, classes)), row]
    return found.padded(g, g.stack(columns, 1))


def _share(g: Builder, overlap: Tensor) -> Tensor:
    """The greatest overlap that two boxes may have, 0 to 1: with another, or with NaN, the inference fails."""
    share = g.reshape(overlap, ())
    fits = g.both(g.less_equal(0, share), g.less_equal(share, 1))
    if fits.is_constant:
        if not fits.values():
            raise Refuse(f"an overlap of {float(share.values()):g}; expected 0 to 1")
        return share
    return g.unless(g.invert(fits), share)


def _corners(g: Builder, boxes: Tensor, order: Tensor, *, centred: bool) -> tuple[Tensor, ...]:
    """The least and greatest x and y of every box, in each class in the order of its scores."""
    columns = [boxes.picked(2, i).with_axis(1).broadcast(order.shape) for i in range(4)]
    a, b, c, d = (g.take_along(column, order, 2) for column in columns)
    if centred:
        half_width, half_height = g.div(c, 2), g.div(d, 2)
        return g.sub(a, half_width), g.add(a, half_width), g.sub(b, half_height), g.add(b, half_height)
    return g.minimum(b, d), g.maximum(b, d), g.minimum(a, c), g.maximum(a, c)


def _rounds(
    g: Builder, corners: tuple[Tensor, ...], candidate: Tensor, threshold: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """Per class and round: which box was chosen, and whether any was left."""
    left, right, bottom, top = corners
    area = g.mul(g.sub(right, left), g.sub(top, bottom))
    has_area = g.less(0, area)
    numbers = g.arange(candidate.shape[2])
    places, held = [], []
    for _ in range(rounds):
        place = g.argreduce(Reduction.MAX, g.cast(candidate, DType.U8), 2).with_axis(2)
        held.append(g.take_along(candidate, place, 2))
        places.append(place)
        own = [g.take_along(edge, place, 2) for edge in (*corners, area)]
        width = g.sub(g.minimum(right, own[1]), g.maximum(left, own[0]))
        height = g.sub(g.minimum(top, own[3]), g.maximum(bottom, own[2]))
        shared = g.mul(width, height)
        union = g.sub(g.add(own[4], area), shared)
        meets = g.both(g.both(g.less(0, width), g.less(0, height)), g.less(0, shared))
        real = g.both(g.both(has_area, g.less(0, own[4])), g.less(0, union))
        covered = g.both(g.both(meets, real), g.less(threshold, g.div(shared, union)))
        gone = g.either(covered, g.equal(numbers, place))
        candidate = g.binary(Binary.AND, candidate, g.invert(gone))
    return g.concat(places, 2), g.concat(held, 2)
