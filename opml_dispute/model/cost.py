"""
How many VM steps a node takes, at most.

`estimate_steps` never answers less than the guest really needs, whatever the data, so a model's registered step bound
holds for every input; and for the nodes that matter it answers little more. It follows the kernels' own loops
(native/kernels/): what a block or row costs, what each product or element in it, and what a node costs once. The
numbers were measured on the guest, with the worst operands for each function; tests/guest/test_cost.py and
test_estimates.py hold the estimate against runs of the guest, from both sides.

Tiling (`tile`) keeps nodes within a budget by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod

from opml_dispute.model.cost_windows import contract, conv, pool
from opml_dispute.model.opcodes import Binary, DType, Opcode, Reduction, Unary
from opml_dispute.model.record import MAX_RANK, Record

NODE_STEPS = 1_400
"""Reading roots, mapping, the transition, judging a record without dimensions."""
FREE_STEPS = 60
DIMENSION_STEPS, DIMENSION_OPERAND_STEPS = 180, 60
"""Judging and preparing one dimension of a walk, and of each operand in it."""
ROW_STEPS, ROW_OPERAND_STEPS = 62, 21
"""One row of a walk: finding it, calling the inner loop."""
CARRY_STEPS, CARRY_OPERAND_STEPS = 27, 11
"""Carrying into the next dimension."""
CHUNK = 64
"""Elements that a kernel converts at once where it works through a buffer (native/kernels/rows.h)."""

HALVES = (DType.F16, DType.BF16)
REAL = (DType.F32, *HALVES)


def estimate_steps(record: Record) -> int:
    """VM steps that the guest needs for this node, at most."""
    operands = 1 + len(record.inputs)
    fixed = NODE_STEPS + FREE_STEPS * len(record.frees)
    fixed += record.rank * (DIMENSION_STEPS + DIMENSION_OPERAND_STEPS * operands)
    count = record.hi - record.lo
    return int(fixed + (_KERNELS[record.opcode](record, count) if count else 0)) + 1


# Walks over strided operands


@dataclass(frozen=True, slots=True)
class _Walk:
    """The dimensions of a walk, the row first, merged as in native/kernels/walk.c."""

    sizes: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]
    """Bytes from one element to the next, by dimension and operand."""
    lo: int
    hi: int

    @property
    def rows(self) -> int:
        """Rows, or parts of them, that hold the elements [lo, hi)."""
        return (self.hi - 1) // self.sizes[0] - self.lo // self.sizes[0] + 1

    @property
    def chunks(self) -> int:
        """The buffers' fillings, of all rows."""
        return self.rows * -(-min(self.sizes[0], self.hi - self.lo) // CHUNK)

    @property
    def row_steps(self) -> int:
        """VM steps of all rows, without what happens in them."""
        operands = len(self.steps[0])
        first, last = self.lo, self.hi - 1
        carries = 0
        for level, size in enumerate(self.sizes[:-1]):
            first, last = first // size, last // size
            carries += last - first if level else 0
        return self.rows * (ROW_STEPS + ROW_OPERAND_STEPS * operands) + carries * (
            CARRY_STEPS + CARRY_OPERAND_STEPS * operands
        )


def _walk(dims: Sequence[int], strides: Sequence[Sequence[int]], widths: Sequence[int], lo: int, hi: int) -> _Walk:
    sizes: list[int] = []
    steps: list[tuple[int, ...]] = []
    for d in reversed(range(len(dims))):
        if dims[d] == 1:
            continue
        here = tuple(stride[d] * width for stride, width in zip(strides, widths, strict=True))
        if sizes and here == tuple(step * sizes[-1] for step in steps[-1]):
            sizes[-1] *= dims[d]
        else:
            sizes.append(dims[d])
            steps.append(here)
    return _Walk(tuple(sizes) or (1,), tuple(steps) or ((0,) * len(widths),), lo, hi)


def _walk_of(record: Record, operands: int, dims: int | None = None) -> _Walk:
    """The walk over a record's first operands and first dimensions."""
    shape = record.dims[:dims]
    widths = [dtype.width for dtype in (record.dtype_out, *record.dtypes_in)][:operands]
    return _walk(shape, [record.strides(j) for j in range(operands)], widths, record.lo, record.hi)


def _packed(walk: _Walk, record: Record) -> bool:
    """Whether the elements of a row lie side by side, in every operand."""
    return walk.steps[0] == tuple(dtype.width for dtype in (record.dtype_out, *record.dtypes_in))


# Element by element: the worst that any operand does to one element; of floats in packed rows, see _STRIDED.

_SHORT_UNARY: dict[Unary, tuple[float, int]] = {
    Unary.NEG: (6.5, 0), Unary.ABS: (7.5, 0), Unary.SIGN: (10.5, 25), Unary.RECIPROCAL: (4.5, 10),
    Unary.SQRT: (4.5, 0), Unary.FLOOR: (24.5, 30), Unary.CEIL: (24.5, 30), Unary.ROUND: (18.5, 25),
    Unary.TRUNC: (25.5, 20), Unary.RELU: (7.5, 0), Unary.ISNAN: (6.5, 0), Unary.ISINF: (8.5, 5), Unary.NOT: (4.5, 0),
}  # fmt: skip
_LONG_UNARY: dict[Unary, tuple[float, int]] = {
    Unary.EXP: (37, 75), Unary.LOG: (46, 105), Unary.SIN: (180, 110), Unary.COS: (177, 110), Unary.TAN: (184, 110),
    Unary.ASIN: (43, 75), Unary.ACOS: (41, 85), Unary.ATAN: (34, 75), Unary.SINH: (52, 105), Unary.COSH: (43, 85),
    Unary.TANH: (61, 135), Unary.ASINH: (73, 135), Unary.ACOSH: (69, 130), Unary.ATANH: (70, 155),
    Unary.ERF: (75, 230), Unary.SIGMOID: (47, 95), Unary.SOFTPLUS: (97, 235),
}  # fmt: skip
"""And what a row costs more, where the function's coefficients must be brought into registers first."""
_INTEGER_UNARY = {Unary.NEG: 7, Unary.ABS: 10, Unary.SIGN: 9, Unary.RELU: 8, Unary.BITNOT: 7}

_SHORT_BINARY: dict[Binary, float] = {
    Binary.ADD: 6, Binary.SUB: 6, Binary.MUL: 6, Binary.DIV: 6, Binary.MIN: 11, Binary.MAX: 11, Binary.EQ: 8,
    Binary.LT: 8, Binary.LE: 8, Binary.PRELU: 10,
}  # fmt: skip
_LONG_BINARY: dict[Binary, tuple[float, int]] = {
    Binary.POW: (205, 195),
    Binary.MOD: (185, 35),
    Binary.FMOD: (170, 35),
    Binary.ATAN2: (62, 95),
}
_INTEGER_BINARY = {
    Binary.DIV: 19, Binary.MOD: 24, Binary.FMOD: 19, Binary.SHL: 12, Binary.SHR: 12, Binary.PRELU: 13,
}  # fmt: skip
_OTHER_INTEGER_BINARY, _BOOL_BINARY = 10, 11
_POWER_STEPS_PER_BIT = 17

_STRIDED, _SCALAR = 3.5, -1.5
"""A float's element where rows are not packed; where they are but for a second operand that stays the same."""
_ROW, _FLOAT_ROW = 30, 60
"""What the inner loops cost beside their elements; loops of packed floats end with up to three single elements."""
_HALF_CHUNK = 145
_HALF_UNARY = {DType.F16: (55, 25.5), DType.BF16: (31.5, 11.5)}
_HALF_BINARY = {DType.F16: (66, 42), DType.BF16: (29, 14)}
"""Widening and rounding binary16 or bfloat16, over all operands; only widening, where the result is bool."""


def _unary(record: Record, count: int) -> float:
    function, dtype = Unary(record.imm[0]), record.dtypes_in[0]
    walk = _walk_of(record, 2)
    if dtype.is_integer:
        return walk.row_steps + walk.rows * _ROW + count * _INTEGER_UNARY[function]
    element, constants = _LONG_UNARY.get(function) or _SHORT_UNARY[function]
    if dtype in HALVES:
        element += _HALF_UNARY[dtype][record.dtype_out is DType.BOOL]
        return walk.row_steps + walk.rows * _ROW + walk.chunks * (_HALF_CHUNK + constants) + count * element
    if function in _SHORT_UNARY and not _packed(walk, record):
        element += _STRIDED
    return walk.row_steps + walk.rows * (_FLOAT_ROW + constants) + count * element


def _binary(record: Record, count: int) -> float:
    function, dtype = Binary(record.imm[0]), record.dtypes_in[0]
    walk = _walk_of(record, 3)
    if dtype.is_integer or dtype is DType.BOOL:
        other = _BOOL_BINARY if dtype is DType.BOOL else _OTHER_INTEGER_BINARY
        power = 20 + _POWER_STEPS_PER_BIT * 8 * dtype.width
        each = power if function is Binary.POW else _INTEGER_BINARY.get(function, other)
        return walk.row_steps + walk.rows * _ROW + count * each
    element, constants = _LONG_BINARY.get(function) or (_SHORT_BINARY[function], 0)
    if dtype in HALVES:
        element += _HALF_BINARY[dtype][record.dtype_out is DType.BOOL]
        return walk.row_steps + walk.rows * _ROW + walk.chunks * (_HALF_CHUNK + constants) + count * element
    if function in _SHORT_BINARY:
        out, x, y = walk.steps[0]
        if (out, x) != (record.dtype_out.width, dtype.width) or y not in (0, dtype.width):
            element += _STRIDED
        elif y == 0:
            element += _SCALAR if function not in (Binary.MIN, Binary.MAX) else _SCALAR / 3
    return walk.row_steps + walk.rows * (_FLOAT_ROW + 10 + constants) + count * element


# Casts: loading, converting, storing.
_LOAD = {DType.F16: 15, DType.BF16: 1, DType.BOOL: 3}
_STORE = {DType.F32: 13, DType.F16: 30, DType.BF16: 20}
_CAST_CHUNK = 116


def _cast(record: Record, count: int) -> float:
    walk = _walk_of(record, 2)
    return walk.row_steps + walk.rows * (_ROW + 5) + walk.chunks * _CAST_CHUNK + count * _cast_element(record)


def _cast_element(record: Record) -> int:
    source, target = record.dtypes_in[0], record.dtype_out
    load = _LOAD.get(source, 0)
    if source in REAL:
        return load + (_STORE.get(target) or {DType.BOOL: 21, DType.U64: 33, DType.I64: 60}.get(target, 65))
    if target in REAL:
        return load + 27 + _STORE[target]
    if record.imm[0] != 1 or target is DType.BOOL:
        return load + 11
    if target in (DType.I64, DType.U64):
        return load + 30
    return load + (37 if source is DType.U64 else 49)


# Moves


def _copy(record: Record, count: int) -> float:
    walk = _walk_of(record, 2)
    each, row = _copying(record, walk)
    return walk.row_steps + walk.rows * (6 + row) + count * each + 60


def _copying(record: Record, walk: _Walk, *more: int) -> tuple[float, float]:
    """
    (steps an element, steps a row) of a copy of in0's rows to the output's. `more`: bytes by whose multiples a row's
    source moves besides. Packed rows go in the widest words that fit both ends (native/guest/memory.c).
    """
    width, size = record.dtype_out.width, walk.sizes[0]
    if walk.steps[0][:2] != (width, width):
        return 6, 15
    apart = gcd(8, record.out - record.inputs[0], *(step[0] - step[1] for step in walk.steps[1:]), *more)
    if apart < 4:
        return width * 5.01, 47
    # Four words a round; then single ones, which cost more; where elements are smaller, bytes at both ends.
    round_bytes = 4 * apart
    rest = 7 * (size * width % round_bytes // apart) if width == apart else 7 * 4
    ends = {1: 32, 2: 27, 4: 8, 8: 0}[width] + (10 if apart == 4 else 0)
    return width * 13 / round_bytes, 47 + rest + ends


def _fill(record: Record, count: int) -> float:
    walk = _walk_of(record, 1)
    return walk.row_steps + walk.rows * 10 + count * 4


def _select(record: Record, count: int) -> float:
    walk = _walk_of(record, 4)
    return walk.row_steps + walk.rows * 10 + count * 11


# Along dimensions


@dataclass(frozen=True, slots=True)
class _Round:
    """Reducing floats: steps of a round of eight, packed or not; of an element before the first round, behind it."""

    packed: int
    strided: int
    before: float
    behind: float
    output: int
    """Once an output."""


_REDUCE = {
    DType.F32: (_Round(21, 27, 16, 11.2, 117), _Round(52, 59, 19, 14.2, 136)),
    DType.F16: (_Round(167, 167, 33, 25.2, 151), _Round(192, 192, 36, 28.2, 170)),
    DType.BF16: (_Round(37, 43, 18, 13.2, 122), _Round(68, 76, 21, 16.2, 141)),
}
"""A sum or product, a maximum or minimum."""
_REDUCE_INTEGER = {Reduction.SUM: 17, Reduction.PROD: 15, Reduction.MAX: 19, Reduction.MIN: 23}
LANES = 8


def _below(record: Record) -> _Walk:
    """The walk over the elements below one output."""
    kept = record.rank - record.imm[1]
    dims = record.dims[kept:]
    return _walk(dims, [record.strides(1)[kept:]], [record.dtypes_in[0].width], 0, prod(dims))


def _outputs(record: Record, count: int) -> float:
    """The walk over the outputs of a kernel along dimensions."""
    walk = _walk_of(record, 2, record.rank - record.imm[1])
    return walk.row_steps + walk.rows * 30 + DIMENSION_STEPS * 3


def _reduce(record: Record, count: int) -> float:
    dtype, walk = record.dtypes_in[0], _below(record)
    if dtype not in _REDUCE:
        elements = walk.hi * _REDUCE_INTEGER[Reduction(record.imm[0])]
        output = 236 + elements + walk.row_steps + 50 * walk.rows + 48 * (walk.chunks - walk.rows)
        return count * output + _outputs(record, count)
    each: float
    steps = _REDUCE[dtype][record.imm[0] in (Reduction.MAX, Reduction.MIN)]
    rounds, before, behind, rows_with_rounds = _lanes(walk)
    each = steps.output + rounds * (steps.packed if walk.steps[0][0] == dtype.width else steps.strided)
    half = 14 if dtype is DType.F16 else 2  # constants
    each += before * steps.before + behind * steps.behind + rows_with_rounds * (22 + half) + walk.rows * half
    if walk.rows > 1:
        each += 155 + walk.row_steps + 22 * walk.rows
    return count * each + _outputs(record, count)


def _lanes(walk: _Walk) -> tuple[int, int, int, int]:
    """(rounds of eight, elements before them in their rows, elements behind them, rows with a round) of one output."""
    size, rows = walk.sizes[0], walk.rows
    rounds = before = behind = with_rounds = 0
    for turn in range(min(rows, LANES)):  # the eighth row begins with the same lane again
        times = (rows - turn - 1) // LANES + 1
        first = min(-turn * size % LANES, size)
        whole, rest = divmod(size - first, LANES)
        before, behind = before + times * first, behind + times * rest
        rounds, with_rounds = rounds + times * whole, with_rounds + times * (whole > 0)
    return rounds, before, behind, with_rounds


def _argreduce(record: Record, count: int) -> float:
    walk, real = _below(record), record.dtypes_in[0] in REAL
    each = {DType.F32: 37, DType.F16: 52, DType.BF16: 39}.get(record.dtypes_in[0], 27)
    row, chunk = (72, 75) if real else (90, 92)
    output = 205 + walk.hi * each + walk.row_steps + walk.rows * row + (walk.chunks - walk.rows) * chunk
    return count * output + _outputs(record, count)


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
    each = {DType.F32: 22, DType.F16: 55, DType.BF16: 31}.get(record.dtypes_in[0], 20)
    return count * (155 + length * each + (length - 1) // CHUNK * 85) + _outputs(record, count)


# At places that a tensor names


_CHECK, _CHECK_COMPONENT = 14, 14
_PLACE, _PLACE_COMPONENT = 20, 13
"""Looking at an index before anything is written; finding its place. And for each component."""
_GATHERED, _SCATTERED = {1: 52, 2: 63, 4: 58, 8: 68}, {1: 67, 2: 72, 4: 62, 8: 68}
"""Moving one element by a call, by its width."""
_COMBINE = {DType.F32: 116, DType.F16: 176, DType.BF16: 128, DType.U64: 116}
_COMBINE_OTHER = 150


def _check(record: Record) -> float:
    """Looking at all indices: once each, if the whole is made, else for every element."""
    whole = record.lo == 0 and record.hi == prod(record.dims)
    dims = [1 if whole and not stride else dim for dim, stride in zip(record.dims, record.strides(2), strict=True)]
    lo, hi = (0, prod(dims)) if whole else (record.lo, record.hi)
    walk = _walk(dims, [record.strides(2)], [DType.I64.width], lo, hi)
    looks = walk.rows if walk.steps[0] == (0,) else hi - lo
    return walk.row_steps + 15 * walk.rows + looks * (_CHECK + _CHECK_COMPONENT * record.imm[0])


def _displacements(record: Record) -> list[int]:
    """Bytes that an index moves by, for each component."""
    return [record.body[4 * MAX_RANK + c] * record.dtype_out.width for c in range(record.imm[0])]


def _gather(record: Record, count: int) -> float:
    q, walk = record.imm[0], _walk_of(record, 3)
    place = _PLACE + _PLACE_COMPONENT * q
    each: float
    if walk.steps[0][2] == 0:  # one place for the whole row
        each, row = _copying(record, walk, *_displacements(record))
        row += place
    else:
        row = 50.0
        each = place + _GATHERED[record.dtype_out.width]
    return 400 + 60 * q + _check(record) + walk.row_steps + walk.rows * row + count * each


def _scatter(record: Record, count: int) -> float:
    q, walk = record.imm[0], _walk_of(record, 3)
    place = _PLACE + _PLACE_COMPONENT * q
    store = record.imm[2] == Reduction.NONE
    each: float
    if store and walk.steps[0][2] == 0 and walk.steps[0][0] != 0:
        each, row = _copying(record, walk, *_displacements(record))
        row += place
    else:
        moved = _SCATTERED[record.dtype_out.width]
        each = place + (moved if store else _COMBINE.get(record.dtype_out, _COMBINE_OTHER))
        row = 50.0
    return 400 + 60 * q + _check(record) + walk.row_steps + walk.rows * row + count * each


def _tree(record: Record, count: int) -> float:
    _, _, _, trees, _, targets, depth, leaf_weights = record.body[:8]
    return count * (60 + 6 * targets + trees * (70 + 42 * (depth + 1) + 42 * leaf_weights)) + 200


_KERNELS = {
    Opcode.COPY: _copy,
    Opcode.FILL: _fill,
    Opcode.UNARY: _unary,
    Opcode.BINARY: _binary,
    Opcode.SELECT: _select,
    Opcode.CAST: _cast,
    Opcode.CONTRACT: contract,
    Opcode.CONV: conv,
    Opcode.POOL: pool,
    Opcode.POOL_INDEX: pool,
    Opcode.REDUCE: _reduce,
    Opcode.ARGREDUCE: _argreduce,
    Opcode.TOPK: _topk,
    Opcode.SCAN: _scan,
    Opcode.GATHER: _gather,
    Opcode.SCATTER: _scatter,
    Opcode.TREE: _tree,
}
