"""What cannot become a program is refused: with what was found, what was expected, and where."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from opml_dispute.errors import OpmlError
from opml_dispute.model import importer, onnx_file
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.lower import registry
from opml_dispute.model.refusals import (
    CompilerFault,
    InputNotFixed,
    InvalidModel,
    ModelError,
    ModelFileError,
    ModelTooLarge,
    UnboundDimension,
    UnsupportedOp,
    UnsupportedOpset,
    UnsupportedType,
)
from opml_dispute.model.tensor import Tensor
from opml_dispute.models import DIGITS
from tests.model.graphs import Graph, parsed, single

X = np.zeros((2, 3), np.float32)


# The file


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nothing\.onnx is nothing; expected an ONNX file"):
        compile_model(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("name", [b"xname", b"yname", b"node0", b"Relu", b"weightsname"])
def test_a_name_that_is_no_text(name: bytes) -> None:
    """Protobuf hands it out as bytes, which are no name of anything; a comment may be what it likes."""
    nodes = [
        helper.make_node("Add", ["xname", "weightsname"], ["a"]),
        helper.make_node("Relu", ["a"], ["yname"], "node0"),
    ]
    x, y = (helper.make_tensor_value_info(end, TensorProto.FLOAT, [2, 3]) for end in ("xname", "yname"))
    weights = onnx.numpy_helper.from_array(X, "weightsname")
    graph = helper.make_graph(nodes, "graph", [x], [y], [weights], doc_string="a comment")
    raw = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
    compile_model(raw.replace(b"a comment", b"\xff comment"))
    with pytest.raises(InvalidModel, match="is no UTF-8 text"):
        compile_model(raw.replace(name, b"\xff\xfe" + name[2:]))


def test_a_place_of_weights_that_is_no_text(tmp_path: Path) -> None:
    """The file beside the model, under a name of any bytes, is looked for nowhere."""
    graph = Graph()
    onnx.save(graph.model([graph.node("Add", graph.input("x", [2, 3]), graph.constant(X))]), tmp_path / "whole.onnx")
    path, model = tmp_path / "model.onnx", onnx.load(tmp_path / "whole.onnx")
    onnx.save(model, path, save_as_external_data=True, location="weights.data", size_threshold=0)
    assert compile_model(path).weights
    path.write_bytes(path.read_bytes().replace(b"weights.data", b"weights\xff\xfeata"))
    with pytest.raises(InvalidModel, match="is no UTF-8 text"):
        compile_model(path)


def test_a_directory(tmp_path: Path) -> None:
    """A folder in the place of a model file is refused."""
    with pytest.raises(ModelFileError, match="is a directory; expected an ONNX file"):
        compile_model(tmp_path)


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 not an onnx file", b"\xff" * 100, b"# a text file\n"])
def test_a_file_that_is_not_onnx(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(raw)
    with pytest.raises(ModelFileError, match=r"model\.onnx .*not an ONNX model"):
        compile_model(path)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_truncated_file(fraction: float, tmp_path: Path) -> None:
    """A truncated model file is refused."""
    whole = DIGITS.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(ModelFileError, match="or is cut short"):
        compile_model(path)


def test_weights_that_lie_in_a_file_beside_are_read_and_missed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        onnx.load(DIGITS),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    assert compile_model(path).model_root == compile_model(DIGITS).model_root
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelFileError, match=r"weights"):
        compile_model(path)


@pytest.mark.parametrize("place", ["x" * 300, "é" * 200, "a/" * 3_000 + "x", "pipe", "link", "../model.onnx", "folder"])
def test_weights_in_a_place_that_is_no_file_beside_are_refused(tmp_path: Path, place: str) -> None:
    """The name is in the model: it may be one that no file can have, of a pipe, or lead elsewhere."""
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load(DIGITS), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(DIGITS)
    (tmp_path / "folder").mkdir()
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = place
    path.write_bytes(model.SerializeToString())
    for load in (onnx_file.load, onnx_file.load_apart):
        with pytest.raises(ModelFileError, match="the weights beside") as refused:
            load(path)
        assert len(str(refused.value)) < 600


def test_weights_are_looked_for_beside_the_model_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes lie in no folder: ONNX's library would read a file of that name where the process stands."""
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load(DIGITS), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    monkeypatch.chdir(tmp_path)
    assert compile_model(path).model_root == compile_model(DIGITS).model_root
    for source in (path.read_bytes(), onnx.load(path, load_external_data=False)):
        with pytest.raises(InvalidModel, match="in another file"):
            compile_model(source)


