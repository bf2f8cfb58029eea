"""
Models of single operators: every operator, in every version of its schema, with every element type that it allows.

ONNX's node cases are the seeds: each gives an operator inputs and attributes that fit together. `trials` makes many
models of each seed:

1. `_in_version` writes the node as an earlier version of its schema has it (its inputs may become attributes);
2. `_retyped` gives the inputs another element type, and the schema's own float attributes values that no integer holds.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from opml_dispute.model.tensor import Array
from tests.onnx.backend import _node_cases

SEEDS = 4
"""Cases of one operator that are retyped and rewritten, the smallest first, all with different attributes."""

FRACTIONS = (0.5, 1.5, -2.7)
"""Values of float attributes that no integer type holds."""

_OPSET = {"": 28, "ai.onnx.ml": 5, "ai.onnx.preview.training": 1}
_TYPES = {f"tensor({name.lower()})": number for name, number in TensorProto.DataType.items()}
_TYPES["tensor(float)"], _TYPES["tensor(double)"] = TensorProto.FLOAT, TensorProto.DOUBLE
_RENAMED = {"constant_value": "value", "K": "k"}
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "output_datatype")


@dataclass(frozen=True)
class Trial:
    """A model of one operator, and the values of its inputs."""

    op_type: str
    version: int
    name: str
    """What is special about it, and the case that it was made of."""
    model: onnx.ModelProto
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """A node as data: what `trials` varies."""

    schema: onnx.defs.OpSchema
    node: onnx.NodeProto
    inputs: tuple[Any, ...]
    """By the node's inputs: arrays, None where one is left out."""
    outputs: int

    def trial(self, name: str) -> Trial:
        """The model."""
        named, values = [], {}
        for i, value in enumerate(self.inputs):
            if value is not None:
                values[f"x{i}"] = value
                named.append(_value_info(f"x{i}", value))
        node = onnx.NodeProto()
        node.CopyFrom(self.node)
        del node.input[:], node.output[:]
        node.input.extend("" if value is None else f"x{i}" for i, value in enumerate(self.inputs))
        node.output.extend(f"y{i}" for i in range(self.outputs))
        node.name = "node"
        graph = helper.make_graph(
            [node], "sweep", named, [onnx.ValueInfoProto(name=f"y{i}") for i in range(self.outputs)]
        )
        opsets = [helper.make_opsetid("", 17)] if self.schema.domain else []
        opsets.append(helper.make_opsetid(self.schema.domain, self.schema.since_version))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return Trial(self.schema.name, self.schema.since_version, name, model, values)


def _value_info(name: str, value: Any) -> onnx.ValueInfoProto:
    if isinstance(value, list):
        assert value
        inner = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value[0].dtype), None)
        return helper.make_value_info(name, helper.make_sequence_type_proto(inner))
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


