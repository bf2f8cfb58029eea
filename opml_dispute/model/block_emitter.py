"""
The kernels for weights that stay quantised in blocks (docs/kernels.md, "Blocks"): a linear layer, and rows of a table.

Weights are constants of bytes, [N, bytes of a row], just as a GGUF file has them (`block_formats`).
"""

from __future__ import annotations

from math import prod

from opml_dispute.model.block_formats import BlockFormat
from opml_dispute.model.emitter import Emitter
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Tensor


class BlockEmitter(Emitter):
    """Records operations on block-quantised weights, too."""

    def block_linear(self, x: Tensor, w: Tensor, fmt: BlockFormat, bias: Tensor | None = None) -> Tensor:
        """
        x[..., K] (f32) times the transpose of w[N][K], whose rows are blocks of `fmt`: f32 [..., N], plus bias[N].

        The activations are quantised to int8 (docs/kernels.md, "Blocks"). Raises `Refuse` for what does not fit.
        """
        return self.block_contract(self.block_quantise(x, fmt), w, fmt, bias)

    def block_quantise(self, x: Tensor, fmt: BlockFormat) -> Tensor:
        """Activations x[..., K] (f32) as blocks of int8, [..., bytes]: what `block_contract` takes for `fmt`."""
        if x.dtype is not DType.F32 or not x.rank or x.shape[-1] % fmt.elements:
            raise Refuse(
                f"{x.dtype.name}{list(x.shape)} for {fmt.name}; expected F32 in rows of {fmt.elements} times n"
            )
        k = x.shape[-1]
        x = self.contiguous(x)
        row = fmt.activation_bytes(k) if k else 0
        out = self.made(DType.U8, (*x.shape[:-1], row), x)
        rows, blocks = prod(x.shape[:-1]), k // fmt.elements
        self._append(
            Opcode.BLOCK_QUANTISE,
            out,
            [x],
            2,
            (rows, 0, k),
            imm=(fmt.elements,),
            grains=(blocks,),
            count=rows * blocks,
        )
        return out

    def block_contract(
        self, x: Tensor, w: Tensor, fmt: BlockFormat, bias: Tensor | None = None, *, out: Tensor | None = None
    ) -> Tensor:
        """
        Activations that `block_quantise` made times the transpose of w[N][K]: f32 [..., N], plus bias[N].

        `out` is the view that takes the result, where it is to be made in a part of a larger tensor; it is packed.
        """
        k = self._block_columns(w, fmt)
        if x.dtype is not DType.U8 or not x.rank or x.shape[-1] != fmt.activation_bytes(k):
            raise Refuse(f"activations {x.dtype.name}{list(x.shape)} with rows of {k} elements in {fmt.name}")
        if bias is not None and (bias.dtype is not DType.F32 or bias.shape != w.shape[:1]):
            raise Refuse(f"a bias {bias.dtype.name}{list(bias.shape)} for {w.shape[0]} rows of weights")
        inputs = [self.contiguous(tensor) for tensor in (x, w, bias) if tensor is not None]
        out = self._into(out, DType.F32, (*x.shape[:-1], w.shape[0]), *inputs)
        if not out.is_contiguous:
            raise Refuse(f"a result into a view of strides {list(out.strides)}; expected it packed")
        body = (prod(x.shape[:-1]), w.shape[0], k)
        self._append(Opcode.BLOCK_CONTRACT, out, inputs, 2, body, imm=(fmt,), grains=(w.shape[0], 16))
        return out

    def block_gather(self, w: Tensor, indices: Tensor, fmt: BlockFormat) -> Tensor:
        """Rows of w[N][K] at `indices` (i64), dequantised: f32 [..., K]. An index outside latches a status."""
        k = self._block_columns(w, fmt)
        if indices.dtype is not DType.I64:
            raise Refuse(f"indices of type {indices.dtype.name}; expected I64")
        inputs = [self.contiguous(w), self.contiguous(indices)]
        out = self.made(DType.F32, (*indices.shape, k), *inputs)
        return self._block_rows(out, inputs, (indices.size, w.shape[0], k), fmt)

    def _block_rows(self, out: Tensor, inputs: list[Tensor], body: tuple[int, ...], fmt: BlockFormat) -> Tensor:
        blocks = body[2] // fmt.elements
        self._append(Opcode.BLOCK_GATHER, out, inputs, 2, body, imm=(fmt,), grains=(blocks,), count=body[0] * blocks)
        return out

    def _block_columns(self, w: Tensor, fmt: BlockFormat) -> int:
        """K of w[N][bytes of a row]. Raises `Refuse` if these are no rows of `fmt`."""
        if w.dtype is not DType.U8 or w.rank != 2 or not w.size or w.shape[1] % fmt.bytes:
            found = f"{w.dtype.name}{list(w.shape)}"
            raise Refuse(f"weights {found} in {fmt.name}; expected U8 rows of whole blocks of {fmt.bytes} bytes")
        return w.shape[1] // fmt.bytes * fmt.elements
