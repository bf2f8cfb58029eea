"""
The families of decoders: how each differs from the others, and which tensors its models have.

`expect_tensors` holds a file's tensors against its family, whatever kind of file they come from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from opml_dispute.generation.checkpoint import Activation, Architecture, RopePairs, Weight
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel


@dataclass(frozen=True)
class Family:
    """Decoders with the same computation."""

    rope_pairs: RopePairs
    """Of GGUF files; folders turn halves but where `turns_neighbours` is set."""
    is_gemma: bool = False
    turns_neighbours: bool = False
    """Whether folders turn neighbours too: their matrices were not put in another order."""
    has_norms_before: bool = True
    """Whether each part of a layer takes normalised rows."""
    has_wide_norms: bool = False
    """Whether the norms of queries and keys go over all heads together."""
    local_period: int = 0
    """If there are local layers: all are but each of this number; 1: all are; 0: the family has none."""
    window: int = 0
    """How far local layers see, where the file does not say; 0: then there are none."""
    unturned_period: int = 0
    """Each layer of this number turns nothing; 0: all do."""
    has_multipliers: bool = False
    """Whether files say how embeddings, scores and parts of layers are scaled."""
    biases: tuple[str, ...] = ()
    """Those that some of its GGUF files have."""
    parts: tuple[str, ...] = ()
    """Tensors of each layer beyond `_OF_LAYERS`, that all of its models have."""
    model_parts: tuple[str, ...] = ()
    """Those beside the layers that all of its models have."""
    norm: Literal["rms", "layer"] = "rms"
    has_norm_weights: bool = True
    has_gate: bool = True
    activation: Activation = "silu"
    is_parallel: bool = False
    """Whether both parts of a layer take the same rows; a folder's configuration may say otherwise."""
    has_one_norm: bool = False
    """Whether they do so behind one norm."""
    learns_positions: bool = False
    turns: bool = True
    """Whether queries and keys are turned by their positions at all."""
    alibi: float = 0.0
    """As `Architecture.alibi`; a file may say otherwise."""
    is_in_gguf: bool = True
    """Whether GGUF has a name for it; it is published in folders only, if not."""

    def traits(self) -> dict[str, Any]:
        """What all of its models have alike, by the names of `Architecture`."""
        names = ("norm", "has_norm_weights", "has_norms_before", "has_wide_norms", "has_gate", "learns_positions")
        return {name: getattr(self, name) for name in names}


_QKV_BIASES: Final = ("attn_q.bias", "attn_k.bias", "attn_v.bias")
_ALL_BIASES: Final = (*_QKV_BIASES, "attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias")
_UNGATED_BIASES: Final = (*_QKV_BIASES, "attn_output.bias", "ffn_up.bias", "ffn_down.bias")
_HEAD_NORMS: Final = ("attn_q_norm.weight", "attn_k_norm.weight")
_NORMS_BEHIND: Final = ("post_attention_norm.weight", "post_ffw_norm.weight")
_NORM_BIASES: Final = ("attn_norm.bias", "ffn_norm.bias")
_END_BIAS: Final = ("output_norm.bias",)
_OF_LAYERS: Final = (
    "attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight",
)  # fmt: skip
_OF_MODELS: Final = frozenset(
    {
        "token_embd.weight", "output_norm.weight", "output.weight",
        "rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight",
    }
)  # fmt: skip
_WITHOUT_EFFECT: Final = ("attn_rot_embd", "rope_freqs")
"""Parts of layers that old files have, and that no implementation reads."""


def _learned(activation: Activation) -> Family:
    """As GPT-2: a row for each position, and biases everywhere."""
    return Family(
        "halves", norm="layer", has_gate=False, activation=activation, learns_positions=True, turns=False,
        parts=(*_NORM_BIASES, *_UNGATED_BIASES), model_parts=(*_END_BIAS, "position_embd.weight"),
    )  # fmt: skip


FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family("neighbours", biases=_ALL_BIASES),
    "qwen2": Family("halves", parts=_QKV_BIASES),
    "qwen3": Family("halves", parts=_HEAD_NORMS),
    "gemma": Family("halves", is_gemma=True),
    "gemma2": Family("halves", is_gemma=True, local_period=2, window=4096, parts=_NORMS_BEHIND),
    "gemma3": Family("halves", is_gemma=True, local_period=6, parts=(*_HEAD_NORMS, *_NORMS_BEHIND)),
    "phi3": Family("halves", local_period=1),
    "smollm3": Family("neighbours", unturned_period=4, biases=_QKV_BIASES),
    "granite": Family("neighbours", has_multipliers=True, biases=_ALL_BIASES),
    "olmo2": Family(
        "halves", has_norms_before=False, has_wide_norms=True, local_period=4, parts=(*_HEAD_NORMS, *_NORMS_BEHIND)
    ),
    "exaone4": Family(
        "halves", has_norms_before=False, local_period=4, window=4096, parts=(*_HEAD_NORMS, *_NORMS_BEHIND)
    ),
    "glm4": Family("neighbours", turns_neighbours=True, biases=_QKV_BIASES, parts=_NORMS_BEHIND),
    "ernie4_5": Family("neighbours", turns_neighbours=True, biases=_QKV_BIASES),
    "seed_oss": Family("halves", biases=_QKV_BIASES),
    "gpt2": _learned("gelu"),
    "starcoder": _learned("gelu"),
    "starcoder2": Family(
        "halves", norm="layer", has_gate=False, activation="gelu", local_period=1, parts=_NORM_BIASES,
        biases=_UNGATED_BIASES, model_parts=_END_BIAS,
    ),
    "gptneox": Family(
        "halves", norm="layer", has_gate=False, activation="gelu_erf", is_parallel=True, model_parts=_END_BIAS,
        parts=_NORM_BIASES, biases=_UNGATED_BIASES,
    ),
    "bloom": Family(
        "halves", norm="layer", has_gate=False, activation="gelu", turns=False, alibi=8.0,
        parts=(*_NORM_BIASES, *_UNGATED_BIASES),
        model_parts=(*_END_BIAS, "token_embd_norm.weight", "token_embd_norm.bias"),
    ),
    "falcon": Family(
        "halves", norm="layer", has_gate=False, activation="gelu_erf", is_parallel=True, parts=("attn_norm.bias",),
        biases=(*_UNGATED_BIASES, "ffn_norm.weight", "ffn_norm.bias"), model_parts=_END_BIAS,
    ),
    "mpt": Family(
        "halves", norm="layer", has_gate=False, activation="gelu_erf", turns=False, alibi=8.0,
        biases=(*_NORM_BIASES, *_UNGATED_BIASES),
    ),
    "phi2": Family(
        "halves", norm="layer", has_gate=False, activation="gelu", is_parallel=True, has_one_norm=True,
        parts=("attn_norm.bias", *_UNGATED_BIASES), model_parts=(*_END_BIAS, "output.bias"),
    ),
    "stablelm": Family(
        "halves", norm="layer", parts=("attn_norm.bias",), biases=(*_QKV_BIASES, *_HEAD_NORMS, "ffn_norm.bias"),
        model_parts=_END_BIAS,
    ),
    "olmo": Family("neighbours", norm="layer", has_norm_weights=False),
    "command-r": Family(
        "neighbours", turns_neighbours=True, norm="layer", is_parallel=True, has_one_norm=True, biases=_HEAD_NORMS
    ),
    "cohere2": Family(
        "neighbours", turns_neighbours=True, norm="layer", is_parallel=True, has_one_norm=True, local_period=4,
        window=4096,
    ),
    "nemotron": Family(
        "halves", norm="layer", has_gate=False, activation="relu2", parts=_NORM_BIASES, biases=_UNGATED_BIASES,
        model_parts=_END_BIAS,
    ),
    "arcee": Family("neighbours", has_gate=False, activation="relu2", biases=_UNGATED_BIASES),
    "chatglm": Family("neighbours", turns_neighbours=True, biases=_QKV_BIASES),
    "internlm2": Family("neighbours", biases=_QKV_BIASES),
    "exaone": Family("halves"),
    "helium": Family("neighbours", turns_neighbours=True, biases=_QKV_BIASES, is_in_gguf=False),
    "gptj": Family(
        "neighbours", turns_neighbours=True, norm="layer", has_gate=False, activation="gelu", is_parallel=True,
        has_one_norm=True, parts=("attn_norm.bias", "ffn_up.bias", "ffn_down.bias"),
        model_parts=(*_END_BIAS, "output.bias"), is_in_gguf=False,
    ),
    "gpt_neo": Family(
        "halves", norm="layer", has_gate=False, activation="gelu", learns_positions=True, turns=False,
        parts=(*_NORM_BIASES, "attn_output.bias", "ffn_up.bias", "ffn_down.bias"),
        model_parts=(*_END_BIAS, "position_embd.weight"), is_in_gguf=False,
    ),
    "opt": replace(_learned("relu"), is_in_gguf=False),
    "persimmon": Family(
        "halves", norm="layer", has_gate=False, activation="relu2", parts=(*_NORM_BIASES, *_UNGATED_BIASES),
        biases=(*_HEAD_NORMS, "attn_q_norm.bias", "attn_k_norm.bias"), model_parts=_END_BIAS, is_in_gguf=False,
    ),
}  # fmt: skip
IN_GGUF: Final = tuple(name for name, family in FAMILIES.items() if family.is_in_gguf)


