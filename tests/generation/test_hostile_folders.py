"""Folders as Hugging Face publishes them, with one value of one JSON file wrong: a sentence, or another good model."""

from __future__ import annotations

import copy
import json
import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.errors import OpmlError
from opml_dispute.generation.answer import AnswerShape
from opml_dispute.generation.files import open_model
from opml_dispute.generation.huggingface import huggingface_checkpoint
from opml_dispute.generation.program import compile_answer
from opml_dispute.generation.refusals import BadModelFile, BadPrompt
from opml_dispute.model.files import Binding
from tests.generation.models import Made, Sizes
from tests.generation.test_huggingface import published

SMALL = Made("qwen2", Sizes(layers=1, width=8, heads=2, kv_heads=1, head_size=4, hidden=8, context=8))
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 1.5, 1e-300, float("inf"), float("nan"), 1 << 31, 1 << 70, 10**400, "", "x",
    "default", "\0", "a" * 100_000, [], [1], [[]], ["a"], [None] * 3, {}, {"a": 1},
    {"rope_type": "linear", "factor": 2.0},
]  # fmt: skip
MORE = {
    "config.json": ["rope_scaling", "rope_parameters", "layer_types", "use_sliding_window", "hidden_act",
                    "bos_token_id", "partial_rotary_factor", "vocab_size"],
    "tokenizer_config.json": ["chat_template", "bos_token", "eos_token", "add_bos_token"],
    "generation_config.json": ["eos_token_id"],
}  # fmt: skip
LONGEST_MESSAGE = 700
SECONDS = 20


def places(value: Any, depth: int = 5) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in a JSON value; of lists and objects the first entries."""
    yield ()
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for i, (key, inner) in enumerate(entries):
        if depth and i < 20:
            yield from ((key, *rest) for rest in places(inner, depth - 1))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    made = copy.deepcopy(value)
    within = made
    for key in path[:-1]:
        within = within[key]
    within[path[-1]] = new
    return made


def use(folder: Path) -> str:
    """The sentence with which a folder is refused, or nothing."""
    try:
        checkpoint = huggingface_checkpoint(folder)
        checkpoint.sizes()
        compile_answer(checkpoint, AnswerShape(2, 2))
        if checkpoint.vocabulary is not None:
            checkpoint.vocabulary.text(range(len(checkpoint.vocabulary.tokens)))
            with suppress(BadPrompt):
                checkpoint.vocabulary.encode("ab c <end>")
    except OpmlError as error:
        return str(error).replace(str(folder), "")
    return ""


def mutants(folder: Path, name: str) -> Iterator[bytes]:
    """A file's contents with one value wrong."""
    path = folder / name
    whole = path.read_bytes() if path.is_file() else b"{}"
    size = 0
    if name.endswith(".safetensors"):
        (size,) = struct.unpack_from("<Q", whole)
        content, rest = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    else:
        content, rest = json.loads(whole), b""
    for place in [*places(content), *((key,) for key in MORE.get(name, []))]:
        for value in VALUES:
            text = json.dumps(changed(content, place, value)).encode()
            yield struct.pack("<Q", len(text)) + text + rest if size else text


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("config.json", 5),
        ("tokenizer.json", 23),
        ("tokenizer_config.json", 3),
        ("generation_config.json", 2),
        ("model.safetensors.index.json", 13),
        ("part-0.safetensors", 41),
    ],
)
def test_one_wrong_value_is_refused_or_another_model(name: str, step: int, tmp_path: Path) -> None:
    folder = published(tmp_path / "folder", SMALL)
    assert use(folder) == ""
    refused = 0
    for number, content in enumerate(mutants(folder, name)):
        if number % step:
            continue
        (folder / name).write_bytes(content)
        began = time.process_time()
        told = use(folder)
        assert time.process_time() - began < SECONDS, content[:2_000]
        assert len(told) < LONGEST_MESSAGE, (content[:2_000], told)
        refused += bool(told)
    assert refused > 1


@pytest.mark.parametrize("what", ["self_attn.o_proj.bias", "mlp.up_proj.bias", "self_attn.q_norm.weight"])
def test_a_tensor_without_a_place_is_refused(what: str, tmp_path: Path) -> None:
    """A model with such a tensor is another one, though every tensor that is needed is there."""
    folder = published(tmp_path / "folder", SMALL)
    path = folder / "part-1.safetensors"
    raw = path.read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    header, body = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    header[f"model.layers.0.{what}"] = {"dtype": "F32", "shape": [1], "data_offsets": [len(body), len(body) + 4]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body + bytes(4))
    assert "for which its family has no place" in use(folder)


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
        "adapter_config.json", "model.safetensors.index.json",
    ],
)  # fmt: skip
@pytest.mark.parametrize("found", ["link", "folder", "pipe"])
def test_what_stands_in_a_files_place_is_refused_and_not_passed_over(name: str, found: str, tmp_path: Path) -> None:
    """A download that stopped leaves links to nothing: without its settings the folder would be another model."""
    folder = published(tmp_path / "folder", SMALL)
    (folder / name).unlink(missing_ok=True)
    if found == "link":
        (folder / name).symlink_to("../blobs/0123")
    else:
        os.mkfifo(folder / name) if found == "pipe" else (folder / name).mkdir()
    with pytest.raises(BadModelFile, match="a link to what is not there" if found == "link" else "no regular file"):
        open_model(folder, Binding(prompt_tokens=2, tokens=2))
