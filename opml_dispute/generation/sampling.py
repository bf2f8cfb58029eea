"""
Answers that are drawn: temperature, top-k, top-p, and a seed that belongs to the request.

A program that is compiled for it has four more inputs (`SAMPLING_INPUTS`); how a token is drawn is said in
docs/language-models.md, "Sampling". All random numbers of an answer are made at once, before its first token.
`SamplingChoice` is what a request says about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np

from opml_dispute.generation.refusals import BadPrompt
from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import DType, Reduction
from opml_dispute.model.philox import high_word, low_word, philox
from opml_dispute.model.recorder import Origin
from opml_dispute.model.tensor import Array, Tensor

CANDIDATES: Final = 64
"""So many tokens of the greatest logits can be drawn, at most."""
_WHOLE_LINE: Final = 4096
"""A vocabulary up to this is searched in one line; a larger one in lines of about as many tokens as there are lines."""

SAMPLING_INPUTS: Final = (
    ("temperature", DType.F32),
    ("top_k", DType.I64),
    ("top_p", DType.F32),
    ("seed", DType.I64),
)
"""The names and types of the inputs, in their order; each has the shape [1]."""


@dataclass(frozen=True)
class SamplingChoice:
    """How a request wants its answer drawn."""

    temperature: float = 0.0
    """Logits are divided by it; 0: the greatest logit is chosen, as without sampling."""
    top_k: int = 0
    """So many tokens of the greatest logits may be drawn; 0: `CANDIDATES`."""
    top_p: float = 1.0
    """The fewest of these whose probabilities come to so much may be drawn."""
    seed: int = 0
    """Of the draws, 0 to 2^63 - 1."""

    def __post_init__(self) -> None:
        """Raises `BadPrompt` for what no program can draw by."""
        if not (isfinite(self.temperature) and 0 <= self.temperature <= 1000):
            raise BadPrompt(
                f"a temperature of {self.temperature}; expected 0 to 1000", hint="0.8 is usual; 0 is greedy"
            )
        if not 0 <= self.top_k <= CANDIDATES:
            raise BadPrompt(
                f"a top-k of {self.top_k:,}; expected 1 to {CANDIDATES}, or 0 for {CANDIDATES}", hint="40 is usual"
            )
        if not 0 < self.top_p <= 1:
            raise BadPrompt(f"a top-p of {self.top_p}; expected more than 0, and 1 at most", hint="1 leaves it out")
        if not 0 <= self.seed < 1 << 63:
            raise BadPrompt(f"a seed of {self.seed}; expected 0 to 2^63 - 1", hint="any such number will do")

    def inputs(self) -> dict[str, Array]:
        """The program's inputs."""
        values = (self.temperature, self.top_k, self.top_p, self.seed)
        return {
            name: np.array([value], dtype.numpy) for (name, dtype), value in zip(SAMPLING_INPUTS, values, strict=True)
        }


class Sampler:
    """Draws tokens in one program: `prepare` once, then `choose` for every token."""

    def __init__(self, g: Builder, tokens: int) -> None:
        self.g, self._tokens = g, tokens
        self.inputs = {name: g.new(dtype, (1,)) for name, dtype in SAMPLING_INPUTS}
        self._uniform: Tensor | None = None

    def prepare(self) -> None:
        """The random number of every token, f32[tokens], each a multiple of 2^-24 in [0, 1)."""
        g = self.g
        g.origin = Origin("choice", "random numbers")
        seed = g.cast(self.inputs["seed"], DType.U64)
        count, zero = g.arange(self._tokens, DType.U64), g.constant(np.zeros(1, np.uint64))
        word, *_ = philox(g, (count, zero, zero, zero), (low_word(g, seed), high_word(g, seed)))
        upper = g.cast(g.div(word, 256), DType.F32)
        self._uniform = g.mul(upper, 2.0**-24)

    def choose(self, logits: Tensor, token: int) -> Tensor:
        """The token drawn for place `token` of the answer, i64[1], of `logits` f32[1][vocabulary]."""
        assert self._uniform is not None
        g, given = self.g, self.inputs
        g.origin = Origin("choice", f"token {token}")
        scores, names = self._greatest(g.reshape(logits, (logits.size,)))
        count = scores.shape[0]
        places = g.arange(count)
        weights = g.exp(g.div(g.sub(scores, scores.sliced(0, 0, 1)), given["temperature"]))
        allowed = g.either(g.less(places, given["top_k"]), g.less_equal(given["top_k"], 0))
        weights = g.choose(allowed, weights, 0.0)
        sums = g.scan(Reduction.SUM, weights, 0)
        before = g.scan(Reduction.SUM, weights, 0, exclusive=True)
        kept = g.less(before, g.mul(given["top_p"], sums.sliced(0, count - 1, 1)))
        total = g.reduce_max(g.choose(kept, sums, sums.sliced(0, 0, 1)), (0,))
        aim = g.mul(self._uniform.sliced(0, token, 1), total)
        passed = g.cast(g.less_equal(sums, aim), DType.I64)
        drawn = g.minimum(g.reduce_sum(passed, (0,)), count - 1)
        drawn = g.choose(g.less(0.0, given["temperature"]), drawn, 0)
        return g.take(names, drawn, 0)

    def _greatest(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The greatest logits, descending, of equals the first token first, and the tokens that they belong to."""
        g, size = self.g, logits.shape[0]
        count = min(CANDIDATES, size)
        if size <= _WHOLE_LINE:
            names = g.topk(logits, count, 0, largest=True)
            return g.take(logits, names, 0), names
        # A line's greatest are found a line a time, so that one node need not look at the whole vocabulary.
        lines = -(-size // _line_length(size))
        length = -(-size // lines)
        padded = g.reshape(g.pad(logits, (0,), (lines * length - size,), -np.inf), (lines, length))
        first = g.topk(padded, min(count, length), 1, largest=True)
        values = g.take_along(padded, first, 1)
        starts = g.reshape(g.constant(np.arange(lines, dtype=np.int64) * length), (lines, 1))
        names, values = (g.reshape(t, (t.size,)) for t in (g.add(first, starts), values))
        places = g.topk(values, count, 0, largest=True)
        return g.take(values, places, 0), g.take(names, places, 0)


def _line_length(size: int) -> int:
    """Of the lines that a vocabulary of `size` tokens is searched in."""
    return max(CANDIDATES, 1 << ((size - 1).bit_length() + 1) // 2)
