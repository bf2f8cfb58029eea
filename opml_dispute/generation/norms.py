"""
Normalisations of a decoder's rows, emitted as kernels.

A root mean square is x / sqrt(x x + n epsilon) * (sqrt(n) w): a contraction, a root, a quotient, a product. A norm of
the other kind (`layer`) takes each row's mean from it first, and may add a bias.
"""

from __future__ import annotations

from math import sqrt

from opml_dispute.generation.checkpoint import Checkpoint
from opml_dispute.generation.matrix import Matrices
from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import DType
from opml_dispute.model.tensor import Tensor


class Norms:
    """The normalisations of one decoder."""

    def __init__(self, builder: Builder, checkpoint: Checkpoint, matrices: Matrices) -> None:
        self.g, self.shape, self.weights = builder, checkpoint.architecture, checkpoint.weights
        self.matrices = matrices

    def rows(self, x: Tensor, name: str) -> Tensor:
        """Each row (the last dimension) normalised, times `name`.weight, plus `name`.bias if there is one."""
        size, weight = x.shape[-1], f"{name}.weight"
        if not self.shape.has_norm_weights:
            return self.g.mul(self.unit(x), sqrt(size))
        y = self.g.mul(self.unit(x), self.matrices.vector(weight, size, sqrt(size)))
        return self.g.add(y, self.matrices.vector(f"{name}.bias", size)) if f"{name}.bias" in self.weights else y

    def unit(self, x: Tensor) -> Tensor:
        """Each row, less its mean if norms do that, over its length (as if n epsilon were one more square)."""
        g, size = self.g, x.shape[-1]
        if self.shape.norm == "layer":
            x = g.sub(x, g.reduce_mean(x, (x.rank - 1,)))
        squares = g.contract(x.with_axis(-2), x.with_axis(-1), g.filled((1, 1), size * self.shape.epsilon, DType.F32))
        return g.div(x, g.sqrt(squares).without(-1))
