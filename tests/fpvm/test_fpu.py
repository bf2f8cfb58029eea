"""The engine's floating point against exact arithmetic, on every build that this processor runs."""

from __future__ import annotations

import ctypes
import itertools
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from opml_dispute.engine.lib import candidates, library, library_path
from tests.floats import exact
from tests.floats.campaign import check
from tests.floats.exact import FEW, SIGN, SPECIALS
from tests.floats.operands import TIES
from tests.floats.operations import OPERATIONS, Operation
from tests.floats.vector import Words

BY_NAME = {operation.name: operation for operation in OPERATIONS}
RANDOM = 40_000
"""Operands an operation; `scripts/fuzz-floats` goes through as many as wanted."""


def every(operation: Operation) -> list[tuple[int, ...]]:
    """Special values against each other, all pairs, and all triples of a few."""
    if operation.arity == 3:
        return [*itertools.product(FEW, repeat=3), *halfway_sums()]
    if operation.arity == 2:
        return list(itertools.product(SPECIALS, repeat=2))
    return [(x ^ sign,) for x in (*SPECIALS, *TIES) for sign in (0, SIGN)]


def halfway_sums() -> Iterator[tuple[int, int, int]]:
    """Products that end exactly between two floats, and an addend that decides which way: rounding twice goes wrong."""
    for addend in (0x00000001, 0x80000001, 0x33800000, 0xB3800000, 0x2B800000, 0xAB800000):
        for a, b in ((0x3F800001, 0x3F800001), (0x3F800FFF, 0x3F801001), (0x3FFFFFFF, 0x3F800001)):
            yield a, b, addend
            yield a ^ SIGN, b, addend


def columns(rows: Sequence[tuple[int, ...]]) -> list[Words]:
    return [np.array(column, np.uint32) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_special_values(operation: Operation) -> None:
    """Every combination of special values gives the exact result."""
    rows = every(operation)
    found = operation.by_engine(*columns(rows)).tolist()
    wrong = [
        f"{' '.join(f'{x:08x}' for x in row)}: found {answer:08x}, expected {operation.exact(*row):08x}"
        for row, answer in zip(rows, found, strict=True)
        if answer != operation.exact(*row)
    ]
    assert not wrong, f"{len(wrong)} wrong results: {wrong[:5]}"


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.arity == 3], ids=lambda each: each.name)
def test_all_triples_of_special_values(operation: Operation) -> None:
    """More than a hundred thousand: by integers."""
    values = np.array([x ^ sign for x in SPECIALS for sign in (0, SIGN)], np.uint32)
    triples = [column.reshape(-1) for column in np.meshgrid(values, values, values)]
    wrong = np.flatnonzero(operation.by_engine(*triples) != operation.vector(*triples))
    assert not wrong.size, [f"{int(column[wrong[0]]):08x}" for column in triples]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_hard_operands(operation: Operation) -> None:
    """Operands that are hard to round give the exact result."""
    tally = check(operation, seed=1, count=RANDOM)
    assert tally.engine == RANDOM
    assert tally.sampled >= RANDOM // 1000
    assert not tally.wrong, tally.first_wrong


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
    def compute(name: str, *row: int) -> int:
        return int(BY_NAME[name].by_engine(*columns([row]))[0])

    subnormal, third = 0x00400000, (0x3F800000, 0x40400000)
    assert compute("add.s", subnormal, subnormal) == 0x00800000
    tiny = np.array([subnormal], dtype=np.uint32).view(np.float32)
    with flushing_to_zero():
        flushed = (tiny + tiny).view(np.uint32)[0]
        found = [compute("add.s", subnormal, subnormal), compute("div.s", *third)]
        still = (tiny + tiny).view(np.uint32)[0]
    assert flushed == still == 0  # the mode was on, and is left as it was
    assert found == [0x00800000, exact.div(*third)]


DIGEST = """
import numpy as np
from opml_dispute.engine.hashing import keccak256
from tests.floats.operands import operands
from tests.floats.operations import OPERATIONS
rng = np.random.default_rng(3)
answers = [operation.by_engine(*operands(rng, operation, 3000)) for operation in OPERATIONS]
print(keccak256(np.concatenate(answers).astype(">u4").tobytes()).hex())
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
