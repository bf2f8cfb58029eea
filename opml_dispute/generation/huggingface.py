"""
Language models as Hugging Face publishes them: a folder with config.json, safetensors and tokenizer.json.

`huggingface_checkpoint` reads such a folder of one of the `MODEL_TYPES` into the same form as GGUF files: the same
names, the same sizes, views of the mapped files. A safetensors file is a length, a JSON header of that length, and the
tensors.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any, Final

from opml_dispute import plain_json
from opml_dispute.generation.checkpoint import Architecture, Checkpoint, Weight
from opml_dispute.generation.gguf_file import mapped
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.generation.vocabulary import Vocabulary
from opml_dispute.model.tensor import Array
from opml_dispute.reading import Unreadable, read_json, read_text

MODEL_TYPES: Final = ("llama", "qwen2", "qwen3")
"""What config.json may have as model_type."""

_MAX_CONFIG_BYTES: Final = 1 << 24
_MAX_TOKENIZER_BYTES: Final = 1 << 28
_MAX_HEADER_BYTES: Final = 1 << 27
_MOST: Final = 1 << 24

_TYPES: Final = {"F32": ("<f4", 4), "F16": ("<f2", 2), "BF16": ("bfloat16", 2)}

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


def huggingface_checkpoint(folder: Path) -> Checkpoint:
    """
    The decoder in a folder. Raises `BadModelFile`, `UnsupportedLanguageModel`.

    A folder without tokenizer.json has no vocabulary.
    """
    config = _Config(folder, _object(folder / "config.json", _MAX_CONFIG_BYTES))
    kind = config.values.get("model_type")
    if kind not in MODEL_TYPES:
        raise UnsupportedLanguageModel(
            f"{folder.name} holds a model of the type {str(kind)[:40]!r}; known are {', '.join(MODEL_TYPES)}"
        )
    weights = {_name(name): weight for file in _files(folder) for name, weight in read_safetensors(file).items()}
    if config.values.get("tie_word_embeddings", False):
        weights.pop("output.weight", None)
    architecture = _architecture(config, str(kind), weights)
    return Checkpoint(architecture, weights, _vocabulary(folder, config, architecture), folder.name)


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
        if encoding not in _TYPES:
            raise UnsupportedLanguageModel(
                f"tensor {name[:80]!r} has the type {str(encoding)[:20]!r}; known are {', '.join(_TYPES)}"
            )
        if not sizes_hold or not 0 <= start <= end <= body.size or end - start != prod(shape) * _TYPES[encoding][1]:
            raise damaged(f"tensor {name[:80]!r} of shape {list(shape)[:8]} does not lie in bytes {start} to {end}")
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


def _files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: those that its index names, else the one."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    placed = _object(index, _MAX_CONFIG_BYTES).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise BadModelFile(f"{index} does not say in which files the tensors are")
    names = sorted(set(placed.values()))
    if any(Path(name).name != name for name in names):
        raise BadModelFile(f"{index} names files outside of its folder")
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
        if type(value) not in (int, float) or not isfinite(value) or value <= 0:
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
    if config.values.get("use_sliding_window"):
        raise UnsupportedLanguageModel(f"{config.folder.name} has layers that see a window only")
    if config.values.get("hidden_act", "silu") != "silu":
        raise UnsupportedLanguageModel(f"{config.folder.name} has the activation {config.values['hidden_act']!r:.40}")
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


def _vocabulary(folder: Path, config: _Config, architecture: Architecture) -> Vocabulary | None:
    """The tokens of tokenizer.json, with what the other files say of them."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    content = _object(path, _MAX_TOKENIZER_BYTES)
    model, added = content.get("model"), content.get("added_tokens", [])
    known = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(known, dict) or not isinstance(added, list):
        raise BadModelFile(f"{path} has no vocabulary of the kind BPE")
    places = {i: token for token, i in known.items() if type(i) is int}
    places |= {entry["id"]: entry["content"] for entry in added if _is_token(entry)}
    if any(not 0 <= i < architecture.vocabulary for i in places):
        raise BadModelFile(f"{path} has tokens beyond the embedding's {architecture.vocabulary:,} rows")
    tokens = [places.get(i, "") for i in range(max(places, default=-1) + 1)]
    settings = {} if not (folder / "tokenizer_config.json").is_file() else _object(folder / "tokenizer_config.json")
    generation = {} if not (folder / "generation_config.json").is_file() else _object(folder / "generation_config.json")
    ends = generation.get("eos_token_id", config.values.get("eos_token_id", []))
    ends = ends if isinstance(ends, list) else [ends]
    begin = config.values.get("bos_token_id")
    template = settings.get("chat_template")
    if template is None and (folder / "chat_template.jinja").is_file():
        template = _text(folder / "chat_template.jinja", _MAX_CONFIG_BYTES)
    named = {what: settings.get(what) for what in ("bos_token", "eos_token")}
    named = {what: name.get("content") if isinstance(name, dict) else name for what, name in named.items()}
    return Vocabulary(
        tokens,
        "pieces" if "\u2581" in "".join(tokens[:4096]) else "bytes",
        special=sorted(entry["id"] for entry in added if _is_token(entry) and entry.get("special")),
        added=sorted(entry["id"] for entry in added if _is_token(entry)),
        begin=begin if settings.get("add_bos_token") is True and type(begin) is int else None,
        end_tokens=sorted(end for end in ends if type(end) is int and 0 <= end < len(tokens)),
        template=template if isinstance(template, str) else None,
        names={what: name for what, name in named.items() if isinstance(name, str)},
        tokenizer_json=json.dumps(content),
    )


def _is_token(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("id")) is int and isinstance(entry.get("content"), str)


def _object(path: Path, max_bytes: int = _MAX_CONFIG_BYTES) -> dict[str, Any]:
    """A JSON object. Raises `BadModelFile`."""
    try:
        value = read_json(path, max_bytes=max_bytes)
    except Unreadable as error:
        raise BadModelFile(str(error)) from None
    if not isinstance(value, dict):
        raise BadModelFile(f"{path} is no JSON object")
    return value


def _text(path: Path, max_bytes: int) -> str:
    try:
        return read_text(path, max_bytes=max_bytes)
    except Unreadable as error:
        raise BadModelFile(str(error)) from None
