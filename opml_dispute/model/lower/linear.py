"""Matrix products: MatMul and Gemm."""

from __future__ import annotations

from ..builder import Builder
from ..refusals import Refuse
from ..tensor import Tensor
from .registry import lowers


@lowers("MatMul")
def matmul(g: Builder, a: Tensor, b: Tensor) -> Tensor:
    return g.matmul(a, b)


@lowers("Gemm", in_f32=True)
def gemm(
    g: Builder,
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    broadcast: int = 1,
) -> Tensor:
    """alpha * A' * B' + beta * C; A' and B' are views, and a C that is not scaled rides along as the bias."""
    if a.rank != 2 or b.rank != 2:
        raise Refuse(f"factors of shapes {list(a.shape)} and {list(b.shape)}; expected two matrices")
    a = a.transposed((1, 0)) if transA else a
    b = b.transposed((1, 0)) if transB else b
    if alpha == 1 and beta == 1:
        return g.matmul(a, b, c)
    product = g.matmul(a, b)
    if alpha != 1:
        product = g.mul(product, alpha)
    if c is None or beta == 0:
        return product
    return g.add(product, g.mul(c, beta) if beta != 1 else c)
