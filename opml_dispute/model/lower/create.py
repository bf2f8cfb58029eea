"""Operators that make tensors from attributes, shapes and types: constants, ranges, masks, casts, padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from opml_dispute.model.builder import Builder
from opml_dispute.model.elements import dtype_of, held, name_of
from opml_dispute.model.lower.counted import counted
from opml_dispute.model.lower.narrow import as_cast, narrowed
from opml_dispute.model.lower.registry import NARROW, lowers
from opml_dispute.model.opcodes import DType
from opml_dispute.model.padding import Sized
from opml_dispute.model.refusals import Refuse
from opml_dispute.model.tensor import Array, Shape, Tensor


@lowers("Constant")
def constant(
    g: Builder,
    *,
    sparse_value: Tensor | None = None,
    value: Tensor | None = None,
    value_float: float | None = None,
    value_floats: tuple[float, ...] | None = None,
    value_int: int | None = None,
    value_ints: tuple[int, ...] | None = None,
    value_string: str | None = None,
    value_strings: tuple[str, ...] | None = None,
) -> Tensor:
    tensor = sparse_value if value is None else value
    if tensor is not None:
        return tensor
    if value_string is not None:
        return g.constant(g.text_numbers([value_string]).reshape(())).marked(TensorProto.STRING)
    if value_strings is not None:
        return g.constant(g.text_numbers(value_strings)).marked(TensorProto.STRING)
    for given, dtype in (
        (value_float, np.float32),
        (value_floats, np.float32),
        (value_int, np.int64),
        (value_ints, np.int64),
    ):
        if given is not None:
            return g.constant(np.array(given, dtype))
    raise Refuse("it has no value")


@lowers("ConstantOfShape")
def constant_of_shape(g: Builder, shape: Tensor, *, value: Tensor | None = None) -> Tensor:
    wanted = tuple(g.known_numbers(shape, "the shape"))
    return (g.scalar(0, DType.F32) if value is None else g.reshape(value, ())).broadcast(wanted)


@lowers("Shape")
def shape(g: Builder, x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return g.constant(np.array(x.shape[start:end], np.int64))


@lowers("Size")
def size(g: Builder, x: Tensor) -> Tensor:
    return g.scalar(x.size, DType.I64)


MAX_RANGE = 1 << 27
"""Numbers of one `Range`, which the program holds."""


@lowers("Range")
def range_(
    g: Builder, start: Tensor, limit: Tensor, delta: Tensor, *, stash_type: int = TensorProto.FLOAT
) -> Tensor | Sized:
    """start, start + delta, … as long as they are before limit; narrow floats are rounded once, at the end."""
    if start.dtype in NARROW:
        if stash_type != TensorProto.FLOAT:
            raise Refuse(f"a range of {start.dtype.name} that is computed in {name_of(stash_type)}; expected FLOAT")
        wide = range_(g, *(g.cast(bound, DType.F32) for bound in (start, limit, delta)))
        return wide if isinstance(wide, Sized) else g.cast(wide, start.dtype)
    if not all(bound.is_constant for bound in (start, limit, delta)):
        return _range_within(g, *(g.reshape(bound, ()) for bound in (start, limit, delta)))
    first, last, step = (g.known(t, "the range").reshape(()) for t in (start, limit, delta))
    if step == 0 or not all(np.isfinite(np.float64(bound)) for bound in (first, last, step)):
        raise Refuse(f"a range from {first} to {last} by steps of {step}; expected finite numbers, and no step of 0")
    count = (
        max(int(np.ceil((last.astype(np.float64) - first) / step)), 0)
        if start.dtype.is_float
        else len(range(int(first), int(last), int(step)))
    )
    if count > MAX_RANGE:
        raise Refuse(f"a range of {count:,} numbers; expected at most {MAX_RANGE:,}")
    return g.add(g.mul(g.arange(count, start.dtype), g.reshape(delta, ())), g.reshape(start, ()))


def _range_within(g: Builder, start: Tensor, limit: Tensor, delta: Tensor) -> Sized:
    """A range that data decides, in the room that there is for it; a step of 0 has room nowhere."""
    room = g.room("how many numbers the range has", start, limit, delta)
    if room > MAX_RANGE:
        raise Refuse(f"room for a range of {room:,} numbers; expected at most {MAX_RANGE:,}")
    if not start.dtype.is_integer:
        raise Refuse(f"a range of {start.dtype.name} whose length depends on data; expected integers")
    first, last, step = (g.cast(t, DType.I64) for t in (start, limit, delta))
    rises, falls = g.less(0, step), g.less(step, 0)
    right = g.either(g.both(rises, g.less(first, last)), g.both(falls, g.less(last, first)))
    # A range that goes its way is less than 2^64 long; its step, at most 2^63.
    way = g.cast(g.select(rises, g.sub(last, first), g.sub(first, last)), DType.U64)
    stride = g.cast(g.absolute(step), DType.U64)
    whole = g.div(way, stride)
    length = g.add(whole, g.cast(g.less(g.mul(whole, stride), way), DType.U64))  # what is left over counts as one more
    over = g.either(g.equal(step, 0), g.both(right, g.less(room, length)))
    present, count = counted(g, g.choose(over, room + 1, g.choose(right, g.cast(length, DType.I64), 0)), room)
    numbers = g.add(g.mul(g.arange(room, start.dtype), delta), start)
    return Sized(g.select(present, numbers, g.scalar(0, start.dtype)), count, 0)


@lowers("EyeLike")
def eye_like(g: Builder, x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    kind = x.dtype if dtype is None else dtype_of(dtype)
    if x.rank != 2:
        raise Refuse(f"the shape {list(x.shape)}; expected a matrix's")
    g.meter.afford(8 * x.size)
    return g.constant(np.eye(x.shape[0], x.shape[1], k).astype(kind.numpy))


@lowers("Trilu")
def trilu(g: Builder, x: Tensor, k: Tensor | None = None, *, upper: int = 1) -> Tensor:
    """The triangle above (or with `upper` 0 below) the diagonal number `k`, zeros elsewhere."""
    diagonal = 0 if k is None else g.known_number(k, "the diagonal's number")
    g.expect_rank(x, 2, None, "the input")
    rows, columns = x.shape[-2:]
    g.meter.afford(8 * rows * columns)
    distance = np.arange(columns)[None] - np.arange(rows)[:, None]
    kept = g.constant(distance >= diagonal if upper else distance <= diagonal)
    return g.select(kept, x, g.scalar(0, x.dtype))


@lowers("Cast", since=6)
def cast(g: Builder, x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    dtype, narrow = held(to)
    if TensorProto.STRING in (narrow, x.narrow):
        return _same_text(x, narrow)
    return narrowed(g, x, narrow, saturate=bool(saturate), round_mode=round_mode) if narrow else as_cast(g, x, dtype)


@lowers("Cast")
def cast_1(g: Builder, x: Tensor, *, to: str) -> Tensor:
    """The first version, which names the type."""
    numbers = dict(TensorProto.DataType.items())
    if to not in numbers:
        raise Refuse(f"element type {to!r}; expected one of {', '.join(sorted(numbers))}")
    return cast(g, x, to=numbers[to])


def _same_text(x: Tensor, to: int) -> Tensor:
    if x.narrow != to:
        raise Refuse("numbers are not read from texts, nor written as texts: texts are only numbers here")
    return x


@lowers("CastLike")
def cast_like(g: Builder, x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    if TensorProto.STRING in (like.narrow, x.narrow):
        return _same_text(x, like.narrow)
    if like.narrow:
        return narrowed(g, x, like.narrow, saturate=bool(saturate), round_mode=round_mode)
    return as_cast(g, x, like.dtype)


@lowers("BitCast")
def bit_cast(g: Builder, x: Tensor, *, to: int) -> Tensor:
    """The same bits read as another type of the same width."""
    target = dtype_of(to)
    if target.width != x.dtype.width or x.narrow:
        raise Refuse(f"{name_of(x.narrow or x.dtype)} as {target.name}; expected types of the same width")
    out = g.made(target, x.shape, x)
    g.copy(out, x)
    return out


@lowers("Dropout")
def dropout_1(
    g: Builder, x: Tensor, *, ratio: float = 0.5, is_test: int = 1, consumed_inputs: object = None
) -> tuple[Tensor, Tensor]:
    return x, g.filled(x.shape, True, DType.BOOL)


@lowers("Pad", since=11)
def pad(
    g: Builder,
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    widths = g.known_numbers(pads, "the padding")
    along = g.distinct_axes(x, None if axes is None else g.known_numbers(axes, "the axes"))
    if len(widths) != 2 * len(along):
        raise Refuse(f"{len(widths)} widths of padding for {len(along)} axes; expected two for each")
    before, after = [0] * x.rank, [0] * x.rank
    for i, d in enumerate(along):
        before[d], after[d] = widths[i], widths[len(along) + i]
    return padded(g, x, before, after, mode, value)


@lowers("Pad")
def pad_1(
    g: Builder,
    x: Tensor,
    *,
    mode: str = "constant",
    pads: Shape | None = None,
    paddings: Shape | None = None,
    value: float = 0,
) -> Tensor:
    widths = list(pads or paddings or ())
    if len(widths) != 2 * x.rank:
        raise Refuse(f"{len(widths)} widths of padding for {x.rank} axes; expected two for each")
    return padded(g, x, widths[: x.rank], widths[x.rank :], mode, g.scalar(value, x.dtype))


def padded(
    g: Builder, x: Tensor, before: list[int], after: list[int], mode: str, value: Tensor | None = None
) -> Tensor:
    """`x` with `before` and `after` elements around it, by ONNX's modes."""
    if mode == "constant":
        fill = g.scalar(0, x.dtype) if value is None else g.reshape(value, ())
        return g.pad(x, before, after, fill)
    around = _AROUND.get(mode)
    if around is None:
        raise Refuse(f"mode {mode!r}; expected 'constant', {', '.join(map(repr, _AROUND))}")
    for d in range(x.rank):
        if before[d] < 0 or after[d] < 0:
            cut, cut_end = max(-before[d], 0), max(-after[d], 0)
            x = x.sliced(d, cut, x.shape[d] - cut - cut_end)
        head, tail = max(before[d], 0), max(after[d], 0)
        if (head or tail) and not x.shape[d]:
            raise Refuse(f"mode {mode!r} around no elements (axis {d} of {list(x.shape)})")
        g.expect_few(head + x.shape[d] + tail, "places along an axis with what is around it")
        if head or tail:
            places = around(np.arange(-head, x.shape[d] + tail), x.shape[d])
            x = g.concat([x.sliced(d, start, count, step) for start, count, step in _runs(places)], d)
    return x


def _reflect(places: Array, size: int) -> Array:
    """Mirrored at the first and the last element, which are not repeated."""
    period = max(2 * (size - 1), 1)
    within = places % period
    return np.where(within < size, within, period - within)


_AROUND: dict[str, Callable[[Array, int], Array]] = {
    "edge": lambda places, size: np.clip(places, 0, size - 1),
    "reflect": _reflect,
    "wrap": lambda places, size: places % size,
}
"""Pad's modes: which element stands at each place around the input."""


def _runs(places: Array) -> list[tuple[int, int, int]]:
    """`places` as runs with equal steps: (start, count, step). Each becomes one copy."""
    runs: list[tuple[int, int, int]] = []
    for place in map(int, places):
        if runs:
            start, count, step = runs[-1]
            if count == 1 or place == start + count * step:
                runs[-1] = (start, count + 1, place - start if count == 1 else step)
                continue
        runs.append((place, 1, 1))
    return runs
