"""The engine's floating point against exact arithmetic, on every build that this processor runs."""

from __future__ import annotations

import ctypes
import itertools
import platform
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest

from opml_dispute.engine.lib import candidates, library, library_path
from tests.agreement import ieee

FUSED, FROM_INTEGER = 0x40, 0x80
BINARY = {0x00: ieee.add, 0x01: ieee.sub, 0x02: ieee.mul, 0x03: ieee.div}
TERNARY = {FUSED + 0x20: ieee.madd, FUSED + 0x28: ieee.msub, FUSED + 0x30: ieee.nmadd, FUSED + 0x38: ieee.nmsub}
UNARY: dict[int, Callable[[int], int]] = {
    0x04: ieee.sqrt,
    0x0C: partial(ieee.to_integer, rounding="nearest"),
    0x0D: partial(ieee.to_integer, rounding="zero"),
    0x0E: partial(ieee.to_integer, rounding="up"),
    0x0F: partial(ieee.to_integer, rounding="down"),
    0x24: partial(ieee.to_integer, rounding="nearest"),
    FROM_INTEGER: ieee.from_integer,
}
SOME = (
    0,
    0x80000000,
    1,
    0x807FFFFF,
    0x00800000,
    0x7F7FFFFF,
    0x7F800000,
    0xFF800000,
    0x7FC00000,
    0xFFA00001,
    0x3F800001,
)
TIES = [0x3F000000, 0x3FC00000, 0x40200000, 0x4AFFFFFF, 0x4B000001, 0x4EFFFFFF, 0x4F000000, 0xCF000000, 0xCF000001]

Words = npt.NDArray[np.uint32]


def compute(funct: int, operands: Sequence[tuple[int, ...]]) -> list[int]:
    """What the engine answers for each tuple of operands."""
    columns = [np.array([xs[i] if i < len(xs) else 0 for xs in operands], dtype=np.uint32) for i in range(3)]
    out = np.zeros(len(operands), dtype=np.uint32)
    pointers = [column.ctypes.data for column in (*columns, out)]
    assert library().opml_fpu(funct, *pointers, len(operands))
    return [int(x) for x in out]


def check(funct: int, operation: Callable[..., int], operands: Sequence[tuple[int, ...]]) -> None:
    expected = [operation(*xs) for xs in operands]
    wrong = [
        f"{' '.join(f'{x:08x}' for x in xs)}: found {found:08x}, expected {right:08x}"
        for xs, found, right in zip(operands, compute(funct, operands), expected, strict=True)
        if found != right
    ]
    assert not wrong, f"{len(wrong)} wrong results: {wrong[:5]}"


def near(seed: int, count: int, arity: int) -> list[tuple[int, ...]]:
    """Operands of like size: sums cancel and round, and every bit matters."""
    rng = random.Random(seed)

    def number(center: int) -> int:
        exponent = min(max(rng.randrange(center - 14, center + 14), 0), 255)
        return rng.getrandbits(1) << 31 | exponent << 23 | rng.getrandbits(23)

    centers = [rng.choice((1, 16, 64, 70, 127, 127, 190, 250)) for _ in range(count)]
    return [tuple(number(center) for _ in range(arity)) for center in centers]


@pytest.mark.parametrize("funct", BINARY)
def test_binary(funct: int) -> None:
    check(funct, BINARY[funct], [*itertools.product(ieee.SPECIALS, repeat=2), *near(funct, 1500, 2)])


@pytest.mark.parametrize("funct", TERNARY)
def test_fused_rounds_once(funct: int) -> None:
    check(funct, TERNARY[funct], [*itertools.product(SOME, repeat=3), *near(funct, 1500, 3), *halfway_sums()])


def halfway_sums() -> Iterator[tuple[int, int, int]]:
    """Products that end exactly between two floats, and an addend that decides which way: rounding twice goes wrong."""
    for addend in (0x00000001, 0x80000001, 0x33800000, 0xB3800000, 0x2B800000, 0xAB800000):
        for a, b in ((0x3F800001, 0x3F800001), (0x3F800FFF, 0x3F801001), (0x3FFFFFFF, 0x3F800001)):
            yield a, b, addend
            yield a ^ 0x80000000, b, addend


@pytest.mark.parametrize("funct", UNARY)
def test_unary(funct: int) -> None:
    operands = [x ^ sign for x in (*ieee.SPECIALS, *TIES) for sign in (0, 0x80000000)]
    operands += [x for xs in near(funct, 1000, 1) for x in xs] + [
        random.Random(funct).getrandbits(32) for _ in range(500)
    ]
    check(funct, UNARY[funct], [(x,) for x in operands])


@pytest.mark.parametrize("condition", range(16))
def test_comparison(condition: int) -> None:
    def holds(a: int, b: int) -> int:
        x, y = (np.array([v], dtype=np.uint32).view(np.float32)[0] for v in (a, b))
        unordered = np.isnan(x) or np.isnan(y)
        return int((condition & 1 and unordered) or (condition & 2 and x == y) or (condition & 4 and x < y) or 0)

    check(0x30 + condition, lambda a, b: int(bool(holds(a, b))), list(itertools.product(ieee.SPECIALS, repeat=2)))


def test_an_unknown_operation_is_refused() -> None:
    out = np.zeros(1, dtype=np.uint32)
    assert not library().opml_fpu(0x3D + 0x100, *[out.ctypes.data] * 4, 1)


@contextmanager
def flushing_to_zero() -> Iterator[None]:
    """This thread's processor set as some numeric libraries leave it: subnormals are flushed, rounding is downward."""
    libm = ctypes.CDLL("libm.so.6")
    environment, saved = (ctypes.c_uint32 * 8)(), (ctypes.c_uint32 * 8)()
    libm.fegetenv(saved)
    libm.fegetenv(environment)
    environment[7] |= 0x8040 | 0x2000  # MXCSR: flush to zero, denormals are zero, round down
    libm.fesetenv(environment)
    try:
        yield
    finally:
        libm.fesetenv(saved)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="sets the x86 mode register through glibc",
)
def test_the_hosts_modes_do_not_reach_the_answer() -> None:
    subnormal, third = 0x00400000, (0x3F800000, 0x40400000)
    assert compute(0, [(subnormal, subnormal)]) == [0x00800000]
    tiny = np.array([subnormal], dtype=np.uint32).view(np.float32)
    with flushing_to_zero():
        flushed = (tiny + tiny).view(np.uint32)[0]
        found = compute(0, [(subnormal, subnormal)]) + compute(3, [third])
        still = (tiny + tiny).view(np.uint32)[0]
    assert flushed == still == 0  # the mode was on, and is left as it was
    assert found == [0x00800000, ieee.div(*third)]


DIGEST = """
from tests.fpvm.test_fpu import BINARY, TERNARY, UNARY, SOME, compute, near
from opml_dispute.engine.hashing import keccak256
words = []
for functs, arity in ((BINARY, 2), (TERNARY, 3), (UNARY, 1)):
    for funct in functs:
        words += compute(funct, near(funct, 3000, arity))
print(keccak256(b"".join(word.to_bytes(4, "big") for word in words)).hex())
"""


def test_every_build_gives_the_same_bits() -> None:
    names = [name for name in candidates() if library_path().with_name(f"libopml-{name}.so").is_file()]
    digests = {
        name: subprocess.run(
            [sys.executable, "-c", DIGEST], env={"OPML_ENGINE_ISA": name, "PATH": ""}, capture_output=True, check=True
        ).stdout
        for name in names
    }
    assert names
    assert len(set(digests.values())) == 1, digests
