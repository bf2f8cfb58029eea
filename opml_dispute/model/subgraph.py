"""
Graphs in attributes, and the attributes of a function's nodes.

An attribute means what it says where it is written (`Site`): the names that its graph takes from around it, the
operator sets of the graph's nodes, and the arguments that its references stand for are those of that place, also where
a function hands it on to a node of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx
from onnx import AttributeProto

from opml_dispute.model import loop_ends
from opml_dispute.model.lower import Value
from opml_dispute.model.refusals import InvalidModel, Refuse
from opml_dispute.model.scope import Scope
from opml_dispute.model.tensor import Array, Tensor


@dataclass(frozen=True, slots=True)
class Site:
    """Where nodes and their attributes are written."""

    scope: Scope
    opsets: Mapping[str, int]
    arguments: Mapping[str, Argument] | None = None
    """Of the call of the function that this is in; None outside of functions."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An attribute, and where it is written."""

    name: str
    """The node's own for it."""
    attribute: AttributeProto
    place: Site


def bound(attribute: AttributeProto, place: Site) -> Argument | None:
    """
    A node's attribute, or the argument of the call that it refers to.

    None if the call does not give it. Raises `InvalidModel` for a reference outside of functions.
    """
    if not attribute.ref_attr_name:
        return Argument(attribute.name, attribute, place)
    if place.arguments is None:
        found = f"attribute {attribute.name!r} refers to {attribute.ref_attr_name!r}"
        raise InvalidModel(f"{found}, an attribute of a function, outside of functions")
    given = place.arguments.get(attribute.ref_attr_name)
    return None if given is None else Argument(attribute.name, given.attribute, given.place)


class Walker(Protocol):
    """What lowers graphs (`importer.Importer`)."""

    def walk(self, graph: onnx.GraphProto, place: Site) -> None:
        """Lowers the graph's nodes in order; every value gets its name in the place's scope."""


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A graph in an attribute: calling it lowers its nodes in place."""

    walker: Walker
    graph: onnx.GraphProto
    place: Site

    def __call__(self, *inputs: Value) -> list[Value]:
        """The graph's outputs for these inputs."""
        if len(inputs) != self.inputs:
            raise Refuse(f"a graph of {self.inputs} inputs is given {len(inputs)}")
        inner = Scope(self.place.scope)
        for value, given in zip(self.graph.input, inputs, strict=True):
            inner.values[value.name] = given
        self.walker.walk(self.graph, Site(inner, self.place.opsets, self.place.arguments))
        if any(inner.padding(value.name) is not None for value in self.graph.output):
            raise Refuse("a branch or a loop's body has a result whose size depends on data")
        return [inner[value.name] for value in self.graph.output]

    @property
    def inputs(self) -> int:
        return len(self.graph.input)

    @property
    def outputs(self) -> int:
        return len(self.graph.output)

    def rank(self, number: int) -> int | None:
        """The dimensions that input number `number` is declared with; None if the graph does not say."""
        declared = self.graph.input[number].type.tensor_type
        return len(declared.shape.dim) if declared.HasField("shape") else None

    def stays(self, output: int, given: int) -> bool:
        """Whether output number `output` is true whenever input number `given` is, whatever the nodes compute."""
        return loop_ends.stays(self.graph, output, given)

    def conditions(self, states: Sequence[Value], iterations: int) -> Sequence[bool] | None:
        """Whether a loop with this body goes on after each of its first iterations; None if that is not foreseen."""

        def constant(value: Value) -> Array | None:
            return value.values() if isinstance(value, Tensor) and value.is_constant else None

        starts = [constant(state) for state in states]
        return loop_ends.conditions(self.graph, starts, lambda name: constant(self.place.scope[name]), iterations)
