"""
Fast paths for elements that lie side by side: the plain kernels' bits, over every pair of types and awkward numbers.

The random cases of `cases` are mostly too short and too scattered for them; here rows are long, begin anywhere, and
hold numbers next to where a type ends.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from opml_dispute.engine.segment import ARENA
from opml_dispute.model.opcodes import Binary, DType, Opcode, Unary
from opml_dispute.model.record import Record, strided_body
from tests.kernels.bench import FAST, PLAIN, Bench, same_bits
from tests.kernels.maker import INTEGER, NUMBER, REAL, Array, Case, Maker, Rng, values, words

EDGES = [2.0**p for p in (7, 8, 15, 16, 31, 32, 63, 64)]
STORED = (*NUMBER, DType.BOOL)


def elements(rng: Rng, dtype: DType, count: int) -> Array:
    """Awkward numbers; among floats those around the ends of the integer types, and halves between integers."""
    found = values(rng, dtype, count, awkward=True)
    if dtype is DType.BOOL:
        return rng.choice(np.array([0, 1, 2, 128, 255], np.uint8), count).view(np.bool_)
    if dtype not in REAL:
        return found
    edges = np.array([*EDGES, 65519.0, 65520.0, 2.0**-14, 2.0**-24, 2.0**-25, 0.5, 1.5, 2.5], np.float32)
    near = np.concatenate([np.nextafter(edges, np.float32(0)), edges, np.nextafter(edges, np.float32(np.inf))])
    with np.errstate(over="ignore"):
        near = np.concatenate([near, -near]).astype(dtype.numpy)
    return np.where(rng.random(count) < 0.3, rng.choice(near, count), found).astype(dtype.numpy)


def agree(bench: Bench, case: Case) -> None:
    status, plain = bench.run(case, PLAIN)
    assert status == 0
    _, fast = bench.run(case, FAST)
    assert same_bits(plain, fast), f"{case.record}"


@pytest.mark.parametrize("to", STORED)
@pytest.mark.parametrize("of", STORED)
def test_casts(bench: Bench, of: DType, to: DType) -> None:
    """One row, and several rows that are parts of wider ones; whole and from anywhere to anywhere."""
    for seed in range(6):
        rng = np.random.default_rng([of.value, to.value, seed])
        make = Maker(rng, awkward=True)
        rows, columns, gap = int(rng.integers(1, 4)), int(rng.integers(1, 700)), int(rng.integers(0, 2)) * 5
        x = make.put(elements(rng, of, rows * (columns + gap)))
        strides = strided_body([rows, columns], [[columns, 1], [columns + gap, 1]])
        record = Record(Opcode.CAST, to, ARENA.offset, (x,), (of,), 2, imm=words(seed % 2), body=strides)
        agree(bench, make.case(record, rows * columns))


def test_every_half_is_widened_and_narrowed(bench: Bench) -> None:
    """All 65,536 of each format, and back again with numbers between them."""
    rng = np.random.default_rng(0)
    for half in (DType.F16, DType.BF16):
        bits = np.arange(1 << 16, dtype=np.uint16)
        between = rng.integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
        for of, to, array in ((half, DType.F32, bits.view(half.numpy)), (DType.F32, half, between)):
            make = Maker(rng, awkward=True)
            strides = strided_body([array.size], [[1], [1]])
            record = Record(
                Opcode.CAST, to, ARENA.offset, (make.put(array),), (of,), 1, hi=array.size, imm=words(), body=strides
            )
            agree(bench, Case(record, tuple(make.arrays)))


def numbers(rng: Rng, count: int) -> Array:
    """Of every size: awkward ones, and many where functions change from one formula to another."""
    near = rng.choice(
        np.array([0.5, 0.55, 0.92, 1, 4, 90, -105, 2.0**13, 32768, 88.7, 0.25, 2.0**-126], np.float32), count
    )
    close = near * (1 + rng.integers(-9, 10, count) * np.float32(2.0**-23)) * rng.choice([-1, 1], count)
    spread = rng.standard_normal(count) * np.exp2(rng.integers(-30, 20, count))
    with np.errstate(all="ignore"):
        usual = np.where(rng.random(count) < 0.5, close, spread).astype(np.float32)
    return np.where(rng.random(count) < rng.choice([0, 0.2]), elements(rng, DType.F32, count), usual).astype(np.float32)


@pytest.mark.parametrize("function", [f for f in Unary if f not in (Unary.NOT, Unary.BITNOT, Unary.ISNAN, Unary.ISINF)])
def test_functions(bench: Bench, function: Unary) -> None:
    """Stretches in which every argument is small enough, and others."""
    for seed in range(12):
        rng = np.random.default_rng([function, seed])
        make, count = Maker(rng, awkward=True), int(rng.integers(1, 5000))
        x = numbers(rng, count) if seed % 2 else (rng.standard_normal(count) * 3).astype(np.float32)
        strides = strided_body([count], [[1], [1]])
        inputs = (make.put(x),)
        record = Record(
            Opcode.UNARY, DType.F32, ARENA.offset, inputs, (DType.F32,), 1, imm=words(function), body=strides
        )
        agree(bench, make.case(record, count))


@pytest.mark.parametrize("columns", [0, 1])
def test_powers_of_any_number(bench: Bench, columns: int) -> None:
    """Negative, zero, infinite bases and exponents among usual ones; an exponent for each, or one for all."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        make, count = Maker(rng, awkward=True), int(rng.integers(1, 3000))
        y = np.where(rng.random(count) < 0.5, rng.integers(-5, 6, count), numbers(rng, count)).astype(np.float32)
        strides = strided_body([count], [[1], [1], [columns]])
        record = Record(
            Opcode.BINARY,
            DType.F32,
            ARENA.offset,
            (make.put(numbers(rng, count)), make.put(y if columns else y[:1])),
            (DType.F32, DType.F32),
            1,
            imm=words(Binary.POW),
            body=strides,
        )
        agree(bench, make.case(record, count))


