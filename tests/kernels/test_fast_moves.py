"""
Moving, gathering, scattering and reducing many elements at a time: the plain kernels' bits, whatever the strides.

Shapes are those that models make: tensors with their axes permuted, reversed, thinned out, or repeated; whole, and from
any element to any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.segment import ARENA
from opml_dispute.model.opcodes import DType, Opcode, Reduction
from opml_dispute.model.record import Record, strided_body
from tests.kernels.bench import FAST, PLAIN, Bench, same_bits
from tests.kernels.maker import INTEGER, Case, Maker, Rng, values, words

SEEDS = st.integers(0, 2**32 - 1)
NUMBERS = (DType.F32, DType.F16, DType.BF16, DType.U8, DType.I8, DType.I16, DType.I32, DType.U32, DType.I64)
BY_WIDTH = (DType.U8, DType.F16, DType.F32, DType.I64, DType.BOOL)


@dataclass(frozen=True)
class View:
    """A tensor as a record walks it."""

    dims: list[int]
    strides: list[int]
    first: int
    """Elements before its element 0."""
    size: int
    """Elements of the memory that it lies in."""


def view(rng: Rng, dims: Sequence[int]) -> View:
    """`dims`, from memory whose axes are permuted; some are reversed, thinned out, or there once only."""
    order = rng.permutation(len(dims))
    kept, strides, first, step = list(dims), [0] * len(dims), 0, 1
    for d in order[::-1]:
        if rng.random() < 0.2:
            continue  # the same elements again and again
        apart = int(rng.choice([1, 1, 1, 2, 3]))
        strides[d] = step * apart
        step *= apart * dims[d]
        if rng.random() < 0.15:
            first += strides[d] * (dims[d] - 1)
            strides[d] = -strides[d]
    return View(kept, strides, first, step)


def packed(dims: Sequence[int]) -> list[int]:
    return [prod(dims[d + 1 :]) for d in range(len(dims))]


def sizes(rng: Rng) -> list[int]:
    return [int(rng.choice([1, 2, 3, 4, 5, 8, 16, 17, 33, 40])) for _ in range(int(rng.integers(1, 5)))]


def agree(bench: Bench, case: Case) -> None:
    status, plain = bench.run(case, PLAIN)
    assert status == 0
    _, fast = bench.run(case, FAST)
    assert same_bits(plain, fast), f"{case.record}"


@settings(max_examples=300, deadline=None)
@given(seed=SEEDS)
def test_copies(bench: Bench, seed: int) -> None:
    """Random copies have the same bits in the fast and the plain kernel."""
    rng = np.random.default_rng(seed)
    dims, dtype = sizes(rng), BY_WIDTH[int(rng.integers(len(BY_WIDTH)))]
    make, of, to = Maker(rng, awkward=True), view(rng, dims), packed(dims)
    if rng.random() < 0.2:  # into a part of a larger tensor
        to = [stride * 2 for stride in to]
    x = make.put(values(rng, dtype, of.size, awkward=True)) + of.first * dtype.width
    record = Record(
        Opcode.COPY, dtype, ARENA.offset, (x,), (dtype,), len(dims), body=strided_body(dims, [to, of.strides])
    )
    agree(bench, make.case(record, prod(dims)))


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_choices(bench: Bench, seed: int) -> None:
    """Random selections have the same bits in the fast and the plain kernel."""
    rng = np.random.default_rng(seed)
    dims, dtype = sizes(rng), BY_WIDTH[int(rng.integers(len(BY_WIDTH)))]
    make = Maker(rng, awkward=True)
    inputs, rows = [], [packed(dims)]
    for kind in (DType.BOOL, dtype, dtype):
        strides = [0 if rng.random() < 0.2 else stride for stride in packed(dims)]
        inputs.append(make.put(values(rng, kind, prod(dims), awkward=True)))
        rows.append(strides)
    record = Record(
        *(Opcode.SELECT, dtype, ARENA.offset, tuple(inputs), (DType.BOOL, dtype, dtype), len(dims)),
        body=strided_body(dims, rows),
    )
    agree(bench, make.case(record, prod(dims)))


@pytest.mark.parametrize("scatters", [False, True])
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_elements_at_indices(bench: Bench, seed: int, scatters: bool) -> None:
    """Along one axis or two, an index for each element or for each row; stored, or combined with what is there."""
    rng = np.random.default_rng(seed)
    rows, columns, axis = int(rng.integers(1, 20)), int(rng.integers(1, 40)), int(rng.integers(1, 30))
    dtype = BY_WIDTH[int(rng.integers(len(BY_WIDTH)))]
    how = Reduction.NONE
    if scatters and rng.random() < 0.6:
        dtype, how = (DType.F32, *INTEGER)[int(rng.integers(1 + len(INTEGER)))], Reduction(int(rng.integers(1, 5)))
    make, parts = Maker(rng, awkward=True), int(rng.integers(1, 3))
    each = bool(rng.random() < 0.6)
    count = rows * (columns if each else 1)
    index = make.put(rng.integers(-axis, axis, (count, parts)))
    moves = [0, 1] if not each else [axis * axis, 0] if rng.random() < 0.5 else [0, 0]
    table = axis * axis * max(rows, 1) + columns * (1 if not each else 0)
    data = make.put(values(rng, dtype, rows * columns if scatters else table, awkward=True))
    beside = [columns, 1]
    places = [axis, 1] if parts == 2 else [1, 0]
    strides = [
        moves if scatters else beside,
        beside if scatters else moves,
        [columns * parts, parts] if each else [parts, 0],
        [0] * 8,
    ]
    strides[3][:parts], strides[3][4 : 4 + parts] = places[:parts], [axis] * parts
    record = Record(
        Opcode.SCATTER if scatters else Opcode.GATHER,
        *(dtype, ARENA.offset, (data, index), (dtype, DType.I64), 2),
        imm=words(parts, 1, how if scatters else 0),
        body=body_of([rows, columns], strides),
    )
    start = values(rng, dtype, 4096, awkward=True) if scatters else None
    agree(bench, make.case(record, rows * columns, start, cut=not scatters))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_updates_of_neighbours(bench: Bench, seed: int) -> None:
    """Stretches of indices that ascend by one, also below zero and to the end, alike for all rows or of each row."""
    rng = np.random.default_rng(seed)
    rows, axis = int(rng.integers(1, 5)), 40
    alike = bool(rng.random() < 0.5)
    dtype, how = (DType.F32, *INTEGER)[int(rng.integers(1 + len(INTEGER)))], Reduction(int(rng.integers(1, 5)))
    stretches = []
    for length in rng.integers(1, int(rng.integers(2, 30)), int(rng.integers(1, 40)) * (1 if alike else rows)):
        first = int(rng.integers(-axis, axis - length + 1))
        stretches.append(np.arange(first, first + length))
    index = np.concatenate(stretches)
    columns = index.size if alike else index.size // rows
    make = Maker(rng, awkward=True)
    strides = [[axis, 0], [columns, 1], [0 if alike else columns, 1], [1, 0, 0, 0, axis, 0, 0, 0]]
    record = Record(
        Opcode.SCATTER,
        *(dtype, ARENA.offset, (make.put(values(rng, dtype, rows * columns, awkward=True)), make.put(index))),
        *((dtype, DType.I64), 2),
        imm=words(1, 1, how),
        body=body_of([rows, columns], strides),
    )
    start = values(rng, dtype, rows * axis, awkward=True)
    agree(bench, make.case(record, rows * columns, start, cut=False))


def body_of(dims: list[int], strides: list[list[int]]) -> tuple[int, ...]:
    """A body whose last row of strides holds the places' steps and sizes."""
    made = list(strided_body(dims, [row[: len(dims)] for row in strides[:3]]))
    made[8 * 4 : 8 * 5] = strides[3]
    return tuple(made)


