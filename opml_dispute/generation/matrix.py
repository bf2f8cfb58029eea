"""
Products with a checkpoint's matrices: one constant of the program each, however often it is used.

`Matrices` puts a weight into the program the first time that it is wanted, and multiplies rows by it. Weights of F32,
F16 and BF16 are multiplied in binary32. Weights in blocks stay in their blocks: rows are quantised to int8 (once for
all matrices that they are multiplied by) and multiplied as docs/kernels.md, "Blocks", says. An encoding that has blocks
but no kernel becomes binary32 when it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from opml_dispute.generation.checkpoint import Checkpoint, Weight
from opml_dispute.model.block_formats import BlockFormat
from opml_dispute.model.builder import Builder
from opml_dispute.model.tensor import Array, Tensor


class Matrices:
    """The matrices of one checkpoint in one program."""

    def __init__(self, builder: Builder, checkpoint: Checkpoint) -> None:
        self.builder, self.checkpoint = builder, checkpoint
        self._constants: dict[str, Tensor] = {}
        self._quantised: tuple[Tensor, int, Tensor] | None = None

    @property
    def has_blocks(self) -> bool:
        """Whether any weight stays in its blocks."""
        return any(_format(weight) is not None for weight in self.checkpoint.weights.values())

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
        weight = self.checkpoint.weight(name, count, width)
        fmt = _format(weight)
        if fmt is None:
            return self.builder.take(self._float(weight), indices, 0)
        return self.builder.block_gather(self._blocks(weight), indices, fmt)

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
        g = self.builder
        weight = self.checkpoint.weight(name, outputs, x.shape[-1])
        fmt = _format(weight)
        if fmt is None:
            return g.contract(x, self._float(weight).transposed((1, 0)), add, out=out)
        # The kernel adds one row to all, and writes its rows one behind the other.
        bias = None if add is None or add.size != outputs else g.reshape(add, (outputs,))
        direct = out is not None and out.is_contiguous and (add is None or bias is not None)
        y = g.block_contract(self._activations(x, fmt), self._blocks(weight), fmt, bias, out=out if direct else None)
        if add is not None and bias is None:
            y = g.add(y, add)
        if out is not None and not direct:
            g.copy(out, y)
        return y

    def _activations(self, x: Tensor, fmt: BlockFormat) -> Tensor:
        """`x` quantised for `fmt`: the last one again, if it is of the same rows."""
        if self._quantised is not None:
            rows, elements, blocks = self._quantised
            if rows is x and elements == fmt.elements:
                return blocks
        blocks = self.builder.block_quantise(x, fmt)
        self._quantised = (x, fmt.elements, blocks)
        return blocks

    def _blocks(self, weight: Weight) -> Tensor:
        return self.constant(weight.name, lambda: weight.data)

    def _float(self, weight: Weight) -> Tensor:
        return self.constant(weight.name, weight.finite)


def _format(weight: Weight) -> BlockFormat | None:
    """The kernel's format of a weight; None where it is multiplied in binary32."""
    return BlockFormat.__members__.get(weight.encoding)
