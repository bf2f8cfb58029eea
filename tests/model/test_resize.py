"""Resize and Upsample by scales: as many elements as ONNX Runtime makes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ValueInfoProto, helper, numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model

SCALES = tuple(tenths / 10 for tenths in range(2, 36))
"""Decimal ones, as exporters compute them: in binary32 many are a little less, and their exact products with a size are
below the whole number that was meant."""


@pytest.mark.parametrize(("op_type", "opset"), [("Upsample", 9), ("Resize", 10), ("Resize", 13), ("Resize", 19)])
@pytest.mark.parametrize("size", [5, 10, 14])
def test_sizes_are_computed_in_binary32(op_type: str, opset: int, size: int) -> None:
    x = np.arange(size, dtype=np.float32).reshape(1, 1, 1, size)
    inputs = ["x", "scales"] if opset < 11 else ["x", "", "scales"]
    scales = [scale for scale in SCALES if scale >= 1 or op_type == "Resize"]
    names = [f"y{i}" for i in range(len(scales))]
    nodes = [
        helper.make_node(op_type, [f"s{i}" if name == "scales" else name for name in inputs], [names[i]])
        for i in range(len(scales))
    ]
    weights = [
        numpy_helper.from_array(np.array([1, 1, 1, scale], np.float32), f"s{i}") for i, scale in enumerate(scales)
    ]
    info = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    graph = helper.make_graph(nodes, "scaled", [info], [ValueInfoProto(name=name) for name in names], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = {name: np.asarray(y).shape for name, y in zip(names, session.run(None, {"x": x}), strict=True)}
    found = Inference(compile_model(model), {"x": x}).outputs()
    assert {name: y.shape for name, y in found.items()} == expected
