"""
Signal processing: Fourier transforms and windows.

A Fourier transform is a product with a matrix of cosines and sines, which is known when compiling. Such numbers are
computed here by `decimal`, whose results are the same on every machine; numpy's and the C library's are not.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import cache
from math import inf

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.elements import dtype_of
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor

MOST_TURNS = 1 << 18
MOST_BANDS = 1 << 14
"""Of a mel scale; their edges are decimals, which take their time."""
"""Entries of a table of cosines, which takes some seconds; a transform's length is at most a quarter of it."""

_PI = Decimal("3.14159265358979323846264338327950288419716939937510582")
_DIGITS = 40
_CONTEXT = Context(prec=_DIGITS, rounding=ROUND_HALF_EVEN)
"""Of all arithmetic here, whatever this process made of `decimal`'s own."""


@cache
def cosines(n: int) -> tuple[float, ...]:
    """cos(2 pi k / n) for k in 0 .. n - 1, to the last bit of binary64. Raises `Refuse` if n is above `MOST_TURNS`."""
    return tuple(map(float, _exact_cosines(n)))


@cache
def _exact_cosines(n: int) -> tuple[Decimal, ...]:
    """
    The same to `_DIGITS` digits, with exact zeros.

    What the series leaves of a zero, some 10^-40, is subnormal in binary32, and arithmetic with such numbers takes a
    hundred times as long.
    """
    if n > MOST_TURNS:
        raise Refuse(f"a table of {n:,} cosines; expected at most {MOST_TURNS:,}")
    with localcontext(_CONTEXT):
        return tuple(Decimal(0) if 4 * k in (n, 3 * n) else _cosine(2 * _PI * k / n) for k in range(n))


def _cosine(x: Decimal) -> Decimal:
    """By its series, after bringing x into -pi..pi."""
    if x > _PI:
        x -= 2 * _PI
    term = total = Decimal(1)
    for i in range(1, 40):
        term = -term * x * x / ((2 * i - 1) * (2 * i))
        total += term
    return total


def _turns(rows: int, columns: int, n: int) -> tuple[Array, Array]:
    """cos and sin of 2 pi k m / n for k < rows and m < columns."""
    table = np.array(cosines(n))
    angle = np.arange(rows)[:, None] * np.arange(columns)[None] % n
    # sin(x) = cos(x - pi / 2): exact where n is a multiple of four, and computed where it is not.
    sine = np.array(cosines(4 * n))[(4 * angle - n) % (4 * n)]
    return table[angle], sine


def _matrix(n: int, components: int, inverse: bool, onesided: bool) -> Array:
    """The transform of n complex (or real) numbers as one real matrix [n * components][outputs * 2]."""
    outputs = n // 2 + 1 if onesided else n
    cos, sin = _turns(n, outputs, n)
    sign, scale = (1.0, 1.0 / n) if inverse else (-1.0, 1.0)
    parts = [np.stack([cos, sign * sin], axis=2), np.stack([-sign * sin, cos], axis=2)][:components]
    return np.stack(parts, axis=1).reshape(n * components, outputs * 2) * scale


def _real_matrix(n: int) -> Array:
    """The inverse transform of half a symmetric spectrum, as one real matrix [(n // 2 + 1) * 2][n]."""
    half = n // 2 + 1
    cos, sin = _turns(half, n, n)
    twice = np.array([1.0 if k == 0 or 2 * k == n else 2.0 for k in range(half)])[:, None]
    return np.stack([cos * twice, -sin * twice], axis=1).reshape(half * 2, n) / n


