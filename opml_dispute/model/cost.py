"""
How many VM steps a node takes, from its record alone.

`estimate_steps` never answers less than the guest really needs, whatever the record (a compiler's or a stranger's) and
whatever the data, so a model's registered step bound holds for every input: else a dispute about it would have no end.
It is a formula per kernel: what each output element costs, what each row of the walk costs, and what the node costs
once. The numbers were measured one by one on the worst operands, and are a tenth or more above what was found;
tests/guest/test_cost.py holds them to runs of the guest. Tiling (`tile`) keeps nodes within a budget by it.

Whole numbers only: what is estimated decides how a model is cut, and so its root.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .opcodes import Binary, DType, Opcode, Reduction, Unary
from .record import Record

NODE_STEPS = 6_000
"""Reading roots, mapping, judging the record, freeing blocks: what every node costs."""

_ROW_STEPS = 280
"""One row of a strided walk: carrying up to eight indices, calling the inner loop."""
_GATHER_ROW_STEPS = 360
_LONG_ROW_STEPS = 620
"""The same where the inner loop first fetches many constants, or works in chunks."""

_UNARY = {
    Unary.NEG: 11, Unary.ABS: 12, Unary.SIGN: 18, Unary.RECIPROCAL: 9, Unary.SQRT: 9, Unary.FLOOR: 34, Unary.CEIL: 34,
    Unary.ROUND: 28, Unary.TRUNC: 34, Unary.RELU: 13, Unary.EXP: 60, Unary.LOG: 80, Unary.SIN: 200, Unary.COS: 200,
    Unary.TAN: 210, Unary.ASIN: 60, Unary.ACOS: 65, Unary.ATAN: 60, Unary.SINH: 90, Unary.COSH: 80, Unary.TANH: 100,
    Unary.ASINH: 150, Unary.ACOSH: 150, Unary.ATANH: 150, Unary.ERF: 110, Unary.SIGMOID: 80, Unary.SOFTPLUS: 180,
    Unary.ISNAN: 12, Unary.ISINF: 14, Unary.NOT: 10, Unary.BITNOT: 10,
}  # fmt: skip
_BINARY = {
    Binary.ADD: 12, Binary.SUB: 12, Binary.MUL: 12, Binary.DIV: 24, Binary.MIN: 16, Binary.MAX: 16, Binary.POW: 420,
    Binary.MOD: 330, Binary.FMOD: 330, Binary.SHL: 16, Binary.SHR: 16, Binary.EQ: 14, Binary.LT: 14, Binary.LE: 14,
    Binary.PRELU: 18, Binary.ATAN2: 120,
}  # fmt: skip
_INTEGER_POWER_STEPS = 1_200
"""64 squarings and products, for exponents with all bits set."""
_HALF_STEPS = 90
"""Widening and rounding a binary16 or bfloat16 element, over all operands; subnormals take longest."""
_SIMPLE = 40
"""Functions of fewer steps have short rows too."""


def estimate_steps(record: Record) -> int:
    """VM steps that the guest needs for this node, at most."""
    return NODE_STEPS + _kernel_steps(record)


def _kernel_steps(record: Record) -> int:
    count = record.hi - record.lo
    if count == 0:
        return 0
    match record.opcode:
        case Opcode.CONTRACT:
            return _contract_steps(record)
        case Opcode.CONV:
            return _conv_steps(record)
        case Opcode.POOL | Opcode.POOL_INDEX:
            return _pool_steps(record, count)
        case Opcode.REDUCE:
            return _reduce_steps(record, count)
        case Opcode.ARGREDUCE:
            return count * (520 + _reduced(record) * 60 + _reduced_rows(record) * _ROW_STEPS)
        case Opcode.TOPK:
            length, k = record.dims[-1], record.imm[2]
            return count * (480 + (length + 2 * k) * (100 + 220 * max(k.bit_length(), 1)))
        case Opcode.SCAN:
            return count * (480 + record.dims[-1] * 64)
        case Opcode.TREE:
            _, _, _, trees, _, targets, depth, leaf_weights = record.body[:8]
            return count * (80 + 10 * targets + trees * (80 + 50 * depth + 45 * leaf_weights))
        case Opcode.GATHER | Opcode.SCATTER:
            combines = record.opcode is Opcode.SCATTER and record.imm[2] != Reduction.NONE
            return count * (120 + 32 * record.imm[0] + (120 if combines else 0)) + _rows(record) * _GATHER_ROW_STEPS
        case Opcode.UNARY | Opcode.BINARY:
            function, half = _function_steps(record), _HALF_STEPS if _is_half(record) else 0
            row = _ROW_STEPS if function < _SIMPLE and not half else _LONG_ROW_STEPS
            return count * (function + half) + _rows(record) * row
        case Opcode.CAST:
            return count * 90 + _rows(record) * _LONG_ROW_STEPS
        case Opcode.SELECT:
            return count * 14 + _rows(record) * _ROW_STEPS
        case _:  # COPY and FILL; narrow elements may move byte by byte
            return count * (16 if record.dtype_out.width <= 2 else 10) + _rows(record) * _ROW_STEPS


def _function_steps(record: Record) -> int:
    """One element of an elementwise function, in binary32 or integers."""
    if record.opcode is Opcode.UNARY:
        return _UNARY[Unary(record.imm[0])]
    function = Binary(record.imm[0])
    if record.dtypes_in[0].is_integer and function is Binary.POW:
        return _INTEGER_POWER_STEPS
    return _BINARY.get(function, 14)


# Contractions and convolutions: blocks of up to 4 x 4 outputs share their loads


@dataclass(frozen=True, slots=True)
class _Block:
    """What one block of outputs costs."""

    line: int
    """A row of taps in a convolution; nothing in a contraction."""
    tap: int
    """One product of each of its outputs."""
    once: int
    """Starting it, finishing its outputs."""

    def steps(self, lines: int, taps: int) -> int:
        return lines * self.line + taps * self.tap + self.once


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Four or one rows (or output channels) by four or one columns (or positions)."""

    four_by_four: _Block
    four_by_one: _Block
    one_by_four: _Block
    one_by_one: _Block


