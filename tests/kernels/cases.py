"""
Random node records with their operands, for every opcode.

`case(rng, opcode)` makes one that the judge accepts: random shapes, strides, functions, dtypes and ranges, laid out by
a `Maker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from opml_dispute.engine.segment import ARENA
from opml_dispute.model.opcodes import Binary, DType, Opcode, Reduction, Unary
from opml_dispute.model.record import Record, strided_body
from tests.kernels import block_cases
from tests.kernels.maker import INTEGER, NUMBER, PRODUCTS, REAL, Array, Case, Maker, Rng, body, values, words

_PREDICATES = (Unary.ISNAN, Unary.ISINF)
_UNARY: dict[Unary, tuple[DType, ...]] = {
    **dict.fromkeys(Unary, REAL),
    **dict.fromkeys((Unary.NEG, Unary.ABS, Unary.SIGN, Unary.RELU), NUMBER),
    Unary.NOT: (DType.BOOL,),
    Unary.BITNOT: INTEGER,
}
_COMPARISONS = (Binary.EQ, Binary.LT, Binary.LE)
_BINARY: dict[Binary, tuple[DType, ...]] = {
    **dict.fromkeys(Binary, NUMBER),
    **dict.fromkeys((Binary.AND, Binary.OR, Binary.XOR), (DType.BOOL,)),
    **dict.fromkeys((Binary.BITAND, Binary.BITOR, Binary.BITXOR, Binary.SHL, Binary.SHR), INTEGER),
    Binary.EQ: (*NUMBER, DType.BOOL),
    Binary.ATAN2: REAL,
}


def case(rng: Rng, opcode: Opcode, *, awkward: bool = False) -> Case:
    """A random case for `opcode`."""
    return case_of(Maker(rng, awkward=awkward), opcode)


def case_of(make: Maker, opcode: Opcode) -> Case:
    """A case for `opcode` whose operands `make` lays out."""
    return _MAKERS[opcode](make)


def elementwise(
    make: Maker, opcode: Opcode, out: DType, dtypes: Sequence[DType], imm: Sequence[int] = (), **notes: Any
) -> Case:
    """A strided case over random dimensions."""
    dims = make.dims()
    out_offset, out_strides = make.output(dims, out)
    inputs = [make.input(dims, dtype) for dtype in dtypes]
    record = Record(
        opcode=opcode,
        dtype_out=out,
        out=out_offset,
        inputs=tuple(offset for offset, _ in inputs),
        dtypes_in=tuple(dtypes),
        rank=len(dims),
        imm=words(*imm),
        body=strided_body(dims, [out_strides, *(strides for _, strides in inputs)]),
    )
    return make.case(record, prod(dims), **notes)


def unary(make: Maker, function: Unary | None = None, dtype: DType | None = None) -> Case:
    function = Unary(function or make.pick(list(Unary)))
    dtype = dtype or make.pick(_UNARY[function])
    out = DType.BOOL if function in _PREDICATES else dtype
    return elementwise(make, Opcode.UNARY, out, [dtype], (function, int(make.rng.integers(0, 4))))


def binary(make: Maker, function: Binary | None = None, dtype: DType | None = None) -> Case:
    function = Binary(function or make.pick(list(Binary)))
    dtype = dtype or make.pick(_BINARY[function])
    out = DType.BOOL if function in _COMPARISONS else dtype
    return elementwise(make, Opcode.BINARY, out, [dtype, dtype], (function,))


def _copy(make: Maker) -> Case:
    dtype = make.pick(list(DType))
    same_width = [other for other in DType if other.width == dtype.width]
    return elementwise(make, Opcode.COPY, make.pick(same_width) if make.awkward else dtype, [dtype])


def _fill(make: Maker) -> Case:
    return elementwise(make, Opcode.FILL, make.pick(list(DType)), [], (int(make.rng.integers(0, 1 << 62)),))


def _select(make: Maker) -> Case:
    dtype = make.pick(list(DType))
    return elementwise(make, Opcode.SELECT, dtype, [DType.BOOL, dtype, dtype])


def _cast(make: Maker) -> Case:
    known = [dtype for dtype in DType if dtype is not DType.F64]
    return elementwise(make, Opcode.CAST, make.pick(known), [make.pick(known)], (int(make.rng.integers(0, 2)),))


def contract(make: Maker, sizes: tuple[int, int, int] | None = None, product: Any = None) -> Case:
    """`sizes`: M, N, K."""
    a_dtype, b_dtype, out = product or make.pick(PRODUCTS)
    m, n, k = sizes or (int(s) for s in make.rng.integers(1, 11, 3))
    batch = make.dims(int(make.rng.integers(0, 3)), 3) if sizes is None else []
    dims = [*batch, m, n]
    out_offset, out_strides = make.output(dims, out)
    a_offset, a_strides = make.input([*batch, m, k], a_dtype)
    b_offset, b_strides = make.input([*batch, k, n], b_dtype)
    rows = [
        out_strides,
        [*a_strides[:-1], 0],
        [*b_strides[:-2], 0, b_strides[-1]],
    ]
    inputs, dtypes = [a_offset, b_offset], [a_dtype, b_dtype]
    if make.rng.random() < 0.5:
        offset, strides = make.input(dims, out)
        inputs.append(offset)
        dtypes.append(out)
        rows.append(strides)
    record = Record(
        opcode=Opcode.CONTRACT,
        dtype_out=out,
        out=out_offset,
        inputs=tuple(inputs),
        dtypes_in=tuple(dtypes),
        rank=len(dims),
        imm=words(k, a_strides[-1], b_strides[-2]),
        body=strided_body(dims, rows),
    )
    return make.case(record, prod(dims))


def laid_out_product(
    make: Maker, sizes: tuple[int, int, int, int], data: tuple[Array, Array, Array], dtypes: tuple[DType, DType, DType]
) -> Case:
    """
    `batch` products [m][k] by [k][n], with or without a bias, by their `sizes` (batch, m, n, k).

    Rows and columns of each operand may change places; a bias belongs to columns, rows, elements or all.
    """
    batch, m, n, k = sizes
    rng, offsets = make.rng, [make.put(array) for array in data]
    a_m, a_k = (1, m) if rng.random() < 0.3 else (k, 1)
    b_k, b_n = (1, k) if rng.random() < 0.3 else (n, 1)
    out = (1, m) if rng.random() < 0.2 else (n, 1)
    bias_row = [0, *((0, 1), (1, 0), (n, 1), (0, 0))[int(rng.integers(4))]]
    operands = 2 + int(rng.random() < 0.7)
    record = Record(
        Opcode.CONTRACT,
        dtypes[2],
        ARENA.offset,
        tuple(offsets[:operands]),
        dtypes[:operands],
        3,
        0,
        0,
        words(k, a_k, b_k),
        strided_body([batch, m, n], [[m * n, *out], [m * k, a_m, 0], [k * n, 0, b_n], bias_row]),
    )
    return make.case(record, batch * m * n)


def _windows(make: Maker, rank: int) -> list[list[int]]:
    """Input, kernel, stride, dilation, padding before, output, padding after; missing dimensions filled in."""
    fields: list[list[int]] = [[] for _ in range(7)]
    for _ in range(rank):
        kernel, stride, dilation = (int(n) for n in make.rng.integers(1, 4, 3))
        size = int(make.rng.integers(1, 10 if rank < 3 else 6))
        before, after = (int(n) for n in make.rng.integers(0, 3, 2))
        span = (kernel - 1) * dilation + 1
        out = max((size + before + after - span) // stride + 1, 1)
        for column, value in zip(fields, (size, kernel, stride, dilation, before, out, after), strict=True):
            column.append(value)
    rest = (1, 1, 1, 1, 0, 1, 0)
    return [[*column, *(filler,) * (3 - rank)] for column, filler in zip(fields, rest, strict=True)]


def conv(
    make: Maker,
    fields: Sequence[Sequence[int]] | None = None,
    channels: Any = None,
    product: Any = None,
    *,
    rank: int = 2,
) -> Case:
    """`fields`: windows of `rank` dimensions; `channels`: N, C, M, groups."""
    x_dtype, w_dtype, out = product or make.pick(PRODUCTS)
    if not fields:
        rank = int(make.rng.integers(1, 4))
    at = [list(column) for column in fields] if fields else _windows(make, rank)
    if channels is None:
        groups = int(make.rng.integers(1, 4))
        per_in, per_out = (int(n) for n in make.rng.integers(1, 4, 2))
        if make.rng.random() < 0.3:
            groups, per_out = 1, int(make.rng.integers(4, 10))
        n, c, m = int(make.rng.integers(1, 3)), groups * per_in, groups * per_out
    else:
        n, c, m, groups = channels
    sizes = (n * c * prod(at[0]), m * (c // groups) * prod(at[1]))
    inputs = [
        make.put(values(make.rng, dtype, size, awkward=make.awkward))
        for dtype, size in zip((x_dtype, w_dtype), sizes, strict=True)
    ]
    dtypes = [x_dtype, w_dtype]
    if make.rng.random() < 0.5:
        inputs.append(make.put(values(make.rng, out, m, awkward=make.awkward)))
        dtypes.append(out)
    record = Record(
        opcode=Opcode.CONV,
        dtype_out=out,
        out=ARENA.offset,
        inputs=tuple(inputs),
        dtypes_in=tuple(dtypes),
        rank=rank,
        body=body(rank, n, c, m, groups, *(value for column in at[:6] for value in column)),
    )
    return make.case(record, n * m * prod(at[5]))


def _pool(make: Maker, opcode: Opcode = Opcode.POOL) -> Case:
    kind = int(make.rng.integers(0, 4)) if opcode is Opcode.POOL else 0
    dtype = make.pick(REAL if kind else NUMBER)
    rank = int(make.rng.integers(1, 4))
    at = _windows(make, rank)
    for d in range(rank):  # no window lies in the padding alone
        at[4][d] = min(at[4][d], at[1][d] - 1) if at[3][d] == 1 else 0
        last = (at[0][d] + at[4][d] - 1) // at[2][d] + 1
        at[5][d] = min(at[5][d], last)
    n, c = (int(v) for v in make.rng.integers(1, 4, 2))
    x = make.put(values(make.rng, dtype, n * c * prod(at[0]), awkward=make.awkward))
    record = Record(
        opcode=opcode,
        dtype_out=dtype if opcode is Opcode.POOL else DType.I64,
        out=ARENA.offset,
        inputs=(x,),
        dtypes_in=(dtype,),
        rank=rank,
        imm=words(kind, int(make.rng.integers(0, 2)) if opcode is Opcode.POOL_INDEX else 0),
        body=body(rank, n, c, 0, 0, *(value for column in at for value in column)),
    )
    return make.case(record, n * c * prod(at[5]))


def _along(make: Maker, opcode: Opcode, dtype: DType, out: DType, function: int, *flags: int, most: int = 7) -> Case:
    kept, reduced = make.dims(int(make.rng.integers(0, 4))), make.dims(int(make.rng.integers(1, 3)), most)
    dims = [*kept, *reduced]
    out_offset, out_strides = make.output(kept, out)
    offset, strides = make.input(dims, dtype)
    record = Record(
        opcode=opcode,
        dtype_out=out,
        out=out_offset,
        inputs=(offset,),
        dtypes_in=(dtype,),
        rank=len(dims),
        imm=words(function, len(reduced), *flags),
        body=strided_body(dims, [[*out_strides, *(0,) * len(reduced)], strides]),
    )
    return make.case(record, prod(kept))


def _reduce(make: Maker) -> Case:
    dtype = make.pick(NUMBER)
    most = 40 if make.rng.random() < 0.3 else 7
    return _along(make, Opcode.REDUCE, dtype, dtype, int(make.rng.integers(1, 5)), most=most)


def _argreduce(make: Maker) -> Case:
    function = make.pick([Reduction.MAX, Reduction.MIN])
    return _along(make, Opcode.ARGREDUCE, make.pick(NUMBER), DType.I64, function, int(make.rng.integers(0, 2)))


def _lines(make: Maker, opcode: Opcode) -> Case:
    dims = [*make.dims(int(make.rng.integers(0, 3)), 4), int(make.rng.integers(1, 20))]
    dtype = make.pick(NUMBER)
    out = DType.I64 if opcode is Opcode.TOPK else dtype
    k = int(make.rng.integers(1, dims[-1] + 1))
    out_offset, out_strides = make.output([*dims[:-1], k] if opcode is Opcode.TOPK else dims, out)
    offset, strides = make.input(dims, dtype)
    imm = (int(make.rng.integers(0, 2)), 1, k)
    if opcode is Opcode.SCAN:
        imm = (make.pick([Reduction.SUM, Reduction.PROD]), 1, int(make.rng.integers(0, 4)))
    record = Record(
        opcode=opcode,
        dtype_out=out,
        out=out_offset,
        inputs=(offset,),
        dtypes_in=(dtype,),
        rank=len(dims),
        imm=words(*imm),
        body=strided_body(dims, [out_strides, strides]),
    )
    return make.case(record, prod(dims[:-1]))


def _places(make: Maker) -> tuple[list[int], list[int], int]:
    """Strides and sizes of a place's components, and how many elements they span."""
    q = int(make.rng.integers(1, 5))
    sizes = [int(n) for n in make.rng.integers(1, 5, q)]
    strides, span = [], 1
    for size in sizes:
        strides.append(span)
        span += span * (size - 1)
    return strides, sizes, span


