"""
Control flow and sequences, which are resolved when compiling.

A condition or a number of iterations that is known decides which graphs are lowered, and how often. An `If` whose
condition is known only later computes both branches and chooses. A sequence is a Python list of tensors; it never
reaches the segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from opml_dispute.model.builder import Builder
from opml_dispute.model.elements import name_of
from opml_dispute.model.lower.counted import within
from opml_dispute.model.lower.registry import Value, lowers
from opml_dispute.model.lower.shape import split_by
from opml_dispute.model.opcodes import DType
from opml_dispute.model.padding import Sized
from opml_dispute.model.refusals import ModelError, NeedsConstant, Refuse
from opml_dispute.model.tensor import Shape, Tensor


class Branch(Protocol):
    """A graph in an attribute (`subgraph.Subgraph`)."""

    @property
    def inputs(self) -> int:
        """How many it takes."""

    @property
    def outputs(self) -> int:
        """How many it has."""

    def __call__(self, *inputs: Value) -> list[Value]:
        """Lowers its nodes: the graph's outputs for these inputs."""

    def rank(self, number: int) -> int | None:
        """The dimensions that an input is declared with, if it is."""

    def stays(self, output: int, given: int) -> bool:
        """Whether an output is true whenever an input is, whatever is computed."""

    def conditions(self, states: Sequence[Value], iterations: int) -> Sequence[bool] | None:
        """Whether a loop goes on after each of its first iterations, if its body does not have to be lowered for it."""


MAX_ITERATIONS = 1 << 16
"""Iterations that a loop is written out for, at most."""


@lowers("If")
def if_(g: Builder, condition: Tensor, *, then_branch: Branch, else_branch: Branch) -> tuple[Value, ...]:
    """The outputs of one branch; of different sizes only where the model's user made room for the larger."""
    if condition.is_constant:
        return tuple((then_branch if condition.values().any() else else_branch)())
    choice = g.reshape(condition, ())
    try:
        pairs = list(zip(then_branch(), else_branch(), strict=True))
        return tuple(_either(g, choice, then, other, i) for i, (then, other) in enumerate(pairs))
    except (ModelError, Refuse) as error:
        # Perhaps the branch that is not taken is the one that does not go.
        if not condition.buffer.depends:
            raise
        reason = f"the condition (both branches are computed, but {error})"
        raise NeedsConstant(reason, condition.buffer.depends) from None


def _either(g: Builder, choice: Tensor, then: Value, other: Value, output: int) -> Tensor | Sized:
    if not isinstance(then, Tensor) or not isinstance(other, Tensor) or then.rank != other.rank:
        raise Refuse("branches with results of different shapes, and a condition that is known only when running")
    unlike = [d for d in range(then.rank) if then.shape[d] != other.shape[d]]
    if not unlike:
        return g.select(choice, then, other)
    if len(unlike) > 1:
        found = f"{list(then.shape)} or {list(other.shape)}"
        raise Refuse(f"a result of shape {found}, as the condition decides; expected at most one dimension to differ")
    (axis,) = unlike
    sizes = then.shape[axis], other.shape[axis]
    room = g.room(f"which branch gives the result, of {sizes[0]} or {sizes[1]} elements,", choice, output=output)
    if room < max(sizes):
        raise Refuse(f"room for {room} elements where a branch gives {max(sizes)}")
    widths = [tuple(room - size if d == axis else 0 for d in range(then.rank)) for size in sizes]
    nothing = (0,) * then.rank
    chosen = g.select(choice, g.pad(then, nothing, widths[0]), g.pad(other, nothing, widths[1]))
    return Sized(chosen, g.select(choice, *(g.scalar(size, DType.I64) for size in sizes)), axis)


@lowers("Loop")
def loop(
    g: Builder, trips: Tensor | None = None, condition: Tensor | None = None, *states: Value, body: Branch
) -> tuple[Value, ...]:
    """
    The body, written out once per iteration; carried values, then the stacked results of all iterations.

    Where data decides how many iterations there are, the body is written out as often as there is room for.
    """
    if body.inputs != 2 + len(states) or body.outputs <= len(states):
        found = f"a body of {body.inputs} inputs and {body.outputs} outputs for {len(states)} states"
        raise Refuse(f"{found}; expected two inputs, and an output, more")
    if g.rooms and g.rooms[0] is not None:
        return _loop_within(g, g.rooms[0], trips, condition, states, body)
    limit = None if trips is None else _known_trips(g, trips)
    goes_on = condition is None or _decided(g, condition)
    if goes_on and body.stays(0, 1):  # nothing in the body can end it before its time
        _refuse_more(MAX_ITERATIONS + 1 if limit is None else limit)
    if goes_on and (limit is None or limit > MAX_ITERATIONS):
        foreseen = body.conditions(states, MAX_ITERATIONS)
        if foreseen is not None and all(foreseen):
            _refuse_more(MAX_ITERATIONS + 1)
    carried: list[Value] = list(states)
    stacked: list[list[Value]] = []
    iteration = 0
    while goes_on and (limit is None or iteration < limit):
        _refuse_more(iteration + 1)
        results = body(*_turn(body, g.scalar(iteration, DType.I64), g.scalar(True, DType.BOOL)), *carried)
        goes_on = _decided(g, results[0])
        carried = results[1 : 1 + len(states)]
        stacked.append(results[1 + len(states) :])
        iteration += 1
    if not stacked and body.outputs > 1 + len(states):
        first = _turn(body, g.scalar(0, DType.I64), g.scalar(True, DType.BOOL))
        looked = _tried(g, body, *first, *states)[1 + len(states) :]
        return *carried, *(g.filled((0, *x.shape), 0, x.dtype).marked(x.narrow) for x in looked)
    return *carried, *(g.stack(list(results), 0) for results in zip(*stacked, strict=True))


