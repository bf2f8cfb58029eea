"""
Witnesses of single steps, damaged, in both encodings: a step is made or refused, and reads nothing that was not sent.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Final

from opml_dispute.engine.vm import step_from_witness
from opml_dispute.testing.fuzz import random_case
from opml_dispute.testing.made_up_state import COMPACT_MARKER
from opml_dispute.testing.vectors import Vector
from tests.hostile.campaign import Move, edited, random_edits

KINDS: Final = 3000
"""Different witnesses to start from; making one takes longer than what is done to it."""


class Witnesses:
    """See the module."""

    name: Final = "witnesses"

    def moves(self, rng: random.Random) -> list[Move]:
        """A made-up state's witness, edits to state and proof, and what the oracle answers."""
        number, ml = rng.randrange(KINDS), rng.random() < 0.6
        vector = _vector(number, ml)
        moves: list[Move] = [("case", number, ml), ("oracle", rng.randbytes(rng.choice((0, 1, 8, 31, 32))))]
        if rng.random() < 0.1:
            moves.append(("insert", "proof", 0, COMPACT_MARKER))
        if rng.random() < 0.1:
            moves.append(("as", not ml))
        if rng.random() < 0.7:
            moves += random_edits(rng, len(vector.proof), part="proof", near=600 if rng.random() < 0.5 else None)
        if rng.random() < 0.4:
            moves += random_edits(rng, len(vector.state), part="state")
        return moves

    def play(self, moves: Sequence[Move]) -> None:
        """One step, twice: the same answer."""
        state, proof, answer, ml = b"", b"", None, False
        for name, *arguments in moves:
            if name == "case":
                vector = _vector(*arguments)
                state, proof, ml = vector.state, vector.proof, vector.ml
            elif name == "oracle":
                (answer,) = arguments
            elif name == "as":
                (ml,) = arguments
        state, proof = edited(state, moves, "state"), edited(proof, moves, "proof")
        outcomes = [step_from_witness(state, proof, lambda _, __: answer, ml=ml) for _ in range(2)]
        assert outcomes[0] == outcomes[1]
        assert outcomes[0].post_hash is None or len(state) == 188


@cache
def _vector(number: int, ml: bool) -> Vector:
    return random_case(random.Random(number), ml=ml).vector()
