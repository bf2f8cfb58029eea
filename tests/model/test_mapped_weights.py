"""Weights that stay in their files: the same program as from a file read whole, and the same refusals."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.mapped_files import FileChanged, mappings_of
from opml_dispute.model import mapped_weights
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.mapped_weights import parse_apart
from opml_dispute.model.program import Program
from opml_dispute.model.refusals import InvalidModel, ModelFileError

TYPES = [np.float32, np.float64, np.float16, np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_]


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps all weights of 64 bytes and more."""
    monkeypatch.setattr(mapped_weights, "LEAST_FILE_BYTES", 1)
    monkeypatch.setattr(mapped_weights, "LEAST_TENSOR_BYTES", 64)


def model_of(*constants: np.ndarray, data: str = "raw") -> onnx.ModelProto:
    """Each constant, cast to binary32, is added to the input."""
    nodes, initializers, name = [], [], "x"
    for i, values in enumerate(constants):
        nodes.append(helper.make_node("Cast", [f"w{i}"], [f"c{i}"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Add", [name, f"c{i}"], [f"y{i}"]))
        name = f"y{i}"
        tensor = numpy_helper.from_array(values, f"w{i}")
        if data == "lists":
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            tensor = helper.make_tensor(f"w{i}", kind, values.shape, values.reshape(-1).tolist())
        initializers.append(tensor)
    shape = list(constants[0].shape)
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in ("x", name)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def constants(seed: int = 0) -> list[np.ndarray]:
    """One of each type, and a small one, which is not mapped."""
    random = np.random.default_rng(seed)
    return [*(random.integers(0, 2, (5, 13)).astype(kind) for kind in TYPES), np.array([3], np.float32)]


def same_program(one: Program, other: Program) -> None:
    assert one.records == other.records
    assert one.model_root == other.model_root
    x = {"x": np.ones((5, 13), np.float32)}
    runs = [Inference(program, x) for program in (one, other)]
    assert runs[0].state_root(one.node_count) == runs[1].state_root(one.node_count)


def mapped_bytes(program: Program) -> int:
    return sum(np.frombuffer(block.data, np.uint8).size for block in program.weights if mappings_of([block.data]))


@pytest.mark.parametrize("name", ["inside", "beside"])
def test_a_mapped_model_is_the_same_program(tmp_path: Path, name: str) -> None:
    """Weights of every type make the same program, wherever they lie; large ones are views of the file."""
    model = model_of(*constants())
    path = tmp_path / "model.onnx"
    if name == "inside":
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    program = compile_model(path)
    assert mapped_bytes(program) > 0
    same_program(program, compile_model(model_of(*constants())))


def test_weights_in_lists_of_numbers_are_read(tmp_path: Path) -> None:
    """A tensor whose elements are no raw bytes is not mapped, and read as ever."""
    numbers = np.arange(65, dtype=np.float32).reshape(5, 13)
    onnx.save(model_of(numbers, data="lists"), tmp_path / "model.onnx")
    program = compile_model(tmp_path / "model.onnx")
    assert mapped_bytes(program) == 0
    same_program(program, compile_model(model_of(numbers)))


def test_a_file_laid_out_otherwise_is_read_whole(tmp_path: Path) -> None:
    """A graph in two parts, raw data in two parts, and bytes that are cut short go to the parser of everything."""
    numbers = np.arange(65, dtype=np.float32).reshape(5, 13)
    model = model_of(numbers)
    parts, whole = onnx.ModelProto(), onnx.ModelProto()
    parts.graph.name = "g"
    whole.CopyFrom(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(whole.SerializeToString() + parts.SerializeToString())
    assert parse_apart(path) is None
    same_program(compile_model(path), compile_model(model_of(numbers)))

    tensor = TensorProto(name="w0", data_type=TensorProto.FLOAT, dims=[5, 13], raw_data=bytes(260)).SerializeToString()
    twice = tensor + TensorProto(raw_data=numbers.tobytes()).SerializeToString()
    del whole.graph.initializer[:]
    body = whole.graph.SerializeToString() + _field(5, twice)
    del whole.graph.node[:], whole.graph.input[:], whole.graph.output[:]
    whole.ClearField("graph")
    path.write_bytes(whole.SerializeToString() + _field(7, body))
    same_program(compile_model(path), compile_model(model_of(numbers)))

    path.write_bytes(model.SerializeToString()[:-9])
    with pytest.raises(ModelFileError, match="cut short"):
        compile_model(path)


def _field(number: int, content: bytes) -> bytes:
    size, varint = len(content), bytearray()
    while size > 0x7F:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes(varint) + bytes([size]) + content


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"location": "../w.bin"}, "outside"),
        ({"location": "/dev/zero"}, "absolute"),
        ({"location": "link.bin"}, "symbolic link"),
        ({"location": "circle.bin"}, "circle|symbolic links"),
        ({"location": "pipe"}, "not regular"),
        ({"location": ""}, "empty"),
        ({"location": "missing.bin"}, "missing"),
        ({"offset": "100"}, "was expected at 100"),
        ({"offset": "-4"}, "negative"),
        ({"offset": "9" * 30}, "expected at 999"),
        ({"length": "8"}, "in 8"),
        ({"length": "9" * 30}, "was expected"),
    ],
)
def test_places_that_are_refused(tmp_path: Path, place: dict[str, str], reason: str) -> None:
    """A file outside of the model's folder, a link that leads there, a device, and a place outside of the file."""
    path = tmp_path / "model.onnx"
    onnx.save(
        model_of(np.ones((5, 13), np.float32)), path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    (tmp_path / "circle.bin").symlink_to("circle.bin")
    os.mkfifo(tmp_path / "pipe")
    model = onnx.load(path, load_external_data=False)
    entries = {entry.key: entry.value for entry in model.graph.initializer[0].external_data} | place
    del model.graph.initializer[0].external_data[:]
    for key, value in entries.items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=reason):
        compile_model(path)


