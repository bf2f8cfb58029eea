"""
A program's records and blocks as columns, for what is asked about every node of a long program at once (`rules`).

Records of one shape, equal but for addresses and ranges, are decoded once (`RecordTable.shapes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.node_record import FREES_AT, RECORD
from opml_dispute.engine.segment_memory import OPERANDS
from opml_dispute.model.block_table import BlockTable, Column
from opml_dispute.model.opcodes import WIDTHS
from opml_dispute.model.record import MAX_FREES, SEC_END, Record
from opml_dispute.primitives import RECORD_BYTES

NOWHERE: Final = -1
"""In place of a block's number: no block contains the byte."""

_HEAD: Final = slice(0, 12)
"""Of a record: opcode, rank, counts and element types, which frees are among."""
_IMM_AT: Final = FREES_AT + 8 * MAX_FREES
_MANY: Final = 1 << 62
"""More outputs than any node has."""
_WIDTH_OF: Final = np.array([WIDTHS.get(number, 1) for number in range(256)], np.int64)  # type: ignore[call-overload]


class RecordTable:
    """The records of a program, decoded. Raises `ValueError` for a number that names no opcode or element type."""

    def __init__(self, records: bytes) -> None:
        self.rows: npt.NDArray[Any] = np.frombuffer(records, RECORD)
        self.shape_of, self.shapes = self._shapes(records)

    @staticmethod
    def _shapes(records: bytes) -> tuple[Column, list[Record]]:
        """For each node the number of its shape, and a record of each shape."""
        numbers: dict[bytes, int] = {}
        shapes: list[Record] = []
        shape_of = np.zeros(len(records) // RECORD_BYTES, np.int64)
        for node in range(shape_of.size):
            start = RECORD_BYTES * node
            head = bytearray(records[start + _HEAD.start : start + _HEAD.stop])
            head[4] = 0  # blocks to free are no part of a shape
            key = bytes(head) + records[start + _IMM_AT : start + RECORD_BYTES]
            number = numbers.setdefault(key, len(shapes))
            if number == len(shapes):
                shapes.append(Record.unpack(records[start : start + RECORD_BYTES]))
            shape_of[node] = number
        return shape_of, shapes

    @cached_property
    def used(self) -> npt.NDArray[np.bool_]:
        """[nodes][operand]: whether the record has it; the output comes first."""
        used: npt.NDArray[np.bool_] = np.arange(OPERANDS) <= self.rows["n_in"][:, None]
        return used

    @cached_property
    def at(self) -> Column:
        """[nodes][operand]: its byte offset; bytes beyond the segment are all taken for the first one there."""
        offsets = np.concatenate([self.rows["out"][:, None], self.rows["inputs"]], axis=1)
        return _signed(offsets, SEC_END)

    @cached_property
    def dtypes(self) -> npt.NDArray[np.uint8]:
        """[nodes][operand]: the number of its element type."""
        return np.concatenate([self.rows["dtype_out"][:, None], self.rows["dtypes_in"]], axis=1)

    @cached_property
    def widths(self) -> Column:
        """[nodes][operand]: the bytes of an element."""
        return _WIDTH_OF[self.dtypes]

    @cached_property
    def lo(self) -> Column:
        """[nodes]: the first output element that the node makes."""
        return _signed(self.rows["lo"], _MANY)

    @cached_property
    def hi(self) -> Column:
        """[nodes]: one past the last output element that the node makes."""
        return _signed(self.rows["hi"], _MANY)


def _signed(words: npt.NDArray[Any], most: int) -> Column:
    """Unsigned words as they are, up to `most`."""
    signed: Column = np.minimum(words, np.uint64(most)).astype(np.int64)
    return signed


class BlockIndex:
    """All blocks of a segment, ascending by offset: planned ones and weights."""

    def __init__(self, table: BlockTable, weights: Sequence[tuple[int, int, int]]) -> None:
        """`weights` are (offset, log2 size, bytes of a word)."""
        extra = np.array(weights, np.int64).reshape(-1, 3).T
        offset = np.concatenate([table.offset, extra[0]])
        order = np.lexsort((np.concatenate([table.log2_size, extra[1]]), offset))
        self.offset = offset[order]
        self.log2_size = np.concatenate([table.log2_size, extra[1]])[order]
        self.word_bytes = np.concatenate([table.word_bytes, extra[2]])[order]
        self.size_bytes = np.left_shift(1, np.minimum(self.log2_size, 62))
        self.row = np.where(order < table.offset.size, order, NOWHERE)
        """Of each block its row in the table; `NOWHERE` if it holds weights."""

    def holder(self, offsets: Column) -> Column:
        """The numbers of the blocks that contain these bytes, `NOWHERE` for bytes in none."""
        place = np.searchsorted(self.offset, offsets, "right") - 1
        inside = (place >= 0) & (offsets < (self.offset + self.size_bytes)[place]) if self.offset.size else place >= 0
        return np.where(inside, place, NOWHERE)

    def at(self, offset: Column) -> Column:
        """The numbers of the blocks that begin at these bytes, `NOWHERE` where none does."""
        place = np.searchsorted(self.offset, offset, "right") - 1
        begins = (place >= 0) & (self.offset[place] == offset) if self.offset.size else place >= 0
        return np.where(begins, place, NOWHERE)
