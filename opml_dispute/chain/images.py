"""
What a registered model takes, read from its registration, where its file is not at hand.

A registration describes inputs and outputs as JSON (`models.describe`). `slots_from_json` reads that back into what
`segment.input_image` needs to lay an input out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from opml_dispute.model.opcodes import DType
from opml_dispute.segment import INPUT, BadInput


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
