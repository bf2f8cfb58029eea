"""
Whether the compiler and the engine agree with ONNX about one trial.

`check` compiles and runs a model of one operator (`trials`): it must agree with ONNX Runtime or with ONNX's reference
evaluator, or be refused by a `ModelError`. It is compiled once more with all inputs fixed, so that folding is compared
with running (`_folded`). A record that fails at every run, any other exception, and a wrong value are findings.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops._quant_utils import reshape_input

from opml_dispute.engine.inference import Inference
from opml_dispute.model import compiler
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import InputNotFixed, ModelError
from opml_dispute.model.tensor import Array
from tests.onnx.backend import SEED, as_numbers, texts_of
from tests.onnx.trials import Trial, is_float


@dataclass(frozen=True)
class Outcome:
    """How a trial went."""

    trial: Trial
    kind: str
    """agrees, refused, unknown (ran, but neither reference computes it), or what was found."""
    detail: str = ""
    known: bool = field(default=False)
    """Whether a reference computes it: a refusal of such a trial may be needless."""


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
        texts = texts_of(program)
        inputs = {name: as_numbers(texts, value) for name, value in trial.inputs.items()}
        inference = Inference(program, _given(program, inputs))
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
        found = _folded(trial, inputs, got)
        if found:
            return Outcome(trial, "folded", found, True)
    differences = []
    defined = _defined(trial, got)
    for name, expected in _references(trial):
        difference = _difference(got, [as_numbers(texts, value) for value in expected], defined)
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
    if not isinstance(x, np.ndarray) or not is_float(x.dtype):
        return None
    wide = x.astype(np.float64)
    limit = 2.0**31 if got[0].dtype != np.int64 and got[0].dtype != np.uint64 else 2.0**63
    return np.asarray(np.isfinite(wide) & (np.abs(wide) < limit))


def _given(program: Program, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The values of the program's inputs, with a seed for one that draws random numbers."""
    values = {**inputs, SEED: np.array([1])}
    return {spec.name: np.asarray(values[spec.name]).astype(spec.dtype.numpy) for spec in program.inputs}


def _compiled(trial: Trial, given: Mapping[str, Array] | None = None) -> tuple[Program, dict[str, Array]]:
    """The program with the inputs `given` fixed, and those that had to be as well."""
    fixed = dict(given or {})
    seed: str | None = None
    while True:
        try:
            return compile_model(trial.model, constants=fixed, seed_input=seed), fixed
        except InputNotFixed as need:
            if need.inputs <= fixed.keys():
                raise
            fixed |= {name: trial.inputs[name] for name in need.inputs}
        except ModelError as refusal:
            if seed is not None or "--seed-input" not in (refusal.hint or ""):
                raise
            seed = SEED


def _folded(trial: Trial, inputs: Mapping[str, Any], running: Sequence[Array]) -> str:
    """What differs, in any bit, where all inputs are constants; empty if nothing does."""
    if any(isinstance(value, list) for value in trial.inputs.values()):
        return ""
    try:
        program, _ = _compiled(trial, inputs)
    except ModelError as refusal:
        return f"refused with constants: {refusal}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    inference = Inference(program, _given(program, inputs))
    inference.run_to(program.node_count)
    if inference.status:
        return f"status {inference.status} with constants"
    if any(a.tobytes() != b.tobytes() for a, b in zip(running, inference.outputs().values(), strict=True)):
        running = _unfused(trial, inputs)
    for i, (now, then) in enumerate(zip(running, inference.outputs().values(), strict=True)):
        if now.dtype != then.dtype or now.shape != then.shape:
            return f"output {i} is {then.dtype}{list(then.shape)} with constants, {now.dtype}{list(now.shape)} without"
        if now.tobytes() != then.tobytes():
            return f"output {i} with constants {then.reshape(-1)[:6]}, without {now.reshape(-1)[:6]}"
    return ""


def _unfused(trial: Trial, inputs: Mapping[str, Any]) -> list[Array]:
    """The outputs of a run in which no constant was fused into the operation before: fusing changes roundings."""
    with mock.patch.object(compiler, "fuse", lambda builder, ops, ends: list(ops)):
        program, _ = _compiled(trial)
    return list(Inference(program, _given(program, inputs)).outputs().values())


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, run in (("ONNX Runtime", _onnx_runtime), ("reference", _reference)):
            try:
                results = run(trial.model, trial.inputs)
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
    results = session.run(None, dict(inputs))
    # Numbers of 8 bits come as their bits.
    kinds = [_OF_8_BITS.get(output.type) for output in session.get_outputs()]
    return [result if kind is None else result.view(kind) for result, kind in zip(results, kinds, strict=True)]


_OF_8_BITS = {
    f"tensor({name.replace('_', '')})": np.dtype(getattr(ml_dtypes, name))
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
}
"""ONNX Runtime's names of types."""


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
        kind = want.dtype.name
        if have.dtype.name != kind or have.shape != want.shape:
            return f"output {i} is {have.dtype}{list(have.shape)}; expected {want.dtype}{list(want.shape)}"
        if i == 0 and defined is not None:
            have, want = have[defined], want[defined]
        if is_float(want.dtype) or is_float(have.dtype):
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
