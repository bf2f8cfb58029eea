"""
Small random decoders as the package transformers publishes them, and the scores that it gives.

`SCORES_FILE` holds for each case the configuration, the shapes of the tensors, a prompt, and the scores behind each of
its tokens, all made by that package. Its tests need neither the package nor torch. To make what the file has not, with
both (5.24 of the package made what it has):

    python -m tests.generation.published_models
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opml_dispute.model.tensor import Array

SCORES_FILE = Path(__file__).with_suffix(".json")

_SIZES = {
    "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3,
    "intermediate_size": 64, "vocab_size": 40, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 0,
}  # fmt: skip
_LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16, "rope_theta": 100.0,
}  # fmt: skip
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1000.0}
_LONGROPE = {
    "rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.5, 2.1, 3.3, 4.7],
    "original_max_position_embeddings": 16, "rope_theta": 1000.0,
}  # fmt: skip
_TWO_ROPES = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
}
_GEMMA = {"head_dim": 16, "sliding_window": 4, "query_pre_attn_scalar": 20}
_YARN_BESIDE = {"full_attention": _YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 1e3}}
_EYES = {
    "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 32,
    "patch_size": 16, "head_dim": 8,
}  # fmt: skip
CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, scaled as Llama 3.1": ("llama", {"rope_parameters": _LLAMA3}),
    "llama, scaled by a factor": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 3.0}}),
    "llama, scaled by YaRN": ("llama", {"rope_parameters": _YARN}),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 16}),
    "mistral, a window": ("mistral", {"sliding_window": 4}),
    "qwen2": ("qwen2", {}),
    "qwen2, a window in later layers": (
        "qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    ),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gemma": ("gemma", {"head_dim": 16}),
    "gemma2": ("gemma2", _GEMMA),
    "gemma3": ("gemma3_text", {**_GEMMA, "num_hidden_layers": 7}),
    "gemma3, rotations by kind of layer": (
        "gemma3_text", {**_GEMMA, "num_hidden_layers": 7, "rope_parameters": _TWO_ROPES}
    ),
    "phi3, a window": ("phi3", {"sliding_window": 5}),
    "phi3, turned in part": ("phi3", {"partial_rotary_factor": 0.5, "tie_word_embeddings": True}),
    "phi3, LongRoPE": ("phi3", {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 16}),
    "smollm3": ("smollm3", {"num_hidden_layers": 5}),
    "granite": (
        "granite",
        {
            "embedding_multiplier": 3.0, "residual_multiplier": 0.3, "attention_multiplier": 0.2, "logits_scaling": 5.0,
        },
    ),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "granite, biases": ("granite", {"attention_bias": True, "mlp_bias": True, "residual_multiplier": 0.3}),
    "smollm3, biases": ("smollm3", {"num_hidden_layers": 4, "attention_bias": True, "mlp_bias": True}),
    "qwen3, biases": ("qwen3", {"head_dim": 16, "attention_bias": True}),
    "gemma2, biases": ("gemma2", {**_GEMMA, "attention_bias": True}),
    "ministral, a window in some layers": (
        "ministral",
        {
            "head_dim": 16, "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "olmo2": ("olmo2", {}),
    "olmo2, biases": ("olmo2", {"attention_bias": True, "num_key_value_heads": 4}),
    "olmo3": ("olmo3", {"num_hidden_layers": 5, "sliding_window": 4}),
    "olmo3, rotations by kind of layer": (
        "olmo3", {"num_hidden_layers": 4, "sliding_window": 4, "rope_parameters": _YARN_BESIDE}
    ),
    "exaone4": ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 3}),
    "exaone4, windows": ("exaone4", {"num_hidden_layers": 5, "sliding_window": 4}),
    "glm4": ("glm4", {"head_dim": 16}),
    "glm4, no biases": ("glm4", {"head_dim": 16, "attention_bias": False, "partial_rotary_factor": 1.0}),
    "ernie4_5": ("ernie4_5", {"head_dim": 16}),
    "ernie4_5, biases": ("ernie4_5", {"head_dim": 16, "use_bias": True, "tie_word_embeddings": False}),
    "seed_oss": ("seed_oss", {"head_dim": 16}),
    "seed_oss, biases": ("seed_oss", {"head_dim": 16, "attention_out_bias": True, "mlp_bias": True}),
    "llama, another activation": ("llama", {"hidden_act": "gelu"}),
    "gemma3, a cap that the package does not use": (
        "gemma3_text",
        {**_GEMMA, "num_hidden_layers": 6, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    ),
    "gpt2": ("gpt2", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 24, "n_inner": 48}),
    "gpt_bigcode": ("gpt_bigcode", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 24}),
    "gpt_bigcode, keys of each head": (
        "gpt_bigcode", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 24, "multi_query": False}
    ),
    "starcoder2, a window": ("starcoder2", {"sliding_window": 4, "num_hidden_layers": 2}),
    "gpt_neox": ("gpt_neox", {"hidden_size": 64, "num_hidden_layers": 2}),
    "gpt_neox, one part behind the other": (
        "gpt_neox",
        {
            "num_hidden_layers": 2, "use_parallel_residual": False,
            "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 1e4},
        },
    ),
    "bloom, six heads": ("bloom", {"hidden_size": 48, "n_head": 6, "n_layer": 2}),
    "falcon": ("falcon", {"num_hidden_layers": 2}),
    "falcon, two norms and groups": (
        "falcon", {"num_hidden_layers": 2, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": True}
    ),
    "falcon, one part behind the other": (
        "falcon", {"num_hidden_layers": 2, "parallel_attn": False, "multi_query": False}
    ),
    "mpt": (
        "mpt",
        {
            "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64,
            "attn_config": {"clip_qkv": 0.7, "softmax_scale": 0.3},
        },
    ),
    "mpt, the usual scale": (
        "mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "attn_config": {"clip_qkv": 0.7}}
    ),
    "phi, norms of heads": ("phi", {"num_hidden_layers": 2, "qk_layernorm": True}),
    "stablelm": ("stablelm", {"num_hidden_layers": 2, "hidden_size": 64}),
    "stablelm, parallel": (
        "stablelm",
        {
            "num_hidden_layers": 2, "use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True,
            "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 1e4},
        },
    ),
    "olmo": ("olmo", {"num_hidden_layers": 2, "clip_qkv": 0.5}),
    "cohere, norms of heads": ("cohere", {"num_hidden_layers": 2, "use_qk_norm": True}),
    "cohere2": ("cohere2", {"num_hidden_layers": 5, "sliding_window": 4}),
    "nemotron": ("nemotron", {"num_hidden_layers": 2}),
    "arcee": ("arcee", {"num_hidden_layers": 2}),
    "glm": ("glm", {"num_hidden_layers": 2, "head_dim": 16}),
    "helium": ("helium", {"num_hidden_layers": 2, "head_dim": 8}),
    "gptj": ("gptj", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, "rotary_dim": 4}),
    "codegen": ("codegen", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64, "rotary_dim": 4}),
    "gpt_neo": (
        "gpt_neo",
        {"num_layers": 3, "num_heads": 4, "attention_types": [[["global", "local", "global"], 1]], "window_size": 4},
    ),
    "opt": ("opt", {"num_hidden_layers": 2, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "persimmon": ("persimmon", {"num_hidden_layers": 2}),
    "gemma3 with eyes": ("gemma3", {**_GEMMA, "num_hidden_layers": 7, "vision_config": _EYES}),
    "mistral3 with eyes": ("mistral3", {"sliding_window": None, "head_dim": 16, "vision_config": _EYES}),
}  # fmt: skip


def tensor_of(name: str, shape: Sequence[int]) -> Array:
    """The weight of a name: the same numbers wherever it is made."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.normal(size=tuple(shape))
    if "norm" in name:
        values = 0.3 * values + 1
    elif len(shape) == 2:
        values = 1.2 * values / np.sqrt(shape[-1])
    return np.asarray(values, np.float32)