def _turn(body: Branch, iteration: Tensor, goes_on: Tensor) -> list[Tensor]:
    """
    A body's first two inputs. ONNX has them without dimensions; where a body declares one of size 1, as tf2onnx writes
    it, ONNX Runtime gives them that, and the nodes within rely on it.
    """
    return [x.with_axis(0) if body.rank(number) == 1 else x for number, x in enumerate((iteration, goes_on))]


def _refuse_more(iterations: int) -> None:
    """Raises `Refuse` for more iterations than are written out."""
    if iterations > MAX_ITERATIONS:
        raise Refuse(f"a loop of more than {MAX_ITERATIONS:,} iterations; expected at most as many")


def _known_trips(g: Builder, trips: Tensor) -> int:
    """How many iterations there are at most. Raises `NeedsRoom` if data decides."""
    if not trips.is_constant:
        g.room("the number of iterations", trips)
    return g.known_number(trips, "the number of iterations")


def _decided(g: Builder, condition: Tensor) -> bool:
    """Whether the loop goes on. Raises `NeedsRoom` if data decides."""
    if not condition.is_constant:
        g.room("whether the loop goes on", condition)
    return bool(g.known(condition, "whether the loop goes on").any())


def _loop_within(
    g: Builder, room: int, trips: Tensor | None, condition: Tensor | None, states: tuple[Value, ...], body: Branch
) -> tuple[Value, ...]:
    """
    A loop that data ends, with the body written out `room` times; more iterations than that end the inference.

    Once the loop is over, the body computes its last iteration again and again, so that it cannot fail where the loop
    would not, and its results are put aside.
    """
    if room > MAX_ITERATIONS:
        raise Refuse(f"room for {room:,} iterations; expected at most {MAX_ITERATIONS:,}")
    limit = None if trips is None else g.reshape(g.index(trips), ())
    true, zero, one = g.scalar(True, DType.BOOL), g.scalar(0, DType.I64), g.scalar(1, DType.I64)
    active = true if condition is None else g.reshape(condition, ())
    carried, last, count, iteration = list(states), list(states), zero, zero
    stacked: list[list[Tensor]] = []
    before = 0
    for i in range(room):
        if i == 2 and not active.is_constant:  # every iteration from the second on makes the same operations
            g.meter.rounds(room - 2, len(g.ops) - before)
        before = len(g.ops)
        if limit is not None:
            active = g.both(active, g.less(i, limit))
        iteration = g.select(active, g.scalar(i, DType.I64), iteration)
        last = [_kept(g, active, now, before) for now, before in zip(carried, last, strict=True)]
        results = body(*_turn(body, iteration, true), *last)
        made = results[1 : 1 + len(states)]
        carried = [_kept(g, active, new, old) for new, old in zip(made, carried, strict=True)]
        nothing = [g.scalar(0, result.dtype) for result in results[1 + len(states) :]]
        stacked.append(
            [g.select(active, part, other) for part, other in zip(results[1 + len(states) :], nothing, strict=True)]
        )
        count = g.add(count, g.select(active, one, zero))
        active = g.both(active, g.reshape(results[0], ()))
    if limit is not None:
        active = g.both(active, g.less(room, limit))
    count = within(g, g.add(count, g.select(active, one, zero)), room)
    scans = (Sized(g.stack(list(parts), 0), count, 0) for parts in zip(*stacked, strict=True))
    return *(Sized(value, count, None) for value in carried), *scans


def _kept(g: Builder, active: Tensor, new: Value, old: Value) -> Tensor:
    """`new` while the loop is active, else `old`."""
    if not isinstance(new, Tensor) or not isinstance(old, Tensor) or new.shape != old.shape:
        raise Refuse("a value that changes its shape from iteration to iteration, in a loop that data ends")
    return new if new is old else g.select(active, new, old)