def _indices(make: Maker, dims: Sequence[int], sizes: Sequence[int]) -> tuple[int, list[int], int]:
    """Offset, strides and component step of an index tensor whose every entry names something."""
    q = len(sizes)
    strides, first, span = make.strided(dims, apart=False)
    data = np.empty((span, q), np.int64)
    for c, size in enumerate(sizes):
        data[:, c] = make.rng.integers(-size, size, span)
    return make.put(data) + 8 * q * first, [step * q for step in strides], 1


def _gather(make: Maker) -> Case:
    dims, dtype = make.dims(), make.pick(list(DType))
    place_strides, sizes, reach = _places(make)
    out_offset, out_strides = make.output(dims, dtype)
    offset, strides = make.input(dims, dtype, extra=reach)
    index_offset, index_strides, step = _indices(make, dims, sizes)
    where = [*place_strides, *(0,) * (4 - len(sizes)), *sizes]
    record = Record(
        opcode=Opcode.GATHER,
        dtype_out=dtype,
        out=out_offset,
        inputs=(offset, index_offset),
        dtypes_in=(dtype, DType.I64),
        rank=len(dims),
        imm=words(len(sizes), step),
        body=strided_body(dims, [out_strides, strides, index_strides, where]),
    )
    return make.case(record, prod(dims))


