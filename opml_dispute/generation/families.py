"""
The families of decoders: how each differs from the others, and which tensors its models have.

`expect_tensors` holds a file's tensors against its family, whatever kind of file they come from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opml_dispute.generation.checkpoint import Architecture, RopePairs, Weight
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


_QKV_BIASES: Final = ("attn_q.bias", "attn_k.bias", "attn_v.bias")
_ALL_BIASES: Final = (*_QKV_BIASES, "attn_output.bias", "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias")
_HEAD_NORMS: Final = ("attn_q_norm.weight", "attn_k_norm.weight")
_NORMS_BEHIND: Final = ("post_attention_norm.weight", "post_ffw_norm.weight")
_NORMS_BEFORE: Final = ("attn_norm.weight", "ffn_norm.weight")
_OF_LAYERS: Final = (
    "attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight", "ffn_gate.weight", "ffn_up.weight",
    "ffn_down.weight",
)  # fmt: skip
_OF_MODELS: Final = frozenset(
    {
        "token_embd.weight", "output_norm.weight", "output.weight",
        "rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight",
    }
)  # fmt: skip
_WITHOUT_EFFECT: Final = ("attn_rot_embd", "rope_freqs")
"""Parts of layers that old files have, and that no implementation reads."""

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
}


def expect_heads(path: Path, heads: int, kv_heads: int, head_size: int) -> None:
    """Raises `BadModelFile` unless the heads of attention go together; `path` names the file or folder."""
    if heads % kv_heads or head_size % 2:
        raise BadModelFile(
            f"{path} has {heads} heads of {head_size} elements over {kv_heads} key heads; expected a multiple of the "
            "latter, and an even size"
        )


def expect_tensors(
    label: str, tensors: Collection[str], layers: int, family: Family, biases: tuple[str, ...] | None = None
) -> None:
    """
    Raises `UnsupportedLanguageModel` unless there is a place for every tensor, and all that the family has are there.

    `biases` are those that a configuration says the model has; by default it has any of its family's. A tensor without
    a place (a bias, one more norm) would change the answers of other implementations.
    """
    needed = (*family.parts, *(biases or ()))
    for layer in range(layers):
        missing = next((part for part in needed if f"blk.{layer}.{part}" not in tensors), None)
        if missing is not None:
            raise UnsupportedLanguageModel(f"{label} has no tensor 'blk.{layer}.{missing}', which its family has")
    known = (*_OF_LAYERS, *(_NORMS_BEFORE if family.has_norms_before else ()), *needed)
    known += family.biases if biases is None else ()
    places = {f"blk.{layer}.{part}" for layer in range(layers) for part in known}
    for name in tensors:
        if name not in places and name not in _OF_MODELS and not any(part in name for part in _WITHOUT_EFFECT):
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
        both = found.get(f"{at}attn_qkv.weight")
        if both is not None and both.shape[:1] == (wide + 2 * narrow,):
            del found[f"{at}attn_qkv.weight"]
            for name, first, count in (("q", 0, wide), ("k", wide, narrow), ("v", wide + narrow, narrow)):
                found[f"{at}attn_{name}.weight"] = both.rows(f"{at}attn_{name}.weight", first, count)
        both = found.get(f"{at}ffn_up.weight")
        if both is not None and both.shape[:1] == (2 * shape.hidden,) and f"{at}ffn_gate.weight" not in found:
            for name, first in (("gate", 0), ("up", shape.hidden)):
                found[f"{at}ffn_{name}.weight"] = both.rows(f"{at}ffn_{name}.weight", first, shape.hidden)
    return found


def quoted(value: Any) -> str:
    """A value of a file for a sentence, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
