"""
Operators that read a tensor between its elements, at places that are computed when running.

`sample` is what they share: the value of x[...][channel][spatial] at float coordinates, by interpolation of its
neighbours. GridSample, RoiAlign and DeformConv differ in how they come by the coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod

import numpy as np

from opml_dispute.model.builder import MOST_COMPUTED, Builder
from opml_dispute.model.emitter import Places
from opml_dispute.model.lower.convolution import conv_windows
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import Binary, DType, Pooling, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor
from opml_dispute.model.windows import Windows


def _corner(g: Builder, x: Tensor, batch: Tensor | None, at: Sequence[Tensor]) -> Tensor:
    """
    x[n][:][at] for each point: [rows][channels][points].

    `at` holds one int64[rows][points] per spatial dimension, all inside. Row r reads batch entry `batch[r]`, or r.
    """
    rows, points = at[0].shape
    if batch is None and rows != x.shape[0]:
        raise Refuse(f"coordinates for {rows} batch entries of {x.shape[0]}")
    index = g.contiguous(g.stack(list(at), 2))
    strides, sizes, step = x.strides[2:], x.shape[2:], 1
    data = (0 if batch is not None else x.strides[0], x.strides[1], 0)
    if batch is not None:
        first = batch.with_axis(1).with_axis(2).broadcast((rows, points, 1))
        index = g.contiguous(g.concat([first, index], 2))
        strides, sizes = (x.strides[0], *strides), (x.shape[0], *sizes)
    q = len(sizes)
    return g.gather(x, data, index, (points * q, 0, q), (rows, x.shape[1], points), Places(strides, sizes, step))


def _cubic_weights(g: Builder, f: Tensor, a: float = -0.75) -> list[Tensor]:
    """Keys' kernel for the four neighbours of a point `f` (0 to 1) behind the second."""

    def near(d: Tensor) -> Tensor:
        return g.add(g.mul(g.sub(g.mul(d, a + 2), a + 3), g.square(d)), 1)

    def far(d: Tensor) -> Tensor:
        return g.sub(g.mul(g.add(g.mul(g.sub(g.mul(d, a), 5 * a), d), 8 * a), d), 4 * a)

    return [far(g.add(f, 1)), near(f), near(g.sub(1, f)), far(g.sub(2, f))]


def _reflected(g: Builder, x: Tensor, low: float, high: float) -> Tensor:
    """x mirrored at `low` and `high` until it lies between them."""
    span = high - low
    if span <= 0:
        return g.mul(x, 0)
    away = g.binary(Binary.FMOD, g.absolute(g.sub(x, low)), g.scalar(2 * span, x.dtype))
    return g.add(g.minimum(away, g.sub(2 * span, away)), low)


def sample(
    g: Builder,
    x: Tensor,
    coordinates: Sequence[Tensor],
    *,
    mode: str,
    padding: str,
    align_corners: bool,
    batch: Tensor | None = None,
) -> Tensor:
    """
    x at the coordinates (f32[rows][points] per spatial dimension, in elements): f32[rows][channels][points].

    `mode` is nearest, linear or cubic. Outside there is nothing ("zeros"), the outermost elements ("border"), or the
    tensor mirrored ("reflection").
    """
    shares = _shares(g, x, coordinates, mode=mode, padding=padding, align_corners=align_corners, batch=batch)
    return reduce(g.add, shares)


