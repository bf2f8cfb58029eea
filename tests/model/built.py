"""Programs that are written with the builder, for kernels that no operator of ONNX comes to."""

from __future__ import annotations

from collections.abc import Callable

from opml_dispute.model import rules
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import TILE_BUDGET
from opml_dispute.model.cost import most_steps
from opml_dispute.model.limits import Limits, Meter
from opml_dispute.model.opcodes import DType
from opml_dispute.model.plan import Plan, live_operations
from opml_dispute.model.program import Program
from opml_dispute.model.tensor import Buffer, Shape, Tensor, row_major


def built(
    write: Callable[[Builder, Tensor], Tensor], shape: Shape, dtype: DType = DType.F32, budget: int = TILE_BUDGET
) -> Program:
    """The program that makes `write` of its input "x"; nodes take `budget` VM steps at most."""
    meter = Meter(Limits())
    builder = Builder(meter)
    size = 1
    for each in shape:
        size *= each
    x = Tensor(Buffer(dtype, size, input_name="x", depends=frozenset({"x"})), shape, row_major(shape))
    y = write(builder, x)
    plan = Plan(live_operations(builder.ops, [y]), [("x", x)], [("y", y)])
    records, made_of = plan.nodes(budget, most_steps, meter)
    steps = max(most_steps(record) for record in records)
    program = Program(
        records=b"".join(record.pack() for record in records),
        weights=tuple(plan.weights),
        inputs=tuple(plan.inputs),
        outputs=tuple(plan.outputs),
        origins=tuple(("Built", op.opcode.name) for r, op in zip(records, made_of, strict=True) if r.lo == 0),
        log2_steps=max(16, (steps - 1).bit_length()),
    )
    rules.check(program)
    return program
