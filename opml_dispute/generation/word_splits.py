"""
How a text is cut into words before their bytes are merged, by the name that a GGUF file has for it.

Tokenizers of one kind differ in this rule alone, and a GGUF file carries only its name (`tokenizer.ggml.pre`). A rule
is a list of regular expressions, each of which cuts what those before it left whole; matches and gaps are words alike.
The expressions are those of the models' own `tokenizer.json`, and where there is none, those that llama.cpp has under
the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Rule = tuple[str, ...]

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_QWEN2 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}|{_SIGNS}|{_SPACES}"
_LLAMA3 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}"


def _mixed(ending: str, number: str) -> str:
    """Cuts where small letters are followed by a large one, too."""
    before = r"[^\r\n\p{L}\p{N}]?"
    large, small = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    words = rf"{before}{large}*{small}+{ending}|{before}{large}+{small}*{ending}"
    return rf"{words}|{number}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"


_GPT4O = _mixed(f"{_CONTRACTIONS}?", r"\p{N}{1,3}")
_ASCII_SIGNS = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
_KANJI_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_DEEPSEEK_WORDS = rf"{_ASCII_SIGNS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+"
_EAST_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_SIGNS_OF_BOTH_WIDTHS = r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_MARKED = r"[\p{L}\p{M}]"
_NAMES: Final[Mapping[Rule, tuple[str, ...]]] = {
    (_GPT2,): (
        *("gpt-2", "phi-2", "olmo", "mpt", "jais", "mellum", "exaone4", "gigachat", "a.x-4.0", "trillion"),
        *("granite-docling",),
    ),
    (r"\p{N}", _GPT2): (
        *("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"),
    ),
    # What a file without a name is read by: no model's own rule.
    (r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"): ("default",),
    (_LLAMA3,): (
        *("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        *("dbrx", "smaug-bpe", "chatglm-bpe", "glm4", "glm5"),
    ),
    (_QWEN2,): ("qwen2", "stablelm2", "deepseek-r1-qwen", "megrez", "kormo", "hunyuan", "solar-open", "grok-2"),
    (rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?{_MARKED}+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}",): (
        "qwen35",
    ),
    (rf"{_WORD}|\p{{N}}|{_SIGNS}|{_SPACES}",): ("ufakzeka",),
    (r"[^\n]+|[\n]+", _QWEN2): ("laguna",),
    (r"\p{N}{1,3}", _QWEN2.replace(r"\p{N}|", r"\p{N}+|")): ("minicpm5",),
    (rf"'(?i:[sdmt]|ll|ve|re)|{_WORD}|\p{{N}}|{_SIGNS}|\s*[\r\n]|\s+(?!\S)|\s+",): (
        *("bailingmoe", "bailingmoe2", "llada-moe"),
    ),
    (rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",): ("seed-coder",),
    (
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
    ): ("exaone-moe",),
    (_GPT4O,): ("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"),
    (_mixed("", r"\p{N}"),): ("tekken",),
    (r"\d{1,3}(?=(?:\d{3})*\b)", _GPT4O): ("tiny_aya", "cohere2moe"),
    (r"[\p{P}$+<=>^~|`]+", _GPT2, "[0-9][0-9][0-9]"): ("falcon",),
    (r"[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", _SIGNS_OF_BOTH_WIDTHS, r"\s+$", _EAST_ASIAN, r"\p{N}+"): ("deepseek-llm",),
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _EAST_ASIAN, r"\p{N}"): ("deepseek-coder",),
    (r"\p{N}{1,3}", _KANJI_AND_KANA, rf"{_DEEPSEEK_WORDS}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"): (
        *("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"),
    ),
    (_BLOOM,): ("bloom", "poro-chat", "gpt3-finnish"),
    (_BLOOM, r"\p{N}"): ("viking",),
}
SPLITS: Final[Mapping[str, Rule]] = {name: rule for rule, names in _NAMES.items() for name in names}
"""The rule of each name."""
WITH_FIRST_TOKEN: Final = frozenset(
    {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken"}
)
"""Those whose texts start with a token of their own, unless a file says otherwise."""
WHOLE_WORDS: Final = WITH_FIRST_TOKEN | {"glm4", "glm5", "minicpm5"}
"""Those that take a word which is a token as it is, without merging."""