def _shares(
    g: Builder,
    x: Tensor,
    coordinates: Sequence[Tensor],
    *,
    mode: str,
    padding: str,
    align_corners: bool,
    batch: Tensor | None = None,
) -> list[Tensor]:
    """What each neighbour of the points of `sample` gives to their values: as many as the mode has neighbours."""
    taps: list[list[tuple[Tensor, Tensor | None, Tensor | None]]] = []  # place, weight, is inside
    for size, at in zip(x.shape[2:], coordinates, strict=True):
        low, high = (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)
        if mode == "nearest":
            at = g.unary(Unary.ROUND, at)
        if padding == "border" and mode != "cubic":  # else the neighbours are held inside, one by one
            at = g.clipped(at, 0, size - 1)
        elif padding == "reflection":
            at = _reflected(g, at, low, high)
        # Far outside is as good as just outside, and fits an integer.
        at = g.clipped(at, -8.0, size + 8.0)
        below = at if mode == "nearest" else g.floor(at)
        behind = None if mode == "nearest" else g.sub(at, below)
        if behind is None:
            steps: list[tuple[int, Tensor | None]] = [(0, None)]
        elif mode == "linear":
            steps = [(0, g.sub(1, behind)), (1, behind)]
        else:
            steps = list(zip((-1, 0, 1, 2), _cubic_weights(g, behind), strict=True))
        axis = []
        for step, weight in steps:
            place = g.add(below, step) if step else below
            inside = None
            if padding == "zeros":
                inside = g.both(g.less_equal(0, place), g.less_equal(place, size - 1))
            elif padding == "reflection":
                place = _reflected(g, place, low, high)
            place = g.cast(g.clipped(place, 0, size - 1), DType.I64)
            axis.append((place, weight, inside))
        taps.append(axis)
    shares = []
    for corner in product(*taps):
        value = _corner(g, x, batch, [place for place, _, _ in corner])
        share: Tensor | None = None
        for _, part, _ in corner:
            if part is not None:
                share = part if share is None else g.mul(share, part)
        seen: Tensor | None = None
        for _, _, inside in corner:
            if inside is not None:
                seen = inside if seen is None else g.both(seen, inside)
        if seen is not None:
            value = g.choose(seen.with_axis(1), value, 0)
        if share is not None:
            value = g.mul(value, share.with_axis(1))
        shares.append(value)
    return shares


_MODES = {"bilinear": "linear", "bicubic": "cubic", "linear": "linear", "cubic": "cubic", "nearest": "nearest"}


