"""Operators that put values on a common scale: Softmax and its family, the normalisations."""

from __future__ import annotations

from ..builder import Builder
from ..tensor import Tensor
from .registry import lowers


@lowers("Softmax", since=13, in_f32=True)
def softmax(g: Builder, x: Tensor, *, axis: int = -1) -> Tensor:
    """x[...] -> same shape; slices along `axis` sum to 1."""
    return g.softmax(x, (g.axis(x, axis),))


@lowers("Softmax", in_f32=True)
def softmax_1(g: Builder, x: Tensor, *, axis: int = 1) -> Tensor:
    """Before version 13, all dimensions from `axis` on counted as one."""
    return g.softmax(x, tuple(range(g.axis(x, axis), x.rank)))
