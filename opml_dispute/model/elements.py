"""
Element types: the type that each of ONNX's types has in the segment.

- Types that kernels take are kept (`DType`).
- No kernel computes in binary64: its arithmetic is made of integers (`binary64`). Operators that this has no rules for
  compute in binary32, and the program's notes name them (`lower.registry`).
- Texts are numbers, i64: places in one table of the model's texts, which the program's notes tell.
- Types narrower than a byte, and floats of 8 bits and less, are held by a wider type that has all their values
  (`held`): what computes such a value rounds or wraps it to the narrow type first (`lower.narrow`). A buffer knows
  which type the model means, and a program says so in its notes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
from onnx import TensorProto, numpy_helper

from opml_dispute.model import fold
from opml_dispute.model.opcodes import DType
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array

MOST_TOLD: Final = 10_000
"""Texts of the table that a program's notes tell."""

_HELD: dict[int, DType] = {
    TensorProto.INT2: DType.I8,
    TensorProto.UINT2: DType.U8,
    TensorProto.INT4: DType.I8,
    TensorProto.UINT4: DType.U8,
    TensorProto.FLOAT4E2M1: DType.F16,
    TensorProto.FLOAT6E2M3: DType.F16,
    TensorProto.FLOAT6E3M2: DType.F16,
    TensorProto.FLOAT8E4M3FN: DType.F16,
    TensorProto.FLOAT8E4M3FNUZ: DType.F16,
    TensorProto.FLOAT8E5M2: DType.F16,
    TensorProto.FLOAT8E5M2FNUZ: DType.F16,
    TensorProto.FLOAT8E8M0: DType.BF16,
    TensorProto.STRING: DType.I64,
}
"""Narrow types, and what holds their values exactly; of a text, its number in the program's table."""


def held(number: int) -> tuple[DType, int]:
    """The type that holds ONNX's element type `number`, and that number if it is narrow, else 0. Raises `Refuse`."""
    narrow = _HELD.get(number)
    return (dtype_of(number), 0) if narrow is None else (narrow, number)


def name_of(number: int) -> str:
    """What ONNX calls element type `number`; the number, if it has no name."""
    return str(TensorProto.DataType.Name(number)) if number in TensorProto.DataType.values() else f"type {number}"


def held_note(number: int) -> str:
    """What a program says about itself that holds a narrow type."""
    return f"{name_of(number)} is stored as {_HELD[number].name}, one number an element"


TEXT_NOTE = "texts are numbers, places in this table from 0 on, and any others stand for other texts: "


def text_note(texts: Sequence[str]) -> str:
    """What a program says about itself whose inputs or outputs are texts."""
    return (
        TEXT_NOTE + json.dumps(texts[:MOST_TOLD], ensure_ascii=False) + (" and more" if len(texts) > MOST_TOLD else "")
    )


def dtype_of(number: int) -> DType:
    """The type that ONNX's element type `number` has in the segment. Raises `Refuse` for one that no kernel takes."""
    try:
        return DType(number)
    except ValueError:
        names = {value: name for name, value in TensorProto.DataType.items()}
        expected = ", ".join(names[dtype] for dtype in DType)
        raise Refuse(f"element type {names.get(number, number)}; expected one of {expected}") from None


def values_of(tensor: TensorProto) -> Array:
    """A constant's elements, in the type that they become. Raises `Refuse` or `ValueError`."""
    dtype = held(tensor.data_type)[0]
    return as_type(np.asarray(numpy_helper.to_array(tensor)), dtype)


def as_type(values: Array, dtype: DType) -> Array:
    """`values` as `dtype`; binary64 may be rounded to binary32, and everything else is held exactly."""
    if values.dtype == np.float64 and dtype is DType.F32:
        return fold.narrowed(values)
    return values if values.dtype == dtype.numpy else values.astype(dtype.numpy)
