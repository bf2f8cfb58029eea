"""
Language models as Hugging Face publishes them: a folder with config.json, safetensors and tokenizer.json.

`huggingface_checkpoint` reads such a folder of one of the `MODEL_TYPES` into the same form as GGUF files: the same
names, the same sizes, views of the mapped files. A safetensors file is a length, a JSON header of that length, and the
tensors.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from opml_dispute import plain_json
from opml_dispute.generation.checkpoint import Architecture, Checkpoint, Weight
from opml_dispute.generation.families import FAMILIES, expect_tensors
from opml_dispute.generation.gguf_file import mapped
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.generation.settings import MAX_CONFIG_BYTES, folder_vocabulary, json_object
from opml_dispute.model.tensor import Array

MODEL_TYPES: Final = ("llama", "qwen2", "qwen3")
"""What config.json may have as model_type."""

_MAX_HEADER_BYTES: Final = 1 << 27
_MOST: Final = 1 << 24
_GREATEST: Final = 1e300
"""Of a number that is no count; a larger one of JSON may be no float at all."""

_TYPES: Final = {"F32": ("<f4", 4), "F16": ("<f2", 2), "BF16": ("bfloat16", 2)}

_WITHOUT_EFFECT: Final = ".rotary_emb.inv_freq"
"""The end of names of tensors that old folders have, and that follow from config.json."""

_NAMES: Final[Mapping[str, str]] = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
"""GGUF's names of a layer's parts."""


def is_huggingface(path: Path) -> bool:
    """Whether `path` is a folder with a config.json; False for what cannot be read."""
    try:
        return path.is_dir() and (path / "config.json").is_file()
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
    config = _Config(folder, json_object(folder / "config.json", MAX_CONFIG_BYTES))
    kind = config.values.get("model_type")
    if kind not in MODEL_TYPES:
        raise UnsupportedLanguageModel(
            f"{folder.name} holds a model of the type {str(kind)[:40]!r}; known are {', '.join(MODEL_TYPES)}"
        )
    weights = {_name(name): weight for file in _files(folder) for name, weight in read_safetensors(file).items()}
    if config.values.get("tie_word_embeddings", False):
        weights.pop("output.weight", None)
    architecture = _architecture(config, str(kind), weights)
    held = [name for name in weights if not name.endswith(_WITHOUT_EFFECT)]
    expect_tensors(folder.name, held, architecture.layers, FAMILIES[str(kind)])
    return Checkpoint(
        architecture, weights, folder_vocabulary(folder, config.values, architecture.vocabulary), folder.name
    )


def read_safetensors(path: Path) -> dict[str, Weight]:
    """A safetensors file's tensors, mapped. Raises `BadModelFile`, `UnsupportedLanguageModel`."""
    data = mapped(path)

    def damaged(reason: str) -> BadModelFile:
        return BadModelFile(f"{path} ({data.size:,} bytes) is cut short or damaged: {reason}")

    if data.size < 8:
        raise damaged("it has no header")
    (size,) = struct.unpack("<Q", data[:8].tobytes())
    if size > min(data.size - 8, _MAX_HEADER_BYTES):
        raise damaged(f"it ends within its header of {size:,} bytes")
    try:
        header = plain_json.loads(data[8 : 8 + size].tobytes().decode())
    except (ValueError, UnicodeDecodeError):
        raise damaged("its header is not JSON") from None
    if not isinstance(header, dict):
        raise damaged("its header is no object")
    header.pop("__metadata__", None)
    body = data[8 + size :]
    tensors: dict[str, Weight] = {}
    for name, facts in header.items():
        try:
            encoding, shape, (start, end) = facts["dtype"], tuple(facts["shape"]), facts["data_offsets"]
            sizes_hold = all(type(n) is int and 0 < n < 1 << 40 for n in shape) and type(start) is type(end) is int
        except (TypeError, KeyError, ValueError):
            raise damaged(f"tensor {name[:80]!r} is not described by type, shape and place") from None
        if not isinstance(encoding, str) or encoding not in _TYPES:
            raise UnsupportedLanguageModel(
                f"tensor {name[:80]!r} has the type {str(encoding)[:20]!r}; known are {', '.join(_TYPES)}"
            )
        if not sizes_hold or not 0 <= start <= end <= body.size or end - start != prod(shape) * _TYPES[encoding][1]:
            place = f"{str(start)[:20]} to {str(end)[:20]}"
            raise damaged(f"tensor {name[:80]!r} of shape {str(list(shape)[:8])[:80]} does not lie in bytes {place}")
        tensors[name] = Weight(name, encoding, shape, _elements(body[start:end], encoding, shape))
    return tensors


