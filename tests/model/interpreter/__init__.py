"""
A second reading of node records: slow, in numpy, and written from docs/kernels.md alone.

`run` executes a program the way the segment describes it: bytes at addresses, one record after the other, freed
blocks zero afterwards. It shares no code with the kernels or with the compiler's folding, so that where two of
them agree, neither is likely to be wrong. Float sums are numpy's and transcendentals the platform's, so floats agree to
a tolerance, everything else exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from opml_dispute.model.opcodes import Opcode
from opml_dispute.model.program import Program
from opml_dispute.model.record import Record
from tests.model.interpreter import elementwise, lines, places, quantised_blocks, windows
from tests.model.interpreter.segment import Array, Segment


def run(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The program's outputs. Raises `IndexOutOfRange` where the segment would latch a status."""
    segment = Segment(program)
    for spec in program.inputs:
        array = np.asarray(inputs[spec.name])
        if (array.shape, array.dtype) != (spec.shape, spec.dtype.numpy):
            raise ValueError(f"{spec.name} is {array.dtype}{list(array.shape)}; expected {spec.dtype.name}{spec.shape}")
        elements, first = segment.elements(spec.offset, spec.dtype)
        elements[first : first + array.size] = array.reshape(-1)
    for index in range(program.node_count):
        record = program.record(index)
        with np.errstate(all="ignore"):
            KERNELS[record.opcode](segment, record)
        for free in record.frees:
            segment.blocks[free.offset][1][:] = 0
    outputs = {}
    for spec in program.outputs:
        elements, first = segment.elements(spec.offset, spec.dtype)
        outputs[spec.name] = elements[first : first + math.prod(spec.shape)].reshape(spec.shape).copy()
    return outputs


KERNELS: dict[Opcode, Callable[[Segment, Record], None]] = {
    Opcode.COPY: elementwise.copy,
    Opcode.FILL: elementwise.fill,
    Opcode.UNARY: elementwise.unary,
    Opcode.BINARY: elementwise.binary,
    Opcode.SELECT: elementwise.select,
    Opcode.CAST: elementwise.cast,
    Opcode.CONTRACT: windows.contract,
    Opcode.CONV: windows.conv,
    Opcode.POOL: windows.pool,
    Opcode.POOL_INDEX: windows.pool_index,
    Opcode.REDUCE: lines.reduce,
    Opcode.ARGREDUCE: lines.argreduce,
    Opcode.GATHER: places.gather,
    Opcode.SCATTER: places.scatter,
    Opcode.TOPK: lines.topk,
    Opcode.SCAN: lines.scan,
    Opcode.TREE: places.tree,
    Opcode.BLOCK_QUANTISE: quantised_blocks.block_quantise,
    Opcode.BLOCK_CONTRACT: quantised_blocks.block_contract,
    Opcode.BLOCK_GATHER: quantised_blocks.block_gather,
}
