"""The errors of importing language models; every message says what was found and what was expected."""

from __future__ import annotations

from opml_dispute.model.refusals import ModelError, ModelFileError


class BadModelFile(ModelFileError):
    """A file of a language model is cut short, damaged, or not what its name says."""

    hint = "download the file again, and compare its size and checksum with the publisher's"


class UnsupportedLanguageModel(ModelError):
    """A language model whose blocks, encodings or sizes cannot be expressed."""

    hint = "docs/language-models.md lists the families and encodings that can"


class NoTokenizer(ModelError):
    """Text was given, but the model's files have nothing that turns it into tokens."""

    hint = "give a file with its tokenizer (GGUF: tokenizer.ggml.*; Hugging Face: tokenizer.json), or give tokens"


class BadPrompt(ModelError):
    """A prompt that the model, or the program compiled of it, cannot take."""

    hint = "give another prompt"