def _elements(raw: Array, encoding: str, shape: tuple[int, ...]) -> Array:
    kind = _TYPES[encoding][0]
    if kind == "bfloat16":
        import ml_dtypes

        narrow: Array = raw.view("<u2").view(ml_dtypes.bfloat16).reshape(shape)
        return narrow
    elements: Array = raw.view(kind).reshape(shape)
    return elements


_LONGEST_NAME = 255
"""Characters of a file's name."""


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those that its index names, else the one."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    placed = json_object(index, MAX_CONFIG_BYTES).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise BadModelFile(f"{index} does not say in which files the tensors are")
    names = sorted(set(placed.values()))
    if any(Path(name).name != name or len(name) > _LONGEST_NAME for name in names):
        raise BadModelFile(f"{index} names files outside of its folder, or by more than {_LONGEST_NAME} characters")
    return [folder / name for name in names]


def _name(name: str) -> str:
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
    return f"blk.{start}.{_NAMES[part]}.{what}" if start.isdecimal() and part in _NAMES else name


@dataclass(frozen=True)
class _Config:
    """config.json, by type and range."""

    folder: Path
    values: Mapping[str, Any]

    def count(self, key: str, default: int | None = None, most: int = _MOST) -> int:
        value = self.values.get(key)
        value = default if value is None else value
        if type(value) is not int or not 1 <= value <= most:
            raise self._wrong(key, f"a whole number from 1 to {most:,}")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.values.get(key, default)
        if type(value) not in (int, float) or not 0 < value <= _GREATEST:
            raise self._wrong(key, "a number above 0")
        return float(value)

    def _wrong(self, key: str, expected: str) -> BadModelFile:
        found = repr(self.values.get(key, "nothing"))[:60]
        return BadModelFile(f"{self.folder / 'config.json'} has {found} as {key}; expected {expected}")


def _architecture(config: _Config, kind: str, weights: Mapping[str, Weight]) -> Architecture:
    width, heads = config.count("hidden_size"), config.count("num_attention_heads", most=1 << 16)
    kv_heads = config.count("num_key_value_heads", heads, most=heads)
    head_size = config.count("head_dim", max(width // heads, 1), most=1 << 16)
    if heads % kv_heads or head_size % 2:
        raise BadModelFile(
            f"{config.folder} has {heads} heads of {head_size} elements over {kv_heads} key heads; expected a multiple "
            "of the latter, and an even size"
        )
    rope = config.values.get("rope_parameters") or {}
    scaling = config.values.get("rope_scaling") or rope
    scaled_by = scaling.get("rope_type", scaling.get("type", "default")) if isinstance(scaling, dict) else scaling
    if scaled_by != "default":
        raise UnsupportedLanguageModel(f"{config.folder.name} scales positions by {str(scaled_by)[:40]!r}")
    kinds = config.values.get("layer_types") or []
    if (
        config.values.get("use_sliding_window")
        or not isinstance(kinds, list)
        or any(k != "full_attention" for k in kinds)
    ):
        raise UnsupportedLanguageModel(f"{config.folder.name} has layers that see a window only")
    if config.values.get("hidden_act", "silu") != "silu":
        raise UnsupportedLanguageModel(f"{config.folder.name} has the activation {config.values['hidden_act']!r:.40}")
    if config.values.get("partial_rotary_factor", 1) != 1:
        raise UnsupportedLanguageModel(f"{config.folder.name} turns a part of each head only")
    embedding = weights.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise UnsupportedLanguageModel(f"{config.folder.name} has no tensor 'model.embed_tokens.weight'")
    base = config.real("rope_theta", rope.get("rope_theta", 10_000.0) if isinstance(rope, dict) else 10_000.0)
    return Architecture(
        name=kind,
        layers=config.count("num_hidden_layers", most=1_000),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        hidden=config.count("intermediate_size"),
        vocabulary=embedding.shape[0],
        context=config.count("max_position_embeddings"),
        epsilon=config.real("rms_norm_eps", 1e-6),
        rope_base=base,
        rope_pairs="halves",
    )
