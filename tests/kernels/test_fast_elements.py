"""
Fast paths for elements that lie side by side: the plain kernels' bits, over every pair of types and awkward numbers.

The random cases of `cases` are mostly too short and too scattered for them; here rows are long, begin anywhere, and
hold numbers next to where a type ends.
"""

from __future__ import annotations

import numpy as np
import pytest

from opml_dispute.engine.segment import ARENA
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.record import Record, strided_body
from tests.kernels import cases
from tests.kernels.bench import FAST, PLAIN, Bench, same_bits
from tests.kernels.cases import Array, Case, Maker, Rng, values, words

EDGES = [2.0**p for p in (7, 8, 15, 16, 31, 32, 63, 64)]
STORED = (*cases.NUMBER, DType.BOOL)


def elements(rng: Rng, dtype: DType, count: int) -> Array:
    """Awkward numbers; among floats those around the ends of the integer types, and halves between integers."""
    found = values(rng, dtype, count, awkward=True)
    if dtype not in cases.REAL:
        return found
    edges = np.array([*EDGES, 65519.0, 65520.0, 2.0**-14, 2.0**-24, 2.0**-25, 0.5, 1.5, 2.5], np.float32)
    near = np.concatenate([np.nextafter(edges, np.float32(0)), edges, np.nextafter(edges, np.float32(np.inf))])
    with np.errstate(over="ignore"):
        near = np.concatenate([near, -near]).astype(dtype.numpy)
    return np.where(rng.random(count) < 0.3, rng.choice(near, count), found).astype(dtype.numpy)


def agree(bench: Bench, case: Case) -> None:
    status, plain = bench.run(case, PLAIN)
    assert status == 0
    _, fast = bench.run(case, FAST)
    assert same_bits(plain, fast), f"{case.record}"


@pytest.mark.parametrize("to", STORED)
@pytest.mark.parametrize("of", STORED)
def test_casts(bench: Bench, of: DType, to: DType) -> None:
    """One row, and several rows that are parts of wider ones; whole and from anywhere to anywhere."""
    for seed in range(6):
        rng = np.random.default_rng([of.value, to.value, seed])
        make = Maker(rng, awkward=True)
        rows, columns, gap = int(rng.integers(1, 4)), int(rng.integers(1, 700)), int(rng.integers(0, 2)) * 5
        x = make.put(elements(rng, of, rows * (columns + gap)))
        strides = strided_body([rows, columns], [[columns, 1], [columns + gap, 1]])
        record = Record(Opcode.CAST, to, ARENA.offset, (x,), (of,), 2, imm=words(seed % 2), body=strides)
        agree(bench, make.case(record, rows * columns))


def test_every_half_is_widened_and_narrowed(bench: Bench) -> None:
    """All 65,536 of each format, and back again with numbers between them."""
    rng = np.random.default_rng(0)
    for half in (DType.F16, DType.BF16):
        bits = np.arange(1 << 16, dtype=np.uint16)
        between = rng.integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
        for of, to, array in ((half, DType.F32, bits.view(half.numpy)), (DType.F32, half, between)):
            make = Maker(rng, awkward=True)
            strides = strided_body([array.size], [[1], [1]])
            record = Record(
                Opcode.CAST, to, ARENA.offset, (make.put(array),), (of,), 1, hi=array.size, imm=words(), body=strides
            )
            agree(bench, Case(record, tuple(make.arrays)))