_CONTRACT: dict[str, _Blocks] = {
    "f32": _Blocks(_Block(0, 32, 1000), _Block(0, 15, 370), _Block(0, 15, 380), _Block(0, 8, 150)),
    "f16": _Blocks(_Block(0, 220, 1600), _Block(0, 97, 540), _Block(0, 97, 550), _Block(0, 40, 220)),
    "bf16": _Blocks(_Block(0, 57, 1200), _Block(0, 29, 420), _Block(0, 29, 430), _Block(0, 13, 170)),
    "int": _Blocks(_Block(0, 88, 720), _Block(0, 24, 310), _Block(0, 24, 320), _Block(0, 11, 160)),
    "int64": _Blocks(_Block(0, 131, 720), _Block(0, 27, 320), _Block(0, 27, 320), _Block(0, 11, 150)),
}
_CONTRACT_ROW_STEPS = 340
"""One turn of the outer loop: finding four rows, or one, among up to six batch dimensions."""

_CONV: dict[str, _Blocks] = {
    # Windows in the padding: every tap is looked at.
    "f32": _Blocks(_Block(178, 72, 800), _Block(64, 26, 400), _Block(168, 39, 520), _Block(55, 17, 280)),
    # All windows inside.
    "f32 inside": _Blocks(_Block(55, 50, 860), _Block(37, 20, 420), _Block(50, 19, 580), _Block(32, 8, 310)),
    "f16": _Blocks(_Block(180, 305, 1200), _Block(180, 305, 1200), _Block(168, 178, 520), _Block(168, 178, 520)),
    "bf16": _Blocks(_Block(198, 97, 800), _Block(198, 97, 800), _Block(176, 55, 420), _Block(176, 55, 420)),
    "int": _Blocks(_Block(220, 123, 500), _Block(220, 123, 500), _Block(192, 52, 330), _Block(192, 52, 330)),
    "int64": _Blocks(_Block(208, 134, 560), _Block(208, 134, 560), _Block(188, 54, 420), _Block(188, 54, 420)),
}
_CONV_ROW_STEPS = 420
"""One turn of the outer loop: finding four channels, or one, and the first window."""


def _arithmetic(record: Record) -> str:
    """Which loops a product of the operands' dtypes runs in."""
    dtype = record.dtypes_in[0]
    names = {DType.F32: "f32", DType.F16: "f16", DType.BF16: "bf16", DType.I64: "int64", DType.U64: "int64"}
    return names.get(dtype, "int")