def expect_heads(path: Path, heads: int, kv_heads: int, head_size: int) -> None:
    """Raises `BadModelFile` unless the heads of attention go together; `path` names the file or folder."""
    if heads % kv_heads or head_size % 2:
        raise BadModelFile(
            f"{path} has {heads} heads of {head_size} elements over {kv_heads} key heads; expected a multiple of the "
            "latter, and an even size"
        )


def expect_tensors(
    label: str, tensors: Collection[str], shape: Architecture, family: Family, biases: tuple[str, ...] | None = None
) -> None:
    """
    Raises `UnsupportedLanguageModel` unless there is a place for every tensor, and all that the family has are there.

    `biases` are those that a configuration says the model has; by default it has any of its family's. A tensor without
    a place (a bias, one more norm) would change the answers of other implementations.
    """
    gate = ("ffn_gate.weight",) if family.has_gate else ()
    norms = ("attn_norm.weight", *(() if shape.has_one_norm else ("ffn_norm.weight",)))
    norms = norms if family.has_norms_before and family.has_norm_weights else ()
    needed = (*_OF_LAYERS, *gate, *norms, *family.parts, *(biases or ()))
    ends = () if not family.has_norm_weights else ("output_norm.weight",)
    needs = [*ends, *family.model_parts, *(f"blk.{layer}.{part}" for layer in range(shape.layers) for part in needed)]
    missing = next((name for name in needs if name not in tensors), None)
    if missing is not None:
        raise UnsupportedLanguageModel(f"{label} has no tensor {missing!r}, which its family has")
    known = needed + (family.biases if biases is None else ())
    places = {f"blk.{layer}.{part}" for layer in range(shape.layers) for part in known}
    places |= _OF_MODELS | set(family.model_parts)
    for name in tensors:
        if name not in places and not any(part in name for part in _WITHOUT_EFFECT):
            raise UnsupportedLanguageModel(
                f"{label} has a tensor {quoted(name)}, for which its family has no place here: its answers would "
                "be another model's"
            )


def unfused(weights: Mapping[str, Weight], shape: Architecture) -> dict[str, Weight]:
    """
    `weights`, those of queries, keys and values taken apart where a file has them in one, and those of gate and input.

    What has not the shape of several in one stays as it is: `expect_tensors` finds it, or its use does.
    """
    found = dict(weights)
    wide, narrow = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    for layer in range(shape.layers):
        at = f"blk.{layer}."
        for what in ("weight", "bias"):
            both = found.get(f"{at}attn_qkv.{what}")
            if both is not None and both.shape[:1] == (wide + 2 * narrow,):
                del found[f"{at}attn_qkv.{what}"]
                for name, first, count in (("q", 0, wide), ("k", wide, narrow), ("v", wide + narrow, narrow)):
                    found[f"{at}attn_{name}.{what}"] = both.rows(f"{at}attn_{name}.{what}", first, count)
        both = found.get(f"{at}ffn_up.weight")
        is_double = both is not None and both.shape[:1] == (2 * shape.hidden,) and shape.has_gate
        if both is not None and is_double and f"{at}ffn_gate.weight" not in found:
            for name, first in (("gate", 0), ("up", shape.hidden)):
                found[f"{at}ffn_{name}.weight"] = both.rows(f"{at}ffn_{name}.weight", first, shape.hidden)
    return found


def quoted(value: Any) -> str:
    """A value of a file for a sentence, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
