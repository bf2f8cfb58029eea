"""
The tokens of an answer: how each is chosen from its logits, where it is written, and when the answer has ended.

`Choices` is the part of the loop that all language models share; what makes logits of the token before is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opml_dispute.generation.sampling import Sampler
from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.recorder import Origin
from opml_dispute.model.tensor import Tensor

PADDING: Final = -1
"""Stands for no token, before a prompt and behind an answer."""


class Choices:
    """An answer that is being written, token by token."""

    def __init__(self, builder: Builder, tokens: int, end_tokens: Sequence[int], *, sampled: bool) -> None:
        self.g, self.end_tokens = builder, tuple(end_tokens)
        self.sampler = Sampler(builder, tokens) if sampled else None
        """Draws tokens; None if the greatest logit is taken."""
        self.answer = builder.new(DType.I64, (tokens,))
        """The output of the program."""
        self._last: Tensor | None = None
        self._ended: Tensor | None = None

    @property
    def last(self) -> Tensor:
        """i64[1]: the token that was chosen last. ASSUMES that there is one."""
        assert self._last is not None
        return self._last

    def put(self, logits: Tensor, token: int) -> None:
        """
        Chooses token `token` of the answer by logits f32[1][vocabulary], and writes it: padding if the answer ended.

        ASSUMES that the tokens come in their order, and that `sampler.prepare` was called before the first.
        """
        self._put(self.sampler.choose(logits, token) if self.sampler else self._greatest(logits, token), token)

    def _greatest(self, logits: Tensor, token: int) -> Tensor:
        """Greedy decoding: the token of the greatest logit, of equals the first."""
        self.g.origin = Origin("choice", f"token {token}")
        return self.g.argreduce(Reduction.MAX, logits, 1)

    def _put(self, chosen: Tensor, token: int) -> None:
        g = self.g
        g.origin = Origin("choice", f"token {token}")
        place = self.answer.sliced(0, token, 1)
        self._last = chosen
        if self._ended is not None:
            g.select(self._ended, g.scalar(PADDING, DType.I64), chosen, out=place)
        else:
            g.copy(place, chosen)
        ends = [g.equal(chosen, end) for end in self.end_tokens] + ([self._ended] if self._ended is not None else [])
        while len(ends) > 1:
            ends.append(g.either(ends.pop(), ends.pop()))
        if ends:
            self._ended = ends[0]
