"""
The steps that operations of binary64 become, for the engine to know them again (engine/doubles.py).

Each is emitted once, by the code that emits it for models (`binary64`), on operands without values; so a pattern is
what a program has. Where an operand is a constant, much of the work is done when compiling, and the pattern says what
of the constants in its steps is made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from struct import Struct
from typing import Final

import numpy as np

from opml_dispute.engine.doubles import Bits, Derived, Double, Fixed, Given, Made, Pattern, PatternStep, Reference
from opml_dispute.engine.folding import float_mode
from opml_dispute.model.emitter import Emitter
from opml_dispute.model.opcodes import Binary, DType, Unary
from opml_dispute.model.plan import live_operations
from opml_dispute.model.recorder import FOLD_LIMIT_BYTES, Op
from opml_dispute.model.tensor import Array, Buffer, Tensor

Operation = Callable[..., Tensor]

_FEW: Final = 2
_MANY: Final = FOLD_LIMIT_BYTES
"""So many numbers are made when running even where all are known to be the same."""
_SAMPLE: Final = np.array([1.2345678901234567, -3e-300])
"""Numbers that nothing but themselves has the bits of."""

_BINARY: Final = {
    Double.ADD: Binary.ADD, Double.SUB: Binary.SUB, Double.MUL: Binary.MUL, Double.DIV: Binary.DIV,
    Double.MIN: Binary.MIN, Double.MAX: Binary.MAX, Double.EQ: Binary.EQ, Double.LT: Binary.LT, Double.LE: Binary.LE,
}  # fmt: skip
_UNARY: Final = {
    Double.SQRT: Unary.SQRT, Double.FLOOR: Unary.FLOOR, Double.CEIL: Unary.CEIL, Double.TRUNC: Unary.TRUNC,
    Double.ROUND: Unary.ROUND, Double.NEG: Unary.NEG, Double.ABS: Unary.ABS, Double.RELU: Unary.RELU,
    Double.SIGN: Unary.SIGN, Double.ISNAN: Unary.ISNAN,
}  # fmt: skip
_TYPES: Final = (DType.F32, DType.I64, DType.U64)
"""Others are made one of these first, by a step of their own, when they become binary64."""


@cache
def double_patterns() -> tuple[Pattern, ...]:
    """All patterns."""
    with float_mode():
        return tuple(_patterns())


def _patterns() -> Iterator[Pattern]:
    wide = DType.F64
    for function, binary in _BINARY.items():
        operation = partial(Emitter.binary, function=binary)
        yield _pattern(function, lambda g, x, y, op=operation: op(g, x=x, y=y), (wide, wide))
        for known in (0, 1) if binary is not Binary.SUB else (0,):  # x - c is x + (0 - c), and compiled so
            yield _pattern(function, lambda g, x, y, op=operation: op(g, x=x, y=y), (wide, wide), known=known)
    for function, unary in _UNARY.items():
        for count in (_FEW, _MANY) if unary is Unary.SQRT else (_FEW,):
            yield _pattern(function, lambda g, x, op=unary: g.unary(op, x), (wide,), count=count)
    yield _pattern(Double.RECIPROCAL, lambda g, x: g.unary(Unary.RECIPROCAL, x), (wide,), count=_MANY)
    for dtype in _TYPES:
        yield _pattern(Double.OF, lambda g, x: g.cast(x, DType.F64), (dtype,))
    for dtype in (*_TYPES, DType.BOOL, DType.F16, DType.BF16, DType.I32):
        yield _pattern(Double.TO, lambda g, x, to=dtype: g.cast(x, to), (wide,))
    for dtype in (DType.U32, DType.U16, DType.I16, DType.U8, DType.I8):
        by = DType.I64 if dtype is DType.U32 else DType.I32  # as ONNX's Cast makes them (lower/narrow.py)
        yield _pattern(Double.TO, lambda g, x, by=by, to=dtype: g.cast(g.cast(x, by), to), (wide,))
        yield _pattern(Double.TO_NEAREST, lambda g, x, to=dtype: g.cast(x, to), (wide,))
    for function in (Double.RISING_KEY, Double.FALLING_KEY):
        largest = function is Double.RISING_KEY
        yield _pattern(function, lambda g, x, up=largest: g.wide.ordered(x, largest=up), (wide,))
    yield _pattern(Double.OF_KEY, lambda g, x: g.wide.of_key(x), (DType.I64,))


_HEAD, _WORD = Struct(">HBB6B"), Struct(">4Q")


def _kind(op: Op) -> bytes:
    """As engine/doubles.py has it of a record."""
    types = [tensor.dtype for tensor in op.inputs]
    return _HEAD.pack(op.opcode, len(types), op.out.dtype, *types, *(0,) * (6 - len(types))) + _WORD.pack(*op.imm)


def _emitted(
    operation: Operation, types: Sequence[DType], count: int, known: tuple[int, Array] | None
) -> tuple[list[Op], list[Tensor]]:
    """The steps of an operation, and its operands."""
    g = Emitter()
    operands = [g.new(dtype, (count,)) for dtype in types]
    if known is not None:
        operands[known[0]] = g.constant(known[1])
    made = operation(g, *operands)
    return live_operations(g.ops, [made]), operands


def _rows(ops: Sequence[Op]) -> list[Buffer]:
    """The constants in the steps that have a number for each of the operand's, in the order of the steps."""
    buffers = {id(t.buffer): t.buffer for op in ops for t in op.inputs}
    return [buffer for buffer in buffers.values() if buffer.values is not None and buffer.size > 1]


