"""Texts as numbers of them: n-grams of tokens (`TfIdfVectorizer`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.registry import lowers
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor

MOST_COMPARISONS = 1 << 28
"""Of all n-grams of one length, with every place in the tokens where they could be, for one number of skips."""


@lowers("TfIdfVectorizer", since=9)
def tfidf_vectorizer(
    g: Builder,
    x: Tensor,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: Sequence[int],
    ngram_indexes: Sequence[int],
    pool_int64s: Sequence[int] | None = None,
    pool_strings: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """How often each n-gram of the pool is in a row of tokens; its tokens may lie up to `max_skip_count` + 1 apart."""
    pool = g.text_numbers(pool_strings) if pool_strings else np.array(pool_int64s or [], np.int64)
    if x.rank not in (1, 2) or mode not in ("TF", "IDF", "TFIDF"):
        raise Refuse(f"tokens {list(x.shape)} in mode {mode!r}; expected one or two dimensions, and TF, IDF or TFIDF")
    if not 1 <= min_gram_length <= max_gram_length <= len(ngram_counts) or max_skip_count < 0:
        raise Refuse(
            f"n-grams of {min_gram_length} to {max_gram_length} tokens, {max_skip_count} of them skipped, from a pool"
            f" of {len(ngram_counts)} lengths"
        )
    tokens = g.cast(x, DType.I64)
    tokens = tokens.with_axis(0) if x.rank == 1 else tokens
    grams = _grams(pool, ngram_counts)
    if sum(gram.shape[0] for gram in grams) != len(ngram_indexes) or min(ngram_indexes, default=0) < 0:
        raise Refuse(f"{len(ngram_indexes)} places for {sum(gram.shape[0] for gram in grams)} n-grams")
    counts = []
    for length, gram in enumerate(grams, 1):
        wanted = min_gram_length <= length <= max_gram_length and gram.size > 0
        farthest = min(max_skip_count, tokens.shape[1]) if length > 1 else 0  # farther apart, there is no token
        skips = range(farthest + 1) if wanted else ()
        counts.append(_counted(g, tokens, gram, skips))
    found = g.concat(counts, 1)
    if mode == "IDF":
        if len(set(ngram_indexes)) < len(ngram_indexes):
            raise Refuse("n-grams that share a place in mode IDF, which does not say whose weight stands there")
        found = g.minimum(found, 1)
    if mode != "TF" and weights:
        if len(weights) != len(ngram_indexes):
            raise Refuse(f"{len(weights)} weights for {len(ngram_indexes)} n-grams")
        found = g.mul(g.cast(found, DType.F32), g.constant(np.array(weights, np.float32)))
    result = g.cast(_placed(g, found, ngram_indexes), DType.F32)
    return result.without(0) if x.rank == 1 else result


def _grams(pool: Array, starts: Sequence[int]) -> list[Array]:
    """The n-grams of each length, [count][length]."""
    ends = [*starts[1:], pool.size]
    grams = []
    for length, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
        if not 0 <= start <= end <= pool.size or (end - start) % length:
            raise Refuse(f"{end - start} tokens for n-grams of {length}")
        grams.append(pool[start:end].reshape(-1, length))
    return grams


def _counted(g: Builder, tokens: Tensor, gram: Array, skips: Sequence[int]) -> Tensor:
    """How often each n-gram is in each row, i64[N][count]."""
    rows, columns = tokens.shape
    count, length = gram.shape
    total = g.filled((rows, count), 0, DType.I64)
    for skip in skips:
        places = columns - (length - 1) * (skip + 1)
        if places <= 0:
            continue
        if rows * places * count * length > MOST_COMPARISONS:
            raise Refuse(
                f"{count:,} n-grams at {places:,} places of {rows:,} rows; expected at most {MOST_COMPARISONS:,}"
            )
        same: Tensor | None = None
        for j in range(length):
            window = tokens.sliced(1, j * (skip + 1), places).with_axis(2)
            hit = g.equal(window, g.constant(np.ascontiguousarray(gram[:, j])))
            same = hit if same is None else g.both(same, hit)
        assert same is not None
        total = g.add(total, g.reduce_sum(g.cast(same, DType.I64), (1,), keepdims=False))
    return total


def _placed(g: Builder, counts: Tensor, indexes: Sequence[int]) -> Tensor:
    """Each count, or weighted count, at its place; those that share a place are added."""
    width = max(indexes, default=-1) + 1
    zeros = g.filled((counts.shape[0], 1), 0, counts.dtype)
    padded = g.concat([counts, zeros], 1)
    sources: list[list[int]] = [[] for _ in range(width)]
    for source, place in enumerate(indexes):
        sources[place].append(source)
    most = max(map(len, sources), default=0)
    found: Tensor | None = None
    for level in range(most):
        column = [own[level] if level < len(own) else counts.shape[1] for own in sources]
        part = g.take(padded, g.constant(np.array(column, np.int64)), 1)
        found = part if found is None else g.add(found, part)
    return g.filled((counts.shape[0], width), 0, counts.dtype) if found is None else found
