"""Models and inputs that are not here are fetched by their URI; only what has the registered root is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from opml_dispute.availability.fetching import CannotFetch, Fetcher, FetchPolicy
from opml_dispute.chain.contracts.oracle import RegisteredModel
from opml_dispute.chain.input_parts import INPUT_LOG2_SIZE
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.errors import OpmlError
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.files import Binding
from opml_dispute.model.program import Program
from opml_dispute.model.program_file import write_program
from opml_dispute.operator.model_description import describe_model
from opml_dispute.operator.model_store import InputMissing, ModelFileMissing, ModelStore, WrongModelFile
from opml_dispute.primitives import ModelId
from tests.support.content_server import ContentServer, serving

MODEL_ID = ModelId(bytes(31) + b"\x07")


@pytest.fixture
def server() -> Iterator[ContentServer]:
    with serving() as found:
        yield found


def onnx_bytes(scale: float = 2.0) -> bytes:
    """x[batch, 4] times a constant: the batch is left open."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        "scaled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.full(4, scale, np.float32), "scale")],
    )
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return made


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_model(onnx.load_from_string(onnx_bytes()), dims={"batch": 3})


def registered(program: Program, uri: str) -> RegisteredModel:
    told = describe_model(program, uri)
    return RegisteredModel(
        told.model_root, program.node_count, program.log2_steps, 0, 0, 4, 26, told.inputs, told.outputs, uri
    )


def store(folder: Path, *, allow: str = "local", quota_bytes: int = 1 << 30) -> ModelStore:
    return ModelStore(folder, Fetcher(FetchPolicy(allow=allow)), quota_bytes=quota_bytes)


def found(store: ModelStore, told: RegisteredModel) -> Program:
    return store.program(MODEL_ID, told, file=None, binding=Binding())


def saved(program: Program, tmp_path: Path) -> bytes:
    write_program(program, tmp_path / "saved")
    return (tmp_path / "saved").read_bytes()


@pytest.mark.parametrize("kind", ["onnx", "program"])
def test_model_is_fetched_once(server: ContentServer, program: Program, tmp_path: Path, kind: str) -> None:
    """An ONNX file is compiled for the shapes that the registration tells; a program serves as it is."""
    server.files["/m"] = onnx_bytes() if kind == "onnx" else saved(program, tmp_path)
    told = registered(program, f"{server.url}/m")
    for _ in range(2):
        assert found(store(tmp_path / "s"), told).model_root == program.model_root
    assert server.asked == ["/m"]
    assert found(store(tmp_path / "s", allow="nothing"), told).model_root == program.model_root


def test_damaged_copy_is_dropped_and_fetched_anew(server: ContentServer, program: Program, tmp_path: Path) -> None:
    server.files["/m"] = onnx_bytes()
    told, kept = registered(program, f"{server.url}/m"), tmp_path / "s" / f"{program.model_root.hex()}.program"
    found(store(tmp_path / "s"), told)
    whole, other = (
        kept.read_bytes(),
        saved(compile_model(onnx.load_from_string(onnx_bytes(3)), dims={"batch": 3}), tmp_path),
    )
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (b"", whole[:-1], flipped, other):
        kept.write_bytes(damaged)
        assert found(store(tmp_path / "s"), told).model_root == program.model_root
        assert kept.read_bytes() == whole
    assert len(server.asked) == 5
    kept.write_bytes(b"x")
    with pytest.raises(ModelFileMissing, match="the copy that was kept cannot be read"):
        found(store(tmp_path / "s", allow="nothing"), told)


@pytest.mark.parametrize("content", [onnx_bytes(3.0), b"", b"\x08\x08", b"OPMLFILE" + bytes(100), b"GGUF" + bytes(100)])
def test_what_is_not_the_registered_model_is_refused_and_not_kept(
    server: ContentServer, program: Program, tmp_path: Path, content: bytes
) -> None:
    server.files["/m"] = content
    with pytest.raises(OpmlError):
        found(store(tmp_path / "s"), registered(program, f"{server.url}/m"))
    assert list((tmp_path / "s").iterdir()) == []


def test_wrong_model_is_named(server: ContentServer, program: Program, tmp_path: Path) -> None:
    server.files["/m"] = onnx_bytes(3.0)
    with pytest.raises(WrongModelFile, match="compiles to model root"):
        found(store(tmp_path / "s"), registered(program, f"{server.url}/m"))


@pytest.mark.parametrize("uri", ["", "package:other", "ipfs://" + "a" * 46, "ftp://there/x"])
def test_model_that_cannot_be_had_says_why_and_where_it_should_be(program: Program, tmp_path: Path, uri: str) -> None:
    with pytest.raises(ModelFileMissing) as missing:
        found(store(tmp_path / "s"), registered(program, uri))
    assert "not on this computer" in str(missing.value)
    assert uri in (missing.value.hint or "")


def test_model_larger_than_the_quota_is_not_kept(server: ContentServer, program: Program, tmp_path: Path) -> None:
    server.files["/m"] = onnx_bytes()
    with pytest.raises(OpmlError, match="do not fit the store's 10"):
        found(store(tmp_path / "s", quota_bytes=10), registered(program, f"{server.url}/m"))


def test_what_the_operator_brought_is_not_taken_for_fetched(
    server: ContentServer, program: Program, tmp_path: Path
) -> None:
    """So a full quota never drops what might not be had again."""
    server.files["/m"] = onnx_bytes()
    kept = store(tmp_path / "s")
    kept.keep(program)
    kept.fetch_program(MODEL_ID, registered(program, f"{server.url}/m"))
    seen = kept.contents.origin(f"{program.model_root.hex()}.program")
    assert seen is not None
    assert seen.is_own


def test_descriptions_that_tell_no_shapes_open_nothing(server: ContentServer, program: Program, tmp_path: Path) -> None:
    server.files["/m"] = onnx_bytes()
    for text in ("", "[]", "{", '[{"name":1}]', '[{"name":"x","dtype":"F32","shape":[9,4],"offset":0}]'):
        told = replace(registered(program, f"{server.url}/m"), inputs=text)
        with pytest.raises(OpmlError):
            found(store(tmp_path / "s"), told)


# ---- inputs ----


def test_input_is_fetched_once_checked_and_fetched_anew_when_damaged(server: ContentServer, tmp_path: Path) -> None:
    image = bytes(range(1, 101))
    root = merkle_root(image, INPUT_LOG2_SIZE)
    server.files["/i"] = image
    kept, path = store(tmp_path / "s"), tmp_path / "s" / f"{root.hex()}.input"
    assert kept.image(root, f"{server.url}/i", 100) == kept.image(root, f"{server.url}/i", 100) == image
    assert server.asked == ["/i"]
    for damaged in (b"", image[:-1] + b"x", bytes(1000)):
        path.write_bytes(damaged)
        assert kept.image(root, f"{server.url}/i", 100) == image
    path.unlink()
    for wrong in (image[:-1], b"", image + b"\1"):
        server.files["/i"] = wrong
        with pytest.raises(InputMissing):
            kept.image(root, f"{server.url}/i", 100)
        assert not path.exists()
    server.files["/i"] = image
    with pytest.raises(CannotFetch, match="100 bytes, expected at most 99"):
        kept.fetch_image(root, f"{server.url}/i", 99)