def _values(buffer: Buffer) -> Array:
    assert buffer.values is not None
    return buffer.values


def _pattern(
    function: Double, operation: Operation, types: Sequence[DType], *, known: int | None = None, count: int = _FEW
) -> Pattern:
    ops, operands = _emitted(operation, types, count, None if known is None else (known, _SAMPLE))
    rows = [] if known is None else _rows(ops)
    order = list(range(len(rows)))
    derive = None
    kinds = [int(dtype) for dtype in types]
    if known is not None:
        own, is_key = _own(rows)
        order.insert(0, order.pop(own))
        kinds[known] = int(DType.I64 if is_key else DType.F64)
        derive = partial(_derived, operation, tuple(types), known, tuple(order), is_key)
    numbers = {id(op.out.buffer): n for n, op in enumerate(ops)}
    derived = {id(rows[row]): n for n, row in enumerate(order)}
    given = {id(tensor.buffer): n for n, tensor in enumerate(operands)}
    of: dict[int, int] = {id(tensor.buffer): 1 << n for n, tensor in enumerate(operands)}
    of |= {id(row): 1 << known for row in rows if known is not None}
    steps = []
    for op in ops:
        reads: list[Reference] = []
        for tensor in op.inputs:
            key = id(tensor.buffer)
            if key in numbers:
                reads.append(Made(numbers[key]))
            elif key in derived:
                reads.append(Derived(derived[key]))
            elif key in given:
                reads.append(Given(given[key]))
            else:
                reads.append(Fixed(_bits(tensor.buffer)))
        depends = 0
        for tensor in op.inputs:
            depends |= of.get(id(tensor.buffer), 0)
        of[id(op.out.buffer)] = depends or 1  # of constants alone: as many as there are of the one operand
        steps.append(PatternStep(_kind(op), of[id(op.out.buffer)], tuple(reads)))
    return Pattern(function, tuple(steps), tuple(kinds), known, derive)


def _bits(buffer: Buffer) -> int:
    values = _values(buffer).view(f"u{buffer.dtype.width}")
    assert (values == values[0]).all()
    return int(values[0])


def _own(rows: Sequence[Buffer]) -> tuple[int, bool]:
    """Which of the constants in the steps has the bits of `_SAMPLE`, or else its keys; and whether it has the keys."""
    bits, keys = _SAMPLE.view(np.uint64), _keys(_SAMPLE)
    wide = [n for n, row in enumerate(rows) if row.dtype.width == 8]
    found = [n for n in wide if (_values(rows[n]).view(np.uint64) == bits).all()]
    if found:
        return found[0], False
    return next(n for n in wide if (_values(rows[n]).view(np.int64) == keys).all()), True


def _keys(numbers: Array) -> Array:
    """As `Binary64.key`, which is its own inverse but for the sign of zero."""
    bits = numbers.view(np.int64)
    with np.errstate(over="ignore"):
        return np.where(bits < 0, np.int64(-(1 << 63)) - bits, bits)


def _derived(
    operation: Operation, types: tuple[DType, ...], known: int, order: tuple[int, ...], is_key: bool, own: Bits
) -> list[Array]:
    """`Pattern.derive`: what is made of a constant when the operation is compiled."""
    numbers = (_keys(own) if is_key else own).view(np.float64)
    with float_mode():
        ops, _ = _emitted(operation, types, max(own.size, _FEW), (known, np.resize(numbers, max(own.size, _FEW))))
    rows = _rows(ops)
    return [_values(rows[row])[: own.size] for row in order]
