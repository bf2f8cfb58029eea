"""
Text of a program that answers prompts: prompts as its input, its output as text.

`AnswerProgram.of` recognises such a program by its input and output alone, so that one that was registered by others,
or kept from an earlier use, is known too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from opml_dispute.generation.choice import PADDING
from opml_dispute.generation.names import ANSWER, EMBEDDING, PROMPT, SOURCES, WHOLE_PROMPT
from opml_dispute.generation.refusals import BadPrompt
from opml_dispute.generation.sampling import SAMPLING_INPUTS, SamplingChoice
from opml_dispute.model.opcodes import DType
from opml_dispute.model.tensor import Array

if TYPE_CHECKING:
    from opml_dispute.generation.vocabulary import Vocabulary


class Described(Protocol):
    """An input or output, as a program or a registration describes it."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> DType: ...
    @property
    def shape(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class AnswerProgram:
    """What a program that answers prompts takes and gives; or one that answers sound, which has room for no prompt."""

    prompt_tokens: int
    """0: its first input is none."""
    tokens: int
    sampled: bool = False
    """Whether it draws tokens as its inputs say."""
    is_exact: bool = False
    """Whether a prompt has to have as many tokens as there is room for."""

    @property
    def prompt_name(self) -> str:
        """The name of the input that takes the prompt."""
        return WHOLE_PROMPT if self.is_exact else PROMPT

    @classmethod
    def of(cls, inputs: Sequence[Described], outputs: Sequence[Described]) -> AnswerProgram | None:
        """None if it is another kind of program."""
        found = [(spec.name, spec.dtype, len(spec.shape)) for spec in (*inputs, *outputs)]
        is_exact = any(spec.name == WHOLE_PROMPT for spec in inputs[:1])
        prompt, answer = (WHOLE_PROMPT if is_exact else PROMPT, DType.I64, 1), (ANSWER, DType.I64, 1)
        sampling = [(name, dtype, 1) for name, dtype in SAMPLING_INPUTS]
        if inputs and inputs[0].name in SOURCES and found[1:] in ([answer], [*sampling, answer]):
            return cls(0, int(outputs[0].shape[0]), len(inputs) > 1)
        if found not in ([prompt, answer], [prompt, *sampling, answer]):
            return None
        if any(tuple(spec.shape) != (1,) for spec in inputs[1:]):
            return None
        return cls(int(inputs[0].shape[0]), int(outputs[0].shape[0]), len(inputs) > 1, is_exact)

    def inputs(self, tokens: Sequence[int], choice: SamplingChoice | None = None) -> dict[str, Array]:
        """
        The program's inputs for a prompt; tokens are drawn as `choice` says, by default none is.

        Raises `BadPrompt` if it has no room for the prompt, or draws nothing though `choice` asks for it.
        """
        if not self.prompt_tokens:
            raise BadPrompt("the program answers sound, and takes no prompt", hint="give the sound with --input")
        if not self.sampled and choice is not None:
            raise BadPrompt(
                "the program takes the greatest logit each time: it was compiled without sampling",
                hint="leave out --temperature, --top-k, --top-p and --seed, or compile the model with --sampling",
            )
        drawn = (choice or SamplingChoice()).inputs() if self.sampled else {}
        if self.is_exact and len(tokens) < self.prompt_tokens:
            raise BadPrompt(
                f"the prompt has {len(tokens):,} tokens, but the program takes prompts of {self.prompt_tokens:,} only",
                hint="the model takes positions from the prompt's length: compile it with --prompt-tokens "
                f"{len(tokens)}",
            )
        return {self.prompt_name: padded(tokens, self.prompt_tokens), **drawn}

    def prompt(self, inputs: Mapping[str, Array]) -> list[int]:
        """The tokens of the prompt among a program's inputs, without padding; none if it takes no prompt."""
        if not self.prompt_tokens:
            return []
        return [int(token) for token in inputs[self.prompt_name].tolist() if token >= 0]


@dataclass(frozen=True)
class EmbeddingProgram:
    """What a program that makes a vector of a text takes."""

    prompt_tokens: int

    @classmethod
    def of(cls, inputs: Sequence[Described], outputs: Sequence[Described]) -> EmbeddingProgram | None:
        """None if it is another kind of program."""
        found = [(spec.name, spec.dtype, len(spec.shape)) for spec in (*inputs, *outputs)]
        if found != [(PROMPT, DType.I64, 1), (EMBEDDING, DType.F32, 1)]:
            return None
        return cls(int(inputs[0].shape[0]))

    def inputs(self, tokens: Sequence[int], choice: SamplingChoice | None = None) -> dict[str, Array]:
        """The program's inputs for a text. Raises `BadPrompt` if it has no room for it, or `choice` is to draw."""
        if choice is not None:
            raise BadPrompt("the program makes a vector of a text, and draws nothing", hint="leave out how to draw")
        return {PROMPT: padded(tokens, self.prompt_tokens)}


def prompt_program(
    inputs: Sequence[Described], outputs: Sequence[Described]
) -> AnswerProgram | EmbeddingProgram | None:
    """What a program that takes a prompt takes and gives; None if it is another kind of program."""
    return AnswerProgram.of(inputs, outputs) or EmbeddingProgram.of(inputs, outputs)


def padded(tokens: Sequence[int], room: int) -> Array:
    """i64[room]: padding, then the tokens. Raises `BadPrompt`."""
    if not 0 < len(tokens) <= room:
        raise BadPrompt(
            f"the prompt has {len(tokens):,} tokens, but the program has room for 1 to {room:,}",
            hint="shorten the prompt, or compile the model with more room: --prompt-tokens N",
        )
    return np.array([PADDING] * (room - len(tokens)) + list(tokens), np.int64)


def spoken(answer: Sequence[int]) -> list[int]:
    """The tokens of an answer before its padding."""
    tokens = [int(token) for token in answer]
    return tokens[: tokens.index(PADDING)] if PADDING in tokens else tokens


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The number of the first token in which two answers differ; None if they are equal."""
    for i, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return i
    return None if len(one) == len(other) else min(len(one), len(other))


def marked(vocabulary: Vocabulary, tokens: Sequence[int], number: int) -> str:
    """
    The text of an answer with token `number` between two marks, as in "It is >>>not<<< safe".

    Where the answer ends before that token, the marks stand at its end, around nothing.
    """
    pieces = list(vocabulary.stream(tokens))  # one for each token, and what is left at the end
    if number >= len(tokens):
        return "".join(pieces) + ">>><<<"
    return "".join([*pieces[:number], ">>>", pieces[number], "<<<", *pieces[number + 1 :]])


def prompt_of(vocabulary: Vocabulary, text: str, *, chat: bool) -> list[int]:
    """The tokens of a prompt; with `chat`, of a chat in which the user says it. Raises `NoTokenizer`, `BadPrompt`."""
    if chat:
        text = vocabulary.chat([{"role": "user", "content": text}])
    return vocabulary.encode(text)
