"""Kernels that look places up: GATHER, SCATTER, TREE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.record import Record, signed64
from tests.model.interpreter.segment import Array, IndexOutOfRange, Segment, operand, packed, store


def _places(segment: Segment, record: Record) -> Array:
    """How far the index tensor moves each point of the iteration space, in elements."""
    q, step = record.imm[0], signed64(record.imm[1])
    strides, sizes = record.body[32 : 32 + q], record.body[36 : 36 + q]
    dims = (*record.dims, q)
    index = segment.view(record.inputs[1], DType.I64, dims, (*record.strides(2), step)).copy()
    moved = np.zeros(record.dims, np.int64)
    for c in range(q):
        if np.any((index[..., c] < -sizes[c]) | (index[..., c] >= sizes[c])):
            raise IndexOutOfRange
        moved += np.where(index[..., c] < 0, index[..., c] + sizes[c], index[..., c]) * strides[c]
    return moved


def _walked(record: Record, operand: int) -> Array:
    """Where each point of the iteration space finds an operand's element, from its element 0."""
    walked = np.zeros(record.dims, np.int64)
    for d, (size, stride) in enumerate(zip(record.dims, record.strides(operand), strict=True)):
        walked += (np.arange(size) * stride).reshape(-1, *(1,) * (record.rank - 1 - d))
    return walked


def gather(segment: Segment, record: Record) -> None:
    elements, first = segment.elements(record.inputs[0], record.dtypes_in[0])
    values = elements[first + _walked(record, 1) + _places(segment, record)]
    store(operand(segment, record, 0), values, record)


def scatter(segment: Segment, record: Record) -> None:
    elements, first = segment.elements(record.out, record.dtype_out)
    places = (first + _walked(record, 0) + _places(segment, record)).reshape(-1)
    updates = operand(segment, record, 1).copy().reshape(-1)
    for number in range(record.lo, record.hi):
        old, new = elements[places[number]], updates[number]
        combined = {
            Reduction.SUM: old + new,
            Reduction.PROD: old * new,
            Reduction.MAX: np.maximum(old, new),
            Reduction.MIN: np.minimum(old, new),
            Reduction.NONE: new,
        }
        elements[places[number]] = combined[Reduction(record.imm[2])]


def tree(segment: Segment, record: Record) -> None:
    rows, features, nodes, trees, weights, targets = record.body[:6]
    shapes = ((rows, features), (nodes, 4), (nodes,), (trees,), (weights,), (weights,))
    operands = zip(record.inputs, record.dtypes_in, shapes, strict=True)
    x, node, threshold, root, target, weight = (
        segment.view(offset, dtype, shape, packed(shape)) for offset, dtype, shape in operands
    )
    out = segment.view(record.out, record.dtype_out, (rows, targets), (targets, 1))
    start = {Reduction.SUM: 0.0, Reduction.MAX: -np.inf, Reduction.MIN: np.inf}[Reduction(record.imm[0])]
    compare: dict[int, Callable[[Any, Any], Any]] = {
        1: np.less_equal, 2: np.less, 3: np.greater_equal, 4: np.greater, 5: np.equal, 6: np.not_equal,
    }  # fmt: skip
    for row in range(record.lo, record.hi):
        out[row] = start
        for at in map(int, root):
            while node[at][0] & 0xFF:
                mode, feature, yes, no = map(int, node[at])
                value = x[row, feature]
                true = bool(mode & 0x100) if np.isnan(value) else compare[mode & 0xFF](value, threshold[at])
                at = yes if true else no
            _, begin, count, _ = map(int, node[at])
            for i in range(begin, begin + count):
                old = out[row, target[i]]
                out[row, target[i]] = {
                    Reduction.SUM: old + weight[i],
                    Reduction.MAX: max(old, weight[i]),
                    Reduction.MIN: min(old, weight[i]),
                }[Reduction(record.imm[0])]
