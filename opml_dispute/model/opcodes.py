"""
The primitive kernels and their functions: the numbers that node records carry.

The C header native/program/opcodes.h is the source; these enumerations mirror it, and a test compares the two.
docs/kernels.md specifies the kernels. `DType` also knows how ONNX and numpy call each element type.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import ml_dtypes
import numpy as np


class Opcode(IntEnum):
    """Which kernel a node runs."""

    COPY = 1
    FILL = 2
    UNARY = 3
    BINARY = 4
    SELECT = 5
    CAST = 6
    CONTRACT = 7
    CONV = 8
    POOL = 9
    REDUCE = 10
    ARGREDUCE = 11
    GATHER = 12
    SCATTER = 13
    TOPK = 14
    SCAN = 15
    TREE = 16
    POOL_INDEX = 17
    BLOCK_QUANTISE = 18
    BLOCK_CONTRACT = 19
    BLOCK_GATHER = 20


class Unary(IntEnum):
    """Functions of one element."""

    NEG = 1
    ABS = 2
    SIGN = 3
    RECIPROCAL = 4
    SQRT = 5
    FLOOR = 6
    CEIL = 7
    ROUND = 8
    EXP = 9
    LOG = 10
    SIN = 11
    COS = 12
    TAN = 13
    ASIN = 14
    ACOS = 15
    ATAN = 16
    SINH = 17
    COSH = 18
    TANH = 19
    ASINH = 20
    ACOSH = 21
    ATANH = 22
    ERF = 23
    SIGMOID = 24
    SOFTPLUS = 25
    RELU = 26
    NOT = 27
    BITNOT = 28
    ISNAN = 29
    ISINF = 30
    TRUNC = 31


class Binary(IntEnum):
    """Functions of two elements."""

    ADD = 1
    SUB = 2
    MUL = 3
    DIV = 4
    MIN = 5
    MAX = 6
    POW = 7
    MOD = 8
    FMOD = 9
    AND = 10
    OR = 11
    XOR = 12
    BITAND = 13
    BITOR = 14
    BITXOR = 15
    SHL = 16
    SHR = 17
    EQ = 18
    LT = 19
    LE = 20
    PRELU = 21
    ATAN2 = 22


class Reduction(IntEnum):
    """How many elements become one; NONE is a plain store and belongs to SCATTER alone."""

    SUM = 1
    PROD = 2
    MAX = 3
    MIN = 4
    NONE = 5


class Pooling(IntEnum):
    """The functions of POOL (docs/kernels.md, "POOL"); the C kernel has its own names."""

    MAX = 0
    AVERAGE = 1
    """Of the elements inside the input."""
    AVERAGE_PADDED = 2
    """Of the elements inside the input and its padding."""
    SUM = 3


class DType(IntEnum):
    """Element types, with ONNX's own numbers."""

    F32 = 1
    U8 = 2
    I8 = 3
    U16 = 4
    I16 = 5
    I32 = 6
    I64 = 7
    BOOL = 9
    F16 = 10
    F64 = 11
    U32 = 12
    U64 = 13
    BF16 = 16

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy type that holds one element, in the host's byte order."""
        return _NUMPY[self]

    @property
    def width(self) -> int:
        """Bytes of one element."""
        return WIDTHS[self]

    @property
    def is_float(self) -> bool:
        return self in (DType.F32, DType.F16, DType.F64, DType.BF16)

    @property
    def is_integer(self) -> bool:
        return not self.is_float and self is not DType.BOOL

    @property
    def is_signed(self) -> bool:
        return self.is_float or self in (DType.I8, DType.I16, DType.I32, DType.I64)

    @classmethod
    def of(cls, dtype: np.dtype[Any] | type) -> DType:
        """The element type that numpy calls `dtype`. Raises `KeyError` for those that no kernel knows."""
        return _FROM_NUMPY[np.dtype(dtype)]


_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.F32: np.dtype(np.float32),
    DType.U8: np.dtype(np.uint8),
    DType.I8: np.dtype(np.int8),
    DType.U16: np.dtype(np.uint16),
    DType.I16: np.dtype(np.int16),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.BOOL: np.dtype(np.bool_),
    DType.F16: np.dtype(np.float16),
    DType.F64: np.dtype(np.float64),
    DType.U32: np.dtype(np.uint32),
    DType.U64: np.dtype(np.uint64),
    DType.BF16: np.dtype(ml_dtypes.bfloat16),
}
_FROM_NUMPY = {numpy_type: dtype for dtype, numpy_type in _NUMPY.items()}
WIDTHS = {dtype: numpy_type.itemsize for dtype, numpy_type in _NUMPY.items()}
"""`DType.width`, looked up: for what asks about every operand of a long program."""
