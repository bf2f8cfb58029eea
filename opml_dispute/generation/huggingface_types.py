"""
The types of models that a folder's config.json may name: their keys, defaults, biases, and what cannot be expressed.

`read_config` gives a configuration with the keys and defaults that all types share. Configurations name the same things
in several ways, as versions of the package transformers have written them; a missing key's default is that package's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opml_dispute.generation.families import quoted
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel

_MOST: Final = 1 << 24
GREATEST: Final = 1e300
"""Of a number that is no count; a larger one of JSON may be no float at all."""
MODEL_TYPES: Final[Mapping[str, str]] = {
    "llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2",
    "gemma3_text": "gemma3", "phi3": "phi3", "smollm3": "smollm3", "granite": "granite", "ministral": "llama",
    "olmo2": "olmo2", "olmo3": "olmo2", "exaone4": "exaone4", "glm4": "glm4", "ernie4_5": "ernie4_5",
    "seed_oss": "seed_oss", "gpt2": "gpt2", "gpt_bigcode": "starcoder", "starcoder2": "starcoder2",
    "gpt_neox": "gptneox", "bloom": "bloom", "falcon": "falcon", "mpt": "mpt", "phi": "phi2", "stablelm": "stablelm",
    "olmo": "olmo", "cohere": "command-r", "cohere2": "cohere2", "nemotron": "nemotron", "arcee": "arcee",
    "glm": "chatglm", "helium": "helium", "gptj": "gptj", "codegen": "gptj", "gpt_neo": "gpt_neo", "opt": "opt",
    "persimmon": "persimmon",
}  # fmt: skip
"""What config.json may have as model_type, and the family's name in GGUF."""

WITH_TEXT: Final[Mapping[str, str]] = {"gemma3": "gemma3_text", "mistral3": "mistral"}
"""Models that also see, whose config.json has that of their decoder in it: what its model_type is where it has none."""
_OF_ALL: Final = ("bos_token_id", "eos_token_id", "tie_word_embeddings")
"""What those say beside their decoder."""