def _transform(g: Builder, x: Tensor, length: int | None, axis: int, inverse: bool, onesided: bool) -> Tensor:
    if x.rank < 2 or x.shape[-1] not in (1, 2):
        raise Refuse(f"a signal of shape {list(x.shape)}; expected one or two components in the last dimension")
    along, components = g.axis(x, axis), x.shape[-1]
    to_real = inverse and onesided
    if along == x.rank - 1:
        raise Refuse(f"a transform along axis {axis}, which holds the components")
    if onesided and not inverse and components != 1:
        raise Refuse("half of a spectrum of complex numbers; expected real ones")
    if length is None:
        length = 2 * (x.shape[along] - 1) if to_real else x.shape[along]
    if to_real and components != 2:
        raise Refuse("half a spectrum of real numbers; expected complex ones")
    taken = length // 2 + 1 if to_real else length
    before, after = [0] * x.rank, [0] * x.rank
    after[along] = taken - x.shape[along]
    x = g.pad(x, before, after)
    rest = [d for d in range(x.rank - 1) if d != along]
    moved = x.transposed([*rest, along, x.rank - 1])
    # The signals are rows of one matrix, not a product each.
    rows = g.reshape(moved, (*(moved.shape[:-2] or (1,)), taken * components))
    g.meter.afford(8 * taken * components * 2 * length)
    matrix = _real_matrix(length) if to_real else _matrix(length, components, inverse, onesided)
    y = g.contract(rows, g.constant(matrix.astype(np.float32)))
    y = g.reshape(y, (*moved.shape[:-2], -(-y.shape[-1] // (1 if to_real else 2)), 1 if to_real else 2))
    order = list(range(x.rank - 2))
    order.insert(along, x.rank - 2)
    return y.transposed([*order, x.rank - 1])


@lowers("DFT", since=20, in_f32=True)
def dft(
    g: Builder,
    x: Tensor,
    length: Tensor | None = None,
    axis: Tensor | None = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
) -> Tensor:
    n = None if length is None else g.known_number(length, "the transform's length")
    along = -2 if axis is None else g.known_number(axis, "the axis")
    return _transform(g, x, n, along, bool(inverse), bool(onesided))


@lowers("DFT", in_f32=True)
def dft_17(
    g: Builder, x: Tensor, length: Tensor | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Tensor:
    n = None if length is None else g.known_number(length, "the transform's length")
    return _transform(g, x, n, axis, bool(inverse), bool(onesided))


@lowers("STFT", in_f32=True)
def stft(
    g: Builder,
    x: Tensor,
    frame_step: Tensor,
    window: Tensor | None = None,
    frame_length: Tensor | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """
    x[N][time][components] -> [N][frame][frequency][2]: a transform of each window of the signal.

    A signal without the last dimension is real, as ONNX Runtime takes it too.
    """
    x = x.with_axis(2) if x.rank == 2 else x
    g.expect_rank(x, 3, 3, "the signal")
    step = g.known_number(frame_step, "the step between frames")
    if frame_length is not None:
        length = g.known_number(frame_length, "the frames' length")
    else:
        length = x.shape[1] if window is None else window.size
    if step < 1 or not 1 <= length <= x.shape[1] or (window is not None and window.shape != (length,)):
        given = "" if window is None else f" under a window {list(window.shape)}"
        raise Refuse(f"frames of {length:,}{given}, {step:,} apart, of {x.shape[1]:,} elements")
    frames = (x.shape[1] - length) // step + 1
    batch, time, component = x.strides
    # Frames overlap in memory: a view.
    view = Tensor(x.buffer, (x.shape[0], frames, length, x.shape[2]), (batch, step * time, time, component), x.offset)
    if window is not None:
        view = g.mul(view, window.with_axis(1))
    return _transform(g, view, length, 2, False, bool(onesided))


def _window(name: str, weights: tuple[str, ...]) -> None:
    """A sum of cosines: weights[0] - weights[1] cos(x) + weights[2] cos(2 x)."""

    @lowers(name)
    def lower(g: Builder, size: Tensor, *, output_datatype: int = 1, periodic: int = 1) -> Tensor:
        n = g.known_number(size, "the window's size")
        period = max(n if periodic else n - 1, 1)
        table = _exact_cosines(period)
        with localcontext(_CONTEXT):
            terms = [Decimal(w) * (-1) ** k for k, w in enumerate(weights)]
            sums = [sum(w * table[k * i % period] for k, w in enumerate(terms)) for i in range(n)]
            # What the cosines' own error leaves is no part of the value: 1 must not become 0 as an integer.
            values = [float(round(value, _DIGITS - 5)) for value in sums]
        return g.constant(np.array(values).astype(dtype_of(output_datatype).numpy))


_window("HannWindow", ("0.5", "0.5"))
_window("HammingWindow", ("0.5434782608695652173913043478", "0.4565217391304347826086956522"))  # 25 / 46 and 21 / 46
_window("BlackmanWindow", ("0.42", "0.5", "0.08"))


@lowers("MelWeightMatrix")
def mel_weight_matrix(
    g: Builder, bins: Tensor, length: Tensor, rate: Tensor, lower: Tensor, upper: Tensor, *, output_datatype: int = 1
) -> Tensor:
    """Triangles that are evenly spaced on the mel scale: [length // 2 + 1][bins]."""
    count, n, hertz = (g.known_number(t, "the size of the matrix") for t in (bins, length, rate))
    g.expect_few(count, "bands", MOST_BANDS)
    g.expect_few((n // 2 + 1) * count, "numbers in the matrix")
    ends = [float(g.known(g.reshape(t, ()), "the range of the matrix")) for t in (lower, upper)]
    if count < 0 or min(n, hertz) < 1 or not 0 <= ends[0] <= ends[1] < inf:
        raise Refuse(f"{count} bands from {ends[0]:g} to {ends[1]:g} Hz of {n} numbers at {hertz} Hz")
    edges = [Decimal(end) for end in ends]
    with localcontext(_CONTEXT):
        low, high = (2595 * (1 + edge / 700).log10() for edge in edges)
        mels = [low + i * (high - low) / (count + 2) for i in range(count + 2)]
        places = [int((n + 1) * 700 * (Decimal(10) ** (mel / 2595) - 1) // hertz) for mel in mels]
    if places[-1] > n // 2:
        raise Refuse(f"a band up to {ends[1]:g} Hz; expected at most half of {hertz} Hz")
    matrix = np.zeros((n // 2 + 1, count))
    for i, (left, middle, right) in enumerate(zip(places, places[1:], places[2:], strict=False)):
        if left == middle:
            matrix[middle, i] = 1
        else:
            matrix[left : middle + 1, i] = np.arange(middle - left + 1) / (middle - left)
        if right > middle:
            matrix[middle:right, i] = np.arange(right - middle, 0, -1) / (right - middle)
    return g.constant(matrix.astype(dtype_of(output_datatype).numpy))
