"""Native inference beside ONNX Runtime in the same run, and what committing to it costs on top."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from opml_dispute.engine.hashing import merkle_root
from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS

Row = dict[str, Any]
LIGHT = ("light_squeezenet", "light_resnet50", "light_densenet121", "light_inception_v1")
MODEL_BYTES = 100 << 20
PAUSE_S = 0.1
RUNS = 12
"""In a row, in one engine's turn."""


def run(models: list[Path]) -> list[Row]:
    """Seconds of one inference, best of several, both engines taking turns; of one thread, its processor time."""
    named: list[tuple[str, onnx.ModelProto]] = [(path.stem, onnx.load(path)) for path in models]
    if not named:
        named = [("MatMul 1024^3", matmul(1024)), ("digits", onnx.load(DIGITS)), *map(light, LIGHT)]
    rows = []
    for name, model in named:
        for threads in (1, 2):
            rows.append(_beside_onnxruntime(name, model, threads))
    return rows


def commitment() -> list[Row]:
    """
    What roots cost beside the inference, in processor time, and the root of 100 MB of weights.

    S_0 holds the input's root, which the request names: it is computed once for a request, when its input is checked.
    """
    name, model = light("light_resnet50")
    program = compile_model(model)
    program.model_root  # noqa: B018 - known once per model, before anyone asks for an inference
    inputs = random_inputs(model)
    started, ran, committed = float("inf"), float("inf"), float("inf")
    for _ in range(8):
        inference = Inference(program, inputs)  # a fresh one each time: a root is computed once and then kept
        started = min(started, _seconds(partial(inference.state_root, 0), time.thread_time))
        ran = min(ran, _seconds(partial(inference.run_to, program.node_count), time.thread_time))
        committed = min(committed, _seconds(partial(inference.state_root, program.node_count), time.thread_time))
    weights = np.random.default_rng(0).standard_normal(MODEL_BYTES // 4, dtype=np.float32)
    rooted = _best(lambda: merkle_root(weights, 38, 4), 3, time.thread_time)
    return [
        {"what": f"{name}: S_n beside inference", "inference_s": ran, "commitment_s": committed,
         "percent": 100 * committed / ran},
        {"what": f"{name}: S_0, once for a request", "inference_s": ran, "commitment_s": started,
         "percent": 100 * started / ran},
        {"what": "root of 100 MB of weights", "cpu_s": rooted, "GB_a_cpu_second": weights.nbytes / rooted / 1e9},
    ]  # fmt: skip


def _run_again(inference: Inference) -> None:
    inference.run_to(0)
    inference.run_to(inference.program.node_count)


def _beside_onnxruntime(name: str, model: onnx.ModelProto, threads: int) -> Row:
    inputs = random_inputs(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # its warnings are about the models, not about us
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inference = Inference(compile_model(model), inputs, threads=threads)
    ours, theirs = float("inf"), float("inf")
    clock = time.thread_time if threads == 1 else time.perf_counter
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        # WHY pauses: ONNX Runtime's workers go on spinning for some 30 ms after a run, on the cores that are ours next.
        # Both then begin with sleeping workers, and run several times.
        time.sleep(PAUSE_S)
        ours = min(ours, _best(lambda: _run_again(inference), RUNS, clock))
        time.sleep(PAUSE_S)
        theirs = min(theirs, _best(lambda: session.run(None, inputs), RUNS, clock))
    return {"model": name, "threads": threads, "ours_s": ours, "onnxruntime_s": theirs, "ratio": ours / theirs}


def light(name: str) -> tuple[str, onnx.ModelProto]:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return name, onnx.load(folder / f"{name}.onnx")


def matmul(size: int) -> onnx.ModelProto:
    shape = [size, size]
    a, b, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("a", "b", "out"))
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["out"])], "matmul", [a, b], [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def random_inputs(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Random values for every input that no initializer gives."""
    given = {tensor.name for tensor in model.graph.initializer}
    random = np.random.default_rng(1)
    found = {}
    for value in model.graph.input:
        if value.name not in given:
            shape = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            found[value.name] = random.standard_normal(shape).astype(dtype)
    return found


def _best(work: Callable[[], object], repeat: int = 5, clock: Callable[[], float] = time.perf_counter) -> float:
    return min(_seconds(work, clock) for _ in range(repeat))


def _seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    work()
    return clock() - started
