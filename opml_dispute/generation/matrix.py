"""
Products with a checkpoint's matrices: one constant of the program each, however often it is used.

`Matrices` puts a weight into the program the first time that it is wanted, and multiplies rows by it. Weights of F32,
F16 and BF16 are multiplied in binary32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from opml_dispute.generation.checkpoint import Checkpoint
from opml_dispute.model.builder import Builder
from opml_dispute.model.tensor import Array, Tensor


class Matrices:
    """The matrices of one checkpoint in one program."""

    def __init__(self, builder: Builder, checkpoint: Checkpoint) -> None:
        self.builder, self.checkpoint = builder, checkpoint
        self._constants: dict[str, Tensor] = {}

    def constant(self, name: str, make: Callable[[], Array]) -> Tensor:
        """What `make` gives, once for each name."""
        if name not in self._constants:
            self._constants[name] = self.builder.constant(make())
        return self._constants[name]

    def vector(self, name: str, size: int, scale: float = 1.0) -> Tensor:
        """f32[size]: the elements of a weight of one dimension, times `scale`."""
        return self.constant(name, lambda: self.checkpoint.vector(name, size) * np.float32(scale))

    def rows(self, name: str, indices: Tensor, count: int, width: int) -> Tensor:
        """f32[indices][width]: the rows of a matrix of `count` rows that `indices` (i64) names."""
        return self.builder.take(self._float(name, count, width), indices, 0)

    def times(
        self,
        x: Tensor,
        name: str,
        outputs: int,
        *,
        add: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """x[rows][inputs] times the matrix [outputs][inputs], transposed, plus `add` [rows or 1][outputs]."""
        matrix = self._float(name, outputs, x.shape[-1])
        return self.builder.contract(x, matrix.transposed((1, 0)), add, out=out)

    def _float(self, name: str, outputs: int, inputs: int) -> Tensor:
        return self.constant(name, lambda: self.checkpoint.weight(name, outputs, inputs).float32())
