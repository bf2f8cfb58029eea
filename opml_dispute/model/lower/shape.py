"""Operators that only look at elements in another shape."""

from __future__ import annotations

from math import prod

from ..builder import Builder
from ..refusals import Refuse
from ..tensor import Shape, Tensor
from .registry import lowers


@lowers("Flatten")
def flatten(g: Builder, x: Tensor, *, axis: int = 1) -> Tensor:
    """A matrix; its rows are the dimensions before `axis`, which may be the rank itself."""
    if not -x.rank <= axis <= x.rank:
        raise Refuse(f"axis {axis} of a tensor with {x.rank} dimensions")
    return g.flattened(x, axis + x.rank if axis < 0 else axis)


@lowers("Reshape", since=5)
def reshape(g: Builder, x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """-1 stands for what is left over, 0 for the input's own size (or with `allowzero`, for none)."""
    wanted = [int(size) for size in g.known(shape, "the new shape")]
    return _reshaped(g, x, wanted, bool(allowzero))


@lowers("Reshape")
def reshape_1(g: Builder, x: Tensor, *, shape: Shape, consumed_inputs: object = None) -> Tensor:
    return _reshaped(g, x, list(shape), False)


def _reshaped(g: Builder, x: Tensor, wanted: list[int], allowzero: bool) -> Tensor:
    for d, size in enumerate(wanted):
        if size == 0 and not allowzero:
            if d >= x.rank:
                raise Refuse(f"a 0 in place {d} of the new shape {wanted}, of an input with {x.rank} dimensions")
            wanted[d] = x.shape[d]
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
        raise Refuse(f"the new shape {wanted}; expected sizes and at most one -1")
    if -1 in wanted:
        rest = prod(size for size in wanted if size != -1)
        if not rest or x.size % rest:
            raise Refuse(f"cannot reshape {list(x.shape)} ({x.size} elements) to {wanted}")
        wanted[wanted.index(-1)] = x.size // rest
    return g.reshape(x, wanted)
