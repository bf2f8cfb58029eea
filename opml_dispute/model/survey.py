"""
Everything that stands in the way of a model, not only the first of it.

The compiler stops at the first operator that it cannot express. `survey` goes on: it lowers what can be lowered, puts
a stand-in of the right type and shape (as ONNX infers them) for what cannot, and lists each `Obstacle` with its reason.
Where nothing is known of a value, what depends on it is still looked up: an operator without a lowering is found
wherever it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from opml_dispute.engine.folding import float_mode
from opml_dispute.model import elements
from opml_dispute.model.builder import Builder
from opml_dispute.model.graph_inputs import bind, fixed_value, names_of_constants
from opml_dispute.model.importer import Importer
from opml_dispute.model.lower import Value, find
from opml_dispute.model.lower.random import ALWAYS_DRAW, NO_SEED
from opml_dispute.model.mapped_weights import Parts
from opml_dispute.model.onnx_file import ModelSource, domain_name, load
from opml_dispute.model.opcodes import DType
from opml_dispute.model.reasons import why_unknown
from opml_dispute.model.refusals import ModelError, UnboundDimension, UnsupportedOp
from opml_dispute.model.scope import Scope
from opml_dispute.model.seeding import declare_seed
from opml_dispute.model.subgraph import Site
from opml_dispute.model.tensor import Array, Shape, Tensor


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason why a model cannot be compiled."""

    op_type: str
    """The ONNX operator; empty where it is a tensor."""
    name: str
    """Of the ONNX node, or of the tensor."""
    opset: int
    """The version of the operator's set that the model uses; 0 where it is a tensor."""
    reason: str


def survey(
    source: ModelSource,
    dims: Mapping[str, int] | None = None,
    constants: Mapping[str, Array] | None = None,
    max_sizes: Mapping[str, int] | None = None,
    seed_input: str | None = None,
) -> list[Obstacle]:
    """
    What stands in the way of a model; empty if nothing in it does.

    Raises what `onnx_file.load` raises, and `UnboundDimension` if sizes are all that its inputs lack.
    """
    with float_mode():
        model = load(source)
        surveyor = _Surveyor(model, _inferred(model, dims or {}))
        given = {name: value for name, value in (constants or {}).items() if name != seed_input}
        if seed_input is not None:
            taken = [value.name for value in model.graph.input]
            declare_seed(surveyor.builder, seed_input, taken, (constants or {}).get(seed_input))
        surveyor.look(dims or {}, given, max_sizes or {})
    return surveyor.obstacles


class _Unknown:
    """Stands for a value of which nothing is known."""


_UNKNOWN = _Unknown()


