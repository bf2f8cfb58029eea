"""
Fast pooling and powers, on sizes where they are used: the plain kernels' bits, whatever the operands and the range.

The random cases of `cases` are mostly too small for them; here rows are long, and ranges begin and end anywhere.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from opml_dispute.engine.segment import ARENA
from opml_dispute.model.opcodes import Binary, DType, Opcode, Pooling
from opml_dispute.model.record import Record, strided_body
from tests.kernels.bench import FAST, PLAIN, Bench, same_bits
from tests.kernels.maker import Case, Maker, body, values, words


def pooling(seed: int, kind: Pooling, *, awkward: bool, dtype: DType = DType.F32) -> Case:
    """1 to 3 spatial dimensions, any stride, dilation and padding, rows of up to 40 windows."""
    rng = np.random.default_rng([kind, seed])
    rank = int(rng.integers(1, 4))
    n, c = int(rng.integers(1, 3)), int(rng.integers(1, 6))
    fields: list[list[int]] = [[] for _ in range(7)]
    for d in range(rank):
        kernel, stride, dilation = int(rng.integers(1, 6)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
        if d == rank - 1 and rng.random() < 0.4:  # windows side by side, or far apart
            stride, dilation = (kernel, 1) if rng.random() < 0.5 else (int(rng.integers(4, 11)), dilation)
        out = int(rng.integers(4, 41)) if d == rank - 1 else int(rng.integers(1, 9))
        span = (kernel - 1) * dilation + 1
        before, after = int(rng.integers(-1, span)), int(rng.integers(-1, 3))
        size = max((out - 1) * stride + span - before - after + int(rng.integers(0, stride)), 1)
        if rng.random() < 0.2:
            before = after = 0
        for column, value in zip(fields, (size, kernel, stride, dilation, before, out, after), strict=True):
            column.append(value)
    rest = (1, 1, 1, 1, 0, 1, 0)
    at = [[*column, *(filler,) * (3 - rank)] for column, filler in zip(fields, rest, strict=True)]
    make = Maker(rng, awkward=awkward)
    x = make.put(values(rng, dtype, n * c * prod(at[0]), awkward=awkward))
    record = Record(
        opcode=Opcode.POOL,
        dtype_out=dtype,
        out=ARENA.offset,
        inputs=(x,),
        dtypes_in=(dtype,),
        rank=rank,
        imm=words(kind),
        body=body(rank, n, c, 0, 0, *(value for column in at for value in column)),
    )
    return make.case(record, n * c * prod(at[5]))


@pytest.mark.parametrize("kind", Pooling)
@pytest.mark.parametrize("awkward", [False, True])
def test_pooling(bench: Bench, kind: Pooling, awkward: bool) -> None:
    """Random poolings have the same bits in the fast and the plain kernel."""
    for seed in range(150):
        case = pooling(seed, kind, awkward=awkward)
        status, plain = bench.run(case, PLAIN)
        assert status == 0, case.record
        _, fast = bench.run(case, FAST)
        assert same_bits(plain, fast), f"seed {seed}: {case.record}"


INTEGERS = (DType.U8, DType.I8, DType.U16, DType.I16, DType.U32, DType.I32, DType.U64, DType.I64)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [*((kind, DType.F32) for kind in Pooling), *((Pooling.MAX, dtype) for dtype in INTEGERS)],
)
def test_pooling_of_whole_rows(bench: Bench, kind: Pooling, dtype: DType) -> None:
    """Ranges of whole rows of windows, which paths of their own make, of every type with a fast one."""
    for seed in range(150):
        case = pooling(seed, kind, awkward=seed % 2 == 1, dtype=dtype)
        outputs = case.record.body[20 : 20 + case.record.rank]
        columns, count = outputs[-1], case.record.body[1] * case.record.body[2] * prod(outputs)
        ends = np.random.default_rng([seed, 7]).integers(0, count // columns + 1, 2) * columns
        lo, hi = (0, count) if seed % 3 == 0 or ends[0] == ends[1] else (int(min(ends)), int(max(ends)))
        part = case.part(lo, hi)
        plain, fast = bench.run(part, PLAIN), bench.run(part, FAST)
        assert plain[0] == fast[0] == 0
        assert same_bits(plain[1], fast[1]), f"seed {seed}: {part.record}"


@pytest.mark.parametrize("kind", Pooling)
def test_pooling_of_whole_channels(bench: Bench, kind: Pooling) -> None:
    """A window that is its whole channel: 1 to 40 channels, with what is no number among them."""
    for channels in (1, 7, 8, 9, 40):
        make = Maker(np.random.default_rng(channels), awkward=True)
        x = make.put(values(make.rng, DType.F32, channels * 600, awkward=channels % 2 == 1))
        fields = ((20, 30, 1), (20, 30, 1), (1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), (0, 0, 0))
        record = Record(
            opcode=Opcode.POOL,
            dtype_out=DType.F32,
            out=ARENA.offset,
            inputs=(x,),
            dtypes_in=(DType.F32,),
            rank=2,
            imm=words(kind),
            body=body(2, 1, channels, 0, 0, *(value for column in fields for value in column)),
        )
        case = make.case(record, channels).part(0, channels)
        plain, fast = bench.run(case, PLAIN), bench.run(case, FAST)
        assert plain[0] == fast[0] == 0
        assert same_bits(plain[1], fast[1])


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("width", [8, 33, 55, 111])
def test_maxima_of_windows_two_columns_apart(bench: Bench, kernel: int, width: int) -> None:
    """A zero's sign and NaN follow the order of the taps, wherever they are; other numbers no order."""
    rng = np.random.default_rng([kernel, width])
    for strange in (None, -0.0, np.float32(np.nan), -np.inf):
        for pad, tall in ((0, 2), (1, 3), (1, 1)):
            out = (width + 2 * pad - kernel) // 2 + 1
            sides, windows = (13, width, 1), (tall, kernel, 1)
            rows = (13 + 2 * pad - tall) // 2 + 1
            pads, outputs = (pad, pad, 0), (rows, out, 1)
            make = Maker(rng, awkward=False)
            x = rng.integers(-3, 1, 5 * 13 * width).astype(np.float32) + np.float32(0)
            if strange is not None:
                x[rng.integers(0, x.size, 40)] = strange
            fields = (sides, windows, (2, 2, 1), (1, 1, 1), pads, outputs, pads)
            record = Record(
                opcode=Opcode.POOL,
                dtype_out=DType.F32,
                out=ARENA.offset,
                inputs=(make.put(x),),
                dtypes_in=(DType.F32,),
                rank=2,
                imm=words(Pooling.MAX),
                body=body(2, 1, 5, 0, 0, *(value for column in fields for value in column)),
            )
            case = make.case(record, 5 * rows * out).part(0, 5 * rows * out)
            plain, fast = bench.run(case, PLAIN), bench.run(case, FAST)
            assert plain[0] == fast[0] == 0
            assert same_bits(plain[1], fast[1]), f"{strange} {pad} {tall}"