@functools.cache
def _schemas() -> dict[tuple[str, str], list[onnx.defs.OpSchema]]:
    """All versions of every operator, ascending."""
    found: dict[tuple[str, str], list[onnx.defs.OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain in _OPSET and schema.since_version <= _OPSET[schema.domain]:
            found.setdefault((schema.domain, schema.name), []).append(schema)
    return {key: sorted(each, key=lambda s: s.since_version) for key, each in found.items()}


def operators() -> list[tuple[str, str]]:
    """The (domain, operator) pairs that have a seed."""
    return sorted(_seeds())


@functools.cache
def _seeds() -> dict[tuple[str, str], list[Node]]:
    found: dict[tuple[str, str], list[tuple[int, str, Node]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's own test data overflows on purpose
        known = _node_cases()
    for case in known:
        assert case.model is not None
        graph = case.model.graph
        if len(graph.node) != 1 or "_expanded" in case.name or case.model.functions:
            continue
        (node,) = graph.node
        versions = {opset.domain: opset.version for opset in case.model.opset_import}
        history = [
            s
            for s in _schemas().get((node.domain, node.op_type), [])
            if s.since_version <= versions.get(node.domain, 1)
        ]
        if not history:
            continue
        assert case.data_sets is not None
        given = dict(zip([value.name for value in graph.input], case.data_sets[0][0], strict=False))
        given |= {tensor.name: tensor for tensor in graph.initializer}
        inputs = tuple(_array(given.get(name)) if name else None for name in node.input)
        if any(value is None and name for value, name in zip(inputs, node.input, strict=True)):
            continue
        size = sum(value.nbytes for value in inputs if isinstance(value, np.ndarray))
        seed = Node(history[-1], node, inputs, len([name for name in node.output if name]))
        found.setdefault((node.domain, node.op_type), []).append((size, case.name, seed))
    chosen: dict[tuple[str, str], list[Node]] = {}
    for key, seeds in found.items():
        alike: dict[tuple[Any, ...], Node] = {}
        for _, _, seed in sorted(seeds, key=lambda each: each[:2]):
            signature = (seed.schema.since_version, *(str(a) for a in seed.node.attribute if a.type != a.GRAPH))
            alike.setdefault((*signature, len(seed.inputs)), seed)
        chosen[key] = list(alike.values())
    return chosen


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list):
        return [np.asarray(item) for item in value] if value and all(isinstance(i, np.ndarray) for i in value) else None
    return None if value is None else np.asarray(value)


def trials(domain: str, op_type: str, seeds: int = SEEDS) -> Iterator[Trial]:
    """Models of one operator: its first seeds in every version of the schema, with every element type."""
    for number, seed in enumerate(_seeds()[domain, op_type][:seeds]):
        for schema in _schemas()[domain, op_type]:
            node = _in_version(seed, schema)
            if node is None:
                continue
            yield node.trial(f"seed {number}")
            for label, typed in _retyped(node):
                yield typed.trial(f"seed {number} {label}")
                if op_type in _ELEMENTWISE:
                    yield _with_wide_values(typed).trial(f"seed {number} {label} wide")
                if all(word not in label for word in ("FLOAT", "DOUBLE", "FLOAT16")):
                    for attribute, changed in _with_fractions(typed):
                        yield changed.trial(f"seed {number} {label} {attribute}")


def _in_version(seed: Node, schema: onnx.defs.OpSchema) -> Node | None:
    """The seed as another version of its operator writes it; None where that cannot be said."""
    if schema.deprecated:
        return None
    formal = [f.name for f in schema.inputs]
    node = onnx.NodeProto()
    node.op_type, node.domain = seed.node.op_type, seed.node.domain
    node.attribute.extend(a for a in seed.node.attribute if a.name in schema.attributes)
    present = {a.name for a in node.attribute}
    inputs: list[Any] = []
    variadic = bool(schema.inputs) and schema.inputs[-1].option == onnx.defs.OpSchema.FormalParameterOption.Variadic
    for i, value in enumerate(seed.inputs):
        own = seed.schema.inputs[min(i, len(seed.schema.inputs) - 1)].name
        if own in formal or variadic or i < min(len(formal), 1):
            inputs.append(value)
        elif (name := _RENAMED.get(own, own)) in schema.attributes and name not in present:
            if value is not None:
                node.attribute.append(_as_attribute(name, value, schema.attributes[name]))
        elif len(inputs) < len(formal):
            inputs.append(value)
    while inputs and inputs[-1] is None:
        inputs.pop()
    if len(inputs) < schema.min_input or len(inputs) > schema.max_input:
        return None
    return Node(schema, node, tuple(inputs), min(seed.outputs, schema.max_output))


def _as_attribute(name: str, value: Array, attribute: Any) -> AttributeProto:
    flat = value.reshape(-1).tolist()
    if not flat:
        return helper.make_attribute(name, [], attr_type=AttributeProto.INTS)
    if attribute.type == onnx.defs.OpSchema.AttrType.INT:
        return helper.make_attribute(name, int(flat[0]))
    if attribute.type == onnx.defs.OpSchema.AttrType.FLOAT:
        return helper.make_attribute(name, float(flat[0]))
    whole = attribute.type == onnx.defs.OpSchema.AttrType.INTS
    return helper.make_attribute(name, [int(v) if whole else float(v) for v in flat])


def _retyped(node: Node) -> Iterator[tuple[str, Node]]:
    """The node with other element types: one of the schema's type variables after another, then two together."""
    allowed = {c.type_param_str: c.allowed_type_strs for c in node.schema.type_constraints}
    used = list(dict.fromkeys(_variable(node, i) for i, value in enumerate(node.inputs) if value is not None))
    free = [v for v in used if len([t for t in allowed.get(v, ()) if t in _TYPES]) > 1]
    choices = [[(v, t) for t in sorted(allowed[v]) if t in _TYPES] for v in free]
    combinations: list[tuple[tuple[str, str], ...]] = [(choice,) for each in choices for choice in each]
    if len(choices) == 2:
        combinations += [pair for pair in itertools.product(*choices) if len(choices[0]) * len(choices[1]) <= 200]
    for combination in combinations:
        changed = _with_types(node, dict(combination))
        if changed is not None:
            yield " ".join(f"{v}={t[7:-1].upper()}" for v, t in combination), changed
    for attribute in node.schema.attributes.values():
        if attribute.name in _TYPE_ATTRIBUTES and attribute.type == onnx.defs.OpSchema.AttrType.INT:
            for number in sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}):
                yield f"{attribute.name}={number}", _with_attribute(node, attribute.name, number)


_ELEMENTWISE = frozenset(
    [
        *("Abs", "Add", "Clip", "Equal", "Gemm", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "MatMul", "Max"),
        *("Min", "Mod", "Mul", "Neg", "Relu", "Shrink", "Sign", "Sub", "Where", "ReduceL1", "ReduceMax", "ReduceMean"),
        *("ReduceMin", "ReduceProd", "ReduceSum", "CumSum", "TopK", "ArgMax", "ArgMin", "GatherElements"),
    ]
)
"""Operators whose integers are tried with values that binary32 does not hold."""


def _with_wide_values(node: Node) -> Node:
    """Integers that need more than 24 bits, where the type has them, and all signs."""
    inputs = list(node.inputs)
    rng = np.random.default_rng(7)
    for i, value in enumerate(inputs):
        index = node.schema.inputs[min(i, len(node.schema.inputs) - 1)].name.lower()
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or index in _PLACES:
            continue
        limits = np.iinfo(value.dtype)
        low, high = max(limits.min, -(1 << 27)), min(limits.max, 1 << 27)
        inputs[i] = (rng.integers(low, high, value.shape) | 1).astype(value.dtype)
    return Node(node.schema, node.node, tuple(inputs), node.outputs)


_PLACES = frozenset({"axes", "axis", "k", "indices", "shape"})


def _variable(node: Node, i: int) -> str:
    formal = node.schema.inputs
    return str(formal[min(i, len(formal) - 1)].type_str)


def _with_types(node: Node, types: Mapping[str, str]) -> Node | None:
    inputs = list(node.inputs)
    for i, value in enumerate(inputs):
        wanted = types.get(_variable(node, i))
        if wanted is None or value is None:
            continue
        if wanted not in _TYPES or _TYPES[wanted] == TensorProto.STRING:
            return None
        dtype = helper.tensor_dtype_to_np_dtype(_TYPES[wanted])
        parts = [_converted(v, dtype) for v in (value if isinstance(value, list) else [value])]
        if any(part is None for part in parts):
            return None
        inputs[i] = parts if isinstance(value, list) else parts[0]
    return Node(node.schema, node.node, tuple(inputs), node.outputs)


def _converted(value: Array, dtype: np.dtype[Any]) -> Array | None:
    """Values of another type that are about as varied: fractions are spread out before they become integers."""
    if value.dtype.kind in "USO" or dtype.kind in "USOc":
        return None
    if value.dtype == dtype:
        return value
    numbers = value.astype(np.float64 if value.dtype != np.int64 else np.int64)
    if dtype.kind in "iub":
        if is_float(value.dtype):
            fractional = bool(np.any(numbers != np.rint(numbers)))
            numbers = np.rint(np.nan_to_num(numbers, posinf=100, neginf=-100) * (3 if fractional else 1))
        if dtype.kind == "b":
            return np.asarray(numbers > 0)
        limits = np.iinfo(dtype)
        low = 0 if dtype.kind == "u" else limits.min
        if dtype.kind == "u":
            numbers = np.abs(numbers)
        return np.clip(numbers, low, min(limits.max, 2**53)).astype(dtype)
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32).astype(dtype)


def is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype in (np.dtype(ml_dtypes.bfloat16),)


def _with_attribute(node: Node, name: str, value: Any) -> Node:
    changed = onnx.NodeProto()
    changed.CopyFrom(node.node)
    kept = [a for a in changed.attribute if a.name != name]
    del changed.attribute[:]
    changed.attribute.extend([*kept, helper.make_attribute(name, value)])
    return Node(node.schema, changed, node.inputs, node.outputs)


def _with_fractions(node: Node) -> Iterator[tuple[str, Node]]:
    for attribute in node.schema.attributes.values():
        if attribute.type == onnx.defs.OpSchema.AttrType.FLOAT:
            for value in FRACTIONS:
                if value < 0 and attribute.name in ("scale", "softcap", "epsilon"):
                    continue  # of which roots are taken, or which must not be negative
                yield f"{attribute.name}={value}", _with_attribute(node, attribute.name, value)
