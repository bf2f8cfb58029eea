"""
A second reading of node records: slow, in numpy, and written from docs/kernels.md alone.

`run` executes a program the way the segment describes it: bytes at addresses, one record after the other, freed
blocks zero afterwards. It shares no code with the kernels or with the compiler's folding, so that where two of
them agree, neither is likely to be wrong. Float sums are numpy's and transcendentals the platform's, so floats agree to
a tolerance, everything else exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from opml_dispute.model.block_formats import BlockFormat, dequantised
from opml_dispute.model.opcodes import Binary, DType, Opcode, Reduction, Unary
from opml_dispute.model.program import Program
from opml_dispute.model.record import Record, signed64
from tests.model import blocks

Array = npt.NDArray[Any]


class IndexOutOfRange(Exception):
    """What the segment's status 7 stands for."""


class Segment:
    """The segment's blocks as numpy arrays of bytes in host order, by offset."""

    def __init__(self, program: Program) -> None:
        self.blocks: dict[int, tuple[int, npt.NDArray[np.uint8]]] = {}
        for block in program.weights:
            self.reserve(block.offset, block.log2_size)
            raw = np.frombuffer(block.data, np.uint8)
            self.blocks[block.offset][1][: raw.size] = raw
        for planned in program.blocks:
            self.reserve(planned.offset, planned.log2_size)

    def reserve(self, offset: int, log2_size: int) -> None:
        self.blocks[offset] = (1 << log2_size, np.zeros(1 << log2_size, np.uint8))

    def elements(self, offset: int, dtype: DType) -> tuple[Array, int]:
        """The block around `offset` as elements of `dtype`, and the index of the one at `offset`."""
        start = max(o for o in self.blocks if o <= offset)
        size, raw = self.blocks[start]
        assert offset < start + size, hex(offset)
        return raw.view(dtype.numpy), (offset - start) // dtype.width

    def view(self, offset: int, dtype: DType, dims: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """The operand over an iteration space; writing to it writes the block."""
        elements, first = self.elements(offset, dtype)
        reach = first + sum((size - 1) * stride for size, stride in zip(dims, strides, strict=True))
        assert 0 <= reach < elements.size or math.prod(dims) == 0
        width = dtype.width
        view: Array = np.lib.stride_tricks.as_strided(elements[first:], dims, [stride * width for stride in strides])
        return view


def run(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The program's outputs. Raises `IndexOutOfRange` where the segment would latch a status."""
    segment = Segment(program)
    for spec in program.inputs:
        array = np.asarray(inputs[spec.name])
        if (array.shape, array.dtype) != (spec.shape, spec.dtype.numpy):
            raise ValueError(f"{spec.name} is {array.dtype}{list(array.shape)}; expected {spec.dtype.name}{spec.shape}")
        elements, first = segment.elements(spec.offset, spec.dtype)
        elements[first : first + array.size] = array.reshape(-1)
    for index in range(program.node_count):
        record = program.record(index)
        with np.errstate(all="ignore"):
            _KERNELS[record.opcode](segment, record)
        for free in record.frees:
            segment.blocks[free.offset][1][:] = 0
    outputs = {}
    for spec in program.outputs:
        elements, first = segment.elements(spec.offset, spec.dtype)
        outputs[spec.name] = elements[first : first + math.prod(spec.shape)].reshape(spec.shape).copy()
    return outputs


def _store(out: Array, values: Array, record: Record) -> None:
    """Writes the part [lo, hi) of `values` (the whole iteration space) into the view `out`."""
    made = np.arange(math.prod(out.shape)).reshape(out.shape)
    np.copyto(out, np.asarray(values).astype(out.dtype), where=(made >= record.lo) & (made < record.hi))


def _operand(segment: Segment, record: Record, number: int) -> Array:
    """Operand 0 (output), 1, 2 or 3 over the iteration space."""
    offset = record.out if number == 0 else record.inputs[number - 1]
    dtype = record.dtype_out if number == 0 else record.dtypes_in[number - 1]
    return segment.view(offset, dtype, record.dims, record.strides(number))


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64)))


