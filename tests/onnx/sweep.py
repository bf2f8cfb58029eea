"""
Every operator, in every version of its schema, with every element type that the schema allows.

ONNX's node cases are the seeds: each gives an operator inputs and attributes that fit together. `trials` makes many
models of each seed:

1. `_in_version` writes the node as an earlier version of its schema has it (its inputs may become attributes);
2. `_retyped` gives the inputs another element type, and the schema's own float attributes values that no integer holds;
3. each is compiled once more with all inputs fixed, so that folding is held against running (`_folded`).

`check` compiles and runs one: it must agree with ONNX Runtime or with ONNX's reference evaluator, or be refused by a
`ModelError`. A record that fails at every run, any other exception, and a wrong value are findings.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops._quant_utils import reshape_input

from opml_dispute.engine.inference import Inference
from opml_dispute.model import compiler
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import InputNotFixed, ModelError
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
class Outcome:
    """How a trial went."""

    trial: Trial
    kind: str
    """agrees, refused, unknown (ran, but neither reference computes it), or what was found."""
    detail: str = ""
    known: bool = field(default=False)
    """Whether a reference computes it: a refusal of such a trial may be needless."""


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
        if _is_float(value.dtype):
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


def _is_float(dtype: np.dtype[Any]) -> bool:
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


# What a trial comes to


def check(trial: Trial, *, fold: bool = True) -> Outcome:
    """Compiles, runs and compares one trial, and holds folding against running."""
    try:
        onnx.checker.check_model(_with_outputs(trial.model))
    except onnx.checker.ValidationError as error:
        if "deprecated" not in str(error):
            return Outcome(trial, "invalid", str(error).split("\n")[0])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return _check(trial, fold)


def _check(trial: Trial, fold: bool) -> Outcome:
    try:
        program, fixed = _compiled(trial)
        inference = Inference(program, _given(program, trial.inputs))
        inference.run_to(program.node_count)
    except ModelError as refusal:
        return Outcome(trial, "refused", str(refusal), any(True for _ in _references(trial)))
    except Exception as error:
        return Outcome(trial, "crashed", f"{type(error).__name__}: {error}", True)
    if inference.status:
        if inference.status == 7 and not any(True for _ in _references(trial)):
            return Outcome(trial, "agrees")
        return Outcome(trial, "status", f"status {inference.status}", True)
    got = list(inference.outputs().values())
    if fold and len(fixed) < len(trial.inputs):
        found = _folded(trial, got)
        if found:
            return Outcome(trial, "folded", found, True)
    differences = []
    defined = _defined(trial, got)
    for name, expected in _references(trial):
        difference = _difference(got, expected, defined)
        if not difference:
            return Outcome(trial, "agrees")
        differences.append(f"{name}: {difference}")
    if not differences:
        return Outcome(trial, "unknown")
    return Outcome(trial, "differs", "; ".join(differences), True)


def _defined(trial: Trial, got: Sequence[Array]) -> Array | None:
    """
    Where the standard says what the first output is; None if everywhere.

    What becomes of infinities, NaN and floats beyond every integer type in an integer type is left to the processor.
    """
    x = next(iter(trial.inputs.values()), None)
    if trial.op_type not in ("Cast", "CastLike", "QuantizeLinear") or got[0].dtype.kind not in "iu":
        return None
    if not isinstance(x, np.ndarray) or not _is_float(x.dtype):
        return None
    wide = x.astype(np.float64)
    limit = 2.0**31 if got[0].dtype != np.int64 and got[0].dtype != np.uint64 else 2.0**63
    return np.asarray(np.isfinite(wide) & (np.abs(wide) < limit))


def _given(program: Program, inputs: Mapping[str, Any]) -> dict[str, Array]:
    return {spec.name: np.asarray(inputs[spec.name]).astype(spec.dtype.numpy) for spec in program.inputs}


def _compiled(trial: Trial) -> tuple[Program, dict[str, Array]]:
    """The program, and the inputs that had to be fixed for it."""
    fixed: dict[str, Array] = {}
    while True:
        try:
            return compile_model(trial.model, constants=fixed), fixed
        except InputNotFixed as need:
            if need.inputs <= fixed.keys():
                raise
            fixed |= {name: trial.inputs[name] for name in need.inputs}


def _folded(trial: Trial, running: Sequence[Array]) -> str:
    """What differs, in any bit, where all inputs are constants; empty if nothing does."""
    if any(isinstance(value, list) for value in trial.inputs.values()):
        return ""
    try:
        program = compile_model(trial.model, constants=dict(trial.inputs))
    except ModelError as refusal:
        return f"refused with constants: {refusal}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    inference = Inference(program, {})
    inference.run_to(program.node_count)
    if inference.status:
        return f"status {inference.status} with constants"
    if any(a.tobytes() != b.tobytes() for a, b in zip(running, inference.outputs().values(), strict=True)):
        running = _unfused(trial)
    for i, (now, then) in enumerate(zip(running, inference.outputs().values(), strict=True)):
        if now.dtype != then.dtype or now.shape != then.shape:
            return f"output {i} is {then.dtype}{list(then.shape)} with constants, {now.dtype}{list(now.shape)} without"
        if now.tobytes() != then.tobytes():
            return f"output {i} with constants {then.reshape(-1)[:6]}, without {now.reshape(-1)[:6]}"
    return ""


def _unfused(trial: Trial) -> list[Array]:
    """The outputs of a run in which no constant was fused into the operation before: fusing changes roundings."""
    with mock.patch.object(compiler, "fuse", lambda builder, ops, ends: list(ops)):
        program, _ = _compiled(trial)
    return list(Inference(program, _given(program, trial.inputs)).outputs().values())


def _with_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a type for every output, which the checker insists on."""
    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    for value in typed.graph.output:
        if value.type.WhichOneof("value") is None:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            value.type.tensor_type.shape.SetInParent()
    return typed


