"""
Small programs made of bare records, and the guest running their nodes.

`program` wraps records and the arrays they read; `run_node` runs node t in the VM from the native S_t, against the
native S_{t+1}: exit code 0 says that VM and host agree on every bit of the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.analysis import with_roots
from opml_dispute.engine.doubles import Pattern
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.overrides import Override
from opml_dispute.engine.segment import INPUT, MODEL_LOG2, SEGMENT_LOG2, WEIGHTS, big_endian
from opml_dispute.engine.vm import Block, Machine, StopKind
from opml_dispute.model.double_patterns import double_patterns
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import TensorSpec
from opml_dispute.model.record import program_header
from opml_dispute.primitives import MOST_LOG2_STEPS, RECORD_BYTES, Hash32, item_data
from opml_dispute.toolchain.native import guest_path
from tests.kernels.bench import extent
from tests.kernels.maker import Case

EQUAL, DIFFERENT = 0, 1


@dataclass(eq=False)
class BareProgram:
    """What an inference needs of a program, from raw records."""

    records: bytes
    weights: Sequence[Block] = ()
    inputs: Sequence[TensorSpec] = ()
    outputs: Sequence[TensorSpec] = ()
    header: bytes | None = None
    log2_steps: int = MOST_LOG2_STEPS

    @property
    def node_count(self) -> int:
        return len(self.records) // RECORD_BYTES

    @property
    def output_bytes(self) -> int:
        return 0

    @cached_property
    def model_blocks(self) -> Sequence[Block]:
        image = (self.header or program_header(self.node_count, self.log2_steps, 0, 0)) + self.records
        return (Block(0, max(6, (len(image) - 1).bit_length()), image), *self.weights)

    @staticmethod
    def double_patterns() -> Sequence[Pattern]:
        return double_patterns()

    @cached_property
    def rooted_blocks(self) -> Sequence[Block]:
        return with_roots(self.model_blocks)

    @cached_property
    def model_root(self) -> Hash32:
        return SparseTree(MODEL_LOG2, self.model_blocks).root


def program(records: Sequence[bytes], arrays: Sequence[tuple[int, npt.NDArray[Any]]] = (), **more: Any) -> BareProgram:
    """A program of these records, with the arrays that lie in WEIGHTS."""
    blocks = []
    for offset, array in arrays:
        if WEIGHTS.offset <= offset < WEIGHTS.end:
            blocks += _aligned(offset, array)
    return BareProgram(b"".join(records), blocks, **more)


def _aligned(offset: int, array: npt.NDArray[Any]) -> list[Block]:
    """Blocks of 64 bytes that hold the array: its place may be no multiple of a larger size."""
    width = array.dtype.itemsize
    raw = array.view(np.uint8)
    return [Block(offset + at, 6, raw[at : at + 64].copy(), width) for at in range(0, raw.size, 64)]


def image(arrays: Sequence[tuple[int, npt.NDArray[Any]]]) -> bytes:
    """The INPUT section that holds those arrays that lie there."""
    out = bytearray()
    for offset, array in arrays:
        if INPUT.offset <= offset < INPUT.end:
            begin = offset - INPUT.offset
            out.extend(bytes(max(0, begin + array.nbytes - len(out))))
            out[begin : begin + array.nbytes] = big_endian(array)
    return bytes(out)


def inference(
    case: Case, overrides: Mapping[int, Sequence[Override]] | None = None, *, raw: bytes | None = None
) -> Inference:
    """The native run of a case's record (`raw`, if given) as a program of one node."""
    lo, hi = extent(case)
    changes = dict(overrides or {})
    if hi > lo:
        changes[0] = [(lo, big_endian(case.before(hi - lo))), *changes.get(0, ())]
    made = program([case.record.pack() if raw is None else raw], case.arrays, inputs=specs(case))
    return Inference(made, image(case.arrays), overrides=changes)


def specs(case: Case) -> list[TensorSpec]:
    """The arrays in INPUT, as a program names them."""
    return [
        TensorSpec(str(i), DType.of(array.dtype), array.shape, offset, 6)
        for i, (offset, array) in enumerate(case.arrays)
        if INPUT.offset <= offset < INPUT.end
    ]


@cache
def prestate() -> Machine:
    """The VM before it ran anything; fork it, never run it."""
    return Machine.from_elf(guest_path().read_bytes(), ml=True)


def run_node(states: Inference, t: int = 0, *, disputed: bytes | None = None) -> Machine:
    """The VM after running node t from S_t to its end; the disputed root is the native S_{t+1} unless given."""
    start = states.state_root(t)
    machine = prestate().fork()
    machine.set_local(2, start)
    machine.set_local(3, states.state_root(t + 1) if disputed is None else disputed)
    machine.set_local(6, item_data())
    machine.add_subtree(start, SEGMENT_LOG2, states.blocks_at(t))
    stop = machine.run(1 << 32)
    assert stop.kind is StopKind.EXITED, str(stop)
    return machine
