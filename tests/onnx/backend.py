"""
ONNX's own conformance cases, run through the compiler and an inference.

`cases` lists them: the node cases (one operator each, with inputs and expected outputs) and the nine real
architectures whose weights are constants. `attempt` compiles one, runs it and compares, and says how it went:

- passed: every output has the expected type, shape and values, to the case's own tolerance;
- refused: the compiler said clearly that it cannot express the model;
- failed: anything else. There must be none.

Some cases give as an input what must be known when compiling, such as a shape: it is then fixed to the case's value,
and the result says which inputs were. Where the size of a result depends on data, the program gets room for more
elements than the case has: those that are there are compared, and their number.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from opml_dispute.engine.inference import Inference
from opml_dispute.model import elements
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import InputNotFixed, ModelError, SizeDependsOnData

Array = npt.NDArray[Any]
Run = Callable[[Program, Mapping[str, Array]], dict[str, Array]]
"""Runs a program on inputs by name; gives its outputs by name."""


def native(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The native engine. Raises `RuntimeError` if the inference latched a status."""
    return native_run(program, inputs).outputs()


def native_run(program: Program, inputs: Mapping[str, Array]) -> Inference:
    """The inference, at its end. Raises `RuntimeError` if it latched a status."""
    inference = Inference(program, dict(inputs))
    inference.run_to(program.node_count)
    if inference.status:
        node = program.nodes[inference.fault_node]
        raise RuntimeError(f"status {inference.status} at node {inference.fault_node} ({node.kernel})")
    return inference


@dataclass(frozen=True)
class Result:
    """How one case went."""

    name: str
    outcome: str
    """passed, refused or failed."""
    reason: str = ""
    fixed: tuple[str, ...] = ()
    """Inputs that were given to the compiler instead of the inference."""
    op_types: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = ()
    """What the program says about itself."""
    nodes: int = field(default=0, compare=False)
    kernels: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """The kernels that each operator became."""

    def line(self) -> str:
        """The case's line in the committed table."""
        fixed = [f"fixed: {', '.join(self.fixed)}"] if self.fixed else []
        note = self.reason or "; ".join([*fixed, *self.notes])
        return f"{self.name}: {self.outcome}{f' ({note})' if note else ''}"


def cases(pattern: str = "") -> Iterator[TestCase]:
    """The cases whose name contains `pattern`: node cases, then real architectures."""
    for case in (*_node_cases(), *_real_cases()):
        if pattern in case.name:
            yield case


@functools.cache
def _node_cases() -> Sequence[TestCase]:
    return sorted(load_model_tests(kind="node"), key=lambda case: str(case.name))


@functools.cache
def _real_cases() -> Sequence[TestCase]:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return [_light_case(path) for path in sorted(folder.glob("*.onnx"))]


def _light_case(path: Path) -> TestCase:
    """One of the real architectures. Its input is made as the ONNX runner makes it; its output lies beside it."""
    name = f"test_{path.stem}"
    expected = path.with_name(f"{path.stem}_output_0.pb")
    output = numpy_helper.to_array(onnx.load_tensor(str(expected)))
    model = onnx.load(path)
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for value in model.graph.input:
        if value.name not in given:
            shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            size = int(np.prod(shape))
            inputs.append((np.arange(size).reshape(shape).astype(np.float32) / np.float32(size)).astype(np.float32))
    return TestCase(
        name=name, model_name=name, url=None, model_dir=None, model=model, data_sets=[(inputs, [output])],
        kind="real", rtol=1e-3, atol=1e-7,
    )  # fmt: skip


def attempt(case: TestCase, run: Run = native) -> Result:
    """Compiles, runs and compares one case."""
    model = case.model
    assert model is not None
    assert case.data_sets is not None
    op_types = tuple(dict.fromkeys(node.op_type for node in model.graph.node))
    fixed: dict[str, Array] = {}
    program: Program | None = None
    try:
        for inputs, outputs in case.data_sets:
            program, fixed = _compiled(model, _named(model, inputs), _room(inputs, outputs))
            given = {**_named(model, inputs), SEED: np.array([1], np.int64)}
            texts = texts_of(program)
            given = {name: as_numbers(texts, value) for name, value in given.items()}
            outputs = [as_numbers(texts, value) for value in outputs]
            got = run(program, {spec.name: _stored(given[spec.name], spec.dtype) for spec in program.inputs})
            for value, expected in zip(model.graph.output, outputs, strict=True):
                found = _there(value.name, got, expected)
                atol = np.inf if _draws(program) else _NOISE.get(case.name, case.atol)
                _compare(value.name, found, expected, case.rtol, atol)
    except ModelError as refusal:
        return Result(case.name, "refused", str(refusal), (), op_types)
    except Exception as error:  # Whatever it is, it is this case's result.
        reason = f"{type(error).__name__}: {str(error).strip()}"
        return Result(case.name, "failed", reason, tuple(sorted(fixed)), op_types)
    assert program is not None
    return Result(
        case.name, "passed", "", tuple(sorted(fixed)), op_types, program.notes, program.node_count, _kernels(program)
    )


