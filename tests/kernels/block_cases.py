"""Random records for the kernels of blocks: any format, few or many rows, bytes that no quantiser would write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from opml_dispute.engine.segment import ARENA
from opml_dispute.model.block_formats import BlockFormat
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.record import Record
from tests.kernels.maker import Array, Case, Maker, body, values, words

HALVES: dict[BlockFormat, tuple[int, ...]] = {
    BlockFormat.Q4_0: (0,), BlockFormat.Q4_1: (0, 2), BlockFormat.Q5_0: (0,), BlockFormat.Q5_1: (0, 2),
    BlockFormat.Q8_0: (0,), BlockFormat.Q4_K: (0, 2), BlockFormat.Q5_K: (0, 2), BlockFormat.Q6_K: (208,),
    BlockFormat.N4: (), BlockFormat.N8: (),
}  # fmt: skip
"""Where a block's binary16 numbers are."""


def weights(make: Maker, fmt: BlockFormat, rows: int, k: int) -> Array:
    """Blocks of any integers; scales are well-behaved unless `make` is awkward."""
    count = rows * k // fmt.elements
    data = make.rng.integers(0, 256, (count, fmt.bytes), np.uint8)
    kind = make.rng.random()
    if kind < 0.1:  # the largest sums
        data[:] = make.pick((0, 0x7F, 0x80, 0xFF))
    for at in HALVES[fmt]:
        scale = values(make.rng, DType.F16, count, awkward=make.awkward)
        data[:, at : at + 2] = scale.astype("<f2").view(np.uint8).reshape(count, 2)
    if not HALVES[fmt]:
        scale = values(make.rng, DType.F32, count, awkward=make.awkward)
        data[:, :4] = scale.astype("<f4").view(np.uint8).reshape(count, 4)
    return data.reshape(rows, -1)


def activations(make: Maker, fmt: BlockFormat, rows: int, k: int) -> Array:
    """Blocks of any bytes, -128 among them, which no quantiser writes."""
    count = rows * k // fmt.elements
    data = make.rng.integers(0, 256, (count, 4 + fmt.elements), np.uint8)
    if make.rng.random() < 0.1:
        data[:] = make.pick((0x7F, 0x80))
    scale = np.abs(values(make.rng, DType.F32, count, awkward=make.awkward))
    data[:, :4] = scale.astype(">f4").view(np.uint8).reshape(count, 4)
    return data.reshape(rows, -1)


def _sizes(make: Maker, fmt: BlockFormat) -> tuple[int, int, int]:
    rows = int(make.pick((1, 1, 1, 2, 3, 8, 9, 17)))
    columns = int(make.pick((1, 3, 8, 15, 16, 17, 33, 48)))
    blocks = int(make.pick((1, 2, 3, 5))) if fmt.elements == 256 else int(make.pick((1, 2, 3, 7, 18, 33)))
    return rows, columns, blocks * fmt.elements


def quantise(make: Maker) -> Case:
    elements = int(make.pick((32, 256)))
    rows, k = int(make.rng.integers(1, 5)), elements * int(make.rng.integers(1, 4))
    x = values(make.rng, DType.F32, rows * k, awkward=make.awkward)
    with np.errstate(all="ignore"):
        x = (x * np.float32(make.pick((1, 1e-3, 1e10, 1e-33, 1e-36, 1e-40)))).astype(np.float32)
        if make.rng.random() < 0.2:
            x[:] = x[0]
    record = Record(
        Opcode.BLOCK_QUANTISE, DType.U8, ARENA.offset + 64 * int(make.rng.integers(0, 3)), (make.put(x),),
        (DType.F32,), 2, imm=words(elements), body=body(rows, 0, k),
    )  # fmt: skip
    return make.case(record, rows * k // elements)


def contract(make: Maker, sizes: tuple[int, int, int] | None = None, fmt: BlockFormat | None = None) -> Case:
    fmt = make.pick(tuple(BlockFormat)) if fmt is None else fmt
    rows, columns, k = _sizes(make, fmt) if sizes is None else sizes
    operands = [activations(make, fmt, rows, k), weights(make, fmt, columns, k)]
    dtypes = [DType.U8, DType.U8]
    if make.rng.random() < 0.4:
        operands.append(values(make.rng, DType.F32, columns, awkward=make.awkward))
        dtypes.append(DType.F32)
    record = Record(
        Opcode.BLOCK_CONTRACT, DType.F32, ARENA.offset, tuple(make.put(each) for each in operands), tuple(dtypes), 2,
        imm=words(fmt), body=body(rows, columns, k),
    )  # fmt: skip
    return make.case(record, rows * columns)


def gather(make: Maker) -> Case:
    fmt = make.pick(tuple(BlockFormat))
    rows, columns, k = _sizes(make, fmt)
    k = min(k, 3 * fmt.elements)
    operands, dtypes = [weights(make, fmt, columns, k)], [DType.U8]
    if make.rng.random() < 0.7:
        operands.append(make.rng.integers(-columns, columns, rows))
        dtypes.append(DType.I64)
    else:
        rows = columns
    record = Record(
        Opcode.BLOCK_GATHER, DType.F32, ARENA.offset, tuple(make.put(each) for each in operands), tuple(dtypes), 2,
        imm=words(fmt), body=body(rows, columns, k),
    )  # fmt: skip
    return make.case(record, rows * k // fmt.elements)


MAKERS: dict[Opcode, Callable[[Maker], Case]] = {
    Opcode.BLOCK_QUANTISE: quantise,
    Opcode.BLOCK_CONTRACT: contract,
    Opcode.BLOCK_GATHER: gather,
}
