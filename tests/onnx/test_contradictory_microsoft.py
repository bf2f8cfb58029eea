"""Nodes of ONNX Runtime's own set whose parts would make a larger result, or do not fit, are refused as there."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import UnsupportedOp
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
    "factors of three dimensions": ("QGemm", changed(QUANTISED, 3, small(1, 3, 4)), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_parts_that_do_not_fit_are_refused_as_by_onnx_runtime(name: str) -> None:
    op_type, inputs, attributes = CASES[name]
    model, feeds = model_of(Case(op_type, inputs, attributes, 2 if op_type.startswith("Embed") else 1))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception, match=r"."):
        onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)
    with pytest.raises(UnsupportedOp):
        compile_model(model)


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
