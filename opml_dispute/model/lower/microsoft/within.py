"""Shapes of what is added to a tensor, or multiplies it: it must not enlarge it."""

from __future__ import annotations

from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Shape, Tensor, broadcast_shapes


def expect_within(part: Tensor | None, whole: Shape, what: str) -> None:
    """Raises `Refuse` for a part that does not broadcast to the shape of the whole."""
    if part is not None and (part.rank > len(whole) or broadcast_shapes(part.shape, whole) != whole):
        raise Refuse(f"{what} {list(part.shape)} of {list(whole)}")


def expect_vector(vector: Tensor | None, size: int, what: str) -> None:
    """Raises `Refuse` for a part that is not a vector of `size` numbers."""
    if vector is not None and vector.shape != (size,):
        raise Refuse(f"{what} {list(vector.shape)}; expected [{size}]")
