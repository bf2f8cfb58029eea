"""Resize and Upsample by scales: as many elements as ONNX Runtime makes; and where docs/operators.md makes a choice."""

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


@pytest.mark.parametrize(
    ("transformation", "rounding", "size", "scale", "places"),
    [
        # A length of 10.5 puts the last of ten outputs at 9 * 5 / 9.5 = 4.7; one of 10, ONNX Runtime's, puts it at 5.
        ("align_corners", "floor", 6, 1.75, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        # Four elements stay four, and yet 3 / 1.217 is nearer to 2: ONNX Runtime copies what keeps its size.
        ("asymmetric", "round_prefer_floor", 4, 1.217, [0, 1, 2, 2]),
        ("half_pixel", "floor", 3, 1.175, [0, 0, 1]),
        # 4 / 3 in binary32 is more than that, so that 4 divided by it is less than 3.
        ("asymmetric", "floor", 6, 4 / 3, [0, 0, 1, 2, 2, 3, 4, 5]),
        # A single output lies at 0, though the scale gives a length of 1.2, by which it would lie at 0.75.
        ("pytorch_half_pixel", "round_prefer_ceil", 3, 0.4, [0]),
        # A tie: the middle of 7 is that of 3 outputs, and the first lies on element 1. The reference evaluator says 0.
        ("half_pixel_symmetric", "round_prefer_ceil", 7, 0.5, [1, 3, 5]),
    ],
)
def test_scales_that_give_no_whole_length_choose_the_documented_elements(
    transformation: str, rounding: str, size: int, scale: float, places: list[int]
) -> None:
    x = np.arange(size, dtype=np.float32)
    node = helper.make_node(
        "Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode=transformation, mode="nearest",
        nearest_mode=rounding,
    )  # fmt: skip
    scales = numpy_helper.from_array(np.array([scale], np.float32), "s")
    info = helper.make_tensor_value_info("x", 1, x.shape)
    graph = helper.make_graph([node], "nearest", [info], [ValueInfoProto(name="y")], [scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    assert Inference(compile_model(model), {"x": x}).outputs()["y"].tolist() == places


@pytest.mark.parametrize(("op_type", "opset"), [("Resize", 19), ("Resize", 10), ("Upsample", 9)])
@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_resized_is_nothing(op_type: str, opset: int, shape: tuple[int, int]) -> None:
    names = ["x", "", "s"] if opset == 19 else ["x", "s"]
    scales = numpy_helper.from_array(np.array([2, 2], np.float32), "s")
    info = helper.make_tensor_value_info("x", 1, shape)
    node = helper.make_node(op_type, names, ["y"])
    graph = helper.make_graph([node], "nothing", [info], [ValueInfoProto(name="y")], [scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    (y,) = Inference(compile_model(model), {"x": np.zeros(shape, np.float32)}).outputs().values()
    assert y.shape == (2 * shape[0], 2 * shape[1])