def view(rng: Rng, dims: list[int]) -> tuple[list[int], int]:
    """Strides of a view of these dimensions: axes in any order, repeated, or with gaps; and the elements it spans."""
    strides, span = [0] * len(dims), 1
    for axis in rng.permutation(len(dims)).tolist():
        if rng.random() < 0.8:
            strides[axis] = span
            span += span * (dims[axis] - 1) + int(rng.integers(0, 3))
    return strides, span


@pytest.mark.parametrize("function", [Unary.EXP, Unary.TANH, Unary.SIN, Unary.LOG, Binary.POW], ids=lambda f: f.name)
def test_functions_of_views(bench: Bench, function: Unary | Binary) -> None:
    """Operands that lie apart and rows of all lengths, several of which are computed together."""
    count = 1 + isinstance(function, Binary)
    opcode = Opcode.UNARY if isinstance(function, Unary) else Opcode.BINARY
    for seed in range(40):
        rng = np.random.default_rng([function, seed])
        make = Maker(rng, awkward=True)
        dims = [int(rng.integers(1, 40)), int(rng.integers(1, 9)), int(rng.choice([1, 3, 7, 63, 64, 65, 1025, 2100]))]
        width = dims[2] + int(rng.choice([0, 0, 2]))
        strides, inputs = [[dims[1] * width, width, 1]], []
        for _ in range(count):
            of, span = view(rng, dims)
            strides.append(of)
            inputs.append(make.put(numbers(rng, span)))
        record = Record(
            *(opcode, DType.F32, ARENA.offset, tuple(inputs), (DType.F32,) * count, 3),
            imm=words(function),
            body=strided_body(dims, strides),
        )
        agree(bench, make.case(record, prod(dims)))


