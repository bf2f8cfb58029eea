"""
The decoder that a folder's config.json describes, in the terms of GGUF's families: `architecture_of`.

Every number is validated before it is used. Configurations name the same things in several ways, as versions of the
package transformers have written them; where a key is missing, its default is that package's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from opml_dispute.generation.checkpoint import Architecture, Weight
from opml_dispute.generation.families import FAMILIES, Family, expect_heads, quoted
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.generation.rope_scaling import (
    RopeScaling,
    llama3_factors,
    longrope_amplitude,
    yarn_amplitude,
    yarn_factors,
)
from opml_dispute.model.tensor import Array

MODEL_TYPES: Final[Mapping[str, str]] = {
    "llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2",
    "gemma3_text": "gemma3", "phi3": "phi3", "smollm3": "smollm3", "granite": "granite", "ministral": "llama",
    "olmo2": "olmo2", "olmo3": "olmo2", "exaone4": "exaone4", "glm4": "glm4", "ernie4_5": "ernie4_5",
    "seed_oss": "seed_oss",
}  # fmt: skip
"""What config.json may have as model_type, and the family's name in GGUF."""

WITH_TEXT: Final[Mapping[str, str]] = {"gemma3": "gemma3_text", "mistral3": "mistral"}
"""Models that also see, whose config.json has that of their decoder in it: what its model_type is where it has none."""
_OF_ALL: Final = ("bos_token_id", "eos_token_id", "tie_word_embeddings")
"""What those say beside their decoder."""

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
}  # fmt: skip
"""What the package transformers takes for keys that a type's config.json does not have, where types differ."""

