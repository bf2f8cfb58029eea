"""The two oracles agree with each other and with this processor, and the operands are as hard as they claim to be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.floats import vector
from tests.floats.campaign import check
from tests.floats.exact import FEW, INFINITY, NAN, SIGN, SPECIALS
from tests.floats.operands import TIES, operands
from tests.floats.operations import ARITHMETIC, OPERATIONS, Operation
from tests.floats.vector import Words

BY_NAME = {operation.name: operation for operation in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_integers_and_fractions_agree(operation: Operation) -> None:
    values = FEW if operation.arity == 3 else SPECIALS if operation.arity == 2 else (*SPECIALS, *TIES)
    special = [
        np.array(column, np.uint32) for column in zip(*itertools.product(values, repeat=operation.arity), strict=True)
    ]
    hard = operands(np.random.default_rng(1), operation, 400)
    for columns in (special, hard):
        found = operation.vector(*columns).tolist()
        for *row, answer in zip(*(column.tolist() for column in columns), found, strict=True):
            assert operation.exact(*row) == answer, " ".join(f"{x:08x}" for x in row)


@pytest.mark.parametrize("name", ["add.s", "sub.s", "mul.s", "div.s", "sqrt.s"])
def test_this_processor_agrees(name: str) -> None:
    """Its floats are binary32 too; NaNs have many faces there."""
    columns = operands(np.random.default_rng(2), BY_NAME[name], 50_000)
    x, y = (columns[i % len(columns)].view(np.float32) for i in (0, 1))
    with np.errstate(all="ignore"):
        results = {"add.s": x + y, "sub.s": x - y, "mul.s": x * y, "div.s": x / y, "sqrt.s": np.sqrt(x)}
    bits = np.where(np.isnan(results[name]), np.uint32(NAN), results[name].view(np.uint32))
    assert (BY_NAME[name].vector(*columns) == bits).all()


def test_rounding_a_sum_of_a_product_twice_is_noticed() -> None:
    """float64 holds the product exactly, and the sum not: who goes that way is wrong for these operands."""
    columns = operands(np.random.default_rng(3), BY_NAME["madd.s"], 50_000)
    with np.errstate(all="ignore"):
        a, b, c = (column.view(np.float32).astype(np.float64) for column in columns)
        twice = (a * b + c).astype(np.float32)
    finite = np.isfinite(twice)
    assert (BY_NAME["madd.s"].vector(*columns) != twice.view(np.uint32))[finite].sum() > 20


@pytest.mark.parametrize("operation", ARITHMETIC, ids=lambda operation: operation.name)
def test_hard_operands_reach_every_kind_of_result(operation: Operation) -> None:
    columns = operands(np.random.default_rng(4), operation, 50_000)
    magnitude = operation.vector(*columns) & np.uint32(SIGN - 1)
    kinds = {
        "NaN": magnitude > INFINITY,
        "infinity": magnitude == INFINITY,
        "normal": (magnitude >= 0x00800000) & (magnitude < INFINITY),
        "subnormal": (magnitude < 0x00800000) & (magnitude != 0),
        "zero": magnitude == 0,
    }
    if operation.name == "sqrt.s":
        del kinds["subnormal"]  # a root has half the exponent
    assert {kind for kind, found in kinds.items() if found.sum() > 100} == set(kinds)


@pytest.mark.parametrize("name", ["add.s", "mul.s", "madd.s", "cvt.s.w"])
def test_hard_operands_hit_ties(name: str) -> None:
    """Rounding ties away from even would be noticed: some results end in an odd place more often than not."""
    columns = operands(np.random.default_rng(5), BY_NAME[name], 50_000)
    assert _ties(name, columns) > 50


def _ties(name: str, columns: tuple[Words, ...]) -> int:
    """How many rows would round otherwise if half went away from zero: the last bit of 61 says so."""
    rounded = BY_NAME[name].vector(*columns)
    original = vector._rounded

    def away(negative: vector.Mask, m: vector.U64, e: vector.I64) -> Words:
        return original(negative, m | (m != 0).astype(np.uint64), e)

    vector._rounded = away
    try:
        return int((BY_NAME[name].vector(*columns) != rounded).sum())
    finally:
        vector._rounded = original


def test_a_wrong_result_is_told() -> None:
    """An engine that is asked for another operation is found out, and the first operands are shown."""
    wrong = Operation("sub.s", BY_NAME["add.s"].number, 2, BY_NAME["sub.s"].exact, BY_NAME["sub.s"].vector)
    tally = check(wrong, seed=1, count=1000)
    assert tally.engine_wrong > 100
    assert tally.wrong == tally.engine_wrong
    assert "the engine says" in tally.first_wrong[0]