ONE_FUNCTIONS = (
    *(Binary.ADD, Binary.SUB, Binary.MUL, Binary.DIV, Binary.MIN, Binary.MAX),
    Binary.EQ,
    Binary.LT,
    Binary.LE,
)


BIT_FUNCTIONS = (Binary.BITAND, Binary.BITOR, Binary.BITXOR)
LOGIC_FUNCTIONS = (Binary.AND, Binary.OR, Binary.XOR)


@pytest.mark.parametrize("function", [*ONE_FUNCTIONS, *BIT_FUNCTIONS, *LOGIC_FUNCTIONS])
def test_one_number_and_others_side_by_side(bench: Bench, function: Binary) -> None:
    """A column and a row: the first operand is one number for each row of the output."""
    compares = function in (Binary.EQ, Binary.LT, Binary.LE)
    kinds = [DType.F32, *INTEGER] if function not in BIT_FUNCTIONS + LOGIC_FUNCTIONS else INTEGER
    if function in (*LOGIC_FUNCTIONS, Binary.EQ):
        kinds = [DType.BOOL] if function is not Binary.EQ else [*kinds, DType.BOOL]
    for seed in range(2 * len(kinds) if len(kinds) > 1 else 6):
        rng = np.random.default_rng([function, seed])
        make, rows, columns = Maker(rng, awkward=True), int(rng.integers(1, 9)), int(rng.integers(2, 300))
        kind = kinds[seed % len(kinds)]
        row = [numbers(rng, n) if kind is DType.F32 else elements(rng, kind, n) for n in (rows, columns)]
        inputs = make.put(row[0]), make.put(row[1])
        record = Record(
            *(Opcode.BINARY, DType.BOOL if compares else kind, ARENA.offset, inputs, (kind, kind), 2),
            imm=words(function),
            body=strided_body([rows, columns], [[columns, 1], [1, 0], [0, 1]]),
        )
        agree(bench, make.case(record, rows * columns))


BRAIN_FUNCTIONS = (Binary.ADD, Binary.SUB, Binary.MUL, Binary.DIV, Binary.MIN, Binary.MAX, Binary.EQ)


@pytest.mark.parametrize("function", BRAIN_FUNCTIONS)
def test_two_of_bfloat16(bench: Bench, function: Binary) -> None:
    """Awkward numbers side by side, a row's with one number, and all with one."""
    for seed in range(24):
        rng = np.random.default_rng([function, seed])
        make, rows, columns = Maker(rng, awkward=True), int(rng.integers(1, 4)), int(rng.integers(1, 400))
        inputs = [make.put(elements(rng, DType.BF16, rows * columns)) for _ in range(2)]
        second = [[columns, 1], [1, 0], [0, 0]][seed % 3]
        record = Record(
            *(Opcode.BINARY, DType.BOOL if function is Binary.EQ else DType.BF16, ARENA.offset, tuple(inputs)),
            *((DType.BF16, DType.BF16), 2),
            imm=words(function),
            body=strided_body([rows, columns], [[columns, 1], [columns, 1], second]),
        )
        agree(bench, make.case(record, rows * columns))


