"""
Node records and the program's header, as the engine reads them: with NumPy, all at once.

The layout is native/program/record.h's. `model.record` is the same layout from the writing side, a record at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from opml_dispute.engine.values import Block
from opml_dispute.primitives import LEAST_LOG2_STEPS, MOST_LOG2_STEPS, RECORD_BYTES

RECORD: Final = np.dtype(
    [
        ("opcode", ">u2"), ("rank", "u1"), ("n_in", "u1"), ("n_free", "u1"), ("dtype_out", "u1"),
        ("dtypes_in", "u1", 6), ("zero", ">u4"), ("lo", ">u8"), ("hi", ">u8"), ("out", ">u8"), ("inputs", ">u8", 6),
        ("frees", ">u8", 7), ("imm", ">u8", 4), ("body", ">i8", 40), ("reserved", ">u8", 2),
    ]
)  # fmt: skip
"""A node record: `RECORD_BYTES` bytes."""
assert RECORD.itemsize == RECORD_BYTES
N_FREE_AT, LO_AT, HI_AT, FREES_AT = 4, 0x10, 0x18, 0x58
"""Where some of its fields begin."""

COPY, FILL, UNARY, BINARY, SELECT, CAST, CONTRACT, CONV, POOL = 1, 2, 3, 4, 5, 6, 7, 8, 9
REDUCE, ARGREDUCE, GATHER, SCATTER, TOPK, SCAN, TREE, POOL_INDEX = 10, 11, 12, 13, 14, 15, 16, 17
BLOCK_QUANTISE, BLOCK_CONTRACT, BLOCK_GATHER = 18, 19, 20
"""Opcodes (native/program/opcodes.h)."""
DOUBLES, DOUBLE_SUMS, RANKS, DOUBLE_SCANS, DOUBLE_EXTREMES = 0x100, 0x101, 0x102, 0x103, 0x104
"""Opcodes of the host's own steps, which no program has (native/fast/doubles.h)."""
ELEMENTWISE: Final = frozenset({COPY, FILL, UNARY, BINARY, SELECT, CAST, DOUBLES})
WINDOWS: Final = frozenset({CONV, POOL, POOL_INDEX})

_PROGRAM_START: Final = np.dtype([("magic", "S8"), ("version", ">u8"), ("node_count", ">u8"), ("log2_steps", ">u8")])
_PROGRAM_VERSION: Final = 2


def starts_well(program: Block, count: int) -> bool:
    """Whether the header of a program of `count` nodes is one that nodes run under."""
    start = np.frombuffer(program.data, _PROGRAM_START, 1)[0]
    known = (start["magic"], int(start["version"]), int(start["node_count"])) == (b"OPMLPROG", _PROGRAM_VERSION, count)
    return known and LEAST_LOG2_STEPS <= int(start["log2_steps"]) <= MOST_LOG2_STEPS


def log2_steps_of(program: Block) -> int:
    """The logarithm of the VM steps that a node may take, as the program's header has it."""
    return int(np.frombuffer(program.data, _PROGRAM_START, 1)[0]["log2_steps"])
