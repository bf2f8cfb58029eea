"""Small models that PyTorch once exported, and others, which come with ONNX as files: all but the named ones pass."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase

from tests.onnx.backend import Array, attempt

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
KINDS = {"pytorch-converted": 82, "pytorch-operator": 35, "simple": 23}
"""Folders, and how many models each holds."""

REFUSED = {
    "test_gradient_of_add": "no lowering",
    "test_gradient_of_add_and_mul": "no lowering",
    "test_strnorm_model_monday_casesensintive_lower": "text has no place",
    "test_strnorm_model_monday_casesensintive_nochangecase": "text has no place",
    "test_strnorm_model_monday_casesensintive_upper": "text has no place",
    "test_strnorm_model_monday_empty_output": "text has no place",
    "test_strnorm_model_monday_insensintive_upper_twodim": "text has no place",
    "test_strnorm_model_nostopwords_nochangecase": "text has no place",
}


def _arrays(folder: Path, values: list[onnx.ValueInfoProto], prefix: str) -> list[Array]:
    """input_0.pb, input_1.pb, … or the outputs; text is left out, since such a model is refused before."""
    arrays = []
    for i, value in enumerate(values):
        tensor = onnx.TensorProto()
        path = folder / f"{prefix}_{i}.pb"
        if path.exists() and value.type.HasField("tensor_type"):
            tensor.ParseFromString(path.read_bytes())
            arrays.append(np.asarray(numpy_helper.to_array(tensor)))
    return arrays


def _case(folder: Path) -> TestCase:
    model = onnx.load(folder / "model.onnx")
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in given]
    sets = [
        (_arrays(data, inputs, "input"), _arrays(data, list(model.graph.output), "output"))
        for data in sorted(folder.glob("test_data_set_*"))
    ]
    return TestCase(
        name=folder.name, model_name=folder.name, url=None, model_dir=None, model=model, data_sets=sets, kind="file",
        rtol=1e-3, atol=1e-7,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_models_in_files_pass_or_are_refused_for_the_known_reason(kind: str) -> None:
    folders = sorted(path.parent for path in (DATA / kind).glob("*/model.onnx"))
    assert len(folders) == KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = [attempt(_case(folder)) for folder in folders]
    for result in results:
        if result.name in REFUSED:
            assert result.outcome == "refused", result.line()
            assert REFUSED[result.name] in result.reason
        else:
            assert result.outcome == "passed", result.line()
