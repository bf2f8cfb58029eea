"""
The seed of a program's random numbers: an input of its own, or a value that is fixed when the model is compiled.

`declare_seed` gives the builder its seed before the model is lowered, and `seed_input_of` the input afterwards. What is
drawn from it is `lower.random`.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import ModelError
from opml_dispute.model.tensor import Array, Tensor


def declare_seed(g: Builder, name: str, taken: Collection[str], fixed: Array | None) -> None:
    """
    Gives the builder a seed: the input `name`, i64[1], or the value `fixed`. `taken` are the names of other inputs.

    Raises `ModelError` for a name that an input has, and for a value that is no seed.
    """
    if not name or name in taken:
        found = f"the model has an input {name!r} already" if name else "the seed's input has no name"
        raise ModelError(found, hint="give the seed's input another name: --seed-input NAME")
    if fixed is None:
        g.seed = g.new(DType.I64, (1,))
        g.seed.buffer.input_name, g.seed.buffer.depends = name, frozenset({name})
        return
    if fixed.size != 1 or fixed.dtype.kind not in "iu" or not -(2**63) <= int(fixed.reshape(())) < 2**63:
        raise ModelError(
            f"the seed {name!r} has the value {fixed.dtype}{list(fixed.shape)}; expected one integer of 64 bits",
            hint=f"fix it like --constant {name}=7",
        )
    g.seed = g.constant(np.array([int(fixed.reshape(()))], np.int64))


def seed_input_of(g: Builder, name: str) -> list[tuple[str, Tensor]]:
    """The seed as an input of the program; none if it is fixed. Raises `ModelError` if nothing was drawn from it."""
    assert g.seed is not None
    if not g.drawn():
        raise ModelError(
            f"nothing in the model draws random numbers from the seed {name!r}", hint="leave --seed-input out"
        )
    g.notes.append(f"{name!r} is the seed of all random numbers (draws 0 to {g.drawn() - 1})")
    return [] if g.seed.is_constant else [(name, g.seed)]
