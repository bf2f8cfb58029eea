"""
The logits that a model gives at every place of a text, to compare implementations: `compile_scores`.

An answer's tokens depend on those before, so that two implementations part for good at the first difference. Given the
same text, they can be compared at each of its places.
"""

from __future__ import annotations

from typing import Final

from opml_dispute.engine.folding import float_mode
from opml_dispute.generation.answer import AnswerLoop, AnswerShape
from opml_dispute.generation.checkpoint import Checkpoint
from opml_dispute.generation.decoder import Decoder
from opml_dispute.generation.names import PROMPT
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import TILE_BUDGET, assembled, origins_of
from opml_dispute.model.cost import most_steps
from opml_dispute.model.limits import Limits, Meter
from opml_dispute.model.plan import Plan, live_operations
from opml_dispute.model.program import Program

SCORES: Final = "scores"
"""The name of the output, f32[tokens][vocabulary]."""


def compile_scores(checkpoint: Checkpoint, tokens: int) -> Program:
    """The program from up to `tokens` tokens (input `prompt`, padded in front) to the logits behind each of them."""
    with float_mode():
        meter = Meter(Limits.of_environment())
        builder = Builder(meter)
        decoder = Decoder(builder, checkpoint)
        loop = AnswerLoop(decoder, AnswerShape(tokens, 1), ())
        scores = decoder.logits(loop.prompt_rows(), "every token")
        plan = Plan(live_operations(builder.ops, [scores]), [(PROMPT, loop.tokens)], [(SCORES, scores)])
        records, made_of = plan.nodes(TILE_BUDGET, most_steps, meter)
    packed = b"".join(record.pack() for record in records)
    return assembled(plan, packed, origins_of(records, made_of), checkpoint.notes)