@pytest.mark.parametrize("opcode", [Opcode.REDUCE, Opcode.SCAN])
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_neighbours_that_are_reduced_together(bench: Bench, seed: int, opcode: Opcode) -> None:
    """Over the first axis, or one in the middle, of a tensor; outputs side by side, in part or as a whole."""
    rng = np.random.default_rng(seed)
    over = int(rng.integers(1, 40 if rng.random() < 0.5 else 9))
    before, after = int(rng.integers(1, 4)), int(rng.choice([5, 8, 9, 16, 17, 100, 300, 600]))
    make, second = Maker(rng, awkward=True), int(rng.integers(1, 3))
    x = make.put(values(rng, DType.F32, before * over * second * after, awkward=bool(rng.random() < 0.5)))
    if opcode is Opcode.REDUCE:
        dims = [before, after, over, second]
        rows = [[after, 1, 0, 0], [over * second * after, 1, second * after, after]]
        imm = words(int(rng.integers(1, 5)), 2)
    else:
        dims = [before, second, after, over]
        size = over * second * after
        rows = [[size, after, 1, second * after], [size, after, 1, second * after]]
        imm = words(int(rng.integers(1, 3)), 1, int(rng.integers(0, 4)))
    record = Record(*(opcode, DType.F32, ARENA.offset, (x,), (DType.F32,), 4), imm=imm, body=strided_body(dims, rows))
    agree(bench, make.case(record, prod(dims[: 2 if opcode is Opcode.REDUCE else 3])))


