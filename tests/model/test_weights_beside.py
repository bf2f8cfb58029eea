"""Weights behind links: read as download caches lay them out, and nowhere else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from opml_dispute.model import mapped_weights, weights_beside
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.refusals import ModelFileError
from tests.model.test_mapped_weights import mapped_bytes, model_of

WEIGHTS = np.arange(65, dtype=np.float32).reshape(5, 13)


@pytest.fixture(params=["read", "mapped"])
def is_mapped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the files are large enough to be mapped."""
    if request.param == "mapped":
        monkeypatch.setattr(mapped_weights, "LEAST_FILE_BYTES", 1)
        monkeypatch.setattr(mapped_weights, "LEAST_TENSOR_BYTES", 64)
    return bool(request.param == "mapped")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, and its weights in a file beside it."""
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(model_of(WEIGHTS), path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    return folder


def same(path: Path, is_mapped: bool) -> bool:
    program = compile_model(path)
    assert (mapped_bytes(program) > 0) == is_mapped
    return bool(program.model_root == compile_model(model_of(WEIGHTS)).model_root)


@pytest.mark.parametrize("below", [".", "onnx"])
def test_a_download_cache_has_the_model_and_its_weights_as_links(folder: Path, is_mapped: bool, below: str) -> None:
    blobs, snapshot = folder.parent / "blobs", folder.parent / "snapshots" / "1234"
    (snapshot / below).mkdir(parents=True)
    blobs.mkdir()
    for number, name in enumerate(("model.onnx", "model.onnx_data")):
        (folder / name).rename(blobs / f"{number:064x}")
        (snapshot / below / name).symlink_to(
            os.path.relpath(blobs / f"{number:064x}", os.path.realpath(snapshot / below))
        )
    assert same(snapshot / below / "model.onnx", is_mapped)


@pytest.mark.parametrize("way", ["a link", "a folder that is a link", "a hard link", "a linked folder"])
def test_links_within_the_models_folder_are_followed(folder: Path, is_mapped: bool, way: str) -> None:
    data, path = folder / "model.onnx_data", folder / "model.onnx"
    if way == "a link":
        data.rename(folder / "other")
        data.symlink_to("other")
    elif way == "a hard link":
        os.link(data, folder.parent / "backup")
    elif way == "a linked folder":
        (folder.parent / "alias").symlink_to("model")
        path = folder.parent / "alias" / "model.onnx"
    else:
        (folder / "deep").mkdir()
        data.rename(folder / "deep" / "model.onnx_data")
        (folder / "data").symlink_to("deep")
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[0].external_data[0].value = "data/model.onnx_data"
        path.write_bytes(model.SerializeToString())
    assert same(path, is_mapped)


@pytest.mark.parametrize("way", ["a link", "a folder that is a link", "a chain", "a cache", "a pipe", "a device"])
def test_an_archive_cannot_have_a_file_read_that_lies_elsewhere(folder: Path, is_mapped: bool, way: str) -> None:
    """Its content would be published with the model."""
    secret, data, path = folder.parent / "home" / "id_rsa", folder / "model.onnx_data", folder / "model.onnx"
    secret.parent.mkdir()
    data.rename(secret)
    if way == "a folder that is a link":
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[0].external_data[0].value = "data/id_rsa"
        path.write_bytes(model.SerializeToString())
        (folder / "data").symlink_to("../home")
    elif way == "a chain":
        (folder / "first").symlink_to(secret)
        data.symlink_to("first")
    elif way == "a cache":
        (folder / "blobs").mkdir()
        path.rename(folder / "blobs" / "1")
        path.symlink_to("blobs/1")
        data.symlink_to(secret)
    elif way == "a pipe":
        os.mkfifo(folder / "pipe")
        data.symlink_to("pipe")
    else:
        data.symlink_to("/dev/zero" if way == "a device" else secret)
    with pytest.raises(ModelFileError, match="not regular" if way == "a pipe" else r"a symbolic link to .*outside"):
        compile_model(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file another owner")
def test_a_file_of_another_owner_is_not_read_by_a_second_name(folder: Path, is_mapped: bool) -> None:
    data = folder / "model.onnx_data"
    os.link(data, folder.parent / "secret")
    os.chown(folder / "model.onnx", 12345, 12345)
    with pytest.raises(ModelFileError, match="another owner"):
        compile_model(folder / "model.onnx")
    data.unlink()
    data.write_bytes((folder.parent / "secret").read_bytes())
    assert same(folder / "model.onnx", is_mapped)


@pytest.mark.parametrize("what", ["the file", "a folder on the way"])
def test_what_becomes_a_link_after_it_was_looked_at_is_not_followed(
    folder: Path, is_mapped: bool, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deep").mkdir()
    (folder / "model.onnx_data").rename(folder / "deep" / "weights")
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "deep/weights"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    elsewhere = folder.parent / "elsewhere"
    shutil.copytree(folder / "deep", elsewhere)
    look = weights_beside._resolved

    def look_and_swap(location: str, model: Path) -> Path:
        found = look(location, model)
        if not (folder / "before").exists():
            swapped = folder / "deep" if what == "a folder on the way" else folder / "deep" / "weights"
            swapped.rename(folder / "before")
            swapped.symlink_to(elsewhere if swapped.name == "deep" else elsewhere / "weights")
        return found

    monkeypatch.setattr(weights_beside, "_resolved", look_and_swap)
    with pytest.raises(ModelFileError, match="symbolic link" if what == "the file" else "Not a directory"):
        compile_model(folder / "model.onnx")


def test_what_is_read_is_the_file_that_was_checked(
    folder: Path, is_mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one that takes its name between the check and the reading is not looked at."""
    path, data = folder / "model.onnx", folder / "model.onnx_data"
    elsewhere = folder.parent / "elsewhere"
    elsewhere.write_bytes(bytes(data.stat().st_size))
    fstat = os.fstat

    def check_and_swap(file: int) -> os.stat_result:
        found = fstat(file)
        if os.readlink(f"/proc/self/fd/{file}") == str(data) and not data.is_symlink():
            data.rename(folder / "before")
            data.symlink_to(elsewhere)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", check_and_swap)
        program = compile_model(path)
    assert data.is_symlink()
    assert (mapped_bytes(program) > 0) == is_mapped
    assert program.model_root == compile_model(model_of(WEIGHTS)).model_root
