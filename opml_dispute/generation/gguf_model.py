"""
The decoder that GGUF's fields describe: its parameters, weights and tokens.

`gguf_checkpoint` reads a file of one of the `FAMILIES`. Every number is validated before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, Final

from opml_dispute.generation.checkpoint import Architecture, Checkpoint, Weight
from opml_dispute.generation.families import FAMILIES, IN_GGUF, Family, expect_heads, expect_tensors, quoted, unfused
from opml_dispute.generation.gguf_file import GgufFile, read_gguf
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.generation.rope_scaling import RopeScaling, are_usable, yarn_amplitude, yarn_factors
from opml_dispute.generation.vocabulary import Vocabulary
from opml_dispute.generation.word_splits import WITH_FIRST_TOKEN
from opml_dispute.model.tensor import Array

_LARGEST: Final = {"gemma2": 46, "gemma3": 62}
"""Layers of the models (27B) whose scores are scaled by the width over the heads, and not by the size of a head."""
_FEWEST_WITH_WINDOWS: Final = {"exaone4": 64}
"""Layers of the models (32B) that have windows, in families of which smaller models have none."""
MOST_LAYERS: Final = 1_000
MOST_SIZE: Final = 1 << 24
"""Of anything that is counted: elements of a row, heads, tokens, positions."""

_CONTROL, _USER_DEFINED = 3, 4
_END_NAMES: Final = frozenset(
    {"<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "<|eom_id|>", "<|end|>"}
)
"""Tokens that end an answer under whatever number."""


def gguf_checkpoint(path: Path) -> Checkpoint:
    """
    The decoder in a GGUF file. Raises `BadModelFile`, `UnsupportedLanguageModel`.

    A file without tokenizer has no vocabulary; one whose tokenizer is of a kind that is not known neither, and a note.
    """
    file = read_gguf(path)
    fields = _Fields(path, file.fields)
    name = fields.text("general.architecture")
    if name not in IN_GGUF:
        raise UnsupportedLanguageModel(
            f"{path.name} holds a model of the family {quoted(name)}; known are {', '.join(IN_GGUF)}"
        )
    vocabulary, note = _vocabulary(fields, file)
    tensors = _renamed(file.tensors, name)
    architecture = _architecture(fields, replace(file, tensors=tensors), name, FAMILIES[name])
    weights = unfused(tensors, architecture)
    expect_tensors(path.name, weights, architecture, FAMILIES[name])
    if vocabulary is not None and len(vocabulary.tokens) > architecture.vocabulary:
        raise BadModelFile(
            f"{path} has {len(vocabulary.tokens):,} tokens, but an embedding of {architecture.vocabulary:,} rows"
        )
    label = file.fields.get("general.name")
    return Checkpoint(architecture, weights, vocabulary, label if isinstance(label, str) else path.stem, note)


def _renamed(tensors: Mapping[str, Weight], family: str) -> dict[str, Weight]:
    """The tensors under the names that other families have for them."""
    if family == "seed_oss":  # the norm before the feed-forward part is called by what is before that norm
        return {name.replace("post_attention_norm", "ffn_norm"): weight for name, weight in tensors.items()}
    if family == "falcon":  # attention's own norm is the second, where there are two
        seconds = {name.partition("attn_norm_2")[0] for name in tensors if "attn_norm_2" in name}
        names = {name: name for name in tensors}
        for at in seconds:
            for what in ("weight", "bias"):
                names |= {
                    f"{at}attn_norm_2.{what}": f"{at}attn_norm.{what}",
                    f"{at}attn_norm.{what}": f"{at}ffn_norm.{what}",
                }
        return {names[name]: weight for name, weight in tensors.items()}
    return dict(tensors)


class _Fields:
    """A header's fields, by type and range."""

    def __init__(self, path: Path, fields: Mapping[str, Any]) -> None:
        self.path, self.fields = path, fields

    def text(self, key: str) -> str:
        value = self.fields.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def count(self, key: str, most: int = MOST_SIZE, default: int | None = None) -> int:
        value = self.fields.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise self.wrong(key, f"a whole number from 1 to {most:,}")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.fields.get(key, default)
        if not isinstance(value, float) or not isfinite(value) or value < 0:
            raise self.wrong(key, "a number")
        return value

    def listed(self, key: str, kind: type) -> list[Any]:
        value = self.fields.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
            raise self.wrong(key, f"a list of {kind.__name__}")
        return value

    def token(self, key: str, tokens: int) -> int | None:
        value = self.fields.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or not 0 <= value < tokens:
            raise self.wrong(key, f"a token below {tokens:,}")
        return value

    def wrong(self, key: str, expected: str) -> BadModelFile:
        found = "nothing" if key not in self.fields else quoted(self.fields[key])
        return BadModelFile(f"{self.path} has {found} as {key}; expected {expected}")