HALF_FUNCTIONS = (
    *(Unary.ABS, Unary.SIGN, Unary.EXP, Unary.TANH, Unary.RELU, Unary.FLOOR, Unary.ISNAN),
    *(Binary.ADD, Binary.DIV, Binary.MIN, Binary.MAX, Binary.POW, Binary.PRELU, Binary.LT),
)


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16])
@pytest.mark.parametrize("function", HALF_FUNCTIONS)
def test_functions_of_halves(bench: Bench, function: Unary | Binary, dtype: DType) -> None:
    """Awkward numbers in rows that are widened a part at a time, and operands that are one number."""
    count = 1 + isinstance(function, Binary)
    opcode = Opcode.UNARY if isinstance(function, Unary) else Opcode.BINARY
    out = DType.BOOL if (opcode, function) in ((Opcode.UNARY, Unary.ISNAN), (Opcode.BINARY, Binary.LT)) else dtype
    for seed in range(9):
        rng = np.random.default_rng([function, seed])
        make, rows, columns = Maker(rng, awkward=True), int(rng.integers(1, 4)), int(rng.choice([100, 300, 1024, 2500]))
        inputs = [make.put(elements(rng, dtype, rows * columns)) for _ in range(count)]
        strides = [[columns, 1] for _ in range(1 + count)]
        strides[1 + seed % count] = [[columns, 1], [1, 0], [0, 0]][seed // 3]
        record = Record(
            *(opcode, out, ARENA.offset, tuple(inputs), (dtype,) * count, 2),
            imm=words(function),
            body=strided_body([rows, columns], strides),
        )
        agree(bench, make.case(record, rows * columns))


def test_division_by_one_number(bench: Bench) -> None:
    """Rounded correctly: next to halfway cases, by divisors with all bits set or one, and out of the usual range."""
    count = 20_000
    for seed in range(30):
        rng = np.random.default_rng(seed)
        divisor = np.float32(rng.integers(1 << 23, 1 << 24) * 2.0 ** int(rng.integers(-56, 10)))
        if seed % 3 == 1:
            divisor = np.float32(
                (1 << 24) - int(rng.integers(1, 20)) if seed % 2 else (1 << 23) + int(rng.integers(0, 20))
            )
        x = (rng.integers(1 << 23, 1 << 24, count) * np.exp2(rng.integers(-60, 60, count))).astype(np.float32)
        if seed % 5 == 2:
            x = ((rng.integers(1 << 23, 1 << 24, count) + 0.5) * np.float64(divisor)).astype(np.float32)
        if seed % 5 == 3:
            x = numbers(rng, count)
        if seed % 7 == 6:
            divisor = rng.choice(np.array([0, -0.0, np.inf, np.nan, 1e-40, 3e38], np.float32))
        make = Maker(rng, awkward=True)
        inputs = make.put(x), make.put(np.array([divisor if seed % 2 else -divisor], np.float32))
        strides = strided_body([count], [[1], [1], [0]])
        record = Record(
            *(Opcode.BINARY, DType.F32, ARENA.offset, inputs, (DType.F32, DType.F32), 1),
            imm=words(Binary.DIV),
            body=strides,
        )
        agree(bench, make.case(record, count))


DIVIDED = (DType.I8, DType.U8, DType.I16, DType.U16, DType.I32, DType.U32)


@pytest.mark.parametrize("function", [Binary.DIV, Binary.MOD, Binary.FMOD])
@pytest.mark.parametrize("dtype", DIVIDED)
def test_integers_divided_by_integers(bench: Bench, dtype: DType, function: Binary) -> None:
    """Both ends of the range, what lies beside them and beside multiples: each by each, all by one, one by all."""
    limits = np.iinfo(dtype.numpy)
    rng = np.random.default_rng([function, dtype])
    near = [limits.min, limits.min + 1, limits.max, limits.max - 1, limits.max // 2, limits.max // 3, 0, 1, 2, 3, 7, 10]
    near += [(1 << 16) - 1, 1 << 15] if dtype.width == 4 else []
    some = rng.integers(limits.min, limits.max, 60, endpoint=True).tolist()
    multiples = [a * (limits.max // a) + off for a in (3, 7, 11, 100) for off in (-1, 0)]
    edges = np.array([*near, *([-1, -2, -7] if limits.min else []), *some, *multiples], dtype.numpy)
    dims = [edges.size, edges.size]
    for strides in ([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, 1], [0, 1]]):
        make = Maker(rng, awkward=False)
        record = Record(
            *(Opcode.BINARY, dtype, ARENA.offset, (make.put(edges), make.put(np.flip(edges))), (dtype, dtype), 2),
            imm=words(function),
            body=strided_body(dims, [[edges.size, 1], *strides]),
        )
        agree(bench, make.case(record, edges.size**2))
