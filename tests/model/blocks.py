"""
The kernels of blocks, written from docs/kernels.md alone: to the bit, in numpy.

Sums of integers are numpy's, in whatever order; what is added in binary32 is added in the order that the page has, with
a fused multiply-add made of binary64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.model import block_formats as formats
from opml_dispute.model.block_formats import BlockFormat

Array = npt.NDArray[Any]
CANONICAL = np.uint32(0x7FC00000)


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c of binary32, rounded once: the sum is rounded to odd in binary64, where the product is exact."""
    product, addend = a.astype(np.float64) * b.astype(np.float64), np.asarray(c, np.float64)
    total = product + addend
    part = total - product
    error = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64).copy()
    odd = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
    up = (error > 0) == (total > 0)
    bits += np.where(odd & up, 1, 0) - np.where(odd & ~up, 1, 0)
    return bits.view(np.float64).astype(np.float32)


def canonical(x: Array) -> Array:
    return np.where(np.isnan(x), CANONICAL.view(np.float32), x).astype(np.float32)


def quantised(x: Array, elements: int) -> Array:
    """f32 [..., K] as bytes [..., K / elements * (4 + elements)]."""
    blocks = x.reshape(-1, elements).astype(np.float32)
    with np.errstate(all="ignore"):
        greatest = np.abs(blocks).max(axis=1)
        known = np.isfinite(blocks).all(axis=1)
        counts = known & (greatest >= np.float32(2.0**-110))
        scale = np.where(counts, greatest / np.float32(127), np.float32(0))
        scale = np.where(known, scale, CANONICAL.view(np.float32)).astype(np.float32)
        inverse = (np.float32(127) / greatest)[:, None]
        q = np.where(counts[:, None], np.rint(blocks * inverse), 0)
    head = scale.astype(">f4").view(np.uint8).reshape(-1, 4)
    return np.concatenate([head, q.astype(np.int8).view(np.uint8)], axis=1).reshape(*x.shape[:-1], -1)


def product(x: Array, w: Array, fmt: BlockFormat, bias: Array | None = None) -> Array:
    """Rows of activations [M, bytes] times rows of weights [N, bytes]: f32 [M, N]."""
    rows, columns = x.shape[0], w.shape[0]
    activation = x.reshape(rows, -1, 4 + fmt.elements)
    scale = np.ascontiguousarray(activation[:, :, :4]).view(">f4")[:, :, 0].astype(np.float32)
    q = np.ascontiguousarray(activation[:, :, 4:]).view(np.int8).astype(np.int64)
    blocks = w.reshape(columns, -1, fmt.bytes)
    out = np.zeros((rows, columns), np.float32)
    with np.errstate(all="ignore"):
        for b in range(blocks.shape[1]):
            dx = scale[:, b, None]
            here = np.ascontiguousarray(blocks[:, b])
            d, a, e, least = _parts(here, q[:, b], fmt)
            out = fma(d[None, :], dx * a.astype(np.float32), out)
            if e is not None:
                out = fma(e[None, :], dx * least.astype(np.float32), out)
        if bias is not None:
            out = out + bias[None, :]
    return canonical(out)


def _parts(w: Array, q: Array, fmt: BlockFormat) -> tuple[Array, Array, Array | None, Array]:
    """d[N], a[M][N], e[N] (None: no minima) and b[M][N] of one block of each row."""
    count = w.shape[0]
    if fmt.elements == 32:
        d = w[:, :4].copy().view("<f4")[:, 0] if fmt >= BlockFormat.N4 else w[:, :2].copy().view("<f2")[:, 0]
        minima = fmt in (BlockFormat.Q4_1, BlockFormat.Q5_1)
        e = w[:, 2:4].copy().view("<f2")[:, 0].astype(np.float32) if minima else None
        return d.astype(np.float32), q @ formats.integers_32(w, fmt).T, e, q.sum(axis=1)[:, None]
    runs = q.reshape(q.shape[0], 16 if fmt is BlockFormat.Q6_K else 8, -1)
    if fmt is BlockFormat.Q6_K:
        dots = np.einsum("mrk,nrk->mnr", runs, formats.integers_q6_k(w))
        a = (dots * formats.scales_q6_k(w)[None]).sum(axis=2)
        return w[:, 208:210].copy().view("<f2")[:, 0].astype(np.float32), a, None, np.zeros((q.shape[0], count))
    integers = formats.integers_q4_k(w) if fmt is BlockFormat.Q4_K else formats.integers_q5_k(w)
    scales, minima_of_runs = formats.scales_and_minima(w[:, 4:16])
    a = (np.einsum("mrk,nrk->mnr", runs, integers) * scales[None]).sum(axis=2)
    least = runs.sum(axis=2) @ minima_of_runs.T
    halves = w[:, :4].copy().view("<f2").astype(np.float32)
    return halves[:, 0], a, -halves[:, 1], least
