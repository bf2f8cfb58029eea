"""
From an ONNX model to operations.

`Importer.run` gives every graph input a tensor (`graph_inputs` makes its shape concrete), then walks the nodes in order
and hands each to its lowering (`lower`). Shapes need no inference of their own: every tensor that a lowering returns
has one. Known values are folded, so shape arithmetic makes no nodes. Control flow with a
known condition, and functions of the model, are walked in place (`subgraph`, `_call`).

A node that cannot be expressed is refused with the operator, the node, the opset and the reason (`refusals`,
`reasons`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Final, TypeVar

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import AttributeProto, TensorProto

from opml_dispute.errors import OpmlError
from opml_dispute.model import elements
from opml_dispute.model.attributes import listed, text_of
from opml_dispute.model.builder import Builder
from opml_dispute.model.fewest import Fewest
from opml_dispute.model.graph_inputs import (
    bind,
    constant_texts,
    constant_values,
    dimension_names,
    expect_as_declared,
    fixed_value,
    held_type,
    names_of_constants,
    refuse_unknown,
    sparse_values,
)
from opml_dispute.model.lower import LoweringEntry, Value, find
from opml_dispute.model.lower.control import MAX_ITERATIONS
from opml_dispute.model.mapped_weights import Parts
from opml_dispute.model.needed import needed
from opml_dispute.model.onnx_file import domain_name
from opml_dispute.model.opcodes import DType
from opml_dispute.model.padding import COUNTED, MOST_ROOM, Padding, Sized, carried
from opml_dispute.model.reasons import why_unknown
from opml_dispute.model.recorder import Origin
from opml_dispute.model.refusals import (
    CompilerFault,
    InputNotFixed,
    InvalidModel,
    ModelError,
    NeedsConstant,
    NeedsRoom,
    Refuse,
    SizeDependsOnData,
    UnboundDimension,
    UnsupportedOp,
    UnsupportedType,
)
from opml_dispute.model.scope import Scope
from opml_dispute.model.signature import TwoTypes, check_inputs, result_types, schema_of
from opml_dispute.model.subgraph import Argument, Site, Subgraph, bound
from opml_dispute.model.tensor import Array, Tensor

MessageT = TypeVar("MessageT", bound=Message)

_WORTH_KEEPING: Final = 64
"""Elements of a constant from which on it is remembered; of smaller ones, there may be any number."""

MOST_NESTED: Final = 64
"""Graphs and calls of functions inside one another, each of which takes a part of the interpreter's stack."""


