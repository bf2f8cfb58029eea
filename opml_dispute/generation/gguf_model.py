"""
The decoder that GGUF's fields describe: its parameters, weights and tokens.

`gguf_checkpoint` reads a file of one of the `FAMILIES`. Every number is validated before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, Final

from opml_dispute.generation.checkpoint import Architecture, Checkpoint, RopePairs
from opml_dispute.generation.gguf_file import GgufFile, read_gguf
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.generation.vocabulary import Vocabulary

MOST_LAYERS: Final = 1_000
MOST_SIZE: Final = 1 << 24
"""Of anything that is counted: elements of a row, heads, tokens, positions."""

_CONTROL, _USER_DEFINED = 3, 4
_END_NAMES: Final = frozenset(
    {"<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "<|eom_id|>", "<|end|>"}
)
"""Tokens that end an answer under whatever number."""


@dataclass(frozen=True)
class Family:
    """Decoders with the same computation."""

    rope_pairs: RopePairs
    is_gemma: bool = False
    local_layers: int = 0
    """If the file says how far local layers see: all are local but each of this number."""


FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family("neighbours"),
    "qwen2": Family("halves"),
    "qwen3": Family("halves"),
    "gemma": Family("halves", is_gemma=True),
    "gemma2": Family("halves", is_gemma=True, local_layers=2),
    "gemma3": Family("halves", is_gemma=True, local_layers=6),
}


def gguf_checkpoint(path: Path) -> Checkpoint:
    """
    The decoder in a GGUF file. Raises `BadModelFile`, `UnsupportedLanguageModel`.

    A file without tokenizer has no vocabulary; one whose tokenizer is of a kind that is not known neither, and a note.
    """
    file = read_gguf(path)
    fields = _Fields(path, file.fields)
    name = fields.text("general.architecture")
    if name not in FAMILIES:
        raise UnsupportedLanguageModel(
            f"{path.name} holds a model of the family {name!r}; known are {', '.join(FAMILIES)}"
        )
    vocabulary, note = _vocabulary(fields, file)
    architecture = _architecture(fields, file, name, FAMILIES[name])
    if vocabulary is not None and len(vocabulary.tokens) > architecture.vocabulary:
        raise BadModelFile(
            f"{path} has {len(vocabulary.tokens):,} tokens, but an embedding of {architecture.vocabulary:,} rows"
        )
    label = file.fields.get("general.name")
    return Checkpoint(architecture, file.tensors, vocabulary, label if isinstance(label, str) else path.stem, note)


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
        found = "nothing" if key not in self.fields else repr(self.fields[key])[:60]
        return BadModelFile(f"{self.path} has {found} as {key}; expected {expected}")


def _architecture(fields: _Fields, file: GgufFile, name: str, family: Family) -> Architecture:
    def key(suffix: str) -> str:
        return f"{name}.{suffix}"

    if file.fields.get(key("expert_count"), 0):
        raise UnsupportedLanguageModel(
            f"{fields.path.name} is a mixture of {file.fields[key('expert_count')]} experts, which is not known here"
        )
    width = fields.count(key("embedding_length"))
    heads = fields.count(key("attention.head_count"), 1 << 16)
    kv_heads = fields.count(key("attention.head_count_kv"), heads, heads)
    head_size = fields.count(key("attention.key_length"), 1 << 16, max(width // heads, 1))
    if heads % kv_heads or head_size % 2:
        raise BadModelFile(
            f"{fields.path} has {heads} heads of {head_size} elements over {kv_heads} key heads; expected a multiple "
            "of the latter, and an even size"
        )
    if fields.count(key("attention.value_length"), 1 << 16, head_size) != head_size:
        raise UnsupportedLanguageModel(f"{fields.path.name} has values of another size than its keys")
    turned = fields.count(key("rope.dimension_count"), 1 << 16, head_size)
    if turned != head_size:
        raise UnsupportedLanguageModel(
            f"{fields.path.name} turns {turned} of the {head_size} elements of a head; expected all"
        )
    scaling = file.fields.get(key("rope.scaling.type"), "none")
    if scaling not in ("none", "linear"):
        raise UnsupportedLanguageModel(f"{fields.path.name} scales positions by {scaling!r}; expected 'linear' or none")
    divisor = fields.real(key("rope.scaling.factor"), 1.0) if scaling == "linear" else 1.0
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise UnsupportedLanguageModel(f"{fields.path.name} has no tensor 'token_embd.weight': it is no decoder")
    gemma = family.is_gemma
    window = fields.count(key("attention.sliding_window"), MOST_SIZE, MOST_SIZE) if family.local_layers else 0
    return Architecture(
        name=name,
        layers=fields.count(key("block_count"), MOST_LAYERS),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        hidden=fields.count(key("feed_forward_length")),
        vocabulary=embedding.shape[0],
        context=fields.count(key("context_length")),
        epsilon=fields.real(key("attention.layer_norm_rms_epsilon")),
        rope_base=_positive(fields, key("rope.freq_base"), 10_000.0),
        rope_pairs=family.rope_pairs,
        rope_divisor=divisor or 1.0,
        activation="gelu" if gemma else "silu",
        embedding_scale=width**0.5 if gemma else 1.0,
        query_scale=(width / heads) ** -0.5
        if name == "gemma2" and fields.fields.get(key("block_count")) == 46
        else None,
        attention_cap=fields.real(key("attn_logit_softcapping"), 50.0) if name == "gemma2" else 0.0,
        logit_cap=fields.real(key("final_logit_softcapping"), 30.0) if name == "gemma2" else 0.0,
        window=window,
        window_period=family.local_layers or 1,
        local_rope_base=10_000.0 if name == "gemma3" else None,
    )


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
    begins = bool(file.fields.get(f"{prefix}add_bos_token", kind == "llama"))
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
        split = str(file.fields.get(f"{prefix}pre", "default"))
        return replace(vocabulary, split=split, merges=fields.listed(f"{prefix}merges", str)), ()
    if kind == "llama":
        scores = fields.listed(f"{prefix}scores", float)
        if len(scores) != len(tokens):
            raise BadModelFile(f"{fields.path} has {len(tokens):,} tokens, but the scores of {len(scores):,}")
        spaced = bool(file.fields.get(f"{prefix}add_space_prefix", True))
        return replace(vocabulary, scores=scores, prefix=spaced), ()
    return None, (f"The file's tokenizer is of a kind, {str(kind)[:40]!r}, not known here: prompts are tokens.",)
