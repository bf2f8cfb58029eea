"""
Models whose parts have shapes that do not fit together are refused, though what they say could be computed.

A bias of two numbers for three channels, or a scale that broadcasts beyond its input, would make the result of another
model. ONNX Runtime refuses each of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import UnsupportedOp
from opml_dispute.model.tensor import Array
from tests.model.graphs import Graph

X = (1, 2, 3, 4)
"""The first input's shape."""


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def whole(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


KERNELS, SPREAD = ones(3, 2, 1, 1), ones(2, 3, 1, 1)
RECURRENT: list[Array | None] = [ones(1, 8, 4), ones(1, 8, 2)]
CASES: dict[str, tuple[str, list[Array | None], dict[str, Any], tuple[int, ...]]] = {
    "a bias of one number": ("Conv", [KERNELS, ones(1)], {}, X),
    "a bias of too few": ("Conv", [KERNELS, ones(2)], {}, X),
    "a bias of two dimensions": ("Conv", [KERNELS, ones(3, 1)], {}, X),
    "a bias of too many": ("ConvTranspose", [SPREAD, ones(4)], {}, X),
    "a bias of phases": ("ConvTranspose", [SPREAD, ones(1)], {"strides": [2, 2]}, X),
    "too many channels": ("BatchNormalization", [ones(3), ones(3), ones(3), ones(3)], {}, X),
    "one variance": ("BatchNormalization", [ones(2), ones(2), ones(2), ones(1)], {}, X),
    "one scale": ("InstanceNormalization", [ones(1), ones(1)], {}, X),
    "a scale beyond the input": ("LayerNormalization", [ones(5, 1, 1, 1)], {}, X),
    "a bias beyond the input": ("LayerNormalization", [ones(4), ones(7, 1, 1, 1, 1)], {}, X),
    "a root mean square": ("RMSNormalization", [ones(5, 1, 1, 1)], {}, X),
    "one bias for groups": ("GroupNormalization", [ones(2), ones(1)], {"num_groups": 1}, X),
    "scales of an axis": ("QuantizeLinear", [ones(3)], {"axis": 0}, X),
    "scales of blocks": ("QuantizeLinear", [ones(1, 1, 3, 2)], {"axis": 3, "block_size": 2}, X),
    "more blocks": ("QuantizeLinear", [ones(5, 2, 3, 2)], {"axis": 3, "block_size": 2}, X),
    "too few widths": ("Pad", [whole(1, 1)], {}, X),
    "too many widths": ("Pad", [whole(*range(10))], {}, X),
    "widths of other axes": ("Pad", [whole(1, 1, 1, 1), None, whole(0)], {}, X),
    "an axis padded twice": ("Pad", [whole(1, 1, 1, 1), None, whole(1, -3)], {}, X),
    "an axis sliced twice": ("Slice", [whole(0, 0), whole(1, 1), whole(1, -3)], {}, X),
    "an axis resized twice": ("Resize", [None, ones(2)], {"axes": [1, -3]}, X),
    "an axis cropped twice": ("CenterCropPad", [whole(2, 2)], {"axes": [0, 0]}, X),
    "more parts than outputs": ("Split", [whole(1, 2)], {"axis": 2}, X),
    "places of too many components": ("ScatterND", [whole(0, 0, 0, 0, 0).reshape(1, 5), ones(1)], {}, X),
    "two lengths of sequences": ("RNN", [ones(1, 2, 4), ones(1, 2, 2), None, np.array([3], np.int32)], {}, (3, 2, 4)),
    "another size of states": ("LSTM", RECURRENT, {"hidden_size": 3}, (3, 2, 4)),
    "a longer bias": ("LSTM", [*RECURRENT, ones(1, 20)], {"hidden_size": 2}, (3, 2, 4)),
    "one state for two": ("LSTM", [*RECURRENT, None, None, ones(1, 1, 2)], {"hidden_size": 2}, (3, 2, 4)),
    "points of three dimensions": ("GridSample", [ones(1, 3, 4, 3)], {}, X),
    "grids for another batch": ("GridSample", [ones(2, 3, 4, 2)], {}, X),
    "matrices for another batch": ("AffineGrid", [whole(2, 1, 2, 2)], {}, (1, 2, 3)),
    "moves of another result": ("DeformConv", [KERNELS, ones(1, 2, 2, 2)], {}, X),
    "a bias of moved taps": ("DeformConv", [KERNELS, ones(1, 2, 3, 4), ones(1)], {}, X),
    "an update of one head": ("TensorScatter", [ones(1, 1, 1, 4)], {}, X),
    "classes of fewer scores": ("NegativeLogLikelihoodLoss", [whole(0, 1)], {}, (3, 4)),
    "one weight for all classes": ("SoftmaxCrossEntropyLoss", [whole(0, 1, 2), ones(1)], {}, (3, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_model_of_parts_that_do_not_fit_is_refused(name: str) -> None:
    op_type, others, attributes, shape = CASES[name]
    graph = Graph()
    graph.input("x", shape)
    constants = ["" if value is None else graph.constant(value) for value in others]
    y = graph.node(op_type, "x", *constants, **attributes)
    with pytest.raises(UnsupportedOp):
        compile_model(graph.model([y], opset=24))
