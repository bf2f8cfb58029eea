"""Kernels that reduce or order lines: REDUCE, ARGREDUCE, TOPK, SCAN."""

from __future__ import annotations

import numpy as np

from opml_dispute.model.opcodes import Reduction
from opml_dispute.model.record import Record
from tests.model.interpreter.segment import Array, Segment, operand, store


def reduce(segment: Segment, record: Record) -> None:
    kept = record.rank - record.imm[1]
    x = operand(segment, record, 1)
    out = segment.view(record.out, record.dtype_out, record.dims[:kept], record.strides(0)[:kept])
    axes = tuple(range(kept, record.rank))
    exact = x if x.dtype.kind in "iub" else x.astype(np.float64)
    function = {
        Reduction.SUM: np.add,
        Reduction.PROD: np.multiply,
        Reduction.MAX: np.maximum,
        Reduction.MIN: np.minimum,
    }[Reduction(record.imm[0])]
    store(out, function.reduce(exact, axis=axes, dtype=exact.dtype), record)


def _keys(x: Array, largest: bool) -> Array:
    """Values that sort ascending in the order in which ARGREDUCE and TOPK prefer elements."""
    if x.dtype.kind in "iub":
        exact = x.astype(object)
        return np.asarray(-exact if largest else exact)
    wide = x.astype(np.float64)
    # NaN is the greatest of all.
    return np.where(np.isnan(wide), -np.inf, -wide) if largest else np.where(np.isnan(wide), np.inf, wide)


def argreduce(segment: Segment, record: Record) -> None:
    kept = record.rank - record.imm[1]
    x = operand(segment, record, 1)
    largest = record.imm[0] == Reduction.MAX
    flat = np.ascontiguousarray(x).reshape(*record.dims[:kept], -1)
    keys = _keys(flat, largest)
    if flat.dtype.kind not in "iub":  # the one looked for, whether greatest or least
        keys = np.where(np.isnan(flat.astype(np.float64)), -np.inf, keys)
    last = keys.shape[-1] - 1
    values = last - np.argmin(keys[..., ::-1], axis=-1) if record.imm[2] else np.argmin(keys, axis=-1)
    out = segment.view(record.out, record.dtype_out, record.dims[:kept], record.strides(0)[:kept])
    store(out, values, record)


def topk(segment: Segment, record: Record) -> None:
    x, k, lines = operand(segment, record, 1), record.imm[2], record.dims[:-1]
    order = np.argsort(_keys(x, bool(record.imm[0])), axis=-1, kind="stable")[..., :k]
    out = segment.view(record.out, record.dtype_out, (*lines, k), record.strides(0))
    for number, index in enumerate(np.ndindex(*lines)):
        if record.lo <= number < record.hi:
            out[index] = order[index]


def scan(segment: Segment, record: Record) -> None:
    x, out, lines = operand(segment, record, 1), operand(segment, record, 0), record.dims[:-1]
    exact = x if x.dtype.kind in "iu" else x.astype(np.float32)
    function = np.add if record.imm[0] == Reduction.SUM else np.multiply
    for number, index in enumerate(np.ndindex(*lines)):
        if record.lo <= number < record.hi:
            line = exact[index][::-1] if record.imm[2] & 2 else exact[index]
            sums = function.accumulate(line, dtype=line.dtype)
            if record.imm[2] & 1:
                sums = np.concatenate([np.array([function.identity], line.dtype), sums[:-1]])
            out[index] = sums[::-1] if record.imm[2] & 2 else sums
