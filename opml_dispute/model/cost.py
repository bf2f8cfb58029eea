"""
How many VM steps a node takes, at most.

`estimate_steps` never answers less than the guest really needs (tests/guest/test_cost.py compares it with runs of the
guest), so a model's registered step bound holds for every input. It is a formula per kernel: what each output element
costs, what each row of the walk costs, and what the node costs once. Tiling (`tile`) keeps nodes within a budget by it.
"""

from __future__ import annotations

from math import prod

from .opcodes import Binary, DType, Opcode, Reduction, Unary
from .record import Record

NODE_STEPS = 6_000
"""Reading roots, mapping, judging the record, freeing blocks: what every node costs."""

ROW_STEPS = 160
"""One row of a strided walk: carrying the indices, calling the inner loop."""

_UNARY = {
    Unary.NEG: 9, Unary.ABS: 10, Unary.SIGN: 18, Unary.RECIPROCAL: 9, Unary.SQRT: 9, Unary.FLOOR: 32, Unary.CEIL: 32,
    Unary.ROUND: 24, Unary.TRUNC: 32, Unary.RELU: 11, Unary.EXP: 60, Unary.LOG: 80, Unary.SIN: 140, Unary.COS: 140,
    Unary.TAN: 150, Unary.ASIN: 60, Unary.ACOS: 65, Unary.ATAN: 60, Unary.SINH: 90, Unary.COSH: 80, Unary.TANH: 100,
    Unary.ASINH: 150, Unary.ACOSH: 150, Unary.ATANH: 150, Unary.ERF: 110, Unary.SIGMOID: 80, Unary.SOFTPLUS: 180,
    Unary.ISNAN: 10, Unary.ISINF: 12, Unary.NOT: 9, Unary.BITNOT: 8,
}  # fmt: skip
_BINARY = {
    Binary.ADD: 10, Binary.SUB: 10, Binary.MUL: 10, Binary.DIV: 20, Binary.MIN: 15, Binary.MAX: 15, Binary.POW: 420,
    Binary.MOD: 330, Binary.FMOD: 330, Binary.SHL: 16, Binary.SHR: 16, Binary.EQ: 14, Binary.LT: 14, Binary.LE: 14,
    Binary.PRELU: 16, Binary.ATAN2: 120,
}  # fmt: skip
_HALF_STEPS = 70
"""Widening and rounding a binary16 or bfloat16 element, over all operands."""


def estimate_steps(record: Record) -> int:
    """VM steps that the guest needs for this node, at most."""
    return NODE_STEPS + _kernel_steps(record)


def _kernel_steps(record: Record) -> int:
    count = record.hi - record.lo
    if count == 0:
        return 0
    match record.opcode:
        case Opcode.CONTRACT:
            return _contract_steps(record, count)
        case Opcode.CONV:
            return _conv_steps(record, count)
        case Opcode.POOL | Opcode.POOL_INDEX:
            taps = prod(record.body[8 : 8 + record.body[0]])
            return count * (250 + taps * (60 if record.opcode is Opcode.POOL_INDEX or _is_half(record) else 30))
        case Opcode.REDUCE:
            return _reduce_steps(record, count)
        case Opcode.ARGREDUCE:
            return count * (300 + _reduced(record) * 40 + _reduced_rows(record) * ROW_STEPS) + _rows(record)
        case Opcode.TOPK:
            length, k = record.dims[-1], record.imm[2]
            return count * (200 + (length + 2 * k) * (100 + 220 * max(k.bit_length(), 1))) + _rows(record)
        case Opcode.SCAN:
            return count * (200 + record.dims[-1] * 60) + _rows(record)
        case Opcode.TREE:
            _, _, _, trees, _, targets, depth, leaf_weights = record.body[:8]
            return count * (60 + 8 * targets + trees * (60 + 45 * depth + 40 * leaf_weights))
        case Opcode.GATHER | Opcode.SCATTER:
            return count * (80 + 40 * record.imm[0]) + 2 * _rows(record)
        case _:
            return count * _element_steps(record) + _rows(record)


def _element_steps(record: Record) -> int:
    """One element of an elementwise kernel or a move."""
    half = _HALF_STEPS if _is_half(record) else 0
    match record.opcode:
        case Opcode.UNARY:
            return _UNARY.get(Unary(record.imm[0]), 20) + half
        case Opcode.BINARY:
            function = Binary(record.imm[0])
            if record.dtypes_in[0].is_integer and function is Binary.POW:
                return 500
            return _BINARY.get(function, 14) + half
        case Opcode.CAST:
            return 80
        case Opcode.SELECT:
            return 14
        case _:
            return 10


def _contract_steps(record: Record, count: int) -> int:
    columns, depth = record.dims[-1], record.imm[0]
    wide = _is_half(record)
    # Whole blocks of 4 x 4 take under two steps a product; single rows and columns up to nine.
    product = 24 if wide else 7
    blocks = 2 * columns + count  # what no block of four rows covers, at most
    full = max(count - blocks, 0)
    per_full = 9 if wide else 2.75 if columns % 4 == 0 else 2.75 + 6 * (columns % 4) / columns
    return int(full * (depth * per_full + 40) + (count - full) * (depth * product + 80)) + count * 40


def _conv_steps(record: Record, count: int) -> int:
    taps = prod(record.body[8 : 8 + record.body[0]]) * (record.body[2] // record.body[4])
    return count * (taps * (24 if _is_half(record) else 14) + 200)


def _reduce_steps(record: Record, count: int) -> int:
    each = 30 if record.dtypes_in[0] is not DType.F32 else 9 if record.imm[0] in (Reduction.MAX, Reduction.MIN) else 6
    return count * (400 + _reduced(record) * each + _reduced_rows(record) * ROW_STEPS) + _rows(record)


def _rows(record: Record) -> int:
    """All rows of the walk over the outputs."""
    count = record.hi - record.lo
    row = record.dims[-1] if record.dims and record.opcode not in _REDUCERS else 1
    return (count // max(row, 1) + 2) * ROW_STEPS


def _reduced(record: Record) -> int:
    return prod(record.dims[record.rank - record.imm[1] :])


def _reduced_rows(record: Record) -> int:
    return prod(record.dims[record.rank - record.imm[1] : -1]) if record.imm[1] else 1


def _is_half(record: Record) -> bool:
    return DType.F16 in record.dtypes_in or DType.BF16 in record.dtypes_in


_REDUCERS = frozenset({Opcode.REDUCE, Opcode.ARGREDUCE, Opcode.TOPK, Opcode.SCAN})