def _tried(g: Builder, body: Branch, *inputs: Value) -> list[Value]:
    """What the body gives for these inputs, of which only types and shapes are wanted: nothing of it stays."""
    before = len(g.ops)
    results = body(*inputs)
    del g.ops[before:]
    return results


@lowers("Scan", since=9)
def scan(
    g: Builder,
    *inputs: Tensor,
    body: Branch,
    num_scan_inputs: int,
    scan_input_axes: Shape | None = None,
    scan_input_directions: Shape | None = None,
    scan_output_axes: Shape | None = None,
    scan_output_directions: Shape | None = None,
) -> tuple[Value, ...]:
    """The body over slices of the last inputs, one after another."""
    count = len(inputs) - num_scan_inputs
    if num_scan_inputs < 1 or count < 0 or body.outputs < count:
        raise Refuse(
            f"num_scan_inputs {num_scan_inputs} of {len(inputs)} inputs, and {body.outputs} outputs of the body;"
            " expected an input to scan, and a result for each state"
        )
    carried: list[Value] = list(inputs[:count])
    scanned = inputs[count:]
    axes = [g.axis(x, a) for x, a in zip(scanned, _for_each(scanned, scan_input_axes, "scan_input_axes"), strict=True)]
    lengths = [x.shape[axis] for x, axis in zip(scanned, axes, strict=True)]
    if len(set(lengths)) > 1:
        raise Refuse(f"inputs to scan of {lengths} elements; expected one length")
    length = lengths[0]
    _refuse_more(length)
    backwards = _directions(scanned, scan_input_directions, "scan_input_directions")
    stacked: list[list[Any]] = []
    for i in range(length):
        slices = [
            x.picked(axis, length - 1 - i if back else i)
            for x, axis, back in zip(scanned, axes, backwards, strict=True)
        ]
        results = body(*carried, *slices)
        _expect_alike(carried, results[:count])
        carried = results[:count]
        stacked.append(results[count:])
    out_axes = _for_each(range(body.outputs - count), scan_output_axes, "scan_output_axes")
    out_backwards = _directions(out_axes, scan_output_directions, "scan_output_directions")
    if not stacked:
        empty = [
            g.filled(x.shape[:axis] + x.shape[axis + 1 :], 0, x.dtype) for x, axis in zip(scanned, axes, strict=True)
        ]
        looked = _tried(g, body, *carried, *empty)[count:]
        places = [_new_axis(x, axis) for x, axis in zip(looked, out_axes, strict=True)]
        return *carried, *(
            g.filled((*x.shape[:axis], 0, *x.shape[axis:]), 0, x.dtype).marked(x.narrow)
            for x, axis in zip(looked, places, strict=True)
        )
    outputs = list(zip(*stacked, strict=True))
    joined = []
    for parts, axis, back in zip(outputs, out_axes, out_backwards, strict=True):
        ordered = list(reversed(parts)) if back else list(parts)
        joined.append(g.stack(ordered, _new_axis(ordered[0], axis)))
    return *carried, *joined


def _for_each(described: Sequence[object], given: Shape | None, what: str) -> Shape:
    """An attribute with a number for each tensor, 0 where it is left out."""
    if given is not None and len(given) != len(described):
        raise Refuse(f"{what} {list(given)}; expected a number for each of {len(described)}")
    return (0,) * len(described) if given is None else given


def _directions(described: Sequence[object], given: Shape | None, what: str) -> Shape:
    directions = _for_each(described, given, what)
    if not set(directions) <= {0, 1}:
        raise Refuse(f"{what} {list(directions)}; expected 0 (forwards) or 1 (backwards) for each")
    return directions


def _new_axis(x: Value, axis: int) -> int:
    """Where a new dimension of `x` stands, counted from the front."""
    if not isinstance(x, Tensor) or not -x.rank - 1 <= axis <= x.rank:
        found = f"{x.rank} dimensions" if isinstance(x, Tensor) else "no tensor"
        raise Refuse(f"a new dimension at {axis} of a result with {found}")
    return axis % (x.rank + 1)


def _expect_alike(before: Sequence[Value], after: Sequence[Value]) -> None:
    """Raises `Refuse` for a state that changes its shape or its type from one iteration to the next."""
    for number, (old, new) in enumerate(zip(before, after, strict=True), 1):
        kinds = [
            f"{name_of(t.narrow or t.dtype)}{list(t.shape)}" if isinstance(t, Tensor) else "no tensor"
            for t in (old, new)
        ]
        if kinds[0] != kinds[1]:
            raise Refuse(f"state {number} is {kinds[0]} before an iteration and {kinds[1]} after it; expected one kind")


