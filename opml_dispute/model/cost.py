"""
How many VM steps a node takes, at most.

`estimate_steps` never answers less than the guest really needs, whatever the data, so a model's registered step bound
holds for every input; and for the nodes that matter it answers little more. It follows the kernels' own loops
(native/kernels/): what a block or row costs, what each product or element in it, and what a node costs once. The
numbers were measured on the guest, with the worst operands for each function; tests/guest/test_cost.py holds the
estimate against runs of the guest, from both sides.

Tiling (`tile`) keeps nodes within a budget by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from .opcodes import Binary, DType, Opcode, Pool, Reduction, Unary
from .record import MAX_RANK, Record

NODE_STEPS = 1_400
"""Reading roots, mapping, the transition, judging a record without dimensions."""
FREE_STEPS = 60
DIMENSION_STEPS = 110
"""Judging and preparing one dimension of one operand."""
ROW_STEPS = 90
"""One row of a walk: finding it, calling the inner loop."""
ROW_OPERAND_STEPS = 32
CARRY_STEPS = 18
"""Carrying into the next dimension, for the index and for each operand."""
CHUNK_STEPS = 230
"""What each chunk of 64 elements costs beyond its elements, where a kernel works through a buffer."""

# One element, the worst that any operand does to it.
_UNARY = {
    Unary.NEG: 10, Unary.ABS: 11, Unary.SIGN: 15, Unary.RECIPROCAL: 8, Unary.SQRT: 8, Unary.FLOOR: 29, Unary.CEIL: 29,
    Unary.ROUND: 23, Unary.TRUNC: 30, Unary.RELU: 11, Unary.EXP: 38, Unary.LOG: 47, Unary.SIN: 183, Unary.COS: 180,
    Unary.TAN: 188, Unary.ASIN: 43, Unary.ACOS: 41, Unary.ATAN: 34, Unary.SINH: 52, Unary.COSH: 43, Unary.TANH: 61,
    Unary.ASINH: 75, Unary.ACOSH: 69, Unary.ATANH: 70, Unary.ERF: 76, Unary.SIGMOID: 47, Unary.SOFTPLUS: 97,
    Unary.ISNAN: 10, Unary.ISINF: 10, Unary.NOT: 8, Unary.BITNOT: 8,
}  # fmt: skip
_BINARY = {
    Binary.ADD: 10, Binary.SUB: 10, Binary.MUL: 10, Binary.DIV: 10, Binary.MIN: 15, Binary.MAX: 15, Binary.POW: 205,
    Binary.MOD: 185, Binary.FMOD: 170, Binary.EQ: 12, Binary.LT: 12, Binary.LE: 12, Binary.PRELU: 14,
    Binary.ATAN2: 62, Binary.AND: 10, Binary.OR: 10, Binary.XOR: 10,
}  # fmt: skip
_INTEGER_BINARY = {
    Binary.DIV: 20, Binary.MOD: 25, Binary.FMOD: 20, Binary.SHL: 14, Binary.SHR: 14, Binary.PRELU: 14,
}  # fmt: skip
_POWER_STEPS_PER_BIT = 17
_CONSTANTS = {
    Unary.SOFTPLUS: 230, Unary.ERF: 230, Unary.ATANH: 155, Unary.ASINH: 130, Unary.TANH: 125, Unary.SIN: 110,
    Unary.COS: 110, Unary.TAN: 110, Unary.ACOSH: 110, Unary.LOG: 105, Unary.SINH: 95, Unary.SIGMOID: 85,
    Unary.COSH: 85, Unary.ACOS: 85, Unary.EXP: 75, Unary.ASIN: 75, Unary.ATAN: 70,
}  # fmt: skip
_BINARY_CONSTANTS = {Binary.POW: 170, Binary.ATAN2: 90, Binary.MOD: 35, Binary.FMOD: 35}
"""What a row costs more where the function's coefficients must be brought into registers first."""
_HALF_UNARY, _HALF_BINARY = 58, 63
"""Widening and rounding binary16 or bfloat16, over all operands."""


def estimate_steps(record: Record) -> int:
    """VM steps that the guest needs for this node, at most."""
    operands = 1 + len(record.inputs)
    fixed = NODE_STEPS + FREE_STEPS * len(record.frees) + DIMENSION_STEPS * record.rank * operands
    count = record.hi - record.lo
    return int(fixed + (_KERNELS[record.opcode](record, count) if count else 0)) + 1


# Walks over strided operands


