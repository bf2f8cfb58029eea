"""
Models whose parts have shapes that do not fit together are refused, though what they say could be computed.

A bias of two numbers for three channels, or a scale that broadcasts beyond its input, would make the result of another
model. ONNX Runtime refuses each of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import CompilerFault, UnsupportedOp
from opml_dispute.model.tensor import Array
from tests.model.graphs import Graph, parsed

X = (1, 2, 3, 4)
"""The first input's shape."""


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def whole(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


NUMBERS = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
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
    "weights of another window": ("ConvTranspose", [SPREAD], {"kernel_shape": [3, 3]}, X),
    "strides of nothing": ("ConvTranspose", [SPREAD], {"strides": [0, 1]}, X),
    "more strides": ("ConvTranspose", [SPREAD], {"strides": [2, 2, 2]}, X),
    "negative pads that spread": ("ConvTranspose", [SPREAD], {"pads": [-1, 0, 0, 0]}, X),
    "more added than spread": ("ConvTranspose", [SPREAD], {"strides": [2, 2], "output_padding": [2, 0]}, X),
    "a padding of no name": ("ConvTranspose", [SPREAD], {"auto_pad": "SAME"}, X),
    "an output at the next step": ("ConvTranspose", [SPREAD], {"strides": [2, 2], "output_shape": [7, 7]}, X),
    "an output of three sizes": ("ConvTranspose", [SPREAD], {"output_shape": [3, 3, 4]}, X),
    "negative pads": ("Conv", [KERNELS], {"pads": [0, 0, -1, 0]}, X),
    "places of other elements": ("MaxUnpool", [whole(*range(24))], {"kernel_shape": [1, 1]}, X),
    "an output of another batch": (
        "MaxUnpool",
        [whole(*range(24)).reshape(X), whole(2, 2, 3, 4)],
        {"kernel_shape": [1, 1]},
        X,
    ),
    "an output of fewer places": (
        "MaxUnpool",
        [whole(*range(24)).reshape(X), whole(1, 2, 3, 3)],
        {"kernel_shape": [1, 1]},
        X,
    ),
    "a bias that makes rows": ("Gemm", [ones(4, 1), ones(1, 5)], {}, (3, 4)),
    "a bias of more dimensions": ("Gemm", [ones(4, 2), ones(1, 1, 2)], {}, (3, 4)),
    "weights of four dimensions": ("RNN", [ones(1, 2, 4, 1), ones(1, 2, 2)], {}, (3, 2, 4)),
    "a transform of the components": ("DFT", [None, whole(2).reshape(())], {}, (1, 4, 2)),
    "half of a complex spectrum": ("DFT", [], {"onesided": 1}, (1, 4, 2)),
    "a region of more numbers": (
        "Resize",
        [ones(9), None, whole(1, 2, 3, 4)],
        {"coordinate_transformation_mode": "tf_crop_and_resize"},
        X,
    ),
    "places of one update for two": ("TensorScatter", [ones(2, 1, 3, 4), whole(0)], {}, (2, 1, 3, 4)),
    "places of no update": ("TensorScatter", [ones(2, 1, 3, 4), whole()], {}, (2, 1, 3, 4)),
    "a mask of taps in a row": (
        "DeformConv",
        [KERNELS, ones(1, 2, 3, 4), None, ones(12)],
        {},
        X,
    ),
    "another number of parts": ("Split", [], {"num_outputs": 3}, (6,)),
    "neither sizes nor a number of parts": ("Split", [], {}, (6,)),
    "sizes and a number of parts": ("Split", [whole(6)], {"num_outputs": 1}, (6,)),
    "keys of another batch": ("Attention", [ones(1, 2, 5, 4), ones(1, 2, 5, 4)], {}, (2, 2, 3, 4)),
    "values of fewer heads": ("Attention", [ones(1, 2, 5, 4), ones(1, 1, 5, 4)], {}, X),
    "a mask of more keys": ("Attention", [ones(*X), ones(*X), ones(3, 5)], {}, X),
    "a mask of five dimensions": ("Attention", [ones(*X), ones(*X), ones(1, 1, 1, 3, 3)], {}, X),
    "keys of the past alone": ("Attention", [ones(*X), ones(*X), None, ones(*X)], {}, X),
    "lengths in a row": ("Attention", [ones(*X), ones(*X), None, None, None, whole(3).reshape(1, 1)], {}, X),
    "a stage that is none": ("Attention", [ones(*X), ones(*X)], {"qk_matmul_output_mode": -1}, X),
    "sines of more positions": ("RotaryEmbedding", [ones(4, 2), ones(5, 2), whole(0, 1, 2).reshape(1, 3)], {}, X),
    "positions of one place": ("RotaryEmbedding", [ones(4, 2), ones(4, 2), whole(0).reshape(1, 1)], {}, X),
    "regions of three entries": ("RoiAlign", [ones(1, 4), whole(0, 0, 0)], {}, X),
    "regions of five numbers": ("RoiAlign", [ones(1, 5), whole(0)], {}, X),
    "a yes of two": ("ReduceSum", [whole(1)], {"keepdims": 2}, X),
    "a yes below zero": ("MaxPool", [], {"kernel_shape": [2, 2], "ceil_mode": -1}, X),
    "classes of fewer scores": ("NegativeLogLikelihoodLoss", [whole(0, 1)], {}, (3, 4)),
    "no channels around each": ("LRN", [], {"size": 0}, X),
    "a vector of channels": ("LRN", [], {"size": 1}, (3,)),
    "lengths of a row": ("ReverseSequence", [whole(1, 1)], {}, (3,)),
    "lengths of other sequences": ("ReverseSequence", [whole(1, 1)], {}, (3, 4)),
    "activations of other directions": (
        "RNN",
        [ones(1, 2, 4), ones(1, 2, 2)],
        {"activations": ["Relu"] * 2},
        (3, 2, 4),
    ),
    "lengths of keys of the past": (
        "Attention",
        [ones(*X), ones(*X), None, ones(*X), ones(*X), whole(3)],
        {},
        X,
    ),
    "one weight for all classes": ("SoftmaxCrossEntropyLoss", [whole(0, 1, 2), ones(1)], {}, (3, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_model_of_parts_that_do_not_fit_is_refused(name: str) -> None:
    op_type, others, attributes, shape = CASES[name]
    graph = Graph()
    graph.input("x", shape)
    constants = ["" if value is None else graph.constant(value) for value in others]
    y = graph.node(op_type, "x", *constants, **attributes)
    with pytest.raises(UnsupportedOp) as refusal:
        compile_model(graph.model([y], opset=24))
    assert not isinstance(refusal.value, CompilerFault), refusal.value


TOKENS: dict[str, Any] = {
    "max_gram_length": 2, "min_gram_length": 1, "max_skip_count": 0, "mode": "TF", "ngram_counts": [0, 2],
    "ngram_indexes": [0, 1, 2], "pool_int64s": [1, 2, 3, 4],
}  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"max_gram_length": 3}, {"min_gram_length": 0}, {"min_gram_length": 3}, {"max_skip_count": -1}]
)
def test_ngrams_of_lengths_that_the_pool_does_not_have_are_refused(change: dict[str, int]) -> None:
    graph = Graph()
    x = graph.input("x", (1, 6), TensorProto.INT64)
    y = graph.node("TfIdfVectorizer", x, **TOKENS)
    compile_model(graph.model([y], opset=9))
    graph = Graph()
    y = graph.node("TfIdfVectorizer", graph.input("x", (1, 6), TensorProto.INT64), **(TOKENS | change))
    with pytest.raises(UnsupportedOp):
        compile_model(graph.model([y], opset=9))


