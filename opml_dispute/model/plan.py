"""
The plan: every buffer gets its block, every operation its records, every block its end.

1. `live_operations` drops what no output needs.
2. Each buffer gets a block: a power of two of at least 64 bytes, at an address that it divides, so that its root
   is a subtree's root. Sections are filled from their start in the order of use. No address is used twice: address
   space is not scarce, and every byte keeps one element width for the whole run.
3. Operations become records, cut into tiles (`tile`). The last record that touches a block of ARENA frees it, so
   the state after the last node holds the outputs and nothing else that was computed.

Operations that are repeated can be given `Regions`: then what they make lies equally far apart from one time to the
next, and records of many times follow from those of two (`generation.unroll`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from opml_dispute.engine.segment import LEAST_BLOCK_LOG2
from opml_dispute.engine.vm import Block
from opml_dispute.model.derived import TensorSpec
from opml_dispute.model.limits import Meter
from opml_dispute.model.opcodes import DType
from opml_dispute.model.record import SEC_ARENA, SEC_END, SEC_HEADER, SEC_INPUT, SEC_OUTPUT, SEC_WEIGHTS, Free, Record
from opml_dispute.model.recorder import Op
from opml_dispute.model.refusals import ModelTooLarge
from opml_dispute.model.tensor import Buffer, Tensor
from opml_dispute.model.tile import Estimate, tiles

SHARED_BYTES = 4096
"""Equal constants of at most this size share one block; so do larger ones that are the same array."""


@dataclass(frozen=True)
class Regions:
    """Parts of ARENA, one for each of several runs of operations."""

    starts: frozenset[int]
    """The operations with which they begin, by number."""
    size_bytes: int
    """A power of two; a region takes as many of them as it needs, and begins at a multiple."""


NO_REGIONS = Regions(frozenset(), 1 << LEAST_BLOCK_LOG2)


class PlannedSection:
    """An allocator of consecutive aligned blocks."""

    def __init__(self, name: str, start: int, end: int) -> None:
        self.name, self.start, self.end, self.next = name, start, end, start

    def place(self, size_bytes: int) -> tuple[int, int]:
        """Offset and log2 size of a block for `size_bytes`. Raises `ModelTooLarge` if the section is full."""
        log2_size = max(LEAST_BLOCK_LOG2, (size_bytes - 1).bit_length())
        offset = -(-self.next >> log2_size) << log2_size
        self.next = offset + (1 << log2_size)
        if self.next > self.end:
            raise ModelTooLarge(self.name, self.next - self.start, self.end - self.start)
        return offset, log2_size


def _allow(most: int, meter: Meter, op: Op, count: int) -> None:
    """Raises `ModelTooDear` if `count` nodes for one operation are more than there is room for."""
    if count > most:
        meter.nodes(count, f"{op.origin.op_type} {op.origin.name!r}")


class Plan:
    """The blocks and records of a program, made once from its live operations."""

    def __init__(
        self,
        ops: Sequence[Op],
        inputs: Sequence[tuple[str, Tensor]],
        outputs: Sequence[tuple[str, Tensor]],
        regions: Regions = NO_REGIONS,
    ) -> None:
        self.ops = ops
        self.inputs: list[TensorSpec] = []
        self.outputs: list[TensorSpec] = []
        self.weights: list[Block] = []
        self.region_start = SEC_END
        """Where the first of the regions begins, if there are any."""
        self._places: dict[int, tuple[int, int]] = {}
        self._arena: list[Buffer] = []
        self._inputs = [tensor for _, tensor in inputs]
        self._outputs = [tensor for _, tensor in outputs]
        self._put_ends(PlannedSection("input", SEC_INPUT, SEC_OUTPUT), inputs, self.inputs)
        self._put_ends(PlannedSection("output", SEC_OUTPUT, SEC_ARENA), outputs, self.outputs)
        self._put_rest(regions)

    def _put_ends(
        self, section: PlannedSection, tensors: Sequence[tuple[str, Tensor]], specs: list[TensorSpec]
    ) -> None:
        for name, tensor in tensors:
            place = section.place(tensor.size * tensor.dtype.width)
            self._places[id(tensor.buffer)] = place
            specs.append(TensorSpec(name, tensor.dtype, tensor.shape, *place))

    def _put_rest(self, regions: Regions) -> None:
        weights = PlannedSection("weights", SEC_WEIGHTS, SEC_HEADER)
        arena = PlannedSection("activations", SEC_ARENA, SEC_END)
        shared: dict[tuple[DType, bytes | int], tuple[int, int]] = {}
        for i, op in enumerate(self.ops):
            if i in regions.starts:
                arena.next = -(-arena.next // regions.size_bytes) * regions.size_bytes
                self.region_start = min(self.region_start, arena.next)
            for buffer in (*(tensor.buffer for tensor in op.inputs), op.out.buffer):
                if id(buffer) in self._places:
                    continue
                width = buffer.dtype.width
                if buffer.values is None:
                    self._places[id(buffer)] = arena.place(buffer.size * width)
                    self._arena.append(buffer)
                else:
                    few = buffer.values.nbytes <= SHARED_BYTES
                    key = (buffer.dtype, buffer.values.tobytes() if few else id(buffer.values))
                    if key in shared:
                        self._places[id(buffer)] = shared[key]
                        continue
                    place = weights.place(buffer.size * width)
                    self._places[id(buffer)] = place
                    shared[key] = place
                    self.weights.append(Block(*place, buffer.values.view(f"u{width}").data, width, None))

    def _address(self, tensor: Tensor) -> int:
        return self._places[id(tensor.buffer)][0] + tensor.offset * tensor.dtype.width

    def nodes(self, budget: int, estimate: Estimate, meter: Meter) -> tuple[list[Record], list[Op]]:
        """The records in order, and the operation behind each. Raises `ModelTooDear`."""
        last_use = {id(tensor.buffer): i for i, op in enumerate(self.ops) for tensor in (*op.inputs, op.out)}
        arena = {id(buffer) for buffer in self._arena}
        records: list[Record] = []
        made_of: list[Op] = []
        cuts: dict[tuple[object, ...], list[tuple[int, int]]] = {}
        for i, op in enumerate(self.ops):
            allow = partial(_allow, meter.limits.nodes - len(records), meter, op)
            # What a node costs does not depend on where its operands lie, and layers repeat each other's operations.
            dtypes = tuple(tensor.dtype for tensor in op.inputs)
            alike = (op.opcode, op.out.dtype, dtypes, op.rank, op.imm, op.body, op.count, op.grains)
            spans = cuts.get(alike)
            if spans is None:
                parts = tiles(self._record(op, dtypes, 0, op.count), op.count, op.grains, budget, estimate, allow)
                spans = cuts[alike] = [(part.lo, part.hi) for part in parts]
            else:
                allow(len(spans))
            meter.nodes(len(spans))
            touched = dict.fromkeys(id(tensor.buffer) for tensor in (*op.inputs, op.out))
            dead = [buffer for buffer in touched if buffer in arena and last_use[buffer] == i]
            # INVARIANT: a block is freed in the same transition as its last use, so S_n holds only what is live,
            # and committing to it costs the outputs alone. A record has room: at most 6 inputs and 1 output.
            offsets = [self._places[buffer] for buffer in dead]
            records += [self._record(op, dtypes, lo, hi) for lo, hi in spans[:-1]]
            records.append(self._record(op, dtypes, *spans[-1], tuple(Free(log2, offset) for offset, log2 in offsets)))
            made_of += [op] * len(spans)
        return records, made_of

    def _record(self, op: Op, dtypes: tuple[DType, ...], lo: int, hi: int, frees: tuple[Free, ...] = ()) -> Record:
        inputs = tuple([self._address(tensor) for tensor in op.inputs])
        out = self._address(op.out)
        return Record(op.opcode, op.out.dtype, out, inputs, dtypes, op.rank, lo, hi, op.imm, op.body, frees)


def live_operations(ops: Sequence[Op], outputs: Sequence[Tensor]) -> list[Op]:
    """The operations that the outputs depend on, in order."""
    needed = {id(tensor.buffer) for tensor in outputs}
    live = []
    for op in reversed(ops):
        if id(op.out.buffer) in needed:
            needed.update(id(tensor.buffer) for tensor in op.inputs)
            live.append(op)
    return live[::-1]
