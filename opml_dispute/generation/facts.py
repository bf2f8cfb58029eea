"""What a person wants to know of a language model before it is used: `language_facts`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from opml_dispute.generation.checkpoint import Checkpoint
from opml_dispute.generation.talk import AnswerProgram
from opml_dispute.model.program import Program


@dataclass(frozen=True)
class LanguageFacts:
    """A language model and the program that was compiled of it."""

    label: str
    architecture: str
    layers: int
    width: int
    vocabulary: int
    """Tokens."""
    context: int
    """Positions that the model was made for."""
    parameters: int
    encodings: dict[str, int]
    """Parameters by encoding, the most first."""
    prompt_tokens: int
    """Room of the program."""
    tokens: int
    """Of an answer, at most."""
    sampled: bool
    prompt_nodes: int
    """Up to the answer's first token."""
    token_nodes: int
    """Of every further token; 0 if there is none."""


def language_facts(checkpoint: Checkpoint, program: Program) -> LanguageFacts:
    """ASSUMES that `program` was compiled of `checkpoint`."""
    shape, room = checkpoint.architecture, AnswerProgram.of(program.inputs, program.outputs)
    assert room is not None
    encodings: dict[str, int] = {}
    for weight in checkpoint.weights.values():
        count = int(np.prod(weight.shape, dtype=np.int64))
        encodings[weight.encoding] = encodings.get(weight.encoding, 0) + count
    starts = _token_starts(program, room.tokens)
    return LanguageFacts(
        checkpoint.label,
        shape.name,
        shape.layers,
        shape.width,
        shape.vocabulary,
        shape.context,
        checkpoint.parameters,
        dict(sorted(encodings.items(), key=lambda entry: -entry[1])),
        room.prompt_tokens,
        room.tokens,
        room.sampled,
        starts[0],
        max((end - start for start, end in pairwise(starts)), default=0),
    )


def _token_starts(program: Program, tokens: int) -> list[int]:
    """The first node of each further token, and the number of nodes."""
    embeddings = [
        i
        for i, node in enumerate(program.nodes)
        if node.op_type == "embedding" and node.kernel.endswith("GATHER") and node.tile == 0
    ]
    return [*embeddings[len(embeddings) - (tokens - 1) :], program.node_count]
