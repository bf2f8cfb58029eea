"""
The decoder that a folder's config.json describes, in the terms of GGUF's families: `architecture_of`.

Every number is validated before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from opml_dispute.generation.checkpoint import Activation, Architecture, Weight
from opml_dispute.generation.families import FAMILIES, Family, expect_heads, quoted
from opml_dispute.generation.huggingface_types import GREATEST, Config
from opml_dispute.generation.refusals import UnsupportedLanguageModel
from opml_dispute.generation.rope_scaling import (
    RopeScaling,
    llama3_factors,
    longrope_amplitude,
    yarn_amplitude,
    yarn_factors,
)
from opml_dispute.model.tensor import Array

_ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "silu": "silu", "swish": "silu", "gelu": "gelu_erf", "gelu_python": "gelu_erf", "gelu_new": "gelu",
    "gelu_fast": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu", "relu2": "relu2",
}  # fmt: skip
"""What configurations call the activations that are known."""
_FIXED_ACTIVATION: Final = frozenset({"bloom", "mpt"})
"""Types whose activation no key chooses."""
_WITHOUT_WINDOWS: Final = frozenset(
    {
        "llama", "granite", "gemma", "olmo2", "glm4", "ernie4_5", "seed_oss", "gpt2", "gpt_bigcode", "gpt_neox",
        "bloom", "falcon", "mpt", "phi", "stablelm", "olmo", "cohere", "nemotron", "arcee", "glm", "helium", "gptj",
        "codegen", "opt", "persimmon",
    }
)  # fmt: skip
"""Types that have none, whatever a configuration says."""
_WITHOUT_GROUPS: Final = frozenset(
    {"gpt2", "gpt_neox", "bloom", "mpt", "gptj", "codegen", "gpt_neo", "opt", "persimmon"}
)
"""Types that have as many key heads as heads, whatever a configuration says."""
_TURNED_IN_PART: Final = frozenset(
    {"phi3", "glm4", "gpt_neox", "phi", "stablelm", "nemotron", "glm", "persimmon", "gptj", "codegen"}
)
"""Types of which a part of each head may be turned."""
_BY_KIND: Final = frozenset({"gemma3_text", "olmo3"})
"""Types whose rotations depend on the kind of layer."""
_KINDS: Final = ("full_attention", "sliding_attention")
"""Of layers: those that see all positions, and those that see a window."""


def architecture_of(config: Config, name: str, weights: Mapping[str, Weight]) -> Architecture:
    """The decoder of the family `name`. Raises `BadModelFile`, `UnsupportedLanguageModel`."""
    family, label = FAMILIES[name], config.folder.name
    layers = config.count("num_hidden_layers", most=1_000)
    width, heads = config.count("hidden_size"), config.count("num_attention_heads", most=1 << 16)
    kv_heads = _kv_heads(config, heads)
    head_size = config.count("head_dim", 256 if family.is_gemma else max(width // heads, 1), most=1 << 16)
    expect_heads(config.folder, heads, kv_heads, head_size)
    embedding = weights.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise UnsupportedLanguageModel(f"{label} has no tensor 'model.embed_tokens.weight'")
    is_parallel, has_one_norm = _parallel(config, family)
    if config.truth("use_bidirectional_attention", False):
        raise UnsupportedLanguageModel(f"{label} lets tokens see those behind them")
    local = _local_layers(config, family, layers)
    rope = _rope(config)
    base = rope.real("rope_theta", 10_000.0)
    turned = _turned(config, rope, head_size)
    scaling = _scaling(config, rope, turned, base)
    scaling.expect_usable(label)
    return Architecture(
        name=name,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        hidden=_hidden(config, family, width),
        vocabulary=embedding.shape[0],
        context=config.count("max_position_embeddings"),
        epsilon=config.real("rms_norm_eps", 1e-6) if family.norm == "rms" else config.real("layer_norm_eps", 1e-5),
        rope_base=base,
        rope_pairs="neighbours" if family.turns_neighbours else "halves",
        rope_size=turned,
        rope_scaling=scaling,
        unturned=frozenset(range(layers)) - local
        if name in ("exaone4", "cohere2") and config.values.get("sliding_window") is not None
        else _unturned(config, family, layers),
        activation=_activation(config, family),
        is_parallel=is_parallel,
        has_one_norm=has_one_norm,
        alibi=config.part("attn_config").real("alibi_bias_max", family.alibi) if family.alibi else 0.0,
        projection_cap=_projection_cap(config),
        **family.traits(),
        embedding_scale=config.real("embedding_multiplier", 1.0)
        if family.has_multipliers
        else (width**0.5 if family.is_gemma else 1.0),
        query_scale=_query_scale(config, family),
        attention_cap=_cap(config, "attn_logit_softcapping") if name == "gemma2" else 0.0,
        logit_cap=_cap(config, "final_logit_softcapping") if family.local_period and family.is_gemma else 0.0,
        logit_divisor=config.real("logits_scaling", 1.0) if family.has_multipliers else 1.0,
        logit_scale=config.real("logit_scale", 1.0) if config.values["model_type"] in ("cohere", "cohere2") else 1.0,
        residual_scale=config.real("residual_multiplier", 1.0) if family.has_multipliers else 1.0,
        window=config.count("sliding_window", 4096) if local else 0,
        local=local,
        local_rope_base=_local_rope_base(config) if config.values["model_type"] in _BY_KIND and local else None,
    )


def _kv_heads(config: Config, heads: int) -> int:
    """Key heads: those that the configuration counts, or one, or as many as heads."""
    kind = config.values["model_type"]
    if kind in _WITHOUT_GROUPS:
        return heads
    if kind in ("gpt_bigcode", "falcon") and not config.truth("new_decoder_architecture", False):
        return 1 if config.truth("multi_query", True) else heads
    return config.count("num_key_value_heads", heads, most=heads)


def _hidden(config: Config, family: Family, width: int) -> int:
    """The size of the feed-forward part; where no key gives it, four times the width."""
    if config.values["model_type"] in ("bloom", "mpt"):  # which have that size, whatever a configuration says
        return 4 * width
    return config.count("intermediate_size", None if family.has_gate else 4 * width)


def _parallel(config: Config, family: Family) -> tuple[bool, bool]:
    """Whether both parts of a layer take the same rows, and behind one norm. Raises `UnsupportedLanguageModel`."""
    kind = config.values["model_type"]
    if kind == "gpt_neox":
        return config.truth("use_parallel_residual", True), False
    if kind == "stablelm":
        is_parallel = config.truth("use_parallel_residual", False)
        return is_parallel, is_parallel
    if kind == "falcon":
        is_new, is_parallel = config.truth("new_decoder_architecture", False), config.truth("parallel_attn", True)
        if is_new and not is_parallel:
            raise UnsupportedLanguageModel(f"{config.folder.name} has new_decoder_architecture without parallel_attn")
        return is_parallel, is_parallel and config.count("num_ln_in_parallel_attn", 2 if is_new else 1, most=2) == 1
    return family.is_parallel, family.has_one_norm


def _projection_cap(config: Config) -> float:
    """Beyond which queries, keys and values are cut off; 0: nowhere."""
    kind = config.values["model_type"]
    beside = config.part("attn_config") if kind == "mpt" else config
    told = kind in ("olmo", "mpt") and beside.values.get("clip_qkv") is not None
    return beside.real("clip_qkv") if told else 0.0


def _activation(config: Config, family: Family) -> Activation:
    """Raises `UnsupportedLanguageModel`."""
    told = config.values.get("hidden_activation") or config.values.get("hidden_act")
    if told is None or config.values["model_type"] in _FIXED_ACTIVATION:
        return "gelu" if family.is_gemma else family.activation
    is_first_gemma = family.is_gemma and not family.local_period
    if is_first_gemma and told == "gelu":
        return "gelu"  # so say its configurations; its implementations take the approximation
    if not isinstance(told, str) or told not in _ACTIVATIONS or (is_first_gemma and _ACTIVATIONS[told] != "gelu"):
        raise UnsupportedLanguageModel(
            f"{config.folder.name} has the activation {quoted(told)}; known are {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[told]


def _query_scale(config: Config, family: Family) -> float | None:
    """Of products of queries and keys, where it is not 1 / sqrt(head_size)."""
    if family.has_multipliers:
        return config.real("attention_multiplier", 1.0)
    if family.is_gemma and family.local_period:
        return float(config.real("query_pre_attn_scalar", 256.0) ** -0.5)
    if config.values["model_type"] == "gpt_neo":
        return 1.0
    told = config.part("attn_config") if config.values["model_type"] == "mpt" else None
    return None if told is None or told.values.get("softmax_scale") is None else told.real("softmax_scale")


def _cap(config: Config, key: str) -> float:
    return 0.0 if config.values.get(key) is None else config.real(key)


# ---- which layers see and turn what ----


def _local_layers(config: Config, family: Family, layers: int) -> frozenset[int]:
    """The layers that see a window only. Raises `BadModelFile`, `UnsupportedLanguageModel`."""
    kind = config.values.get("model_type")
    if kind in _WITHOUT_WINDOWS:
        return frozenset()
    if kind == "gpt_neo":
        return _alternating(config, layers)
    if config.values.get("sliding_window") is None and not family.is_gemma:
        return frozenset()
    if kind in ("mistral", "phi3", "starcoder2"):
        return frozenset(range(layers))
    listed = _listed_kinds(config, layers)
    if kind == "ministral" and listed is None:
        return frozenset(range(layers))
    is_used = (
        family.is_gemma
        or kind in ("ministral", "olmo3", "exaone4", "cohere2")
        or config.truth("use_sliding_window", False)
    )
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


def _alternating(config: Config, layers: int) -> frozenset[int]:
    """The layers that see a window, by lists of kinds and how often each is repeated."""
    told = config.values.get("attention_types") or [[["global", "local"], layers // 2]]
    kinds: list[Any] = []
    for entry in told if isinstance(told, list) else [None]:
        some, times = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        if not isinstance(some, list) or type(times) is not int or not 0 <= times <= layers or len(some) > layers:
            raise config.wrong("attention_types", "lists of kinds of layers and how often they come")
        kinds += some * times
    if len(kinds) != layers or any(kind not in ("global", "local") for kind in kinds):
        raise config.wrong("attention_types", f"{layers} layers that are global or local")
    return frozenset(layer for layer, kind in enumerate(kinds) if kind == "local")


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
    if not family.turns:
        return frozenset(range(layers))
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


def _turned(config: Config, rope: Config, head_size: int) -> int:
    """Elements of each head that are turned. Raises `UnsupportedLanguageModel`."""
    kind = config.values["model_type"]
    if kind in ("gptj", "codegen"):
        turned = config.count("rotary_dim", most=head_size)
        if turned % 2:
            raise config.wrong("rotary_dim", "an even number")
        return turned
    share = rope.real("partial_rotary_factor", 1.0)
    if share != 1 and kind not in _TURNED_IN_PART:
        raise UnsupportedLanguageModel(
            f"{config.folder.name} has partial_rotary_factor {share:g}, which models of the type {kind!r} do not have"
        )
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
    if not is_right or not all(type(one) in (int, float) and 0 < one <= GREATEST for one in told):  # type: ignore[union-attr]
        raise rope.wrong(key, f"a list of {count} numbers above 0")
    with np.errstate(over="ignore", under="ignore"):  # what is out of range is found by `expect_usable`
        return np.array(told, np.float32)