def _levels(record: Record, dims: Sequence[int], operands: int) -> list[int]:
    """Sizes of a walk's dimensions, the row first, merged as in native/kernels/walk.c."""
    widths = [record.dtype_out.width, *(dtype.width for dtype in record.dtypes_in)]
    sizes: list[int] = []
    steps: list[int] = []
    for d in reversed(range(len(dims))):
        if dims[d] == 1:
            continue
        here = [record.body[MAX_RANK * (1 + j) + d] * widths[j] for j in range(operands)]
        if sizes and here == [step * sizes[-1] for step in steps]:
            sizes[-1] *= dims[d]
        else:
            sizes.append(dims[d])
            steps = here
    return sizes or [1]


def _rows(record: Record, dims: Sequence[int], operands: int, count: int) -> tuple[int, int]:
    """(rows that a walk takes for `count` elements, length of a row)."""
    size = _levels(record, dims, operands)[0]
    return min(count, count // size + 2), size


def _row_steps(record: Record, dims: Sequence[int], operands: int, count: int) -> float:
    """All rows of a walk, without what happens in them."""
    size, *outer = _levels(record, dims, operands)
    rows = min(count, count // size + 2)
    carries = float(rows)
    for level in outer[:-1]:
        rows = rows // level + 1
        carries += rows
    first = min(count, count // size + 2)
    return first * (ROW_STEPS + ROW_OPERAND_STEPS * operands) + (carries - first) * CARRY_STEPS * (1 + operands)


def _walk(record: Record, count: int, element: float, *, row: float = 0.0) -> float:
    """An elementwise kernel: its elements and its rows."""
    operands = 1 + len(record.inputs)
    rows, _ = _rows(record, record.dims, operands, count)
    return count * element + rows * row + _row_steps(record, record.dims, operands, count) + DIMENSION_STEPS * 4


def _chunks(record: Record, count: int, more: float = 0.0) -> float:
    """What the chunks of all rows cost beyond their elements."""
    rows, size = _rows(record, record.dims, 1 + len(record.inputs), count)
    return (CHUNK_STEPS + more) * rows * (1 + min(size, count) // 64)


def _unary(record: Record, count: int) -> float:
    element, constants = _UNARY[Unary(record.imm[0])], _CONSTANTS.get(Unary(record.imm[0]), 0)
    if _is_half(record):
        return _walk(record, count, element + _HALF_UNARY) + _chunks(record, count, constants)
    return _walk(record, count, element, row=constants)


def _binary(record: Record, count: int) -> float:
    function, dtype = Binary(record.imm[0]), record.dtypes_in[0]
    if dtype.is_integer:
        power = 20 + _POWER_STEPS_PER_BIT * min(8 * dtype.width, 64)
        return _walk(record, count, power if function is Binary.POW else _INTEGER_BINARY.get(function, 12))
    element, constants = _BINARY[function], _BINARY_CONSTANTS.get(function, 0)
    if _is_half(record):
        return _walk(record, count, element + _HALF_BINARY) + _chunks(record, count, CHUNK_STEPS + constants)
    return _walk(record, count, element, row=constants)


def _cast(record: Record, count: int) -> float:
    return _walk(record, count, 82) + _chunks(record, count)


def _copy(record: Record, count: int) -> float:
    _, size = _rows(record, record.dims, 2, count)
    packed = size > 1 and record.strides(0)[-1:] == record.strides(1)[-1:] == (1,)
    # Packed rows go by memcpy: whole words where both ends are aligned alike, else byte by byte at worst.
    element = 6.5 if not packed else 6.5 * record.dtype_out.width if _misaligned(record) else 4
    return _walk(record, count, element, row=110)


def _misaligned(record: Record) -> bool:
    """Whether a packed copy may meet ends that no word fits."""
    return (record.out ^ record.inputs[0]) % 4 != 0 or record.dtype_out.width < 4


def _fill(record: Record, count: int) -> float:
    return _walk(record, count, 5)


def _select(record: Record, count: int) -> float:
    return _walk(record, count, 12)


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


def _contract(record: Record, count: int) -> float:
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
    parts = _partial_rows(record.lo, record.hi, n)
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


def _partial_rows(lo: int, hi: int, row: int) -> list[int]:
    """How many outputs of a row that it does not have whole the range takes, at its start and end."""
    if lo // row == (hi - 1) // row:
        return [hi - lo] if hi - lo < row else []
    return [part for part in (-lo % row, hi % row) if part]


def _groups_of_four(lo: int, hi: int, row: int, rows: int) -> tuple[int, int]:
    """(times four rows are made at once, times one row or part of one is): `rows` belong together, fours among them."""
    singles = len(_partial_rows(lo, hi, row))
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
    (4, 4): (330, 26, 12, 44.5),
    (4, 1): (230, 27, 12, 17),
    (1, 4): (180, 27, 13, 16.5),
    (1, 1): (130, 25, 13, 7),
}
_POINT = {(4, 4): 30.5, (4, 1): 13.5, (1, 4): 13.5, (1, 1): 7.5}
"""One channel of windows of one tap, all inside."""
_EDGE = {(4, 4): (330, 57, 24, 64), (4, 1): (230, 45, 20, 23), (1, 4): (180, 56, 20, 35), (1, 1): (130, 42, 18, 13.5)}
_OTHER_EDGE = {
    "f16": {4: (760, 60, 22, 223), 1: (330, 60, 22, 113)},
    "bf16": {4: (600, 60, 32, 86), 1: (260, 60, 28, 48)},
    "small": {4: (330, 82, 50, 108), 1: (220, 76, 42, 45)},
    "i64": {4: (420, 82, 50, 126), 1: (290, 76, 42, 49)},
}


def _conv(record: Record, count: int) -> float:
    rank, _, channels, made, groups = record.body[:5]
    taps_w = record.body[8 + rank - 1]
    depth, out_size = channels // groups, prod(record.body[20 : 20 + rank])
    lines = prod(record.body[8 : 8 + rank - 1])
    kind = _kind(record)
    blocks = _conv_blocks(record)
    fours, singles = _groups_of_four(record.lo, record.hi, out_size, made // groups)
    total = 0.0
    steps: tuple[float, float, float, float]
    for at_once, times in ((4, fours), (1, singles)):
        for windows, inside, number in blocks:
            if kind != "f32":
                steps = _OTHER_EDGE[kind][at_once]
            elif inside and lines * taps_w == 1:
                steps = _INSIDE[at_once, windows][0], _POINT[at_once, windows], 0, 0
            else:
                steps = (_INSIDE if inside else _EDGE)[at_once, windows]
            once, channel, line, tap = steps
            bias = 60 if len(record.inputs) == 3 else 0
            total += times * number * (once + bias + depth * (channel + lines * (line + taps_w * tap)))
    rows = out_size // record.body[20 + rank - 1]
    return total + (fours + singles) * (420 + 110 * rows) + 600


def _conv_blocks(record: Record) -> list[tuple[int, bool, int]]:
    """(windows at once, all taps inside, how many such blocks) of one channel's output."""
    rank = record.body[0]
    size, kernel, stride, dilation, pad, out = (record.body[5 + 3 * i : 5 + 3 * i + rank] for i in range(6))
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]

    def is_inside(d: int, first: int, windows: int) -> bool:
        at = first * stride[d] - pad[d]
        return at >= 0 and at + (windows - 1) * stride[d] + reach[d] < size[d]

    # Lines whose taps are all inside, by the outer dimensions; then the blocks of a line.
    lines = prod(out[:-1])
    lines_inside = prod(sum(is_inside(d, i, 1) for i in range(out[d])) for d in range(rank - 1))
    counts: dict[tuple[int, bool], int] = {}
    for first in range(0, out[-1], 4):
        windows = 1 if out[-1] - first == 1 else 4
        inside = is_inside(rank - 1, first, windows)
        counts[windows, inside] = counts.get((windows, inside), 0) + lines_inside
        counts[windows, False] = counts.get((windows, False), 0) + lines - lines_inside
    return [(windows, inside, number) for (windows, inside), number in counts.items() if number]


def _pool(record: Record, count: int) -> float:
    rank = record.body[0]
    kernel = record.body[8 : 8 + rank]
    taps, lines = prod(kernel), prod(kernel[:-1])
    dtype = record.dtypes_in[0]
    dilated = 60 * rank if any(d != 1 for d in record.body[14 : 14 + rank]) else 0
    if record.opcode is Opcode.POOL_INDEX:
        return count * (260 + dilated + 45 * lines + taps * 101)
    tap = {DType.F32: 11.5, DType.F16: 26.0, DType.BF16: 15.0}.get(dtype, 52.0)
    divide = 70 if record.imm[0] in (Pool.AVERAGE, Pool.AVERAGE_PADDED) else 0
    return count * (230 + dilated + divide + 48 * lines + taps * tap)


# Along dimensions


def _reduced(record: Record) -> tuple[int, int]:
    """(elements below one output, rows that a walk over them takes)."""
    kept = record.rank - record.imm[1]
    count = prod(record.dims[kept:])
    size, step = 1, None
    for d in reversed(range(kept, record.rank)):
        if record.dims[d] == 1:
            continue
        here = record.strides(1)[d]
        if step is not None and here != step * size:
            break
        step, size = (here if step is None else step), size * record.dims[d]
    return count, count // size


def _outputs(record: Record, count: int) -> float:
    """The walk over the outputs of a kernel along dimensions: every output may be a row of its own."""
    return _row_steps(record, record.dims[: record.rank - record.imm[1]], 2, count) + DIMENSION_STEPS * 6


_REDUCE = {DType.F32: (2.7, 6.6), DType.F16: (21.0, 24.0), DType.BF16: (4.7, 8.6)}
"""One element of a sum or product, of a maximum or minimum."""


def _reduce(record: Record, count: int) -> float:
    elements, rows = _reduced(record)
    extreme = record.imm[0] in (Reduction.MAX, Reduction.MIN)
    if record.dtypes_in[0] in _REDUCE:
        each = _REDUCE[record.dtypes_in[0]][extreme]
        ragged = 22 if record.dtypes_in[0] is not DType.F16 else 42
        # Up to seven elements before and behind the whole rounds of eight, in every row.
        row = 140 + (14 if rows > 1 else 7) * ragged
        return count * (150 + elements * each + rows * row) + _outputs(record, count)
    return count * (390 + elements * 24 + rows * (160 + 20 * (1 + elements // rows // 64))) + _outputs(record, count)


def _argreduce(record: Record, count: int) -> float:
    elements, rows = _reduced(record)
    each = {DType.F32: 39, DType.F16: 60, DType.BF16: 41}.get(record.dtypes_in[0], 30)
    chunks = rows * (1 + elements // rows // 64)
    return count * (200 + elements * each + rows * 120 + chunks * 130) + _outputs(record, count)


def _topk(record: Record, count: int) -> float:
    length, k = record.dims[-1], record.imm[2]
    compare = {DType.F32: 105, DType.F16: 150, DType.BF16: 112}.get(record.dtypes_in[0], 118)
    depth = max(k - 1, 0).bit_length()  # levels of the heap below its top
    # Building the heap, each later element against its top and down, then taking out one by one.
    sift = 45 + depth * (2 * compare + 45)
    return count * (300 + k * 8 + (k // 2 + 1) * sift + (length - k) * (compare + 15 + sift) + k * (sift + 20)) + (
        _outputs(record, count)
    )


def _scan(record: Record, count: int) -> float:
    length = record.dims[-1]
    half = 35 if _is_half(record) else 0
    return count * (200 + length * (24 + half) + (1 + length // 64) * 110) + _outputs(record, count)


# At places that a tensor names


def _gather(record: Record, count: int) -> float:
    q = record.imm[0]
    rows, size = _rows(record, record.dims, 3, count)
    # Indices are looked at first. Then each element finds its place and is moved by a call.
    check = 18 * q + 12
    one_place = size > 1 and _index_step(record) == 0
    element = 7.0 * max(record.dtype_out.width, 1) if one_place else 60 + 20 * q
    if one_place and not _misaligned(record) and record.strides(0)[-1:] == record.strides(1)[-1:] == (1,):
        element = 4.5
    return 300 + count * (check + element) + rows * (140 + 40 * q) + 2 * _row_steps(record, record.dims, 3, count)


def _scatter(record: Record, count: int) -> float:
    q = record.imm[0]
    rows, _ = _rows(record, record.dims, 3, count)
    combine = 0 if record.imm[2] == Reduction.NONE else 330
    each = 18 * q + 12 + 60 + 20 * q + combine
    return count * each + rows * (140 + 40 * q) + 2 * _row_steps(record, record.dims, 3, count)


def _index_step(record: Record) -> int:
    """The index tensor's stride in the row of the walk."""
    for d in reversed(range(record.rank)):
        if record.dims[d] != 1:
            return record.strides(2)[d]
    return 0


def _tree(record: Record, count: int) -> float:
    _, _, _, trees, _, targets, depth, leaf_weights = record.body[:8]
    return count * (60 + 6 * targets + trees * (70 + 42 * (depth + 1) + 42 * leaf_weights)) + 200


def _is_half(record: Record) -> bool:
    return record.dtypes_in[0] in (DType.F16, DType.BF16)


_KERNELS = {
    Opcode.COPY: _copy,
    Opcode.FILL: _fill,
    Opcode.UNARY: _unary,
    Opcode.BINARY: _binary,
    Opcode.SELECT: _select,
    Opcode.CAST: _cast,
    Opcode.CONTRACT: _contract,
    Opcode.CONV: _conv,
    Opcode.POOL: _pool,
    Opcode.POOL_INDEX: _pool,
    Opcode.REDUCE: _reduce,
    Opcode.ARGREDUCE: _argreduce,
    Opcode.TOPK: _topk,
    Opcode.SCAN: _scan,
    Opcode.GATHER: _gather,
    Opcode.SCATTER: _scatter,
    Opcode.TREE: _tree,
}
