"""Weights of a few bits in blocks, each block with its scale: products with them, and parts of them."""

from __future__ import annotations

import numpy as np

from opml_dispute.model.block_formats import BlockFormat, from_nbits
from opml_dispute.model.builder import Builder
from opml_dispute.model.lower.quantise import dequantize_linear
from opml_dispute.model.lower.registry import MICROSOFT, lowers
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Tensor

WHOLE_BLOCK = 32
"""Elements that the block kernels quantise together."""


@lowers("MatMulNBits", domain=MICROSOFT, in_f32=True, like=0)
def matmul_nbits(
    g: Builder,
    x: Tensor,
    weights: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    group_indices: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    K: int,
    N: int,
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
    weight_prepacked: int = 0,
) -> Tensor:
    """
    x[..., K] times the transpose of weights[N][K], plus bias[N].

    In blocks of a multiple of 32 elements the weights stay as they are, and x is quantised to int8, block by block
    (docs/kernels.md, "Blocks"), whatever `accuracy_level` allows; other weights become floats.
    """
    if weight_prepacked or group_indices is not None:
        raise Refuse("weights packed for one processor, or group indices; expected neither")
    if bits not in (2, 4, 8) or block_size < 1 or not x.rank or x.shape[-1] != K:
        raise Refuse(f"{list(x.shape)} times {N} rows of {K} elements of {bits} bits; expected 2, 4 or 8 bits")
    packed, scale = _weights(g, weights, "the weights"), _weights(g, scales, "the scales").astype(np.float32)
    zeros = None if zero_points is None else _weights(g, zero_points, "the zero points")
    blocks = -(-K // block_size)
    if packed.size * 8 != N * blocks * block_size * bits or scale.size != N * blocks:
        raise Refuse(f"weights {list(weights.shape)} and scales {list(scales.shape)} for {N} rows of {blocks} blocks")
    rows_of_zeros = -(-blocks * bits // 8) if zeros is not None and zeros.dtype == np.uint8 else blocks
    if zeros is not None and zeros.size != N * rows_of_zeros:
        raise Refuse(f"zero points {list(zeros.shape)} for {N} rows of {blocks} blocks of {bits} bits")
    what, given = (bits, block_size, N, K), [weights, scales, *((zero_points,) if zero_points is not None else ())]
    if bits != 2 and block_size % WHOLE_BLOCK == 0 and (zeros is None or zeros.dtype == np.uint8):

        def in_blocks() -> tuple[BlockFormat, Tensor]:
            form, rows = from_nbits(packed, scale, zeros, bits, block_size, N, K)
            return form, g.constant(rows)

        form, rows = g.once(("blocks", *what), given, in_blocks)
        missing = -K % WHOLE_BLOCK
        padded = g.pad(x, (0,) * x.rank, (*(0,) * (x.rank - 1), missing)) if missing else x
        return g.block_linear(padded, rows, form, bias)

    def as_floats() -> Tensor:
        return g.constant(np.ascontiguousarray(_floats(packed, scale, zeros, bits, block_size, N)[:, :K]))

    y = g.matmul(x, g.once(("floats", *what), given, as_floats).transposed((1, 0)))
    return y if bias is None else g.add(y, bias)


@lowers("GatherBlockQuantized", domain=MICROSOFT)
def gather_block_quantized(
    g: Builder,
    data: Tensor,
    indices: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    *,
    bits: int = 4,
    block_size: int = 128,
    gather_axis: int = 0,
    quantize_axis: int = 1,
) -> Tensor:
    """
    Parts of `data` along `gather_axis`, less their zero points, times their scales, in the scales' type.

    Bytes without sign hold 8 bits, or several numbers of fewer bits along the last dimension, and are about half of
    their range where there are no zero points.
    """
    parts = [data, scales] if zero_points is None else [data, scales, zero_points]
    if any(part.rank != data.rank or not part.size for part in parts):
        raise Refuse(f"data, scales and zero points {[list(part.shape) for part in parts]}; expected elements in each")
    if zero_points is not None and zero_points.dtype is not data.dtype:
        found = f"zero points of type {zero_points.dtype.name} of data of type {data.dtype.name}"
        raise Refuse(f"{found}; expected one type")
    if data.dtype is DType.U8 and not data.narrow:
        if bits not in (2, 4, 8):
            raise Refuse(f"numbers of {bits} bits; expected 2, 4 or 8")
        if zero_points is None:
            zero_points = g.constant(np.full(scales.shape, 1 << (bits - 1), np.uint8))
        elif bits < 8:
            blocks = scales.shape[-1]
            zero_points = g.constant(_spread_bits(_weights(g, zero_points, "the zero points"), bits)[..., :blocks])
        if bits < 8:
            data = g.constant(_spread_bits(_weights(g, data, "the data"), bits))
    if zero_points is not None and zero_points.shape != scales.shape:
        raise Refuse(f"zero points {list(zero_points.shape)} with scales {list(scales.shape)}")
    along, places = g.axis(data, quantize_axis), g.axis(data, gather_axis)
    if along == places or scales.rank != data.rank:
        raise Refuse(f"scales {list(scales.shape)} for {list(data.shape)}, in blocks along the axis of the indices")
    rows, row_scales = g.take(data, indices, places), g.take(scales, indices, places)
    row_zeros = None if zero_points is None else g.take(zero_points, indices, places)
    along += indices.rank - 1 if along > places else 0
    return dequantize_linear(g, rows, row_scales, row_zeros, axis=along, block_size=block_size)


def _spread_bits(data: Array, bits: int) -> Array:
    """u8[..., n] -> u8[..., n * 8 / bits]: each byte's numbers, the one in the lowest bits first."""
    parts = [(data >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.ascontiguousarray(np.stack(parts, axis=-1).reshape(*data.shape[:-1], -1))


def _weights(g: Builder, x: Tensor, what: str) -> Array:
    return g.known(x, what, x.size)


def _unpacked(data: Array, bits: int, n: int) -> Array:
    """The integers of each of `n` rows, the first in the lowest bits of a byte."""
    return _spread_bits(data.reshape(n, -1).astype(np.uint8), bits)


def _floats(packed: Array, scale: Array, zeros: Array | None, bits: int, block_size: int, n: int) -> Array:
    """(q - zero point) * scale for whole blocks, [n][blocks * block_size] in binary32."""
    scale = scale.reshape(n, -1)
    if zeros is None:
        zero = np.full(scale.shape, 1 << (bits - 1), np.float32)
    elif zeros.dtype == np.uint8:
        zero = _unpacked(zeros, bits, n)[:, : scale.shape[1]].astype(np.float32)
    else:
        zero = zeros.reshape(n, -1).astype(np.float32)
    spread = [np.repeat(t, block_size, axis=1) for t in (zero, scale)]
    return np.asarray((_unpacked(packed, bits, n).astype(np.float32) - spread[0]) * spread[1], DType.F32.numpy)
