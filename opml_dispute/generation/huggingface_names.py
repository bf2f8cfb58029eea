"""
The names that types of models give to the parts of a decoder in Hugging Face's folders, and how those lie.

`gguf_names` gives each tensor the name that GGUF has for it, and puts in GGUF's order what a type keeps otherwise: a
matrix as its transpose, the rows of queries, keys and values of one head side by side, positions that begin with 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from opml_dispute.generation.checkpoint import Architecture, Weight
from opml_dispute.generation.refusals import UnsupportedLanguageModel
from opml_dispute.model.tensor import Array

_PARTS: Final[Mapping[str, str]] = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "post_self_attn_layernorm": "post_attention_norm",
    "post_mlp_layernorm": "post_ffw_norm", "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
    "self_attention.query_key_value": "attn_qkv", "self_attention.dense": "attn_output", "ln_attn": "attn_norm",
    "ln_mlp": "ffn_norm", "norm_1": "attn_norm", "norm_2": "ffn_norm", "attn.Wqkv": "attn_qkv",
    "attn.out_proj": "attn_output", "ffn.up_proj": "ffn_up", "ffn.down_proj": "ffn_down", "attn.q_proj": "attn_q",
    "attn.k_proj": "attn_k", "attn.v_proj": "attn_v", "attn.qkv_proj": "attn_qkv", "mlp.fc_in": "ffn_up",
    "mlp.fc_out": "ffn_down", "attn.attention.q_proj": "attn_q", "attn.attention.k_proj": "attn_k",
    "attn.attention.v_proj": "attn_v", "attn.attention.out_proj": "attn_output", "self_attn.out_proj": "attn_output",
    "self_attn_layer_norm": "attn_norm", "final_layer_norm": "ffn_norm", "fc1": "ffn_up", "fc2": "ffn_down",
    "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
    "self_attn.query_key_value": "attn_qkv", "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm",
}  # fmt: skip
"""GGUF's names of a layer's parts."""
_WITH_NORMS_BEHIND: Final[Mapping[str, str]] = {
    **_PARTS, "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
"""The same in families that normalise what the parts of a layer give."""
_NORMS_BEHIND: Final = frozenset({"gemma2", "gemma3", "olmo2", "exaone4"})
_BESIDE: Final[Mapping[str, str]] = {
    "embed_tokens": "token_embd", "wte": "token_embd", "word_embeddings": "token_embd", "embed_in": "token_embd",
    "wpe": "position_embd", "embed_positions": "position_embd", "word_embeddings_layernorm": "token_embd_norm",
    "norm": "output_norm", "ln_f": "output_norm", "final_layernorm": "output_norm", "final_layer_norm": "output_norm",
    "norm_f": "output_norm", "lm_head": "output", "embed_out": "output",
}  # fmt: skip
"""GGUF's names of what is beside the layers."""
_PREFIX: Final = re.compile(r"(model\.decoder|decoder|model|transformer|gpt_neox)\.")
_OF_LAYER: Final = re.compile(r"(?:layers|h|blocks)\.([0-9]{1,6})\.(.+)\.(weight|bias)")
_WITHOUT_EFFECT: Final = (
    ".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias",
    ".attn.causal_mask",
)  # fmt: skip
"""The ends of names of tensors that old folders have, and that follow from config.json: frequencies and masks."""
_OF_ONE_HEAD: Final = re.compile(r"(.+_norm)\.norms\.([0-9]{1,6})\.weight")
_FIRST_POSITION: Final = 2
"""Of OPT: rows before this are no positions."""


def gguf_names(tensors: Mapping[str, Weight], family: str) -> dict[str, Weight]:
    """The tensors by GGUF's names; by their own, where GGUF has none."""
    parts = _WITH_NORMS_BEHIND if family in _NORMS_BEHIND else _PARTS
    return {_name(name, parts): weight for name, weight in tensors.items() if not name.endswith(_WITHOUT_EFFECT)}


