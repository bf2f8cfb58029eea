"""
The chain's floating point against exact arithmetic, for every pair of awkward values.

Each operation runs as a step on chain; what it must give comes from `ieee`, which works with fractions.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest

from tests.agreement import ieee
from tests.agreement.harness import FloatProbe

F1_F2_F3 = 3 << 16 | 2 << 11 | 1 << 6
SINGLE = 0x11 << 26 | 0x10 << 21 | F1_F2_F3
FUSED = 0x13 << 26 | 4 << 21 | F1_F2_F3
CONDITION_CODE_0 = 1 << 23

BINARY = {0x00: ieee.add, 0x01: ieee.sub, 0x02: ieee.mul, 0x03: ieee.div}
FUSED_OPERATIONS = {0x20: ieee.madd, 0x28: ieee.msub, 0x30: ieee.nmadd, 0x38: ieee.nmsub}
UNARY: dict[int, Callable[[int], int]] = {
    0x04: ieee.sqrt,
    0x05: lambda a: a & 0x7FFFFFFF,
    0x06: lambda a: a,
    0x07: lambda a: a ^ 0x80000000,
    0x0C: partial(ieee.to_integer, rounding="nearest"),
    0x0D: partial(ieee.to_integer, rounding="zero"),
    0x0E: partial(ieee.to_integer, rounding="up"),
    0x0F: partial(ieee.to_integer, rounding="down"),
    0x24: partial(ieee.to_integer, rounding="nearest"),
}
FEW = (0, 0x80000000, 1, 0x80800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0xFFC00001, 0x3F800001, 0xBF800000, 0x33800000)


def check(insn: int, operation: Callable[..., int], operands: Sequence[tuple[int, ...]]) -> None:
    """Every tuple of operands gives what exact arithmetic says."""
    probe = FloatProbe(insn)
    wrong = [
        f"{' '.join(f'{x:08x}' for x in xs)} should give {operation(*xs):08x}"
        for xs in operands
        if not probe.gives(xs, result=operation(*xs))
    ]
    assert not wrong, f"{len(wrong)} wrong results: {wrong[:5]}"


def random_floats(seed: int, count: int, arity: int) -> list[tuple[int, ...]]:
    """Operands of similar size, so that sums cancel and round, and every bit matters."""
    rng = random.Random(seed)
    return [
        tuple(
            rng.getrandbits(1) << 31 | rng.randrange(center - 14, center + 14) << 23 | rng.getrandbits(23)
            for center in [rng.choice((16, 70, 127, 127, 190))]
            for _ in range(arity)
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("funct", BINARY)
def test_binary_operations_are_exact_then_rounded(funct: int) -> None:
    pairs = list(itertools.product(ieee.SPECIALS, repeat=2))
    check(SINGLE | funct, BINARY[funct], pairs + random_floats(funct, 300, 2))


@pytest.mark.parametrize("funct", UNARY)
def test_unary_operations_are_exact_then_rounded(funct: int) -> None:
    operands = [(x,) for x in ieee.SPECIALS]
    operands += [(x ^ 0x80000000,) for x in ieee.SPECIALS]
    operands += [(x,) for xs in random_floats(funct, 100, 2) for x in xs]
    check(SINGLE | funct, UNARY[funct], operands)


@pytest.mark.parametrize("funct", FUSED_OPERATIONS)
def test_fused_operations_round_once(funct: int) -> None:
    def operation(fs: int, ft: int, fr: int) -> int:
        return FUSED_OPERATIONS[funct](fs, ft, fr)

    check(FUSED | funct, operation, list(itertools.product(FEW, repeat=3)) + random_floats(funct, 300, 3))


@pytest.mark.slow
@pytest.mark.parametrize("funct", FUSED_OPERATIONS)
def test_fused_operations_round_once_whatever_the_operands(funct: int) -> None:
    def operation(fs: int, ft: int, fr: int) -> int:
        return FUSED_OPERATIONS[funct](fs, ft, fr)

    pairs = itertools.product(ieee.SPECIALS, repeat=2)
    check(FUSED | funct, operation, [(a, b, c) for a, b in pairs for c in (FEW[0], FEW[3], FEW[5], a, b ^ ieee.SIGN)])


def test_integers_become_the_nearest_float() -> None:
    rng = random.Random(1)
    integers = [0, 1, 2**24 + 1, 2**24 + 3, 2**31 - 1, 2**31, 2**32 - 1, 2**31 + 64, 2**31 + 65]
    check(0x11 << 26 | 0x14 << 21 | F1_F2_F3 | 0x20, ieee.from_integer, [(x,) for x in integers])
    check(
        0x11 << 26 | 0x14 << 21 | F1_F2_F3 | 0x20,
        ieee.from_integer,
        [(rng.getrandbits(rng.randrange(1, 33)),) for _ in range(200)],
    )


@pytest.mark.parametrize("condition", range(16))
def test_comparisons_set_one_condition_code(condition: int) -> None:
    """The signalling forms (8 to 15) are as quiet as the others."""
    probe = FloatProbe((SINGLE & ~(31 << 6)) | 0x30 | condition)
    for a, b in itertools.product(FEW, repeat=2):
        expected = CONDITION_CODE_0 if ieee.compare(a, b, condition) else 0
        assert probe.gives((a, b), fcsr=expected), f"{a:08x} {b:08x}"


def test_the_exact_arithmetic_agrees_with_this_processor() -> None:
    """`ieee` itself is held against the processor's own floats, where these are binary32 too."""
    rng = random.Random(2)
    pairs = list(itertools.product(ieee.SPECIALS, repeat=2)) + [
        (rng.getrandbits(32), rng.getrandbits(32)) for _ in range(3000)
    ]
    a, b = (np.array(xs, dtype=np.uint32).view(np.float32) for xs in zip(*pairs, strict=True))
    with np.errstate(all="ignore"):
        for operation, result in ((ieee.add, a + b), (ieee.sub, a - b), (ieee.mul, a * b), (ieee.div, a / b)):
            for (x, y), z in zip(pairs, result, strict=True):
                bits = 0x7FC00000 if np.isnan(z) else struct.unpack(">I", struct.pack(">f", z))[0]
                assert operation(x, y) == bits, f"{operation.__name__} {x:08x} {y:08x}"
        for (x, _), z in zip(pairs, np.sqrt(a), strict=True):
            assert ieee.sqrt(x) == (0x7FC00000 if np.isnan(z) else struct.unpack(">I", struct.pack(">f", z))[0])


def test_a_wrong_result_is_noticed() -> None:
    """The probe compares whole states: a wrong bit in the result, or a stray one in FCSR, fails it."""
    probe = FloatProbe(SINGLE)
    one, two = 0x3F800000, 0x40000000
    assert probe.gives((one, one), result=two)
    assert not probe.gives((one, one), result=two + 1)
    assert not probe.gives((one, one), result=two, fcsr=CONDITION_CODE_0)
