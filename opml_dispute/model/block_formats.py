"""
The formats of block-quantised weights, as in GGUF.

A row of K elements is K / `elements` blocks of `bytes` bytes, one behind the other; a tensor of them is of bytes, of
shape [rows, `row_bytes(K)`], and has the same bytes in the segment as in its file. docs/kernels.md, "Blocks", defines
each block's bytes; `dequantised` reads it in numpy, and `from_nbits` writes ONNX Runtime's MatMulNBits in it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from opml_dispute.engine.blocks import ACTIVATION_HEAD, BLOCK_SIZES

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class BlockFormat(IntEnum):
    """How weights are quantised (native/program/opcodes.h): GGUF's own numbers where it has the format."""

    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    N4 = 100
    """Four bits less a zero point, times a binary32: ONNX Runtime's MatMulNBits."""
    N8 = 101
    """The same of eight bits."""

    @property
    def elements(self) -> int:
        """Of a block."""
        return BLOCK_SIZES[self][0]

    @property
    def bytes(self) -> int:
        """Of a block."""
        return BLOCK_SIZES[self][1]

    def row_bytes(self, k: int) -> int:
        """Bytes of a row of `k` elements. Raises `ValueError` if these are no whole blocks."""
        if k <= 0 or k % self.elements:
            raise ValueError(f"rows of {k} elements in {self.name}; expected a multiple of {self.elements}")
        return k // self.elements * self.bytes

    def activation_bytes(self, k: int) -> int:
        """Bytes of a row of `k` activations, quantised for this format. Raises `ValueError` as `row_bytes`."""
        self.row_bytes(k)
        return k // self.elements * (ACTIVATION_HEAD + self.elements)


def dequantised(blocks: Bytes, fmt: BlockFormat) -> Floats:
    """The elements of rows of blocks, [rows, `row_bytes(K)`] to [rows, K], each rounded once to binary32."""
    rows = blocks.shape[0]
    each = np.ascontiguousarray(blocks).reshape(-1, fmt.bytes)
    with np.errstate(all="ignore"):
        values = _elements(each, fmt)
    return values.reshape(rows, -1)


def _half(blocks: Bytes, at: int) -> npt.NDArray[np.float64]:
    """The binary16 at byte `at` of each block, as a column. binary64 holds all that is computed of it exactly."""
    column: npt.NDArray[np.float64] = np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float64)
    return column


def _single(blocks: Bytes) -> npt.NDArray[np.float64]:
    column: npt.NDArray[np.float64] = np.ascontiguousarray(blocks[:, :4]).view("<f4").astype(np.float64)
    return column


def nibbles(data: Bytes) -> npt.NDArray[np.int64]:
    """The low halves of the bytes of each row, then the high ones."""
    return np.concatenate([data & 15, data >> 4], axis=1).astype(np.int64)


def fifth_bits(data: Bytes) -> npt.NDArray[np.int64]:
    """The 32 bits of four little-endian bytes, as 0 or 16."""
    return np.unpackbits(data, axis=1, bitorder="little").astype(np.int64) << 4


