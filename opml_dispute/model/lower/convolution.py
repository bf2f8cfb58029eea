"""Convolutions: plain, transposed, deformable, and columns put together to an image."""

from __future__ import annotations

from math import prod

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.integers import convolution_of_dequantised
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor
from opml_dispute.model.windows import Windows, filled, windows

LEAST_PRODUCT = 64
"""Taps from which on a convolution of one signal is a matrix product."""

MOST_PHASES = 64
"""Convolutions that a transposed one is made of, at most."""


def conv_windows(
    x: Tensor,
    w: Tensor,
    *,
    auto_pad: str = "NOTSET",
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Windows:
    """Where the windows lie. Raises `Refuse` if input and weights do not fit together."""
    if group < 1 or x.rank != w.rank or x.rank < 3 or x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        raise Refuse(f"input {list(x.shape)} with weights {list(w.shape)} in {group} groups")
    if kernel_shape is not None and tuple(kernel_shape) != w.shape[2:]:
        raise Refuse(f"kernel_shape {list(kernel_shape)} for weights {list(w.shape)}")
    return windows(x.shape[2:], w.shape[2:], strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad)


@lowers("Conv")
def conv(
    g: Builder,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """x[N][C][spatial] over w[M][C/group][kernel], plus bias[M]."""
    at = conv_windows(
        x, w, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides
    )
    _expect_bias(bias, w.shape[0])
    if x.rank == 3 and x.shape[1] == 1 and group == 1 and w.shape[2] >= LEAST_PRODUCT and min(at.out, default=0) > 0:
        return _as_product(g, x, w, bias, at)
    by_integers = convolution_of_dequantised(g, x, w, bias, at) if group == 1 else None
    return g.conv(x, w, bias, at, groups=group) if by_integers is None else by_integers


def _expect_bias(bias: Tensor | None, channels: int) -> None:
    if bias is not None and bias.shape != (channels,):
        raise Refuse(f"a bias {list(bias.shape)} for {channels} channels; expected one number for each")


def _as_product(g: Builder, x: Tensor, w: Tensor, bias: Tensor | None, at: Windows) -> Tensor:
    """
    Long windows of a single signal, as a matrix product: the windows are a view, whose rows overlap in memory.

    Spectra are computed so: many filters of some hundred taps, that a convolution would walk one at a time.
    """
    x = g.contiguous(g.pad(x, (0, 0, at.before[0]), (0, 0, at.after[0])))
    view = g.windows(x, at.kernel, at.strides, at.dilations, at.out).without(1)
    column = None if bias is None else g.reshape(bias, (bias.size, 1))
    return g.contract(g.reshape(w, (w.shape[0], w.shape[2])), view.transposed((0, 2, 1)), column)


@lowers("ConvTranspose")
def conv_transpose(
    g: Builder,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    output_padding: Shape | None = None,
    output_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """
    x[N][C][spatial] spread by w[C][M/group][kernel]: the gradient of a convolution.

    Computed as a convolution of x, with stride - 1 zeros between its elements, over w turned around; or, where there
    are no dilations, as one convolution for each place that an output may have between two elements of x
    (`_phase_by_phase`), which multiplies by no zeros. Where constant weights are not finite, a zero that is multiplied
    by them would be seen: then tap by tap (`_tap_by_tap`).
    """
    rank = x.rank - 2
    if group < 1 or x.rank != w.rank or rank < 1 or x.shape[1] != w.shape[0] or w.shape[0] % group:
        raise Refuse(f"input {list(x.shape)} with weights {list(w.shape)} in {group} groups")
    _expect_bias(bias, group * w.shape[1])
    kernel = w.shape[2:]
    strides, dilations, pads = filled(rank, strides, dilations, pads)
    extra = (0,) * rank if output_padding is None else output_padding
    _expect_transposed(kernel, kernel_shape, strides, dilations, pads, extra, output_shape)
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    full = [s * (n - 1) + e + k for s, n, e, k in zip(strides, x.shape[2:], extra, spans, strict=True)]
    begin, out = _cropping(full, rank, strides, x.shape[2:], auto_pad, output_shape, pads)
    # [C][M/group][kernel] -> [group][M/group][C/group][kernel]
    m = w.shape[1]
    by_output = g.reshape(w, (group, w.shape[0] // group, m, *kernel)).transposed((0, 2, 1, *range(3, 3 + rank)))
    if w.is_constant and not w.dtype.is_integer and not np.isfinite(w.values()).all():
        return _tap_by_tap(g, x, by_output, bias, strides, dilations, begin, out)
    if 1 < prod(strides) <= MOST_PHASES and max(dilations) == 1 and min(out) > 0:
        return _phase_by_phase(g, x, by_output, bias, strides, begin, out)
    spread = tuple(s * (n - 1) + 1 for s, n in zip(strides, x.shape[2:], strict=True))
    if any(s > 1 for s in strides):
        sparse = g.made(x.dtype, (*x.shape[:2], *spread), x)
        g.copy(sparse, g.scalar(0, x.dtype))
        places = sparse
        for d in range(rank):
            places = places.sliced(2 + d, 0, x.shape[2 + d], strides[d])
        g.copy(places, x)
        x = sparse
    turned = by_output  # every kernel turned around
    for d in range(rank):
        turned = turned.sliced(3 + d, kernel[d] - 1, kernel[d], -1)
    turned = g.reshape(turned, (group * m, w.shape[0] // group, *kernel))
    before = tuple(span - 1 - b for span, b in zip(spans, begin, strict=True))
    x = g.pad(x, (0, 0, *(min(b, 0) for b in before)), (0,) * x.rank)
    at = Windows(kernel, (1,) * rank, dilations, tuple(max(b, 0) for b in before), (0,) * rank, out)
    return g.conv(x, turned, bias, at, groups=group)


def _expect_transposed(
    kernel: Shape,
    kernel_shape: Shape | None,
    strides: Shape,
    dilations: Shape,
    pads: Shape,
    extra: Shape,
    output_shape: Shape | None,
) -> None:
    """Raises `Refuse` for lists that have other lengths, or values, than a transposed convolution can have."""
    rank = len(kernel)
    if kernel_shape is not None and tuple(kernel_shape) != kernel:
        raise Refuse(f"kernel_shape {list(kernel_shape)} for weights of {list(kernel)}")
    lists = (strides, dilations, extra, pads[:rank], pads[rank:])
    if {len(each) for each in lists} != {rank} or len(kernel if output_shape is None else output_shape) not in (
        rank,
        rank + 2,
    ):
        raise Refuse(
            f"strides {strides}, dilations {dilations}, pads {pads}, output_padding {extra}, output_shape"
            f" {output_shape} for {rank} spatial dimensions"
        )
    if min((*kernel, *strides, *dilations)) < 1 or min((*pads, *extra)) < 0:
        raise Refuse(f"kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads}, output_padding {extra}")
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise Refuse(f"output_padding {extra}; expected less than the stride or the dilation")


def _phase_by_phase(
    g: Builder, x: Tensor, w: Tensor, bias: Tensor | None, strides: Shape, begin: Shape, out: Shape
) -> Tensor:
    """
    A transposed convolution, w[group][M/group][C/group][kernel], without zeros between x's elements.

    Output o lies o + begin behind the first: of the taps t only those reach it from an element of x for which o + begin
    - t is a multiple of the stride. So outputs whose o + begin leaves the same remainder are a convolution over every
    stride-th tap, turned around. Taps come in the same order as with zeros between, and so the sums are the same.
    """
    group, m, depth, *kernel = w.shape
    rank = len(kernel)
    whole = g.made(x.dtype, (x.shape[0], group * m, *out), *(t for t in (x, w, bias) if t is not None))
    for first in np.ndindex(*(min(s, n) for s, n in zip(strides, out, strict=True))):
        counts = tuple(-(-(n - r) // s) for r, n, s in zip(first, out, strides, strict=True))
        phases = [(r + b) % s for r, b, s in zip(first, begin, strides, strict=True)]
        taps = tuple(max(-(-(k - p) // s), 0) for k, p, s in zip(kernel, phases, strides, strict=True))
        part = whole
        for d in range(rank):
            part = part.sliced(2 + d, first[d], counts[d], strides[d])
        before = tuple(n - 1 - (r + b) // s for n, r, b, s in zip(taps, first, begin, strides, strict=True))
        if not all(taps) or any(b + n <= 0 for b, n in zip(before, x.shape[2:], strict=True)):  # no element reaches it
            value = g.scalar(0, x.dtype) if bias is None else bias
            for _ in range(rank if bias is not None else 0):
                value = value.with_axis(value.rank)
            g.copy(part, value)
            continue
        turned = w
        for d in range(rank):
            turned = turned.sliced(3 + d, phases[d] + strides[d] * (taps[d] - 1), taps[d], -strides[d])
        turned = g.reshape(turned, (group * m, depth, *taps))
        inside = g.pad(x, (0, 0, *(min(b, 0) for b in before)), (0,) * x.rank)
        ones, none = (1,) * rank, (0,) * rank
        at = Windows(taps, ones, ones, tuple(max(b, 0) for b in before), none, counts)
        g.copy(part, g.conv(inside, turned, bias, at, groups=group))
    return whole


def _tap_by_tap(
    g: Builder, x: Tensor, w: Tensor, bias: Tensor | None, strides: Shape, dilations: Shape, begin: Shape, out: Shape
) -> Tensor:
    """
    A transposed convolution, w[group][M/group][C/group][kernel], as the sum of what each tap makes of x.

    It multiplies nothing but elements of x by weights, and takes an addition of the whole output for each tap.
    """
    group, m, depth, *kernel = w.shape
    shape = (x.shape[0], group * m, *out)
    total = g.filled(shape, 0, x.dtype)
    for tap in np.ndindex(*kernel):
        taken, target = x, g.made(x.dtype, shape, x, w)
        g.copy(target, g.scalar(0, x.dtype))
        weights, view = w, target
        for d, (t, n, s, size) in enumerate(zip(tap, x.shape[2:], strides, out, strict=True)):
            shift = int(t) * dilations[d] - begin[d]  # the element i of x comes to s i + shift
            first = max(0, -(shift // s))
            count = max(0, min(n, -(-(size - shift) // s)) - first)
            taken = taken.sliced(2 + d, first, count)
            view = view.sliced(2 + d, s * first + shift, count, s) if count else view
            weights = weights.sliced(3 + d, int(t), 1)
        if taken.size == 0:
            continue
        columns = g.reshape(taken, (x.shape[0], group, depth, prod(taken.shape[2:])))
        g.copy(view, g.reshape(g.contract(g.reshape(weights, (group, m, depth)), columns), view.shape))
        total = g.add(total, target)
    return total if bias is None else g.add(total, g.reshape(bias, (bias.size, *(1,) * len(out))))


def _cropping(
    full: list[int],
    rank: int,
    strides: Shape,
    spatial: Shape,
    auto_pad: str,
    output_shape: Shape | None,
    pads: Shape,
) -> tuple[Shape, Shape]:
    """How many elements to leave out in front, and how many to keep, of the `full` result."""
    if auto_pad not in ("NOTSET", "", "SAME_UPPER", "SAME_LOWER", "VALID"):
        raise Refuse(f"auto_pad {auto_pad!r}; expected NOTSET, SAME_UPPER, SAME_LOWER or VALID")
    if output_shape is not None:
        out = tuple(output_shape[-rank:])
        if any(o >= n + s for o, n, s in zip(out, full, strides, strict=True)):
            raise Refuse(f"output_shape {list(out)}; strides {strides} make less than that beyond {full}")
    elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        out = tuple(n * s for n, s in zip(spatial, strides, strict=True))
    else:
        kept = tuple(n - b - e for n, b, e in zip(full, pads[:rank], pads[rank:], strict=True))
        if min(kept) < 0:
            raise Refuse(f"pads {list(pads)} of a result of {full}")
        return tuple(pads[:rank]), kept
    left_out = [max(n - o, 0) for n, o in zip(full, out, strict=True)]
    begin = [n // 2 if auto_pad == "SAME_UPPER" else n - n // 2 for n in left_out]
    return tuple(begin), out


@lowers("Col2Im")
def col2im(
    g: Builder,
    x: Tensor,
    image_shape: Tensor,
    block_shape: Tensor,
    *,
    dilations: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """x[N][C * taps][windows] -> [N][C][image]: every window's taps added where they were taken from."""
    image = tuple(g.known_numbers(image_shape, "the image's shape"))
    kernel = tuple(g.known_numbers(block_shape, "the windows' shape"))
    at = windows(image, kernel, strides=strides, dilations=dilations, pads=pads, auto_pad="NOTSET")
    taps, rank = prod(kernel), len(image)
    if x.rank != 3 or taps < 1 or x.shape[1] % taps or x.shape[2] != prod(at.out):
        raise Refuse(f"columns {list(x.shape)} for windows of {list(kernel)} over {list(image)}")
    n, c = x.shape[0], x.shape[1] // taps
    size = [max(i + b + e, (o - 1) * s + d * (k - 1) + 1) for i, b, e, o, s, d, k in zip(
        image, at.before, at.behind, at.out, at.strides, at.dilations, at.kernel, strict=True)]  # fmt: skip
    coordinates = [
        (np.arange(k)[:, None] * d + np.arange(o) * s).reshape(
            *(1,) * i, k, *(1,) * (rank - 1), o, *(1,) * (rank - 1 - i)
        )
        for i, (k, d, o, s) in enumerate(zip(kernel, at.dilations, at.out, at.strides, strict=True))
    ]
    flat: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = np.zeros((*kernel, *at.out), np.int64)
    for length, coordinate in zip(size, coordinates, strict=True):
        flat = flat * length + coordinate
    if x.dtype is DType.BOOL:  # a sum of bools says whether any holds
        bits = col2im(
            g, g.cast(x, DType.I32), image_shape, block_shape, dilations=dilations, pads=pads, strides=strides
        )
        return g.cast(bits, DType.BOOL)
    canvas = g.made(x.dtype, (n, c, prod(size)), x)
    g.copy(canvas, g.scalar(0, x.dtype))
    g.scatter_along(canvas, 2, g.constant(flat.reshape(-1)), g.reshape(x, (n, c, taps * x.shape[2])), Reduction.SUM)
    result = g.reshape(canvas, (n, c, *size))
    for d in range(rank):
        result = result.sliced(2 + d, at.before[d], image[d])
    return result
