"""Sums over products and windows: CONTRACT, CONV, POOL, POOL_INDEX."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from opml_dispute.model.record import Record, signed64
from tests.model.interpreter.segment import Array, Segment, operand, packed, store


def contract(segment: Segment, record: Record) -> None:
    k, a_step, b_step = record.imm[0], signed64(record.imm[1]), signed64(record.imm[2])
    dims = (*record.dims, k)
    a = segment.view(record.inputs[0], record.dtypes_in[0], dims, (*record.strides(1), a_step))
    b = segment.view(record.inputs[1], record.dtypes_in[1], dims, (*record.strides(2), b_step))
    out = operand(segment, record, 0)
    wide = out.dtype if out.dtype.kind in "iu" else np.dtype(np.float64)
    total = np.zeros(record.dims, wide)
    for i in range(k):
        total = total + a[..., i].astype(wide) * b[..., i].astype(wide)
    if len(record.inputs) == 3:
        total = total + operand(segment, record, 3).astype(wide)
    store(out, total, record)


def _windows(segment: Segment, record: Record, pad_value: float) -> tuple[Array, Array, tuple[int, ...]]:
    """Padded x as [N][C][out][kernel], the same for "is inside the input", and the kernel."""
    rank, n, c = record.body[0], record.body[1], record.body[2]
    spatial, kernel, stride, dilation, pads, out = (record.body[5 + 3 * i : 5 + 3 * i + rank] for i in range(6))
    x = segment.view(record.inputs[0], record.dtypes_in[0], (n, c, *spatial), packed((n, c, *spatial)))
    need = [(o - 1) * s + d * (k - 1) + 1 for o, s, d, k in zip(out, stride, dilation, kernel, strict=True)]
    widths = [(p, max(w - p - size, 0)) for p, w, size in zip(pads, need, spatial, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=np.array(pad_value).astype(x.dtype))
    inside = np.pad(np.ones_like(x, dtype=bool), [(0, 0), (0, 0), *widths])
    taps = [
        np.arange(o)[:, None] * s + np.arange(k) * d for o, s, k, d in zip(out, stride, kernel, dilation, strict=True)
    ]
    for axis, tap in enumerate(taps):
        padded, inside = (np.take(t, tap, axis=2 + 2 * axis) for t in (padded, inside))
    order = (0, 1, *(2 + 2 * i for i in range(rank)), *(3 + 2 * i for i in range(rank)))
    return padded.transpose(order), inside.transpose(order), tuple(kernel)


def conv(segment: Segment, record: Record) -> None:
    rank, n, c, m, groups = record.body[:5]
    windows, _, kernel = _windows(segment, record, 0)
    out_shape = (n, m, *record.body[20 : 20 + rank])
    wide = record.dtype_out.numpy if record.dtype_out.is_integer else np.dtype(np.float64)
    w_shape = (m, c // groups, *kernel)
    w = segment.view(record.inputs[1], record.dtypes_in[1], w_shape, packed(w_shape)).astype(wide)
    values = np.zeros(out_shape, wide)
    for group in range(groups):
        cs = slice(group * c // groups, (group + 1) * c // groups)
        ms = slice(group * m // groups, (group + 1) * m // groups)
        taps = windows[:, cs].astype(wide).reshape(n, c // groups, math.prod(out_shape[2:]), -1)
        flat = w[ms].reshape(m // groups, c // groups, -1)
        values[:, ms] = np.einsum("ncok,mck->nmo", taps, flat).reshape(n, m // groups, *out_shape[2:])
    if len(record.inputs) == 3:
        bias = segment.view(record.inputs[2], record.dtypes_in[2], (m,), (1,)).astype(wide)
        values = values + bias.reshape(1, m, *(1,) * rank)
    store(segment.view(record.out, record.dtype_out, out_shape, packed(out_shape)), values, record)


def _counted(record: Record, inside: Array, axes: tuple[int, ...]) -> Any:
    """What an average divides by: elements inside, or inside the input and its padding; 1 for a sum."""
    if record.imm[0] != 2:
        return inside.sum(axis=axes) if record.imm[0] == 1 else 1
    rank = record.body[0]
    spatial, kernel, stride, dilation, pads, out, behind = (record.body[5 + 3 * i : 5 + 3 * i + rank] for i in range(7))
    total: Array = np.ones((), np.int64)
    for d in range(rank):
        at = np.arange(out[d])[:, None] * stride[d] + np.arange(kernel[d]) * dilation[d]
        counted = (at < pads[d] + spatial[d] + behind[d]).sum(axis=1)
        total = total[..., None] * counted
    return total


def pool(segment: Segment, record: Record) -> None:
    rank, n, c = record.body[:3]
    out_shape = (n, c, *record.body[20 : 20 + rank])
    dtype = record.dtypes_in[0].numpy
    lowest = np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf
    windows, inside, _ = _windows(segment, record, lowest if record.imm[0] == 0 else 0)
    axes = tuple(range(2 + rank, 2 + 2 * rank))
    if record.imm[0] == 0:
        values = windows.max(axis=axes)
    else:
        values = windows.astype(np.float64).sum(axis=axes) / _counted(record, inside, axes)
    store(segment.view(record.out, record.dtype_out, out_shape, packed(out_shape)), values, record)


def pool_index(segment: Segment, record: Record) -> None:
    rank, n, c = record.body[:3]
    spatial = record.body[5 : 5 + rank]
    out_shape = (n, c, *record.body[20 : 20 + rank])
    dtype = record.dtypes_in[0].numpy
    windows, inside, kernel = _windows(segment, record, np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf)
    stride, dilation, pads = (record.body[5 + 3 * i : 5 + 3 * i + rank] for i in (2, 3, 4))
    values = np.zeros(out_shape, np.int64)
    for index in np.ndindex(*out_shape):
        best, at = None, (0,) * rank
        for tap in product(*map(range, kernel)):
            if inside[(*index, *tap)] and (best is None or windows[(*index, *tap)] > best):
                best = windows[(*index, *tap)]
                at = tuple(
                    o * s + t * d - p for o, s, t, d, p in zip(index[2:], stride, tap, dilation, pads, strict=True)
                )
        place = 0
        if record.imm[1]:  # column-major
            for position, size in zip(reversed(at), reversed(spatial), strict=True):
                place = place * size + position
        else:
            for position, size in zip(at, spatial, strict=True):
                place = place * size + position
        values[index] = (index[0] * c + index[1]) * math.prod(spatial) + place
    store(segment.view(record.out, record.dtype_out, out_shape, packed(out_shape)), values, record)
