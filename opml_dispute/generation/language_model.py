"""What a language model is to the rest of the package, whatever files it came from: `LanguageModel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opml_dispute.generation.answer import AnswerShape
    from opml_dispute.generation.vocabulary import Vocabulary
    from opml_dispute.model.program import Program


@dataclass(frozen=True)
class LanguageSizes:
    """A language model in numbers, for people."""

    architecture: str
    layers: int
    width: int | None
    """Of what goes from layer to layer; None where the files do not say."""
    vocabulary: int
    """Tokens."""
    context: int | None
    """Positions that the model was made for; None where the files do not say."""
    parameters: int
    encodings: dict[str, int]
    """Parameters by encoding, the most first."""


class LanguageModel(Protocol):
    """A model that goes on with a text."""

    @property
    def label(self) -> str:
        """What the files call it."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """None if the files have no tokenizer."""

    def sizes(self) -> LanguageSizes:
        """For people."""

    def compiled(self, shape: AnswerShape, dims: Mapping[str, int]) -> Program:
        """
        The program for prompts and answers of this shape; `dims` gives sizes that the files leave open.

        Raises `BadPrompt`, `UnsupportedLanguageModel`, `BadDimension`, `ModelTooDear`, and other subclasses of
        `ModelError`.
        """


def by_count(encodings: Mapping[str, int]) -> dict[str, int]:
    """The same, the most first."""
    return dict(sorted(encodings.items(), key=lambda entry: -entry[1]))