@pytest.mark.parametrize(
    "place",
    [{"offset": 4}, {"offset": 36}, {"offset": -4}, {"length": 28}, {"length": 36}, {"length": -1}, {"offset": "x"},
     {"offset": 10**30}, {"length": 10**30}],
)  # fmt: skip
def test_weights_that_are_not_where_the_model_says_are_refused(tmp_path: Path, place: dict[str, object]) -> None:
    path = tmp_path / "model.onnx"
    graph = Graph()
    y = graph.node("Add", graph.input("x", [8]), graph.constant(np.ones(8, np.float32), "w"))
    model = graph.model([y])
    (tmp_path / "w.bin").write_bytes(model.graph.initializer[0].raw_data)
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    for key, value in ({"location": "w.bin"} | place).items():
        model.graph.initializer[0].external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())
    with pytest.raises((ModelFileError, InvalidModel)):
        compile_model(path)


def test_a_lowering_that_fails_is_told_as_the_compilers_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry.find("", "Relu", 17)
    assert entry is not None

    def fails(g: Builder, x: Tensor) -> Tensor:
        raise AttributeError("no such thing")

    broken = dataclasses.replace(entry, function=fails)
    monkeypatch.setattr(importer, "find", lambda *_: broken)
    with pytest.raises(CompilerFault, match=r"Relu .*\[2\]: AttributeError: no such thing") as fault:
        compile_model(single("Relu", np.ones(2, np.float32)))
    assert isinstance(fault.value.__cause__, AttributeError)
    assert fault.value.exit_code == 70


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "'alpha' is 'x'; expected a number": ("QuickGelu", {"alpha": "x"}),
    "'alpha' is a list; expected a number": ("QuickGelu", {"alpha": [1.0]}),
    "'is_inner_broadcast' is 1.5; expected an integer": ("BiasSoftmax", {"is_inner_broadcast": 1.5}),
    "'qkv_hidden_sizes' is a list; expected integers": ("Attention", {"num_heads": 1, "qkv_hidden_sizes": [4.0] * 3}),
}
"""What is told of an attribute; ONNX's checker knows no operator of this set."""


@pytest.mark.parametrize("told", KINDS)
def test_an_attribute_of_another_kind_is_refused_by_its_name(told: str) -> None:
    op_type, attributes = KINDS[told]
    inputs = [np.ones((1, 2, 4), np.float32), np.ones((4, 12), np.float32), np.ones(12, np.float32)]
    count = {"QuickGelu": 1, "BiasSoftmax": 2}.get(op_type, 3)
    model = single(op_type, *inputs[:count], domain="com.microsoft", **attributes)
    with pytest.raises(UnsupportedOp, match=re.escape(told)):
        compile_model(model)


@pytest.mark.parametrize("op_type", ["Add", "Concat", "Gemm", "Where", "LayerNormalization"])
@pytest.mark.parametrize("other", [np.float64, np.float16])
def test_inputs_of_two_types_where_one_is_demanded_are_refused(op_type: str, other: type[np.floating[Any]]) -> None:
    """Some could be computed: of binary64 and binary32 together, in binary32."""
    x, y = np.ones((2, 2), np.float32), np.ones((2, 2), other)
    arrays = [np.ones((2, 2), np.bool_), x, y] if op_type == "Where" else [x, y]
    attributes: dict[str, Any] = {"axis": 0} if op_type in ("Concat", "LayerNormalization") else {}
    with pytest.raises(UnsupportedOp, match="expected one type for both"):
        compile_model(single(op_type, *arrays, **attributes))


def test_a_sequence_in_the_place_of_a_tensor_is_refused() -> None:
    text = "main (float[2] x) => (y) { s = SequenceConstruct (x, x)  y = Relu (s) }"
    with pytest.raises(UnsupportedOp, match="input 1 is a sequence; expected a tensor"):
        compile_model(parsed(text))


