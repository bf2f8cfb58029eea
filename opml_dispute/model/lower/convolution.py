"""Convolutions."""

from __future__ import annotations

from ..builder import Builder
from ..refusals import Refuse
from ..tensor import Shape, Tensor
from .registry import lowers
from .windows import windows


@lowers("Conv", in_f32=True)
def conv(
    g: Builder,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> Tensor:
    """x[N][C][spatial] over w[M][C/group][kernel], plus bias[M]."""
    if x.rank != w.rank or x.rank < 3 or x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        raise Refuse(f"input {list(x.shape)} with weights {list(w.shape)} in {group} groups")
    if kernel_shape is not None and tuple(kernel_shape) != w.shape[2:]:
        raise Refuse(f"kernel_shape {list(kernel_shape)} for weights {list(w.shape)}")
    at = windows(x.shape[2:], w.shape[2:], strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad)
    return g.conv(
        x, w, bias, groups=group, strides=at.strides, dilations=at.dilations, pads=at.before, out_spatial=at.out
    )
