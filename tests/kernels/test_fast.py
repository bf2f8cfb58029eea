"""
Fast paths against plain kernels, on sizes at which they take over.

Bit for bit, for every shape: odd edges of tiles, transposed and broadcast operands, many pieces of K, groups, strides,
dilations, and paddings that cut windows off. A few awkward numbers are strewn among well-behaved ones, so that NaN,
infinities and signed zeros reach every place, without drowning all else.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.segment import ARENA
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.record import Record, strided_body
from tests.kernels import cases
from tests.kernels.bench import FAST, PLAIN, Bench, same_bits
from tests.kernels.maker import Array, Case, Maker, Rng, values, words

F32 = (DType.F32, DType.F32, DType.F32)
SEEDS = st.integers(0, 2**32 - 1)


def strewn(rng: Rng, count: int) -> Array:
    """Mostly normal numbers."""
    plain = rng.standard_normal(count).astype(np.float32)
    wild = values(rng, DType.F32, count, awkward=True)
    return np.where(rng.random(count) < rng.choice([0.0, 0.001, 0.05]), wild, plain)


def strewn_case(rng: Rng, case: Case) -> Case:
    return replace(case, arrays=tuple((offset, strewn(rng, array.size)) for offset, array in case.arrays))


def agree(bench: Bench, case: Case) -> None:
    status, plain = bench.run(case, PLAIN)
    assert status == 0
    _, fast = bench.run(case, FAST)
    assert same_bits(plain, fast), f"{case.record} {case.record.imm} {case.record.body}"


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_contraction(bench: Bench, seed: int) -> None:
    """Random contractions have the same bits in the fast and the plain kernel."""
    rng = np.random.default_rng(seed)
    m, n, k = (int(rng.choice([1, 2, 3, 7, 12, 13, 16, 31, 32, 33, 48, 65])) for _ in range(3))
    if rng.random() < 0.1:
        k = int(rng.integers(1000, 2200))
    case = cases.contract(Maker(rng, awkward=False), (m, n, k), F32)
    agree(bench, strewn_case(rng, case))


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_contraction_of_many_rows_with_a_small_matrix(bench: Bench, seed: int) -> None:
    """Few terms and few columns, which fit into registers, with and without a bias of any strides; nearly so, too."""
    rng = np.random.default_rng(seed)
    m, n, k = int(rng.integers(14, 300)), int(rng.integers(1, 18)), int(rng.integers(1, 10))
    case = cases.contract(Maker(rng, awkward=False), (m, n, k), F32)
    whole = prod(case.record.dims)
    agree(bench, strewn_case(rng, case.part(0, whole) if rng.random() < 0.7 else case))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, transpose_a=st.booleans(), transpose_b=st.booleans(), transpose_out=st.booleans())
def test_contraction_of_packed_and_transposed_matrices(
    bench: Bench, seed: int, transpose_a: bool, transpose_b: bool, transpose_out: bool
) -> None:
    """The layouts that models are made of, with a bias along rows, columns, both or neither."""
    rng = np.random.default_rng(seed)
    make = Maker(rng, awkward=False)
    m, n, k = (int(size) for size in rng.integers(1, 90, 3))
    batch = int(rng.integers(1, 4))
    a, b = make.put(strewn(rng, batch * m * k)), make.put(strewn(rng, batch * k * n))
    bias = make.put(strewn(rng, m * n))
    a_m, a_k = (1, m) if transpose_a else (k, 1)
    b_k, b_n = (1, k) if transpose_b else (n, 1)
    out = (1, m) if transpose_out else (n, 1)
    bias_row = [0, *((0, 1), (1, 0), (n, 1), (0, 0))[int(rng.integers(4))]]
    with_bias = rng.random() < 0.7
    record = Record(
        Opcode.CONTRACT,
        DType.F32,
        ARENA.offset,
        (a, b, bias)[: 2 + with_bias],
        (DType.F32,) * (2 + with_bias),
        3,
        0,
        0,
        words(k, a_k, b_k),
        strided_body([batch, m, n], [[m * n, *out], [m * k, a_m, 0], [k * n, 0, b_n], bias_row]),
    )
    agree(bench, make.case(record, batch * m * n))


@pytest.mark.parametrize(
    ("m", "n", "k"), [(530, 33, 600), (520, 900, 520), (40, 49, 1100), (384, 100, 1500), (14, 65, 769)]
)
def test_contraction_in_several_blocks(bench: Bench, m: int, n: int, k: int) -> None:
    """More rows, columns and terms than caches take at a time."""
    agree_on_product(bench, (m, n, k), [1, 0])


@pytest.mark.parametrize("bias", [[1, 0], [0, 1]])
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        (3, 517, 5),
        (4, 512, 64),
        (6, 700, 77),
        (9, 513, 8),
        (31, 1111, 130),
        (48, 560, 41),
        (49, 530, 40),
        (101, 700, 300),
    ],
)
def test_contraction_with_long_rows(bench: Bench, m: int, n: int, k: int, bias: list[int]) -> None:
    """A few rows times a matrix whose rows are long: both as it lies and packed."""
    agree_on_product(bench, (m, n, k), bias)


def agree_on_product(bench: Bench, size: tuple[int, int, int], bias_strides: list[int]) -> None:
    """Matrices of m rows, n columns and k terms, none of them transposed."""
    m, n, k = size
    rng = np.random.default_rng([m, n, k])
    make = Maker(rng, awkward=False)
    a, b, bias = (make.put(strewn(rng, size)) for size in (m * k, k * n, max(m, n)))
    strides = [[n, 1], [k, 0], [0, 1], bias_strides]
    record = Record(
        *(Opcode.CONTRACT, DType.F32, ARENA.offset, (a, b, bias), (DType.F32,) * 3, 2, 0, 0),
        *(words(k, 1, n), strided_body([m, n], strides)),
    )
    agree(bench, make.case(record, m * n))


def windows(rng: Rng) -> list[list[int]]:
    """Two spatial dimensions, sizes at which rows are cut into vectors in every way."""
    fields: list[list[int]] = [[] for _ in range(7)]
    for _ in range(2):
        kernel = int(rng.choice([1, 1, 2, 3, 3, 5]))
        stride, dilation = int(rng.choice([1, 1, 2, 3])), int(rng.choice([1, 1, 2]))
        size = int(rng.integers(1, 40))
        before, after = (int(pad) for pad in rng.integers(-1, 4, 2))
        if rng.random() < 0.4:
            before = after = 0
        span = (kernel - 1) * dilation + 1
        out = max((size + before + after - span) // stride + 1, 1)
        for column, value in zip(fields, (size, kernel, stride, dilation, before, out, after), strict=True):
            column.append(value)
    return [[*column, filler] for column, filler in zip(fields, (1, 1, 1, 1, 0, 1, 0), strict=True)]


def channels(rng: Rng) -> tuple[int, int, int, int]:
    """Images, channels in and out, and groups of a random convolution."""
    groups = int(rng.choice([1, 1, 1, 2, 4, 8]))
    per_in, per_out = (int(rng.choice([1, 1, 2, 3, 8, 13])) for _ in range(2))
    if groups == 1 and rng.random() < 0.5:
        per_in, per_out = (int(size) for size in rng.integers(1, 40, 2))
    return (int(rng.integers(1, 3)), groups * per_in, groups * per_out, groups)


@settings(max_examples=200, deadline=None)
@given(seed=SEEDS)
def test_convolution(bench: Bench, seed: int) -> None:
    """Random convolutions have the same bits in the fast and the plain kernel."""
    rng = np.random.default_rng(seed)
    case = cases.conv(Maker(rng, awkward=False), windows(rng), channels(rng), F32)
    agree(bench, strewn_case(rng, case))


def strides_and_dilations(rng: Rng) -> list[list[int]]:
    """One to three spatial dimensions; strides and dilations beyond each other, mostly rows shorter than a vector."""
    dimensions = int(rng.integers(1, 4))
    fields: list[list[int]] = [[] for _ in range(7)]
    for _ in range(dimensions):
        kernel, stride, dilation = (int(rng.integers(1, most)) for most in (5, 6, 5))
        size = int(rng.choice([1, 2, 5, 9, 17, 22]))
        before, after = (int(pad) for pad in rng.integers(0, 3, 2))
        out = max((size + before + after - (kernel - 1) * dilation - 1) // stride + 1, 1)
        for column, value in zip(fields, (size, kernel, stride, dilation, before, out, after), strict=True):
            column.append(value)
    return [
        [*column, *[filler] * (3 - dimensions)] for column, filler in zip(fields, (1, 1, 1, 1, 0, 1, 0), strict=True)
    ]


@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_convolution_with_any_strides_and_dilations(bench: Bench, seed: int) -> None:
    """What is laid out for the taps of one stride and dilation does not run over what is laid out for others."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2]))
    channels = (int(rng.integers(1, 4)), groups * 6, groups * 8, groups)
    case = cases.conv(Maker(rng, awkward=False), strides_and_dilations(rng), channels, F32, rank=3)
    agree(bench, strewn_case(rng, case))