def texts_of(program: Program) -> dict[str, int]:
    """The numbers of the texts that the program's notes tell."""
    told = [note.removeprefix(elements.TEXT_NOTE) for note in program.notes if note.startswith(elements.TEXT_NOTE)]
    return {text: i for i, text in enumerate(json.loads(told[0]))} if told else {}


def as_numbers(texts: dict[str, int], value: Any) -> Any:
    """Texts as numbers: those of the table, and further ones for others."""
    array = np.asarray(value) if not isinstance(value, list | onnx.TensorProto) and value is not None else None
    if array is None or array.dtype.kind not in "OUS":
        return value
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in array.reshape(-1).tolist()]
    return np.array([texts.setdefault(word, len(texts)) for word in words], np.int64).reshape(array.shape)


SEED = "seed"
"""The input of programs that draw random numbers."""


def _draws(program: Program) -> bool:
    return any("random numbers" in note or "same numbers" in note for note in program.notes)


def _kernels(program: Program) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({(node.op_type, node.kernel.split(".")[0]) for node in program.nodes}))


def _named(model: onnx.ModelProto, inputs: Sequence[Any]) -> dict[str, Any]:
    given = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in given]
    return dict(zip(names, inputs, strict=False))


def _room(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """More elements than any dimension of a case has."""
    return 2 + max((size for v in (*inputs, *outputs) if not isinstance(v, list) for size in np.shape(v)), default=0)


def _there(name: str, got: Mapping[str, Array], expected: Any) -> Array:
    """What is there of an output that has room for more. Raises `AssertionError` if the program counts otherwise."""
    found = got[name]
    # One operator has one count, whichever of its results it is named after.
    count = next((value for told, value in got.items() if told.endswith(".count")), None)
    if count is None or isinstance(expected, list) or found.ndim != np.ndim(expected):
        return found
    shape = np.shape(expected)
    unlike = [d for d in range(found.ndim) if found.shape[d] != shape[d]]
    if len(unlike) == 1:
        (axis,) = unlike
        assert int(count) == shape[axis], f"{name} has {int(count)} elements, expected {shape[axis]}"
        found = np.take(found, np.arange(shape[axis]), axis)
    return found


def _compiled(model: onnx.ModelProto, inputs: Mapping[str, Any], room: int) -> tuple[Program, dict[str, Array]]:
    """The program, with `room` where sizes depend on data, and the inputs that had to be fixed for it."""
    fixed: dict[str, Array] = {}
    dims = {
        f"{name}.{position}": size
        for name, value in inputs.items()
        if isinstance(value, np.ndarray)
        for position, size in enumerate(value.shape)
    }
    known = {value.name for value in model.graph.input if value.type.HasField("tensor_type")}
    dims = {key: size for key, size in dims.items() if key.rsplit(".", 1)[0] in known}
    rooms: dict[str, int] = {}
    seed: str | None = None
    refused: InputNotFixed | None = None
    while True:
        try:
            return compile_model(model, dims=dims, constants=fixed, max_sizes=rooms, seed_input=seed), fixed
        except SizeDependsOnData as need:
            if rooms:
                raise
            refused, rooms = need, {need.output: room}
        except InputNotFixed as need:
            if need.inputs <= fixed.keys():
                raise
            fixed |= {name: inputs[name] for name in need.inputs}
        except ModelError as refusal:
            if seed is None and "--seed-input" in (refusal.hint or ""):
                seed = SEED
                continue
            if refused is None or not rooms or not refused.inputs:
                raise
            fixed |= {name: inputs[name] for name in refused.inputs}  # what it is not padded for, it is known for
            refused, rooms = None, {}


_NOISE = {"test_dft_inverse": 1e-6, "test_dft_inverse_opset19": 1e-6}
"""Cases whose expected values are rounding noise where the exact result is 0: what may be off by, absolutely."""

_COARSE = {"bfloat16": 2**-6, "float16": 2**-9}
"""Two units in the last place: what ONNX's own runner allows bfloat16, and the same for binary16."""


def _stored(value: Any, dtype: DType) -> Array:
    """An input in the type that the program takes."""
    array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    if _is_narrow(array.dtype):
        return array.astype(dtype.numpy)
    return array


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether the segment holds elements of this type in a wider one."""
    if dtype.kind in "OUSM" or dtype in map(np.dtype, (np.complex64, np.complex128)):
        return False
    return bool(elements.held(onnx.helper.np_dtype_to_tensor_dtype(dtype))[1])


def _compare(name: str, got: Array, expected: Any, rtol: float, atol: float) -> None:
    expected = numpy_helper.to_array(expected) if isinstance(expected, onnx.TensorProto) else np.asarray(expected)
    if _is_narrow(expected.dtype):
        expected = expected.astype(elements.held(onnx.helper.np_dtype_to_tensor_dtype(expected.dtype))[0].numpy)
    if got.dtype != expected.dtype or got.shape != expected.shape:
        raise AssertionError(f"{name} is {got.dtype}{list(got.shape)}; expected {expected.dtype}{list(expected.shape)}")
    rtol = max(rtol, _COARSE.get(expected.dtype.name, 0))
    if expected.dtype.name == "bfloat16":  # numpy cannot compare these
        got, expected = got.astype(np.float32), expected.astype(np.float32)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)
