"""
From a checkpoint to a program that answers: `compile_answer`.

The loop (`answer`) is emitted for a few steps, planned as every model's operations are (`model.plan`), and its records
repeated for all steps (`unroll`). The same file, prompt room and number of tokens give the same bytes on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from opml_dispute.engine.folding import float_mode
from opml_dispute.engine.freed_memory import give_back_freed
from opml_dispute.engine.mapped_files import mappings_of, unchanged
from opml_dispute.engine.segment import LEAST_BLOCK_LOG2
from opml_dispute.generation.answer import AnswerLoop, AnswerShape
from opml_dispute.generation.checkpoint import Checkpoint
from opml_dispute.generation.decoder import Decoder
from opml_dispute.generation.names import ANSWER, PROMPT
from opml_dispute.generation.refusals import BadPrompt, UnsupportedLanguageModel
from opml_dispute.generation.unroll import PLANNED_STEPS, PlannedNode, unrolled
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import TILE_BUDGET, assembled
from opml_dispute.model.cost import most_steps
from opml_dispute.model.limits import Limits, Meter
from opml_dispute.model.plan import Plan, Regions, live_operations
from opml_dispute.model.program import Program
from opml_dispute.model.record import Record
from opml_dispute.model.recorder import Op
from opml_dispute.model.refusals import Refuse
from opml_dispute.primitives import RECORD_BYTES
from opml_dispute.working import under_way

NEVER_ENDS: Final = "The model's files name no token that ends an answer: all have their full length."
"""A note with programs of such models."""


def compile_answer(
    checkpoint: Checkpoint, shape: AnswerShape, *, tile_budget: int = TILE_BUDGET, limits: Limits | None = None
) -> Program:
    """
    The program that answers prompts of up to `shape.prompt_tokens` tokens with up to `shape.tokens`.

    It takes the greatest logit's token each time, or draws one as its inputs say if `shape.sampled` is set.

    Raises `BadPrompt` if these do not fit the model's context, `UnsupportedLanguageModel` for a model that the decoder
    cannot express, `ModelTooDear` beyond `limits`, `FileChanged` if the model's file was written to meanwhile.
    """
    check_shape(shape, checkpoint.architecture.context)
    with float_mode(), under_way():
        meter = Meter(limits or Limits.of_environment())
        try:
            with unchanged(mappings_of(weight.data for weight in checkpoint.weights.values())):
                program = _compiled(checkpoint, shape, tile_budget, meter)
        except Refuse as refusal:
            raise UnsupportedLanguageModel(f"the model's sizes do not go together: {refusal}") from None
    give_back_freed(program.node_count)
    return program


@dataclass
class _Emitted:
    """The loop's operations."""

    loop: AnswerLoop
    starts: list[int]
    """The number of each step's first operation, and one past the last one's."""


def check_shape(shape: AnswerShape, context: int | None) -> None:
    """Raises `BadPrompt` for a shape without tokens, or one that does not fit a model's context (None: unknown)."""
    if shape.prompt_tokens < 1 or shape.tokens < 1:
        raise BadPrompt(
            f"room for {shape.prompt_tokens} prompt tokens and {shape.tokens} of an answer; expected 1 of each at least"
        )
    if context is not None and shape.slots > context:
        raise BadPrompt(
            f"{shape.prompt_tokens} prompt tokens and {shape.tokens} of an answer take {shape.slots:,} positions; "
            f"the model's context has {context:,}",
            hint="shorten the prompt, or ask for fewer tokens",
        )


def _compiled(checkpoint: Checkpoint, shape: AnswerShape, tile_budget: int, meter: Meter) -> Program:
    end_tokens = checkpoint.vocabulary.end_tokens if checkpoint.vocabulary else ()
    builder = Builder(meter)
    emitted = _emitted(AnswerLoop(Decoder(builder, checkpoint), shape, end_tokens))
    loop, starts = emitted.loop, emitted.starts
    steps = shape.tokens - 1
    numbers = {id(op): number for number, op in enumerate(builder.ops)}
    ops = live_operations(builder.ops, [loop.choices.answer])
    firsts = [next((i for i, op in enumerate(ops) if numbers[id(op)] >= start), len(ops)) for start in starts]
    regions = Regions(frozenset(firsts[:-1]), _largest_block(ops[firsts[0] :]))
    sampling = loop.choices.sampler.inputs.items() if loop.choices.sampler else ()
    plan = Plan(ops, [(PROMPT, loop.tokens), *sampling], [(ANSWER, loop.choices.answer)], regions)
    records, made_of = plan.nodes(tile_budget, most_steps, meter)
    packed = _packed(records)
    which = [(i, 0) for i in range(len(records))]
    if steps > PLANNED_STEPS:
        nodes = _planned_nodes(records, made_of, numbers, starts)
        meter.nodes((steps - PLANNED_STEPS) * sum(node.step == 2 for node in nodes))
        packed, which = unrolled(packed, nodes, steps, plan.region_start)
    origin = cache(_origin)  # nodes of one part of a layer share it
    origins = tuple(
        origin(made_of[i].origin.op_type, made_of[i].origin.name, step) for i, step in which if records[i].lo == 0
    )
    notes = checkpoint.notes if end_tokens else (*checkpoint.notes, NEVER_ENDS)
    return assembled(plan, bytes(packed), origins, notes)


def _packed(records: Sequence[Record]) -> bytes | bytearray:
    """The bytes of records, which are there once only: a long prompt has a hundred megabytes of them."""
    packed = bytearray(len(records) * RECORD_BYTES)
    for i, record in enumerate(records):
        packed[i * RECORD_BYTES : (i + 1) * RECORD_BYTES] = record.pack()
    return packed


def _emitted(loop: AnswerLoop) -> _Emitted:
    ops = loop.g.ops
    loop.prompt()
    starts = [len(ops)]
    for token in range(1, min(loop.shape.tokens - 1, PLANNED_STEPS) + 1):
        loop.step(token)
        starts.append(len(ops))
    return _Emitted(loop, starts)


def _largest_block(ops: Sequence[Op]) -> int:
    """Bytes of the largest block that these operations may need for what they make."""
    sizes = [op.out.buffer.size * op.out.dtype.width for op in ops]
    return 1 << max(LEAST_BLOCK_LOG2, (max(sizes, default=1) - 1).bit_length())


def _planned_nodes(
    records: Sequence[Record], made_of: Sequence[Op], numbers: dict[int, int], starts: Sequence[int]
) -> list[PlannedNode]:
    nodes: list[PlannedNode] = []
    tile = 0
    for record, op in zip(records, made_of, strict=True):
        tile = 0 if record.lo == 0 else tile + 1
        number = numbers[id(op)]
        step = sum(number >= start for start in starts)
        nodes.append(PlannedNode(step, number - (starts[step - 1] if step else 0), tile))
    return nodes


def _origin(op_type: str, name: str, step: int) -> tuple[str, str]:
    """What an operation is part of, and where; `step` is that which repeats it, 0 if it is what it was planned as."""
    where, comma, layer = name.partition(",")
    return op_type, f"token {step}{comma}{layer}" if step > 1 and where.startswith("token ") else name
