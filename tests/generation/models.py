"""Small random decoders of every family, as GGUF files: written by the package `gguf`, which ours reads without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from opml_dispute.generation.checkpoint import Architecture
from opml_dispute.model.tensor import Array


@dataclass(frozen=True)
class Sizes:
    """A decoder's sizes; the usual ones are small, and all different."""

    layers: int = 2
    width: int = 32
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 8
    hidden: int = 64
    vocabulary: int = 40
    context: int = 64
    turned: int = 0
    """Elements of a head that are turned; 0: all."""


@dataclass(frozen=True)
class Made:
    """What a test may change of a file."""

    family: str = "llama"
    sizes: Sizes = Sizes()
    encoding: str = "F32"
    seed: int = 0
    tied: bool = True
    biases: tuple[str, ...] = ()
    """Parts of layers that have one, beside those that all models of the family have: attn_q."""
    tokenizer: str | None = "gpt2"
    extra: Mapping[str, float | str] = field(default_factory=dict)
    """More fields, without the family's name before them."""
    vectors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """More tensors of one dimension."""
    scale: float = 1.0
    """Of the matrices: larger ones make choices clearer."""


_NORMS_BEHIND_ONLY = ("olmo2", "exaone4")
LETTERS = ["<end>", *"abcdefghijklmnopqrstuvwxyz", "\u0120", ".", ",", "?", "!", *"0123456789"]


def weights_of(made: Made) -> dict[str, Array]:
    """Random weights by name."""
    s, rng = made.sizes, np.random.default_rng(made.seed)

    def matrix(rows: int, columns: int) -> Array:
        values: Array = (made.scale * rng.normal(size=(rows, columns)) / np.sqrt(columns)).astype(np.float32)
        return values

    def vector(size: int) -> Array:
        values: Array = (1 + 0.2 * rng.normal(size=size)).astype(np.float32)
        return values

    w = {"token_embd.weight": matrix(s.vocabulary, s.width), "output_norm.weight": vector(s.width)}
    if not made.tied:
        w["output.weight"] = matrix(s.vocabulary, s.width)
    wide, narrow = s.heads * s.head_size, s.kv_heads * s.head_size
    for layer in range(s.layers):
        at = f"blk.{layer}."
        if made.family not in _NORMS_BEHIND_ONLY:
            w[f"{at}attn_norm.weight"], w[f"{at}ffn_norm.weight"] = vector(s.width), vector(s.width)
        for name, rows in (("attn_q", wide), ("attn_k", narrow), ("attn_v", narrow)):
            w[f"{at}{name}.weight"] = matrix(rows, s.width)
            if made.family == "qwen2":
                w[f"{at}{name}.bias"] = rng.normal(size=rows).astype(np.float32)
        if made.family == "phi3":
            w[f"{at}attn_qkv.weight"] = np.concatenate([w.pop(f"{at}attn_{part}.weight") for part in "qkv"])
        w[f"{at}attn_output.weight"] = matrix(s.width, wide)
        w[f"{at}ffn_gate.weight"], w[f"{at}ffn_up.weight"] = matrix(s.hidden, s.width), matrix(s.hidden, s.width)
        w[f"{at}ffn_down.weight"] = matrix(s.width, s.hidden)
        if made.family in ("phi3", "glm4"):
            w[f"{at}ffn_up.weight"] = np.concatenate([w.pop(f"{at}ffn_gate.weight"), w[f"{at}ffn_up.weight"]])
        if made.family == "olmo2":
            w[f"{at}attn_q_norm.weight"], w[f"{at}attn_k_norm.weight"] = vector(wide), vector(narrow)
        if made.family in ("qwen3", "gemma3", "exaone4"):
            w[f"{at}attn_q_norm.weight"], w[f"{at}attn_k_norm.weight"] = vector(s.head_size), vector(s.head_size)
        if made.family in ("gemma2", "gemma3", "glm4", *_NORMS_BEHIND_ONLY):
            w[f"{at}post_attention_norm.weight"], w[f"{at}post_ffw_norm.weight"] = vector(s.width), vector(s.width)
        for part in made.biases:
            w[f"{at}{part}.bias"] = rng.normal(size=w[f"{at}{part}.weight"].shape[:1]).astype(np.float32)
        if made.family == "seed_oss":  # its files call the norm by what is before it
            w[f"{at}post_attention_norm.weight"] = w.pop(f"{at}ffn_norm.weight")
    return w


def add_sizes(writer: gguf.GGUFWriter, s: Sizes | Architecture) -> None:
    """The sizes of a decoder, by the names that every family has for them."""
    writer.add_block_count(s.layers)
    writer.add_context_length(s.context)
    writer.add_embedding_length(s.width)
    writer.add_feed_forward_length(s.hidden)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.kv_heads)
    writer.add_key_length(s.head_size)
    writer.add_value_length(s.head_size)


def write_model(path: Path, made: Made = Made()) -> Path:
    """A GGUF file."""
    s = made.sizes
    writer = gguf.GGUFWriter(path, made.family)
    add_sizes(writer, s)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(s.turned or s.head_size)
    writer.add_layer_norm_rms_eps(1e-5)
    for name, number in made.extra.items():
        key = f"{made.family}.{name}"
        if isinstance(number, str):
            writer.add_string(key, number)
        elif isinstance(number, int):
            writer.add_uint32(key, number)
        else:
            writer.add_float32(key, number)
    if made.tokenizer is not None:
        writer.add_tokenizer_model(made.tokenizer)
        writer.add_tokenizer_pre("gpt-2")
        names = [*LETTERS, *(f"<{i}>" for i in range(1000))][: s.vocabulary]
        writer.add_token_list(names)
        writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(names) - 1))
        writer.add_eos_token_id(0)
        writer.add_add_bos_token(False)
    kind = gguf.GGMLQuantizationType[made.encoding]
    vectors = {name: np.array(values, np.float32) for name, values in made.vectors.items()}
    for name, value in (weights_of(made) | vectors).items():
        if value.ndim == 1 or made.encoding == "F32":
            writer.add_tensor(name, value)
        else:
            data: Any = gguf.quants.quantize(value, kind)
            writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