def _wide(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Through binary64, so that one rounding is left."""
    return lambda x: function(x.astype(np.float64)) if x.dtype.kind != "V" else function(x.astype(np.float32))


_UNARY: dict[Unary, Callable[[Array], Array]] = {
    Unary.NEG: lambda x: np.asarray(0 - x if x.dtype.kind in "iu" else -x),
    Unary.ABS: np.abs,
    Unary.SIGN: np.sign,
    Unary.RECIPROCAL: _wide(lambda x: 1 / x),
    Unary.SQRT: _wide(np.sqrt),
    Unary.FLOOR: np.floor,
    Unary.CEIL: np.ceil,
    Unary.ROUND: np.rint,
    Unary.EXP: _wide(np.exp),
    Unary.LOG: _wide(np.log),
    Unary.SIN: _wide(np.sin),
    Unary.COS: _wide(np.cos),
    Unary.TAN: _wide(np.tan),
    Unary.ASIN: _wide(np.arcsin),
    Unary.ACOS: _wide(np.arccos),
    Unary.ATAN: _wide(np.arctan),
    Unary.SINH: _wide(np.sinh),
    Unary.COSH: _wide(np.cosh),
    Unary.TANH: _wide(np.tanh),
    Unary.ASINH: _wide(np.arcsinh),
    Unary.ACOSH: _wide(np.arccosh),
    Unary.ATANH: _wide(np.arctanh),
    Unary.ERF: _wide(_erf),
    Unary.SIGMOID: _wide(lambda x: 1 / (1 + np.exp(-x))),
    Unary.SOFTPLUS: _wide(lambda x: np.logaddexp(0, x)),
    Unary.RELU: lambda x: np.maximum(x, 0),
    Unary.NOT: np.logical_not,
    Unary.BITNOT: np.invert,
    Unary.ISNAN: np.isnan,
    Unary.TRUNC: np.trunc,
}


def _unary(segment: Segment, record: Record) -> None:
    x = _operand(segment, record, 1)
    if record.imm[0] == Unary.ISINF:
        values = (x == -np.inf) & bool(record.imm[1] & 1) | (x == np.inf) & bool(record.imm[1] & 2)
    else:
        values = _UNARY[Unary(record.imm[0])](x)
    _store(_operand(segment, record, 0), values, record)


def _integer_division(x: Array, y: Array) -> Array:
    whole = [0 if b == 0 else abs(int(a)) // abs(int(b)) * (-1 if (a < 0) != (b < 0) else 1) for a, b in _pairs(x, y)]
    return _wrapped(whole, x)


def _pairs(x: Array, y: Array) -> list[tuple[int, int]]:
    x, y = np.broadcast_arrays(x, y)
    return [(int(a), int(b)) for a, b in zip(x.reshape(-1), y.reshape(-1), strict=True)]


def _wrapped(values: list[int], like: Array) -> Array:
    bits = 8 * like.dtype.itemsize
    unsigned = np.array([value & (1 << bits) - 1 for value in values], f"u{like.dtype.itemsize}")
    return unsigned.view(like.dtype).reshape(like.shape)


def _modulo(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        return _wrapped([a % b if b else 0 for a, b in _pairs(x, y)], x)
    return np.mod(x, y)


def _fmod(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu":
        return _wrapped([abs(a) % abs(b) * (-1 if a < 0 else 1) if b else 0 for a, b in _pairs(x, y)], x)
    return np.fmod(x, y)


def _power(x: Array, y: Array) -> Array:
    if x.dtype.kind not in "iu":
        return np.power(x.astype(np.float64), y.astype(np.float64))
    return _wrapped([pow(b, e, 1 << 64) if e >= 0 else _negative_power(b, e) for b, e in _pairs(x, y)], x)


def _negative_power(base: int, exponent: int) -> int:
    """0, except of 1 and -1."""
    return 0 if abs(base) != 1 else base if exponent % 2 else 1


def _shift(x: Array, y: Array, left: bool) -> Array:
    bits = 8 * x.dtype.itemsize
    shifts = [(a, b & (1 << 64) - 1) for a, b in _pairs(x, y)]
    return _wrapped([(a << b if b < bits else 0) if left else a >> min(b, bits) for a, b in shifts], x)


_BINARY: dict[Binary, Callable[[Array, Array], Array]] = {
    Binary.ADD: np.add,
    Binary.SUB: np.subtract,
    Binary.MUL: np.multiply,
    Binary.DIV: lambda x, y: _integer_division(x, y) if x.dtype.kind in "iu" else np.divide(x, y),
    Binary.MIN: np.minimum,
    Binary.MAX: np.maximum,
    Binary.POW: _power,
    Binary.MOD: _modulo,
    Binary.FMOD: _fmod,
    Binary.AND: np.logical_and,
    Binary.OR: np.logical_or,
    Binary.XOR: np.logical_xor,
    Binary.BITAND: np.bitwise_and,
    Binary.BITOR: np.bitwise_or,
    Binary.BITXOR: np.bitwise_xor,
    Binary.SHL: lambda x, y: _shift(x, y, True),
    Binary.SHR: lambda x, y: _shift(x, y, False),
    Binary.EQ: np.equal,
    Binary.LT: np.less,
    Binary.LE: np.less_equal,
    Binary.PRELU: lambda x, y: np.where(x < 0, x * y, x),
    Binary.ATAN2: np.arctan2,
}


def _binary(segment: Segment, record: Record) -> None:
    x, y = _operand(segment, record, 1), _operand(segment, record, 2)
    _store(_operand(segment, record, 0), _BINARY[Binary(record.imm[0])](x, y), record)


def _copy(segment: Segment, record: Record) -> None:
    out = _operand(segment, record, 0)
    _store(out, _operand(segment, record, 1).view(out.dtype), record)


def _fill(segment: Segment, record: Record) -> None:
    out = _operand(segment, record, 0)
    raw = record.imm[0].to_bytes(8, "big")[-out.dtype.itemsize :]
    _store(out, np.frombuffer(raw, out.dtype.newbyteorder(">")).astype(out.dtype).reshape(()), record)


def _select(segment: Segment, record: Record) -> None:
    condition, x, y = (_operand(segment, record, i) for i in (1, 2, 3))
    _store(_operand(segment, record, 0), np.where(condition, x, y), record)


def _cast(segment: Segment, record: Record) -> None:
    x, out = _operand(segment, record, 1), _operand(segment, record, 0)
    values: Array = x
    if out.dtype.kind == "b":
        values = x != 0
    elif out.dtype.kind in "iu" and x.dtype.kind != "b":
        limits = np.iinfo(out.dtype)
        if x.dtype.kind not in "iu":
            whole = [0 if v != v else v if math.isinf(v) else int(v) for v in x.astype(np.float64).reshape(-1)]
            values = _clamped(whole, limits, out.dtype).reshape(x.shape)
        elif record.imm[0]:
            values = _clamped([int(v) for v in x.reshape(-1)], limits, out.dtype).reshape(x.shape)
    _store(out, values, record)


def _clamped(values: list[Any], limits: Any, dtype: np.dtype[Any]) -> Array:
    return np.array([int(min(max(v, int(limits.min)), int(limits.max))) for v in values], dtype)


def _contract(segment: Segment, record: Record) -> None:
    k, a_step, b_step = record.imm[0], signed64(record.imm[1]), signed64(record.imm[2])
    dims = (*record.dims, k)
    a = segment.view(record.inputs[0], record.dtypes_in[0], dims, (*record.strides(1), a_step))
    b = segment.view(record.inputs[1], record.dtypes_in[1], dims, (*record.strides(2), b_step))
    out = _operand(segment, record, 0)
    wide = out.dtype if out.dtype.kind in "iu" else np.dtype(np.float64)
    total = np.zeros(record.dims, wide)
    for i in range(k):
        total = total + a[..., i].astype(wide) * b[..., i].astype(wide)
    if len(record.inputs) == 3:
        total = total + _operand(segment, record, 3).astype(wide)
    _store(out, total, record)


def _windows(segment: Segment, record: Record, pad_value: float) -> tuple[Array, Array, tuple[int, ...]]:
    """Padded x as [N][C][out][kernel], the same for "is inside the input", and the kernel."""
    rank, n, c = record.body[0], record.body[1], record.body[2]
    spatial, kernel, stride, dilation, pads, out = (record.body[5 + 3 * i : 5 + 3 * i + rank] for i in range(6))
    x = segment.view(record.inputs[0], record.dtypes_in[0], (n, c, *spatial), _packed((n, c, *spatial)))
    need = [(o - 1) * s + d * (k - 1) + 1 for o, s, d, k in zip(out, stride, dilation, kernel, strict=True)]
    widths = [(p, max(w - p - size, 0)) for p, w, size in zip(pads, need, spatial, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=np.array(pad_value).astype(x.dtype))
    inside = np.pad(np.ones_like(x, dtype=bool), [(0, 0), (0, 0), *widths])
    taps = [
        np.arange(o)[:, None] * s + np.arange(k) * d for o, s, k, d in zip(out, stride, kernel, dilation, strict=True)
    ]
    for axis, tap in enumerate(taps):
        padded, inside = (np.take(t, tap, axis=2 + 2 * axis) for t in (padded, inside))
    order = (0, 1, *(2 + 2 * i for i in range(rank)), *(3 + 2 * i for i in range(rank)))
    return padded.transpose(order), inside.transpose(order), tuple(kernel)


def _packed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


def _conv(segment: Segment, record: Record) -> None:
    rank, n, c, m, groups = record.body[:5]
    windows, _, kernel = _windows(segment, record, 0)
    out_shape = (n, m, *record.body[20 : 20 + rank])
    wide = record.dtype_out.numpy if record.dtype_out.is_integer else np.dtype(np.float64)
    w_shape = (m, c // groups, *kernel)
    w = segment.view(record.inputs[1], record.dtypes_in[1], w_shape, _packed(w_shape)).astype(wide)
    values = np.zeros(out_shape, wide)
    for group in range(groups):
        cs = slice(group * c // groups, (group + 1) * c // groups)
        ms = slice(group * m // groups, (group + 1) * m // groups)
        taps = windows[:, cs].astype(wide).reshape(n, c // groups, math.prod(out_shape[2:]), -1)
        flat = w[ms].reshape(m // groups, c // groups, -1)
        values[:, ms] = np.einsum("ncok,mck->nmo", taps, flat).reshape(n, m // groups, *out_shape[2:])
    if len(record.inputs) == 3:
        bias = segment.view(record.inputs[2], record.dtypes_in[2], (m,), (1,)).astype(wide)
        values = values + bias.reshape(1, m, *(1,) * rank)
    _store(segment.view(record.out, record.dtype_out, out_shape, _packed(out_shape)), values, record)


def _counted(record: Record, inside: Array, axes: tuple[int, ...]) -> Any:
    """What an average divides by: elements inside, or inside the input and its padding; 1 for a sum."""
    if record.imm[0] != 2:
        return inside.sum(axis=axes) if record.imm[0] == 1 else 1
    rank = record.body[0]
    spatial, kernel, stride, dilation, pads, out, behind = (record.body[5 + 3 * i : 5 + 3 * i + rank] for i in range(7))
    total: Array = np.ones((), np.int64)
    for d in range(rank):
        at = np.arange(out[d])[:, None] * stride[d] + np.arange(kernel[d]) * dilation[d]
        counted = (at < pads[d] + spatial[d] + behind[d]).sum(axis=1)
        total = total[..., None] * counted
    return total


def _pool(segment: Segment, record: Record) -> None:
    rank, n, c = record.body[:3]
    out_shape = (n, c, *record.body[20 : 20 + rank])
    dtype = record.dtypes_in[0].numpy
    lowest = np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf
    windows, inside, _ = _windows(segment, record, lowest if record.imm[0] == 0 else 0)
    axes = tuple(range(2 + rank, 2 + 2 * rank))
    if record.imm[0] == 0:
        values = windows.max(axis=axes)
    else:
        values = windows.astype(np.float64).sum(axis=axes) / _counted(record, inside, axes)
    _store(segment.view(record.out, record.dtype_out, out_shape, _packed(out_shape)), values, record)


def _pool_index(segment: Segment, record: Record) -> None:
    rank, n, c = record.body[:3]
    spatial = record.body[5 : 5 + rank]
    out_shape = (n, c, *record.body[20 : 20 + rank])
    dtype = record.dtypes_in[0].numpy
    windows, inside, kernel = _windows(segment, record, np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf)
    stride, dilation, pads = (record.body[5 + 3 * i : 5 + 3 * i + rank] for i in (2, 3, 4))
    values = np.zeros(out_shape, np.int64)
    for index in np.ndindex(*out_shape):
        best, at = None, (0,) * rank
        for tap in product(*map(range, kernel)):
            if inside[(*index, *tap)] and (best is None or windows[(*index, *tap)] > best):
                best = windows[(*index, *tap)]
                at = tuple(
                    o * s + t * d - p for o, s, t, d, p in zip(index[2:], stride, tap, dilation, pads, strict=True)
                )
        place = 0
        if record.imm[1]:  # column-major
            for position, size in zip(reversed(at), reversed(spatial), strict=True):
                place = place * size + position
        else:
            for position, size in zip(at, spatial, strict=True):
                place = place * size + position
        values[index] = (index[0] * c + index[1]) * math.prod(spatial) + place
    _store(segment.view(record.out, record.dtype_out, out_shape, _packed(out_shape)), values, record)


def _reduce(segment: Segment, record: Record) -> None:
    kept = record.rank - record.imm[1]
    x = _operand(segment, record, 1)
    out = segment.view(record.out, record.dtype_out, record.dims[:kept], record.strides(0)[:kept])
    axes = tuple(range(kept, record.rank))
    exact = x if x.dtype.kind in "iub" else x.astype(np.float64)
    function = {
        Reduction.SUM: np.add,
        Reduction.PROD: np.multiply,
        Reduction.MAX: np.maximum,
        Reduction.MIN: np.minimum,
    }[Reduction(record.imm[0])]
    _store(out, function.reduce(exact, axis=axes, dtype=exact.dtype), record)


def _keys(x: Array, largest: bool) -> Array:
    """Values that sort ascending in the order in which ARGREDUCE and TOPK prefer elements."""
    if x.dtype.kind in "iub":
        exact = x.astype(object)
        return np.asarray(-exact if largest else exact)
    wide = x.astype(np.float64)
    # NaN is the greatest of all.
    return np.where(np.isnan(wide), -np.inf, -wide) if largest else np.where(np.isnan(wide), np.inf, wide)


def _argreduce(segment: Segment, record: Record) -> None:
    kept = record.rank - record.imm[1]
    x = _operand(segment, record, 1)
    largest = record.imm[0] == Reduction.MAX
    flat = np.ascontiguousarray(x).reshape(*record.dims[:kept], -1)
    keys = _keys(flat, largest)
    if flat.dtype.kind not in "iub":  # the one looked for, whether greatest or least
        keys = np.where(np.isnan(flat.astype(np.float64)), -np.inf, keys)
    last = keys.shape[-1] - 1
    values = last - np.argmin(keys[..., ::-1], axis=-1) if record.imm[2] else np.argmin(keys, axis=-1)
    out = segment.view(record.out, record.dtype_out, record.dims[:kept], record.strides(0)[:kept])
    _store(out, values, record)


def _topk(segment: Segment, record: Record) -> None:
    x, k, lines = _operand(segment, record, 1), record.imm[2], record.dims[:-1]
    order = np.argsort(_keys(x, bool(record.imm[0])), axis=-1, kind="stable")[..., :k]
    out = segment.view(record.out, record.dtype_out, (*lines, k), record.strides(0))
    for number, index in enumerate(np.ndindex(*lines)):
        if record.lo <= number < record.hi:
            out[index] = order[index]


def _scan(segment: Segment, record: Record) -> None:
    x, out, lines = _operand(segment, record, 1), _operand(segment, record, 0), record.dims[:-1]
    exact = x if x.dtype.kind in "iu" else x.astype(np.float32)
    function = np.add if record.imm[0] == Reduction.SUM else np.multiply
    for number, index in enumerate(np.ndindex(*lines)):
        if record.lo <= number < record.hi:
            line = exact[index][::-1] if record.imm[2] & 2 else exact[index]
            sums = function.accumulate(line, dtype=line.dtype)
            if record.imm[2] & 1:
                sums = np.concatenate([np.array([function.identity], line.dtype), sums[:-1]])
            out[index] = sums[::-1] if record.imm[2] & 2 else sums


def _places(segment: Segment, record: Record) -> Array:
    """How far the index tensor moves each point of the iteration space, in elements."""
    q, step = record.imm[0], signed64(record.imm[1])
    strides, sizes = record.body[32 : 32 + q], record.body[36 : 36 + q]
    dims = (*record.dims, q)
    index = segment.view(record.inputs[1], DType.I64, dims, (*record.strides(2), step)).copy()
    moved = np.zeros(record.dims, np.int64)
    for c in range(q):
        if np.any((index[..., c] < -sizes[c]) | (index[..., c] >= sizes[c])):
            raise IndexOutOfRange
        moved += np.where(index[..., c] < 0, index[..., c] + sizes[c], index[..., c]) * strides[c]
    return moved


def _walked(record: Record, operand: int) -> Array:
    """Where each point of the iteration space finds an operand's element, from its element 0."""
    walked = np.zeros(record.dims, np.int64)
    for d, (size, stride) in enumerate(zip(record.dims, record.strides(operand), strict=True)):
        walked += (np.arange(size) * stride).reshape(-1, *(1,) * (record.rank - 1 - d))
    return walked


def _gather(segment: Segment, record: Record) -> None:
    elements, first = segment.elements(record.inputs[0], record.dtypes_in[0])
    values = elements[first + _walked(record, 1) + _places(segment, record)]
    _store(_operand(segment, record, 0), values, record)


def _scatter(segment: Segment, record: Record) -> None:
    elements, first = segment.elements(record.out, record.dtype_out)
    places = (first + _walked(record, 0) + _places(segment, record)).reshape(-1)
    updates = _operand(segment, record, 1).copy().reshape(-1)
    for number in range(record.lo, record.hi):
        old, new = elements[places[number]], updates[number]
        combined = {
            Reduction.SUM: old + new,
            Reduction.PROD: old * new,
            Reduction.MAX: np.maximum(old, new),
            Reduction.MIN: np.minimum(old, new),
            Reduction.NONE: new,
        }
        elements[places[number]] = combined[Reduction(record.imm[2])]


def _tree(segment: Segment, record: Record) -> None:
    rows, features, nodes, trees, weights, targets = record.body[:6]
    shapes = ((rows, features), (nodes, 4), (nodes,), (trees,), (weights,), (weights,))
    operands = zip(record.inputs, record.dtypes_in, shapes, strict=True)
    x, node, threshold, root, target, weight = (
        segment.view(offset, dtype, shape, _packed(shape)) for offset, dtype, shape in operands
    )
    out = segment.view(record.out, record.dtype_out, (rows, targets), (targets, 1))
    start = {Reduction.SUM: 0.0, Reduction.MAX: -np.inf, Reduction.MIN: np.inf}[Reduction(record.imm[0])]
    compare: dict[int, Callable[[Any, Any], Any]] = {
        1: np.less_equal, 2: np.less, 3: np.greater_equal, 4: np.greater, 5: np.equal, 6: np.not_equal,
    }  # fmt: skip
    for row in range(record.lo, record.hi):
        out[row] = start
        for at in map(int, root):
            while node[at][0] & 0xFF:
                mode, feature, yes, no = map(int, node[at])
                value = x[row, feature]
                true = bool(mode & 0x100) if np.isnan(value) else compare[mode & 0xFF](value, threshold[at])
                at = yes if true else no
            _, begin, count, _ = map(int, node[at])
            for i in range(begin, begin + count):
                old = out[row, target[i]]
                out[row, target[i]] = {
                    Reduction.SUM: old + weight[i],
                    Reduction.MAX: max(old, weight[i]),
                    Reduction.MIN: min(old, weight[i]),
                }[Reduction(record.imm[0])]


def _dense(segment: Segment, record: Record, number: int, *shape: int) -> Array:
    offset = record.out if number == 0 else record.inputs[number - 1]
    dtype = record.dtype_out if number == 0 else record.dtypes_in[number - 1]
    return segment.view(offset, dtype, shape, _packed(shape))


def _block_quantise(segment: Segment, record: Record) -> None:
    rows, _, k = record.body[:3]
    elements = record.imm[0]
    made = blocks.quantised(_dense(segment, record, 1, rows, k).copy(), elements).reshape(-1, 4 + elements)
    _dense(segment, record, 0, *made.shape)[record.lo : record.hi] = made[record.lo : record.hi]


def _block_contract(segment: Segment, record: Record) -> None:
    rows, columns, k = record.body[:3]
    fmt = BlockFormat(record.imm[0])
    x = _dense(segment, record, 1, rows, fmt.activation_bytes(k)).copy()
    w = _dense(segment, record, 2, columns, fmt.row_bytes(k)).copy()
    bias = _dense(segment, record, 3, columns) if len(record.inputs) == 3 else None
    _store(_dense(segment, record, 0, rows, columns), blocks.product(x, w, fmt, bias), record)


def _block_gather(segment: Segment, record: Record) -> None:
    rows, columns, k = record.body[:3]
    fmt = BlockFormat(record.imm[0])
    table = blocks.canonical(dequantised(_dense(segment, record, 1, columns, fmt.row_bytes(k)).copy(), fmt)).reshape(
        columns, -1, fmt.elements
    )
    index = _dense(segment, record, 2, rows) if len(record.inputs) == 2 else np.arange(rows)
    made = table[index].reshape(-1, fmt.elements)
    _dense(segment, record, 0, *made.shape)[record.lo : record.hi] = made[record.lo : record.hi]


_KERNELS: dict[Opcode, Callable[[Segment, Record], None]] = {
    Opcode.COPY: _copy,
    Opcode.FILL: _fill,
    Opcode.UNARY: _unary,
    Opcode.BINARY: _binary,
    Opcode.SELECT: _select,
    Opcode.CAST: _cast,
    Opcode.CONTRACT: _contract,
    Opcode.CONV: _conv,
    Opcode.POOL: _pool,
    Opcode.POOL_INDEX: _pool_index,
    Opcode.REDUCE: _reduce,
    Opcode.ARGREDUCE: _argreduce,
    Opcode.GATHER: _gather,
    Opcode.SCATTER: _scatter,
    Opcode.TOPK: _topk,
    Opcode.SCAN: _scan,
    Opcode.TREE: _tree,
    Opcode.BLOCK_QUANTISE: _block_quantise,
    Opcode.BLOCK_CONTRACT: _block_contract,
    Opcode.BLOCK_GATHER: _block_gather,
}
