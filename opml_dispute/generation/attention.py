"""
Attention: the keys and values of all positions, and what rows take from them.

`Attention.put` keeps keys and values of some positions, `Attention.mixed` is what rows of queries attend to. Keys lie
as [key heads][head size][slots] and values as [slots][key heads][head size], so that the columns of either product's
second factor are neighbours.

They are kept in binary16 if the model's matrices are in blocks, whose rows are rounded to int8 anyway: half the memory,
and half of what a step reads. A step's queries, and its weights before they are divided by their sum, are rounded to
binary16 too, as CONTRACT takes two factors of one type. Rows of a prompt have keys and values widened again, once a
layer: a product of binary16 takes seven times the VM steps.
"""

from __future__ import annotations

from typing import Final

from opml_dispute.generation.checkpoint import Architecture
from opml_dispute.model.builder import Builder
from opml_dispute.model.opcodes import Binary, DType
from opml_dispute.model.tensor import Tensor

ROWS_TOGETHER: Final = 128
"""Rows of a prompt whose scores are made at once: a longer one would take memory by the square of its length, and have
scores of keys that none of them sees."""


class Attention:
    """The caches of all layers in one program."""

    def __init__(self, builder: Builder, shape: Architecture, slots: int, dtype: DType) -> None:
        """Room for `slots` positions; `dtype` is F32 or F16."""
        self.g, self.shape, self.dtype = builder, shape, dtype
        layers = range(shape.layers)
        self._keys = [builder.new(dtype, (shape.kv_heads, shape.head_size, slots)) for _ in layers]
        self._values = [builder.new(dtype, (slots, shape.kv_heads, shape.head_size)) for _ in layers]

    def put(self, layer: int, slot: int, keys: Tensor, values: Tensor) -> None:
        """Keeps `keys` and `values`, f32[rows][key heads][head size], of the positions from `slot` on."""
        rows = keys.shape[0]
        self._into(self._keys[layer].sliced(2, slot, rows).transposed((2, 0, 1)), keys)
        self._into(self._values[layer].sliced(0, slot, rows), values)

    def mixed(self, layer: int, q: Tensor, mask: Tensor, slot: int, seen: int, falls: Tensor | None = None) -> Tensor:
        """
        What queries f32[rows][heads][head size] attend to: f32[rows][heads * head size].

        They are of the positions from `slot` on, and see at most the slots below `seen`; `mask`, f32[rows][seen], is
        added to their products with keys, and so is `falls`, f32[heads][rows][seen], if it is given.
        """
        s, count = self.shape, q.shape[0]
        out = self.g.new(DType.F32, (count, s.heads * s.head_size), q)
        keys, values = self._keys[layer].sliced(2, 0, seen), self._values[layer].sliced(0, 0, seen)
        if count > 1:
            keys, values = self.g.cast(keys, DType.F32), self.g.cast(values, DType.F32)
        for first in range(0, count, ROWS_TOGETHER):
            some = min(ROWS_TOGETHER, count - first)
            # No row sees keys behind its own; of a single row, steps have to be alike.
            near = seen if count <= ROWS_TOGETHER else slot + first + some
            self._mix(
                q.sliced(0, first, some),
                keys.sliced(2, 0, near),
                values.sliced(0, 0, near),
                mask.sliced(0, first, some).sliced(1, 0, near),
                out.sliced(0, first, some),
                None if falls is None else falls.sliced(1, first, some).sliced(2, 0, near),
            )
        return out

    def _into(self, place: Tensor, x: Tensor) -> None:
        if self.dtype is DType.F32:
            self.g.copy(place, x)
        else:
            self.g.cast(x, self.dtype, out=place)

    def _mix(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor, out: Tensor, falls: Tensor | None) -> None:
        """`mixed` of rows that go together, into `out`."""
        g, s, count = self.g, self.shape, q.shape[0]
        group = s.heads // s.kv_heads
        # One key head serves a group of query heads, which are the rows of its product if there is one position only.
        order = (1, 2, 0, 3) if count > 1 else (0, 1, 2, 3)
        shape = (count, s.kv_heads, group, s.head_size)
        grouped, into = g.reshape(q, shape).transposed(order), g.reshape(out, shape).transposed(order)
        lead = 0 if count == 1 else 1
        k, v = keys.with_axis(lead), values.transposed((1, 0, 2)).with_axis(lead)
        scores = g.contract(g.cast(grouped, k.dtype), k, None if s.attention_cap else mask, DType.F32)
        if s.attention_cap:
            scores = g.add(g.mul(g.tanh(g.div(scores, s.attention_cap)), s.attention_cap), mask)
        if falls is not None:
            by_group = (s.kv_heads, group, count, falls.shape[2])
            by_head = Tensor(falls.buffer, by_group, (falls.strides[0] * group, *falls.strides), falls.offset)
            scores = g.add(scores, by_head.transposed((0, 1, 2, 3) if count > 1 else (2, 0, 1, 3)))
        last = (scores.rank - 1,)
        powers = g.exp(g.sub(scores, g.reduce_max(scores, last)))
        total = g.reduce_sum(powers, last)
        if v.dtype is DType.F32:
            g.contract(g.div(powers, total), v, out=into)
        else:  # the greatest power is 1, which loses nothing
            g.binary(Binary.DIV, g.contract(g.cast(powers, v.dtype), v, dtype=DType.F32), total, out=into)
