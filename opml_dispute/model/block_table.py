"""
The blocks that a program's records use, as columns of numbers: one row for each block of INPUT, OUTPUT and ARENA.

An answer of a language model has tens of thousands of them, so that they are found, and held against the rules
(`rules`), for all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.node_record import RECORD
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.derived import PlannedBlock, TensorSpec
from opml_dispute.model.record import MAX_FREES, SEC_ARENA

Column = npt.NDArray[np.int64]

STAYS: Final = -1
"""In the column `freed`: the block stays to the end."""
_FREE_OFFSET: Final = np.uint64((1 << 56) - 1)
_FREE_LOG2: Final = np.uint64(56)


@dataclass(frozen=True)
class BlockTable:
    """Columns of equal length, named and meant as the fields of `PlannedBlock`."""

    offset: Column
    log2_size: Column
    word_bytes: Column
    born_node: Column
    freed_node: Column
    """`STAYS` in place of None."""
    size_bytes: Column

    @classmethod
    def of(cls, blocks: Sequence[PlannedBlock]) -> BlockTable:
        """The table of these blocks, in their order."""
        rows = [[STAYS if (value := getattr(block, field.name)) is None else value for field in fields(cls)]
                for block in blocks]  # fmt: skip
        return cls(*np.array(rows, np.int64).reshape(-1, len(fields(cls))).T)

    def blocks(self) -> tuple[PlannedBlock, ...]:
        """The same, block by block."""
        columns = [getattr(self, field.name).tolist() for field in fields(self)]
        return tuple(
            PlannedBlock(offset, log2, width, born, None if freed == STAYS else freed, size)
            for offset, log2, width, born, freed, size in zip(*columns, strict=True)
        )


@dataclass(frozen=True)
class FreeTable:
    """The blocks that records free, in the order of the records."""

    node: Column
    log2_size: Column
    offset: Column

    @classmethod
    def of(cls, records: bytes) -> FreeTable:
        """Those of `records`."""
        rows = np.frombuffer(records, RECORD)
        node, place = np.nonzero(np.arange(MAX_FREES) < rows["n_free"][:, None])
        words = rows["frees"][node, place].astype(np.uint64)
        return cls(node, (words >> _FREE_LOG2).astype(np.int64), (words & _FREE_OFFSET).astype(np.int64))


def planned_blocks(records: bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> BlockTable:
    """
    The blocks of inputs, outputs and activations, in this order.

    A block of ARENA is what a record frees: each node frees the activations that nothing behind it touches.
    """
    freed = _freed_once(FreeTable.of(records))
    starts = np.unique(np.concatenate([np.array([spec.offset for spec in outputs], np.int64), freed.offset]))
    written, born, ends, widths = _written(records, starts)

    def at(column: Column, offsets: Column, otherwise: int | Column) -> Column:
        place = np.minimum(np.searchsorted(starts, offsets), max(starts.size - 1, 0))
        return np.where(written[place], column[place], otherwise) if starts.size else np.zeros(0, np.int64)

    outs = np.array([spec.offset for spec in outputs], np.int64)
    specs = (*inputs, *outputs)
    arena = freed.offset
    columns = (
        ([spec.offset for spec in specs], arena),
        ([spec.log2_size for spec in specs], freed.log2_size),
        ([spec.dtype.width for spec in specs], at(widths, arena, 1)),
        ([STAYS] * len(inputs) + at(born, outs, -1).tolist(), at(born, arena, -1)),
        ([STAYS] * len(specs), freed.node),
        ([spec.size_bytes for spec in specs], at(ends, arena, arena) - arena),
    )
    return BlockTable(*(np.concatenate([np.array(ends, np.int64), planned]) for ends, planned in columns))


def _freed_once(frees: FreeTable) -> FreeTable:
    """The blocks of ARENA that are freed, ascending, each with the last node that frees it."""
    order = np.lexsort((frees.node, frees.log2_size, frees.offset))
    order = order[frees.offset[order] >= SEC_ARENA]
    offset, log2_size = frees.offset[order], frees.log2_size[order]
    last = np.ones(order.size, bool)
    last[:-1] = (offset[1:] != offset[:-1]) | (log2_size[1:] != log2_size[:-1])
    return FreeTable(frees.node[order][last], log2_size[last], offset[last])


def _written(records: bytes, starts: Column) -> tuple[npt.NDArray[np.bool_], Column, Column, Column]:
    """For each start of a block: whether a node writes behind it, the first that does, the end, and the width."""
    extents = validate_records(records).extents[:, 0].astype(np.int64)
    place = np.searchsorted(starts, extents[:, 0], "right") - 1
    nodes = np.flatnonzero((extents[:, 2] > 0) & (place >= 0))
    place = place[nodes]
    first = np.unique(place, return_index=True)
    written = np.zeros(starts.size, bool)
    born, ends, widths = (np.zeros(starts.size, np.int64) for _ in range(3))
    written[first[0]] = True
    born[first[0]] = nodes[first[1]]
    widths[first[0]] = extents[born[first[0]], 2]
    np.maximum.at(ends, place, extents[nodes, 1])
    return written, born, ends, widths
