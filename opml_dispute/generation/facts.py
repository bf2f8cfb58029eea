"""What a person wants to know of a language model before it is used: `language_facts`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from opml_dispute.generation.language_model import LanguageModel, LanguageSizes
from opml_dispute.generation.talk import AnswerProgram
from opml_dispute.model.program import Program


@dataclass(frozen=True)
class LanguageFacts(LanguageSizes):
    """A language model and the program that was compiled of it."""

    label: str
    prompt_tokens: int
    """Room of the program."""
    tokens: int
    """Of an answer, at most."""
    sampled: bool
    prompt_nodes: int
    """Up to the answer's first token."""
    token_nodes: int
    """Of every further token; 0 if there is none."""


def language_facts(model: LanguageModel, program: Program) -> LanguageFacts:
    """ASSUMES that `program` was compiled of `model`."""
    room = AnswerProgram.of(program.inputs, program.outputs)
    assert room is not None
    starts = _token_starts(program, room.tokens)
    return LanguageFacts(
        **vars(model.sizes()),
        label=model.label,
        prompt_tokens=room.prompt_tokens,
        tokens=room.tokens,
        sampled=room.sampled,
        prompt_nodes=starts[0],
        token_nodes=max((end - start for start, end in pairwise(starts)), default=0),
    )


def _token_starts(program: Program, tokens: int) -> list[int]:
    """The first node of each further token, and the number of nodes: a token ends with its choice."""
    lasts = {node.name: i for i, node in enumerate(program.nodes) if node.op_type == "choice"}
    return [*(lasts[f"token {token}"] + 1 for token in range(tokens - 1)), program.node_count]
