"""
Layers with block-quantised weights, at the shapes of a small language model, beside ONNX Runtime's MatMulNBits.

One row of activations is what decoding a token takes, 32 rows a prompt. ONNX Runtime quantises activations to int8 as
well (accuracy level 4); its weights have four bits, a scale and a zero point, as our Q4_1 has a scale and a minimum.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.block_formats import BlockFormat
from tests.model.built import built

Row = dict[str, Any]
SHAPES = ((576, 576), (1536, 576), (576, 1536), (49152, 576))
"""Outputs and inputs of a layer."""
FORMATS = (BlockFormat.Q4_1, BlockFormat.Q8_0)
ROUNDS = 15


def run() -> list[Row]:
    """A row for each format, shape, number of rows and of threads."""
    return [
        _measure(fmt, n, k, rows, threads)
        for fmt in FORMATS
        for n, k in SHAPES
        for rows in (1, 32)
        for threads in (1, 2)
        if n < 10_000 or rows == 1
    ]


def _measure(fmt: BlockFormat, n: int, k: int, rows: int, threads: int) -> Row:
    rng = np.random.default_rng(n + k)
    w = rng.integers(0, 256, (n * k // fmt.elements, fmt.bytes), np.uint8)
    w[:, 1] = w[:, 1] & 0x83 | 0x1C  # a scale of common size
    x = rng.standard_normal((rows, k)).astype(np.float32)
    program = built(lambda b, x: b.block_linear(x, b.constant(w.reshape(n, -1)), fmt), (rows, k))
    inference = Inference(program, {"x": x}, threads=threads)

    def ours() -> None:
        inference.run_to(0)
        inference.run_to(program.node_count)

    session = _peer(n, k, threads)
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for i, each in enumerate((ours, lambda: session.run(None, {"x": x}))):
            best[i] = min(best[i], _seconds(each))
    name = f"{rows} x {k} by {k} x {n}, {fmt.name}, threads: {threads}"
    return {"layer": name, "ours_us": best[0] * 1e6, "onnxruntime_us": best[1] * 1e6, "ratio": best[0] / best[1]}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peer(n: int, k: int, threads: int) -> onnxruntime.InferenceSession:
    rng = np.random.default_rng(n)
    constants = {
        "w": rng.integers(0, 256, (n, k // 32, 16), np.uint8),
        "scales": rng.standard_normal(n * k // 32).astype(np.float32),
        "zeros": rng.integers(0, 256, n * k // 64, np.uint8),
    }
    node = helper.make_node("MatMulNBits", ["x", *constants], ["y"], domain="com.microsoft")
    how = {"K": k, "N": n, "bits": 4, "block_size": 32, "accuracy_level": 4}
    node.attribute.extend(helper.make_attribute(name, value) for name, value in how.items())
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", n])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
