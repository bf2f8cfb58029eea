"""Convolutions, pools and resizing with random attributes, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, RuntimeException
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplemented_

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import UnsupportedOp
from opml_dispute.model.tensor import Array
from tests.model.graphs import Graph

REFUSED = (Fail, InvalidArgument, InvalidGraph, NotImplemented_, RuntimeException)
"""What ONNX Runtime raises for attributes that it does not take."""

RNG = np.random.default_rng(11)
SIZES = st.integers(1, 7)


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The example is rejected where ONNX Runtime itself refuses the attributes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options)
    except REFUSED:
        reject()


def check(op_type: str, arrays: list[Array], *, opset: int = 19, outputs: int = 1, **attributes: Any) -> None:
    """Same shape and, to tolerance, same values; attributes that either side refuses are not compared."""
    graph = Graph()
    names = [graph.input(f"x{i}", a.shape) for i, a in enumerate(arrays)]
    first = graph.node(op_type, *names, outputs=outputs, **attributes)
    model = graph.model([first, *(f"{first}.{i}" for i in range(1, outputs))], opset=opset)
    named = {f"x{i}": a for i, a in enumerate(arrays)}
    session = _session(model)
    try:
        expected = session.run(None, named)
        program = compile_model(model)
    except UnsupportedOp as refusal:
        # ONNX Runtime gives an empty result where no window fits; here that is refused.
        if "a window of" not in refusal.reason:
            raise
        reject()
    except REFUSED:
        reject()
    got = Inference(program, named).outputs()
    for spec, want in zip(program.outputs, expected, strict=True):
        assert got[spec.name].shape == want.shape
        np.testing.assert_allclose(got[spec.name], want, rtol=1e-4, atol=1e-4)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


@st.composite
def windows(draw: st.DrawFn, *, automatic: bool = True) -> tuple[int, dict[str, Any]]:
    """The number of spatial dimensions, and attributes for that many."""
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
        "dilations": [draw(st.integers(1, 2)) for _ in range(rank)],
    }
    how = draw(
        st.sampled_from(["pads", "none", "SAME_UPPER", "SAME_LOWER", "VALID"] if automatic else ["pads", "none"])
    )
    if how == "pads":
        begin = [draw(st.integers(0, k - 1)) for k in kernel]
        end = [draw(st.integers(0, k - 1)) for k in kernel]
        attributes["pads"] = [*begin, *end]
    elif how != "none":
        attributes["auto_pad"] = how
        if how.startswith("SAME"):
            attributes["dilations"] = [1] * rank
    return rank, attributes


@settings(max_examples=60, deadline=None)
@given(windows(), st.sampled_from([1, 2, 3]), st.data())
def test_convolutions(pair: tuple[int, dict[str, Any]], groups: int, data: st.DataObject) -> None:
    """Random convolutions agree with the reference."""
    rank, attributes = pair
    spatial = [data.draw(st.integers(3, 7)) for _ in range(rank)]
    x = normal(data.draw(st.integers(1, 2)), 2 * groups, *spatial)
    w = normal(groups * data.draw(st.integers(1, 2)), 2, *attributes["kernel_shape"])
    check("Conv", [x, w, normal(w.shape[0])], group=groups, **attributes)


@settings(max_examples=60, deadline=None)
@given(windows(automatic=False), st.sampled_from([1, 2]), st.booleans(), st.data())
def test_transposed_convolutions(
    pair: tuple[int, dict[str, Any]], groups: int, padded: bool, data: st.DataObject
) -> None:
    """Random transposed convolutions agree with the reference."""
    rank, attributes = pair
    spatial = [data.draw(st.integers(2, 5)) for _ in range(rank)]
    x = normal(1, 2 * groups, *spatial)
    w = normal(2 * groups, data.draw(st.integers(1, 2)), *attributes["kernel_shape"])
    if padded:
        attributes["output_padding"] = [
            data.draw(st.integers(0, max(s, d) - 1))
            for s, d in zip(attributes["strides"], attributes["dilations"], strict=True)
        ]
    check("ConvTranspose", [x, w, normal(groups * w.shape[1])], group=groups, **attributes)


@settings(max_examples=60, deadline=None)
@given(windows(), st.booleans(), st.data())
def test_maximum_pools_and_their_places(pair: tuple[int, dict[str, Any]], ceil: bool, data: st.DataObject) -> None:
    """Maximum pools and the places of their maxima agree with the reference."""
    rank, attributes = pair
    spatial = [data.draw(st.integers(3, 7)) for _ in range(rank)]
    check("MaxPool", [normal(2, 2, *spatial)], outputs=2, ceil_mode=int(ceil), **attributes)


@settings(max_examples=60, deadline=None)
@given(windows(), st.booleans(), st.booleans(), st.data())
def test_average_pools(pair: tuple[int, dict[str, Any]], ceil: bool, padding: bool, data: st.DataObject) -> None:
    """Average pools agree with the reference."""
    rank, attributes = pair
    spatial = [data.draw(st.integers(3, 7)) for _ in range(rank)]
    check("AveragePool", [normal(1, 2, *spatial)], ceil_mode=int(ceil), count_include_pad=int(padding), **attributes)


TRANSFORMATIONS = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["nearest", "linear", "cubic"]),
    st.sampled_from(TRANSFORMATIONS),
    st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]),
    st.data(),
)
def test_resizing(mode: str, transformation: str, nearest: str, data: st.DataObject) -> None:
    """To given sizes, in two dimensions."""
    sizes = np.array([1, 2, data.draw(SIZES), data.draw(SIZES)], np.int64)
    graph = Graph()
    x = normal(1, 2, data.draw(st.integers(2, 6)), data.draw(st.integers(2, 6)))
    graph.input("x", x.shape)
    y = graph.node(
        "Resize", "x", "", "", graph.constant(sizes), mode=mode, nearest_mode=nearest,
        coordinate_transformation_mode=transformation,
    )  # fmt: skip
    model = graph.model([y], opset=18)
    session = _session(model)
    (expected,) = session.run(None, {"x": x})
    (got,) = Inference(compile_model(model), {"x": x}).outputs().values()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_a_region_is_what_binary32_says_of_it() -> None:
    """It begins at 0.2 of five steps, which is the second row itself and not a place a little behind it."""
    x = np.arange(30, dtype=np.float32).reshape(1, 1, 5, 6)
    graph = Graph()
    graph.input("x", x.shape)
    roi = graph.constant(np.array([0, 0, 0, 0.2, 1, 1, 1, 1], np.float32))
    scales = graph.constant(np.array([1, 1, 1, 0.5], np.float32))
    transformation = "tf_crop_and_resize"
    y = graph.node(
        "Resize", "x", roi, scales, nearest_mode="ceil", mode="nearest", coordinate_transformation_mode=transformation
    )
    (got,) = Inference(compile_model(graph.model([y], opset=19)), {"x": x}).outputs().values()
    assert got[0, 0, 0].tolist() == [1, 3, 5]


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [-1, 0, 0, -1], [2, -1, 0, 3]])
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_padding(mode: str, pads: list[int]) -> None:
    """Padding in every mode agrees with the reference."""
    graph = Graph()
    x = normal(4, 5)
    graph.input("x", x.shape)
    y = graph.node("Pad", "x", graph.constant(np.array(pads, np.int64)), mode=mode)
    model = graph.model([y], opset=19)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    (got,) = Inference(compile_model(model), {"x": x}).outputs().values()
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("size", [0, 1, 3])
@pytest.mark.parametrize("widths", [(3, -2), (-2, 3), (6, -4), (-4, 6), (-4, 1), (-1, -1)])
def test_what_is_taken_away_beyond_the_elements_is_taken_of_the_padding(size: int, widths: tuple[int, int]) -> None:
    """The axis has as many places as its size and both widths say, or the model is refused."""
    graph, wanted = Graph(), size + sum(widths)
    x = np.arange(1, size + 1, dtype=np.float32)
    graph.input("x", x.shape)
    model = graph.model([graph.node("Pad", "x", graph.constant(np.array(widths, np.int64)))], opset=19)
    if wanted < 0:
        with pytest.raises(UnsupportedOp, match="at the ends of axis 0"):
            compile_model(model)
        return
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    (got,) = Inference(compile_model(model), {"x": x}).outputs().values()
    assert got.shape == expected.shape == (wanted,)
    assert np.array_equal(got, expected)