def _name(stated: str, parts: Mapping[str, str]) -> str:
    prefix = _PREFIX.match(stated)
    name = stated if prefix is None else stated[prefix.end() :]
    beside, _, what = name.rpartition(".")
    if beside in _BESIDE and what in ("weight", "bias"):
        return f"{_BESIDE[beside]}.{what}"
    of_layer = _OF_LAYER.fullmatch(name)
    if of_layer is None:
        return stated
    layer, part, what = of_layer.groups()
    stem, dot, head = part.partition(".norms.")
    return f"blk.{int(layer)}.{parts[stem]}{dot}{head}.{what}" if stem in parts else stated


def in_gguf_order(weights: Mapping[str, Weight], kind: str, shape: Architecture) -> dict[str, Weight]:
    """What a type of models keeps otherwise than GGUF, as GGUF has it. Raises `UnsupportedLanguageModel`."""
    found = dict(weights)
    if kind == "gpt2":
        for name, weight in weights.items():
            if name.startswith("blk.") and len(weight.shape) == 2:
                found[name] = Weight(name, weight.encoding, weight.shape[::-1], weight.data.T)
    if kind == "opt" and "position_embd.weight" in found:
        rows = found["position_embd.weight"]
        found["position_embd.weight"] = rows.rows(rows.name, _FIRST_POSITION, max(rows.shape[0] - _FIRST_POSITION, 0))
    order = _order(kind, shape)
    if order is not None:
        for name, weight in weights.items():
            if ".attn_qkv." in name:
                found[name] = _ordered(weight, order)
    return _heads_together(found, shape)


def _order(kind: str, shape: Architecture) -> Array | None:
    """i64[rows]: which of its rows a type's matrix of queries, keys and values has where GGUF has them."""
    heads, groups, size = shape.heads, shape.kv_heads, shape.head_size
    rows = np.arange((heads + 2 * groups) * size)
    if kind in (
        "gpt_neox",
        "bloom",
        "persimmon",
        "falcon",
        "gpt_bigcode",
    ):  # the query heads of each key head, that, and its values
        of_groups = rows.reshape(groups, heads // groups + 2, size)
        return np.concatenate([part.ravel() for part in (of_groups[:, :-2], of_groups[:, -2], of_groups[:, -1])])
    if kind == "codegen":  # in four parts: queries, values, keys
        parts = rows.reshape(4, 3, -1)
        return np.concatenate([parts[:, which].ravel() for which in (0, 2, 1)])
    return None


def _ordered(weight: Weight, order: Array) -> Weight:
    if weight.shape[:1] != (len(order),):
        raise UnsupportedLanguageModel(
            f"tensor {weight.name!r} has the shape {list(weight.shape)}; expected {len(order)} rows for the heads"
        )
    return Weight(weight.name, weight.encoding, weight.shape, weight.data[order])


def _heads_together(weights: Mapping[str, Weight], shape: Architecture) -> dict[str, Weight]:
    """Norms that are there once a head, as one tensor of all heads."""
    found: dict[str, Weight] = {}
    parts: dict[str, dict[int, Weight]] = {}
    for name, weight in weights.items():
        one = _OF_ONE_HEAD.fullmatch(name)
        if one is None:
            found[name] = weight
        else:
            parts.setdefault(one[1], {})[int(one[2])] = weight
    for name, of_heads in parts.items():
        heads = shape.heads if name.endswith("attn_q_norm") else shape.kv_heads
        if sorted(of_heads) != list(range(heads)) or any(one.shape != (shape.head_size,) for one in of_heads.values()):
            raise UnsupportedLanguageModel(f"{name} is not there once for each of {heads} heads of {shape.head_size}")
        rows = np.stack([of_heads[head].float32() for head in range(heads)])
        found[f"{name}.weight"] = Weight(f"{name}.weight", "F32", rows.shape, rows)
    return found
