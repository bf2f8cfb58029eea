"""A checkpoint of any kind of file as a GGUF file, with the names, fields and orders that llama.cpp reads."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from opml_dispute.generation.checkpoint import Architecture, Checkpoint
from opml_dispute.generation.families import FAMILIES
from opml_dispute.model.tensor import Array
from tests.generation.models import add_sizes

_IN_ONE = frozenset({"gpt2", "starcoder", "gptneox", "bloom", "falcon", "mpt", "phi2", "chatglm"})
"""Families whose files have queries, keys and values in one tensor."""


def write_gguf_of(path: Path, checkpoint: Checkpoint) -> Path:
    """In F32, without tokenizer."""
    shape = checkpoint.architecture
    writer = gguf.GGUFWriter(path, shape.name)
    _add_fields(writer, shape)
    for name, value in _in_its_order(checkpoint).items():
        writer.add_tensor(name, np.ascontiguousarray(value, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_fields(writer: gguf.GGUFWriter, s: Architecture) -> None:
    add_sizes(writer, s)
    (writer.add_layer_norm_eps if s.norm == "layer" else writer.add_layer_norm_rms_eps)(s.epsilon)
    if FAMILIES[s.name].turns:
        writer.add_rope_freq_base(s.rope_base)
        writer.add_rope_dimension_count(s.turned_size)
    if s.name == "gptneox":
        writer.add_parallel_residual(s.is_parallel)
    if s.name == "mpt":
        writer.add_max_alibi_bias(s.alibi)
    if s.projection_cap:
        writer.add_clamp_kqv(s.projection_cap)
    if s.logit_scale != 1:
        writer.add_logit_scale(s.logit_scale)
    if s.window:
        writer.add_sliding_window(s.window)


def _in_its_order(checkpoint: Checkpoint) -> dict[str, Array]:
    s = checkpoint.architecture
    found = {name: weight.float32() for name, weight in checkpoint.weights.items()}
    family = FAMILIES[s.name]
    for name, value in found.items():
        heads = s.heads if ".attn_q." in name else s.kv_heads
        if family.rope_pairs != s.rope_pairs and (".attn_q." in name or ".attn_k." in name):
            halves = value.reshape(heads, 2, s.head_size // 2, *value.shape[1:])
            found[name] = halves.swapaxes(1, 2).reshape(value.shape)
    for layer in range(s.layers):
        at = f"blk.{layer}."
        for what in ("weight", "bias"):
            parts = [f"{at}attn_{part}.{what}" for part in "qkv"]
            if s.name in _IN_ONE and parts[0] in found:
                found[f"{at}attn_qkv.{what}"] = np.concatenate([found.pop(part) for part in parts])
            if s.name == "falcon" and f"{at}ffn_norm.{what}" in found and s.is_parallel:
                found[f"{at}attn_norm_2.{what}"] = found[f"{at}attn_norm.{what}"]
                found[f"{at}attn_norm.{what}"] = found.pop(f"{at}ffn_norm.{what}")
        if s.name == "chatglm":
            both = [found.pop(f"{at}ffn_gate.weight"), found[f"{at}ffn_up.weight"]]
            found[f"{at}ffn_up.weight"] = np.concatenate(both)
    return found
