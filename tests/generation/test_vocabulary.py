"""Tokens: text there and back, as it streams, in both kinds; chats by a foreign template; what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opml_dispute.generation.files import read_checkpoint
from opml_dispute.generation.refusals import BadPrompt, NoTokenizer
from opml_dispute.generation.talk import marked
from opml_dispute.generation.vocabulary import _BYTES, SPACE, Vocabulary, vocabulary_from_json
from opml_dispute.generation.word_splits import SPLITS
from opml_dispute.models import LETTERS

BYTES = Vocabulary(
    ["<end>", *_BYTES, "ab", "abc", "\u0120t", "\u0120th", "\u0120the"],
    "bytes",
    special=[0],
    added=[0],
    end_tokens=[0],
    template="{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}<end>",
    names={"bos_token": "<s>"},
    split="gpt-2",
    merges=["a b", "ab c", "\u0120 t", "\u0120t h", "\u0120th e"],
)
PIECES = Vocabulary(
    ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), SPACE, "a", "b", f"{SPACE}a", f"{SPACE}ab", "ab"],
    "pieces",
    special=[0],
    scores=[0.0] * 257 + [-9.0, -8.0, -7.0, -3.0, -1.0, -2.0],
    prefix=True,
    begin=0,
)
TEXTS = ["abc the end", "Zw\u00f6lf Boxk\u00e4mpfer \U0001f389 12345", " \n\t x", "ab", "\u65e5\u672c\u8a9e"]


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_go_there_and_back(text: str) -> None:
    """What streams is the same, and no character comes before it is whole."""
    tokens = replace(BYTES, merges=[]).encode(text)
    assert BYTES.text(tokens) == text
    parts = list(BYTES.stream(tokens))
    assert "".join(parts) == text
    assert "\ufffd" not in "".join(parts)


@pytest.mark.parametrize("split", SPLITS)
def test_every_way_to_split_keeps_every_character(split: str) -> None:
    vocabulary = replace(BYTES, split=split, merges=[], tokens=["<end>", *_BYTES])
    for text in TEXTS:
        assert vocabulary.text(vocabulary.encode(text)) == text


def test_pieces_begin_with_their_token_and_fall_back_to_bytes() -> None:
    tokens = PIECES.encode("ab a\u00fc")
    assert tokens[0] == 0
    assert PIECES.text(tokens) == " ab a\u00fc"
    assert PIECES.tokens[tokens[1]] == f"{SPACE}ab"


def test_special_tokens_are_named_in_text_and_silent() -> None:
    tokens = BYTES.encode("ab<end>")
    assert tokens[-1] == 0
    assert BYTES.text(tokens) == "ab"
    assert BYTES.text([-1, 10**9]) == ""


def test_a_vocabulary_is_kept_as_json() -> None:
    assert vocabulary_from_json(BYTES.to_json()) == BYTES
    for text in ("", "[]", "{}", '{"tokens": 3, "other": 1}'):
        with pytest.raises(NoTokenizer):
            vocabulary_from_json(text)


def test_a_chat_is_what_the_template_makes_of_it() -> None:
    assert BYTES.chat([{"role": "user", "content": "hi"}]) == "<s>[user]hi<end>"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}", "<\u00fc>"),
        (
            "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.role }}{% endfor %}",
            "assistant",
        ),
        ("a{% generation %}{{ messages[1].content }}{% endgeneration %}b", "ayesb"),
        ("{{ messages[0].content | tojson }}", '"<\u00fc>"'),
        ("{{ messages[0] | tojson(indent=1) }}", '{\n "role": "user",\n "content": "<\u00fc>"\n}'),
        ("{{ strftime_now('%Y-%m-%d') | length }}", "10"),
        ("{% if strftime_now is defined %}dated{% endif %}", "dated"),
    ],
)
def test_a_template_finds_what_hugging_faces_templates_expect(template: str, text: str) -> None:
    """Loops that end early, marks for training, JSON that is not written for a page, and the date."""
    chat = [{"role": "user", "content": "<\u00fc>"}, {"role": "assistant", "content": "yes"}]
    assert Vocabulary(["a"], "bytes", template=template).chat(chat) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{ strftime_now(3) }}",
        "{% generation %}",
        "{{ messages | tojson(nonsense=1) }}",
        "{% for %}",
        "{{ raise_exception('no system') }}",
        "{{ messages.x.y }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    ],
)
def test_a_template_that_fails_or_breaks_out_is_told(template: str) -> None:
    foreign = Vocabulary(["a"], "bytes", template=template)
    with pytest.raises(NoTokenizer, match="chat template fails"):
        foreign.chat([{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "more than 3 s"),
        ("{{ 'a' * 10000000000 }}", "MemoryError"),
        ("{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "MemoryError"),
        ("{{ 'a' * 2000000 }}", "2,000,000 characters"),
    ],
)
def test_a_template_without_end_is_stopped(template: str, message: str) -> None:
    foreign = Vocabulary(["a"], "bytes", template=template)
    with pytest.raises(NoTokenizer, match=message):
        foreign.chat([{"role": "user", "content": "hi"}])


def test_what_is_no_prompt_is_refused() -> None:
    letters = read_checkpoint(LETTERS).vocabulary
    assert letters is not None
    for text, message in (
        ("", "empty"),
        ("\udcff", "half of a character"),
        ("a\u00fc", "character 1, which the model"),
    ):
        with pytest.raises(BadPrompt, match=message):
            letters.encode(text)


def test_the_token_in_which_answers_differ_is_marked() -> None:
    letters = read_checkpoint(LETTERS).vocabulary
    assert letters is not None
    tokens = letters.encode("abc")
    expected = [">>>a<<<bc", "a>>>b<<<c", "ab>>>c<<<", "abc>>><<<", "abc>>><<<"]
    assert [marked(letters, tokens, number) for number in range(5)] == expected
    assert marked(letters, [], 0) == ">>><<<"
    halves = Vocabulary(["Ã", "¼"], "bytes")  # the two bytes of one character
    assert marked(halves, [0, 1], 0) == ">>><<<ü"


def test_a_damaged_tokenizer_is_told() -> None:
    for damaged in (
        Vocabulary(["a"], "bytes", split="gpt-2", merges=["x y"]),
        Vocabulary(["a"], "bytes", split="unheard of"),
        Vocabulary(["a"], "bytes", tokenizer_json="{}"),
        Vocabulary(["ab", "a", "b"], "pieces", scores=[]),
    ):
        with pytest.raises(NoTokenizer):
            damaged.encode("a")