def _contract_steps(record: Record) -> int:
    rows, columns, depth = record.dims[-2], record.dims[-1], record.imm[0]
    blocks = _CONTRACT[_arithmetic(record)]

    def row(of_four: _Block, of_one: _Block, count: int) -> int:
        return count // 4 * of_four.steps(0, depth) + count % 4 * of_one.steps(0, depth) + _CONTRACT_ROW_STEPS

    fours, ones, parts = _cut(record, rows, columns)
    return (
        fours * row(blocks.four_by_four, blocks.four_by_one, columns)
        + ones * row(blocks.one_by_four, blocks.one_by_one, columns)
        # A part of a row may be cut so that fewer of its columns share a block.
        + sum(row(blocks.one_by_four, blocks.one_by_one, part) for part in parts)
    )


def _conv_steps(record: Record) -> int:
    spatial, _, channels, outputs, groups, *fields = record.body[:23]
    inputs, kernel, stride, dilation, pad, output = (fields[i : i + spatial] for i in range(0, 18, 3))
    lines = channels // groups * prod(kernel[:-1])
    taps: int = lines * kernel[-1]
    # Output positions, along each dimension, whose window lies inside the input.
    inside: int = prod(
        max(0, min(o, (i - (k - 1) * d - 1 + p) // s + 1) - max(0, -(-p // s)))
        for i, k, s, d, p, o in zip(inputs, kernel, stride, dilation, pad, output, strict=True)
    )
    positions = prod(output)
    arithmetic = _arithmetic(record)
    edge = _CONV[arithmetic]
    within = _CONV.get(arithmetic + " inside", edge)

    def row(four: bool, count: int) -> int:
        def block(blocks: _Blocks, wide: bool) -> int:
            if wide:
                chosen = blocks.four_by_four if four else blocks.one_by_four
            else:
                chosen = blocks.four_by_one if four else blocks.one_by_one
            return chosen.steps(lines, taps)

        # Only binary32 has blocks of one position: the others make four, and leave out what is too many.
        wide, single = (count // 4, count % 4) if arithmetic == "f32" else (-(-count // 4), 0)
        at_edge = min(count, positions - inside)
        wide_at_edge = min(wide, at_edge)
        single_block = max(block(edge, wide=False), block(within, wide=False)) if at_edge else block(within, wide=False)
        return (
            wide_at_edge * max(block(edge, wide=True), block(within, wide=True))
            + (wide - wide_at_edge) * block(within, wide=True)
            + single * single_block
            + _CONV_ROW_STEPS
        )

    fours, ones, parts = _cut(record, outputs // groups, positions)
    return fours * row(True, positions) + ones * row(False, positions) + sum(row(False, part) for part in parts)


def _cut(record: Record, rows: int, columns: int) -> tuple[int, int, tuple[int, ...]]:
    """
    How a range over matrices of `rows` x `columns` is worked through: at most so many times four rows, so many single
    ones (which cost more than a quarter of four), and the parts of rows at both ends.
    """
    first, last = -(-record.lo // columns), record.hi // columns
    if first > last:  # within one row
        return 0, 0, (record.hi - record.lo,)
    parts = tuple(part for part in (first * columns - record.lo, record.hi - last * columns) if part)
    whole = last - first
    # Each matrix leaves rows % 4 of its rows over; one that the range begins or ends in may leave three.
    ones = min(whole, (whole // rows) * (rows % 4) + 6)
    return -(-(whole - ones) // 4), ones, parts


def _pool_steps(record: Record, count: int) -> int:
    kernel = record.body[8 : 8 + record.body[0]]
    if record.opcode is Opcode.POOL_INDEX:
        tap = 112
    elif record.dtypes_in[0].is_integer:
        tap = 56
    else:
        tap = 32 if _is_half(record) else 14
    return count * (290 + prod(kernel[:-1]) * 52 + prod(kernel) * tap)


def _reduce_steps(record: Record, count: int) -> int:
    compares = record.imm[0] in (Reduction.MAX, Reduction.MIN)
    each = 34 if record.dtypes_in[0] is not DType.F32 else 12 if compares else 8
    return count * (520 + _reduced(record) * each + _reduced_rows(record) * _ROW_STEPS)


def _rows(record: Record) -> int:
    """Rows of the walk over the outputs, at most."""
    count = record.hi - record.lo
    row = record.dims[-1] if record.dims else 1
    return count // max(row, 1) + 2


def _reduced(record: Record) -> int:
    return prod(record.dims[record.rank - record.imm[1] :])


def _reduced_rows(record: Record) -> int:
    return prod(record.dims[record.rank - record.imm[1] : -1]) if record.imm[1] else 1


def _is_half(record: Record) -> bool:
    return DType.F16 in record.dtypes_in or DType.BF16 in record.dtypes_in
