"""Pooling: one element of each window, or of a whole channel."""

from __future__ import annotations

from math import prod

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import Pooling, Reduction
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor
from opml_dispute.model.windows import Windows, filled, windows


def _windows(
    x: Tensor,
    kernel_shape: Shape,
    strides: Shape | None,
    dilations: Shape | None,
    pads: Shape | None,
    auto_pad: str,
    ceil_mode: int,
) -> Windows:
    if x.rank < 3:
        raise Refuse(f"input {list(x.shape)}; expected batch, channels and spatial dimensions")
    return windows(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
        ceil_mode=bool(ceil_mode),
        cuts=True,
    )


@lowers("MaxPool")
def max_pool(
    g: Builder,
    x: Tensor,
    *,
    kernel_shape: Shape,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Shape | None = None,
    pads: Shape | None = None,
    storage_order: int = 0,
    strides: Shape | None = None,
) -> tuple[Tensor, Tensor]:
    """x[N][C][spatial] -> the maximum of each window, and its place in x (int64)."""
    at = _windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return g.pool(Pooling.MAX, x, at), g.pool_index(x, at, column_major=bool(storage_order))


@lowers("AveragePool")
def average_pool(
    g: Builder,
    x: Tensor,
    *,
    kernel_shape: Shape,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """The average of each window's elements; padding counts as zeros, or not at all."""
    at = _windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    if ceil_mode and pads is not None:
        # What rounding up adds behind the padding counts in neither way.
        rank = len(at.out)
        at = Windows(at.kernel, at.strides, at.dilations, at.before, tuple(pads[rank:]), at.out)
    elif ceil_mode and auto_pad in ("NOTSET", "VALID", ""):
        at = Windows(at.kernel, at.strides, at.dilations, at.before, (0,) * len(at.out), at.out)
    return g.pool(Pooling.AVERAGE_PADDED if count_include_pad else Pooling.AVERAGE, x, at)


@lowers("LpPool", in_f32=True)
def lp_pool(
    g: Builder,
    x: Tensor,
    *,
    kernel_shape: Shape,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Shape | None = None,
    p: float = 2,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """(sum of |x|^p)^(1/p) over each window."""
    at = _windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    _expect_power(p)
    return _root(g, g.pool(Pooling.SUM, _powers(g, x, p), at), p)


def _expect_power(p: float) -> None:
    if not 0 < p < float("inf"):
        raise Refuse(f"p {p:g}; expected a number above 0")


def _powers(g: Builder, x: Tensor, p: float) -> Tensor:
    """|x|^p."""
    return g.square(x) if p == 2 else g.absolute(x) if p == 1 else g.power(g.absolute(x), p)


def _root(g: Builder, x: Tensor, p: float) -> Tensor:
    """x^(1/p)."""
    return g.sqrt(x) if p == 2 else x if p == 1 else g.power(x, 1 / p)


@lowers("GlobalAveragePool", in_f32=True)
def global_average_pool(g: Builder, x: Tensor) -> Tensor:
    return g.reduce_mean(x, range(2, x.rank))


@lowers("GlobalMaxPool")
def global_max_pool(g: Builder, x: Tensor) -> Tensor:
    return g.reduce_max(x, range(2, x.rank))


@lowers("GlobalLpPool", in_f32=True)
def global_lp_pool(g: Builder, x: Tensor, *, p: float = 2) -> Tensor:
    _expect_power(p)
    return _root(g, g.reduce_sum(_powers(g, x, p), range(2, x.rank)), p)


@lowers("MaxUnpool")
def max_unpool(
    g: Builder,
    x: Tensor,
    indices: Tensor,
    output_shape: Tensor | None = None,
    *,
    kernel_shape: Shape,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """Each element back at its place (as MaxPool gave it) in an output of zeros."""
    rank = x.rank - 2
    steps, _, widths = filled(rank, strides, None, pads)
    if indices.shape != x.shape or rank < 1:
        raise Refuse(f"places {list(indices.shape)} of elements {list(x.shape)}")
    if (len(kernel_shape), len(steps), len(widths)) != (rank, rank, 2 * rank) or min((*kernel_shape, *steps)) < 1:
        found = f"kernel_shape {list(kernel_shape)}, strides {list(steps)}, pads {list(widths)}"
        raise Refuse(f"{found} of {rank} spatial dimensions")
    natural = tuple(
        (n - 1) * s + k - b - e
        for n, s, k, b, e in zip(x.shape[2:], steps, kernel_shape, widths[:rank], widths[rank:], strict=True)
    )
    pooled = (*x.shape[:2], *natural)
    if min(pooled) < 0:
        raise Refuse(f"an output {list(pooled)} of elements {list(x.shape)} less pads {list(widths)}")
    places = g.bounded(indices, 0, prod(pooled) - 1, "a place in the output")
    out = g.made(x.dtype, (prod(pooled),), x, indices)
    g.copy(out, g.scalar(0, x.dtype))
    g.scatter_along(out, 0, g.reshape(places, (x.size,)), g.reshape(x, (x.size,)), Reduction.NONE)
    result = g.reshape(out, pooled)
    if output_shape is None:
        return result
    shape = tuple(g.known_numbers(output_shape, "the output's shape"))
    if (
        len(shape) != x.rank
        or shape[:2] != pooled[:2]
        or any(want < have for want, have in zip(shape, pooled, strict=True))
    ):
        raise Refuse(f"an output {list(shape)} of elements {list(x.shape)}; expected at least {list(pooled)}")
    return g.pad(result, (0,) * x.rank, [want - have for want, have in zip(shape, pooled, strict=True)])