_TIED: Final = {"tie_word_embeddings": True}
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
    "gemma": {"num_key_value_heads": 16, "tie_word_embeddings": True},
    "gemma2": {
        "num_key_value_heads": 4, "tie_word_embeddings": True, "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3_text": {
        "num_attention_heads": 8, "num_key_value_heads": 4, "tie_word_embeddings": True, "rope_theta": 1e6,
        "max_position_embeddings": 1 << 17,
    },
    "phi3": {"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096},
    "smollm3": {"num_key_value_heads": 4, "tie_word_embeddings": True, "rope_theta": 2e6},
    "ministral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "olmo2": {"rms_norm_eps": 1e-5},
    "olmo3": {"rms_norm_eps": 1e-5, "sliding_window": 4096, "rope_theta": 5e5},
    "exaone4": {"num_key_value_heads": 32, "rms_norm_eps": 1e-5, "sliding_window": 4096},
    "glm4": {
        "num_key_value_heads": 2, "head_dim": 128, "rms_norm_eps": 1.5625e-7, "attention_bias": True,
        "partial_rotary_factor": 0.5,
    },
    "ernie4_5": {
        "num_key_value_heads": 2, "head_dim": 128, "rms_norm_eps": 1e-5, "rope_theta": 5e5, "tie_word_embeddings": True,
    },
    "seed_oss": {"num_key_value_heads": 8, "head_dim": 128, "attention_bias": True},
    "gpt2": _TIED, "gpt_bigcode": _TIED, "opt": _TIED, "gpt_neo": {**_TIED, "window_size": 256},
    "gpt_neox": {"attention_bias": True, "partial_rotary_factor": 0.25},
    "bloom": {**_TIED, "max_position_embeddings": 2048},
    "falcon": {**_TIED, "max_position_embeddings": 2048},
    "mpt": {**_TIED, "max_position_embeddings": 2048},
    "starcoder2": {**_TIED, "num_key_value_heads": 2, "use_bias": True},
    "phi": {"partial_rotary_factor": 0.5},
    "stablelm": {"num_key_value_heads": 32, "partial_rotary_factor": 0.25},
    "cohere": {**_TIED, "logit_scale": 0.0625},
    "cohere2": {**_TIED, "logit_scale": 0.0625, "sliding_window": 4096},
    "nemotron": {"partial_rotary_factor": 0.5},
    "arcee": {"rms_norm_eps": 1e-5},
    "glm": {
        "num_key_value_heads": 2, "head_dim": 128, "rms_norm_eps": 1.5625e-7, "attention_bias": True,
        "partial_rotary_factor": 0.5,
    },
    "helium": {"head_dim": 128, "rms_norm_eps": 1e-8},
    "gptj": {"rotary_dim": 64}, "codegen": {"rotary_dim": 64},
    "persimmon": {"partial_rotary_factor": 0.5, "qk_layernorm": True},
}  # fmt: skip
"""What the package transformers takes for keys that a type's config.json does not have, where types differ."""

_QUANTISED: Final = ("quantization_config", "compression_config")
_QKV: Final = ("attn_q.bias", "attn_k.bias", "attn_v.bias")
_OUTPUT: Final = ("attn_output.bias",)
_ATTENTION: Final = (*_QKV, *_OUTPUT)
_FFN: Final = ("ffn_gate.bias", "ffn_up.bias", "ffn_down.bias")
_UNGATED: Final = ("ffn_up.bias", "ffn_down.bias")
_HEAD_NORMS: Final = ("attn_q_norm.weight", "attn_k_norm.weight")
_HEAD_NORM_BIASES: Final = ("attn_q_norm.bias", "attn_k_norm.bias")
_BIASES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    **{kind: {"attention_bias": _ATTENTION, "mlp_bias": _FFN} for kind in ("llama", "granite", "smollm3")},
    **{kind: {"attention_bias": _ATTENTION} for kind in ("qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "olmo3")},
    "glm4": {"attention_bias": _QKV},
    "ernie4_5": {"use_bias": (*_ATTENTION, *_FFN)},
    "gpt_neox": {"attention_bias": _ATTENTION},
    "falcon": {"bias": (*_ATTENTION, *_UNGATED)},
    "starcoder2": {"use_bias": (*_ATTENTION, *_UNGATED)},
    "stablelm": {"use_qkv_bias": _QKV, "qk_layernorm": _HEAD_NORMS},
    "phi": {"qk_layernorm": (*_HEAD_NORMS, *_HEAD_NORM_BIASES)},
    "persimmon": {"qk_layernorm": (*_HEAD_NORMS, *_HEAD_NORM_BIASES)},
    "olmo": {"attention_bias": _ATTENTION},
    "cohere": {"attention_bias": _ATTENTION, "use_qk_norm": _HEAD_NORMS},
    "cohere2": {"attention_bias": _ATTENTION},
    "nemotron": {"attention_bias": _ATTENTION, "mlp_bias": _UNGATED},
    "arcee": {"attention_bias": _ATTENTION, "mlp_bias": _UNGATED},
    "glm": {"attention_bias": _QKV},
    "helium": {"attention_bias": _QKV, "mlp_bias": _FFN},
    "seed_oss": {"attention_bias": _QKV, "attention_out_bias": _OUTPUT, "mlp_bias": _FFN},
}
"""The biases, and norms of heads, that a key of a type's config.json says there are."""
_OF_GPT2: Final = {
    "hidden_size": "n_embd", "max_position_embeddings": "n_positions", "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer", "intermediate_size": "n_inner", "hidden_act": "activation_function",
    "layer_norm_eps": "layer_norm_epsilon",
}  # fmt: skip
_KEYS: Final[Mapping[str, Mapping[str, str]]] = {
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gptj", "codegen"), _OF_GPT2),
    "gpt_neo": {
        "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers", "hidden_act": "activation_function",
        "layer_norm_eps": "layer_norm_epsilon", "sliding_window": "window_size",
    },
    "gpt_neox": {"partial_rotary_factor": "rotary_pct", "rope_theta": "rotary_emb_base"},
    "bloom": {
        "num_attention_heads": "n_head", "num_hidden_layers": "n_layer", "layer_norm_eps": "layer_norm_epsilon",
        "max_position_embeddings": "seq_length",
    },
    "falcon": {
        "layer_norm_eps": "layer_norm_epsilon", "hidden_act": "activation", "intermediate_size": "ffn_hidden_size",
        "num_key_value_heads": "num_kv_heads",
    },
    "mpt": {
        "hidden_size": "d_model", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers",
        "max_position_embeddings": "max_seq_len", "layer_norm_eps": "layer_norm_epsilon",
    },
    "starcoder2": {"layer_norm_eps": "norm_epsilon"},
    "nemotron": {"layer_norm_eps": "norm_eps"},
    "opt": {"intermediate_size": "ffn_dim", "hidden_act": "activation_function"},
}  # fmt: skip
"""What types of models call the keys that others call by one name."""
_EXPECTED: Final[Mapping[str, Mapping[str, bool]]] = {
    "gpt2": {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    "gpt_bigcode": {"scale_attn_weights": True, "add_cross_attention": False},
    "opt": {
        "do_layer_norm_before": True, "_remove_final_layer_norm": False, "layer_norm_elementwise_affine": True,
        "enable_bias": True,
    },
    "bloom": {"apply_residual_connection_post_layernorm": False},
    "falcon": {"alibi": False},
    "mpt": {"alibi": True, "qk_ln": False, "prefix_lm": False, "learned_pos_emb": True},
}  # fmt: skip
"""Keys of types of models that can be expressed with one value only, which is the default too."""


@dataclass(frozen=True)
class Config:
    """An object of config.json, by type and range."""

    folder: Path
    values: Mapping[str, Any]

    def count(self, key: str, default: int | None = None, most: int = _MOST) -> int:
        value = self.values.get(key)
        value = default if value is None else value
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(key, f"a whole number from 1 to {most:,}")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.values.get(key)
        value = default if value is None else value
        if type(value) not in (int, float) or not 0 < value <= GREATEST:  # type: ignore[operator]
            raise self.wrong(key, "a number above 0")
        return float(value)  # type: ignore[arg-type]

    def truth(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def part(self, key: str) -> Config:
        """The object under a key; an empty one if there is none."""
        value = self.values.get(key)
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Config(self.folder, value)

    def wrong(self, key: str, expected: str) -> BadModelFile:
        found = quoted(self.values[key]) if key in self.values else "nothing"
        return BadModelFile(f"{self.folder / 'config.json'} has {found} as {key}; expected {expected}")


def read_config(folder: Path, values: Mapping[str, Any]) -> Config:
    """What a config.json says, with the defaults of its model_type. Raises `UnsupportedLanguageModel`."""
    values = _of_text(folder, values)
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        known = ", ".join((*MODEL_TYPES, *WITH_TEXT))
        raise UnsupportedLanguageModel(f"{folder.name} holds a model of the type {str(kind)[:40]!r}; known are {known}")
    shared = {key: values[own] for key, own in _KEYS.get(kind, {}).items() if values.get(own) is not None}
    config = Config(folder, {**_DEFAULTS.get(kind, {}), **values, **shared})
    beside = Config(folder, {**config.values, **config.part("attn_config").values} if kind == "mpt" else config.values)
    for key, expected in _EXPECTED.get(kind, {}).items():
        if beside.truth(key, expected) is not expected:
            raise UnsupportedLanguageModel(
                f"{folder.name} has {key} {str(not expected).lower()}, which is not known here"
            )
    for key in _QUANTISED:
        quantised = config.part(key).values
        if quantised:
            raise UnsupportedLanguageModel(
                f"{folder.name} has weights that are quantised (quant_method {quoted(quantised.get('quant_method'))}); "
                "folders are read with weights in F32, F16 and BF16 only",
                hint="take the folder that the model was quantised from, or a GGUF file of it",
            )
    return config


def _of_text(folder: Path, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of the decoder, where it is a part of the model's."""
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in WITH_TEXT:
        return values
    beside = {key: values[key] for key in (*_OF_ALL, *_QUANTISED) if values.get(key) is not None}
    return {"model_type": WITH_TEXT[kind], **Config(folder, values).part("text_config").values, **beside}


def parts_told_by(config: Config, has_one_norm: bool) -> tuple[str, ...]:
    """What each layer has beyond the parts that all of its family have, as the configuration says."""
    kind = config.values["model_type"]
    told = _BIASES.get(kind, {})
    found = tuple(bias for key, biases in told.items() if config.truth(key, False) for bias in biases)
    if kind == "gpt_neox":
        found += _UNGATED
    return found if kind not in ("falcon", "stablelm") or has_one_norm else (*found, "ffn_norm.bias")
