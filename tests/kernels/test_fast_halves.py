"""Contractions, convolutions and pools of binary16 and bfloat16 on fast paths: the plain kernels' bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.model.opcodes import DType, Pooling
from tests.kernels import cases
from tests.kernels.bench import FAST, PLAIN, Bench, same_bits
from tests.kernels.maker import Array, Case, Maker, Rng, values
from tests.kernels.test_fast import windows
from tests.kernels.test_fast_rows import pooling

SEEDS = st.integers(0, 2**32 - 1)
PRODUCTS = [(half, half, out) for half in (DType.F16, DType.BF16) for out in (half, DType.F32)]


def strewn(rng: Rng, dtype: DType, count: int) -> Array:
    """Mostly normal numbers."""
    plain = rng.standard_normal(count).astype(np.float32).astype(dtype.numpy)
    wild = values(rng, dtype, count, awkward=True)
    return np.where(rng.random(count) < rng.choice([0.0, 0.001, 0.05]), wild, plain).astype(dtype.numpy)


def agree(bench: Bench, case: Case) -> None:
    status, plain = bench.run(case, PLAIN)
    assert status == 0
    _, fast = bench.run(case, FAST)
    assert same_bits(plain, fast), f"{case.record} {case.record.imm} {case.record.body}"


@settings(max_examples=120, deadline=None)
@given(seed=SEEDS)
def test_contraction(bench: Bench, seed: int) -> None:
    """Random contractions of halves have the same bits in the fast and the plain kernel."""
    rng = np.random.default_rng(seed)
    make = Maker(rng, awkward=False)
    m, n, k = (int(rng.choice([1, 2, 3, 7, 13, 32, 33, 48, 65, 100])) for _ in range(3))
    if rng.random() < 0.05:
        m, n, k = ((600, 5, 9), (3, 300, 5000), (2, 3, 9000))[int(rng.integers(3))]
    of_a, of_b, of_out = PRODUCTS[int(rng.integers(len(PRODUCTS)))]
    batch = int(rng.integers(1, 3))
    data = strewn(rng, of_a, batch * m * k), strewn(rng, of_b, batch * k * n), strewn(rng, of_out, m * n)
    agree(bench, cases.laid_out_product(make, (batch, m, n, k), data, (of_a, of_b, of_out)))


@settings(max_examples=120, deadline=None)
@given(seed=SEEDS)
def test_few_rows(bench: Bench, seed: int) -> None:
    """So have parts of products of a few rows, with a matrix whose columns are neighbours in most of them."""
    rng = np.random.default_rng(seed)
    make = Maker(rng, awkward=False)
    m, n = int(rng.integers(1, 18)), int(rng.choice([1, 4, 15, 16, 17, 64, 65, 130]))
    k = int(rng.choice([1, 2, 40]))
    batch = int(rng.integers(1, 4))
    half, out = PRODUCTS[1][0], (DType.F32, DType.F16)[int(rng.integers(2))]
    data = strewn(rng, half, batch * m * k), strewn(rng, half, batch * k * n), strewn(rng, out, m * n)
    case = cases.laid_out_product(make, (batch, m, n, k), data, (half, half, out))
    ends = sorted(int(x) for x in rng.integers(0, batch * m * n + 1, 2))
    lo, hi = ends if rng.random() < 0.5 else (0, batch * m * n)
    case = replace(case, record=replace(case.record, lo=lo, hi=hi))
    agree(bench, case)


@settings(max_examples=120, deadline=None)
@given(seed=SEEDS)
def test_convolution(bench: Bench, seed: int) -> None:
    """Random convolutions of halves have the same bits in the fast and the plain kernel."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 4]))
    per_in, per_out = (int(rng.choice([1, 2, 3, 8, 13])) for _ in range(2))
    channels = (int(rng.integers(1, 4)), groups * per_in, groups * per_out, groups)
    dtypes = PRODUCTS[int(rng.integers(len(PRODUCTS)))]
    case = cases.conv(Maker(rng, awkward=False), windows(rng), channels, dtypes)
    kinds = (dtypes[0], dtypes[1], dtypes[2])
    arrays = tuple((at, strewn(rng, kind, array.size)) for (at, array), kind in zip(case.arrays, kinds, strict=False))
    agree(bench, replace(case, arrays=arrays))


@pytest.mark.parametrize("kind", Pooling)
@pytest.mark.parametrize("half", [DType.F16, DType.BF16])
def test_pooling(bench: Bench, half: DType, kind: Pooling) -> None:
    """Random poolings of halves have the same bits in the fast and the plain kernel."""
    for seed in range(60):
        case = pooling(seed, kind, awkward=False)
        rng = np.random.default_rng(seed)
        ((at, x),) = case.arrays
        record = replace(case.record, dtype_out=half, dtypes_in=(half,))
        agree(bench, replace(case, record=record, arrays=((at, strewn(rng, half, x.size)),)))