class Importer:
    """Lowers one model into one `Builder`."""

    def __init__(self, parts: Parts, builder: Builder) -> None:
        self.model, self._parts = parts.model, parts
        self.builder = builder
        self.inputs: list[tuple[str, Tensor]] = []
        """The inputs that stay inputs, in the graph's order."""
        self.notes = builder.notes
        self._functions = {(domain_name(f.domain), f.name, f.overload): f for f in self.model.functions}
        self._path: list[str] = []
        self._depth = 0
        self._read: dict[int, tuple[Message, Tensor]] = {}
        """Constants, by the identity of what they are written in, which is kept so that it stays one."""
        self._has_text = False
        self._rooms: dict[str, int] = {}
        self._replaced: Mapping[str, Callable[[Tensor], Tensor]] = {}
        self._constants: dict[str, Value] | None = None
        """The graph's initializers, where it is lowered repeatedly."""
        self._counts: dict[str, Tensor] = {}
        """How many elements each tensor of `_rooms` has."""

    def run(
        self, dims: Mapping[str, int], constants: Mapping[str, Array], max_sizes: Mapping[str, int] | None = None
    ) -> list[tuple[str, Tensor]]:
        """The graph's outputs, by name, in the graph's order; then how many elements those of `max_sizes` have."""
        self._make_room(max_sizes or {})
        graph = self.model.graph
        expect_as_declared(graph)
        scope = Scope()
        given = names_of_constants(graph)
        refuse_unknown("dims", dims, dimension_names(self.model))
        refuse_unknown("constants", constants, [value.name for value in graph.input])
        unbound: list[tuple[str, str, int]] = []
        for value in graph.input:
            if value.name in constants:
                fixed = self.builder.constant(fixed_value(value, constants[value.name], dims))
                scope.values[value.name] = fixed.marked(elements.held(value.type.tensor_type.elem_type)[1])
            elif value.name not in given:
                try:
                    dtype, narrow, shape = bind(value, dims)
                except UnboundDimension as missing:
                    unbound += missing.missing
                    continue
                self._note_held(narrow)
                tensor = self.builder.new(dtype, shape)
                tensor.buffer.input_name = value.name
                tensor.buffer.narrow = narrow
                tensor.buffer.depends = frozenset({value.name})
                scope.values[value.name] = tensor
                self.inputs.append((value.name, tensor))
        if unbound:
            raise UnboundDimension(unbound)
        opsets = {domain_name(opset.domain): opset.version for opset in self.model.opset_import}
        fewest = Fewest(self._functions, most_iterations=MAX_ITERATIONS, with_room=self._rooms)
        self.builder.meter.foreseen(fewest.of_graph(graph))
        for tensor in graph.initializer:
            if tensor.name not in scope.values:
                scope.values[tensor.name] = self._initializer(tensor)
        self.walk(graph, Site(scope, opsets))
        outputs = {out.name: self._output(out, scope[out.name]) for out in graph.output}  # one listed twice is one
        if self._has_text:
            self.notes.append(elements.text_note(self.builder.texts()))
        return [*outputs.items(), *self._told_counts(set(outputs))]

    def repeated(
        self, given: Mapping[str, Tensor], place: str, replaced: Mapping[str, Callable[[Tensor], Tensor]] | None = None
    ) -> dict[str, Tensor]:
        """
        The graph's outputs by name, for tensors as its inputs: it can be lowered many times, with the same constants.

        `place` stands before the names of its nodes. `replaced` names outputs of nodes: such a node gets what the
        function makes of its first input. ASSUMES that `given` has every input, in its type.
        """
        self._replaced = replaced or {}
        graph = self.model.graph
        if self._constants is None:
            self._constants = {tensor.name: self._initializer(tensor) for tensor in graph.initializer}
        scope = Scope()
        scope.values |= {**self._constants, **given}
        opsets = {domain_name(opset.domain): opset.version for opset in self.model.opset_import}
        self._path.append(place)
        self.walk(graph, Site(scope, opsets))
        self._path.pop()
        return {value.name: self._output(value, scope[value.name]) for value in graph.output}

    def _make_room(self, max_sizes: Mapping[str, int]) -> None:
        """Keeps how many elements the model's user allows the tensors that `max_sizes` names."""
        counted = [name for node in self.model.graph.node if node.op_type in COUNTED for name in node.output if name]
        refuse_unknown("max_sizes", max_sizes, counted)
        for name, room in max_sizes.items():
            if not 1 <= room <= MOST_ROOM:
                raise ModelError(f"room for {room:,} elements of {name!r}; expected 1 to {MOST_ROOM:,}")
        self._rooms = dict(max_sizes)

    def _told_counts(self, taken: set[str]) -> list[tuple[str, Tensor]]:
        """The outputs that say how many elements are there."""
        outputs = []
        for name, room in self._rooms.items():
            if name not in self._counts:
                raise ModelError(
                    f"max_sizes names {name!r}, whose size does not depend on data here",
                    hint="leave it out: its size is known",
                )
            told = f"{name}.count"
            if told in taken:
                raise InvalidModel(f"the model has an output {told!r}, which would say how large {name!r} is")
            outputs.append((told, self._counts[name]))
            self.notes.append(f"{name!r} has room for {room:,} elements; the output {told!r} says how many are there")
        return outputs

    def walk(self, graph: onnx.GraphProto, place: Site) -> None:
        """Lowers the graph's nodes in order; every value gets its name in the place's scope."""
        scope = place.scope
        for tensor in graph.initializer:
            if tensor.name not in scope.values:
                constant = self._constant(tensor)
                scope.expect_own(tensor.name, constant)
                scope.values[tensor.name] = constant
        for sparse in graph.sparse_initializer:
            if sparse.values.name not in scope.values:
                scope.values[sparse.values.name] = self._once(sparse, self._sparse)
        wanted = needed(graph.node, {value.name for value in graph.output})
        self._walk_nodes([node for index, node in enumerate(graph.node) if index in wanted], place)

    def _walk_nodes(self, nodes: Sequence[onnx.NodeProto], place: Site) -> None:
        """Lowers nodes in order. Raises `InvalidModel` if they stand deep inside of other graphs and functions."""
        self._depth += 1
        try:
            if self._depth > MOST_NESTED:
                raise InvalidModel(f"more than {MOST_NESTED} graphs and functions inside one another")
            for node in nodes:
                self._node(node, place)
        finally:
            self._depth -= 1

    def _initializer(self, tensor: TensorProto) -> Value:
        """An initializer of the model's own graph."""
        array = self._parts.weights.get(tensor.name)
        if array is None:
            return self._constant(tensor)
        return self.builder.constant(elements.as_type(array, elements.held(tensor.data_type)[0]))

    def _node(self, node: onnx.NodeProto, place: Site) -> None:
        self.builder.meter.lowered()
        scope = place.scope
        domain = domain_name(node.domain)
        inputs = [scope[name] if name else None for name in node.input]
        while inputs and inputs[-1] is None:
            inputs.pop()
        if node.output and node.output[0] in self._replaced and isinstance(inputs[0], Tensor):
            inputs[0] = self._replaced[node.output[0]](inputs[0])
        paddings = [scope.padding(name) for name in node.input[: len(inputs)]]
        name = node.name or next((output for output in node.output if output), "")
        function = self._functions.get((domain, node.op_type, node.overload))
        results: Sequence[tuple[Value, Padding | None]]
        if function is not None:
            results = self._call(function, node, list(zip(inputs, paddings, strict=True)), place, name)
        else:
            results = self._lower(node, domain, name, inputs, paddings, place)
        if len(results) < len(node.output):
            version = place.opsets.get(domain, 0)
            reason = f"output number {len(results) + 1} is not supported"
            raise UnsupportedOp(node.op_type, name, version, reason)
        for output, (value, padding) in zip(node.output, results, strict=False):
            if output:
                scope.put(output, value, padding)

    def _lower(
        self,
        node: onnx.NodeProto,
        domain: str,
        name: str,
        inputs: Sequence[Value],
        paddings: Sequence[Padding | None],
        place: Site,
    ) -> Sequence[tuple[Value, Padding | None]]:
        """The operator's outputs, and the padding of those whose size depends on data."""
        version = place.opsets.get(domain, 0)
        full_name = "/".join([*self._path, name.lstrip("/")]) if self._path else name
        entry = find(domain, node.op_type, version)
        if entry is None:
            raise UnsupportedOp(node.op_type, full_name, version, why_unknown(node, version))
        if entry.takes_more and len(node.input) > max(len(inputs), entry.named):
            raise UnsupportedOp(node.op_type, full_name, version, f"input {len(inputs) + 1} is missing")
        outer, self.builder.origin = self.builder.origin, Origin(node.op_type, full_name, version)
        rooms, self.builder.rooms = self.builder.rooms, self._rooms_of(node, place.scope)
        try:
            attributes = {a.name: self._attribute(a) for a in (bound(each, place) for each in node.attribute) if a}
            attributes |= self._parts.lists.get(node.output[0] if node.output and not self._path else "", {})
            schema = schema_of(domain, node.op_type, version)
            results, made = self._checked(entry, schema, inputs, attributes, len(node.output))
            for output, sized in zip(node.output, made, strict=False):
                if sized is not None and self.builder.rooms and output in self._rooms:
                    self._counts[output] = sized.count
            kept = carried((domain, node.op_type, version), inputs, paddings, attributes, results)
            own = [None if sized is None else sized.padding for sized in made]
            return [(value, new or old) for value, new, old in zip(results, own, kept, strict=True)]
        except Refuse as refusal:
            raise UnsupportedOp(node.op_type, full_name, version, str(refusal), hint=refusal.hint) from None
        except NeedsRoom as need:
            output = node.output[need.output]
            raise SizeDependsOnData(node.op_type, full_name, version, need.what, need.depends, output) from None
        except NeedsConstant as need:
            if not need.depends:
                reason = f"{need.what} must be known when the model is compiled, but is computed"
                raise UnsupportedOp(node.op_type, full_name, version, reason) from None
            raise InputNotFixed(node.op_type, full_name, version, need.what, need.depends) from None
        except OpmlError:
            raise
        except MemoryError:
            raise UnsupportedOp(node.op_type, full_name, version, "it takes more memory than there is") from None
        except Exception as error:
            shapes = ", ".join(str(list(v.shape)) for v in inputs if isinstance(v, Tensor))
            raise CompilerFault(node.op_type, full_name, version, shapes, error) from error
        finally:
            self.builder.origin, self.builder.rooms = outer, rooms

    def _rooms_of(self, node: onnx.NodeProto, scope: Scope) -> Sequence[int | None]:
        """How many elements a node's outputs have room for. In graphs inside others, and functions, none has."""
        if scope.outer is not None or self._path:
            return ()
        rooms = [self._rooms.get(output) for output in node.output]
        given = {room for room in rooms if room is not None}
        if node.op_type == "If" or not given:
            return rooms
        # One number says how large all of an operator's results are; it may be given by any of their names.
        if len(given) > 1:
            found = ", ".join(f"{name}={room:,}" for name, room in zip(node.output, rooms, strict=True) if room)
            raise ModelError(
                f"rooms for results of one operator, {found}; expected one number for all of them",
                hint="give --max-size once, for any of these names",
            )
        return [given.pop()] * len(rooms)

    def _checked(
        self,
        entry: LoweringEntry,
        schema: onnx.defs.OpSchema | None,
        inputs: Sequence[Value],
        attributes: dict[str, Any],
        output_count: int,
    ) -> tuple[list[Value], list[Sized | None]]:
        """
        The operator's outputs, of the types that its schema says; and those for which there is room.

        What the schema does not allow is tried all the same: that an early version takes no integers, say, is no reason
        to refuse them. It is the reason that is told if the lowering fails.
        """
        if schema is None:
            return _apart(entry(self.builder, inputs, attributes, output_count))
        broken = None
        types: list[tuple[DType, int] | None] = []
        try:
            types = result_types(schema, check_inputs(schema, inputs), output_count)
        except Refuse as refusal:
            if isinstance(refusal, TwoTypes) or any(isinstance(value, Tensor) and value.narrow for value in inputs):
                raise  # what holds the type could be computed with, and its results would be others
            broken = refusal
        try:
            results, made = _apart(entry(self.builder, inputs, attributes, output_count))
        except Exception as error:
            if broken is None or isinstance(error, NeedsConstant | OpmlError):
                raise
            raise broken from error
        for i, (result, kind) in enumerate(zip(results[:output_count], types, strict=False)):
            if not isinstance(result, Tensor) or kind is None:
                continue
            dtype, narrow = kind
            if dtype is result.dtype:
                results[i] = result.marked(narrow) if narrow else result
            elif result.dtype is DType.BOOL or (dtype.is_float and result.dtype.is_float and not narrow):
                results[i] = self.builder.cast(result, dtype)
        return results, made

    def _call(
        self,
        function: onnx.FunctionProto,
        node: onnx.NodeProto,
        inputs: Sequence[tuple[Value, Padding | None]],
        place: Site,
        name: str,
    ) -> list[tuple[Value, Padding | None]]:
        """A function of the model, walked in place with its own names, attributes and operator sets."""
        left_out = len(function.input) - len(inputs)
        if left_out < 0:
            found = f"{len(inputs)} inputs; expected at most {len(function.input)}"
            raise UnsupportedOp(node.op_type, name, place.opsets.get(domain_name(node.domain), 0), found)
        inner = Scope()
        for formal, (value, padding) in zip(function.input, [*inputs, *((None, None),) * left_out], strict=True):
            inner.put(formal, value, padding)
        own = {domain_name(opset.domain): opset.version for opset in function.opset_import}
        arguments: dict[str, Argument] = {}
        body = Site(inner, {**place.opsets, **own}, arguments)
        arguments |= {a.name: Argument(a.name, a, body) for a in function.attribute_proto}
        arguments |= {a.name: a for a in (bound(each, place) for each in node.attribute) if a}
        self._path.append(name)
        wanted = needed(function.node, set(function.output))
        try:
            self._walk_nodes([part for index, part in enumerate(function.node) if index in wanted], body)
        finally:
            self._path.pop()
        return [(inner[output], inner.padding(output)) for output in function.output]

    def _attribute(self, argument: Argument) -> Any:
        """The attribute as a Python value: number, text, tuple, tensor, or `Subgraph`."""
        attribute, kind = argument.attribute, argument.attribute.type
        if kind == AttributeProto.GRAPH:
            return Subgraph(self, attribute.g, argument.place)
        if kind == AttributeProto.TENSOR:
            return self._constant(attribute.t)
        if kind == AttributeProto.SPARSE_TENSOR:
            return self._once(attribute.sparse_tensor, self._sparse)
        if kind == AttributeProto.STRING:
            return text_of(attribute.s)
        if kind in (AttributeProto.STRINGS, AttributeProto.FLOATS, AttributeProto.INTS):
            return listed(attribute, argument.name)
        if kind in (AttributeProto.FLOAT, AttributeProto.INT):
            return attribute.f if kind == AttributeProto.FLOAT else attribute.i
        if kind == AttributeProto.TYPE_PROTO:
            return attribute.tp
        raise Refuse(f"attribute {argument.name!r} has a type that is not supported")

    def _once(self, written: MessageT, read: Callable[[MessageT], Tensor]) -> Tensor:
        """What `read` makes of a constant: once, however often a loop or a function comes to it."""
        known = self._read.get(id(written))
        if known is not None:
            return known[1]
        made = read(written)
        if made.size >= _WORTH_KEEPING:
            self._read[id(written)] = written, made
        return made

    def _constant(self, tensor: TensorProto) -> Tensor:
        return self._once(tensor, self._dense)

    def _dense(self, tensor: TensorProto) -> Tensor:
        if tensor.data_type == TensorProto.STRING:
            return self.builder.constant(constant_texts(self.builder, tensor)).marked(TensorProto.STRING)
        constant = self.builder.constant(constant_values(tensor.name, tensor))
        return constant.marked(elements.held(tensor.data_type)[1])

    def _note_held(self, number: int) -> None:
        if number == TensorProto.STRING:
            self._has_text = True
        elif number and (note := elements.held_note(number)) not in self.notes:
            self.notes.append(note)

    def _sparse(self, sparse: onnx.SparseTensorProto) -> Tensor:
        """A sparse constant, written out."""
        values = constant_values(sparse.values.name, sparse.values)
        self.builder.meter.afford(prod(sparse.dims) * values.itemsize)
        constant = self.builder.constant(sparse_values(sparse, values))
        return constant.marked(elements.held(sparse.values.data_type)[1])

    def _output(self, value: onnx.ValueInfoProto, made: Value) -> Tensor:
        if not isinstance(made, Tensor):
            found = "no value" if made is None else "a sequence"
            raise UnsupportedType(value.name, f"{found}; expected a tensor")
        result: Tensor = made
        declared = value.type.tensor_type.elem_type
        if declared == TensorProto.DOUBLE and result.dtype is DType.F32:
            # Trees of scikit-learn's converter are declared so, though their operators' results are binary32.
            result = self.builder.cast(result, DType.F64)
        if declared and held_type(value.name, declared) != (result.dtype, result.narrow):
            found = elements.name_of(result.narrow or result.dtype)
            raise InvalidModel(f"output {value.name!r} is {found}; the model declares {elements.name_of(declared)}")
        self._note_held(result.narrow)
        return result


def _apart(results: Sequence[Value]) -> tuple[list[Value], list[Sized | None]]:
    """Results, and those among them for which the model's user made room."""
    values = [result.tensor if isinstance(result, Sized) else result for result in results]
    return values, [result if isinstance(result, Sized) else None for result in results]