@pytest.mark.parametrize("greatest", [True, False])
@settings(max_examples=120, deadline=None)
@given(seed=SEEDS)
def test_the_first_of_long_lines(bench: Bench, seed: int, greatest: bool) -> None:
    """A few of many, or all; with equals, NaN and both zeros among them; lines side by side or one after another."""
    rng = np.random.default_rng(seed)
    dtype = NUMBERS[int(rng.integers(len(NUMBERS)))]
    lines, length = int(rng.integers(1, 4)), int(rng.choice([1, 5, 17, 64, 65, 300, 1500]))
    k = int(rng.integers(1, length + 1)) if rng.random() < 0.5 else max(1, length // 20)
    x = values(rng, dtype, lines * length, awkward=bool(rng.random() < 0.5))
    if rng.random() < 0.3:
        x = rng.integers(0, 4, x.size).astype(dtype.numpy)
    make, across = Maker(rng, awkward=True), bool(rng.random() < 0.3)
    strides = [[k, 1], [1, lines] if across else [length, 1]]
    record = Record(
        *(Opcode.TOPK, DType.I64, ARENA.offset, (make.put(x),), (dtype,), 2),
        imm=words(int(greatest), 1, k),
        body=strided_body([lines, length], strides),
    )
    agree(bench, make.case(record, lines))


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_rows_that_are_reduced_together(bench: Bench, seed: int) -> None:
    """Over the last axis, a few elements or many, with NaN and infinities in some."""
    rng = np.random.default_rng(seed)
    lengths = [31, 32, 33, 47, 64, 100, 255, 256, 300, 1000]
    rows, n, gap = int(rng.integers(1, 11)), int(rng.choice(lengths)), int(rng.integers(0, 3))
    x = values(rng, DType.F32, rows * (n + gap), awkward=bool(rng.random() < 0.3))
    if rng.random() < 0.3:  # the greatest or the least is a zero, of either sign
        sign = np.float32(rng.choice([-1, 1]))
        x = np.where(rng.random(x.size) < rng.choice([0.02, 0.5]), np.copysign(np.float32(0), x), np.copysign(x, sign))
    x[rng.random(x.size) < rng.choice([0, 0.01])] = np.nan
    make = Maker(rng, awkward=True)
    record = Record(
        *(Opcode.REDUCE, DType.F32, ARENA.offset, (make.put(x),), (DType.F32,), 2),
        imm=words(int(rng.integers(1, 5)), 1),
        body=strided_body([rows, n], [[1, 0], [n + gap, 1]]),
    )
    agree(bench, make.case(record, rows))


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("value", [50, -51, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("bad", [0, 7, 83])
def test_a_bad_index_fails_the_parts_that_use_it_and_no_other(bench: Bench, bad: int, value: int, each: bool) -> None:
    """Each row of the output uses the same indices, or `each` its own; a part may begin or end within a row."""
    index = np.arange(84 * 9 if each else 84) % 50
    index[bad] = value
    make = Maker(np.random.default_rng(0), awkward=False)
    inputs = make.put(np.arange(50, dtype=np.float32)), make.put(index.astype(np.int64))
    record = Record(
        *(Opcode.GATHER, DType.F32, ARENA.offset, inputs, (DType.F32, DType.I64), 2),
        imm=words(1, 1),
        body=body_of([9, 84], [[84, 1], [0, 0], [84 if each else 0, 1], [1, 0, 0, 0, 50, 0, 0, 0]]),
    )
    for lo, hi in ((0, 7), (1, 84), (8, 83), (8, 84), (84, 91), (0, 756), (84, 84 * 3), (92, 92 + 75), (7, 7 + 84)):
        case = Case(record, tuple(make.arrays)).part(lo, hi)
        uses = any((i if each else i % 84) == bad for i in range(lo, hi))
        for mode in (PLAIN, FAST):
            status, _ = bench.run(case, mode)
            assert status == (7 if uses else 0), (lo, hi)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_rows_that_meet_the_same_indices(bench: Bench, seed: int) -> None:
    """Rows of an input are gathered by indices that they share, of one or more components, from any part of a row."""
    rng = np.random.default_rng(seed)
    make = Maker(rng, awkward=False)
    dtype = make.pick(list(DType))
    rows, columns, components = (
        int(rng.integers(2, 6)),
        int(rng.choice([1, 3, 16, 17, 40, 5000])),
        int(rng.integers(1, 4)),
    )
    sizes = [int(size) for size in rng.integers(1, 9, components)]
    steps = [int(np.prod(sizes[i + 1 :])) for i in range(components)]
    pitch = int(np.prod(sizes)) + columns
    index = np.stack([rng.integers(-size, size, columns) for size in sizes], axis=1)
    inputs = (
        make.put(values(rng, dtype, rows * pitch, awkward=False)),
        make.put(np.ascontiguousarray(index).astype(np.int64)),
    )
    along = int(rng.integers(0, 2))  # elements from one column's input to the next one's
    record = Record(
        *(Opcode.GATHER, dtype, ARENA.offset, inputs, (dtype, DType.I64), 2),
        imm=words(components, 1),
        body=body_of(
            [rows, columns],
            [
                [columns, 1],
                [pitch, along],
                [0, components],
                [*steps, *[0] * (4 - components), *sizes, *[0] * (4 - components)],
            ],
        ),
    )
    lo, hi = sorted(int(at) for at in rng.integers(0, rows * columns + 1, 2))
    agree(bench, Case(record, tuple(make.arrays)).part(lo, max(hi, lo + 1) if lo < rows * columns else lo))