def test_a_file_written_to_is_noticed(tmp_path: Path) -> None:
    """A state of a run whose weights changed under it is no answer."""
    path = tmp_path / "model.onnx"
    onnx.save(model_of(*constants()), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    program = compile_model(path)
    inference = Inference(program, {"x": np.ones((5, 13), np.float32)})
    with (tmp_path / "w.bin").open("r+b") as file:
        file.write(b"\1\2\3\4")
    os.utime(tmp_path / "w.bin", ns=(1, 1))
    with pytest.raises(FileChanged, match=r"w\.bin"):
        inference.state_root(program.node_count)


@pytest.mark.parametrize("when", ["compiled", "hashed", "loaded", "run"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_file_that_was_cut_short_is_noticed_before_it_is_read(tmp_path: Path, when: str, whole: bool) -> None:
    """Reading what is not there any more would end the process without a word."""
    numbers = np.ones((64, 1024), np.float32)
    path = tmp_path / "model.onnx"
    onnx.save(model_of(numbers, numbers), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    program = compile_model(path)
    inference = None
    if when != "compiled":
        assert program.model_root
    if when in ("loaded", "run"):
        inference = Inference(program, {"x": numbers})
    if inference is not None and when == "run":
        inference.run_to(program.node_count)
        inference.run_to(0)
    os.truncate(tmp_path / "w.bin", 10)
    with pytest.raises(FileChanged, match=r"w\.bin"):
        (inference or Inference(program, {"x": numbers})).state_root(program.node_count if whole else 1)


def test_rules_of_onnx_hold_for_mapped_models(tmp_path: Path) -> None:
    """The checker sees a mapped model too."""
    model = model_of(*constants())
    model.graph.node[0].input[0] = "nobody"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match="nobody"):
        compile_model(tmp_path / "model.onnx")