@pytest.mark.parametrize("size", [8, 9, 16, 32, 33])
def test_convolution_of_patches(bench: Bench, size: int) -> None:
    """Windows that lie side by side, of sizes up to what is laid out and beyond."""
    rng = np.random.default_rng(size)
    fields = [[2 * size, 3 * size], [size] * 2, [size] * 2, [1] * 2, [0] * 2, [2, 3], [0] * 2]
    shape = [[*column, filler] for column, filler in zip(fields, (1, 1, 1, 1, 0, 1, 0), strict=True)]
    agree(bench, strewn_case(rng, cases.conv(Maker(rng, awkward=False), shape, (1, 3, 20, 1), F32)))


@pytest.mark.parametrize("depth", [2, 17, 130, 300, 512])
@pytest.mark.parametrize("channels", [29, 57, 150])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_of_one_tap_over_many_columns(bench: Bench, depth: int, channels: int, stride: int) -> None:
    """More rows than a tile has, so that its columns are kept for the rows below; more columns than are, or fewer."""
    rng = np.random.default_rng([depth, channels, stride])
    side = int(rng.choice([11, 18, 21] if depth * channels < 20000 else [7, 11]))
    sides, out = [(side - 1) * stride + 1] * 2, [side, side, 1]
    at = [[*sides, 1], [1, 1, 1], [stride, stride, 1], [1, 1, 1], [0, 0, 0], out, [0, 0, 0]]
    case = cases.conv(Maker(rng, awkward=False), at, (2, depth, channels, 1), F32)
    case = strewn_case(rng, case)
    agree(bench, case.part(0, 2 * channels * side * side))
    agree(bench, case.part(5 * side * side, (channels + 9) * side * side))


