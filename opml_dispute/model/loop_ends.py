"""
When a loop ends, where its body says so without being lowered.

`stays` recognises a body that can never end its loop. `conditions` foresees the conditions of many iterations at once,
where they come from whole numbers that are known: the iteration number, constants, and counters that go up or down by a
constant. So a loop that is too long to be written out is refused before the first iteration is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_Array: TypeAlias = NDArray[Any]

_OPERATORS: Final[Mapping[str, Callable[..., _Array]]] = {
    "Add": np.add,
    "And": np.logical_and,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Identity": np.asarray,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Mul": np.multiply,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Sub": np.subtract,
}
"""Operators that give the same for one iteration as for many at once, exactly, over int64 and bool."""


class _Unforeseen(Exception):
    """The condition depends on something else."""


def stays(graph: onnx.GraphProto, output: int, given: int) -> bool:
    """Whether output number `output` is true whenever input number `given` is, whatever the nodes compute."""
    makers = {name: node for node in graph.node for name in node.output}
    name = graph.output[output].name
    for _ in graph.node:  # not for ever: a graph too large for ONNX's checker may go round in a circle
        if name not in makers or (makers[name].domain, makers[name].op_type) != ("", "Identity"):
            break
        name = makers[name].input[0]
    known = _own_constants(graph)
    if name in known:
        return bool(known[name].any())
    return bool(name == graph.input[given].name)


def conditions(
    graph: onnx.GraphProto,
    starts: Sequence[_Array | None],
    outer: Callable[[str], _Array | None],
    iterations: int,
) -> list[bool] | None:
    """
    For each of the first `iterations` of a loop with this body, whether it goes on after it; None if that is not
    foreseen.

    `starts` are the carried values before the first iteration, as far as they are known; `outer` gives the constant of
    a name that the body takes from the graph around it, or None.
    """
    known = {graph.input[0].name: np.arange(iterations, dtype=np.int64)}
    known |= {name: value for name, value in _own_constants(graph).items() if value.size == 1}
    sight = _Sight(graph, known, outer)
    known[graph.input[1].name] = np.asarray(True)  # else the loop would be over
    try:
        for place, start in enumerate(starts):
            if start is not None and start.size == 1 and start.dtype == np.int64:
                step = sight.step(graph.output[1 + place].name, graph.input[2 + place].name)
                if step is not None:
                    known[graph.input[2 + place].name] = start.reshape(()) + step * np.arange(iterations)
        found = sight.of(graph.output[0].name)
    except _Unforeseen:
        return None
    return list(np.broadcast_to(found, (iterations,))) if found.dtype == np.bool_ else None


def _own_constants(graph: onnx.GraphProto) -> dict[str, _Array]:
    known = {tensor.name: tensor for tensor in graph.initializer}
    known |= {
        node.output[0]: attribute.t
        for node in graph.node if node.op_type == "Constant"
        for attribute in node.attribute if attribute.name == "value" and attribute.HasField("t")
    }  # fmt: skip
    return {name: numpy_helper.to_array(tensor) for name, tensor in known.items()}


class _Sight:
    """Values of a body, an element for each iteration."""

    def __init__(self, graph: onnx.GraphProto, known: dict[str, _Array], outer: Callable[[str], _Array | None]) -> None:
        self._known, self._outer = known, outer
        self._makers = {name: node for node in graph.node for name in node.output}
        self._inputs = {value.name for value in graph.input}

    def of(self, name: str, depth: int = 64) -> _Array:
        """Raises `_Unforeseen` for what is not whole numbers or truth values of one element each."""
        if name not in self._known:
            self._known[name] = self._made(name, depth) if name in self._makers else self._constant(name)
        value = self._known[name]
        if value.dtype not in (np.int64, np.bool_):
            raise _Unforeseen
        return value.reshape(()) if value.size == 1 else value

    def step(self, after: str, before: str) -> _Array | None:
        """By how much a counter changes in an iteration; None if it is none."""
        node = self._makers.get(after)
        if node is None or node.domain or node.op_type not in ("Add", "Sub") or before not in node.input:
            return None
        first, second = node.input
        if first != before and node.op_type == "Sub":
            return None
        other = second if first == before else first
        if other in self._makers or other in self._inputs:
            return None
        try:
            by = self.of(other)
        except _Unforeseen:
            return None
        return None if by.size != 1 or by.dtype != np.int64 else by if node.op_type == "Add" else -by

    def _made(self, name: str, depth: int) -> _Array:
        node = self._makers[name]
        if node.domain or node.op_type not in _OPERATORS or depth == 0:
            raise _Unforeseen
        with np.errstate(over="ignore"):
            return _OPERATORS[node.op_type](*(self.of(given, depth - 1) for given in node.input))

    def _constant(self, name: str) -> _Array:
        value = None if name in self._inputs else self._outer(name)
        if value is None or value.size != 1:
            raise _Unforeseen
        return value