def prompt_of(length: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(length).integers(1, _SIZES["vocab_size"], size=length)]


def write_safetensors(path: Path, tensors: Mapping[str, Array]) -> None:
    header, at = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(value.tobytes() for value in tensors.values()))


def write_case(folder: Path, case: Mapping[str, Any]) -> Path:
    """A folder with the model of one case of `SCORES_FILE`."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(case["config"]))
    write_safetensors(
        folder / "model.safetensors", {name: tensor_of(name, shape) for name, shape in case["shapes"].items()}
    )
    return folder


def _made(kind: str, changes: Mapping[str, Any], lengths: Sequence[int]) -> dict[str, Any]:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText

    of_gpt = {"n_embd", "d_model"} & changes.keys()
    settings = {
        **({key: _SIZES[key] for key in _SIZES if key.endswith(("_id", "vocab_size"))} if of_gpt else _SIZES),
        **changes,
    }
    sees = "vision_config" in settings
    if sees:
        eyes = settings.pop("vision_config")
        text = {"gemma3": "gemma3_text", "mistral3": "mistral"}[kind]
        settings = {"text_config": {**settings, "model_type": text}, "vision_config": eyes, "mm_tokens_per_image": 4}
    config = CONFIG_MAPPING[kind](**settings)
    made_by = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model = made_by.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    shared = {"lm_head.weight"} if config.tie_word_embeddings else set()
    shapes = {name: list(value.shape) for name, value in model.named_parameters() if name not in shared}
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.tensor(tensor_of(name, value.shape)))
        scores = {}
        for length in lengths:
            said = model(torch.tensor([prompt_of(length)])).logits[0].double().numpy()
            scores[str(length)] = [[round(float(score), 5) for score in row] for row in said[-3:]]
    kept = {key: value for key, value in config.to_dict().items() if value is not None or key in changes}
    return {"config": kept, "shapes": shapes, "scores": scores}


def main() -> None:
    made = json.loads(SCORES_FILE.read_text()) if SCORES_FILE.is_file() else {}
    for name, (kind, changes) in CASES.items():
        if name not in made:
            made[name] = _made(kind, changes, (10, 24) if "LongRoPE" in name else (10,))
    SCORES_FILE.write_text(json.dumps(made, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
