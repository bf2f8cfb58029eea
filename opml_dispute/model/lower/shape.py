"""Operators that only look at elements in another shape or order: nearly all of them are views and cost nothing."""

from __future__ import annotations

from itertools import accumulate
from math import prod

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.recorder import MOST_KNOWN
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor


def known_axes(g: Builder, axes: Tensor | None, rank: int) -> tuple[int, ...] | None:
    """Axes given as a tensor, counted from the front of a tensor with `rank` dimensions; None if not given."""
    if axes is None:
        return None
    given = g.known_numbers(g.reshape(axes, (axes.size,)), "the axes")
    if any(not -rank <= axis < rank for axis in given):
        raise Refuse(f"axes {given} of a tensor with {rank} dimensions")
    return tuple(sorted({axis % rank for axis in given}))


@lowers("Flatten")
def flatten(g: Builder, x: Tensor, *, axis: int = 1) -> Tensor:
    """A matrix; its rows are the dimensions before `axis`, which may be the rank itself."""
    if not -x.rank <= axis <= x.rank:
        raise Refuse(f"axis {axis} of a tensor with {x.rank} dimensions")
    return g.flattened(x, axis + x.rank if axis < 0 else axis)


@lowers("Reshape", since=5)
def reshape(g: Builder, x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """-1 stands for what is left over, 0 for the input's own size (or with `allowzero`, for none)."""
    wanted = g.known_numbers(shape, "the new shape")
    return _reshaped(g, x, wanted, bool(allowzero))


@lowers("Reshape")
def reshape_1(g: Builder, x: Tensor, *, shape: Shape, consumed_inputs: object = None) -> Tensor:
    return _reshaped(g, x, list(shape), False)


def _reshaped(g: Builder, x: Tensor, wanted: list[int], allowzero: bool) -> Tensor:
    for d, size in enumerate(wanted):
        if size == 0 and not allowzero:
            if d >= x.rank:
                raise Refuse(f"a 0 in place {d} of the new shape {wanted}, of an input with {x.rank} dimensions")
            wanted[d] = x.shape[d]
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
        raise Refuse(f"the new shape {wanted}; expected sizes and at most one -1")
    if -1 in wanted:
        rest = prod(size for size in wanted if size != -1)
        if not rest or x.size % rest:
            raise Refuse(f"cannot reshape {list(x.shape)} ({x.size} elements) to {wanted}")
        wanted[wanted.index(-1)] = x.size // rest
    return g.reshape(x, wanted)


@lowers("Transpose")
def transpose(g: Builder, x: Tensor, *, perm: Shape | None = None) -> Tensor:
    order = tuple(reversed(range(x.rank))) if perm is None else tuple(perm)
    if sorted(order) != list(range(x.rank)):
        raise Refuse(f"the order {list(order)} of {x.rank} dimensions")
    return x.transposed(order)


@lowers("Squeeze", since=13)
def squeeze(g: Builder, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return _squeezed(x, known_axes(g, axes, x.rank))


@lowers("Squeeze")
def squeeze_1(g: Builder, x: Tensor, *, axes: Shape | None = None) -> Tensor:
    return _squeezed(x, None if axes is None else g.axes(x, axes))


def _squeezed(x: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    if axes is None:
        axes = tuple(d for d, size in enumerate(x.shape) if size == 1)
    for d in reversed(axes):
        if x.shape[d] != 1:
            raise Refuse(f"cannot squeeze dimension {d} of {list(x.shape)}; expected a size of 1")
        x = x.without(d)
    return x


@lowers("Unsqueeze", since=13)
def unsqueeze(g: Builder, x: Tensor, axes: Tensor) -> Tensor:
    return _unsqueezed(x, g.known_numbers(g.reshape(axes, (axes.size,)), "the axes"))


@lowers("Unsqueeze")
def unsqueeze_1(g: Builder, x: Tensor, *, axes: Shape) -> Tensor:
    return _unsqueezed(x, list(axes))


def _unsqueezed(x: Tensor, axes: list[int]) -> Tensor:
    rank = x.rank + len(axes)
    if rank > MOST_KNOWN:
        raise Refuse(f"a tensor of {rank:,} dimensions; expected {MOST_KNOWN} at most")
    places = sorted({axis % rank for axis in axes if -rank <= axis < rank})
    if len(places) != len(axes):
        raise Refuse(f"new dimensions at {axes} of a tensor with {rank}")
    for d in places:
        x = x.with_axis(d)
    return x


@lowers("Expand")
def expand(g: Builder, x: Tensor, shape: Tensor) -> Tensor:
    wanted = tuple(g.known_numbers(shape, "the shape"))
    return x.broadcast(g.common_shape(x.shape, wanted))


@lowers("Tile", since=6)
def tile(g: Builder, x: Tensor, repeats: Tensor) -> Tensor:
    """Each dimension gets one before it that does not move: repeating is a view until it is reshaped."""
    times = g.known_numbers(repeats, "the repeats")
    if len(times) != x.rank:
        raise Refuse(f"{len(times)} repeats of {x.rank} dimensions")
    shape = tuple(n * size for n, size in zip(times, x.shape, strict=True))
    for d in reversed(range(x.rank)):
        x = x.with_axis(d)
    spread = tuple(size for d, n in enumerate(times) for size in (n, x.shape[2 * d + 1]))
    return g.reshape(x.broadcast(spread), shape)


@lowers("Tile")
def tile_1(g: Builder, x: Tensor, tiles: Tensor, axis: Tensor) -> Tensor:
    """The first version, which repeats along one axis."""
    times = g.known_number(tiles, "the repeats")
    along = g.axis(x, g.known_number(axis, "the axis"))
    repeats = [times if d == along else 1 for d in range(x.rank)]
    return tile(g, x, g.constant(np.array(repeats, np.int64)))


@lowers("Slice", since=10)
def slice_(
    g: Builder,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, last = g.known_numbers(starts, "where the slice starts"), g.known_numbers(ends, "where the slice ends")
    along = g.known_numbers(axes, "the axes") if axes is not None else list(range(len(first)))
    strides = g.known_numbers(steps, "the steps") if steps is not None else [1] * len(first)
    return _sliced(g, x, first, last, along, strides)


@lowers("Slice")
def slice_1(g: Builder, x: Tensor, *, starts: Shape, ends: Shape, axes: Shape | None = None) -> Tensor:
    along = list(axes) if axes is not None else list(range(len(starts)))
    return _sliced(g, x, list(starts), list(ends), along, [1] * len(starts))


def _sliced(g: Builder, x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Tensor:
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise Refuse(f"a slice from {starts} to {ends} by {steps} along {axes}")
    for start, end, d, step in zip(starts, ends, g.distinct_axes(x, axes), steps, strict=True):
        size = x.shape[d]
        # Python's own slices clamp as ONNX's do, but for those that go backwards: ONNX's begin at the first element at
        # the earliest, and end before it.
        first, last = (max(start, -size), None if end < -size else end) if step < 0 else (start, end)
        places = range(*slice(first, last, step).indices(size))
        x = x.sliced(d, places.start, len(places), step)
    return x


@lowers("Split", since=13)
def split(
    g: Builder,
    x: Tensor,
    sizes: Tensor | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    output_count: int,
) -> tuple[Tensor, ...]:
    given = None if sizes is None else g.known_numbers(sizes, "the sizes of the parts", max(output_count, MOST_KNOWN))
    if num_outputs is not None and num_outputs != output_count:
        raise Refuse(f"num_outputs {num_outputs} for {output_count} outputs")
    if g.origin.opset >= 18 and (given is None) == (num_outputs is None):
        raise Refuse("both sizes of the parts and num_outputs, or neither; expected one of them")
    return split_by(g, x, given, g.axis(x, axis), output_count)


@lowers("Split")
def split_1(
    g: Builder, x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, split: Shape | None = None, output_count: int
) -> tuple[Tensor, ...]:
    if sizes is not None:
        split = tuple(g.known_numbers(sizes, "the sizes of the parts", max(output_count, MOST_KNOWN)))
    return split_by(g, x, None if split is None else list(split), g.axis(x, axis), output_count)


def split_by(g: Builder, x: Tensor, sizes: list[int] | None, axis: int, count: int) -> tuple[Tensor, ...]:
    """Parts of the given sizes, or `count` equal ones, of which the last may be smaller."""
    total = x.shape[axis]
    if sizes is None:
        if g.origin.op_type == "Split" and g.origin.opset < 18 and total % count:
            raise Refuse(f"{count:,} equal parts of {total:,} elements")
        each = -(-total // count)
        g.expect_few(count, "parts")
        sizes = [max(0, min(each, total - i * each)) for i in range(count)]
    elif len(sizes) != count:
        raise Refuse(f"{len(sizes):,} sizes for {count:,} parts")
    if sum(sizes) != total or min(sizes, default=0) < 0:
        found = str(sizes) if len(sizes) <= MOST_KNOWN else f"{sum(sizes):,} elements in {len(sizes):,} parts"
        raise Refuse(f"parts of {found} from a dimension of {total}")
    starts = accumulate(sizes, initial=0)
    return tuple(x.sliced(axis, start, size) for start, size in zip(starts, sizes, strict=False))


@lowers("Concat", since=4)
def concat(g: Builder, *xs: Tensor, axis: int) -> Tensor:
    return g.concat(xs, g.axis(xs[0], axis))


@lowers("Concat")
def concat_1(g: Builder, *xs: Tensor, axis: int = 1) -> Tensor:
    return g.concat(xs, g.axis(xs[0], axis))


@lowers("DepthToSpace")
def depth_to_space(g: Builder, x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """[N][C][H][W] -> [N][C / b^2][H b][W b]."""
    if x.rank != 4 or blocksize < 1 or x.shape[1] % blocksize**2:
        raise Refuse(f"blocks of {blocksize} from {list(x.shape)}")
    n, c, h, w = x.shape
    b, depth = blocksize, c // blocksize**2
    if mode == "DCR":
        y = g.reshape(x, (n, b, b, depth, h, w)).transposed((0, 3, 4, 1, 5, 2))
    elif mode == "CRD":
        y = g.reshape(x, (n, depth, b, b, h, w)).transposed((0, 1, 4, 2, 5, 3))
    else:
        raise Refuse(f"mode {mode!r}; expected 'DCR' or 'CRD'")
    return g.reshape(y, (n, depth, h * b, w * b))


@lowers("SpaceToDepth")
def space_to_depth(g: Builder, x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """[N][C][H][W] -> [N][C b^2][H / b][W / b]."""
    if x.rank != 4 or blocksize < 1 or x.shape[2] % blocksize or x.shape[3] % blocksize:
        raise Refuse(f"blocks of {blocksize} from {list(x.shape)}")
    n, c, h, w = x.shape
    b = blocksize
    order = (0, 1, 3, 5, 2, 4) if mode == "CRD" else (0, 3, 5, 1, 2, 4)
    y = g.reshape(x, (n, c, h // b, b, w // b, b)).transposed(order)
    return g.reshape(y, (n, c * b * b, h // b, w // b))


@lowers("CenterCropPad")
def center_crop_pad(g: Builder, x: Tensor, shape: Tensor, *, axes: Shape | None = None) -> Tensor:
    """Each of `axes` cut down or padded with zeros to the wanted size, the middle staying in the middle."""
    wanted = g.known_numbers(shape, "the shape")
    along = g.distinct_axes(x, axes)
    before, after = [0] * x.rank, [0] * x.rank
    if len(wanted) != len(along):
        raise Refuse(f"sizes {wanted} of {len(along)} axes; expected one for each")
    for d, size in zip(along, wanted, strict=True):
        missing = size - x.shape[d]
        # Of an odd number of elements, one more goes at the end, or is cut there.
        before[d] = missing // 2 if missing >= 0 else -(-missing // 2)
        after[d] = missing - before[d]
    return g.pad(x, before, after)
