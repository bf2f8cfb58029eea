"""Nodes of ONNX Runtime's own set whose parts would make a larger result, or do not fit, are refused as there."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import CompilerFault, UnsupportedOp
from opml_dispute.model.tensor import Array
from tests.onnx.microsoft_cases import Case, model_of


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def small(*shape: int) -> Array:
    return np.ones(shape, np.uint8)


X, SCALE = ones(2, 3, 4), np.array(0.5, np.float32)
IDS = np.zeros((2, 3), np.int32)
EMBEDDED: list[Array | None] = [IDS, IDS, ones(5, 4), ones(5, 4), ones(2, 4), ones(4), ones(4)]
PROJECTED: list[Array | None] = [X, ones(4, 12), ones(12)]
GROUPS = {"num_heads": 2, "kv_num_heads": 1}
GROUPED: list[Array | None] = [ones(2, 1, 32), ones(2, 1, 16), ones(2, 1, 16), ones(2, 1, 4, 16), ones(2, 1, 4, 16)]
GROUPED += [np.array([2, 3], np.int32), np.array([4], np.int32)]
QUANTISED: list[Array | None] = [small(2, 3), SCALE, small(), small(3, 4), SCALE, small()]


def changed(parts: list[Array | None], at: int, part: Array | None) -> list[Array | None]:
    return [*parts[:at], part, *parts[at + 1 :]]


CASES: dict[str, tuple[str, list[Array | None], dict[str, Any]]] = {
    "a bias of one number": ("BiasGelu", [X, ones(1)], {}),
    "a bias of rows": ("FastGelu", [X, ones(3, 4)], {}),
    "a larger skip": ("SkipLayerNormalization", [ones(2, 1, 4), X, ones(4)], {}),
    "one skip for all times": ("SkipSimplifiedLayerNormalization", [X, ones(1, 4), ones(4)], {}),
    "a scale of one number": ("SkipLayerNormalization", [X, X, ones(1)], {}),
    "a scale of rows": ("SkipSimplifiedLayerNormalization", [X, X, ones(1, 4)], {}),
    "a bias that is a number": ("SkipLayerNormalization", [X, X, ones(4), ones()], {}),
    "a scale beyond the input": ("SimplifiedLayerNormalization", [ones(2, 3, 1), ones(4)], {}),
    "segments of other tokens": ("EmbedLayerNormalization", changed(EMBEDDED, 1, IDS[:1]), {}),
    "positions of other embeddings": ("EmbedLayerNormalization", changed(EMBEDDED, 3, ones(5, 1)), {}),
    "segments of other embeddings": ("EmbedLayerNormalization", changed(EMBEDDED, 4, ones(2, 1)), {}),
    "one scale of embeddings": ("EmbedLayerNormalization", changed(EMBEDDED, 5, ones(1)), {}),
    "a bias of one projection": ("Attention", changed(PROJECTED, 2, ones(1)), {"num_heads": 2}),
    "a bias of more heads": ("Attention", [*PROJECTED, None, None, ones(2, 4, 3, 3)], {"num_heads": 2}),
    "weights of three dimensions": ("Attention", changed(PROJECTED, 1, ones(1, 4, 12)), {"num_heads": 2}),
    "a bias of more columns": (
        "MatMulIntegerToFloat", [small(2, 3), small(3, 1), SCALE, SCALE, None, None, ones(4)], {},
    ),
    "a bias for no column": ("DynamicQuantizeMatMul", [ones(2, 3), small(3, 2), SCALE, None, ones(1)], {}),
    "a bias that makes columns": ("QGemm", [*changed(QUANTISED, 3, small(3, 1)), np.ones(4, np.int32)], {}),
    "a sum of one row": (
        "FusedConv", [ones(1, 2, 3, 4), ones(3, 2, 1, 1), None, ones(1, 3, 1, 4)], {"activation": "Relu"},
    ),
    "a mask for one of two": ("Attention", [*PROJECTED, np.ones((1, 3), np.int32)], {"num_heads": 2}),
    "a mask of one key": ("Attention", [*PROJECTED, np.ones((2, 3, 1), np.int32)], {"num_heads": 2}),
    "scales of rows": ("QGemm", changed(QUANTISED, 1, ones(2)), {}),
    "scales of other columns": ("QGemm", changed(QUANTISED, 4, ones(3)), {}),
    "scales of three dimensions": ("QGemm", changed(QUANTISED, 4, ones(1, 1, 4)), {}),
    "a bias of more projections": ("MultiHeadAttention", [X, X, X, ones(16)], {"num_heads": 2}),
    "keys of the past without values": (
        "MultiHeadAttention", [X, X, X, None, None, None, ones(2, 2, 1, 2)], {"num_heads": 2},
    ),
    "packed keys of other heads": ("MultiHeadAttention", [X, ones(2, 3, 4, 2, 1)], {"num_heads": 2}),
    "packed keys and values": ("MultiHeadAttention", [X, ones(2, 3, 2, 2, 2), X], {"num_heads": 2}),
    "values of other times": ("MultiHeadAttention", [X, X, ones(2, 4, 4)], {"num_heads": 2}),
    "keys of other sizes": ("MultiHeadAttention", [X, ones(2, 3, 6), ones(2, 3, 6)], {"num_heads": 2}),
    "keys of more times": ("GroupQueryAttention", changed(GROUPED, 1, ones(2, 2, 16)), GROUPS),
    "values of other heads": ("GroupQueryAttention", changed(GROUPED, 2, ones(2, 1, 32)), GROUPS),
    "a past of other heads": ("GroupQueryAttention", changed(GROUPED, 3, ones(2, 2, 4, 16)), GROUPS),
    "keys without values": ("GroupQueryAttention", changed(GROUPED, 2, None), GROUPS),
    "no heads": ("GroupQueryAttention", GROUPED, {"num_heads": 2, "kv_num_heads": 0}),
    "factors of three dimensions": ("QGemm", changed(QUANTISED, 3, small(1, 3, 4)), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_parts_that_do_not_fit_are_refused_as_by_onnx_runtime(name: str) -> None:
    op_type, inputs, attributes = CASES[name]
    outputs = {"EmbedLayerNormalization": 2, "GroupQueryAttention": 3}.get(op_type, 1)
    constants = frozenset({6}) if op_type == "GroupQueryAttention" else frozenset[int]()
    model, feeds = model_of(Case(op_type, inputs, attributes, outputs, constants=constants))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception, match=r"."):
        onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)
    with pytest.raises(UnsupportedOp) as refusal:
        compile_model(model)
    assert not isinstance(refusal.value, CompilerFault), refusal.value


@pytest.mark.parametrize(
    "parts", [("EmbedLayerNormalization", EMBEDDED), ("Attention", PROJECTED), ("QGemm", QUANTISED)]
)
def test_parts_that_fit_compile(parts: tuple[str, list[Array | None]]) -> None:
    op_type, inputs = parts
    attributes = {"num_heads": 2} if op_type == "Attention" else {}
    compile_model(model_of(Case(op_type, inputs, attributes, 2 if op_type.startswith("Embed") else 1))[0])


def test_scales_do_not_make_columns() -> None:
    """ONNX Runtime is not asked: it does not look, and writes beyond its result."""
    model, _ = model_of(Case("MatMulIntegerToFloat", [small(2, 3), small(3, 1), SCALE, ones(4)]))
    with pytest.raises(UnsupportedOp, match="scales"):
        compile_model(model)


ACTIVATIONS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "none": ("FusedConv", {}, True),
    "one": ("FusedConv", {"activation": "LeakyRelu", "activation_params": [0.1]}, True),
    "one of two": ("FusedConv", {"activation": "LeakyRelu", "activation_params": [0.1, 0.2]}, False),
    "one of none": ("FusedConv", {"activation": "Relu", "activation_params": [0.1]}, False),
    "one of no activation": ("FusedConv", {"activation_params": [0.1]}, False),
    "two": ("FusedConv", {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]}, True),
    "three": ("FusedConv", {"activation": "HardSigmoid", "activation_params": [0.3, 0.4, 0.5]}, False),
    "one end": ("FusedConv", {"activation": "Clip", "activation_params": [0.3]}, False),
    "gamma": ("FusedGemm", {"activation": "HardSigmoid", "activation_gamma": 0.5}, False),
    "beta": ("FusedGemm", {"activation": "LeakyRelu", "activation_beta": 0.5}, False),
    "alpha": ("FusedGemm", {"activation": "LeakyRelu", "activation_alpha": 0.5}, True),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_has_the_parameters_that_it_takes(name: str) -> None:
    """ONNX Runtime is not asked: it leaves those unread that an activation does not have."""
    op_type, attributes, fits = ACTIVATIONS[name]
    inputs: list[Array | None] = [ones(2, 3), ones(3, 4)]
    if op_type == "FusedConv":
        inputs = [ones(1, 2, 3, 4), ones(3, 2, 1, 1)]
    model, _ = model_of(Case(op_type, inputs, attributes))
    if fits:
        compile_model(model)
    else:
        with pytest.raises(UnsupportedOp, match="parameters"):
            compile_model(model)


def test_the_second_parameter_of_an_activation_is_not_its_first() -> None:
    """HardSigmoid of x + 0 with beta 0.25 alone: alpha stays 0.2."""
    x = np.array([[1.0, -1.0]], np.float32)
    model, given = model_of(
        Case("FusedGemm", [x, np.eye(2, dtype=np.float32)], {"activation": "HardSigmoid", "activation_beta": 0.25})
    )
    (y,) = Inference(compile_model(model), given).outputs().values()
    np.testing.assert_allclose(y, [[0.45, 0.05]], rtol=1e-6)