def test_a_graph_that_breaks_onnxs_rules() -> None:
    """A graph that breaks ONNX's rules is refused with the checker's reason."""
    model = single("Relu", X)
    model.graph.node[0].input[0] = "nobody"
    with pytest.raises(InvalidModel, match="nobody"):
        compile_model(model)


def test_a_model_too_large_for_the_checker_is_still_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 GiB of weights are more than the checker takes; here one byte is."""
    monkeypatch.setattr(onnx_file, "CHECKER_LIMIT_BYTES", 0)
    assert compile_model(DIGITS).node_count == 14
    model = single("Relu", X)
    model.graph.node[0].input[0] = "nobody"
    with pytest.raises(InvalidModel, match="'nobody' is used before anything makes it"):
        compile_model(model)


def test_an_output_of_another_type_than_declared() -> None:
    model = single("Relu", X)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(InvalidModel, match="is FLOAT; the model declares INT64"):
        compile_model(model)


# Operator sets and operators


def test_an_opset_from_the_future() -> None:
    """An opset that does not exist is refused."""
    model = single("Relu", X)
    model.opset_import[0].version = 999
    with pytest.raises((UnsupportedOpset, InvalidModel), match="999"):
        compile_model(model)


def test_an_operator_set_that_is_unknown() -> None:
    model = single("Anything", X, domain="example.com")
    with pytest.raises(UnsupportedOp, match=r"cannot import Anything \(node 'anything0', opset 1\): the operator set"):
        compile_model(model)


@pytest.mark.parametrize(
    ("op_type", "reason"),
    [
        ("RandomNormalLike", "it draws random numbers, and no seed was named to draw them from"),
        ("NonZero", "must be known when the model is compiled, but depends on the input 'x0'"),
        ("Unique", "how many different elements there are must be known when the model is compiled"),
    ],
)
def test_operators_that_cannot_be_expressed(op_type: str, reason: str) -> None:
    """Operators that cannot be expressed are refused with the reason."""
    with pytest.raises(UnsupportedOp) as caught:
        compile_model(single(op_type, X))
    assert reason in caught.value.reason
    assert (caught.value.op_type, caught.value.opset) == (op_type, 17)


def test_an_operator_older_than_its_first_lowering() -> None:
    graph = Graph()
    x = graph.input("x", [2])
    model = graph.model([graph.node("GreaterOrEqual", x, x)], opset=11)
    with pytest.raises(UnsupportedOp, match="expected opset 12 or newer"):
        compile_model(model)


def test_an_attribute_value_that_is_unknown() -> None:
    with pytest.raises(UnsupportedOp, match=r"direction 'SIDEWAYS'; expected 'LEFT' or 'RIGHT'"):
        compile_model(single("BitShift", np.zeros(2, np.uint8), np.zeros(2, np.uint8), direction="SIDEWAYS"))


def test_training_mode() -> None:
    """A node in training mode draws random numbers, so without a seed it is refused."""
    model = single("Dropout", X, np.array(0.5, np.float32), np.array(True))
    with pytest.raises(UnsupportedOp, match="no seed was named"):
        compile_model(model, constants={"x1": np.array(0.5, np.float32), "x2": np.array(True)})


def test_shapes_that_do_not_fit_together() -> None:
    graph = Graph()
    graph.input("x", ["n", 3])
    graph.input("y", ["m", 3])
    model = graph.model(
        [
            graph.node(
                "Add",
                "x",
                "y",
            )
        ]
    )
    with pytest.raises(UnsupportedOp, match=r"shapes \[2, 3\] and \[5, 3\] do not broadcast together"):
        compile_model(model, dims={"n": 2, "m": 5})


def test_a_loop_whose_length_is_known_only_when_running() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Add", ["state", "state"], ["doubled"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 3]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("doubled", TensorProto.FLOAT, [2, 3]),
        ],
    )
    graph = Graph()
    graph.input("times", [], TensorProto.INT64)
    graph.input("x", [2, 3])
    model = graph.model([graph.node("Loop", "times", "", "x", body=body)])
    with pytest.raises(InputNotFixed, match="the number of iterations must be known") as caught:
        compile_model(model)
    assert caught.value.inputs == {"times"}
    assert caught.value.hint is not None
    assert "constants={'times': array}" in caught.value.hint
    assert compile_model(model, constants={"times": np.array(3)}).node_count == 3


# Inputs and types


def test_a_dimension_without_a_size() -> None:
    """A named dimension without a size is named in the error."""
    graph = Graph()
    graph.input("x", ["batch", 3])
    model = graph.model([graph.node("Relu", "x")])
    with pytest.raises(UnboundDimension, match=r"input 'x' has a dimension \('batch'\) without a size") as caught:
        compile_model(model)
    assert caught.value.hint is not None
    assert "--dim batch=1" in caught.value.hint


def test_a_nameless_dimension() -> None:
    """A nameless dimension is named by its position."""
    model = single("Relu", X)
    model.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    with pytest.raises(UnboundDimension, match=r"\(number 1\) without a size"):
        compile_model(model)
    assert compile_model(model, dims={"x0.1": 3}).inputs[0].shape == (2, 3)


def test_a_dimension_that_the_model_does_not_have() -> None:
    """A typing error must not pass for a binding."""
    with pytest.raises(ModelError, match=r"dims names 'btach', which the model does not have; expected 'image\.0'"):
        compile_model(DIGITS, dims={"btach": 1})


def test_a_fixed_input_that_the_model_does_not_have() -> None:
    with pytest.raises(ModelError, match=r"constants names 'picture'.*expected 'image'"):
        compile_model(DIGITS, constants={"picture": X})


def test_a_fixed_input_of_the_wrong_type() -> None:
    with pytest.raises(UnsupportedType, match="a fixed value of type int32; expected float32"):
        compile_model(single("Relu", X), constants={"x0": np.full(X.shape, 2**24 + 1, np.int32)})


def test_complex_numbers_are_refused() -> None:
    graph = Graph()
    graph.input("x", [2], TensorProto.COMPLEX64)
    with pytest.raises(UnsupportedType, match="tensor 'x' has element type COMPLEX64; expected one of FLOAT"):
        compile_model(graph.model([graph.node("Identity", "x")]))


def test_what_looks_into_a_text_is_refused() -> None:
    """Texts are numbers, which say nothing about letters, their order, or the numbers that are written in them."""
    for op_type, reason in (("Unique", "looks into a text"), ("NonZero", "looks into a text"), ("Cast", "not read")):
        graph = Graph()
        text = graph.input("x", [2], TensorProto.STRING)
        attributes: dict[str, Any] = {"to": TensorProto.INT64} if op_type == "Cast" else {}
        with pytest.raises(UnsupportedOp, match=reason):
            compile_model(graph.model([graph.node(op_type, text, **attributes)]))


def test_a_sequence_as_an_input() -> None:
    """An input that is a sequence is refused."""
    model = single("Relu", X)
    value = helper.make_tensor_sequence_value_info("x0", TensorProto.FLOAT, [2])
    model.graph.input[0].CopyFrom(value)
    with pytest.raises((UnsupportedType, InvalidModel), match="sequence"):
        compile_model(model)


def test_four_bit_weights_are_widened() -> None:
    """A constant of a narrow type holds the same numbers."""
    graph = Graph()
    graph.input("x", [2])
    raw = helper.make_tensor("w", TensorProto.INT4, [2], [-8, 7])
    graph.constants.append(raw)
    scale = graph.constant(np.array(0.5, np.float32))
    y = graph.node("DequantizeLinear", "w", scale)
    program = compile_model(graph.model([graph.node("Add", "x", y)], opset=21))
    assert program.node_count >= 1


# Size


def test_a_model_that_no_section_holds() -> None:
    """One activation of a terabyte."""
    graph = Graph()
    graph.input("x", [1 << 19, 1])
    graph.input("y", [1, 1 << 19])
    product = graph.node("Mul", "x", "y")
    model = graph.model([graph.node("ReduceMax", product, axes=[0], keepdims=0)])
    with pytest.raises(ModelTooLarge, match="activations needs"):
        compile_model(model)


def test_every_refusal_is_one_that_the_command_line_can_tell() -> None:
    assert issubclass(ModelError, OpmlError)
