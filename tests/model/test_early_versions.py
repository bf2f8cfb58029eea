"""First versions of operators, which ONNX Runtime no longer computes, and a type that came with the last: by numpy."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.lower.registry import find, versions
from opml_dispute.model.onnx_file import DOMAINS, domain_name
from opml_dispute.model.refusals import ModelError
from tests.model.graphs import Array, Graph

X = np.random.default_rng(4).standard_normal((2, 3, 4, 5)).astype(np.float32)


def made(op_type: str, opset: int, *operands: Array, outputs: int = 1, **attributes: Any) -> Array:
    """What a node makes of X and constant operands."""
    graph = Graph()
    names = [graph.input("x", X.shape), *map(graph.constant, operands)]
    model = graph.model([graph.node(op_type, *names, outputs=outputs, **attributes)], opset=opset)
    return next(iter(Inference(compile_model(model), {"x": X}).outputs().values()))


def test_the_first_cast_names_its_type_by_a_text() -> None:
    assert np.array_equal(made("Cast", 1, to="INT32"), X.astype(np.int32))
    with pytest.raises(ModelError, match="element type 'INT33'"):
        made("Cast", 1, to="INT33")


def test_a_tensor_is_repeated_along_one_axis() -> None:
    assert np.array_equal(
        made("Tile", 1, np.array([3], np.float32), np.array([1], np.float32)), np.tile(X, (1, 3, 1, 1))
    )


def test_an_image_is_made_larger() -> None:
    assert np.array_equal(made("Upsample", 1, height_scale=2.0, width_scale=3.0), X.repeat(2, axis=2).repeat(3, axis=3))


@pytest.mark.parametrize(("op_type", "expected"), [("Max", np.abs(X)), ("Min", -np.abs(X)), ("Sum", X - X)])
def test_inputs_that_may_be_overwritten_are_no_obstacle(op_type: str, expected: Array) -> None:
    graph = Graph()
    x = graph.input("x", X.shape)
    out = graph.node(op_type, x, graph.node("Neg", x), consumed_inputs=[0, 0])
    (got,) = Inference(compile_model(graph.model([out], opset=1)), {"x": X}).outputs().values()
    assert np.array_equal(got, expected)


@pytest.mark.parametrize(("opset", "shape"), [(6, (60,)), (7, (3, 4, 5))])
def test_a_batch_is_normalised_element_by_element(opset: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    scale, bias, mean, variance = (rng.uniform(0.5, 2, shape).astype(np.float32) for _ in range(4))
    got = made(
        "BatchNormalization", opset, scale, bias, mean, variance, spatial=0, **({"is_test": 1} if opset == 6 else {})
    )
    flat = (X.reshape(2, -1) - mean.ravel()) / np.sqrt(variance.ravel() + 1e-5) * scale.ravel() + bias.ravel()
    np.testing.assert_allclose(got, flat.reshape(X.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_a_range_of_narrow_floats_is_rounded_once(kind: Any) -> None:
    """Beyond 2^8, or 2^11, these types have no longer every whole number."""
    graph = Graph()
    bounds = [graph.constant(np.array(value, kind)) for value in (0.5, 1024, 0.25)]
    y = graph.node("Range", *bounds)
    model = graph.model([y, graph.node("Neg", graph.input("x", [1]))], opset=27)
    got = Inference(compile_model(model), {"x": np.zeros(1, np.float32)}).outputs()[y]
    expected = (np.float32(0.5) + np.arange(4094, dtype=np.float32) * np.float32(0.25)).astype(kind)
    assert got.dtype == kind
    assert np.array_equal(got, expected)


def test_every_version_of_a_lowered_operator_is_lowered_with_all_its_attributes() -> None:
    missing = []
    for schema in onnx.defs.get_all_schemas_with_history():
        domain = domain_name(schema.domain)
        if schema.since_version > DOMAINS.get(domain, 0) or not versions(domain, schema.name):
            continue
        entry = find(domain, schema.name, schema.since_version)
        if entry is None or set(schema.attributes) - entry.attributes:
            missing.append((schema.name, schema.since_version))
    assert not missing
