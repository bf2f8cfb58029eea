"""Attention and related operators of transformers: rotary embeddings, linear attention, causal convolution."""

from __future__ import annotations

from math import sqrt

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.elements import dtype_of
from opml_dispute.model.lower.control import Branch
from opml_dispute.model.lower.elementwise import swish
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor
from opml_dispute.model.windows import windows

MINUS_INFINITY = float("-inf")


def _wide(g: Builder, x: Tensor) -> Tensor:
    return g.cast(x, DType.F32)


def _heads(g: Builder, x: Tensor, heads: int | None, what: str) -> Tensor:
    """[batch][time][heads * size] -> [batch][heads][time][size]; a tensor with four dimensions is so already."""
    if x.rank == 4:
        return x
    if x.rank != 3 or not heads or x.shape[2] % heads:
        raise Refuse(f"{what} of shape {list(x.shape)} for {heads} heads")
    return g.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads)).transposed((0, 2, 1, 3))


def _allowed(
    g: Builder, queries: int, keys: int, offset: int | Tensor, causal: bool, left: int, right: int
) -> Tensor | None:
    """The keys that each query may attend to, by position: bool[queries][keys], or [batch][1][..][..] with an offset
    each."""
    if not causal and left < 0 and right < 0:
        return None
    distance: Tensor = g.constant(np.arange(queries)[:, None] - np.arange(keys)[None])
    distance = g.add(distance, offset if isinstance(offset, int) else g.reshape(offset, (offset.size, 1, 1, 1)))
    limits: list[tuple[int | None, int | None]] = [(0, None)] if causal else []
    limits += [(-right, None)] if right >= 0 else []
    limits += [(None, left)] if left >= 0 else []
    allowed: Tensor | None = None
    for low, high in limits:
        within = g.less_equal(low, distance) if low is not None else g.less_equal(distance, int(high or 0))
        allowed = within if allowed is None else g.both(allowed, within)
    return allowed


def _expect_fitting(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, valid_keys: Tensor | None) -> None:
    """Raises `Refuse` for queries, keys and values by heads, or what masks them, that do not fit together."""
    batch, heads, shared, keys = q.shape[0], q.shape[1], k.shape[1], k.shape[2]
    if not shared or heads % shared or k.shape[0] != batch or v.shape[:3] != k.shape[:3]:
        raise Refuse(f"queries {list(q.shape)}, keys {list(k.shape)} and values {list(v.shape)}")
    if valid_keys is not None and valid_keys.shape != (batch,):
        raise Refuse(f"lengths {list(valid_keys.shape)} of {batch} sequences")
    if mask is not None and not (1 <= mask.rank <= 4 and mask.shape[-1] <= keys):
        raise Refuse(f"a mask {list(mask.shape)} of {keys} keys; expected one to four dimensions, and not more keys")


