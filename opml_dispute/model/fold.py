"""
Constant folding: operations on constants are computed once, while the model is compiled.

`run` runs an operation on constants with the engine's own kernel, so a folded value has the same bits that an inference
would compute, for every function, and on every machine. `recorder` chooses the operations to fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from opml_dispute.engine.blocks import block_elements
from opml_dispute.engine.folding import run_record
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.record import SEC_ARENA, Record
from opml_dispute.model.tensor import Array, Tensor

WORK_LIMIT = 1 << 28
"""Inner steps (products, taps, comparisons) that one folded operation may take: a fraction of a second."""

INDEX_OUT_OF_RANGE = 7
"""The status of an index that names an element that is not there (native/program/opcodes.h)."""

_BLOCK_LOG2 = 35
"""Each operand's block in the record that is validated: ARENA holds eight of them."""


def run(
    opcode: Opcode,
    out: Tensor,
    inputs: Sequence[Tensor],
    rank: int,
    count: int,
    imm: tuple[int, ...],
    body: tuple[int, ...],
) -> int:
    """Writes an operation's results into the values of `out`'s buffer; 0, or the status that a node would latch."""
    operands = []
    addresses = []
    for j, tensor in enumerate((out, *inputs)):
        values = tensor.buffer.values
        assert values is not None
        block = SEC_ARENA + (j << _BLOCK_LOG2)
        operands.append((block, values))
        addresses.append(block + tensor.offset * tensor.dtype.width)
    record = Record(
        opcode=opcode,
        dtype_out=out.dtype,
        out=addresses[0],
        inputs=tuple(addresses[1:]),
        dtypes_in=tuple(tensor.dtype for tensor in inputs),
        rank=rank,
        hi=count,
        imm=imm,
        body=body,
    )
    return run_record(record.pack(), operands)


def work_of(opcode: Opcode, inputs: Sequence[Tensor], count: int, imm: tuple[int, ...], body: tuple[int, ...]) -> int:
    """Inner steps of an operation with `count` outputs, about."""
    if opcode is Opcode.CONTRACT:
        return count * imm[0]
    if opcode in (Opcode.CONV, Opcode.POOL, Opcode.POOL_INDEX):
        channels = body[2] // max(body[4], 1) if opcode is Opcode.CONV else 1
        return count * channels * prod(body[8 : 8 + body[0]])
    if opcode is Opcode.BLOCK_CONTRACT:
        return count * body[2]
    if opcode in (Opcode.BLOCK_QUANTISE, Opcode.BLOCK_GATHER):
        return count * (imm[0] if opcode is Opcode.BLOCK_QUANTISE else 16 * block_elements(imm[0]))
    if opcode is Opcode.TREE:
        return count * body[3] * (1 + body[6] + body[7])
    if opcode in (Opcode.TOPK, Opcode.SCAN, Opcode.REDUCE, Opcode.ARGREDUCE):
        return max(count, inputs[0].size) * (64 if opcode is Opcode.TOPK else 1)
    return count


_CANONICAL_NAN: dict[DType, np.generic] = {
    DType.F32: np.uint32(0x7FC00000),
    DType.F16: np.uint16(0x7E00),
    DType.BF16: np.uint16(0x7FC0),
}


def narrowed(values: Array) -> Array:
    """binary64 as binary32, every NaN the one that kernels store. ASSUMES the process' rounding is to nearest."""
    with np.errstate(all="ignore"):
        rounded = values.astype(np.float32)
    return np.where(rounded != rounded, _CANONICAL_NAN[DType.F32].view(np.float32), rounded)
