"""
Tokens: the pieces of text that a language model reads and writes.

A `Vocabulary` is what a model's file says about its tokens. `encode` turns text into tokens, by the package
`tokenizers`; `text` and `stream` turn tokens into text, which may take several tokens a character. Chats become text by
the model's own template (`chat`), which is foreign code and runs in Jinja's sandbox.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from opml_dispute import plain_json
from opml_dispute.generation.chat_process import TemplateFails, rendered
from opml_dispute.generation.refusals import BadPrompt, NoTokenizer
from opml_dispute.generation.word_splits import SPLITS, WHOLE_WORDS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "\u2581"
"""Stands for a space in the tokens of SentencePiece."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one model, as JSON can hold them (`to_json`, `vocabulary_from_json`)."""

    tokens: list[str]
    kind: Literal["bytes", "pieces"]
    """Whether tokens are written as GPT-2 does, a letter a byte, or as SentencePiece does."""
    special: list[int] = field(default_factory=list)
    """Tokens that stand for no text."""
    added: list[int] = field(default_factory=list)
    """Tokens that a text names as a whole; they are never put together of others."""
    begin: int | None = None
    """The token that every text starts with, if there is one."""
    end_tokens: list[int] = field(default_factory=list)
    """The tokens that end an answer, ascending."""
    template: str | None = None
    """How a chat becomes text, in Jinja."""
    names: dict[str, str] = field(default_factory=dict)
    """What the template may ask for: bos_token, eos_token."""
    split: str = ""
    """Kind "bytes": how text is cut into words, by GGUF's name (`word_splits.SPLITS`)."""
    merges: list[str] = field(default_factory=list)
    """Kind "bytes": pairs of tokens, separated by a space; the first is merged first."""
    scores: list[float] = field(default_factory=list)
    """Kind "pieces": of each token; the greatest is merged first."""
    prefix: bool = False
    """Kind "pieces": whether a text starts with a space."""
    tokenizer_json: str | None = None
    """The whole encoder, as the package `tokenizers` writes it, instead of the five above."""
    surrounds: bool = False
    """Whether that encoder puts tokens around a whole text: [CLS] and [SEP]."""

    @cached_property
    def encoder(self) -> Tokenizer:
        """Raises `NoTokenizer`."""
        try:
            if self.tokenizer_json is not None:
                from tokenizers import Tokenizer

                return Tokenizer.from_str(self.tokenizer_json)
            return _byte_pair_encoder(self) if self.kind == "bytes" else _sentence_piece_encoder(self)
        except NoTokenizer:
            raise
        except Exception as error:  # the package raises Exception itself
            raise NoTokenizer(f"the model's tokenizer is damaged: {str(error)[:200]}") from None

    @cached_property
    def _silent(self) -> frozenset[int]:
        return frozenset(self.special)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def encode(self, text: str, *, begin: bool = True) -> list[int]:
        """
        The tokens of `text`, after the token that texts start with, if the model has one and `begin` is set.

        The names of special tokens in `text` become those tokens. Raises `NoTokenizer`, `BadPrompt`.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadPrompt("the prompt is not text: it holds half of a character", hint="write it in UTF-8") from None
        found: list[int] = self.encoder.encode(text, add_special_tokens=self.surrounds).ids
        if self.kind == "bytes" and self.tokenizer_json is None:
            self._expect_all(text, found)
        beyond = next((i for i in found if i >= len(self.tokens)), None)
        if beyond is not None:
            raise BadPrompt(
                f"the prompt has {self.encoder.id_to_token(beyond)!r}, a token that the tokenizer knows and the model "
                "does not",
                hint="write it without",
            )
        if begin and self.begin is not None and found[:1] != [self.begin]:
            found.insert(0, self.begin)
        if not found:
            raise BadPrompt("the prompt is empty: it has no token", hint="give some text")
        return found

    def _expect_all(self, text: str, found: Sequence[int]) -> None:
        """Raises `BadPrompt` if tokens do not say all of `text`: what has no token is left out by the encoder."""
        named = frozenset(self.added)
        said = b"".join(self.tokens[i].encode() if i in named else self.piece(i) for i in found).decode(
            "utf-8", "replace"
        )
        if said != text:
            at = next(
                (i for i, (a, b) in enumerate(zip(text, said, strict=False)) if a != b), min(len(text), len(said))
            )
            raise BadPrompt(
                f"the prompt has {text[at : at + 1]!r} at character {at}, which the model does not know",
                hint="write it without",
            )

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none of a special one, of padding, or of what is no token."""
        if not 0 <= token < len(self.tokens) or token in self._silent:
            return b""
        written = self.tokens[token]
        if self.kind == "bytes":
            try:
                return bytes(_BYTES[letter] for letter in written)
            except KeyError:
                return written.encode()
        if len(written) == 6 and written.startswith("<0x") and written.endswith(">"):
            try:
                return bytes([int(written[3:5], 16)])
            except ValueError:
                return written.encode()
        return written.replace(SPACE, " ").encode()

    def text(self, tokens: Iterable[int]) -> str:
        """What tokens say; bytes that are no UTF-8 become U+FFFD."""
        return "".join(self.stream(tokens))

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """What tokens say, for each as much as is certain then: characters that span tokens come with the last."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in tokens:
            yield decoder.decode(self.piece(token))
        yield decoder.decode(b"", True)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text of a chat (role and content each) up to where the answer begins. Raises `NoTokenizer`."""
        if self.template is None:
            raise NoTokenizer(
                "the model's files have no chat template", hint="leave out --chat, and write the whole prompt yourself"
            )
        try:
            return rendered(self.template, messages, self.names)
        except TemplateFails as failure:
            raise NoTokenizer(
                f"the model's chat template fails: {failure}",
                hint="leave out --chat, and write the whole prompt yourself",
            ) from None


