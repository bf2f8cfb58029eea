"""Sizes and fixed inputs, as they are typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.model.files import BadConstant, BadRoom, Binding, parse_binding, read_model
from opml_dispute.model.refusals import InputNotFixed, SizeDependsOnData, UnsupportedType
from tests.model.graphs import Graph


def test_constants_are_numbers_lists_and_files(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.array([True, False]))
    binding = parse_binding(("n=3",), ("rate=16000", "shape=[2,-1]", "on=true", f"mask={tmp_path}/mask.npy", "x=0.5"))
    assert binding.dims == {"n": 3}
    assert {name: value.tolist() for name, value in binding.constants.items()} == {
        "rate": 16000, "shape": [2, -1], "on": True, "mask": [True, False], "x": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["rate", "rate=", "=3", "rate=fast", 'rate="3"', "rate=[1,[2]]", "rate=null", "rate={}", "rate=none.npy"]
)
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(BadConstant):
        parse_binding((), (text,))


def test_a_constant_given_twice_is_refused() -> None:
    with pytest.raises(BadConstant, match="twice"):
        parse_binding((), ("a=1", "a=2"))


def test_room_is_made_for_a_tensor_that_data_sizes(tmp_path: Path) -> None:
    graph = Graph()
    onnx.save(graph.model([graph.node("NonZero", graph.input("x", [6]))]), tmp_path / "model.onnx")
    with pytest.raises(SizeDependsOnData) as refused:
        read_model(tmp_path / "model.onnx", Binding())
    option = f"--max-size {refused.value.output}="
    assert option in str(refused.value.hint)
    program = read_model(tmp_path / "model.onnx", parse_binding((), (), (f"{refused.value.output}=4",)))
    assert [spec.name for spec in program.outputs] == [refused.value.output, f"{refused.value.output}.count"]


@pytest.mark.parametrize("text", ["y", "y=", "=3", "y=0", "y=-1", "y=three", "y=1e3"])
def test_what_is_no_room_is_refused(text: str) -> None:
    with pytest.raises(BadRoom):
        parse_binding((), (), (text,))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Reshapes x[6] to a shape that is an input."""
    graph = Graph()
    y = graph.node("Reshape", graph.input("x", [6]), graph.input("shape", [2], onnx.TensorProto.INT64))
    scaled = graph.node("Mul", y, graph.input("scale", []))
    onnx.save(graph.model([scaled]), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_fixed_input_is_part_of_the_program(file: Path) -> None:
    """A number that the input's type holds will do, whatever type it was typed in."""
    program = read_model(file, parse_binding((), ("shape=[2,-1]", "scale=3")))
    assert [spec.name for spec in program.inputs] == ["x"]
    (y,) = Inference(program, {"x": np.arange(6, dtype=np.float32)}).outputs().values()
    assert y.tolist() == [[0, 3, 6], [9, 12, 15]]


def test_the_refusal_says_which_option_to_give(file: Path) -> None:
    with pytest.raises(InputNotFixed) as refused:
        read_model(file, Binding())
    assert refused.value.hint is not None
    assert "--constant shape=VALUE" in refused.value.hint


@pytest.mark.parametrize("text", ["shape=[2.5,1]", "shape=[2,3,1]", "scale=[1,2]"])
def test_a_value_that_the_input_cannot_have_is_refused(file: Path, text: str) -> None:
    constants = {"shape": "shape=[2,-1]", "scale": "scale=3"} | {text.partition("=")[0]: text}
    with pytest.raises(UnsupportedType, match="a fixed value of"):
        read_model(file, parse_binding((), tuple(constants.values())))