class _Surveyor(Importer):
    """Walks a model as the importer does, and stops nowhere."""

    def __init__(self, model: onnx.ModelProto, inferred: Mapping[str, tuple[DType, int, Shape]]) -> None:
        super().__init__(Parts(model), Builder())
        self.obstacles: list[Obstacle] = []
        self._inferred = inferred

    def look(self, dims: Mapping[str, int], constants: Mapping[str, Array], max_sizes: Mapping[str, int]) -> None:
        """Fills `obstacles`."""
        self._make_room(max_sizes)
        graph, scope = self.model.graph, Scope()
        given = names_of_constants(graph)
        unbound: list[tuple[str, str, int]] = []
        for value in graph.input:
            if value.name in given:
                continue
            scope.values[value.name] = _UNKNOWN
            if value.name in constants:
                fixed = self.builder.constant(fixed_value(value, constants[value.name], dims))
                scope.values[value.name] = fixed.marked(elements.held(value.type.tensor_type.elem_type)[1])
                continue
            try:
                dtype, narrow, shape = bind(value, dims)
            except UnboundDimension as missing:
                unbound += missing.missing
            except ModelError as refusal:
                self._found("", value.name, 0, refusal)
            else:
                tensor = self.builder.new(dtype, shape)
                tensor.buffer.narrow = narrow
                tensor.buffer.input_name, tensor.buffer.depends = value.name, frozenset({value.name})
                scope.values[value.name] = tensor
        if unbound and not self.obstacles:
            raise UnboundDimension(unbound)
        opsets = {domain_name(opset.domain): opset.version for opset in self.model.opset_import}
        self.walk(graph, Site(scope, opsets))
        for value in graph.output:
            result = scope[value.name]
            if result is not _UNKNOWN:
                try:
                    self._output(value, result)
                except ModelError as refusal:
                    self._found("", value.name, 0, refusal)

    def _initializer(self, tensor: onnx.TensorProto) -> Value:
        try:
            return super()._initializer(tensor)
        except ModelError as refusal:
            self._found("", tensor.name, 0, refusal)
            return _UNKNOWN

    def _node(self, node: onnx.NodeProto, place: Site) -> None:
        scope, opsets = place.scope, place.opsets
        inputs = [scope[name] for name in node.input if name]
        is_function = (domain_name(node.domain), node.op_type, node.overload) in self._functions
        before = len(self.obstacles)
        try:
            if is_function or _UNKNOWN not in inputs:
                super()._node(node, place)
                return
            self._look_up(node, opsets)
        except (ModelError, AttributeError, TypeError) as problem:
            # What a graph inside this node lacks has been noted there. Its lowering, handed values of which nothing is
            # known, may then stumble in any way; without such a cause, stumbling is our bug.
            if len(self.obstacles) == before:
                if not isinstance(problem, ModelError):
                    raise
                self._found(node.op_type, _name(node), opsets.get(domain_name(node.domain), 0), problem)
        sources = [value for value in inputs if isinstance(value, Tensor)]
        for output in node.output:
            if output:
                scope.values[output] = self._stand_in(output, sources)

    def _look_up(self, node: onnx.NodeProto, opsets: Mapping[str, int]) -> None:
        """Notes the operators in a node, and in the graphs of its attributes, that have no lowering at all."""
        domain = domain_name(node.domain)
        version = opsets.get(domain, 0)
        if (domain, node.op_type, node.overload) not in self._functions and find(domain, node.op_type, version) is None:
            self.obstacles.append(Obstacle(node.op_type, _name(node), version, why_unknown(node, version)))
        elif self._lacks_seed(node, domain):
            self.obstacles.append(Obstacle(node.op_type, _name(node), version, NO_SEED))
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())):
                for inner in graph.node:
                    self._look_up(inner, opsets)

    def _lacks_seed(self, node: onnx.NodeProto, domain: str) -> bool:
        own = any(attribute.name == "seed" for attribute in node.attribute)
        return not domain and node.op_type in ALWAYS_DRAW and self.builder.seed is None and not own

    def _stand_in(self, name: str, sources: Sequence[Tensor]) -> Any:
        """A tensor of the type and shape that ONNX infers for `name`, if it infers any."""
        known = self._inferred.get(name)
        if known is None:
            return _UNKNOWN
        dtype, narrow, shape = known
        return self.builder.new(dtype, shape, *sources).marked(narrow)

    def _found(self, op_type: str, name: str, opset: int, refusal: ModelError) -> None:
        if isinstance(refusal, UnsupportedOp):
            found = Obstacle(refusal.op_type, refusal.node, refusal.opset, refusal.reason)
        else:
            found = Obstacle(op_type, name, opset, str(refusal))
        self.obstacles.append(found)


def _name(node: onnx.NodeProto) -> str:
    return node.name or next((output for output in node.output if output), "")


def _inferred(model: onnx.ModelProto, dims: Mapping[str, int]) -> dict[str, tuple[DType, int, Shape]]:
    """Type and shape of every tensor for which ONNX infers both, with `dims` bound."""
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    for value in bound.graph.input:
        for position, dim in enumerate(value.type.tensor_type.shape.dim):
            size = dims.get(f"{value.name}.{position}", dims.get(dim.dim_param))
            if size is not None:
                dim.dim_value = size
    try:
        graph = onnx.shape_inference.infer_shapes(bound, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        return {}  # too large a model, or one that contradicts itself: then there are no stand-ins
    found = {}
    for value in (*graph.value_info, *graph.output):
        try:
            found[value.name] = bind(value, {})
        except ModelError:
            continue  # not known in full
    return found
