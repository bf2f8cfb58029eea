"""
How many VM steps the nodes that multiply and slide windows take, at most: CONTRACT, CONV, POOL, POOL_INDEX.

`contract`, `conv` and `pool` are cost.py's, which see for what must hold. They count blocks as native/kernels/ makes
them: which outputs go four by four, four by one or singly; which windows lie inside the input, and which taps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import numpy.typing as npt

from opml_dispute.model.opcodes import DType, Opcode, Pool
from opml_dispute.model.record import Record

# Contractions and windows. (4 x 4, 4 x 1, 1 x 4, 1 x 1 outputs at a time): steps a product, steps an output.

_PRODUCT: dict[str, tuple[tuple[float, float, float, float], float]] = {
    "f32": ((1.85, 3.25, 3.25, 7.0), 16),
    "f16": ((12.4, 21.8, 21.8, 36.0), 45),
    "bf16": ((3.25, 6.5, 6.5, 11.0), 35),
    "small": ((5.0, 5.4, 5.4, 9.0), 20),
    "i64": ((7.5, 6.2, 6.2, 9.5), 20),
}
_BLOCK_STEPS = 110
_GROUP_STEPS = 260
"""Finding the first element of four rows, or of the rest of one."""
_BIAS_STEPS = 12


def _kind(record: Record) -> str:
    dtype = record.dtypes_in[0]
    known = {DType.F32: "f32", DType.F16: "f16", DType.BF16: "bf16", DType.I64: "i64", DType.U64: "i64"}
    return known.get(dtype, "small")


def contract(record: Record, count: int) -> float:
    m, n = record.dims[-2:]
    depth = record.imm[0]
    (p44, p41, p14, p11), output = _PRODUCT[_kind(record)]
    if record.dtype_out.width == 2:
        output += 25
    if len(record.inputs) == 3:
        output += _BIAS_STEPS + (15 if record.dtype_out.width == 2 else 0)
    fours, singles = _groups_of_four(record.lo, record.hi, n, m)
    whole, rest = divmod(n, 4)
    four = whole * (16 * depth * p44 + _BLOCK_STEPS) + rest * (4 * depth * p41 + _BLOCK_STEPS)
    single = whole * (4 * depth * p14 + _BLOCK_STEPS) + rest * (depth * p11 + _BLOCK_STEPS)
    # The parts of rows at both ends of the range count as whole rows here: a few single outputs at most.
    ends = 6 * (depth * p11 + _BLOCK_STEPS) if singles else 0
    groups = (fours + singles) * (_GROUP_STEPS + 60 * max(record.rank - 2, 0))
    parts = [end - first for first, end in _parts(record.lo, record.hi, n)]
    return (
        fours * four
        + (singles - len(parts)) * single
        + _part_steps(parts, depth, p14, p11)
        + ends
        + groups
        + (count * output)
    )


def _part_steps(parts: Sequence[int], depth: int, p14: float, p11: float) -> float:
    """Parts of single rows: blocks of four outputs, then single ones."""
    return sum(
        outputs // 4 * (4 * depth * p14 + _BLOCK_STEPS) + outputs % 4 * (depth * p11 + _BLOCK_STEPS)
        for outputs in parts
    )


def _parts(lo: int, hi: int, row: int) -> list[tuple[int, int]]:
    """What the range takes, at its start and end, of rows that it does not have whole: from where to where in them."""
    if lo // row == (hi - 1) // row:
        return [(lo % row, lo % row + hi - lo)] if hi - lo < row else []
    ends = (lo % row, row) if lo % row else None, (0, hi % row) if hi % row else None
    return [part for part in ends if part is not None]


def _groups_of_four(lo: int, hi: int, row: int, rows: int) -> tuple[int, int]:
    """(times four rows are made at once, times one row or part of one is): `rows` belong together, fours among them."""
    singles = len(_parts(lo, hi, row))
    first, last = -(-lo // row), hi // row  # whole rows
    fours = 0
    if last > first:
        head = min(last, (first // rows + 1) * rows) - first
        middle, tail = divmod(last - first - head, rows)
        for length, times in ((head, 1), (rows, middle), (tail, 1)):
            fours += length // 4 * times
            singles += length % 4 * times
    return fours, singles


# A convolution's block of windows: (once, a channel, a line of taps, a tap), by channels at once and windows at once.
_INSIDE = {
    (4, 4): (420, 26, 12, 44.5),
    (4, 1): (255, 27, 12, 17),
    (1, 4): (200, 27, 13, 16.5),
    (1, 1): (138, 25, 13, 7),
}
_POINT = {(4, 4): 30.5, (4, 1): 13.5, (1, 4): 13.5, (1, 1): 7.5}
"""One channel of windows of one tap, all inside."""
_EDGE = {(4, 4): (370, 57, 24, 64), (4, 1): (270, 45, 20, 23), (1, 4): (180, 56, 20, 35), (1, 1): (130, 42, 18, 13.5)}
_OTHER_EDGE = {
    "f16": {4: (760, 60, 22, 223), 1: (330, 60, 22, 113)},
    "bf16": {4: (600, 60, 32, 86), 1: (260, 60, 28, 48)},
    "small": {4: (330, 82, 50, 108), 1: (220, 76, 42, 45)},
    "i64": {4: (420, 82, 50, 126), 1: (290, 76, 42, 49)},
}


def conv(record: Record, count: int) -> float:
    rank, _, channels, made, groups = record.body[:5]
    size, kernel, stride, dilation, pad, out = (record.body[5 + 3 * i : 5 + 3 * i + rank] for i in range(6))
    taps_w, lines_of_taps, depth = kernel[-1], prod(kernel[:-1]), channels // groups
    row, plane = out[-1], prod(out)
    kind, bias = _kind(record), 60 if len(record.inputs) == 3 else 0

    def block(at_once: int, windows: int, inside: bool) -> float:
        if kind != "f32":
            steps: tuple[float, float, float, float] = _OTHER_EDGE[kind][at_once]
        elif inside and lines_of_taps * taps_w == 1:
            steps = _INSIDE[at_once, windows][0], _POINT[at_once, windows], 0, 0
        else:
            steps = (_INSIDE if inside else _EDGE)[at_once, windows]
        once, channel, line, tap = steps
        return once + bias + depth * (channel + lines_of_taps * (line + taps_w * tap))

    # A line of outputs: blocks of four windows, and one left over; those whose taps are all inside, if the line's are.
    last = len(out) - 1
    axes = list(zip(size, kernel, stride, dilation, pad, strict=True))
    starts = [_starts_inside(axis, n, 1) for axis, n in zip(axes, out, strict=True)]
    four_starts = _starts_inside(axes[last], row, 4)
    fours, single = divmod(row, 4) if row % 4 == 1 else (-(-row // 4), 0)
    fours_inside = len(range(fours)[-(-four_starts.start // 4) : -(-four_starts.stop // 4)])
    single_inside = single if row - 1 in starts[last] else 0

    def lines(at_once: int, first: int, end: int) -> float:
        """Steps for the lines [first, end) of a channel, or of four at once."""
        count = end - first
        inside = _inside_before(starts[:last], out[:last], end) - _inside_before(starts[:last], out[:last], first)
        total = 0.0
        for windows, number, number_inside in ((4, fours, fours_inside), (1, single, single_inside)):
            if number:
                within = inside * number_inside
                total += within * block(at_once, windows, True)
                total += (count * number - within) * block(at_once, windows, False)
        return total + 420 + 110 * count

    def part(first: int, end: int) -> float:
        """Steps for the outputs [first, end) of one channel: what is not whole lines counts as being at the edge."""
        whole_first, whole_end = -(-first // row), end // row
        if whole_first > whole_end:  # within a line
            ends, total = [end - first], 420.0
        else:
            ends, total = [whole_first * row - first, end - whole_end * row], lines(1, whole_first, whole_end)
        fours_and_ones = [(n // 4, 1) if n % 4 == 1 else (-(-n // 4), 0) for n in ends]
        return total + sum(f * block(1, 4, False) + o * block(1, 1, False) + 110 for f, o in fours_and_ones)

    parts = _parts(record.lo, record.hi, plane)
    four_planes, single_planes = _groups_of_four(record.lo, record.hi, plane, made // groups)
    total = sum(part(first, end) for first, end in parts)
    for at_once, times in ((4, four_planes), (1, single_planes - len(parts))):
        if times:
            total += times * lines(at_once, 0, plane // row)
    return total + 600


def _starts_inside(axis: tuple[int, int, int, int, int], out: int, windows: int) -> range:
    """The output positions from which on that many windows have all their taps along a dimension inside the input."""
    size, kernel, stride, dilation, pad = axis
    room = size - 1 - (kernel - 1) * dilation + pad
    first = min(-(-pad // stride), out)
    return range(first, max(min(room // stride - windows + 2, out), first))


def _inside_before(starts: Sequence[range], sizes: Sequence[int], end: int) -> int:
    """How many of the first `end` lines, in row-major order of the outer dimensions, have all their taps inside."""
    if not starts:
        return end
    whole, rest = divmod(end, prod(sizes[1:]))
    inside = len(range(whole)[starts[0].start : starts[0].stop]) * prod(len(each) for each in starts[1:])
    return inside + (_inside_before(starts[1:], sizes[1:], rest) if whole in starts[0] else 0)


@dataclass(frozen=True, slots=True)
class _Window:
    """A window of POOL: steps once, for each line of taps inside the input, for each tap there."""

    once: float
    line: float
    tap: float


_POOL = {
    DType.F32: (_Window(102, 16, 11), _Window(116, 16, 7)),
    DType.F16: (_Window(147, 18, 26), _Window(161, 18, 23)),
    DType.BF16: (_Window(134, 18, 14), _Window(148, 18, 11)),
    DType.U64: (_Window(130, 36, 39),) * 2,
}
_POOL_INTEGER = (_Window(143, 36, 50),) * 2
"""A maximum; a sum."""
_DIVIDE, _COUNT_PADDED, _PLANE, _CLIPPED, _DILATED = 24, 36, 15, 6, 9
_POOL_INDEX = {DType.F32: 79, DType.F16: 100, DType.BF16: 82, DType.U64: 82}
_COLUMN_MAJOR = 32


def pool(record: Record, count: int) -> float:
    rank, kind, dtype = record.body[0], record.imm[0], record.dtypes_in[0]
    sizes, kernels, strides, dilations, pads, outs = (record.body[5 + 3 * i : 5 + 3 * i + rank] for i in range(6))
    if record.opcode is Opcode.POOL_INDEX:
        window = _Window(122, 38, _POOL_INDEX.get(dtype, 93))
        once = window.once + (_COLUMN_MAJOR if record.imm[1] & 1 else 0)
    else:
        window = _POOL.get(dtype, _POOL_INTEGER)[kind != Pool.MAX]
        once = window.once + (_DIVIDE if kind in (Pool.AVERAGE, Pool.AVERAGE_PADDED) else 0)
        once += _COUNT_PADDED + 4 * rank if kind == Pool.AVERAGE_PADDED else 0
    once += sum(_DILATED for dilation in dilations if dilation != 1)
    once += sum(_CLIPPED for pad in pads if pad > 0) + 3 * rank
    axes = [_taps_inside(*axis) for axis in zip(sizes, kernels, strides, dilations, pads, outs, strict=True)]
    one = np.array([0, 1])
    planes, rows, columns = [one] * (3 - rank) + axes
    high, wide = len(rows) - 1, len(columns) - 1

    def inside(windows: int) -> float:
        """Steps for what lies inside the input, of the first `windows` windows."""

        def line_of_windows(end: int) -> float:
            return window.line * end + window.tap * int(columns[end])

        channels, rest = divmod(windows, prod(outs))
        plane, rest = divmod(rest, high * wide)
        row, column = divmod(rest, wide)
        full = line_of_windows(wide)
        here = int(rows[row]) * full + int(rows[row + 1] - rows[row]) * line_of_windows(column)
        deep = channels * int(planes[-1]) + int(planes[plane])  # whole planes of windows, times their own planes
        part = int(planes[plane + 1] - planes[plane])
        return deep * (int(rows[-1]) * full + _PLANE * high * wide) + part * (here + _PLANE * (row * wide + column))

    return count * once + inside(record.hi) - inside(record.lo) + 300


@lru_cache(maxsize=16)
def _taps_inside(size: int, kernel: int, stride: int, dilation: int, pad: int, out: int) -> npt.NDArray[np.int64]:
    """How many taps along a dimension lie inside the input, of the first 0, 1, ..., `out` windows together."""
    at = np.arange(out, dtype=np.int64) * stride - pad
    first = np.maximum(-(at // dilation), 0)
    last = np.minimum(np.maximum(-((at - size) // dilation), 0), kernel)
    return np.concatenate([[0], np.cumsum(np.maximum(last - first, 0))])
