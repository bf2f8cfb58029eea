"""How each rule cuts one text into words, and that the names of a rule share it."""

from __future__ import annotations

import pytest
from tokenizers import Regex, pre_tokenizers

from opml_dispute.generation.word_splits import SPLITS, WHOLE_WORDS, WITH_FIRST_TOKEN

TEXT = "I've HTMLParser  x=12345.5;\n\n \u4f60\u597d\uff0c\u00c4e\u0301 $9"
WORDS = {
    "gpt-2": "I|'ve| HTMLParser| | x|=|12345|.|5|;|\n\n| \u4f60\u597d|\uff0c|\xc4e|\u0301| $|9",
    "smollm": "I|'ve| HTMLParser| | x|=|1|2|3|4|5|.|5|;|\n\n| \u4f60\u597d|\uff0c|\xc4e|\u0301| $|9",
    "default": "I|'|ve| HTMLParser| | x|=|123|45|.|5|;|\n\n| \u4f60\u597d|\uff0c|\xc4e|\u0301| |$|9",
    "llama-bpe": "I|'ve| HTMLParser| | x|=|123|45|.|5|;\n\n| \u4f60\u597d|\uff0c\xc4e|\u0301| $|9",
    "qwen2": "I|'ve| HTMLParser| | x|=|1|2|3|4|5|.|5|;\n\n| \u4f60\u597d|\uff0c\xc4e|\u0301| $|9",
    "qwen35": "I|'ve| HTMLParser| | x|=|1|2|3|4|5|.|5|;\n\n| \u4f60\u597d|\uff0c\xc4e\u0301| $|9",
    "laguna": "I|'ve| HTMLParser| | x|=|1|2|3|4|5|.|5|;|\n\n| \u4f60\u597d|\uff0c\xc4e|\u0301| $|9",
    "exaone-moe": "I|'ve| HTMLParser| | x|=|1|2|3|4|5|.|5|;\n|\n| \u4f60\u597d|\uff0c\xc4e\u0301| $|9",
    "gpt-4o": "I've| HTMLParser| | x|=|123|45|.|5|;\n\n| \u4f60\u597d|\uff0c\xc4e\u0301| $|9",
    "tekken": "I|'ve| HTMLParser| | x|=|1|2|3|4|5|.|5|;\n\n| \u4f60\u597d|\uff0c\xc4e\u0301| $|9",
    "tiny_aya": "I've| HTMLParser| | x|=|12|345|.|5|;\n\n| \u4f60\u597d|\uff0c\xc4e\u0301| $|9",
    "falcon": "I|'|ve| HTMLParser| | x|=|123|45|.|5|;|\n\n| \u4f60\u597d|\uff0c|\xc4e|\u0301| |$|9",
    "deepseek-llm": "I|'|ve| HTMLParser| | x|=|12345|.|5|;|\n|\n| |\u4f60\u597d|\uff0c|\xc4|e|\u0301| $|9",
    "deepseek-coder": "I|'|ve| HTMLParser| | x|=|1|2|3|4|5|.|5|;|\n|\n| |\u4f60\u597d|\uff0c|\xc4e|\u0301 $|9",
    "deepseek-v3": "I|'ve| HTMLParser| | x|=|123|45|.|5|;\n\n| |\u4f60\u597d|\uff0c|\xc4e\u0301| $|9",
    "viking": "I've| HTMLParser| | x=|1|2|3|4|5|.|5|;|\n\n| \u4f60\u597d|\uff0c|\xc4e\u0301| $|9",
}
"""With | between words, as llama.cpp's tokenizers and the models' own cut it."""


def words(split: str, text: str) -> list[str]:
    steps = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(rule), "isolated") for rule in SPLITS[split]])
    return [word for word, _ in steps.pre_tokenize_str(text)]


@pytest.mark.parametrize("split", WORDS)
def test_a_text_is_cut_as_the_models_with_that_rule_cut_it(split: str) -> None:
    assert "|".join(words(split, TEXT)) == WORDS[split]


def test_a_rule_without_english_endings_keeps_a_turkish_one_whole() -> None:
    assert words("ufakzeka", "\u0130zmir'de") == ["\u0130zmir", "'de"]
    assert words("qwen2", "\u0130zmir'de") == ["\u0130zmir", "'d", "e"]


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_of_a_text_is_lost(split: str) -> None:
    for text in (TEXT, "", " ", "\r\n\t ", "a\u0000b", "\U0001f999" * 3, "(x|y)"):
        assert "".join(words(split, text)) == text


def test_every_name_that_says_how_words_begin_has_a_rule() -> None:
    assert set(SPLITS) >= WHOLE_WORDS | WITH_FIRST_TOKEN
