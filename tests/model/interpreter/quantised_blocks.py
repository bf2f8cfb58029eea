"""Kernels of quantised blocks."""

from __future__ import annotations

import numpy as np

from opml_dispute.model.block_formats import BlockFormat, dequantised
from opml_dispute.model.record import Record
from tests.model import blocks
from tests.model.interpreter.segment import Segment, dense, store


def block_quantise(segment: Segment, record: Record) -> None:
    rows, _, k = record.body[:3]
    elements = record.imm[0]
    made = blocks.quantised(dense(segment, record, 1, rows, k).copy(), elements).reshape(-1, 4 + elements)
    dense(segment, record, 0, *made.shape)[record.lo : record.hi] = made[record.lo : record.hi]


def block_contract(segment: Segment, record: Record) -> None:
    rows, columns, k = record.body[:3]
    fmt = BlockFormat(record.imm[0])
    x = dense(segment, record, 1, rows, fmt.activation_bytes(k)).copy()
    w = dense(segment, record, 2, columns, fmt.row_bytes(k)).copy()
    bias = dense(segment, record, 3, columns) if len(record.inputs) == 3 else None
    store(dense(segment, record, 0, rows, columns), blocks.product(x, w, fmt, bias), record)


def block_gather(segment: Segment, record: Record) -> None:
    rows, columns, k = record.body[:3]
    fmt = BlockFormat(record.imm[0])
    table = blocks.canonical(dequantised(dense(segment, record, 1, columns, fmt.row_bytes(k)).copy(), fmt)).reshape(
        columns, -1, fmt.elements
    )
    index = dense(segment, record, 2, rows) if len(record.inputs) == 2 else np.arange(rows)
    made = table[index].reshape(-1, fmt.elements)
    dense(segment, record, 0, *made.shape)[record.lo : record.hi] = made[record.lo : record.hi]
