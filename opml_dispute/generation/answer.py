"""
The generation loop: one program from a prompt's tokens to an answer's tokens.

`AnswerLoop` writes the operations. All rows of the prompt go through the layers together; each step then takes the
token that was chosen last, one row, and chooses the next. The layers are in `decoder`.

**The prompt** is i64[capacity]. A shorter one stands at the end, behind padding of -1. Padding is seen by no token and
has no position: the first token of a prompt has position 0 however much padding is before it.

**The answer** is i64[tokens]. After an end token, which is part of it, the rest is -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np

from opml_dispute.generation.choice import Choices
from opml_dispute.generation.decoder import MASKED, Decoder, Rows, Turns
from opml_dispute.generation.rope import DECIMAL
from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.recorder import Origin
from opml_dispute.model.tensor import Array, Tensor


@dataclass(frozen=True)
class AnswerShape:
    """What a program is compiled for."""

    prompt_tokens: int
    """Room for a prompt, 1 or more."""
    tokens: int
    """Of the answer, at most; 1 or more."""
    sampled: bool = False
    """Whether the program takes what `sampling.SAMPLING_INPUTS` names, and draws tokens by it."""

    @property
    def slots(self) -> int:
        """Positions that have keys and values: the last token of an answer needs none."""
        return self.prompt_tokens + self.tokens - 1


class AnswerLoop:
    """The operations of one answer; `prompt` first, then a `step` for every token but the first."""

    def __init__(self, decoder: Decoder, shape: AnswerShape, end_tokens: Sequence[int]) -> None:
        self.g, self.decoder, self.shape = decoder.g, decoder, shape
        self.choices = Choices(self.g, shape.tokens, end_tokens, sampled=shape.sampled)
        self.tokens = self.g.new(DType.I64, (shape.prompt_tokens,))
        """The prompt: an input of the program."""

    def prompt(self) -> None:
        """Everything up to the answer's first token."""
        last = self.prompt_rows().sliced(0, self.shape.prompt_tokens - 1, 1)
        self.choices.put(self.decoder.logits(last, "token 0"), 0)

    def prompt_rows(self) -> Tensor:
        """f32[prompt_tokens][width]: the prompt's rows after all layers; what steps need is made on the way."""
        g, shape, decoder = self.g, self.shape, self.decoder
        if self.choices.sampler:
            self.choices.sampler.prepare()
        g.origin = Origin("prompt", "padding and positions")
        there = g.less_equal(0, self.tokens)
        tokens = g.maximum(self.tokens, 0)
        counted = g.scan(Reduction.SUM, g.cast(there, DType.I64), 0)
        unseen = self._unseen_padding(there)
        last = counted.sliced(0, shape.prompt_tokens - 1, 1)
        steps = g.add(last, g.arange(max(shape.tokens - 1, 1)))
        self._step_turns, self._step_positions = self._turns(steps), steps
        self._step_masks = self._masks(unseen, shape.prompt_tokens, max(shape.tokens - 1, 1))
        self._step_falls = self._falls(shape.prompt_tokens, max(shape.tokens - 1, 1))
        decoder.make_caches(shape.slots)
        positions = g.maximum(g.sub(counted, 1), 0)
        turns = self._turns(positions)
        masks = self._masks(unseen, 0, shape.prompt_tokens)
        count = shape.prompt_tokens
        masks = (masks[0].sliced(1, 0, count), masks[1].sliced(1, 0, count))
        falls = self._falls(0, count)
        falls = None if falls is None else falls.sliced(2, 0, count)
        return decoder.layers(decoder.embed(tokens, positions), Rows("prompt", 0, count, *turns, *masks, falls))

    def step(self, token: int) -> None:
        """Token `token` of the answer, 1 or more, from the one before."""
        shape = self.shape
        row = token - 1
        turns = [Turns(turn.cosines.sliced(0, row, 1), turn.sines.sliced(0, row, 1)) for turn in self._step_turns]
        masks = [mask.sliced(0, row, 1) for mask in self._step_masks]
        falls = None if self._step_falls is None else self._step_falls.sliced(1, row, 1)
        rows = Rows(
            f"token {token}", shape.prompt_tokens + row, shape.slots, turns[0], turns[1], masks[0], masks[1], falls
        )
        x = self.decoder.layers(self.decoder.embed(self.choices.last, self._step_positions.sliced(0, row, 1)), rows)
        self.choices.put(self.decoder.logits(x, f"token {token}"), token)

    # Which rows see what

    def _turns(self, positions: Tensor) -> tuple[Turns, Turns]:
        decoder = self.decoder
        turns = decoder.turns(positions, self.shape.slots, local=False)
        local = decoder.shape.window and decoder.shape.local_rope_base
        return turns, decoder.turns(positions, self.shape.slots, local=True) if local else turns

    def _unseen_padding(self, there: Tensor) -> Tensor:
        """f32[slots]: 0 for what may be seen, `MASKED` for padding."""
        g, shape = self.g, self.shape
        out = g.new(DType.F32, (shape.slots,), there)
        first = out.sliced(0, 0, shape.prompt_tokens)
        g.copy(first, g.choose(there, g.scalar(0.0, DType.F32), MASKED))
        if shape.tokens > 1:
            g.copy(out.sliced(0, shape.prompt_tokens, shape.tokens - 1), g.scalar(0.0, DType.F32))
        return out

    def _masks(self, unseen: Tensor, first: int, rows: int) -> tuple[Tensor, Tensor]:
        """f32[rows][slots], for slots `first` and following: no row sees what is behind it, or is padding."""
        decoder, slots = self.decoder, self.shape.slots
        mask = self.g.add(self._behind(first, rows, slots), unseen)
        window = decoder.shape.window
        if not window or window >= slots:
            return mask, mask
        return mask, self.g.add(self._behind(first, rows, window), unseen)

    def _behind(self, first: int, rows: int, window: int) -> Tensor:
        """A view f32[rows][slots] of one vector: element [i][j] says whether slot first + i sees slot j."""
        slots = self.shape.slots
        distance = np.arange(first + rows - 1, first - slots, -1)  # of slot j behind the last row, j = 0, 1, …
        seen = (distance >= 0) & (distance < window)
        line = self.g.constant(np.where(seen, 0.0, MASKED).astype(np.float32))
        return Tensor(line.buffer, (rows, slots), (-1, 1), rows - 1)

    def _falls(self, first: int, rows: int) -> Tensor | None:
        """A view f32[heads][rows][slots], of a line a head: how far a score falls with its key's distance (ALiBi)."""
        shape, slots = self.decoder.shape, self.shape.slots
        if not shape.alibi:
            return None
        distance = np.arange(first + rows - 1, first - slots, -1)
        lines = self.g.constant((-alibi_slopes(shape.heads, shape.alibi)[:, None] * distance).astype(np.float32))
        return Tensor(lines.buffer, (shape.heads, rows, slots), (len(distance), -1, 1), rows - 1)


def alibi_slopes(heads: int, most: float) -> Array:
    """
    By how much scores of each head fall a position: f64[heads] (Press and others, 2021).

    The powers of 2 are those for the greatest power of 2 of heads, and of more heads, those between them.
    """
    whole = 1 << (heads.bit_length() - 1)
    powers = [(i + 1) / whole for i in range(whole)] + [(i + 0.5) / whole for i in range(heads - whole)]
    with localcontext(DECIMAL):
        return np.array([float(Decimal(2) ** (-Decimal(most) * Decimal(power))) for power in powers])
