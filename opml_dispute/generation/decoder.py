"""
The layers of a decoder of the Llama family, emitted as kernels.

`Decoder.layers` takes rows, one a position, through all layers, and writes their keys and values into the caches;
`Decoder.logits` makes scores of a row. It is the same code for a prompt (many rows) and for a step (one): a `Rows` has
the differences, the positions and the visible keys. Some thirty nodes make a layer:

- normalisations are four or five (`norms`);
- queries and keys of all heads lie side by side, so that both are turned by three operations;
- the scale of attention is part of the rotation's table, the mask is the bias of the product of queries and keys, and
  what a layer adds to its input is the bias of its last product.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from opml_dispute.generation.attention import Attention
from opml_dispute.generation.checkpoint import Checkpoint
from opml_dispute.generation.feed_forward import activated
from opml_dispute.generation.matrix import Matrices
from opml_dispute.generation.norms import Norms
from opml_dispute.generation.rope import rope_table
from opml_dispute.generation.rope_scaling import NO_SCALING
from opml_dispute.model.builder import Builder
from opml_dispute.model.emitter import Places
from opml_dispute.model.opcodes import Binary, DType
from opml_dispute.model.recorder import Origin
from opml_dispute.model.tensor import Array, Tensor

MASKED = -1e30
"""Added to the product of a query and a key that it may not see. Finite, so that a row which may see nothing (padding)
has finite weights; e to the power of it is 0."""


@dataclass(frozen=True)
class Turns:
    """Cosines and sines, f32[rows][heads + kv_heads][head_size], by which queries and keys of some rows are turned."""

    cosines: Tensor
    sines: Tensor


@dataclass(frozen=True)
class Rows:
    """Positions that go through the layers together."""

    label: str
    """What they are, for people: prompt, token 17."""
    slot: int
    """Where in the caches the first of them has its place; the others follow."""
    keys: int
    """They see at most the slots below this."""
    turns: Turns
    local_turns: Turns
    mask: Tensor
    """f32[rows][keys]: added to products of queries and keys."""
    local_mask: Tensor
    """The same for layers that see a window only."""
    falls: Tensor | None = None
    """f32[heads][rows][keys]: added to them too, of models whose scores fall with the distance."""


class Decoder:
    """A checkpoint's layers in one program."""

    def __init__(self, builder: Builder, checkpoint: Checkpoint) -> None:
        self.g, self.shape, self.checkpoint = builder, checkpoint.architecture, checkpoint
        self.matrices = Matrices(builder, checkpoint)
        self.norms = Norms(builder, checkpoint, self.matrices)

    def make_caches(self, slots: int) -> None:
        """Room for the keys and values of `slots` positions."""
        dtype = DType.F16 if self.matrices.has_blocks else DType.F32
        self.attention = Attention(self.g, self.shape, slots, dtype)

    # Rotations

    def turns(self, positions: Tensor, slots: int, *, local: bool) -> Turns:
        """The rotations for `positions`, i64[rows], each below `slots`."""
        s = self.shape
        scaling, base = s.rope_scaling, s.rope_base
        if local and s.local_rope_base:
            scaling, base = NO_SCALING, s.local_rope_base
        size = s.turned_size
        cosines, sines = rope_table(slots, size, base, scaling.divisor, scaling.factors_for(slots))
        if s.rope_pairs == "halves":
            cosines, sines = np.concatenate([cosines, cosines], 1), np.concatenate([-sines, sines], 1)
        else:
            cosines, sines = np.repeat(cosines, 2, 1), np.stack([-sines, sines], 2).reshape(slots, size)
        amplitude = np.float32(scaling.amplitude)
        return Turns(
            self._turn_rows(_with_unturned(cosines * amplitude, s.head_size), positions),
            self._turn_rows(sines * amplitude, positions),
        )

    def _turn_rows(self, table: Array, positions: Tensor) -> Tensor:
        """Rows of `table` [slots][size], scaled for every query head, and as they are for every key head."""
        g, s, rows, size = self.g, self.shape, positions.shape[0], table.shape[1]
        out = g.new(DType.F32, (rows, s.heads + s.kv_heads, size), positions)
        scale = np.float32(s.score_scale)
        for first, heads, values in ((0, s.heads, table * scale), (s.heads, s.kv_heads, table)):
            constant = g.constant(values.astype(np.float32))
            g.gather(
                constant,
                (0, 0, 1),
                positions,
                (1, 0, 0),
                (rows, heads, size),
                Places((size,), (table.shape[0],)),
                out=out.sliced(1, first, heads),
            )
        return out

    # Through the layers

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """f32[rows][width] of tokens i64[rows]; a token outside of the vocabulary fails the inference."""
        s, g = self.shape, self.g
        g.origin = Origin("embedding", "")
        x = self.matrices.rows("token_embd.weight", tokens, s.vocabulary, s.width)
        x = x if s.embedding_scale == 1.0 else g.mul(x, s.embedding_scale)
        if s.learns_positions:
            x = g.add(x, self.matrices.rows("position_embd.weight", positions, s.context, s.width))
        return self.norms.rows(x, "token_embd_norm") if "token_embd_norm.weight" in self.checkpoint.weights else x

    def layers(self, x: Tensor, rows: Rows) -> Tensor:
        """x[rows][width] after all layers; keys and values are in the caches then."""
        s = self.shape
        for layer in range(s.layers):
            before = x
            h = self._normalised_before(x, "attention norm", f"blk.{layer}.attn_norm", layer, rows)
            x = self._attended(x, h, layer, rows)
            if not s.has_one_norm:
                taken = before if s.is_parallel else x
                h = self._normalised_before(taken, "feed-forward norm", f"blk.{layer}.ffn_norm", layer, rows)
            x = self._fed_forward(x, h, layer, rows)
        return x

    def logits(self, x: Tensor, label: str) -> Tensor:
        """f32[rows][vocabulary]: the score of every token to come next."""
        s, g = self.shape, self.g
        g.origin = Origin("output", label)
        x = self.norms.rows(x, "output_norm")
        tied = "output.weight" not in self.checkpoint.weights
        scores = self._projected(x, "output", s.vocabulary, matrix="token_embd" if tied else "output")
        if s.logit_divisor != 1.0:
            scores = g.div(scores, s.logit_divisor)
        if s.logit_scale != 1.0:
            scores = g.mul(scores, s.logit_scale)
        return g.mul(g.tanh(g.div(scores, s.logit_cap)), s.logit_cap) if s.logit_cap else scores

    def _at(self, part: str, layer: int, rows: Rows) -> None:
        self.g.origin = Origin(part, f"{rows.label}, layer {layer}")

    def _attended(self, x: Tensor, h: Tensor, layer: int, rows: Rows) -> Tensor:
        """x plus what the rows of h attend to."""
        g, s, at = self.g, self.shape, f"blk.{layer}."
        count, local = x.shape[0], s.is_local(layer)
        turns, mask = (rows.local_turns, rows.local_mask) if local else (rows.turns, rows.mask)
        self._at("queries, keys, values", layer, rows)
        both = g.new(DType.F32, (count, (s.heads + s.kv_heads) * s.head_size), x)
        wide, narrow = s.heads * s.head_size, s.kv_heads * s.head_size
        self._projected(h, f"{at}attn_q", wide, out=both.sliced(1, 0, wide))
        self._projected(h, f"{at}attn_k", narrow, out=both.sliced(1, wide, narrow))
        values = g.reshape(self._capped(self._projected(h, f"{at}attn_v", narrow)), (count, s.kv_heads, s.head_size))
        both = self._capped(both)
        is_normed = f"{at}attn_q_norm.weight" in self.checkpoint.weights
        if is_normed and s.has_wide_norms:
            both = self._normed_over_heads(both, at)
        heads = g.reshape(both, (count, s.heads + s.kv_heads, s.head_size))
        if is_normed and not s.has_wide_norms:
            heads = self._normed_heads(heads, at)
        self._at("rotation", layer, rows)
        queries, keys = self._scaled(heads) if layer in s.unturned else self._turned(heads, turns)
        self.attention.put(layer, rows.slot, keys, values)
        self._at("attention", layer, rows)
        mixed = self.attention.mixed(layer, queries, mask, rows.slot, rows.keys, rows.falls)
        self._at("attention output", layer, rows)
        return self._added(x, mixed, f"{at}attn_output", f"{at}post_attention_norm")

    def _normalised_before(self, x: Tensor, part: str, name: str, layer: int, rows: Rows) -> Tensor:
        """What a part of a layer takes: x normalised, or as it is where the model normalises behind its parts only."""
        self._at(part, layer, rows)
        return self.norms.rows(x, name) if self.shape.has_norms_before else x

    def _projected(
        self, x: Tensor, name: str, outputs: int, *, out: Tensor | None = None, matrix: str | None = None
    ) -> Tensor:
        """x times the matrix of a part (its own, or `matrix`), plus its bias if it has one."""
        bias = self.matrices.vector(f"{name}.bias", outputs) if f"{name}.bias" in self.checkpoint.weights else None
        return self.matrices.times(x, f"{matrix or name}.weight", outputs, add=bias, out=out)

    def _capped(self, x: Tensor) -> Tensor:
        """x cut off as the model does with queries, keys and values."""
        cap = self.shape.projection_cap
        return self.g.clipped(x, -cap, cap) if cap else x

    def _normed_over_heads(self, both: Tensor, at: str) -> Tensor:
        """Queries and keys, [rows][heads and kv_heads together]: each normalised over all of its heads."""
        g, s = self.g, self.shape
        out = g.new(DType.F32, both.shape, both)
        wide, narrow = s.heads * s.head_size, s.kv_heads * s.head_size
        for which, first, size in (("q", 0, wide), ("k", wide, narrow)):
            weight = self.matrices.vector(f"{at}attn_{which}_norm.weight", size, sqrt(size))
            g.binary(Binary.MUL, self.norms.unit(both.sliced(1, first, size)), weight, out=out.sliced(1, first, size))
        return out

    def _normed_heads(self, heads: Tensor, at: str) -> Tensor:
        """Each head of queries and keys normalised, times its weights, plus its biases if it has some."""
        y = self.norms.unit(heads)
        scale = np.float32(sqrt(self.shape.head_size))
        y = self.g.mul(y, self.matrices.constant(f"{at}head norms", lambda: self._of_heads(at, "weight") * scale))
        if f"{at}attn_q_norm.bias" not in self.checkpoint.weights:
            return y
        return self.g.add(y, self.matrices.constant(f"{at}head biases", lambda: self._of_heads(at, "bias")))

    def _of_heads(self, at: str, what: str) -> Array:
        """What the norms of queries and keys have, one row a head: their weights or biases, for all or for each."""
        s = self.shape
        found = []
        for which, heads in (("q", s.heads), ("k", s.kv_heads)):
            name = f"{at}attn_{which}_norm.{what}"
            is_shared = (
                self.checkpoint.weights[name].shape == (s.head_size,) if name in self.checkpoint.weights else True
            )
            row = self.checkpoint.weight(name, *(() if is_shared else (heads,)), s.head_size).finite()
            found.append(np.broadcast_to(row, (heads, s.head_size)))
        return np.concatenate(found)

    def _scaled(self, heads: Tensor) -> tuple[Tensor, Tensor]:
        """As `_turned`, of a layer that turns nothing."""
        s = self.shape
        return self.g.mul(heads.sliced(1, 0, s.heads), s.score_scale), heads.sliced(1, s.heads, s.kv_heads)

    def _turned(self, heads: Tensor, turns: Turns) -> tuple[Tensor, Tensor]:
        """The turned queries and keys of `heads`. What is behind `turned_size` is not turned."""
        g, s, size = self.g, self.shape, self.shape.turned_size
        straight = g.mul(heads, turns.cosines)
        swapped = self._swapped(heads)
        crossed = g.reshape(g.mul(swapped, g.reshape(turns.sines, swapped.shape)), (*heads.shape[:2], size))
        turned = g.new(DType.F32, heads.shape, straight)
        g.binary(Binary.ADD, straight.sliced(2, 0, size), crossed, out=turned.sliced(2, 0, size))
        if size < s.head_size:
            rest = s.head_size - size
            g.copy(turned.sliced(2, size, rest), straight.sliced(2, size, rest))
        return turned.sliced(1, 0, s.heads), turned.sliced(1, s.heads, s.kv_heads)

    def _swapped(self, heads: Tensor) -> Tensor:
        """A view: the two elements of every pair that is turned, exchanged."""
        rows, count, _ = heads.shape
        row, head, _ = heads.strides
        half = self.shape.turned_size // 2
        if self.shape.rope_pairs == "halves":
            return Tensor(heads.buffer, (rows, count, 2, half), (row, head, -half, 1), heads.offset + half)
        return Tensor(heads.buffer, (rows, count, half, 2), (row, head, 2, -1), heads.offset + 1)

    def _fed_forward(self, x: Tensor, h: Tensor, layer: int, rows: Rows) -> Tensor:
        """x plus down(activation(gate(h)) * up(h)), or plus down(activation(up(h))) where there is no gate."""
        g, s, at = self.g, self.shape, f"blk.{layer}."
        self._at("feed-forward", layer, rows)
        if s.has_gate:
            gate = self._projected(h, f"{at}ffn_gate", s.hidden)
            up = self._projected(h, f"{at}ffn_up", s.hidden)
            inner = g.mul(activated(g, gate, s.activation), up)
        else:
            inner = activated(g, self._projected(h, f"{at}ffn_up", s.hidden), s.activation)
        self._at("feed-forward output", layer, rows)
        return self._added(x, inner, f"{at}ffn_down", f"{at}post_ffw_norm")

    def _added(self, x: Tensor, part: Tensor, name: str, norm: str) -> Tensor:
        """x plus the product of `part` and a matrix with its bias, normalised or scaled if the model does that."""
        g, scale = self.g, self.shape.residual_scale
        is_normed = f"{norm}.weight" in self.checkpoint.weights
        if not is_normed and scale == 1.0 and f"{name}.bias" not in self.checkpoint.weights:
            return self.matrices.times(part, f"{name}.weight", x.shape[-1], add=x)
        product = self._projected(part, name, x.shape[-1])
        if is_normed:
            product = self.norms.rows(product, norm)
        return g.add(x, product if scale == 1.0 else g.mul(product, scale))


def _with_unturned(cosines: Array, size: int) -> Array:
    """[slots][size]: ones behind the cosines of the elements that are turned."""
    rest = np.ones((cosines.shape[0], size - cosines.shape[1]), np.float32)
    return np.concatenate([cosines, rest], 1)
