"""
Records that may take more VM steps than their bounds, with their data.

`hunted` makes one: any kernel, element type, function and rank; shapes that are tiny, long, odd, deep, of many short
rows, heavily padded, dilated, of long windows, cut anywhere; data that are all alike, sorted either way, NaN, infinite,
subnormal, or any bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Final

import numpy as np

from opml_dispute.engine.segment import (
    ARENA,
)
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.block_formats import BlockFormat
from opml_dispute.model.opcodes import DType, Opcode, Reduction
from opml_dispute.model.record import Record, strided_body
from tests.kernels import block_cases, cases
from tests.kernels.maker import NUMBER, PRODUCTS, REAL, Array, Case, Maker, Rng, body, values, words

MOST_ELEMENTS: Final = 1 << 18
"""Of one operand: more would take memory and time, and show nothing that fewer do not."""


class _TooLarge(Exception):
    """An operand of more than `MOST_ELEMENTS`."""


class Hunter(Maker):
    """Lays out operands of every shape class."""

    def __init__(self, rng: Rng, most: int) -> None:
        super().__init__(rng, awkward=bool(rng.random() < 0.5))
        self.most = most
        """Elements of an iteration space, about."""

    def dims(self, rank: int | None = None, most: int = 6) -> list[int]:
        wanted = int(self.rng.integers(0, 9 if rank is None else rank + 1)) if rank is None else rank
        kind = self.pick(("tiny", "long row", "short rows", "deep", "odd", "ones"))
        if kind == "tiny" or wanted == 0:
            return super().dims(min(wanted, 4) if rank is None else wanted, most)
        dims = [1] * wanted
        room = self.most
        order = {"long row": [wanted - 1], "short rows": [0]}.get(kind, list(self.rng.permutation(wanted)))
        if kind == "short rows" and wanted > 1:
            dims[-1] = self.size(4)
            room //= dims[-1]
        if kind == "deep":
            dims = [int(n) for n in self.rng.integers(1, 4, wanted)]
            room //= max(prod(dims), 1)
        for d in order:
            dims[d] *= self.size(max(room, 1))
            room = max(room // dims[d], 1)
            if kind == "odd":
                dims[d] |= 1
            if kind == "ones" and self.rng.random() < 0.5:
                dims[d] = 1
        return dims

    def strided(self, dims: Sequence[int], *, apart: bool) -> tuple[list[int], int, int]:
        """As there, but packed where the gaps between many dimensions multiply to too much."""
        strides, first, span = super().strided(dims, apart=apart)
        if span <= MOST_ELEMENTS:
            return strides, first, span
        if prod(dims) > MOST_ELEMENTS:
            raise _TooLarge
        return [prod(dims[d + 1 :]) for d in range(len(dims))], 0, prod(dims)

    def size(self, most: int) -> int:
        """A size up to `most`, each power of two as likely as the others."""
        return max(1, min(most, int(2 ** self.rng.uniform(0, np.log2(max(most, 1) + 1)))))

    def case(
        self, record: Record, count: int, start: Array | None = None, *, cut: bool = True, **notes: object
    ) -> Case:
        made = super().case(record, count, start, cut=cut, **notes)
        if cut and count > 1 and self.rng.random() < 0.2:  # few outputs anywhere
            lo = int(self.rng.integers(0, count))
            made = made.part(lo, min(count, lo + self.size(64)))
        return made


def _contract(make: Hunter) -> Case:
    m, n, k = (make.size(make.most) for _ in range(3))
    while m * n * k > 4 * make.most or max(m * k, n * k, m * n) > MOST_ELEMENTS:
        m, n, k = -(-m // 2), -(-n // 2), -(-k // 2)
    return cases.contract(make, (m, n, k)) if make.rng.random() < 0.7 else cases.contract(make)


def _fields(make: Hunter, rank: int) -> list[list[int]]:
    """Input, kernel, stride, dilation, padding before, output, padding after; missing dimensions filled in."""
    columns: list[list[int]] = [[] for _ in range(7)]
    room = max(make.most, 4)
    for _ in range(rank):
        size = make.size(min(room, 4096))
        kernel = make.size(make.pick((1, 3, 3, 7, 31)))
        stride, dilation = make.pick((1, 1, 2, 3, 17)), make.pick((1, 1, 2, 5, 40))
        before = int(make.pick((0, 0, 1, kernel // 2, kernel * dilation, -1, -3, 100)))
        out = make.size(max(min(room, 2 * size // stride + 2), 1))
        room = max(room // max(size, out), 1)
        for column, value in zip(columns, (size, kernel, stride, dilation, before, out, 0), strict=True):
            column.append(value)
    rest = (1, 1, 1, 1, 0, 1, 0)
    return [[*column, *(filler,) * (3 - rank)] for column, filler in zip(columns, rest, strict=True)]


def _conv(make: Hunter) -> Case:
    if make.rng.random() < 0.2:
        return cases.conv(make)
    rank, product = int(make.rng.integers(1, 4)), make.pick(PRODUCTS)
    at = _fields(make, rank)
    groups = int(make.pick((1, 1, 1, 2, 3)))
    channels, made = groups * make.size(16), groups * make.size(12)
    images = int(make.pick((1, 1, 2)))
    sizes = (images * channels * prod(at[0]), made * channels // groups * prod(at[1]), made)
    bias = make.rng.random() < 0.4
    dtypes = (*product[:2], product[2])[: 3 if bias else 2]
    inputs = tuple(
        make.put(values(make.rng, dtype, min(size, MOST_ELEMENTS), awkward=make.awkward))
        for dtype, size in zip(dtypes, sizes, strict=False)
    )
    numbers = body(rank, images, channels, made, groups, *(value for column in at[:6] for value in column))
    record = Record(Opcode.CONV, product[2], ARENA.offset, inputs, dtypes, rank, 0, 0, words(), numbers)
    return make.case(record, images * made * prod(at[5]))


def _pool(make: Hunter, opcode: Opcode) -> Case:
    kind = int(make.rng.integers(0, 4)) if opcode is Opcode.POOL else 0
    dtype, rank = make.pick(REAL if kind else NUMBER), int(make.rng.integers(1, 4))
    at = _fields(make, rank)
    channels = make.size(4)
    x = make.put(values(make.rng, dtype, min(channels * prod(at[0]), MOST_ELEMENTS), awkward=make.awkward))
    at[4] = [max(pad, 0) for pad in at[4]]
    at[6] = [int(make.pick((0, 1, 3)))] * rank + [0] * (3 - rank)
    numbers = body(rank, 1, channels, 0, 0, *(value for column in at for value in column))
    out = dtype if opcode is Opcode.POOL else DType.I64
    flags = words(kind, int(make.rng.integers(0, 2)) if opcode is Opcode.POOL_INDEX else 0)
    record = Record(opcode, out, ARENA.offset, (x,), (dtype,), rank, 0, 0, flags, numbers)
    return make.case(record, channels * prod(at[5]))


def _lines(make: Hunter, opcode: Opcode) -> Case:
    """OP_TOPK and OP_SCAN over long lines; of the first the most, fewest and some of the elements."""
    length = make.size(make.most)
    dims, dtype = [make.size(max(make.most // length, 1)), length], make.pick(NUMBER)
    k = int(make.pick((1, 1, 2, 3, length, make.size(length))))
    k = min(k, length)
    out = DType.I64 if opcode is Opcode.TOPK else dtype
    out_offset, out_strides = make.output([dims[0], k] if opcode is Opcode.TOPK else dims, out)
    offset, strides = make.input(dims, dtype)
    imm = (int(make.rng.integers(0, 2)), 1, k)
    if opcode is Opcode.SCAN:
        imm = (make.pick([Reduction.SUM, Reduction.PROD]), 1, int(make.rng.integers(0, 4)))
    shape = strided_body(dims, [out_strides, strides])
    record = Record(opcode, out, out_offset, (offset,), (dtype,), 2, 0, 0, words(*imm), shape)
    return make.case(record, dims[0])


def _chain_tree(make: Hunter) -> Case:
    """Trees that are one long way down, which all rows go to the end, with heavy leaves."""
    rng = make.rng
    depth, trees, rows = make.size(200), make.size(8), make.size(8)
    targets, leaf = make.size(5), make.size(40)
    mode = int(rng.integers(1, 7)) | (0x100 if rng.random() < 0.5 else 0)
    nodes = [(mode, 0, at + 1, at + 1) for at in range(depth)] + [(0, 0, leaf, 0)]
    table = [
        np.array(nodes, np.int32),
        rng.choice(np.array([0, 1, np.nan, np.inf], np.float32), len(nodes)),
        np.zeros(trees, np.int32),
        rng.integers(0, targets, leaf).astype(np.int32),
        values(rng, DType.F32, leaf, awkward=make.awkward),
    ]
    x = rng.choice(np.array([0, 1, np.nan, -np.inf], np.float32), rows)
    record = Record(
        Opcode.TREE,
        DType.F32,
        ARENA.offset,
        (make.put(x), *(make.put(part) for part in table)),
        (DType.F32, DType.I32, DType.F32, DType.I32, DType.I32, DType.F32),
        2,
        imm=words(make.pick([Reduction.SUM, Reduction.MAX, Reduction.MIN])),
        body=body(rows, 1, len(nodes), trees, leaf, targets, depth, leaf),
    )
    return make.case(record, rows)


def _block_quantise(make: Hunter) -> Case:
    """Many blocks: what a node does once hides what a block takes where there are few."""
    elements = int(make.pick((32, 256)))
    blocks, rows = make.size(12), make.size(max(make.most // elements, 1))
    rows = max(min(rows, MOST_ELEMENTS // (elements * blocks)), 1)
    x = make.put(values(make.rng, DType.F32, rows * blocks * elements, awkward=make.awkward))
    shape = body(rows, 0, blocks * elements)
    dtypes = (DType.F32,)
    record = Record(Opcode.BLOCK_QUANTISE, DType.U8, ARENA.offset, (x,), dtypes, 2, 0, 0, words(elements), shape)
    return make.case(record, rows * blocks)


def _block_contract(make: Hunter) -> Case:
    fmt = make.pick(tuple(BlockFormat))
    m, n, blocks = make.size(12), make.size(max(make.most // 64, 1)), make.size(40)
    while m * n * blocks * fmt.elements > 4 * make.most and n > 1:
        n = -(-n // 2)
    return block_cases.contract(make, (m, n, blocks * fmt.elements), fmt)


_OWN: Mapping[Opcode, Callable[[Hunter], Case]] = {
    Opcode.CONTRACT: _contract,
    Opcode.BLOCK_QUANTISE: _block_quantise,
    Opcode.BLOCK_CONTRACT: _block_contract,
    Opcode.CONV: _conv,
    Opcode.POOL: lambda make: _pool(make, Opcode.POOL),
    Opcode.POOL_INDEX: lambda make: _pool(make, Opcode.POOL_INDEX),
    Opcode.TOPK: lambda make: _lines(make, Opcode.TOPK),
    Opcode.SCAN: lambda make: _lines(make, Opcode.SCAN),
    Opcode.TREE: lambda make: _chain_tree(make) if make.rng.random() < 0.7 else cases.case_of(make, Opcode.TREE),
}


def hunted(seed: int, largest_log2: int) -> Case:
    """The case of a seed: at most 2**largest_log2 steps by its bound, and one that the machine admits."""
    for attempt in range(1_000):
        rng = np.random.default_rng([seed, attempt, 0x57E9])
        opcode = Opcode(int(rng.integers(1, len(Opcode) + 1)))
        make = Hunter(rng, max(int(2 ** rng.uniform(2, min(largest_log2 - 3, 17))), 4))
        try:
            made = _OWN[opcode](make) if opcode in _OWN else cases.case_of(make, opcode)
        except _TooLarge:
            continue
        judged = validate_records(made.record.pack())
        if judged.status[0] == 0 and judged.steps[0] <= 1 << largest_log2 and _small_output(judged.extents[0, 0]):
            return _with_data(rng, made)
    raise AssertionError(f"no case for seed {seed}")


def _small_output(extent: Array) -> bool:
    return int(extent[1]) - int(extent[0]) <= 8 * MOST_ELEMENTS


_TABLES: Mapping[Opcode, Sequence[int]] = {
    Opcode.GATHER: (1,), Opcode.SCATTER: (1,), Opcode.TREE: (1, 3, 4), Opcode.BLOCK_GATHER: (1,),
}  # fmt: skip
"""Operands that name places: they stay as they were made."""


def _with_data(rng: Rng, case: Case) -> Case:
    """The case with its tensors filled by one pattern; tables of indices and of nodes stay as they are."""
    pattern = ("as made", "alike", "ascending", "descending", "subnormal", "not a number", "bits", "two values")[
        int(rng.integers(8))
    ]
    keep = _TABLES.get(case.record.opcode, ())
    arrays = [
        (at, array if number in keep else _filled(rng, pattern, array))
        for number, (at, array) in enumerate(case.arrays)
    ]
    return replace(case, arrays=tuple(arrays))


def _filled(rng: Rng, pattern: str, array: Array) -> Array:
    if pattern == "as made" or array.size == 0 or array.dtype == bool:
        return array
    ramp = np.arange(array.size)
    if pattern == "alike":
        return np.full_like(array, array[0])
    if pattern == "two values":
        return array[rng.integers(0, min(2, array.size), array.size)]
    if pattern in ("ascending", "descending"):
        with np.errstate(all="ignore"):
            return (ramp if pattern == "ascending" else ramp[::-1]).astype(array.dtype)
    raw = rng.integers(0, 256, array.nbytes, np.uint8)
    if pattern == "bits" or np.issubdtype(array.dtype, np.integer):
        return raw.view(array.dtype)
    width = array.dtype.itemsize
    mantissa = {"float32": 23, "float16": 10}.get(str(array.dtype), 7)
    bits = raw.view(f"u{width}") & ((1 << mantissa) - 1) | 1
    if pattern == "not a number":
        bits |= (1 << 8 * width - 1) - (1 << mantissa)
    return bits.astype(f"u{width}").view(array.dtype)