_QUANTISED: Final = ("quantization_config", "compression_config")
_MOST: Final = 1 << 24
_GREATEST: Final = 1e300
"""Of a number that is no count; a larger one of JSON may be no float at all."""
_GELU: Final = frozenset({"gelu_pytorch_tanh", "gelu_new"})
_SILU: Final = frozenset({"silu", "swish"})
_QKV: Final = ("attn_q.bias", "attn_k.bias", "attn_v.bias")
_OUTPUT: Final = ("attn_output.bias",)
_ATTENTION: Final = (*_QKV, *_OUTPUT)
_FFN: Final = ("ffn_gate.bias", "ffn_up.bias", "ffn_down.bias")
_BIASES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    **{kind: {"attention_bias": _ATTENTION, "mlp_bias": _FFN} for kind in ("llama", "granite", "smollm3")},
    **{kind: {"attention_bias": _ATTENTION} for kind in ("qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "olmo3")},
    "glm4": {"attention_bias": _QKV},
    "ernie4_5": {"use_bias": (*_ATTENTION, *_FFN)},
    "seed_oss": {"attention_bias": _QKV, "attention_out_bias": _OUTPUT, "mlp_bias": _FFN},
}
"""The biases that a key of a type's config.json says there are."""
_BY_KIND: Final = frozenset({"gemma3_text", "olmo3"})
"""Types whose rotations depend on the kind of layer."""
_KINDS: Final = ("full_attention", "sliding_attention")
"""Of layers: those that see all positions, and those that see a window."""


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
        if type(value) not in (int, float) or not 0 < value <= _GREATEST:  # type: ignore[operator]
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
    config = Config(folder, {**_DEFAULTS.get(kind, {}), **values})
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


def biases_of(config: Config) -> tuple[str, ...]:
    """The biases of each layer that the configuration speaks of, by GGUF's names."""
    told = _BIASES.get(config.values["model_type"], {})
    return tuple(bias for key, biases in told.items() if config.truth(key, False) for bias in biases)


def architecture_of(config: Config, name: str, weights: Mapping[str, Weight]) -> Architecture:
    """The decoder of the family `name`. Raises `BadModelFile`, `UnsupportedLanguageModel`."""
    family, label = FAMILIES[name], config.folder.name
    layers = config.count("num_hidden_layers", most=1_000)
    width, heads = config.count("hidden_size"), config.count("num_attention_heads", most=1 << 16)
    kv_heads = config.count("num_key_value_heads", heads, most=heads)
    head_size = config.count("head_dim", 256 if family.is_gemma else max(width // heads, 1), most=1 << 16)
    expect_heads(config.folder, heads, kv_heads, head_size)
    embedding = weights.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise UnsupportedLanguageModel(f"{label} has no tensor 'model.embed_tokens.weight'")
    _expect_activation(config, family)
    if config.truth("use_bidirectional_attention", False):
        raise UnsupportedLanguageModel(f"{label} lets tokens see those behind them")
    local = _local_layers(config, family, layers)
    rope = _rope(config)
    base = rope.real("rope_theta", 10_000.0)
    turned = _turned(rope, head_size)
    scaling = _scaling(config, rope, turned, base)
    scaling.expect_usable(label)
    return Architecture(
        name=name,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        hidden=config.count("intermediate_size"),
        vocabulary=embedding.shape[0],
        context=config.count("max_position_embeddings"),
        epsilon=config.real("rms_norm_eps", 1e-6),
        rope_base=base,
        rope_pairs="neighbours" if family.turns_neighbours else "halves",
        rope_size=turned,
        rope_scaling=scaling,
        unturned=frozenset(range(layers)) - local
        if name == "exaone4" and config.values.get("sliding_window") is not None
        else _unturned(config, family, layers),
        activation="gelu" if family.is_gemma else "silu",
        has_norms_before=family.has_norms_before,
        has_wide_norms=family.has_wide_norms,
        embedding_scale=config.real("embedding_multiplier", 1.0)
        if family.has_multipliers
        else (width**0.5 if family.is_gemma else 1.0),
        query_scale=_query_scale(config, family),
        attention_cap=_cap(config, "attn_logit_softcapping") if family.local_period and family.is_gemma else 0.0,
        logit_cap=_cap(config, "final_logit_softcapping") if family.local_period and family.is_gemma else 0.0,
        logit_divisor=config.real("logits_scaling", 1.0) if family.has_multipliers else 1.0,
        residual_scale=config.real("residual_multiplier", 1.0) if family.has_multipliers else 1.0,
        window=config.count("sliding_window", 4096) if local else 0,
        local=local,
        local_rope_base=_local_rope_base(config) if config.values["model_type"] in _BY_KIND and local else None,
    )


def _expect_activation(config: Config, family: Family) -> None:
    """Raises `UnsupportedLanguageModel`."""
    told = config.values.get("hidden_activation") or config.values.get("hidden_act")
    known = _GELU if family.is_gemma else _SILU
    if family.is_gemma and not family.local_period:
        known |= {"gelu"}  # so say the first Gemma's configurations; its implementations take the approximation
    if told is not None and (not isinstance(told, str) or told not in known):
        raise UnsupportedLanguageModel(f"{config.folder.name} has the activation {quoted(told)}")


def _query_scale(config: Config, family: Family) -> float | None:
    """Of products of queries and keys, where it is not 1 / sqrt(head_size)."""
    if family.has_multipliers:
        return config.real("attention_multiplier", 1.0)
    if family.is_gemma and family.local_period:
        return float(config.real("query_pre_attn_scalar", 256.0) ** -0.5)
    return None


def _cap(config: Config, key: str) -> float:
    return 0.0 if config.values.get(key) is None else config.real(key)


# ---- which layers see and turn what ----


def _local_layers(config: Config, family: Family, layers: int) -> frozenset[int]:
    """The layers that see a window only. Raises `BadModelFile`, `UnsupportedLanguageModel`."""
    kind = config.values.get("model_type")
    if kind in ("llama", "granite", "gemma", "olmo2", "glm4", "ernie4_5", "seed_oss"):
        return frozenset()  # which have no windows, whatever a configuration says
    if config.values.get("sliding_window") is None and not family.is_gemma:
        return frozenset()
    if kind in ("mistral", "phi3"):
        return frozenset(range(layers))
    listed = _listed_kinds(config, layers)
    if kind == "ministral" and listed is None:
        return frozenset(range(layers))
    is_used = family.is_gemma or kind in ("ministral", "olmo3", "exaone4") or config.truth("use_sliding_window", False)
    if not is_used and (listed is None or kind != "smollm3"):
        return frozenset()
    if listed is not None:
        return frozenset(layer for layer, told in enumerate(listed) if told == "sliding_attention")
    if kind == "smollm3":
        return _unturned(config, family, layers)
    if not family.is_gemma and not family.local_period:
        told = config.values.get("max_window_layers")
        first = 28 if told is None else told
        if type(first) is not int or first < 0:
            raise config.wrong("max_window_layers", "a whole number")
        return frozenset(range(min(first, layers), layers))
    period = config.count("sliding_window_pattern", family.local_period)
    return frozenset(range(layers)) - (frozenset(range(period - 1, layers, period)) if period > 1 else frozenset())


def _listed_kinds(config: Config, layers: int) -> list[str] | None:
    """The kind of each layer, if the configuration lists them. Raises `BadModelFile`, `UnsupportedLanguageModel`."""
    kinds = config.values.get("layer_types")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise config.wrong("layer_types", f"a list of {layers} kinds of layers")
    other = next((kind for kind in kinds if kind not in _KINDS), None)
    if other is not None:
        raise UnsupportedLanguageModel(f"{config.folder.name} has layers of the kind {quoted(other)}")
    return kinds


def _unturned(config: Config, family: Family, layers: int) -> frozenset[int]:
    """The layers that turn nothing."""
    if not family.unturned_period:
        return frozenset()
    told = config.values.get("no_rope_layers")
    if told:
        if not isinstance(told, list) or len(told) != layers or any(turns not in (0, 1) for turns in told):
            raise config.wrong("no_rope_layers", f"a list of {layers} times 0 or 1")
        return frozenset(layer for layer, turns in enumerate(told) if not turns)
    period = config.count("no_rope_layer_interval", family.unturned_period)
    return frozenset(range(period - 1, layers, period))


# ---- rotations ----


def _rope(config: Config, kind: str = "full_attention") -> Config:
    """
    The parameters of rotations, for layers of a kind: rope_scaling's, else rope_parameters', else the keys beside them.

    Raises `BadModelFile` where a type without rotations by kind of layer has them, or the other way round.
    """
    told, scaling = config.part("rope_parameters"), config.part("rope_scaling")
    is_by_kind = config.values.get("model_type") in _BY_KIND
    if told.values and is_by_kind != any(key in told.values for key in _KINDS):
        raise config.wrong(
            "rope_parameters", "an object a kind of layers" if is_by_kind else "one object for all layers"
        )
    if kind == "sliding_attention":
        # WHY NOT rope_theta: that package takes it for layers of the other kind alone.
        is_gemma = config.values.get("model_type") == "gemma3_text"
        beside = {"rope_theta": config.values.get("rope_local_base_freq") if is_gemma else 5e5}
        return Config(config.folder, {**beside, **told.part(kind).values})
    found = {**told.part(kind).values, **scaling.values} if is_by_kind else scaling.values or told.values
    found = {key: value for key, value in found.items() if value is not None}
    beside = {key: config.values.get(key) for key in ("rope_theta", "partial_rotary_factor")}
    original = config.values.get("original_max_position_embeddings")
    return Config(
        config.folder,
        {**beside, **found, **({} if original is None else {"original_max_position_embeddings": original})},
    )


def _local_rope_base(config: Config) -> float:
    """Of layers that see a window, where they have a base of their own. Raises `UnsupportedLanguageModel`."""
    rope = _rope(config, "sliding_attention")
    if _kind_of_scaling(rope) != "default" or rope.real("partial_rotary_factor", 1.0) != 1:
        raise UnsupportedLanguageModel(f"{config.folder.name} scales the positions of layers that see a window")
    return rope.real("rope_theta", 10_000.0)


def _kind_of_scaling(rope: Config) -> Any:
    told = (rope.values.get(key) for key in ("rope_type", "type"))
    return next((kind for kind in told if kind is not None), "default")


def _turned(rope: Config, head_size: int) -> int:
    """Elements of each head that are turned."""
    share = rope.real("partial_rotary_factor", 1.0)
    turned = int(head_size * share) if share <= 1 else 0
    if turned < 2 or turned % 2:
        raise rope.wrong("partial_rotary_factor", f"a share that turns an even number of {head_size} elements")
    return turned


def _scaling(config: Config, rope: Config, turned: int, base: float) -> RopeScaling:
    """Raises `UnsupportedLanguageModel` for scalings that are not known."""
    kind = _kind_of_scaling(rope)
    if kind in ("su", "yarn") and config.values.get("model_type") == "phi3":
        kind = "longrope"  # as its first configurations called it
    if kind == "default":
        return RopeScaling()
    if kind == "linear":
        return RopeScaling(divisor=rope.real("factor"))
    context = config.count("max_position_embeddings")
    original = rope.count("original_max_position_embeddings", context)
    if kind == "llama3":
        low, high = rope.real("low_freq_factor"), rope.real("high_freq_factor")
        if high <= low:
            raise rope.wrong("high_freq_factor", f"more than low_freq_factor, {low:g}")
        return RopeScaling(
            factors=llama3_factors(turned, base, factor=rope.real("factor"), low=low, high=high, original=original)
        )
    if kind == "yarn":
        return _yarn(rope, turned, base, rope.real("factor", context / original), original)
    if kind == "longrope":
        amplitude = longrope_amplitude(rope.real("factor", context / original), original)
        return RopeScaling(
            factors=_listed(rope, "short_factor", turned // 2),
            long_factors=_listed(rope, "long_factor", turned // 2),
            original_context=original,
            amplitude=rope.real("attention_factor", amplitude),
        )
    raise UnsupportedLanguageModel(
        f"{config.folder.name} scales positions by {quoted(kind)}; known are default, linear, llama3, yarn, longrope"
    )


def _yarn(rope: Config, turned: int, base: float, factor: float, original: int) -> RopeScaling:
    if base <= 1:
        raise rope.wrong("rope_theta", "a number above 1")
    amplitude = yarn_amplitude(factor)
    if rope.values.get("mscale") and rope.values.get("mscale_all_dim"):
        amplitude = yarn_amplitude(factor, rope.real("mscale")) / yarn_amplitude(factor, rope.real("mscale_all_dim"))
    factors = yarn_factors(
        turned, base, factor=factor, original=original,
        fast=rope.real("beta_fast", 32.0), slow=rope.real("beta_slow", 1.0), whole=rope.truth("truncate", True),
    )  # fmt: skip
    return RopeScaling(factors=factors, amplitude=rope.real("attention_factor", amplitude))


def _listed(rope: Config, key: str, count: int) -> Array:
    """f32[count]: a list of numbers above 0."""
    told = rope.values.get(key)
    is_right = isinstance(told, list) and len(told) == count
    if not is_right or not all(type(one) in (int, float) and 0 < one <= _GREATEST for one in told):  # type: ignore[union-attr]
        raise rope.wrong(key, f"a list of {count} numbers above 0")
    with np.errstate(over="ignore", under="ignore"):  # what is out of range is found by `expect_usable`
        return np.array(told, np.float32)