def _letters() -> dict[str, int]:
    """GPT-2's letter for each byte, backwards: printable ones are themselves, the others follow U+0100."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _letters()


def _byte_pair_encoder(of: Vocabulary) -> Tokenizer:
    """A tokenizer that merges bytes, as GPT-2's. Raises what the package does."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    if of.split not in SPLITS:
        raise NoTokenizer(
            f"the model's tokenizer cuts words in a way, {of.split[:40]!r}, that is none of the {len(SPLITS)} known",
            hint="give tokens instead of text",
        )
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in of.merges)]
    vocabulary = {token: i for i, token in enumerate(of.tokens)}
    steps: list[Any] = [pre_tokenizers.Split(Regex(rule), "isolated") for rule in SPLITS[of.split]]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=of.split in WHOLE_WORDS))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return _with_added(tokenizer, of)


def _sentence_piece_encoder(of: Vocabulary) -> Tokenizer:
    """A tokenizer that merges characters, those of the highest score first. Raises what the package does."""
    from tokenizers import Tokenizer, models, normalizers

    vocabulary = {token: i for i, token in enumerate(of.tokens)}
    merges: list[tuple[float, int, tuple[str, str]]] = []
    for token, i in vocabulary.items():
        halves = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        merges += [(-of.scores[i], i, pair) for pair in halves if pair[0] in vocabulary and pair[1] in vocabulary]
    pairs = [pair for _, _, pair in sorted(merges)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, byte_fallback=True, fuse_unk=True))
    steps: list[Any] = [normalizers.Prepend(SPACE)] if of.prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    return _with_added(tokenizer, of)


def _with_added(tokenizer: Tokenizer, of: Vocabulary) -> Tokenizer:
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken(of.tokens[i], special=True, normalized=False) for i in of.added])
    return tokenizer


def vocabulary_from_json(text: str) -> Vocabulary:
    """What `Vocabulary.to_json` wrote. Raises `NoTokenizer`."""
    try:
        return Vocabulary(**plain_json.loads(text))
    except (ValueError, TypeError):
        raise NoTokenizer("the vocabulary kept with the model cannot be read", hint="give --model FILE") from None
