"""
How many nodes of ONNX graphs the compiler lowers at least, counted before the first of them is.

A few functions, each of which calls the one before it twice, or a few loops inside one another, are a small file and
the work of hours. `Fewest` counts what is certain: calls of functions, once for each call; a loop's body as often as a
constant says, where nothing in it can end the loop earlier; of an `If` the branch that has less. It never counts more
than what is then lowered.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from opml_dispute.model import loop_ends
from opml_dispute.model.needed import needed
from opml_dispute.model.onnx_file import domain_name

_Known = Mapping[str, onnx.TensorProto]
_FunctionKey = tuple[str, str, str]

DEEPEST: Final = 64
"""Graphs and calls inside one another that are looked into; what lies deeper is refused elsewhere."""


class Fewest:
    """The counts of one model, whose functions are counted once each."""

    def __init__(
        self,
        functions: Mapping[_FunctionKey, onnx.FunctionProto],
        *,
        most_iterations: int,
        with_room: Container[str] = (),
    ) -> None:
        """
        A loop of more than `most_iterations` is not written out, and counts as nothing. So does one that makes a value
        `with_room`, for it is written out as often as there is room for.
        """
        self._functions, self._most_iterations, self._with_room = functions, most_iterations, with_room
        self._of_function: dict[_FunctionKey, int] = {}

    def of_graph(self, graph: onnx.GraphProto, known: _Known | None = None, depth: int = 0) -> int:
        """Nodes of the graph, and of what it holds and calls; `known` are constants of the graphs around it."""
        inputs = {value.name for value in graph.input}
        own = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}
        known = {**(known or {}), **own}
        return self._of_nodes(graph.node, [value.name for value in graph.output], known, depth)

    def _of_nodes(self, nodes: Sequence[onnx.NodeProto], outputs: Iterable[str], known: _Known, depth: int) -> int:
        if depth > DEEPEST:
            return 0
        made = {name for node in nodes for name in node.output}
        known = {name: tensor for name, tensor in known.items() if name not in made} | _constants(nodes)
        wanted = needed(nodes, set(outputs))
        return sum(1 + self._inside(nodes[index], known, depth + 1) for index in wanted)

    def _inside(self, node: onnx.NodeProto, known: _Known, depth: int) -> int:
        """What is lowered for a node besides itself, at least."""
        key = domain_name(node.domain), node.op_type, node.overload
        if key in self._functions:
            return self._called(key, depth)
        graphs = {attribute.name: attribute.g for attribute in node.attribute if attribute.HasField("g")}
        if key[0] or not graphs:
            return 0
        if node.op_type == "If" and {"then_branch", "else_branch"} <= set(graphs):
            return min(self.of_graph(graph, known, depth) for graph in graphs.values())
        if node.op_type == "Loop" and "body" in graphs:
            return self._loop(node, graphs["body"], known, depth)
        return 0

    def _called(self, key: _FunctionKey, depth: int) -> int:
        if key not in self._of_function:
            self._of_function[key] = 0  # a function that calls itself is refused elsewhere
            function = self._functions[key]
            self._of_function[key] = self._of_nodes(function.node, function.output, {}, depth)
        return self._of_function[key]

    def _loop(self, node: onnx.NodeProto, body: onnx.GraphProto, known: _Known, depth: int) -> int:
        trips = _number(known.get(node.input[0])) if node.input else None
        goes_on = len(node.input) < 2 or not node.input[1] or _number(known.get(node.input[1]))
        if trips is None or not goes_on or len(body.input) < 2 or not body.output:
            return 0
        if any(name in self._with_room for name in node.output):
            return 0
        if not 0 < trips <= self._most_iterations or not loop_ends.stays(body, 0, 1):
            return 0
        inputs = {value.name for value in body.input}
        around = {name: tensor for name, tensor in known.items() if name not in inputs}
        around[body.input[1].name] = numpy_helper.from_array(np.array(True))  # else the loop would be over
        return trips * self.of_graph(body, around, depth)


def _constants(nodes: Sequence[onnx.NodeProto]) -> dict[str, onnx.TensorProto]:
    """What `Constant` nodes make, by name."""
    return {
        node.output[0]: attribute.t
        for node in nodes if node.op_type == "Constant" and not node.domain and len(node.output) == 1
        for attribute in node.attribute if attribute.name == "value" and attribute.HasField("t")
    }  # fmt: skip


def _number(tensor: onnx.TensorProto | None) -> int | None:
    """The one whole number or truth value that a tensor holds in itself; None for anything else."""
    if tensor is None or tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL):
        return None
    if tensor.external_data or np.prod(tensor.dims, dtype=object) != 1:
        return None
    try:
        array: NDArray[Any] = numpy_helper.to_array(tensor)
    except (ValueError, TypeError):  # a tensor that is not what it says is refused where it is read
        return None
    return int(array.reshape(())) if array.size == 1 else None