def images(rng: Rng) -> list[list[int]]:
    """Images as wide as up to five vectors, with windows of any size over them, strides of 1 to 3 and all paddings."""
    fields: list[list[int]] = [[] for _ in range(7)]
    for most in (24, 80):
        size, kernel = int(rng.integers(1, most)), int(rng.integers(1, 8))
        stride, dilation = int(rng.choice([1, 1, 2, 3])), int(rng.choice([1, 1, 2, 3]))
        before, after = (int(pad) for pad in rng.integers(-1, 5, 2))
        out = max((size + before + after - (kernel - 1) * dilation - 1) // stride + 1, 1)
        for column, value in zip(fields, (size, kernel, stride, dilation, before, out, after), strict=True):
            column.append(value)
    return [[*column, filler] for column, filler in zip(fields, (1, 1, 1, 1, 0, 1, 0), strict=True)]


@settings(max_examples=400, deadline=None)
@given(seed=SEEDS)
def test_convolution_of_each_channel_by_itself(bench: Bench, seed: int) -> None:
    """Whole channels, and ranges that begin and end within one."""
    rng = np.random.default_rng(seed)
    groups, each = int(rng.integers(1, 20)), int(rng.choice([1, 1, 1, 2, 3]))
    case = cases.conv(
        Maker(rng, awkward=False), images(rng), (int(rng.integers(1, 3)), groups, groups * each, groups), F32
    )
    agree(bench, strewn_case(rng, case))
    body = case.record.body
    size, channels = body[20] * body[21], body[1] * body[3]
    first, end = sorted(int(channel) for channel in rng.integers(0, channels + 1, 2))
    if first < end:
        agree(bench, strewn_case(rng, case.part(first * size, end * size)))


def test_padding_meets_infinite_weights(bench: Bench) -> None:
    """0 * inf is NaN also where the 0 is padding."""
    rng = np.random.default_rng(5)
    at = [[9, 9, 1], [3, 3, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [9, 9, 1], [1, 1, 0]]
    case = cases.conv(Maker(rng, awkward=False), at, (1, 6, 8, 1), F32).part(0, 8 * 81)
    (x, w, *bias) = case.arrays
    weights = np.where(rng.random(w[1].size) < 0.02, np.float32(np.inf), w[1]).astype(np.float32)
    case = replace(case, arrays=(x, (w[0], weights), *bias))
    agree(bench, case)
    _, found = bench.run(case, FAST)
    assert np.isnan(found.reshape(8, 9, 9)[:, 0, :]).any()


@pytest.mark.parametrize("awkward", [False, True])
def test_many_trees(bench: Bench, awkward: bool) -> None:
    """More than are walked at a time, of good tables and of wild ones."""
    for seed in range(40):
        rng = np.random.default_rng([seed, awkward])
        agree(bench, cases.forest(Maker(rng, awkward=awkward), int(rng.integers(3, 30))))
