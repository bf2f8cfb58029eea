"""
Sums that are added to and made non-negative as they are made, and convolutions shared out by position.

Both are native/inference/schedule.c's and change no bit: whole runs by one thread and more, beside the same nodes
one by one.
Images are large enough that positions are shared out, or so small that channels are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from tests.engine.test_schedule import assert_same, named

ENDINGS = (
    ("Relu",),
    ("Add",),
    ("Add", "Relu"),
    ("Relu", "Add"),
    ("Add", "Add", "Relu"),
    ("Add", "Relu", "Neg"),
    ("Bias", "Relu"),
    ("Relu", "Relu"),
)


def strewn(rng: np.random.Generator, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Normal numbers, and now and then one that is none."""
    values = rng.standard_normal(shape).astype(np.float32)
    wild = rng.choice(np.array([np.nan, np.inf, -np.inf, -0.0, 0.0], np.float32), values.shape)
    return np.where(rng.random(values.shape) < 0.0005, wild, values)


def model(
    head: onnx.NodeProto, x: Sequence[int], w: Sequence[int], out: Sequence[int], ending: Sequence[str]
) -> onnx.ModelProto:
    """`head` of "x", "w" and "b"; then `ending`: "Add" of the input "r", "Bias" of one number a row, or functions."""
    rng = np.random.default_rng(len(ending))
    bias = [w[0]] if head.op_type == "Conv" else [out[-1]]
    weights = {
        "w": strewn(rng, w),
        "b": strewn(rng, bias),
        "row": strewn(rng, [out[1], 1, 1] if len(out) == 4 else [out[0], 1]),
    }
    nodes, at = [head], head.output[0]
    for i, op in enumerate(ending):
        other = {"Add": ["r"], "Bias": ["row"]}.get(op, [])
        nodes.append(helper.make_node("Add" if other else op, [at, *other], [f"t{i}"]))
        at = f"t{i}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
    if "Add" in ending:
        inputs.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, out))
    nodes.append(helper.make_node("Transpose", [at], ["y"]))  # no link of the chain; takes its end from the workspace
    graph = helper.make_graph(
        nodes,
        "finished",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out[::-1])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


@pytest.mark.parametrize("ending", ENDINGS, ids="-".join)
@pytest.mark.parametrize(
    ("c", "m", "groups", "size", "kernel", "stride", "pad"),
    [
        (3, 13, 1, 61, 3, 2, 0),
        (6, 8, 1, 37, 3, 1, 1),
        (4, 4, 4, 40, 3, 1, 1),
        (8, 12, 2, 45, 1, 1, 0),
        (20, 50, 1, 7, 3, 1, 1),
        (2, 5, 1, 64, 5, 2, 2),
        (7, 7, 7, 7, 5, 1, 2),
        (5, 10, 5, 14, 3, 1, 1),
        (6, 6, 6, 29, 3, 2, 1),
        (12, 30, 1, 43, 3, 1, 1),
        (9, 128, 1, 26, 1, 1, 0),
    ],
)
def test_convolutions(
    c: int, m: int, groups: int, size: int, kernel: int, stride: int, pad: int, ending: Sequence[str]
) -> None:
    """A convolution with its finishing steps gives the same bits by schedule and node by node."""
    out = (size + 2 * pad - kernel) // stride + 1
    head = helper.make_node(
        "Conv", ["x", "w", "b"], ["h"], group=groups, strides=[stride] * 2, pads=[pad] * 4, kernel_shape=[kernel] * 2
    )
    made = compile_model(model(head, [2, c, size, size], [m, c // groups, kernel, kernel], [2, m, out, out], ending))
    arrays = named(made, 7)
    assert_same(made, arrays)
    expected = Inference(made, arrays).output_image()
    assert Inference(made, arrays, threads=3).output_image() == expected


@pytest.mark.parametrize("ending", ENDINGS, ids="-".join)
@pytest.mark.parametrize(("m", "k", "n"), [(40, 50, 65), (1, 300, 600), (130, 20, 33), (200, 3, 10), (90, 8, 16)])
def test_matrix_products(m: int, k: int, n: int, ending: Sequence[str]) -> None:
    """A matrix product with its finishing steps gives the same bits by schedule and node by node."""
    head = helper.make_node("Gemm", ["x", "w", "b"], ["h"])
    made = compile_model(model(head, [m, k], [k, n], [m, n], ending))
    assert_same(made, named(made, 8))
