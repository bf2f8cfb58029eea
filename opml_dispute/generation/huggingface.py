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
from opml_dispute.generation.huggingface_config import MODEL_TYPES, WITH_TEXT, architecture_of, biases_of, read_config
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.generation.safetensors_file import read_safetensors
from opml_dispute.generation.settings import MAX_CONFIG_BYTES, folder_vocabulary, json_object

_WITHOUT_EFFECT: Final = ".rotary_emb.inv_freq"
"""The end of names of tensors that old folders have, and that follow from config.json."""

_NAMES: Final[Mapping[str, str]] = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "post_self_attn_layernorm": "post_attention_norm",
    "post_mlp_layernorm": "post_ffw_norm",
}  # fmt: skip
"""GGUF's names of a layer's parts."""
_NAMES_WITH_NORMS_BEHIND: Final[Mapping[str, str]] = {
    **_NAMES, "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
"""The same in families that normalise what the parts of a layer give."""
_NORMS_BEHIND: Final = frozenset({"gemma2", "gemma3", "olmo2", "exaone4"})
_OF_PICTURES: Final = ("vision_tower.", "multi_modal_projector.")
"""What names of tensors begin with that only pictures go through."""


_ADAPTER: Final = "adapter_config.json"
"""Of LoRA and others: what a training run changed of a model that is published elsewhere."""


def is_huggingface(path: Path) -> bool:
    """Whether `path` is a folder with a config.json, or that of an adapter; False for what cannot be read."""
    try:
        return path.is_dir() and any((path / name).is_file() for name in ("config.json", _ADAPTER))
    except (OSError, ValueError):
        return False


def has_safetensors(path: Path) -> bool:
    """Whether `path` is such a folder with weights; False for what cannot be read."""
    return is_huggingface(path) and any(
        (path / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")
    )


def huggingface_checkpoint(folder: Path) -> Checkpoint:
    """
    The decoder in a folder. Raises `BadModelFile`, `UnsupportedLanguageModel`.

    A folder without tokenizer.json has no vocabulary.
    """
    if (folder / _ADAPTER).is_file():
        raise UnsupportedLanguageModel(
            f"{folder.name} holds an adapter ({_ADAPTER}), which changes the weights of another model",
            hint="merge it into that model (merge_and_unload of the package peft), and save that in another folder",
        )
    stated_config = json_object(folder / "config.json", MAX_CONFIG_BYTES)
    config = read_config(folder, stated_config)
    name = MODEL_TYPES[config.values["model_type"]]
    family = FAMILIES[name]
    names = _NAMES_WITH_NORMS_BEHIND if name in _NORMS_BEHIND else _NAMES
    tensors = {stated: weight for file in _files(folder) for stated, weight in read_safetensors(file).items()}
    if stated_config["model_type"] in WITH_TEXT:
        tensors = _of_text(tensors)
    weights = {_name(stated, names): weight for stated, weight in tensors.items()}
    if config.truth("tie_word_embeddings", False):
        weights.pop("output.weight", None)
    architecture = architecture_of(config, name, weights)
    held = {held: weight for held, weight in weights.items() if not held.endswith(_WITHOUT_EFFECT)}
    if family.is_gemma:
        held = {held: _one_more(weight) if held.endswith("norm.weight") else weight for held, weight in held.items()}
    held = unfused(held, architecture)
    expect_tensors(folder.name, held, architecture.layers, family, biases_of(config))
    return Checkpoint(
        architecture, held, folder_vocabulary(folder, config.values, architecture.vocabulary), folder.name
    )


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
    """The weight of a norm, which Gemma's folders give less 1, and GGUF files do not."""
    return Weight(weight.name, "F32", weight.shape, weight.float32() + np.float32(1))


_LONGEST_NAME = 255
"""Characters of a file's name."""


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those that its index names, else the one."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if not index.is_file() and not single.is_file():
        raise UnsupportedLanguageModel(
            f"{folder.name} has neither {single.name} nor {index.name}, so no weights that can be read here",
            hint="download them too; a pytorch_model.bin is converted by save_pretrained of the package transformers",
        )
    if not index.is_file():
        return [single]
    placed = json_object(index, MAX_CONFIG_BYTES).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise BadModelFile(f"{index} does not say in which files the tensors are")
    names = sorted(set(placed.values()))
    if any(Path(name).name != name or len(name) > _LONGEST_NAME for name in names):
        raise BadModelFile(f"{index} names files outside of its folder, or by more than {_LONGEST_NAME} characters")
    return [folder / name for name in names]


def _name(name: str, names: Mapping[str, str]) -> str:
    """GGUF's name of a tensor; its own if it has none there."""
    fixed = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in fixed:
        return fixed[name]
    start, _, rest = name.removeprefix("model.layers.").partition(".")
    part, _, what = rest.rpartition(".")
    return f"blk.{start}.{names[part]}.{what}" if start.isdecimal() and part in names else name
