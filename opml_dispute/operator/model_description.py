"""
How a registration describes a model: its inputs and outputs as JSON, one format, written and read here.

`describe` writes the description of a program. `slots_from_json` reads it back, where the model's file is not at
hand, into what `segment.input_image` needs to lay an input out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from opml_dispute.chain.contracts import Model
from opml_dispute.engine.segment import INPUT, BadInput
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import Program, TensorSpec
from opml_dispute.primitives import Hash32


@dataclass(frozen=True)
class Slot:
    """One input: a `segment.Placed`."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    """Bytes from the segment's base."""


def slots_from_json(text: str) -> list[Slot]:
    """The inputs as a registration describes them. Raises `BadInput`."""
    try:
        return [
            Slot(s["name"], DType[s["dtype"]], tuple(s["shape"]), INPUT.offset + int(s["offset"]))
            for s in json.loads(text)
        ]
    except (ValueError, KeyError, TypeError):
        raise BadInput(
            "the registered model does not describe its inputs in a way we can read",
            hint="give a ready input image with --input-image FILE",
        ) from None


def describe(program: Program, uri: str) -> Model:
    """What a registration says about a program."""

    def tensors(specs: Sequence[TensorSpec]) -> str:
        base = min((spec.offset for spec in specs), default=0)
        facts = [
            {"name": s.name, "dtype": s.dtype.name, "shape": list(s.shape), "offset": s.offset - base} for s in specs
        ]
        return json.dumps(facts, separators=(",", ":"))

    return Model(
        model_root=Hash32(program.model_root),
        step_bound=program.step_bound,
        inputs=tensors(program.inputs),
        outputs=tensors(program.outputs),
        uri=uri,
    )