@lowers("Attention")
def attention(
    g: Builder,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    valid_keys: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int = 1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """softmax(q k' scale + bias) v for each head; groups of query heads may share a key and value head."""
    dtype, packed = q.dtype, q.rank == 3
    q = _heads(g, q, q_num_heads, "queries")
    k, v = _heads(g, k, kv_num_heads, "keys"), _heads(g, v, kv_num_heads, "values")
    past = 0
    if (past_key is None) != (past_value is None):
        raise Refuse("keys of the past without values, or values without keys")
    if past_key is not None and past_value is not None:
        past = past_key.shape[2]
        k, v = g.concat([past_key, k], 2), g.concat([past_value, v], 2)
    batch, heads, queries, size = q.shape
    shared, keys = k.shape[1], k.shape[2]
    if not size:
        raise Refuse(f"queries {list(q.shape)}; expected heads of some size")
    _expect_fitting(q, k, v, mask, valid_keys)
    if not 0 <= qk_matmul_output_mode <= 3:
        raise Refuse(f"qk_matmul_output_mode {qk_matmul_output_mode}; expected 0 to 3")
    # [batch][shared][heads of the group][queries][size]; keys and values do not move along the group.
    factor = 1 / sqrt(size) if scale is None else scale
    grouped = g.reshape(g.mul(_wide(g, q), factor), (batch, shared, heads // shared, queries, size))
    scores = g.contract(grouped, _wide(g, k).with_axis(2).transposed((0, 1, 2, 4, 3)))
    scores = g.reshape(scores, (batch, heads, queries, keys))
    stages = [scores]
    if softcap:
        scores = g.mul(g.tanh(g.div(scores, softcap)), softcap)
    stages.append(scores)
    offset: int | Tensor = past
    if valid_keys is not None:
        if past_key is not None:
            raise Refuse("nonpad_kv_seqlen with keys of the past; expected one of them at most")
        valid_keys = g.bounded(valid_keys, 0, keys, "nonpad_kv_seqlen")
        offset = g.sub(valid_keys, queries)
    allowed = _allowed(g, queries, keys, offset, bool(is_causal), left_window_size, right_window_size)
    if valid_keys is not None:
        present = g.less(g.arange(keys), g.reshape(valid_keys, (batch, 1, 1, 1)))
        allowed = present if allowed is None else g.both(allowed, present)
    if mask is not None:
        missing = [0] * (mask.rank - 1) + [keys - mask.shape[-1]]
        if mask.dtype is DType.BOOL:
            seen = g.pad(mask, [0] * mask.rank, missing, g.scalar(False, DType.BOOL))
            allowed = seen if allowed is None else g.both(allowed, seen)
        else:
            bias = g.pad(_wide(g, mask), [0] * mask.rank, missing, g.scalar(MINUS_INFINITY, DType.F32))
            visible = g.less(MINUS_INFINITY, bias)
            allowed = visible if allowed is None else g.both(allowed, visible)
            scores = g.add(scores, bias)
    if allowed is not None:
        scores = g.choose(allowed, scores, MINUS_INFINITY)
    stages.append(scores)
    if softmax_precision not in (DType.F32, DType.F64):  # binary64 has no powers of e
        scores = g.cast(scores, dtype_of(softmax_precision))
        weights = _wide(g, _masked_softmax(g, scores, allowed))
    else:
        weights = _masked_softmax(g, scores, allowed)
    stages.append(weights)
    values = _wide(g, v).with_axis(2)
    y = g.contract(g.reshape(weights, (batch, shared, heads // shared, queries, keys)), values)
    y = g.cast(g.reshape(y, (batch, heads, queries, v.shape[3])), dtype)
    if packed:
        y = g.reshape(y.transposed((0, 2, 1, 3)), (batch, queries, heads * v.shape[3]))
    return y, k, v, g.cast(stages[qk_matmul_output_mode], dtype)


def _masked_softmax(g: Builder, scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Softmax over the last dimension; a query that may see nothing gets zeros instead of 0/0."""
    if allowed is None:
        return g.softmax(scores, (scores.rank - 1,))
    last = (scores.rank - 1,)
    greatest = g.reduce_max(scores, last)
    nothing = g.equal(greatest, MINUS_INFINITY)
    powers = g.exp(g.sub(scores, g.choose(nothing, 0, greatest)))
    total = g.reduce_sum(powers, last)
    weights = g.div(powers, g.choose(nothing, 1, total))
    # Decided on the mask as well: a masked score may have been infinite before.
    seen = g.reduce_max(g.cast(allowed, DType.U8), (allowed.rank - 1,))
    return g.choose(g.equal(seen, 0), 0, weights)


@lowers("FlexAttention", domain="ai.onnx.preview")
def flex_attention(
    g: Builder,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    prob_mod: Branch | None = None,
    scale: float | None = None,
    score_mod: Branch | None = None,
    softmax_precision: int = 1,
) -> Tensor:
    """Attention whose scores and weights pass through graphs of the model's own."""
    if (
        {q.rank, k.rank, v.rank} != {4}
        or q.shape[1] % k.shape[1]
        or k.shape[0] != q.shape[0]
        or v.shape[:3] != k.shape[:3]
    ):
        raise Refuse(f"queries {list(q.shape)}, keys {list(k.shape)} and values {list(v.shape)}")
    inner = dtype_of(softmax_precision)
    batch, heads, queries, size = q.shape
    shared, keys = k.shape[1], k.shape[2]
    factor = 1 / sqrt(size) if scale is None else scale
    grouped = g.reshape(g.mul(_wide(g, q), factor), (batch, shared, heads // shared, queries, size))
    scores = g.contract(grouped, _wide(g, k).with_axis(2).transposed((0, 1, 2, 4, 3)))
    scores = g.cast(g.reshape(scores, (batch, heads, queries, keys)), inner)
    if score_mod is not None:
        (scores,) = score_mod(scores)
    weights = g.cast(g.softmax(_wide(g, scores), (3,)), inner)
    if prob_mod is not None:
        (weights,) = prob_mod(weights)
    grouped = g.reshape(_wide(g, weights), (batch, shared, heads // shared, queries, keys))
    y = g.contract(grouped, _wide(g, v).with_axis(2))
    return g.cast(g.reshape(y, (batch, heads, queries, v.shape[3])), v.dtype)


@lowers("RotaryEmbedding", in_f32=True)
def rotary_embedding(
    g: Builder,
    x: Tensor,
    cosines: Tensor,
    sines: Tensor,
    positions: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """Pairs of elements of each head, turned by the angle of their position."""
    g.expect_rank(x, 3, 4, "the input")
    sequences = (x.shape[0], x.shape[2] if x.rank == 4 else x.shape[1])
    if positions is not None and positions.shape != sequences:
        raise Refuse(f"positions {list(positions.shape)} of {sequences[0]} sequences of {sequences[1]}")
    return with_turned_pairs(
        g, x, cosines, sines, positions, interleaved=interleaved, num_heads=num_heads,
        rotary_embedding_dim=rotary_embedding_dim,
    )  # fmt: skip


def with_turned_pairs(
    g: Builder,
    x: Tensor,
    cosines: Tensor,
    sines: Tensor,
    positions: Tensor | None,
    *,
    interleaved: int,
    num_heads: int = 0,
    rotary_embedding_dim: int,
) -> Tensor:
    """As `rotary_embedding`; positions may be those of one sequence for all."""
    heads = _heads(g, x, num_heads, "the input")
    turned = rotary_embedding_dim or heads.shape[3]
    if turned % 2 or not 0 < turned <= heads.shape[3]:
        raise Refuse(f"{turned} elements turned of heads of {heads.shape[3]}; expected an even number of them")
    half = turned // 2
    if cosines.shape != sines.shape:
        raise Refuse(f"cosines {list(cosines.shape)} and sines {list(sines.shape)}; expected as many of each")
    if positions is not None:
        if cosines.rank != 2:
            raise Refuse(f"cosines {list(cosines.shape)}; expected two dimensions, a row for each position")
        positions = g.bounded(positions, 0, cosines.shape[0] - 1, "a position")
        cosines, sines = g.take(cosines, positions, 0), g.take(sines, positions, 0)
    if cosines.shape[-1] != half or cosines.shape != sines.shape:
        raise Refuse(f"cosines {list(cosines.shape)} and sines {list(sines.shape)}; expected {half} for each position")
    cos, sin = cosines.with_axis(1), sines.with_axis(1)  # alike for all heads
    step = 2 if interleaved else 1
    a = heads.sliced(3, 0, half, step)
    b = heads.sliced(3, 1 if interleaved else half, half, step)
    real = g.sub(g.mul(cos, a), g.mul(sin, b))
    imaginary = g.add(g.mul(sin, a), g.mul(cos, b))
    out = g.made(x.dtype, heads.shape, heads, cos, sin)
    g.copy(out.sliced(3, 0, half, step), real)
    g.copy(out.sliced(3, 1 if interleaved else half, half, step), imaginary)
    if turned < heads.shape[3]:
        rest = heads.shape[3] - turned
        g.copy(out.sliced(3, turned, rest), heads.sliced(3, turned, rest))
    return out if x.rank == 4 else g.reshape(out.transposed((0, 2, 1, 3)), x.shape)


@lowers("LinearAttention")
def linear_attention(
    g: Builder,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    past_state: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    chunk_size: int = 64,
    kv_num_heads: int,
    q_num_heads: int,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[Tensor, Tensor]:
    """A state [key][value] per head that decays, takes up each key and value, and is read by each query."""
    if update_rule not in ("linear", "gated", "delta", "gated_delta"):
        raise Refuse(f"update_rule {update_rule!r}; expected 'linear', 'gated', 'delta' or 'gated_delta'")
    if min(q_num_heads, kv_num_heads) < 1 or q_num_heads % kv_num_heads:
        raise Refuse(f"{q_num_heads} query heads over {kv_num_heads} key heads")
    dtype = q.dtype
    state_dtype = dtype if past_state is None else past_state.dtype
    queries = _heads(g, _wide(g, q), q_num_heads, "queries")
    keys = _heads(g, _wide(g, k), kv_num_heads, "keys")
    values = _heads(g, _wide(g, v), kv_num_heads, "values")
    batch, _, length, size = queries.shape
    if keys.shape[:1] + keys.shape[2:] != (batch, length, size) or values.shape[:3] != keys.shape[:3] or not size:
        raise Refuse(f"queries {list(q.shape)}, keys {list(k.shape)} and values {list(v.shape)}")
    factor = scale or 1 / sqrt(size)
    group = q_num_heads // kv_num_heads
    state = g.filled((batch, kv_num_heads, size, values.shape[3]), 0, DType.F32)
    if past_state is not None:
        if past_state.shape != state.shape:
            raise Refuse(f"a state {list(past_state.shape)}; expected {list(state.shape)}")
        state = _wide(g, past_state)
    gates = rates = None
    if "gated" in update_rule:
        if decay is None:
            raise Refuse(f"update_rule {update_rule!r} without decay")
        gates = g.exp(_heads(g, _wide(g, decay), kv_num_heads, "decay"))  # [batch][heads][time][size or 1]
        if gates.shape[:3] != keys.shape[:3] or gates.shape[3] not in (1, size):
            raise Refuse(f"decay {list(decay.shape)} of keys {list(k.shape)}")
    if "delta" in update_rule:
        if beta is None:
            raise Refuse(f"update_rule {update_rule!r} without beta")
        if beta.rank != 3 or beta.shape[:2] != (batch, length) or beta.shape[2] not in (1, kv_num_heads):
            raise Refuse(f"beta {list(beta.shape)} of keys {list(k.shape)}")
        rates = _heads(g, _wide(g, beta), beta.shape[-1], "beta")
    steps = []
    for t in range(length):
        key, value = keys.picked(2, t), values.picked(2, t)
        if gates is not None:
            state = g.mul(state, gates.picked(2, t).with_axis(-1))
        if rates is not None:
            stored = g.contract(key.with_axis(2), state).without(2)
            value = g.mul(rates.picked(2, t), g.sub(value, stored))
        state = g.add(state, g.mul(key.with_axis(-1), value.with_axis(2)))
        query = g.reshape(queries.picked(2, t), (batch, kv_num_heads, group, size))
        steps.append(g.reshape(g.contract(query, state), (batch, q_num_heads * values.shape[3])))
    output = g.mul(g.stack(steps, 1), factor)
    return g.cast(output, dtype), g.cast(state, state_dtype)


@lowers("CausalConvWithState")
def causal_conv_with_state(
    g: Builder,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    *,
    activation: str = "none",
) -> tuple[Tensor, Tensor]:
    """A convolution of each channel with what came before; the last elements are the next call's past."""
    if activation not in ("none", "silu", "swish"):
        raise Refuse(f"activation {activation!r}; expected 'none', 'silu' or 'swish'")
    if x.rank != 3 or w.rank != 3 or not w.shape[2]:
        raise Refuse(f"input {list(x.shape)} with weights {list(w.shape)}; expected three dimensions, and a tap")
    before = w.shape[2] - 1
    past = g.filled((*x.shape[:2], before), 0, x.dtype) if past_state is None else past_state
    whole = g.concat([past, x], 2)
    at = windows(whole.shape[2:], w.shape[2:], strides=None, dilations=None, pads=None, auto_pad="NOTSET")
    y = g.conv(whole, w, bias, at, groups=x.shape[1])
    if activation != "none":
        y = g.cast(swish(g, _wide(g, y)), x.dtype)
    return y, whole.sliced(2, whole.shape[2] - before, before)
