"""
Resize and Upsample, one axis at a time.

The input coordinate of each output, and the weights of its neighbours, depend on sizes only, so they are computed here
(`taps`), in binary64 and with exact operations. The program gathers each tap and adds it up with its weight, or for
nearest neighbours only gathers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor, isclose, isfinite

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType, Unary
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor


def _source(mode: str, size: int, out: int, scale: float, roi: tuple[float, float]) -> Array:
    """The input coordinate of each of `out` outputs along an axis of `size`."""
    x = np.arange(out, dtype=np.float64)
    width = scale * size
    if mode == "align_corners":
        return x * 0 if width == 1 else x * (size - 1) / (width - 1)
    if mode == "asymmetric":
        return x / scale
    if mode == "tf_crop_and_resize":
        start, end = roi
        if width == 1:
            source = x * 0 + (start + end) * (size - 1) / 2
        else:
            source = x * (end - start) * (size - 1) / (width - 1) + start * (size - 1)
        # The region is given in binary32: 0.2 of 5 is element 1, and not a place a little behind it.
        return source.astype(np.float32).astype(np.float64)
    if mode == "pytorch_half_pixel" and out == 1:
        return x * 0
    if mode in ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn"):
        return (x + 0.5) / scale - (0 if mode == "tf_half_pixel_for_nn" else 0.5)
    if mode == "half_pixel_symmetric":
        # The middle of the input stays the middle of the output, even if the size was rounded.
        return size / 2 * (1 - out / width) + (x + 0.5) / scale - 0.5
    raise Refuse(f"coordinate_transformation_mode {mode!r}, which is unknown")


def _cubic(distance: float, a: float) -> float:
    """Keys' kernel."""
    d = abs(distance)
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a if d < 2 else 0.0


def _first(mode: str, scale: float, antialias: bool) -> int:
    """Where a point's neighbours begin, counted from the one before it; they end at 1 less this."""
    return floor(-(1 if mode == "linear" else 2) / (min(scale, 1.0) if antialias else 1.0)) + 1


def _weights(mode: str, ratio: float, scale: float, antialias: bool, a: float) -> list[float]:
    """The weights of the neighbours of a point `ratio` (in (0, 1]) behind one of them."""
    squeeze = min(scale, 1.0) if antialias else 1.0
    first = _first(mode, scale, antialias)
    distances = [squeeze * (i - ratio) for i in range(first, 2 - first)]
    weights = [max(0.0, 1 - abs(d)) if mode == "linear" else _cubic(d, a) for d in distances]
    total = sum(weights)
    return [w / total for w in weights] if antialias else weights


