"""
Random words that a counter and a key decide: Philox4x32-10, emitted as kernels.

The generator is that of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011): ten
rounds turn a counter of four words of 32 bits and a key of two into four words. It has no state, so all words that a
program needs are made together. Words are kept in u64, whose products of two are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import Binary, DType
from opml_dispute.model.tensor import Tensor

ROUNDS: Final = 10
_MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS: Final = (0x9E3779B9, 0xBB67AE85)
_MASK: Final = 0xFFFFFFFF

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def low_word(g: Builder, x: Tensor) -> Tensor:
    """The low 32 bits of each element of `x`, u64."""
    return g.binary(Binary.BITAND, x, g.scalar(_MASK, DType.U64))


def high_word(g: Builder, x: Tensor) -> Tensor:
    """The high 32 bits of each element of `x`, u64."""
    return g.binary(Binary.SHR, x, g.scalar(32, DType.U64))


def philox(g: Builder, counter: Sequence[Tensor], key: Sequence[Tensor]) -> Words:
    """
    Four words for each counter.

    `counter` is four tensors of u64 below 2^32, shapes that broadcast; `key` is two of u64[1] below 2^32.
    """
    rounds = np.arange(ROUNDS, dtype=np.uint64)
    keys = [
        low_word(g, g.binary(Binary.ADD, word, g.constant(rounds * np.uint64(step))))
        for word, step in zip(key, _KEY_STEPS, strict=True)
    ]
    a, b, c, d = counter
    for number in range(ROUNDS):
        products = [
            g.binary(Binary.MUL, word, g.scalar(multiplier, DType.U64))
            for word, multiplier in zip((a, c), _MULTIPLIERS, strict=True)
        ]
        left, right = (word.sliced(0, number, 1) for word in keys)
        a, b, c, d = (
            _mixed(g, high_word(g, products[1]), b, left),
            low_word(g, products[1]),
            _mixed(g, high_word(g, products[0]), d, right),
            low_word(g, products[0]),
        )
    return a, b, c, d


def _mixed(g: Builder, product: Tensor, word: Tensor, key: Tensor) -> Tensor:
    return g.binary(Binary.BITXOR, g.binary(Binary.BITXOR, product, word), key)
