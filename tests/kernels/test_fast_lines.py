"""Reductions, scans and places of the best along lines, of integers and of short rows: the plain kernels' bits."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.segment import ARENA
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.record import Record, strided_body
from tests.kernels.bench import Bench
from tests.kernels.maker import Array, Maker, Rng, values, words
from tests.kernels.test_fast_moves import agree

SEEDS = st.integers(0, 2**32 - 1)
INTEGERS = (DType.U8, DType.I8, DType.U16, DType.I16, DType.U32, DType.I32, DType.U64, DType.I64)


@pytest.mark.parametrize("opcode", [Opcode.REDUCE, Opcode.SCAN])
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_integers_along_any_axis(bench: Bench, seed: int, opcode: Opcode) -> None:
    """Over the last axis or another, a few elements or many, all of a tensor or every second one of its rows."""
    rng = np.random.default_rng(seed)
    dtype = INTEGERS[int(rng.integers(len(INTEGERS)))]
    over = int(rng.choice([1, 2, 7, 8, 33, 300]))
    beside, before = int(rng.choice([1, 7, 8, 9, 40, 1100])), int(rng.integers(1, 4))
    make, across, apart = Maker(rng, awkward=True), bool(rng.random() < 0.6), int(rng.integers(1, 3))
    of = [beside * over, 1, beside] if across else [beside * over, over, 1]
    x = make.put(values(rng, dtype, before * beside * over * apart, awkward=True))
    dims, strides = [before, beside, over], [of[0] * apart, *of[1:]]
    if opcode is Opcode.REDUCE:
        rows, imm, lines = [[beside, 1, 0], strides], words(int(rng.integers(1, 5)), 1), before * beside
    else:
        rows, imm, lines = [of, strides], words(int(rng.integers(1, 3)), 1, int(rng.integers(0, 4))), before * beside
    record = Record(*(opcode, dtype, ARENA.offset, (x,), (dtype,), 3), imm=imm, body=strided_body(dims, rows))
    agree(bench, make.case(record, lines))


def numbers(rng: Rng, count: int) -> Array:
    """Few different ones, or any, with some that are none."""
    if rng.random() < 0.4:
        return rng.choice(np.array([-1, -0.0, 0.0, 1, np.inf, np.nan], np.float32), count)
    x = values(rng, DType.F32, count, awkward=bool(rng.random() < 0.5))
    x[rng.random(count) < rng.choice([0, 0.02])] = np.nan
    return x


@settings(max_examples=200, deadline=None)
@given(seed=SEEDS)
def test_short_rows_side_by_side(bench: Bench, seed: int) -> None:
    """Rows of 1 to 33 elements, with a gap behind each or none, as many as fill vectors and some more."""
    rng = np.random.default_rng(seed)
    rows, n, gap = int(rng.integers(8, 80)), int(rng.integers(1, 34)), int(rng.integers(0, 2))
    make = Maker(rng, awkward=True)
    x = make.put(numbers(rng, rows * (n + gap)))
    record = Record(
        *(Opcode.REDUCE, DType.F32, ARENA.offset, (x,), (DType.F32,), 2),
        imm=words(int(rng.integers(1, 5)), 1),
        body=strided_body([rows, n], [[1, 0], [n + gap, 1]]),
    )
    agree(bench, make.case(record, rows))


def of_any_type(rng: Rng, dtype: DType, count: int) -> Array:
    """Few different numbers, or any; of floats with some that are none, of whatever bits."""
    if dtype is DType.F32:
        return numbers(rng, count)
    x = values(rng, dtype, count, awkward=True)
    if rng.random() < 0.4:
        x = rng.choice(x[:3], count)
    if dtype.is_float:
        x[rng.random(count) < rng.choice([0, 0.02])] = np.array([0xFFF1], np.uint16).view(dtype.numpy)[0]
    return x


@pytest.mark.parametrize("dtypes", [(DType.F32,), (DType.F16, DType.BF16), INTEGERS])
@settings(max_examples=200, deadline=None)
@given(seed=SEEDS)
def test_where_the_greatest_and_the_least_are(bench: Bench, seed: int, dtypes: tuple[DType, ...]) -> None:
    """Of rows and of columns, the first of equals or the last, with both zeros and NaN among them."""
    rng = np.random.default_rng(seed)
    dtype = dtypes[int(rng.integers(len(dtypes)))]
    over, beside = int(rng.choice([1, 2, 5, 31, 33, 65, 700, 1100])), int(rng.choice([1, 7, 8, 16, 30, 64, 270]))
    second, make = int(rng.integers(1, 3)), Maker(rng, awkward=True)
    dims = [2, beside, over, second]
    if rng.random() < 0.5:
        strides = [beside * over * second, over * second, second, 1]
    else:
        strides = [beside * over * second, 1, beside, beside * over]
    x = make.put(of_any_type(rng, dtype, prod(dims)))
    record = Record(
        *(Opcode.ARGREDUCE, DType.I64, ARENA.offset, (x,), (dtype,), 4),
        imm=words(int(rng.choice([3, 4])), 2, int(rng.integers(0, 2))),
        body=strided_body(dims, [[beside, 1, 0, 0], strides]),
    )
    agree(bench, make.case(record, 2 * beside))