def taps(
    mode: str, x: Array, size: int, scale: float, antialias: bool, a: float, exclude_outside: bool
) -> tuple[Array, Array]:
    """For each coordinate: its neighbours' places, held inside, and their weights: int64[out][n], f64[out][n]."""
    below = np.floor(x)
    # A point that falls on an element counts as lying 1 behind the one before it.
    ratio = np.where(x == below, 1.0, x - below)
    weights = np.array([_weights(mode, float(r), scale, antialias, a) for r in ratio])
    n = weights.shape[1]
    first = below.astype(np.int64) - np.where(x == below, 1, 0) - (n // 2 - 1)
    if n % 2:
        near = np.ceil(x - 0.5).astype(np.int64)
        first = near - (n - 1) // 2
    places = first[:, None] + np.arange(n)
    if exclude_outside:
        weights = np.where((places < 0) | (places >= size), 0, weights)
        total = weights.sum(axis=1, keepdims=True)
        weights = weights / np.where(total == 0, 1, total)
    return np.clip(places, 0, size - 1), weights


SIMPLE = "simple"
"""The rounding of `Upsample` and the first `Resize`: down where an axis grows, up where it shrinks."""


def _nearest(x: Array, size: int, rounding: str) -> Array:
    """The nearest element's place, by ONNX's four ways to round."""
    roundings: dict[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    if rounding not in roundings:
        raise Refuse(f"nearest_mode {rounding!r}; expected one of {', '.join(roundings)}")
    places: Array = np.clip(roundings[rounding](x).astype(np.int64), 0, size - 1)
    return places


def _take_repeated(g: Builder, x: Tensor, axis: int, places: Array) -> Tensor:
    """`Builder.take`; where each element is repeated equally often, that is a view."""
    size = x.shape[axis]
    times, rest = divmod(len(places), size)
    if not rest and np.array_equal(places, np.repeat(np.arange(size), times)):
        spread = (*x.shape[:axis], size, times, *x.shape[axis + 1 :])
        return g.reshape(x.with_axis(axis + 1).broadcast(spread), (*x.shape[:axis], len(places), *x.shape[axis + 1 :]))
    return g.take(x, g.constant(places), axis)


def _along(g: Builder, x: Tensor, axis: int, places: Array, weights: Array) -> Tensor:
    """The weighted sum of neighbours along one axis."""
    total: Tensor | None = None
    for i in range(places.shape[1]):
        if not weights[:, i].any():
            continue
        weight = g.constant(weights[:, i].astype(np.float32))
        for _ in range(x.rank - 1 - axis):
            weight = weight.with_axis(weight.rank)
        part = g.mul(g.take(x, g.constant(places[:, i]), axis), weight)
        total = part if total is None else g.add(total, part)
    assert total is not None
    return total


def _resize(
    g: Builder,
    x: Tensor,
    scales: list[float],
    sizes: list[int],
    rois: list[tuple[float, float]],
    *,
    mode: str,
    transformation: str,
    nearest_mode: str,
    antialias: bool,
    a: float,
    exclude_outside: bool,
    extrapolation: float,
) -> Tensor:
    if mode not in ("nearest", "linear", "cubic"):
        raise Refuse(f"mode {mode!r}; expected 'nearest', 'linear' or 'cubic'")
    dtype = x.dtype
    interpolates = mode != "nearest"
    if interpolates and dtype is not DType.F32:
        x = g.cast(x, DType.F32)
    outside: Tensor | None = None
    for axis, (scale, out, roi) in enumerate(zip(scales, sizes, rois, strict=True)):
        size = x.shape[axis]
        if isclose(scale, 1) and out == size and roi == (0.0, 1.0):
            continue
        if not out:
            x = x.sliced(axis, 0, 0)
            continue
        if not size:
            raise Refuse(f"a size of {size} resized to {out}")
        neighbours = 2 - 2 * _first(mode, scale, antialias) if interpolates else 1
        g.expect_few(out * neighbours, f"neighbours of the {out:,} places along an axis")
        source = _source(transformation, size, out, scale, roi)
        if transformation == "tf_crop_and_resize":
            beyond = g.constant((source < 0) | (source > size - 1))
            for _ in range(x.rank - 1 - axis):
                beyond = beyond.with_axis(beyond.rank)
            outside = beyond if outside is None else g.either(outside, beyond)
        if interpolates:
            x = _along(g, x, axis, *taps(mode, source, size, scale, antialias, a, exclude_outside))
        else:
            rounding = nearest_mode if nearest_mode != SIMPLE else "ceil" if scale < 1 else "floor"
            x = _take_repeated(g, x, axis, _nearest(source, size, rounding))
    if outside is not None:
        x = g.choose(outside, extrapolation, x)
    if x.dtype is not dtype:
        x = g.cast(x if dtype.is_float else g.unary(Unary.ROUND, x), dtype)
    return x


def _scaled(size: int, scale: float) -> int:
    """
    A dimension's new size, computed in binary32 as ONNX Runtime does; ONNX's reference rounds the exact product down.

    1.4 is less than 7 / 5 in binary32, so that its exact product with 5 is below 7; rounded to binary32 it is 7.

    >>> _scaled(5, float(np.float32(1.4)))
    7
    """
    return floor(np.float32(size) * np.float32(scale))


@lowers("Resize", since=11)
def resize(
    g: Builder,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    antialias: int = 0,
    axes: tuple[int, ...] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    along = g.distinct_axes(x, axes)
    factor, out, window = [1.0] * x.rank, list(x.shape), [(0.0, 1.0)] * x.rank
    if scales is not None and scales.size:
        for axis, scale in zip(along, _known_scales(g, scales, len(along)), strict=True):
            factor[axis] = scale
            out[axis] = _scaled(x.shape[axis], scale)
    elif sizes is not None:
        wanted = g.known_numbers(sizes, "the sizes")
        if len(wanted) != len(along) or min(wanted, default=0) < 0:
            raise Refuse(f"sizes {wanted} for axes {along} of {list(x.shape)}")
        factors = [n / max(x.shape[axis], 1) for axis, n in zip(along, wanted, strict=True)]
        if keep_aspect_ratio_policy in ("not_larger", "not_smaller"):
            one = min(factors) if keep_aspect_ratio_policy == "not_larger" else max(factors)
            factors = [one] * len(along)
            wanted = [int(one * x.shape[axis] + 0.5) for axis in along]
        elif keep_aspect_ratio_policy != "stretch":
            raise Refuse(f"keep_aspect_ratio_policy {keep_aspect_ratio_policy!r}, which is unknown")
        for axis, scale, n in zip(along, factors, wanted, strict=True):
            factor[axis], out[axis] = scale, n
    else:
        raise Refuse("neither scales nor sizes")
    if coordinate_transformation_mode == "tf_crop_and_resize":
        if roi is None:
            raise Refuse("tf_crop_and_resize without roi")
        bounds = [float(bound) for bound in g.known(roi, "the region").reshape(-1)]
        if roi.rank != 1 or len(bounds) != 2 * len(along) or not all(map(isfinite, bounds)):
            raise Refuse(f"a region of {bounds[:8]}, shape {list(roi.shape)}; expected {2 * len(along)} finite numbers")
        for i, axis in enumerate(along):
            window[axis] = (bounds[i], bounds[len(along) + i])
    return _resize(
        g, x, factor, out, window, mode=mode, transformation=coordinate_transformation_mode, nearest_mode=nearest_mode,
        antialias=bool(antialias), a=cubic_coeff_a, exclude_outside=bool(exclude_outside),
        extrapolation=extrapolation_value,
    )  # fmt: skip


def _known_scales(g: Builder, scales: Tensor, axes: int) -> list[float]:
    """The scales in a vector, one for each axis. Raises `Refuse` as `_expect_scales`."""
    values = g.known(scales, "the scales")
    return _expect_scales([float(scale) for scale in values.reshape(-1)] if values.ndim == 1 else [], axes)


def _expect_scales(scales: Sequence[float], axes: int) -> list[float]:
    if len(scales) != axes or not all(isfinite(scale) and scale > 0 for scale in scales):
        raise Refuse(f"scales {list(scales)}; expected {axes} numbers above 0")
    return list(scales)


def _upsample(g: Builder, x: Tensor, scales: list[float], mode: str) -> Tensor:
    out = [_scaled(size, scale) for scale, size in zip(scales, x.shape, strict=True)]
    return _resize(
        g, x, scales, out, [(0.0, 1.0)] * x.rank, mode="linear" if mode == "bilinear" else mode,
        transformation="asymmetric", nearest_mode=SIMPLE, antialias=False, a=-0.75, exclude_outside=False,
        extrapolation=0.0,
    )  # fmt: skip


@lowers("Resize", since=10)
@lowers("Upsample", since=9)
def upsample(g: Builder, x: Tensor, scales: Tensor, *, mode: str = "nearest") -> Tensor:
    return _upsample(g, x, _known_scales(g, scales, x.rank), mode)


@lowers("Upsample", since=7)
def upsample_7(g: Builder, x: Tensor, *, scales: tuple[float, ...], mode: str = "nearest") -> Tensor:
    return _upsample(g, x, _expect_scales(scales, x.rank), mode)


@lowers("Upsample")
def upsample_1(g: Builder, x: Tensor, *, height_scale: float, width_scale: float, mode: str = "nearest") -> Tensor:
    """The first version, of images."""
    if x.rank != 4:
        raise Refuse(f"{list(x.shape)}; expected an image [N][C][H][W]")
    return _upsample(g, x, _expect_scales((1.0, 1.0, height_scale, width_scale), 4), mode)
