"""Pooling."""

from __future__ import annotations

from ..builder import Builder
from ..opcodes import Opcode
from ..refusals import Refuse
from ..tensor import Shape, Tensor
from .registry import lowers
from .windows import windows

MAXIMUM, AVERAGE_INSIDE, AVERAGE_PADDED = 0, 1, 2
"""The kinds of pool (docs/kernels.md)."""


@lowers("MaxPool", in_f32=True)
def max_pool(
    g: Builder,
    x: Tensor,
    *,
    kernel_shape: Shape,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Shape | None = None,
    pads: Shape | None = None,
    storage_order: int = 0,
    strides: Shape | None = None,
) -> tuple[Tensor, Tensor]:
    """x[N][C][spatial] -> the maximum of each window, and its place in x (int64)."""
    if x.rank < 3:
        raise Refuse(f"input {list(x.shape)}; expected batch, channels and spatial dimensions")
    at = windows(
        x.shape[2:], kernel_shape, strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad,
        ceil_mode=bool(ceil_mode),
    )  # fmt: skip

    def pool(opcode: Opcode, flags: int = 0) -> Tensor:
        return g.pool(
            opcode, MAXIMUM, x, kernel=at.kernel, strides=at.strides, dilations=at.dilations, pads=at.before,
            out_spatial=at.out, flags=flags,
        )  # fmt: skip

    return pool(Opcode.POOL), pool(Opcode.POOL_INDEX, storage_order)
