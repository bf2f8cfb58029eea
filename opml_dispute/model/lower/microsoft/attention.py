"""Attention as ONNX Runtime's optimisers fuse it: with its projections, masks, caches and rotary embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.attention import with_turned_pairs
from opml_dispute.model.lower.index import written_along
from opml_dispute.model.lower.microsoft.within import expect_vector, expect_within
from opml_dispute.model.lower.registry import MICROSOFT, lowers
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor

MASKED = -10000.0
"""What a masked score is given on top, by default (`mask_filter_value`)."""
MINUS_INFINITY = float("-inf")


@dataclass(frozen=True)
class Scoring:
    """How scores are made of queries and keys, and weights of scores."""

    scale: float | None = None
    causal: bool = False
    filter_value: float = MASKED


def heads_of(g: Builder, x: Tensor, heads: int) -> Tensor:
    """[batch][time][heads * size] -> [batch][heads][time][size]."""
    if x.rank != 3 or heads < 1 or x.shape[2] % heads:
        raise Refuse(f"{list(x.shape)} for {heads} heads; expected [batch][time][heads * size]")
    return g.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads)).transposed((0, 2, 1, 3))


def joined(g: Builder, y: Tensor) -> Tensor:
    """[batch][heads][time][size] -> [batch][time][heads * size]."""
    batch, heads, time, size = y.shape
    return g.reshape(y.transposed((0, 2, 1, 3)), (batch, time, heads * size))


def mask_bias(g: Builder, mask: Tensor | None, batch: int, keys: int, value: float) -> Tensor | None:
    """
    What a mask adds to scores[batch][heads][queries][keys]: 0 or `value`.

    A mask is bool or 0 and 1, [batch][keys] or [batch][queries][keys]; or how many keys each batch entry has [batch];
    or [2 * batch], these and where the keys begin. Of more keys than there are, all count, as in ONNX Runtime.
    """
    if mask is None:
        return None
    if mask.rank in (2, 3) and (mask.shape[0], mask.shape[-1]) != (batch, keys):
        raise Refuse(f"a mask {list(mask.shape)} for {batch} batch entries and {keys} keys")
    if mask.rank == 3:
        seen = g.less(0, g.cast(mask, DType.I32)).with_axis(1)
    elif mask.rank == 2:
        seen = g.less(0, g.cast(mask, DType.I32)).with_axis(1).with_axis(1)
    elif mask.rank == 1 and mask.size in (batch, 2 * batch):
        places = g.arange(keys)
        bounds = g.bounded(mask, 0, None, "a number of keys in a mask")
        seen = g.less(places, g.reshape(bounds.sliced(0, 0, batch), (batch, 1, 1, 1)))
        if mask.size == 2 * batch and batch:
            first = g.reshape(bounds.sliced(0, batch, batch), (batch, 1, 1, 1))
            seen = g.both(seen, g.less_equal(first, places))
    else:
        raise Refuse(f"a mask {list(mask.shape)} for {batch} batch entries and {keys} keys")
    return g.choose(seen, g.scalar(0, DType.F32), value)


def attended(
    g: Builder, q: Tensor, k: Tensor, v: Tensor, how: Scoring, biases: tuple[Tensor | None, ...], past: int
) -> tuple[Tensor, Tensor]:
    """softmax(q k' scale + biases) v over heads [batch][heads][time][size], and the scores before the softmax."""
    if q.rank != 4 or k.shape[:2] != q.shape[:2] or k.shape[3] != q.shape[3] or v.shape[:3] != k.shape[:3]:
        raise Refuse(f"queries {list(q.shape)}, keys {list(k.shape)} and values {list(v.shape)}")
    factor = how.scale if how.scale else 1 / sqrt(q.shape[3])
    scores = g.contract(g.mul(q, factor), k.transposed((0, 1, 3, 2)))
    for bias in biases:
        expect_within(bias, scores.shape, "a mask or attention_bias")
        scores = scores if bias is None else g.add(scores, bias)
    if how.causal:
        distance = np.arange(q.shape[2])[:, None] + past - np.arange(k.shape[2])[None]
        scores = g.choose(g.constant(distance >= 0), scores, MINUS_INFINITY)
    return g.contract(g.softmax(scores, (3,)), v), scores


def _spread(g: Builder, bias: Tensor | None) -> Tensor | None:
    """attention_bias[batch or 1][heads or 1][queries][keys] broadcasts as it is."""
    if bias is not None and bias.rank != 4:
        raise Refuse(f"attention_bias {list(bias.shape)}; expected four dimensions")
    return bias


@lowers("Attention", domain=MICROSOFT, in_f32=True, like=0)
def attention(
    g: Builder,
    x: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    past: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_length: Tensor | None = None,
    *,
    do_rotary: int = 0,
    mask_filter_value: float = MASKED,
    num_heads: int,
    past_present_share_buffer: int = 0,
    qkv_hidden_sizes: tuple[int, ...] | None = None,
    rotary_embedding_dim: int = 0,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Tensor, Tensor]:
    """x[batch][time][hidden] projected to queries, keys and values by one matrix, then attention over the heads."""
    if do_rotary or past_present_share_buffer or past_length is not None:
        raise Refuse("do_rotary, or a shared buffer of past and present; expected neither")
    if (x.rank, weights.rank) != (3, 2):
        raise Refuse(f"inputs {list(x.shape)} and weights {list(weights.shape)}; expected three and two dimensions")
    expect_vector(bias, weights.shape[1], "a bias")
    projected = g.matmul(x, weights)
    projected = projected if bias is None else g.add(projected, bias)
    how = Scoring(scale, bool(unidirectional), mask_filter_value)
    return self_attention(g, projected, mask, past, attention_bias, num_heads, qkv_hidden_sizes, how)


def self_attention(
    g: Builder,
    projected: Tensor,
    mask: Tensor | None,
    past: Tensor | None,
    attention_bias: Tensor | None,
    num_heads: int,
    sizes: tuple[int, ...] | None,
    how: Scoring,
) -> tuple[Tensor, Tensor]:
    """Attention of projected[batch][time][queries, keys, values], behind past[2][batch][heads][time][size]."""
    sizes = sizes or (projected.shape[2] // 3,) * 3
    if len(sizes) != 3 or sum(sizes) != projected.shape[2]:
        raise Refuse(f"qkv_hidden_sizes {list(sizes)} for weights of {projected.shape[2]} columns")
    starts = (0, sizes[0], sizes[0] + sizes[1])
    q, k, v = (
        heads_of(g, projected.sliced(2, start, size), num_heads) for start, size in zip(starts, sizes, strict=True)
    )
    before = 0
    if past is not None:
        if past.rank != 5 or past.shape[0] != 2:
            raise Refuse(f"past {list(past.shape)}; expected five dimensions, the first for keys and values")
        before = past.shape[3]
        k, v = g.concat([past.picked(0, 0), k], 2), g.concat([past.picked(0, 1), v], 2)
    masked = mask_bias(g, mask, q.shape[0], k.shape[2], how.filter_value)
    y, _ = attended(g, q, k, v, how, (masked, _spread(g, attention_bias)), before)
    present = g.stack([k, v], 0) if k.shape == v.shape else k
    return joined(g, y), present


@lowers("MultiHeadAttention", domain=MICROSOFT, in_f32=True, like=0)
def multi_head_attention(
    g: Builder,
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    past_length: Tensor | None = None,
    cache_indirection: Tensor | None = None,
    *,
    mask_filter_value: float = MASKED,
    num_heads: int,
    scale: float | None = None,
    unidirectional: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Attention of queries over keys and values that are projected already, apart or packed into one tensor."""
    if past_length is not None or cache_indirection is not None:
        raise Refuse("a shared buffer of past and present, or beams; expected neither")
    q, k, v = _three(g, query, key, value, bias, num_heads)
    if (past_key is None) != (past_value is None):
        raise Refuse("keys of the past without values, or values without keys")
    before = 0
    if past_key is not None and past_value is not None:
        g.expect_rank(past_key, 4, 4, "past_key")
        before = past_key.shape[2]
        k, v = g.concat([past_key, k], 2), g.concat([past_value, v], 2)
    how = Scoring(scale, bool(unidirectional), mask_filter_value)
    masked = mask_bias(g, mask, q.shape[0], k.shape[2], mask_filter_value)
    y, scores = attended(g, q, k, v, how, (masked, _spread(g, attention_bias)), before)
    return joined(g, y), k, v, scores


def _three(
    g: Builder, query: Tensor, key: Tensor | None, value: Tensor | None, bias: Tensor | None, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by heads, with their biases, from the ways in which they may be packed."""
    packed = query.shape[2:4] if query.rank == 5 else () if key is None or key.rank != 5 else key.shape[2:4]
    if packed not in ((), (heads, 3 if query.rank == 5 else 2)) or (
        packed and (value is not None or (query.rank == 5 and key is not None))
    ):
        given = [list(t.shape) for t in (query, key, value) if t is not None]
        raise Refuse(f"queries, keys and values {given} of {heads} heads, of which some are packed into one tensor")
    if query.rank == 5:  # [batch][time][heads][3][size]
        parts = [query.picked(3, i).transposed((0, 2, 1, 3)) for i in range(3)]
    elif key is None:
        raise Refuse(f"queries {list(query.shape)} without keys; expected them packed in five dimensions")
    elif key.rank == 5:  # [batch][time][heads][2][size]
        parts = [heads_of(g, query, heads), *(key.picked(3, i).transposed((0, 2, 1, 3)) for i in range(2))]
    elif value is None:
        raise Refuse(f"keys {list(key.shape)} without values")
    else:
        parts = [heads_of(g, query, heads), *(t if t.rank == 4 else heads_of(g, t, heads) for t in (key, value))]
    if bias is not None:
        expect_vector(bias, heads * sum(part.shape[3] for part in parts), "a bias")
        start, biased = 0, []
        for part in parts:
            size = heads * part.shape[3]
            own = g.reshape(bias.sliced(0, start, size), (heads, 1, part.shape[3]))
            biased.append(g.add(part, own))
            start += size
        parts = biased
    return parts[0], parts[1], parts[2]


@lowers("RotaryEmbedding", domain=MICROSOFT, in_f32=True, like=0)
def rotary(
    g: Builder,
    x: Tensor,
    positions: Tensor,
    cosines: Tensor,
    sines: Tensor,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """Pairs of elements of each head, turned by the angle of their position: the first one's, or each one's."""
    if is_packed_batching or scale != 1:
        raise Refuse("is_packed_batching, or a scale other than 1; expected neither")
    g.expect_rank(x, 3, 4, "the input")
    g.expect_rank(cosines, 2, 2, "cos_cache")
    time = x.shape[2] if x.rank == 4 else x.shape[1]
    if not cosines.size:
        raise Refuse(f"cos_cache of shape {list(cosines.shape)}; expected elements")
    heads = num_heads or (0 if x.rank == 4 else x.shape[2] // (2 * cosines.shape[1]))
    if positions.size == 1 and positions.rank == 1:
        first = g.bounded(positions, 0, max(cosines.shape[0] - time, 0), "the first position")
        positions = g.add(first, g.arange(time)).with_axis(0)
    return with_turned_pairs(
        g, x, cosines, sines, positions, interleaved=interleaved, num_heads=heads,
        rotary_embedding_dim=rotary_embedding_dim,
    )  # fmt: skip


@lowers("GroupQueryAttention", domain=MICROSOFT, in_f32=True, like=0)
def group_query_attention(
    g: Builder,
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    past_key: Tensor | None,
    past_value: Tensor | None,
    last_keys: Tensor,
    total: Tensor,
    cosines: Tensor | None = None,
    sines: Tensor | None = None,
    positions: Tensor | None = None,
    attention_bias: Tensor | None = None,
    sink: Tensor | None = None,
    *,
    do_rotary: int = 0,
    kv_num_heads: int,
    local_window_size: int = -1,
    num_heads: int,
    rotary_interleaved: int = 0,
    scale: float | None = None,
    smooth_softmax: int = 0,
    softcap: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Causal attention in which groups of query heads share keys and values, behind a cache of earlier ones.

    Batch entry b has last_keys[b] + 1 keys with the new ones, which go into the cache behind its earlier ones: at its
    beginning if the new ones are all there are (the prompt).
    """
    if min(num_heads, kv_num_heads) < 1 or num_heads % kv_num_heads:
        raise Refuse(f"{num_heads} query heads over {kv_num_heads} key heads")
    if (key is None) != (value is None) or query.rank != 3:
        raise Refuse(f"queries {list(query.shape)}, with keys or values alone; expected three dimensions, and both")
    if key is None or value is None:  # packed behind the queries
        size = query.shape[2] // (num_heads + 2 * kv_num_heads)
        if query.shape[2] != size * (num_heads + 2 * kv_num_heads):
            raise Refuse(f"queries {list(query.shape)} of {num_heads} heads with {kv_num_heads} for keys and values")
        split = (num_heads * size, kv_num_heads * size)
        key = query.sliced(2, split[0], split[1])
        value = query.sliced(2, split[0] + split[1], split[1])
        query = query.sliced(2, 0, split[0])
    q, k, v = heads_of(g, query, num_heads), heads_of(g, key, kv_num_heads), heads_of(g, value, kv_num_heads)
    batch, _, time, size = q.shape
    whole = g.known_number(total, "the total sequence length")
    before = _expect_grouped(q, k, v, past_key, past_value, last_keys, whole)
    least = 0 if time == whole else time - 1
    last = g.bounded(g.reshape(last_keys, (batch,)), least, max(whole, before) - 1, "seqlens_k")
    start: Tensor = g.filled((batch,), 0, DType.I64) if time == whole else g.sub(last, time - 1)
    places = g.add(start.with_axis(1), g.arange(time).with_axis(0))  # [batch][time]
    if do_rotary:
        if cosines is None or sines is None:
            raise Refuse("do_rotary without cos_cache and sin_cache")
        g.expect_rank(cosines, 2, 2, "cos_cache")
        angles = places if positions is None else positions
        if positions is not None and positions.shape != (batch, time):
            raise Refuse(f"position_ids {list(positions.shape)}; expected {[batch, time]}")
        turned = 2 * cosines.shape[1]
        q, k = (
            with_turned_pairs(g, t, cosines, sines, angles, interleaved=rotary_interleaved, rotary_embedding_dim=turned)
            for t in (q, k)
        )
    k = _cached(g, past_key, k, start, max(whole, before))
    v = _cached(g, past_value, v, start, max(whole, before))
    keys = k.shape[2]
    factor = scale if scale else 1 / sqrt(size)
    group = num_heads // kv_num_heads
    grouped = g.reshape(g.mul(q, factor), (batch, kv_num_heads, group, time, size))
    scores = g.contract(grouped, k.with_axis(2).transposed((0, 1, 2, 4, 3)))
    scores = g.reshape(scores, (batch, num_heads, time, keys))
    if softcap:
        scores = g.mul(g.tanh(g.div(scores, softcap)), softcap)
    if attention_bias is not None:
        g.expect_rank(attention_bias, 4, 4, "attention_bias")
        missing = keys - attention_bias.shape[3]
        if missing < 0 or not attention_bias.shape[3]:
            raise Refuse(f"attention_bias {list(attention_bias.shape)} of {keys} keys")
        expect_within(attention_bias.sliced(3, 0, 1), (*scores.shape[:3], 1), "attention_bias")
        scores = g.add(scores, g.pad(attention_bias, (0,) * 4, (0, 0, 0, missing)))
    distance = g.sub(places.with_axis(2), g.arange(keys))  # [batch][time][keys]
    seen = g.less_equal(0, distance)
    if local_window_size > 0:
        seen = g.both(seen, g.less(distance, local_window_size))
    scores = g.choose(seen.with_axis(1), scores, MINUS_INFINITY)
    weights = _softmax(g, scores, sink, bool(smooth_softmax))
    y = g.contract(g.reshape(weights, (batch, kv_num_heads, group, time, keys)), v.with_axis(2))
    y = joined(g, g.reshape(y, (batch, num_heads, time, v.shape[3])))
    if time == whole and not last.is_constant:  # nothing depends on the lengths but whether they are possible
        y = g.select(g.less_equal(0, last).with_axis(1).with_axis(2), y, y)
    return y, k, v


def _expect_grouped(
    q: Tensor, k: Tensor, v: Tensor, past_key: Tensor | None, past_value: Tensor | None, lengths: Tensor, whole: int
) -> int:
    """
    The keys of the past, by heads [batch][heads][time][size] as all others.

    Raises `Refuse` for parts that do not fit together. Lengths may have more dimensions than one, of size 1: exporters
    write them so.
    """
    batch, _, time, size = q.shape
    if k.shape != (batch, k.shape[1], time, size) or v.shape != k.shape:
        raise Refuse(f"queries {list(q.shape)}, keys {list(k.shape)} and values {list(v.shape)}, by heads")
    pasts = [None if past is None else past.shape for past in (past_key, past_value)]
    before = 0 if past_key is None or past_key.rank != 4 else past_key.shape[2]
    fits = None if past_key is None else (batch, k.shape[1], before, size)
    if pasts != [fits, fits]:
        raise Refuse(f"keys and values of the past {pasts}; expected {fits}")
    if not lengths.rank or lengths.size != batch or not set(lengths.shape) <= {1, batch}:
        raise Refuse(f"lengths {list(lengths.shape)} of {batch} sequences")
    if whole < max(time, 1):
        raise Refuse(f"a total sequence length of {whole}; expected at least the {time} of the queries")
    return before


def _softmax(g: Builder, scores: Tensor, sink: Tensor | None, smooth: bool) -> Tensor:
    """Softmax over the keys; with a sink (0 if it is only to be smooth), a weight more that goes nowhere."""
    if sink is None and not smooth:
        return g.softmax(scores, (3,))
    extra: Tensor = g.scalar(0, DType.F32) if sink is None else g.reshape(sink, (1, sink.size, 1, 1))
    column = extra.broadcast((*scores.shape[:3], 1))
    return g.softmax(g.concat([scores, column], 3), (3,)).sliced(3, 0, scores.shape[3])


def _cached(g: Builder, past: Tensor | None, new: Tensor, start: Tensor, length: int) -> Tensor:
    """The cache [batch][heads][length][size] with the new entries from `start` on."""
    time = new.shape[2]
    first = start.values().reshape(-1) if start.is_constant else None
    uniform = first is not None and first.size > 0 and bool(np.all(first == first[0]))
    if past is None:
        past = new.sliced(2, 0, 0)
    if uniform and first is not None and first[0] + time == length and first[0] <= past.shape[2]:
        return g.concat([past.sliced(2, 0, int(first[0])), new], 2)
    padded = g.pad(past, (0,) * 4, (0, 0, length - past.shape[2], 0))
    return written_along(g, padded, new, g.add(start.with_axis(1), g.arange(time).with_axis(0)), 2)
