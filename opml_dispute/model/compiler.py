"""
The compiler: an ONNX model and concrete shapes become a program.

`compile_model` is the whole way: `onnx_file` reads and checks the model, `importer` lowers its operators to kernels,
`fuse` combines some of them, `plan` gives every tensor its block and every block its end, `tile` cuts operations that
are too expensive, and `rules` checks what every program must satisfy. The same file and shapes give the same bytes on
any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from opml_dispute.engine.folding import float_mode
from opml_dispute.engine.mapped_files import unchanged
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model import rules
from opml_dispute.model.builder import Builder
from opml_dispute.model.cost import most_steps
from opml_dispute.model.fuse import fuse
from opml_dispute.model.importer import Importer
from opml_dispute.model.limits import Limits, Meter
from opml_dispute.model.onnx_file import ModelSource, load_apart
from opml_dispute.model.opcodes import DType
from opml_dispute.model.plan import Plan, live_operations
from opml_dispute.model.program import Program
from opml_dispute.model.record import Record
from opml_dispute.model.recorder import Op, Origin
from opml_dispute.model.refusals import ModelError, Refuse, UnsupportedOp
from opml_dispute.model.seeding import declare_seed, seed_input_of
from opml_dispute.model.tensor import Array, Tensor
from opml_dispute.primitives import LEAST_LOG2_STEPS, MOST_LOG2_STEPS
from opml_dispute.working import under_way

TILE_BUDGET = 1 << 24
"""
VM steps that one node may take, if its operation can be cut.

