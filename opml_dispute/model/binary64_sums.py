"""
Binary64 arithmetic along axes: sums and products by pairs, extremes and places by order, products of matrices.

Sums are made in pairs, so that an operation takes as many rounds as the logarithm of what it sums: neighbours are
added, and what is left over at the end is taken along. docs/operators.md, "Binary64", specifies the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from opml_dispute.model.binary64 import Binary64
from opml_dispute.model.opcodes import Binary, DType, Reduction
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

MOST_PRODUCTS: Final = 1 << 22
"""Of numbers in one product of matrices: each takes some hundred operations on integers."""
_GREATEST_KEY: Final = (1 << 63) - 1
_FUNCTIONS: Final = {Reduction.SUM: Binary.ADD, Reduction.PROD: Binary.MUL}


class Binary64Sums(Binary64):
    """What `Emitter` does along axes, of F64."""

    def ordered(self, x: Tensor, *, largest: bool) -> Tensor:
        """Keys in the order of the numbers, a NaN the most extreme; other types as they are."""
        if x.dtype is not DType.F64:
            return x
        key = self.key(x)
        return self._choose(self.is_nan(x), _GREATEST_KEY if largest else -_GREATEST_KEY, key)

    def reduce(self, function: Reduction, x: Tensor, axes: Sequence[int]) -> Tensor:
        """`x` reduced over `axes`, which disappear. ASSUMES that they hold elements."""
        if function in (Reduction.MAX, Reduction.MIN):
            return self.of_key(self.g.reduce(function, self.ordered(x, largest=function is Reduction.MAX), axes))
        kept = [d for d in range(x.rank) if d not in axes]
        count = prod(x.shape[d] for d in axes)
        moved = x.transposed((*kept, *axes))
        return self._paired(function, self.g.reshape(moved, (*(x.shape[d] for d in kept), count)))

    def _paired(self, function: Reduction, x: Tensor) -> Tensor:
        """`x` reduced over its last axis: neighbours first, then neighbours of these, and so on."""
        last = x.rank - 1
        while (count := x.shape[last]) > 1:
            pairs = [x.sliced(last, start, count // 2, 2) for start in (0, 1)]
            made = self.binary(_FUNCTIONS[function], *pairs)
            x = self._joined([made, x.sliced(last, count - 1, 1)], last) if count % 2 else made
        return x.without(last)

    def _joined(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        out = self.g.made(DType.F64, tuple(shape), *parts)
        start = 0
        for part in parts:
            self.g.copy(out.sliced(axis, start, part.shape[axis]), part)
            start += part.shape[axis]
        return out

    def scan(self, function: Reduction, x: Tensor, axis: int, *, exclusive: bool, reverse: bool) -> Tensor:
        """Cumulative sums or products: round i takes in, at each place, what stands 2^i places before it."""
        count = x.shape[axis]
        if reverse:
            x = x.sliced(axis, count - 1, count, -1)
        if exclusive and count:
            neutral = 0.0 if function is Reduction.SUM else 1.0
            first = self.g.filled((*x.shape[:axis], 1, *x.shape[axis + 1 :]), neutral, DType.F64)
            x = self._joined([first, x.sliced(axis, 0, count - 1)], axis)
        away = 1
        while away < count:
            earlier, later = x.sliced(axis, 0, count - away), x.sliced(axis, away, count - away)
            made = self.binary(_FUNCTIONS[function], later, earlier)
            x = self._joined([x.sliced(axis, 0, away), made], axis)
            away *= 2
        return x.sliced(axis, count - 1, count, -1) if reverse else x

    def contract(self, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        """
        a[..., M, K] times b[..., K, N], plus `bias`: products, then their sums by pairs, then the bias.

        Raises `Refuse` for more than `MOST_PRODUCTS`.
        """
        if b.dtype is not DType.F64:
            raise Refuse(f"a product of F64 and {b.dtype.name}")
        left, right = a.with_axis(a.rank - 1), b.transposed((*range(b.rank - 2), b.rank - 1, b.rank - 2))
        products = self._product_count(a, b)
        if products > MOST_PRODUCTS:
            raise Refuse(f"{products:,} products of binary64; expected at most {MOST_PRODUCTS:,}")
        right = right.with_axis(right.rank - 2)
        made = self._paired(Reduction.SUM, self.multiply(left, right))
        return made if bias is None else self.add(made, bias)

    def _product_count(self, a: Tensor, b: Tensor) -> int:
        batch = max(prod(a.shape[:-2]), prod(b.shape[:-2]))
        return batch * a.shape[-2] * a.shape[-1] * b.shape[-1]
