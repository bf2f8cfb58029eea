"""
Language models as Hugging Face publishes them: a folder with config.json, safetensors and tokenizer.json.

`huggingface_checkpoint` reads such a folder of one of the `MODEL_TYPES` into the same form as GGUF files: the same
names, the same sizes, views of the mapped files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from opml_dispute.generation.checkpoint import Checkpoint, Weight
from opml_dispute.generation.families import FAMILIES, expect_tensors, unfused
from opml_dispute.generation.huggingface_config import architecture_of
from opml_dispute.generation.huggingface_names import gguf_names, in_gguf_order
from opml_dispute.generation.huggingface_types import MODEL_TYPES, WITH_TEXT, parts_told_by, read_config
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.generation.safetensors_file import read_safetensors
from opml_dispute.generation.settings import MAX_CONFIG_BYTES, folder_vocabulary, is_there, json_object

_OF_PICTURES: Final = ("vision_tower.", "multi_modal_projector.")
"""What names of tensors begin with that only pictures go through."""


_ADAPTER: Final = "adapter_config.json"
"""Of LoRA and others: what a training run changed of a model that is published elsewhere."""


def is_huggingface(path: Path) -> bool:
    """
    Whether `path` is a folder with a config.json, or that of an adapter; False for what cannot be read.

    Raises `BadModelFile` if such a name is there and no file.
    """
    try:
        return path.is_dir() and any(is_there(path / name) for name in ("config.json", _ADAPTER))
    except (OSError, ValueError):
        return False


def has_safetensors(path: Path) -> bool:
    """Whether `path` is such a folder with weights. Raises as `is_huggingface`."""
    return is_huggingface(path) and any(
        is_there(path / name) for name in ("model.safetensors", "model.safetensors.index.json")
    )


def huggingface_checkpoint(folder: Path) -> Checkpoint:
    """
    The decoder in a folder. Raises `BadModelFile`, `UnsupportedLanguageModel`.

    A folder without tokenizer.json has no vocabulary.
    """
    if is_there(folder / _ADAPTER):
        raise UnsupportedLanguageModel(
            f"{folder.name} holds an adapter ({_ADAPTER}), which changes the weights of another model",
            hint="merge it into that model (merge_and_unload of the package peft), and save that in another folder",
        )
    stated_config = json_object(folder / "config.json", MAX_CONFIG_BYTES)
    config = read_config(folder, stated_config)
    name = MODEL_TYPES[config.values["model_type"]]
    family = FAMILIES[name]
    tensors = _tensors(folder)
    if stated_config["model_type"] in WITH_TEXT:
        tensors = _of_text(tensors)
    weights = gguf_names(tensors, name)
    if config.truth("tie_word_embeddings", False):
        weights.pop("output.weight", None)
    architecture = architecture_of(config, name, weights)
    held = in_gguf_order(weights, config.values["model_type"], architecture)
    if family.is_gemma or name == "nemotron":
        held = {held: _one_more(weight) if held.endswith("norm.weight") else weight for held, weight in held.items()}
    held = unfused(held, architecture)
    expect_tensors(folder.name, held, architecture, family, parts_told_by(config, architecture.has_one_norm))
    return Checkpoint(
        architecture, held, folder_vocabulary(folder, config.values, architecture.vocabulary), folder.name
    )


def _tensors(folder: Path) -> dict[str, Weight]:
    """The tensors of a folder's files. Raises `BadModelFile`, also if two files have one of the same name."""
    tensors: dict[str, Weight] = {}
    for file in _files(folder):
        more = read_safetensors(file)
        if twice := sorted(tensors.keys() & more.keys()):
            raise BadModelFile(
                f"{file} has the tensor {twice[0][:80]!r}, which a file before it has, too",
                hint="keep the files of one model alone in the folder",
            )
        tensors |= more
    return tensors


def _of_text(tensors: Mapping[str, Weight]) -> dict[str, Weight]:
    """The tensors of the decoder of a model that also sees, by the names that they have without the rest."""
    found = {}
    for stated, weight in tensors.items():
        name = stated.removeprefix("model.")
        if name.startswith(_OF_PICTURES):
            continue
        if name.startswith("language_model."):
            name = name.removeprefix("language_model.").removeprefix("model.")
            found[name if name.startswith("lm_head.") else f"model.{name}"] = weight
        else:
            found[stated] = weight
    return found


def _one_more(weight: Weight) -> Weight:
    """The weight of a norm, which Gemma's and Nemotron's folders give less 1, and GGUF files do not."""
    return Weight(weight.name, "F32", weight.shape, weight.float32() + np.float32(1))


_LONGEST_NAME = 255
"""Characters of a file's name."""


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those that its index names, else the one."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if not is_there(index) and not is_there(single):
        raise UnsupportedLanguageModel(
            f"{folder.name} has neither {single.name} nor {index.name}, so no weights that can be read here",
            hint="download them too; a pytorch_model.bin is converted by save_pretrained of the package transformers",
        )
    if not is_there(index):
        return [single]
    placed = json_object(index, MAX_CONFIG_BYTES).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise BadModelFile(f"{index} does not say in which files the tensors are")
    names = sorted(set(placed.values()))
    if any(Path(name).name != name or len(name) > _LONGEST_NAME for name in names):
        raise BadModelFile(f"{index} names files outside of its folder, or by more than {_LONGEST_NAME} characters")
    return [folder / name for name in names]