Half of it would make no game shallower: what a dispute's second phase loses in depth, its first gains. It is small
enough for the VM's run of a node to take a fraction of a second, and large enough for a large model to have at most
some 10^5 nodes.
"""


def compile_model(
    model: ModelSource,
    *,
    dims: Mapping[str, int] | None = None,
    constants: Mapping[str, Array] | None = None,
    max_sizes: Mapping[str, int] | None = None,
    seed_input: str | None = None,
    tile_budget: int = TILE_BUDGET,
    limits: Limits | None = None,
) -> Program:
    """
    Compiles an ONNX model (a path, bytes, or a loaded model).

    `dims` gives sizes to symbolic dimensions, by name or as `input.position`. `constants` fixes inputs to values, so
    that values which depend on them (a shape, a number of iterations) are known when compiling. `max_sizes` makes room
    for tensors whose size depends on data: such a tensor has zeros behind its elements, and a further output
    `NAME.count` says how many elements it has. `seed_input` names a further input, i64[1], that random numbers come
    from; it can be fixed like any other. `tile_budget` is in VM steps, 2^16 or more. `limits` bound the resources of
    the compilation: by default those of the environment (`limits`).

    Raises subclasses of `ModelError` for everything that the model's author can put right (`refusals`), and
    `FileChanged` if the file was written to meanwhile.
    """
    if tile_budget < 1 << LEAST_LOG2_STEPS:
        raise ValueError(f"a tile budget of {tile_budget:,} VM steps; expected 2^{LEAST_LOG2_STEPS} at least")
    with float_mode(), under_way(), unchanged():
        meter = Meter(limits or Limits.of_environment())
        importer = Importer(load_apart(model), Builder(meter))
        fixed = {name: np.asarray(value) for name, value in (constants or {}).items()}
        given = {name: value for name, value in fixed.items() if name != seed_input}
        if seed_input is not None:
            taken = [value.name for value in importer.model.graph.input]
            declare_seed(importer.builder, seed_input, taken, fixed.get(seed_input))
        try:
            outputs = importer.run(dict(dims or {}), given, dict(max_sizes or {}))
            if seed_input is not None:
                importer.inputs += seed_input_of(importer.builder, seed_input)
            return compile_operations(importer.builder, importer.inputs, outputs, tile_budget, fixed)
        except Refuse as refusal:  # of no operator: of an output, or of what is fused
            raise ModelError(str(refusal), hint=refusal.hint) from None


def compile_operations(
    builder: Builder,
    inputs: Sequence[tuple[str, Tensor]],
    results: Sequence[tuple[str, Tensor]],
    tile_budget: int = TILE_BUDGET,
    fixed: Mapping[str, Array] | None = None,
) -> Program:
    """
    The program of the operations that a builder has recorded, from `inputs` to `results`.

    ASSUMES `float_mode`: what is folded may depend on no floating-point mode that this process has set.
    Raises as `compile_model`.
    """
    outputs = _end_in_own_blocks(builder, results)
    if not outputs:
        raise ModelError("the model has no outputs; expected at least one")
    _make_a_node(builder, outputs)
    ends = [tensor for _, tensor in outputs]
    ops = fuse(builder, live_operations(builder.ops, ends), ends)
    plan = Plan(ops or builder.ops, inputs, outputs)
    records, made_of = plan.nodes(tile_budget, most_steps, builder.meter)
    packed = b"".join(record.pack() for record in records)
    _ask_the_segment(packed, made_of)
    return assembled(plan, packed, origins_of(records, made_of), tuple(builder.notes), fixed)


def origins_of(records: Sequence[Record], made_of: Sequence[Op]) -> tuple[tuple[str, str], ...]:
    """The operator and the name of the ONNX node behind each operation, in the order of `records`."""
    return tuple(
        (op.origin.op_type, op.origin.name) for record, op in zip(records, made_of, strict=True) if record.lo == 0
    )


def assembled(
    plan: Plan,
    records: bytes,
    origins: tuple[tuple[str, str], ...],
    notes: tuple[str, ...],
    fixed: Mapping[str, Array] | None = None,
) -> Program:
    """The program of a plan and its records. Raises `ModelError` if a node would take too many VM steps."""
    program = Program(
        records=records,
        weights=tuple(plan.weights),
        inputs=tuple(plan.inputs),
        outputs=tuple(plan.outputs),
        origins=origins,
        log2_steps=least_log2_steps(records),
        notes=notes,
        fixed=fixed or {},
    )
    rules.check(program)
    return program


STATUS_REASONS = {
    2: "a function that no kernel has",
    3: "element types that no kernel takes together",
    4: "shapes, or an amount of work, that no record may have",
    5: "operands that a record may not have",
}
"""The reasons for which native/program/record.c refuses a record, by the status that it would latch."""


def _ask_the_segment(records: bytes, made_of: Sequence[Op]) -> None:
    """
    Raises `UnsupportedOp` for the first record that the segment refuses.

    Such a program could be registered, and each of its inferences would fail.
    """
    for status, op in zip(validate_records(records).status.tolist(), made_of, strict=True):
        if status:
            types = ", ".join(tensor.dtype.name for tensor in op.inputs)
            shapes = ", ".join(str(list(tensor.shape)) for tensor in op.inputs)
            reason = (
                f"it needs {op.opcode.name} of {types or 'nothing'} to {op.out.dtype.name}, shapes {shapes or 'none'}: "
                f"{STATUS_REASONS.get(status, 'a record that the segment refuses')} (status {status})"
            )
            raise UnsupportedOp(op.origin.op_type, op.origin.name, op.origin.opset, reason)


def least_log2_steps(records: bytes) -> int:
    """
    The least limit of VM steps that admits every record: that of the tile budget, or less for a small model; more only
    where a single output costs more than the budget, so that it cannot be cut.
    """
    most = int(validate_records(records).steps.max())
    log2_steps = max(LEAST_LOG2_STEPS, (most - 1).bit_length())
    if log2_steps > MOST_LOG2_STEPS:
        raise ModelError(
            f"one output takes up to {most:,} VM steps, and cannot be cut; a node may take 2^{MOST_LOG2_STEPS}",
            hint="a dispute about it could not be played; make the reduction or product smaller",
        )
    return log2_steps


def _end_in_own_blocks(builder: Builder, results: Sequence[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    """
    The outputs, each alone and packed in a buffer of its own, which will lie in OUTPUT.

    A tensor that a node computed whole is used as it is; a view, an input, a constant or a second use is copied.
    """
    taken: set[int] = set()
    outputs = []
    for name, tensor in results:
        buffer = tensor.buffer
        whole = tensor.is_contiguous and tensor.offset == 0 and tensor.size == buffer.size
        if not whole or buffer.values is not None or buffer.input_name or id(buffer) in taken:
            builder.origin = Origin("Output", name)
            copy = builder.new(tensor.dtype, tensor.shape, tensor)  # never folded: an output is made by a node
            builder.copy(copy, tensor)
            tensor = copy
        taken.add(id(tensor.buffer))
        outputs.append((name, tensor))
    return outputs


def _make_a_node(builder: Builder, outputs: Sequence[tuple[str, Tensor]]) -> None:
    """
    A program has at least one node.

    Where all outputs are empty there is nothing to compute, so one byte of ARENA is written and freed.
    """
    if not live_operations(builder.ops, [tensor for _, tensor in outputs]):
        builder.origin = Origin("Output", outputs[0][0])
        builder.ops.clear()
        builder.copy(builder.new(DType.U8, ()), builder.scalar(0, DType.U8))
