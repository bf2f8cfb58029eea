"""
Element types on their way in: which type each of ONNX's becomes in the segment.

- Types that kernels take stay what they are (`DType`).
- binary64 becomes binary32, in inputs, outputs and constants: there is no binary64 arithmetic in the VM. A program
  made from such a model says so in its notes.
- Constants of types narrower than a byte, and of 8-bit floats, become a type that holds all their values (`widened`).
  Inputs and outputs of such types, and computing such values, are refused.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, numpy_helper

from opml_dispute.model import fold
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array

BINARY64_NOTE = "binary64 is stored and computed as binary32 (24 bits of precision)"

_WIDENED: dict[int, DType] = {
    TensorProto.INT4: DType.I8,
    TensorProto.UINT4: DType.U8,
    TensorProto.FLOAT8E4M3FN: DType.F32,
    TensorProto.FLOAT8E4M3FNUZ: DType.F32,
    TensorProto.FLOAT8E5M2: DType.F32,
    TensorProto.FLOAT8E5M2FNUZ: DType.F32,
    TensorProto.FLOAT4E2M1: DType.F32,
}
"""Types that only constants may have, and what holds their values exactly."""


def dtype_of(number: int) -> DType:
    """What ONNX's element type `number` becomes. Raises `Refuse` for one that no kernel takes."""
    if number == TensorProto.DOUBLE:
        return DType.F32
    try:
        return DType(number)
    except ValueError:
        names = {value: name for name, value in TensorProto.DataType.items()}
        expected = ", ".join(names[dtype] for dtype in DType)
        raise Refuse(f"element type {names.get(number, number)}; expected one of {expected}") from None


def values_of(tensor: TensorProto) -> Array:
    """A constant's elements, in the type that they become. Raises `Refuse` or `ValueError`."""
    widened = _WIDENED.get(tensor.data_type)
    dtype = widened or dtype_of(tensor.data_type)
    return as_type(np.asarray(numpy_helper.to_array(tensor)), dtype)


def as_type(values: Array, dtype: DType) -> Array:
    """`values` as `dtype`; binary64 is rounded to binary32, and everything else is held exactly."""
    if values.dtype == np.float64:
        return fold.narrowed(values)
    return values if values.dtype == dtype.numpy else values.astype(dtype.numpy)


def is_widened(number: int) -> bool:
    """Whether only constants may have ONNX's element type `number`."""
    return number in _WIDENED
