"""Folders as Hugging Face publishes them: the answers that GGUF gives; damage leads to a sentence."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opml_dispute.generation.answer import AnswerShape
from opml_dispute.generation.files import is_language_model, read_checkpoint
from opml_dispute.generation.gguf_model import gguf_checkpoint
from opml_dispute.generation.huggingface import _NAMES, huggingface_checkpoint, read_safetensors
from opml_dispute.generation.program import compile_answer
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.model.tensor import Array
from tests.generation.models import LETTERS, Made, weights_of, write_model

MADE = Made("qwen2", seed=3)


def safetensors(path: Path, tensors: Mapping[str, Array]) -> None:
    header, at = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(value.tobytes() for value in tensors.values()))


def published(folder: Path, made: Made = MADE, **changes: Any) -> Path:
    """A folder with a model, in two files."""
    s = made.sizes
    folder.mkdir(exist_ok=True)
    config = {
        "model_type": made.family, "hidden_size": s.width, "num_attention_heads": s.heads, "head_dim": s.head_size,
        "num_key_value_heads": s.kv_heads, "num_hidden_layers": s.layers, "intermediate_size": s.hidden,
        "max_position_embeddings": s.context, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "eos_token_id": 0,
        "tie_word_embeddings": made.tied,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | changes))
    parts = {ours: theirs for theirs, ours in _NAMES.items()}
    tensors = {}
    for name, value in weights_of(made).items():
        if name.startswith("blk."):
            _, layer, part, what = name.split(".")
            name = f"model.layers.{layer}.{parts[part]}.{what}"
        fixed = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
        tensors[fixed.get(name, name)] = value
    halves = [dict(list(tensors.items())[:9]), dict(list(tensors.items())[9:])]
    for i, half in enumerate(halves):
        safetensors(folder / f"part-{i}.safetensors", half)
    index = {"weight_map": {name: f"part-{i}.safetensors" for i, half in enumerate(halves) for name in half}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [
            {"id": 0, "content": "<end>", "special": True, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False}
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(LETTERS[:40])}, "merges": []},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_a_folder_gives_the_program_that_its_gguf_file_gives(family: str, tmp_path: Path) -> None:
    made = Made(family, seed=3)
    ours = read_checkpoint(published(tmp_path / "folder", made))
    theirs = gguf_checkpoint(write_model(tmp_path / "model.gguf", made))
    shape = AnswerShape(4, 3)
    assert compile_answer(ours, shape).records == compile_answer(theirs, shape).records
    for name, weight in theirs.weights.items():
        np.testing.assert_array_equal(ours.weights[name].float32(), weight.float32())
    assert ours.vocabulary is not None
    assert ours.vocabulary.encode("abc <end>") == [1, 2, 3, 27, 0]
    assert ours.vocabulary.text([1, 2, 27, 3, 0]) == "ab c"
    assert ours.vocabulary.end_tokens == [0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "'mamba'; known are llama, qwen2, qwen3"),
        ({"hidden_size": "32"}, "hidden_size; expected a whole number"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "over 3 key heads"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "scales positions by 'yarn'"),
        ({"hidden_act": "relu"}, "activation"),
        ({"use_sliding_window": True}, "window"),
    ],
)
def test_what_a_configuration_says_wrongly_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=message):
        huggingface_checkpoint(published(tmp_path / "folder", **changes))


def test_a_safetensors_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = (published(tmp_path / "folder") / "part-1.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for size in [*range(0, 600, 7), *range(600, len(whole), 1501), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(BadModelFile):
            read_safetensors(path)


@pytest.mark.parametrize(
    "name", ["config.json", "part-0.safetensors", "tokenizer.json", "model.safetensors.index.json"]
)
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    folder = published(tmp_path / "folder")
    (folder / name).write_bytes(b"\x10\0\0\0\0\0\0\0{nonsense}")
    with pytest.raises(BadModelFile, match=name):
        huggingface_checkpoint(folder)


def test_files_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    folder = published(tmp_path / "folder")
    index = {"weight_map": {"model.norm.weight": "../part-0.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadModelFile, match="outside of its folder"):
        huggingface_checkpoint(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": "a" * 9999}}))
    with pytest.raises(BadModelFile, match="more than 255 characters"):
        huggingface_checkpoint(folder)


@pytest.mark.parametrize("field", ["dtype", "shape", "data_offsets"])
@pytest.mark.parametrize("value", [None, [], [[]], [1, "a" * 9999], {}, -1, 1 << 70, "a" * 9999])
def test_a_tensor_that_is_described_wrongly_is_named(field: str, value: Any, tmp_path: Path) -> None:
    """Whatever stands in the header in place of a type, a shape or a place: a sentence of a few hundred characters."""
    header = {"model.norm.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], field: value}}
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=r"model\.norm\.weight") as told:
        read_safetensors(path)
    assert len(str(told.value)) < 600


def test_a_folder_without_configuration_is_no_model(tmp_path: Path) -> None:
    assert not is_language_model(tmp_path)
    assert is_language_model(published(tmp_path / "folder"))