def power(seed: int, exponent: str) -> Case:
    """Mostly positive bases, so that whole stretches are; a row of exponents, or one for all."""
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 3000))
    base = np.abs(values(rng, DType.F32, rows * columns, awkward=True))
    base[~(base > 0) | np.isinf(base)] = 1
    if seed % 3 == 0:
        base[int(rng.integers(0, base.size))] = rng.choice(np.array([0, -0.0, -2, np.inf, np.nan], np.float32))
    count = base.size if exponent == "each" else 1
    powers = values(rng, DType.F32, count, awkward=seed % 2 == 0)
    if exponent == "usual":
        powers[:] = rng.choice(np.array([0.75, 0.5, 2, -1, -0.5, 0, 3], np.float32))
    make = Maker(rng, awkward=True)
    strides = [[columns, 1], [columns, 1], [columns, 1] if exponent == "each" else [0, 0]]
    record = Record(
        Opcode.BINARY,
        DType.F32,
        ARENA.offset,
        (make.put(base), make.put(powers)),
        (DType.F32, DType.F32),
        2,
        imm=words(Binary.POW),
        body=strided_body([rows, columns], strides),
    )
    return make.case(record, base.size)


@pytest.mark.parametrize("exponent", ["usual", "one", "each"])
def test_powers(bench: Bench, exponent: str) -> None:
    """Random powers have the same bits in the fast and the plain kernel."""
    for seed in range(60):
        case = power(seed, exponent)
        status, plain = bench.run(case, PLAIN)
        assert status == 0
        _, fast = bench.run(case, FAST)
        assert same_bits(plain, fast), f"seed {seed}: {case.record}"


def test_every_kind_of_positive_base(bench: Bench) -> None:
    """From the least subnormal to the largest number."""
    bits = np.concatenate([np.arange(1, 2000), np.linspace(1, 0x7F7FFFFF, 200_000).astype(np.uint32)]).astype(np.uint32)
    base = bits.view(np.float32)
    for exponent in (0.75, -0.75, 1.0, 30.0, -30.0, 1e-6, 3e38):
        make = Maker(np.random.default_rng(0), awkward=False)
        inputs = make.put(base), make.put(np.array([exponent], np.float32))
        strides = strided_body([base.size], [[1], [1], [0]])
        record = Record(
            Opcode.BINARY,
            DType.F32,
            ARENA.offset,
            inputs,
            (DType.F32, DType.F32),
            1,
            hi=base.size,
            imm=words(Binary.POW),
            body=strides,
        )
        case = Case(record, tuple(make.arrays))
        _, plain = bench.run(case, PLAIN)
        _, fast = bench.run(case, FAST)
        assert same_bits(plain, fast), exponent


@pytest.mark.parametrize("k_step", [0, 1])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_whose_columns_are_all_one(bench: Bench, k_step: int, transposed: bool) -> None:
    """One column for all, or one number, by any number of rows; each column has its bias, or a row, or all."""
    for seed in range(24):
        rng = np.random.default_rng([seed, k_step, transposed])
        m, n, k = int(rng.choice([1, 2, 7, 8, 19])), int(rng.choice([63, 64, 100, 257])), int(rng.integers(2, 400))
        make = Maker(rng, awkward=False)
        a, b, bias = (make.put(values(rng, DType.F32, size, awkward=seed % 3 == 0)) for size in (m * k, k, m * n))
        bias_m, bias_n = [(0, 0), (0, 1), (1, 0), (n, 1)][seed % 4]
        operands = 2 + seed % 2
        sizes, rows = [1, m, n], [[0, n, 1], [0, k, 0], [0, 0, 0], [0, bias_m, bias_n]]
        inputs, steps = (a, b), (1, k_step)
        if transposed:
            sizes, rows = [1, n, m], [[0, 1, n], [0, 0, 0], [0, 0, k], [0, bias_n, bias_m]]
            inputs, steps = (b, a), (k_step, 1)
        record = Record(
            *(Opcode.CONTRACT, DType.F32, ARENA.offset, (*inputs, bias)[:operands], (DType.F32,) * operands, 3, 0, 0),
            *(words(k, *steps), strided_body(sizes, rows[: operands + 1])),
        )
        case = make.case(record, m * n)
        status, plain = bench.run(case, PLAIN)
        assert status == 0, record
        _, fast = bench.run(case, FAST)
        assert same_bits(plain, fast), f"seed {seed}: {record}"
