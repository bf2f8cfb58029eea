"""
The chain's floating point against exact arithmetic, for every pair of awkward values and for hard operands.

Each operation runs as a step on chain; what it must give comes from `tests.floats`.
"""

from __future__ import annotations

import itertools

import pytest

from tests.agreement.harness import FloatProbe
from tests.floats.campaign import CONDITION_CODE_0, check, on_chain
from tests.floats.exact import FEW, SIGN, SPECIALS
from tests.floats.operands import TIES
from tests.floats.operations import COMPARISONS, F1_F2_F3, OPERATIONS, SINGLE, Operation

ON_BITS = {0x05: lambda a: a & ~SIGN, 0x06: lambda a: a, 0x07: lambda a: a ^ SIGN}
"""abs.s, mov.s, neg.s by funct: they keep a NaN as it is."""


def refuted(operation: Operation, rows: list[tuple[int, ...]]) -> list[str]:
    """The operands for which the chain does not give what exact arithmetic says."""
    probe = FloatProbe(operation.instruction)
    return [
        f"{' '.join(f'{x:08x}' for x in row)} should give {operation.exact(*row):08x}"
        for row in rows
        if not on_chain(probe, operation, row, operation.exact(*row))
    ]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_special_values(operation: Operation) -> None:
    """The signalling comparisons (sf to ngt) are as quiet as the others."""
    if operation.arity == 3 or operation in COMPARISONS:
        rows = list(itertools.product(FEW, repeat=operation.arity))
    else:
        rows = list(itertools.product((*SPECIALS, *TIES), repeat=operation.arity))
    if operation.arity == 1:
        rows += [(x ^ SIGN,) for (x,) in rows]
    assert not refuted(operation, rows)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_hard_operands(operation: Operation) -> None:
    """Engine and contract agree with the exact result on operands that are hard to round."""
    count = 60 if operation in COMPARISONS else 300
    tally = check(operation, seed=2, count=count, contract=count)
    assert tally.contract == count
    assert not tally.wrong, tally.first_wrong


@pytest.mark.slow
@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.arity == 3], ids=lambda each: each.name)
def test_fused_operations_round_once_whatever_the_operands(operation: Operation) -> None:
    pairs = itertools.product(SPECIALS, repeat=2)
    assert not refuted(operation, [(a, b, c) for a, b in pairs for c in (FEW[0], FEW[3], FEW[5], a, b ^ SIGN)])


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.arity == 3], ids=lambda each: each.name)
def test_fused_operations_break_a_tie_by_what_is_far_below(operation: Operation) -> None:
    """A product half way between two floats, and next to nothing, or nothing, beside it."""
    factors = [0x47000800, 0x47001800]  # (1 + 2^-12) 2^15, (1 + 3 * 2^-12) 2^15
    signed = [x ^ sign for x in factors for sign in (0, SIGN)]
    rows = [
        row
        for a, b, c in itertools.product(signed, signed, (0, SIGN, 1, SIGN | 1))
        for row in set(itertools.permutations((a, b, c)))
    ]
    assert not refuted(operation, rows)


@pytest.mark.parametrize("funct", ON_BITS)
def test_what_acts_on_bits_keeps_every_other_bit(funct: int) -> None:
    probe = FloatProbe(SINGLE | funct)
    for x in SPECIALS:
        for a in (x, x ^ SIGN):
            assert probe.gives((a,), result=ON_BITS[funct](a)), f"{a:08x}"


def test_a_wrong_result_is_noticed() -> None:
    """The probe compares whole states: a wrong bit in the result, or a stray one in FCSR, fails it."""
    probe = FloatProbe(0x11 << 26 | 0x10 << 21 | F1_F2_F3)
    one, two = 0x3F800000, 0x40000000
    assert probe.gives((one, one), result=two)
    assert not probe.gives((one, one), result=two + 1)
    assert not probe.gives((one, one), result=two, fcsr=CONDITION_CODE_0)
