"""Which nodes of an ONNX graph its outputs depend on."""

from __future__ import annotations

from collections.abc import Sequence

import onnx


def needed(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> set[int]:
    """The indices of the nodes that `outputs` depend on."""
    wanted, names = set(), set(outputs)
    for index in reversed(range(len(nodes))):
        if names.intersection(nodes[index].output):
            wanted.add(index)
            names |= _uses(nodes[index])
    return wanted


def _uses(node: onnx.NodeProto) -> set[str]:
    """The names that a node, or a graph in its attributes, refers to."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())):
            names |= {value.name for value in graph.output}
            for inner in graph.node:
                names |= _uses(inner)
    return names