def _scatter(make: Maker) -> Case:
    dims, reduction = make.dims(), make.pick(list(Reduction))
    dtype = make.pick(list(DType) if reduction is Reduction.NONE else NUMBER)
    place_strides, sizes, _ = _places(make)
    out_offset, out_strides = make.output(dims, dtype)
    offset, strides = make.input(dims, dtype)
    index_offset, index_strides, step = _indices(make, dims, sizes)
    where = [*place_strides, *(0,) * (4 - len(sizes)), *sizes]
    record = Record(
        opcode=Opcode.SCATTER,
        dtype_out=dtype,
        out=out_offset,
        inputs=(offset, index_offset),
        dtypes_in=(dtype, DType.I64),
        rank=len(dims),
        imm=words(len(sizes), step, reduction),
        body=strided_body(dims, [out_strides, strides, index_strides, where]),
    )
    return make.case(record, prod(dims), values(make.rng, dtype, 4096, awkward=make.awkward), cut=False)


def forest(make: Maker, more: int) -> Case:
    """As a random case of TREE, with so many trees more."""
    rng = make.rng
    rows, features, trees, targets = (int(n) for n in rng.integers(1, 6, 4))
    trees += more
    depth, leaf_weights = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    nodes: list[tuple[int, int, int, int]] = []
    roots: list[int] = []
    weights = 0

    def grow(level: int) -> int:
        nonlocal weights
        place = len(nodes)
        nodes.append((0, 0, 0, 0))
        if level == 0 or rng.random() < 0.2:
            count = int(rng.integers(0, leaf_weights + 1))
            nodes[place] = (0, weights, count, 0)
            weights += count
        else:
            mode = int(rng.integers(1, 7)) | (0x100 if rng.random() < 0.5 else 0)
            feature = int(rng.integers(0, features))
            yes = grow(level - 1)
            nodes[place] = (mode, feature, yes, grow(level - 1))
        return place

    for _ in range(trees):
        roots.append(grow(depth))
    weights = max(weights, 1)
    x = values(rng, DType.F32, rows * features, awkward=make.awkward)
    table = [
        np.array(nodes, np.int32),
        rng.choice(x, len(nodes)).astype(np.float32),
        np.array(roots, np.int32),
        rng.integers(0, targets, weights).astype(np.int32),
        values(rng, DType.F32, weights, awkward=make.awkward),
    ]
    if make.awkward:  # an untrusted table: wild numbers here and there
        flat = table[0].reshape(-1)
        flat[rng.random(flat.size) < 0.05] = rng.integers(-(2**31), 2**31)
    record = Record(
        opcode=Opcode.TREE,
        dtype_out=DType.F32,
        out=ARENA.offset,
        inputs=(make.put(x), *(make.put(part) for part in table)),
        dtypes_in=(DType.F32, DType.I32, DType.F32, DType.I32, DType.I32, DType.F32),
        rank=2,
        imm=words(make.pick([Reduction.SUM, Reduction.MAX, Reduction.MIN])),
        body=body(rows, features, len(nodes), trees, weights, targets, depth, leaf_weights),
    )
    return make.case(record, rows)


_MAKERS = {
    Opcode.COPY: _copy,
    Opcode.FILL: _fill,
    Opcode.UNARY: unary,
    Opcode.BINARY: binary,
    Opcode.SELECT: _select,
    Opcode.CAST: _cast,
    Opcode.CONTRACT: contract,
    Opcode.CONV: conv,
    Opcode.POOL: _pool,
    Opcode.POOL_INDEX: lambda make: _pool(make, Opcode.POOL_INDEX),
    Opcode.REDUCE: _reduce,
    Opcode.ARGREDUCE: _argreduce,
    Opcode.GATHER: _gather,
    Opcode.SCATTER: _scatter,
    Opcode.TOPK: lambda make: _lines(make, Opcode.TOPK),
    Opcode.SCAN: lambda make: _lines(make, Opcode.SCAN),
    Opcode.TREE: lambda make: forest(make, 0),
    **block_cases.MAKERS,
}
