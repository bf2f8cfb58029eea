"""Normalisations with what stands before them: skip connections, embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.microsoft.within import expect_vector, expect_within
from opml_dispute.model.lower.normalise import standardised
from opml_dispute.model.lower.registry import MICROSOFT, lowers
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

EPSILON = 1e-12
"""What the operators of this family default to."""


def _over_root_mean_square(g: Builder, x: Tensor, axis: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """x over its root mean square over the dimensions from `axis` on, and one over that root."""
    mean_square = g.reduce_mean(g.square(x), range(g.axis(x, axis), x.rank))
    spread = g.reciprocal(g.sqrt(g.add(mean_square, epsilon)))
    return g.mul(x, spread), spread


@lowers("SimplifiedLayerNormalization", in_f32=True, like=0)
@lowers("SimplifiedLayerNormalization", domain=MICROSOFT, in_f32=True, like=0)
def simplified_layer_normalization(
    g: Builder, x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Tensor, Tensor]:
    """ONNX Runtime's name for RMSNormalization, in ONNX's own set of operators."""
    expect_within(scale, x.shape, "a scale")
    y, spread = _over_root_mean_square(g, x, axis, epsilon)
    return g.mul(y, scale), spread


def _with_skip(g: Builder, x: Tensor, skip: Tensor, bias: Tensor | None, scales: Sequence[Tensor | None]) -> Tensor:
    """The sum. Raises `Refuse` if it is larger than x, or if bias and scales are not vectors of its last dimension."""
    if x.rank not in (2, 3) or skip.shape[-2:] != x.shape[-2:]:
        raise Refuse(f"a skip connection {list(skip.shape)} for {list(x.shape)}")
    expect_within(skip, x.shape, "a skip connection")
    for vector in (bias, *scales):
        expect_vector(vector, x.shape[-1], "a scale or bias")
    total = g.add(x, skip)
    return total if bias is None else g.add(total, bias)


@lowers("SkipLayerNormalization", domain=MICROSOFT, in_f32=True, like=0)
def skip_layer_normalization(
    g: Builder,
    x: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = EPSILON,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """LayerNormalization of x + skip + bias over the last dimension; the sum is the fourth result."""
    total = _with_skip(g, x, skip, bias, (gamma, beta))
    y, mean, spread = standardised(g, total, (total.rank - 1,), epsilon)
    y = g.mul(y, gamma)
    return y if beta is None else g.add(y, beta), mean, spread, total


@lowers("SkipSimplifiedLayerNormalization", domain=MICROSOFT, in_f32=True, like=0)
def skip_simplified_layer_normalization(
    g: Builder, x: Tensor, skip: Tensor, gamma: Tensor, bias: Tensor | None = None, *, epsilon: float = EPSILON
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """RMSNormalization of x + skip + bias; the sum is the fourth result. There is no mean."""
    total = _with_skip(g, x, skip, bias, (gamma,))
    y, spread = _over_root_mean_square(g, total, -1, epsilon)
    return g.mul(y, gamma), None, spread, total


def _embedded(g: Builder, table: Tensor, rows: Tensor, what: str) -> Tensor:
    return g.take(table, g.bounded(rows, 0, table.shape[0] - 1, what), 0)


@lowers("EmbedLayerNormalization", domain=MICROSOFT, in_f32=True, like=2)
def embed_layer_normalization(
    g: Builder,
    ids: Tensor,
    segments: Tensor | None,
    words: Tensor,
    positions: Tensor,
    segment_table: Tensor | None,
    gamma: Tensor,
    beta: Tensor,
    mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    *,
    epsilon: float = EPSILON,
    mask_index_type: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """The embeddings of tokens, positions and segments, summed and normalised; how many tokens are not masked."""
    if ids.rank != 2:
        raise Refuse(f"tokens {list(ids.shape)}; expected [batch][time]")
    batch, time = ids.shape
    tables = [table for table in (words, positions, segment_table) if table is not None]
    if (segments is None) != (segment_table is None) or any(
        t.rank != 2 or t.shape[1] != words.shape[1] for t in tables
    ):
        raise Refuse(f"tables of embeddings {[list(table.shape) for table in tables]}")
    if segments is not None and segments.shape != ids.shape:
        raise Refuse(f"segments {list(segments.shape)} of tokens {list(ids.shape)}")
    expect_vector(gamma, words.shape[1], "a scale")
    expect_vector(beta, words.shape[1], "a bias")
    if mask is not None and mask.shape != ids.shape:
        raise Refuse(f"a mask {list(mask.shape)} of tokens {list(ids.shape)}")
    if position_ids is not None and position_ids.shape not in (ids.shape, (1, time)):
        raise Refuse(f"positions {list(position_ids.shape)} of tokens {list(ids.shape)}")
    places = g.arange(time).with_axis(0) if position_ids is None else position_ids
    total = g.add(_embedded(g, words, ids, "a token"), _embedded(g, positions, places, "a position"))
    if segments is not None and segment_table is not None:
        total = g.add(total, _embedded(g, segment_table, segments, "a segment"))
    y, _, _ = standardised(g, total, (2,), epsilon)
    counted: Tensor = g.filled((batch,), 0, DType.I32)
    if mask is not None:
        counted = g.reduce_sum(g.cast(g.equal(mask, np.int64(1).item()), DType.I32), (1,), keepdims=False)
    return g.add(g.mul(y, gamma), beta), counted, total