@lowers("GridSample", in_f32=True)
def grid_sample(
    g: Builder,
    x: Tensor,
    grid: Tensor,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Tensor:
    """x[N][C][spatial] at grid[N][points...][dimension], whose -1..1 spans x, the last dimension first."""
    if mode not in _MODES or padding_mode not in ("zeros", "border", "reflection"):
        raise Refuse(f"mode {mode!r} with padding_mode {padding_mode!r}, which is unknown")
    rank, n, points = x.rank - 2, x.shape[0] if x.rank else 0, prod(grid.shape[1:-1])
    if rank < 1 or grid.rank != x.rank or grid.shape[0] != n or grid.shape[-1] != rank:
        raise Refuse(f"a grid {list(grid.shape)} for {list(x.shape)}")
    coordinates = []
    for d, size in enumerate(x.shape[2:]):
        at = g.reshape(grid.picked(grid.rank - 1, rank - 1 - d), (n, points))
        if align_corners:
            coordinates.append(g.mul(g.add(at, 1), (size - 1) / 2))
        else:
            coordinates.append(g.div(g.sub(g.mul(g.add(at, 1), size), 1), 2))
    if not prod(x.shape[2:]) and padding_mode == "zeros":  # all is outside
        return g.filled((n, x.shape[1], *grid.shape[1:-1]), 0, x.dtype)
    y = sample(g, x, coordinates, mode=_MODES[mode], padding=padding_mode, align_corners=bool(align_corners))
    return g.reshape(y, (n, x.shape[1], *grid.shape[1:-1]))


@lowers("AffineGrid", in_f32=True)
def affine_grid(g: Builder, theta: Tensor, size: Tensor, *, align_corners: int = 0) -> Tensor:
    """theta[N][d][d + 1] applied to the grid of an image of `size`: [N][spatial][d], the last dimension first."""
    wanted = g.known_numbers(size, "the image's size")
    if len(wanted) not in (4, 5) or min(wanted) < 0:
        raise Refuse(f"an image of size {wanted}; expected four or five numbers, none below 0")
    batch, _, *sizes = wanted
    spatial = tuple(sizes)
    if theta.shape != (batch, len(spatial), len(spatial) + 1):
        raise Refuse(f"matrices {list(theta.shape)} for {batch} images of {len(spatial)} dimensions")
    g.expect_few(prod(spatial), "points of a grid")
    axes = []
    for n in spatial:
        numbers = np.arange(n, dtype=np.float64)
        axes.append(-1 + 2 * numbers / max(n - 1, 1) if align_corners else (2 * numbers + 1) / n - 1)
    grids = np.meshgrid(*axes, indexing="ij")
    flat = [grid.reshape(-1) for grid in reversed(grids)]
    points = np.stack([*flat, np.ones_like(flat[0])], axis=1).astype(np.float32)
    grid = g.contract(g.constant(points), theta.transposed((0, 2, 1)))
    return g.reshape(grid, (theta.shape[0], *spatial, len(spatial)))


@lowers("RoiAlign", since=16, in_f32=True)
def roi_align(
    g: Builder,
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """The average or maximum of points in each cell of regions [x0 y0 x1 y1] of x[N][C][H][W]."""
    g.expect_rank(x, 4, 4, "the input")
    if min(output_height, output_width) < 1 or sampling_ratio < 0:
        raise Refuse(f"{output_height} times {output_width} cells, sampling_ratio {sampling_ratio}")
    if mode not in ("avg", "max"):
        raise Refuse(f"mode {mode!r}; expected 'avg' or 'max'")
    if rois.rank != 2 or rois.shape[1] != 4 or batch_indices.shape != rois.shape[:1]:
        raise Refuse(f"regions {list(rois.shape)} of entries {list(batch_indices.shape)} of the batch")
    half = coordinate_transformation_mode == "half_pixel"
    corners = g.sub(g.mul(rois, spatial_scale), 0.5 if half else 0.0)
    x0, y0, x1, y1 = (corners.picked(1, i) for i in range(4))
    spans = []
    for start, end, cells in ((y0, y1, output_height), (x0, x1, output_width)):
        extent = g.sub(end, start)
        spans.append(Span(start, extent if half else g.maximum(extent, 1), cells))
    batch = g.bounded(batch_indices, 0, x.shape[0] - 1, "a region's entry of the batch")
    if sampling_ratio > 0:
        return _pooled(g, x, spans, (sampling_ratio, sampling_ratio), batch, mode)
    # Regions whose cells have equally many points are computed at once.
    alike: dict[tuple[int, int], list[int]] = {}
    for region, counts in enumerate(zip(*(span.counts(g) for span in spans), strict=True)):
        alike.setdefault(counts, []).append(region)
    parts = [
        _pooled(g, x, [span.of(g, regions) for span in spans], counts, _rows(g, batch, regions), mode)
        for counts, regions in alike.items()
    ]
    if not parts:
        return g.filled((0, x.shape[1], output_height, output_width), 0, x.dtype)
    order = [region for regions in alike.values() for region in regions]
    return _rows(g, g.concat(parts, 0), [order.index(region) for region in range(len(order))])


def _rows(g: Builder, x: Tensor, rows: Sequence[int]) -> Tensor:
    """The rows of x of these numbers."""
    if list(rows) == list(range(x.shape[0])):
        return x
    g.expect_few(len(rows), "regions in cells of different sizes")
    return g.concat([x.sliced(0, row, 1) for row in rows], 0)


@dataclass(frozen=True)
class Span:
    """Where regions lie along an axis."""

    start: Tensor
    extent: Tensor
    cells: int
    """Parts of equal size that each region is divided into."""

    def counts(self, g: Builder) -> list[int]:
        """How many points a cell of each region has, if the operator's `sampling_ratio` leaves it open."""
        what = "how many points a region's cell has (sampling_ratio 0 derives it)"
        known = g.known(self.extent, what, MOST_COMPUTED)
        return [int(count) for count in np.ceil(known / self.cells)]

    def of(self, g: Builder, regions: Sequence[int]) -> Span:
        return Span(_rows(g, self.start, regions), _rows(g, self.extent, regions), self.cells)


def _pooled(g: Builder, x: Tensor, spans: Sequence[Span], counts: tuple[int, int], batch: Tensor, mode: str) -> Tensor:
    """
    RoiAlign of regions whose cells have `counts` points along each axis.

    A region that ends before it begins has no points, and gives 0. The maximum is that of what each point's neighbours
    give to its value, not of the values: so ONNX Runtime and ONNX's reference evaluator have it.
    """
    n = batch.shape[0]
    for span, count in zip(spans, counts, strict=True):
        g.expect_few(span.cells * max(count, 1), "points of a region along an axis")
    if min(counts) <= 0:
        return g.filled((n, x.shape[1], *(span.cells for span in spans)), 0, x.dtype)
    axes = []
    for span, count, size in zip(spans, counts, x.shape[2:], strict=True):
        # Point i of cell c lies at start + (c + (i + 0.5) / count) * extent / cells.
        steps = (np.arange(span.cells)[:, None] + (np.arange(count) + 0.5) / count).reshape(-1) / span.cells
        at = g.add(span.start.with_axis(1), g.mul(span.extent.with_axis(1), g.constant(steps.astype(np.float32))))
        axes.append((at, g.either(g.less(at, -1), g.less(size, at))))
    (y, y_out), (z, z_out) = axes
    shape = (n, y.shape[1], z.shape[1])
    points = y.shape[1] * z.shape[1]
    coordinates = [
        g.reshape(y.with_axis(2).broadcast(shape), (n, points)),
        g.reshape(z.with_axis(1).broadcast(shape), (n, points)),
    ]
    shares = _shares(g, x, coordinates, mode="linear", padding="border", align_corners=True, batch=batch)
    values = reduce(g.add if mode == "avg" else g.maximum, shares)
    beyond = g.reshape(g.either(y_out.with_axis(2), z_out.with_axis(1)).broadcast(shape), (n, 1, points))
    values = g.choose(beyond, 0, values)
    cells, none = (spans[0].cells, spans[1].cells), (0, 0)
    kind = Pooling.AVERAGE if mode == "avg" else Pooling.MAX
    windows = Windows(counts, counts, (1, 1), before=none, after=none, out=cells)
    return g.pool(kind, g.reshape(values, (n, x.shape[1], *shape[1:])), windows)


@lowers("RoiAlign", in_f32=True)
def roi_align_10(
    g: Builder,
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """The first version, which did not shift by half a pixel."""
    return roi_align(
        g, x, rois, batch_indices, mode=mode, output_height=output_height, output_width=output_width,
        sampling_ratio=sampling_ratio, spatial_scale=spatial_scale,
        coordinate_transformation_mode="output_half_pixel",
    )  # fmt: skip


@lowers("DeformConv", in_f32=True)
def deform_conv(
    g: Builder,
    x: Tensor,
    w: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    offset_group: int = 1,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """A convolution whose taps are moved by `offset`[N][groups * taps * 2][out] and weighed by `mask`."""
    if x.rank != 4:
        raise Refuse(f"input {list(x.shape)}; expected two spatial dimensions")
    windows = conv_windows(
        x, w, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides
    )
    n, c, m = x.shape[0], x.shape[1], w.shape[0]
    kernel, out = w.shape[2:], windows.out
    if offset.shape != (n, offset_group * prod(kernel) * 2, *out) or (bias is not None and bias.shape != (m,)):
        given = "" if bias is None else f" and bias {list(bias.shape)}"
        raise Refuse(f"moves {list(offset.shape)}{given} for the result {[n, m, *out]}")
    strides, dilations, pads = strides or (1, 1), dilations or (1, 1), pads or (0, 0, 0, 0)
    taps, points = prod(kernel), prod(out)
    rows, inner = n * offset_group, taps * points
    moves = g.reshape(offset, (n, offset_group, taps, 2, *out))
    coordinates = []
    for d in range(2):
        base = np.arange(kernel[d]).reshape(-1, 1) * dilations[d] + np.arange(out[d]) * strides[d] - pads[d]
        order = (kernel[0], 1, out[0], 1) if d == 0 else (1, kernel[1], 1, out[1])
        grid = np.broadcast_to(base.reshape(order), (*kernel, *out)).reshape(taps, *out)
        at = g.add(moves.picked(3, d), g.constant(np.ascontiguousarray(grid).astype(np.float32)))
        coordinates.append(g.reshape(at, (rows, inner)))
    split = g.reshape(x, (rows, c // offset_group, *x.shape[2:]))
    values = sample(g, split, coordinates, mode="linear", padding="zeros", align_corners=True)
    values = g.reshape(values, (n, offset_group, c // offset_group, taps, points))
    if mask is not None:
        if mask.shape != (n, offset_group * taps, *out):
            raise Refuse(f"a mask {list(mask.shape)}; expected {[n, offset_group * taps, *out]}")
        values = g.mul(values, g.reshape(mask, (n, offset_group, 1, taps, points)))
    per_group = c // group
    values = g.reshape(values, (n, group, per_group * taps, points))
    weights = g.reshape(w, (group, m // group, per_group * taps))
    y = g.reshape(g.contract(weights, values), (n, m, *out))
    return y if bias is None else g.add(y, bias.with_axis(1).with_axis(2))