@pytest.mark.parametrize("opset", [2, 11, 13])
def test_parts_are_equal_before_opset_18(opset: int) -> None:
    graph = Graph()
    y = graph.node("Split", graph.input("x", (7,)), outputs=2)
    with pytest.raises(UnsupportedOp, match="2 equal parts of 7"):
        compile_model(graph.model([y, f"{y}.1"], opset=opset))


def test_a_list_of_inputs_ends_with_an_input() -> None:
    """An empty name behind the last one is no input that was left out."""
    graph = Graph()
    y = graph.node("Concat", graph.input("x", (2, 3)), "", axis=0)
    with pytest.raises(UnsupportedOp, match="input 2 is missing"):
        compile_model(graph.model([y]))


@pytest.mark.parametrize("name", ["pads", "strides", "dilations"])
@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose", "AveragePool", "MaxPool", "LpPool", "MaxUnpool"])
def test_an_empty_list_is_not_one_that_was_left_out(op_type: str, name: str) -> None:
    if op_type == "MaxUnpool" and name == "dilations":
        return  # it has none
    graph = Graph()
    others = [graph.constant(KERNELS if op_type == "Conv" else SPREAD)] if op_type.startswith("Conv") else []
    others = [graph.constant(whole(*range(24)).reshape(X))] if op_type == "MaxUnpool" else others
    attributes: dict[str, Any] = {} if op_type.startswith("Conv") else {"kernel_shape": [1, 1]}
    y = graph.node(op_type, graph.input("x", X), *others, **attributes)
    compile_model(graph.model([y], opset=22))
    empty = helper.make_attribute(name, [], attr_type=onnx.AttributeProto.INTS)
    graph.nodes[0].attribute.append(empty)
    with pytest.raises(UnsupportedOp):
        compile_model(graph.model([y], opset=22))


def small(*shape: int) -> Array:
    return np.ones(shape, np.uint8)