def _architecture(fields: _Fields, file: GgufFile, name: str, family: Family) -> Architecture:
    def key(suffix: str) -> str:
        return f"{name}.{suffix}"

    experts = file.fields.get(key("expert_count"), 0)
    if experts:
        raise UnsupportedLanguageModel(
            f"{fields.path.name} is a mixture of {quoted(experts)} experts, which is not known here"
        )
    width = fields.count(key("embedding_length"))
    heads = fields.count(key("attention.head_count"), 1 << 16)
    kv_heads = fields.count(key("attention.head_count_kv"), heads, heads)
    head_size = fields.count(key("attention.key_length"), 1 << 16, max(width // heads, 1))
    expect_heads(fields.path, heads, kv_heads, head_size)
    if fields.count(key("attention.value_length"), 1 << 16, head_size) != head_size:
        raise UnsupportedLanguageModel(f"{fields.path.name} has values of another size than its keys")
    base = _positive(fields, key("rope.freq_base"), 10_000.0)
    turned = _turned(fields, key("rope.dimension_count"), head_size)
    scaling = _rope_scaling(fields, file, name, turned, base)
    scaling.expect_usable(fields.path.name)
    gemma = family.is_gemma
    layers = fields.count(key("block_count"), MOST_LAYERS)
    window = _window(fields, key("attention.sliding_window"), family, layers)
    local = _local_layers(fields, key("attention.sliding_window_pattern"), family, layers) if window else frozenset()
    multipliers = _multipliers(fields, name) if family.has_multipliers else {}
    return Architecture(
        name=name,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        hidden=fields.count(key("feed_forward_length")),
        vocabulary=_embedding(fields, file).shape[0],
        context=fields.count(key("context_length")),
        epsilon=fields.real(key(f"attention.layer_norm_{'rms_' if family.norm == 'rms' else ''}epsilon")),
        rope_base=base,
        rope_pairs=family.rope_pairs,
        rope_size=turned,
        rope_scaling=scaling,
        unturned=_unturned(name, family, layers, local),
        activation="gelu" if gemma else family.activation,
        **family.traits(),
        **_parallel(fields, file, name, family),
        alibi=fields.real(key("attention.max_alibi_bias"), family.alibi) if family.alibi else 0.0,
        projection_cap=fields.real(key("attention.clamp_kqv"), 0.0) if name in ("mpt", "olmo") else 0.0,
        logit_scale=_positive(fields, key("logit_scale"), 1.0) if name in ("command-r", "cohere2") else 1.0,
        embedding_scale=multipliers.get("embedding_scale", width**0.5 if gemma else 1.0),
        query_scale=multipliers.get(
            "attention.scale", (width // heads) ** -0.5 if layers == _LARGEST.get(name, -1) else None
        ),
        residual_scale=multipliers.get("residual_scale", 1.0),
        logit_divisor=multipliers.get("logit_scale", 1.0),
        attention_cap=fields.real(key("attn_logit_softcapping"), 50.0) if name == "gemma2" else 0.0,
        logit_cap=fields.real(key("final_logit_softcapping"), 30.0 if name == "gemma2" else 0.0)
        if gemma and family.local_period
        else 0.0,
        window=window,
        local=local,
        local_rope_base=_local_rope_base(fields, name, base) if window else None,
    )


def _parallel(fields: _Fields, file: GgufFile, name: str, family: Family) -> dict[str, Any]:
    """Whether both parts of a layer take the same rows, and behind one norm."""
    is_parallel, has_one = family.is_parallel, family.has_one_norm
    if name == "gptneox":
        told = fields.fields.get("gptneox.use_parallel_residual", True)
        if not isinstance(told, bool):
            raise fields.wrong("gptneox.use_parallel_residual", "true or false")
        is_parallel = told
    elif name in ("falcon", "stablelm"):
        has_one = "blk.0.ffn_norm.weight" not in file.tensors
        is_parallel = is_parallel or has_one
    return {"is_parallel": is_parallel, "has_one_norm": has_one}


def _local_rope_base(fields: _Fields, name: str, base: float) -> float | None:
    """Of local layers, where their rotations are others: scaled by nothing."""
    if name == "gemma3":
        return _positive(fields, f"{name}.rope.freq_base_swa", 10_000.0)
    return base if name == "olmo2" else None


def _turned(fields: _Fields, key: str, head_size: int) -> int:
    """Elements of each head that are turned."""
    turned = fields.count(key, head_size, head_size)
    if turned % 2:
        raise fields.wrong(key, "an even number")
    return turned


def _multipliers(fields: _Fields, name: str) -> dict[str, float]:
    """The scales that a file gives, without the family's name before them; one that is left out, or 0, is none."""
    suffixes = ("embedding_scale", "attention.scale", "residual_scale", "logit_scale")
    return {
        suffix: told
        for suffix in suffixes
        if f"{name}.{suffix}" in fields.fields and (told := fields.real(f"{name}.{suffix}"))
    }


def _rope_scaling(fields: _Fields, file: GgufFile, name: str, turned: int, base: float) -> RopeScaling:
    """Raises `UnsupportedLanguageModel` for scalings that are not known."""

    def real(suffix: str, default: float) -> float:
        return _positive(fields, f"{name}.rope.scaling.{suffix}", default)

    kind = fields.fields.get(f"{name}.rope.scaling.type", "none")
    factors = _factors(file, "rope_freqs.weight", turned)
    short, long = (_factors(file, f"rope_factors_{which}.weight", turned) for which in ("short", "long"))
    original = fields.count(
        f"{name}.rope.scaling.original_context_length", default=fields.count(f"{name}.context_length")
    )
    if short is not None or long is not None:
        if short is None or long is None:
            raise UnsupportedLanguageModel(
                f"{fields.path.name} has factors of rotations for one length of context only"
            )
        return RopeScaling(
            factors=short, long_factors=long, original_context=original, amplitude=real("attn_factor", 1.0)
        )
    if kind == "yarn" and factors is None:
        factor = real("factor", 1.0)
        stretched = yarn_factors(
            turned, _above_one(fields, name, base), factor=factor, original=original,
            fast=real("yarn_beta_fast", 32.0), slow=real("yarn_beta_slow", 1.0),
        )  # fmt: skip
        return RopeScaling(factors=stretched, amplitude=yarn_amplitude(factor) * real("attn_factor", 1.0))
    if kind not in ("none", "linear"):
        beside = "" if factors is None else " beside rope_freqs.weight"
        raise UnsupportedLanguageModel(
            f"{fields.path.name} scales positions by {quoted(kind)}{beside}; expected 'linear', 'yarn' or none"
        )
    linear = fields.real(f"{name}.rope.scaling.factor", 1.0) if kind == "linear" else 1.0
    return RopeScaling(divisor=linear or 1.0, factors=factors)


def _above_one(fields: _Fields, name: str, base: float) -> float:
    if base <= 1:
        raise fields.wrong(f"{name}.rope.freq_base", "a number above 1")
    return base


def _factors(file: GgufFile, name: str, turned: int) -> Array | None:
    """f32[turned / 2]: by which the frequencies of rotations are divided; None if the file has no such tensor."""
    weight = file.tensors.get(name)
    if weight is None:
        return None
    if weight.shape != (turned // 2,):
        raise UnsupportedLanguageModel(
            f"tensor {name!r} has the shape {list(weight.shape)}; expected [{turned // 2}]: half of what is turned"
        )
    factors = weight.float32()
    if not are_usable(factors):
        raise UnsupportedLanguageModel(f"tensor {name!r} has an element that is no number above 0")
    return factors


def _embedding(fields: _Fields, file: GgufFile) -> Weight:
    """Raises `UnsupportedLanguageModel`."""
    found = file.tensors.get("token_embd.weight")
    if found is None:
        raise UnsupportedLanguageModel(f"{fields.path.name} has no tensor 'token_embd.weight': it is no decoder")
    return found


def _window(fields: _Fields, key: str, family: Family, layers: int) -> int:
    """How far local layers see; 0 if there are none."""
    if not family.local_period or layers < _FEWEST_WITH_WINDOWS.get(key.partition(".")[0], 1):
        return 0
    if fields.fields.get(key, family.window) == 0:
        return 0
    return fields.count(key, MOST_SIZE, family.window)


def _local_layers(fields: _Fields, key: str, family: Family, layers: int) -> frozenset[int]:
    """The layers that see a window only: all but each of a number, or as the file lists them."""
    told = fields.fields.get(key)
    if isinstance(told, list) and told:
        if len(told) != layers or not all(isinstance(is_local, bool) for is_local in told):
            raise fields.wrong(key, f"{layers} times true or false")
        return frozenset(layer for layer, is_local in enumerate(told) if is_local)
    period = fields.count(key, MOST_LAYERS, family.local_period)
    return frozenset(range(layers)) - (_each(period, layers) if period > 1 else frozenset())


def _unturned(name: str, family: Family, layers: int, local: frozenset[int]) -> frozenset[int]:
    """The layers that turn nothing."""
    if not family.turns:
        return frozenset(range(layers))
    if name in ("exaone4", "cohere2") and local:
        return frozenset(range(layers)) - local
    return _each(family.unturned_period, layers)


def _each(period: int, layers: int) -> frozenset[int]:
    """Each `period`-th layer; none for 0."""
    return frozenset(range(period - 1, layers, period)) if period else frozenset()


def _positive(fields: _Fields, key: str, default: float) -> float:
    value = fields.real(key, default)
    if value <= 0:
        raise fields.wrong(key, "a number above 0")
    return value


def _vocabulary(fields: _Fields, file: GgufFile) -> tuple[Vocabulary | None, tuple[str, ...]]:
    """The tokens of a file, and what the reader should know about them."""
    prefix = "tokenizer.ggml."
    kind = file.fields.get(f"{prefix}model")
    if kind is None:
        return None, ("The file has no tokenizer: prompts are tokens.",)
    tokens = fields.listed(f"{prefix}tokens", str)
    if not tokens:
        raise fields.wrong(f"{prefix}tokens", "a list of tokens")
    kinds = fields.listed(f"{prefix}token_type", int) or [1] * len(tokens)
    if len(kinds) != len(tokens):
        raise BadModelFile(f"{fields.path} has {len(tokens):,} tokens, but the kinds of {len(kinds):,}")
    control = [i for i, what in enumerate(kinds) if what == _CONTROL]
    added = [i for i, what in enumerate(kinds) if what in (_CONTROL, _USER_DEFINED)]
    begin = fields.token(f"{prefix}bos_token_id", len(tokens))
    end = fields.token(f"{prefix}eos_token_id", len(tokens))
    turn_end = fields.token(f"{prefix}eot_token_id", len(tokens))
    ends = {token for token in (end, turn_end) if token is not None}
    ends |= {i for i in control if tokens[i] in _END_NAMES}
    template = file.fields.get("tokenizer.chat_template")
    named = {"bos_token": begin, "eos_token": end}
    split = str(file.fields.get(f"{prefix}pre", "default"))
    begins = bool(file.fields.get(f"{prefix}add_bos_token", kind == "llama" or split in WITH_FIRST_TOKEN))
    vocabulary = Vocabulary(
        tokens,
        "bytes" if kind == "gpt2" else "pieces",
        special=control,
        added=added,
        begin=begin if begins else None,
        end_tokens=sorted(ends),
        template=template if isinstance(template, str) else None,
        names={what: tokens[i] for what, i in named.items() if i is not None},
    )
    if kind == "gpt2":
        return replace(vocabulary, split=split, merges=fields.listed(f"{prefix}merges", str)), ()
    if kind == "llama":
        scores = fields.listed(f"{prefix}scores", float)
        if not all(map(isfinite, scores)):
            raise BadModelFile(f"{fields.path} has a score of a token that is no number")
        if len(scores) != len(tokens):
            raise BadModelFile(f"{fields.path} has {len(tokens):,} tokens, but the scores of {len(scores):,}")
        spaced = bool(file.fields.get(f"{prefix}add_space_prefix", True))
        return replace(vocabulary, scores=scores, prefix=spaced), ()
    return None, (f"The file's tokenizer is of a kind, {str(kind)[:40]!r}, not known here: prompts are tokens.",)