@lowers("Scan")
def scan_8(
    g: Builder,
    lengths: Tensor | None = None,
    *inputs: Tensor,
    body: Branch,
    num_scan_inputs: int,
    directions: Shape | None = None,
) -> tuple[Value, ...]:
    """The first version: one scan per batch entry, all of one length."""
    if lengths is not None:
        raise Refuse("sequences of different lengths in a batch; expected none given")
    sizes = sorted({x.shape[0] if x.rank else 0 for x in inputs})
    if len(sizes) != 1 or not sizes[0]:
        raise Refuse(f"batches of {sizes} entries; expected one size, and not 0")
    batches = [
        scan(
            g, *(x.picked(0, b) for x in inputs), body=body, num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions,
        )
        for b in range(inputs[0].shape[0])
    ]  # fmt: skip
    return tuple(g.stack(list(parts), 0) for parts in zip(*batches, strict=True))


def _sequence(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise Refuse("a value that is not a sequence; expected one")
    return value


def _position(g: Builder, position: Tensor, length: int) -> int:
    at = g.known_number(position, "the position in the sequence")
    if not -length <= at < length:
        raise Refuse(f"position {at} in a sequence of {length}")
    return at % length


@lowers("SequenceConstruct")
def sequence_construct(g: Builder, *items: Tensor) -> list[Value]:
    return list(items)


@lowers("SequenceEmpty")
def sequence_empty(g: Builder, *, dtype: int = 1) -> list[Value]:
    return []


@lowers("SequenceAt")
def sequence_at(g: Builder, sequence: Value, position: Tensor) -> Value:
    items = _sequence(sequence)
    return items[_position(g, position, len(items))]


@lowers("SequenceLength")
def sequence_length(g: Builder, sequence: Value) -> Tensor:
    return g.scalar(len(_sequence(sequence)), DType.I64)


@lowers("SequenceInsert")
def sequence_insert(g: Builder, sequence: Value, item: Tensor, position: Tensor | None = None) -> list[Value]:
    items = list(_sequence(sequence))
    at = len(items) if position is None else g.known_number(position, "the position in the sequence")
    if not -len(items) <= at <= len(items):
        raise Refuse(f"position {at} to insert at in a sequence of {len(items)}")
    items.insert(at, item)
    return items


@lowers("SequenceErase")
def sequence_erase(g: Builder, sequence: Value, position: Tensor | None = None) -> list[Value]:
    items = list(_sequence(sequence))
    items.pop(-1 if position is None else _position(g, position, len(items)))
    return items


@lowers("SequenceMap")
def sequence_map(g: Builder, sequence: Value, *others: Value, body: Branch) -> tuple[Value, ...]:
    """The body for each element; what is no sequence goes to every call."""
    items = _sequence(sequence)
    rows = [body(item, *(o[i] if isinstance(o, list) else o for o in others)) for i, item in enumerate(items)]
    return tuple(list(parts) for parts in zip(*rows, strict=True))


@lowers("ConcatFromSequence")
def concat_from_sequence(g: Builder, sequence: Value, *, axis: int, new_axis: int = 0) -> Tensor:
    items = _sequence(sequence)
    if not items:
        raise Refuse("an empty sequence to join")
    rank = items[0].rank + bool(new_axis)
    along = axis + rank if axis < 0 else axis
    return g.stack(items, along) if new_axis else g.concat(items, along)


@lowers("SplitToSequence")
def split_to_sequence(
    g: Builder, x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, keepdims: int = 1
) -> list[Value]:
    along = g.axis(x, axis)
    total = x.shape[along]
    if sizes is None:
        _refuse_parts(total)
        parts = [x.sliced(along, i, 1) for i in range(total)]
        return [part if keepdims else part.without(along) for part in parts]
    if sizes.rank == 0:
        each = g.known_number(sizes, "the size of the parts")
        if each < 1:
            raise Refuse(f"parts of {each} elements; expected at least 1")
        _refuse_parts(-(-total // each))
        given = [min(each, total - start) for start in range(0, total, each)]
    else:
        given = g.known_numbers(sizes, "the sizes of the parts", MAX_ITERATIONS)
    return list(split_by(g, x, given, along, len(given)))


def _refuse_parts(count: int) -> None:
    """Raises `Refuse` for more parts than are held."""
    if count > MAX_ITERATIONS:
        raise Refuse(f"a sequence of {count:,} tensors; expected at most {MAX_ITERATIONS:,}")


@lowers("Optional")
def optional(g: Builder, value: Value = None, *, type: object = None) -> Value:
    return value


@lowers("OptionalHasElement")
def optional_has_element(g: Builder, value: Value = None) -> Tensor:
    return g.scalar(value is not None, DType.BOOL)


@lowers("OptionalGetElement")
def optional_get_element(g: Builder, value: Value) -> Value:
    return value