ZERO, SCALE = small(), np.array(0.5, np.float32)
PRODUCTS: dict[str, tuple[str, list[Array], bool]] = {
    "rows": ("QLinearMatMul", [small(2, 3), ones(2), ZERO, small(3, 4), SCALE, ZERO, SCALE, ZERO], True),
    "columns": ("QLinearMatMul", [small(2, 3), SCALE, ZERO, small(3, 4), ones(4), small(4), SCALE, ZERO], True),
    "flat columns": ("QLinearMatMul", [small(2, 3), SCALE, ZERO, small(3, 4), ones(1, 4), ZERO, SCALE, ZERO], True),
    "columns of each": (
        "QLinearMatMul", [small(5, 2, 3), SCALE, ZERO, small(5, 3, 4), ones(5, 1, 4), ZERO, SCALE, ZERO], True,
    ),
    "rows of each": (
        "QLinearMatMul", [small(5, 2, 3), ones(5, 2, 1), ZERO, small(3, 4), SCALE, ZERO, SCALE, ZERO], True,
    ),
    "rows of three dimensions": (
        "QLinearMatMul", [small(5, 2, 3), ones(2), ZERO, small(3, 4), SCALE, ZERO, SCALE, ZERO], False,
    ),
    "columns of three dimensions": (
        "QLinearMatMul", [small(5, 2, 3), SCALE, ZERO, small(5, 3, 4), ones(4), ZERO, SCALE, ZERO], False,
    ),
    "rows as columns": ("QLinearMatMul", [small(2, 3), SCALE, ZERO, small(3, 4), ones(3), ZERO, SCALE, ZERO], False),
    "more": ("QLinearMatMul", [small(2, 3), ones(5, 2, 1), ZERO, small(3, 4), SCALE, ZERO, SCALE, ZERO], False),
    "zeros of rows": ("MatMulInteger", [small(2, 3), small(3, 4), small(2), small(4)], True),
    "zeros of three dimensions": ("MatMulInteger", [small(5, 2, 3), small(3, 4), small(2)], False),
    "zeros of channels": ("ConvInteger", [small(1, 1, 3), small(1, 1, 1), ZERO, small(3)], False),
    "scales of channels": (
        "QLinearConv", [small(1, 1, 3), SCALE, ZERO, small(1, 1, 1), ones(3), ZERO, SCALE, ZERO], False,
    ),
    "a bias of one": (
        "QLinearConv",
        [small(1, 1, 3), SCALE, small() * 2, small(3, 1, 1), SCALE, ZERO, SCALE, ZERO, np.ones(1, np.int32)],
        False,
    ),
}  # fmt: skip
"""Factors and their scales and zero points, and whether these fit."""


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("known", [False, True])
def test_scales_and_zero_points_are_for_all_for_each_row_or_for_each_column(name: str, known: bool) -> None:
    op_type, arrays, fits = PRODUCTS[name]
    graph = Graph()
    names = [
        graph.constant(array) if known and i else graph.input(f"x{i}", array.shape, NUMBERS[array.dtype.name])
        for i, array in enumerate(arrays)
    ]
    model = graph.model([graph.node(op_type, *names)], opset=21)
    if fits:
        compile_model(model)
    else:
        with pytest.raises(UnsupportedOp):
            compile_model(model)


SCANS = {
    "a state that grows": ("num_scan_inputs = 1", "c = Concat <axis = 0> (a, a)", "s, x"),
    "a state of another type": ("num_scan_inputs = 1", "c = Cast <to = 6> (a)", "s, x"),
    "more inputs to scan than there are": ("num_scan_inputs = 3", "c = Add (a, a)", "s, x"),
    "nothing to scan": ("num_scan_inputs = 0", "c = Add (a, a)", "s, x"),
    "inputs of two lengths": ("num_scan_inputs = 2", "c = Add (a, b)", "x, z"),
    "a way of no name": ("num_scan_inputs = 1, scan_input_directions = [2]", "c = Add (a, a)", "s, x"),
    "ways of more inputs": ("num_scan_inputs = 1, scan_input_directions = [0, 0]", "c = Add (a, a)", "s, x"),
    "axes of more inputs": ("num_scan_inputs = 1, scan_input_axes = [0, 0]", "c = Add (a, a)", "s, x"),
}
"""Attributes, a body of a and b, and inputs."""


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_keeps_its_states_and_has_one_length(name: str) -> None:
    attributes, body, inputs = SCANS[name]
    text = f"""
        main (float[2] s, float[3, 2] x, float[4, 2] z) => (y) {{
            y = Scan <{attributes}, body = body (float[n] a, float[2] b) => (c) {{ {body} }}> ({inputs})
        }}
    """
    with pytest.raises(UnsupportedOp) as refusal:
        compile_model(parsed(text))
    assert type(refusal.value) is UnsupportedOp


def test_batches_that_are_scanned_have_one_size() -> None:
    text = """
        main (float[1, 2] s, float[2, 3, 2] x) => (float[1, 2] y) {
            y = Scan <num_scan_inputs = 1, body = body (float[2] a, float[2] b) => (float[2] c) {
                c = Add (a, b)
            }> ("", s, x)
        }
    """
    with pytest.raises(UnsupportedOp, match=r"batches of \[1, 2\] entries"):
        compile_model(parsed(text, opset=8))


def test_the_greatest_of_nothing_is_nothing() -> None:
    graph = Graph()
    y = graph.node("Hardmax", graph.input("x", (2, 0)))
    assert compile_model(graph.model([y])).outputs[0].shape == (2, 0)
