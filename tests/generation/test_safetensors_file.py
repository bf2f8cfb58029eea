"""Safetensors files: tensors follow one another up to the end, each name once, and anything else is refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opml_dispute.generation.huggingface import huggingface_checkpoint
from opml_dispute.generation.refusals import BadModelFile
from opml_dispute.generation.safetensors_file import read_safetensors
from tests.generation.published_models import write_safetensors
from tests.generation.test_hostile_folders import SMALL
from tests.generation.test_huggingface import published

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(6, np.float32)}


def written(path: Path, header: object, body: bytes) -> Path:
    """`header` is a JSON value, or its text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    return json.loads(raw[8 : 8 + size]), raw[8 + size :]


@pytest.mark.parametrize("spaces", range(1, 5))
def test_tensors_are_the_same_wherever_they_lie(spaces: int, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", TENSORS)
    header, body = parts(tmp_path / "model.safetensors")
    found = read_safetensors(written(tmp_path / "moved.safetensors", json.dumps(header).encode() + b" " * spaces, body))
    assert {name: weight.float32().tolist() for name, weight in found.items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }


def moved(header: dict[str, Any], by: int, *names: str) -> dict[str, Any]:
    places = {name: [at + by for at in header[name]["data_offsets"]] for name in names}
    return header | {name: header[name] | {"data_offsets": place} for name, place in places.items()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda header, body: (moved(header, -24, "b"), body), "'b' begins at byte 0 and the one before it ends at 24"),
        (lambda header, body: (moved(header, -4, "b"), body), "'b' begins at byte 20"),
        (lambda header, body: (moved(header, 8, "a", "b"), bytes(8) + body), "'a' begins at byte 8"),
        (lambda header, body: (moved(header, 8, "b"), body + bytes(8)), "'b' begins at byte 32"),
        (lambda header, body: (header, body + bytes(100)), "100 bytes behind its tensors belong to none"),
        (lambda header, body: ({"a": header["a"]}, body), "24 bytes behind its tensors"),
        (lambda header, body: (b'{"a":1,"a":2}', body), "a name occurs twice"),
        (lambda header, body: (b'{"\xff":1}', body), "it is not UTF-8"),
    ],
)
def test_a_file_that_another_reader_could_take_for_another_is_refused(
    change: Callable[[dict[str, Any], bytes], tuple[object, bytes]], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, TENSORS)
    with pytest.raises(BadModelFile, match=reason):
        read_safetensors(written(path, *change(*parts(path))))


def test_a_tensor_that_two_files_have_is_refused(tmp_path: Path) -> None:
    """Of two values of one name the file that comes later in the alphabet must not win."""
    folder = published(tmp_path / "folder", SMALL)
    header, body = parts(folder / "part-1.safetensors")
    more = {"dtype": "F32", "shape": [40, 8], "data_offsets": [len(body), len(body) + 1280]}
    written(folder / "part-1.safetensors", header | {"model.embed_tokens.weight": more}, body + bytes(1280))
    with pytest.raises(BadModelFile, match=r"part-1.safetensors has the tensor 'model.embed_tokens.weight', which"):
        huggingface_checkpoint(folder)
