"""
Peak memory of loading and running a model, ours and ONNX Runtime's, each in a process of its own.

What counts is how far the resident set grows beyond that of a process in which the libraries are loaded and have run
a small model. ONNX's real architectures come with weights that are one number repeated, which neither engine need
hold; so they are given random ones of the same shapes.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from lib.benchmarks.inference import LIGHT, Row, light, matmul
from onnx import numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model

MIB = 1 << 20


def run(models: list[Path]) -> list[Row]:
    """MiB at the peak, with one thread."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not models:
            for model_name in LIGHT:
                onnx.save(_with_random_weights(light(model_name)[1]), folder / f"{model_name}.onnx")
            models = [folder / f"{model_name}.onnx" for model_name in LIGHT]
        return [_row(path) for path in models]


def _row(path: Path) -> Row:
    ours, theirs = (_in_a_process(engine, path) for engine in ENGINES)
    return {"model": path.stem, "ours_mib": ours, "onnxruntime_mib": theirs, "ratio": ours / theirs}


def _in_a_process(engine: str, path: Path) -> float:
    here = Path(__file__).parents[2]
    command = [sys.executable, "-m", "lib.benchmarks.memory", engine, str(path)]
    return float(subprocess.run(command, cwd=here, check=True, capture_output=True, text=True).stdout)


def _with_random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """`ConstantOfShape` nodes become initializers of that shape, scaled so that numbers stay of one size."""
    random = np.random.default_rng(3)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            made.graph.node.append(node)
            continue
        shape = tuple(int(size) for size in shapes[node.input[0]])
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        weights = (random.standard_normal(shape) * scale).astype(np.float32)
        made.graph.initializer.append(
            numpy_helper.from_array(np.abs(weights) if len(shape) == 1 else weights, node.output[0])
        )
    made.ir_version = max(made.ir_version, 4)  # from there on initializers need not be inputs
    return made


def _ours(model: Path) -> None:
    program = compile_model(model)
    inputs = {given.name: np.zeros(given.shape, given.dtype.numpy) for given in program.inputs}
    inference = Inference(program, inputs)
    inference.run_to(program.node_count)
    inference.outputs()


def _onnxruntime(model: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    inputs = {given.name: np.zeros(given.shape, np.float32) for given in session.get_inputs()}
    session.run(None, inputs)


ENGINES: dict[str, Callable[[Path], None]] = {"ours": _ours, "onnxruntime": _onnxruntime}


def _status(field: str) -> int:
    """A size in /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))


def _growth(engine: str, path: Path) -> float:
    """MiB by which the resident set grows at most."""
    with tempfile.TemporaryDirectory() as name:
        small = Path(name) / "small.onnx"
        onnx.save(matmul(16), small)
        ENGINES[engine](small)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    ENGINES[engine](path)
    return (_status("VmHWM") - before) / MIB


if __name__ == "__main__":
    print(_growth(sys.argv[1], Path(sys.argv[2])))