def scales_and_minima(data: Bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Eight pairs of six bits out of twelve bytes."""
    low, middle, high = (data[:, at : at + 4].astype(np.int64) for at in (0, 4, 8))
    scales = np.concatenate([low & 63, high & 15 | low >> 6 << 4], axis=1)
    minima = np.concatenate([middle & 63, high >> 4 | middle >> 6 << 4], axis=1)
    return scales, minima


def integers_q4_k(blocks: Bytes) -> npt.NDArray[np.int64]:
    """The integers of a block of 256, in runs of 32: [blocks][8][32]."""
    data = blocks[:, 16:144].reshape(-1, 4, 1, 32)
    return np.concatenate([data & 15, data >> 4], axis=2).reshape(-1, 8, 32).astype(np.int64)


def integers_q5_k(blocks: Bytes) -> npt.NDArray[np.int64]:
    """As `integers_q4_k`, with the fifth bit."""
    data = blocks[:, 48:176].reshape(-1, 4, 1, 32)
    low = np.concatenate([data & 15, data >> 4], axis=2).reshape(-1, 8, 32).astype(np.int64)
    fifth = blocks[:, 16:48].reshape(-1, 1, 32).astype(np.int64) >> np.arange(8).reshape(1, 8, 1) & 1
    return low | fifth << 4


def integers_q6_k(blocks: Bytes) -> npt.NDArray[np.int64]:
    """The signed integers of a block of 256, in runs of 16: [blocks][16][16]."""
    low = blocks[:, :128].reshape(-1, 2, 1, 2, 32)
    low = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32).astype(np.int64)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32).astype(np.int64) >> (2 * np.arange(4)).reshape(1, 1, 4, 1) & 3
    return (low | high << 4).reshape(-1, 16, 16) - 32


def scales_q6_k(blocks: Bytes) -> npt.NDArray[np.int64]:
    """The signed scales of its sixteen runs."""
    return blocks[:, 192:208].view(np.int8).astype(np.int64)


def _elements(blocks: Bytes, fmt: BlockFormat) -> Floats:
    if fmt is BlockFormat.Q4_K:
        return _k_elements(blocks, integers_q4_k(blocks))
    if fmt is BlockFormat.Q5_K:
        return _k_elements(blocks, integers_q5_k(blocks))
    return _q6_k_elements(blocks) if fmt is BlockFormat.Q6_K else _elements_32(blocks, fmt)


def _k_elements(blocks: Bytes, integers: npt.NDArray[np.int64]) -> Floats:
    scales, minima = scales_and_minima(blocks[:, 4:16])
    scale, minimum = _half(blocks, 0) * scales, _half(blocks, 2) * minima
    return (scale[:, :, None] * integers - minimum[:, :, None]).astype(np.float32)


def _q6_k_elements(blocks: Bytes) -> Floats:
    scale = _half(blocks, 208) * scales_q6_k(blocks)
    return (scale[:, :, None] * integers_q6_k(blocks)).astype(np.float32)


def integers_32(blocks: Bytes, fmt: BlockFormat) -> npt.NDArray[np.int64]:
    """The integers of a format of 32 elements, less its zero point: [blocks][32]."""
    match fmt:
        case BlockFormat.Q4_0:
            return nibbles(blocks[:, 2:18]) - 8
        case BlockFormat.Q4_1:
            return nibbles(blocks[:, 4:20])
        case BlockFormat.Q5_0:
            return (nibbles(blocks[:, 6:22]) | fifth_bits(blocks[:, 2:6])) - 16
        case BlockFormat.Q5_1:
            return nibbles(blocks[:, 8:24]) | fifth_bits(blocks[:, 4:8])
        case BlockFormat.Q8_0:
            return blocks[:, 2:34].view(np.int8).astype(np.int64)
        case BlockFormat.N4:
            return nibbles(blocks[:, 8:24]) - blocks[:, 4:5]
        case BlockFormat.N8:
            return blocks[:, 8:40].astype(np.int64) - blocks[:, 4:5]
    raise ValueError(f"{fmt.name} has blocks of {fmt.elements} elements")


def _elements_32(blocks: Bytes, fmt: BlockFormat) -> Floats:
    scale = _single(blocks) if fmt in (BlockFormat.N4, BlockFormat.N8) else _half(blocks, 0)
    minimum = _half(blocks, 2) if fmt in (BlockFormat.Q4_1, BlockFormat.Q5_1) else -0.0
    return (scale * integers_32(blocks, fmt) + minimum).astype(np.float32)


def from_nbits(
    packed: Bytes, scales: Floats, zero_points: Bytes | None, bits: int, block_size: int, n: int, k: int
) -> tuple[BlockFormat, Bytes]:
    """
    The weights of ONNX Runtime's MatMulNBits, [n, `k`] in blocks of `block_size` elements, as N4 or N8.

    `packed` holds `bits` bits an element, the first of two in the low half; `scales` a number for each block;
    `zero_points` as many integers, packed likewise a row at a time (None: the middle). Rows are made longer with zeros
    to a multiple of 32. Raises `ValueError` for other bits than 4 and 8, a block size that is no multiple of 32, and
    arrays that do not fit.
    """
    if bits not in (4, 8) or block_size <= 0 or block_size % 32:
        raise ValueError(f"{bits} bits in blocks of {block_size}; expected 4 or 8 bits in a multiple of 32")
    blocks = -(-k // block_size)
    data = np.asarray(packed, np.uint8).reshape(n, blocks, block_size * bits // 8)
    scale = np.asarray(scales, np.float32).reshape(n, blocks)
    if zero_points is None:
        zeros = np.full((n, blocks), 1 << (bits - 1), np.uint8)
    else:
        stored = np.asarray(zero_points, np.uint8).reshape(n, -1)
        zeros = (np.stack([stored & 15, stored >> 4], axis=2).reshape(n, -1) if bits == 4 else stored)[:, :blocks]
    q = np.stack([data & 15, data >> 4], axis=3).reshape(n, -1) if bits == 4 else data.reshape(n, -1)
    parts, row = block_size // 32, -(-k // 32)
    zeros = np.repeat(zeros, parts, axis=1)[:, :row]
    scale = np.repeat(scale, parts, axis=1)[:, :row]
    q = q.reshape(n, -1, 32)[:, :row].copy()
    behind = np.arange(row * 32).reshape(row, 32) >= k
    q = np.where(behind, zeros[:, :, None], q).astype(np.uint8)
    fmt = BlockFormat.N4 if bits == 4 else BlockFormat.N8
    made = np.zeros((n, row, fmt.bytes), np.uint8)
    made[:, :, :4] = np.ascontiguousarray(scale, "<f4").view(np.uint8).reshape(n, row, 4)
    made[:, :, 4] = zeros
    made[:, :, 8:] = q[:, :, :16] | q[:, :, 16:] << 4 if bits == 4 else q
    return fmt, made.reshape(n, -1)