def _references(trial: Trial) -> Iterator[tuple[str, list[Any]]]:
    """What ONNX Runtime and ONNX's reference evaluator compute, where they do."""
    # A program takes binary64 inputs rounded to binary32; the references get the same numbers.
    inputs = {
        name: value.astype(np.float32).astype(np.float64)
        if isinstance(value, np.ndarray) and value.dtype == np.float64
        else value
        for name, value in trial.inputs.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, run in (("ONNX Runtime", _onnx_runtime), ("reference", _reference)):
            try:
                results = run(trial.model, inputs)
            except BaseException as error:  # whatever it cannot do
                if isinstance(error, KeyboardInterrupt):
                    raise
                continue
            yield name, results


def _onnx_runtime(model: onnx.ModelProto, inputs: Mapping[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    inferred = onnx.shape_inference.infer_shapes(model)
    session = onnxruntime.InferenceSession(inferred.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(inputs)))


def _reference(model: onnx.ModelProto, inputs: Mapping[str, Any]) -> list[Any]:
    return list(ReferenceEvaluator(model).run(None, _with_zero_point(model.graph.node[0], dict(inputs))))


def _with_zero_point(node: onnx.NodeProto, inputs: dict[str, Any]) -> dict[str, Any]:
    """
    The inputs, with the zero point of float8 that QuantizeLinear has already in `x`.

    ONNX: y = x / scale + zero point, for float8 too. The evaluator leaves out a zero point of float8, so it is given
    x + scale * zero point, in binary64.
    """
    if node.op_type != "QuantizeLinear" or len(node.input) < 3:
        return inputs
    x, scale, zero_point = (inputs[name] for name in node.input)
    if not zero_point.dtype.name.startswith("float8"):
        return inputs
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    wide_scale, wide_zero = (
        reshape_input(value.astype(np.float64), x.shape, given.get("axis", 1), given.get("block_size", 0))
        for value in (scale, zero_point)
    )
    return inputs | {node.input[0]: x.astype(np.float64) + wide_scale * wide_zero}


_RELATIVE = {"float16": 2**-9, "bfloat16": 2**-6}

_HELD_BY = {
    **dict.fromkeys(("int2", "int4"), np.dtype(np.int8)),
    **dict.fromkeys(("uint2", "uint4"), np.dtype(np.uint8)),
    **dict.fromkeys(("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"), np.dtype(np.float16)),
    **dict.fromkeys(("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"), np.dtype(np.float16)),
    "float8_e8m0fnu": np.dtype(ml_dtypes.bfloat16),
}
"""What holds numbers of narrow types, as docs/operators.md says: written out, so that the compiler is held to it."""


def _difference(got: Sequence[Array], expected: Sequence[Any], defined: Array | None = None) -> str:
    for i, (have, want) in enumerate(zip(got, expected, strict=False)):
        if not isinstance(want, np.ndarray | np.generic):
            continue
        want = np.asarray(want)
        if want.dtype.name in _HELD_BY:
            if difference := _narrow_difference(have, want, defined if i == 0 else None):
                return f"output {i} is {difference}"
            continue
        kind = "float32" if want.dtype == np.float64 else want.dtype.name
        if have.dtype.name != kind or have.shape != want.shape:
            return f"output {i} is {have.dtype}{list(have.shape)}; expected {want.dtype}{list(want.shape)}"
        if i == 0 and defined is not None:
            have, want = have[defined], want[defined]
        if _is_float(want.dtype) or _is_float(have.dtype):
            rtol = _RELATIVE.get(kind, 1e-4)
            wide, close = want.astype(np.float64), have.astype(np.float64)
            with np.errstate(all="ignore"):
                limit = np.isinf(close) & (np.abs(wide) > 3.4e38)
            largest = np.max(np.abs(wide[np.isfinite(wide)]), initial=1.0)
            if not np.all(np.isclose(close, wide, rtol=rtol, atol=rtol / 4 * largest, equal_nan=True) | limit):
                return f"output {i} is {have.reshape(-1)[:6]}; expected {want.reshape(-1)[:6]}"
        elif have.dtype.kind in "iu" and have.dtype.itemsize == 8 and np.any(np.abs(want.astype(np.float64)) > 2**50):
            # The references compute these in binary64, fractions too (alpha of Gemm), where integers are exact here.
            if not np.allclose(have.astype(np.float64), want.astype(np.float64), rtol=2**-50):
                return f"output {i} is {have.reshape(-1)[:6]}; expected {want.reshape(-1)[:6]}"
        elif not np.array_equal(have, want):
            return f"output {i} is {have.reshape(-1)[:6]}; expected {want.reshape(-1)[:6]}"
    return ""


def _narrow_difference(have: Array, want: Array, defined: Array | None) -> str:
    """Where a result is not the very same numbers, signs of zeros included, in the type that holds the narrow one."""
    holder = _HELD_BY[want.dtype.name]
    if have.dtype != holder or have.shape != want.shape:
        return f"{have.dtype}{list(have.shape)}; expected {want.dtype}{list(want.shape)} held by {holder}"
    if defined is not None:
        have, want = have[defined], want[defined]
    left, right = have.astype(np.float64), want.astype(np.float64)
    same = (left == right) & (np.signbit(left) == np.signbit(right)) | (np.isnan(left) & np.isnan(right))
    return "" if same.all() else f"{have[~same][:6]}; expected {want[~same][:6]}"
