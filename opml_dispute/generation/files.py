"""
Opening model files of every kind: ONNX, compiled programs, and language models.

`open_model` answers the program of a file. A language model (a GGUF file, or a folder
as Hugging Face publishes them) needs to know for how long
a prompt and an answer; `language_of` answers its vocabulary, with which text becomes tokens and back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from opml_dispute.generation.refusals import NoTokenizer
from opml_dispute.model.files import BadDimension, Binding, read_model

if TYPE_CHECKING:
    from opml_dispute.generation.checkpoint import Checkpoint
    from opml_dispute.generation.vocabulary import Vocabulary
    from opml_dispute.model.program import Program

PROMPT_TOKENS: Final = 64
"""The default room for a prompt, in tokens."""
ANSWER_TOKENS: Final = 64
"""The default limit of an answer, in tokens."""


def is_language_model(file: Path) -> bool:
    """Whether `file` is one that `read_checkpoint` reads; False for what cannot be read."""
    from opml_dispute.generation.gguf_file import is_gguf
    from opml_dispute.generation.huggingface import is_huggingface

    return is_gguf(file) or is_huggingface(file)


def read_checkpoint(file: Path) -> Checkpoint:
    """A language model. Raises `BadModelFile`, `UnsupportedLanguageModel`."""
    from opml_dispute.generation.gguf_model import gguf_checkpoint
    from opml_dispute.generation.huggingface import huggingface_checkpoint, is_huggingface

    return huggingface_checkpoint(file) if is_huggingface(file) else gguf_checkpoint(file)


def open_model(file: Path, binding: Binding) -> Program:
    """
    The program of a file: of a language model for the prompt and the answer that `binding` names, else as `read_model`.

    Raises `BadDimension` if `binding` does not concern such a file, and what compiling and loading raise.
    """
    if not is_language_model(file):
        if binding.prompt_tokens is not None or binding.tokens is not None or binding.sampling:
            raise BadDimension(
                f"{file.name} is no language model, so it takes none of --prompt-tokens, --tokens and --sampling",
                hint="leave them out; sizes of an ONNX model's dimensions are given with --dim",
            )
        return read_model(file, binding)
    return compile_language_model(read_checkpoint(file), binding, file.name)


def compile_language_model(checkpoint: Checkpoint, binding: Binding, name: str) -> Program:
    """A checkpoint's program for the prompt and answer that `binding` names. Raises as `open_model`."""
    from opml_dispute.generation.program import AnswerShape, compile_answer

    if binding.dims or binding.constants or binding.max_sizes:
        raise BadDimension(
            f"{name} is a language model, which has no dimensions or inputs to fix",
            hint="say how long prompt and answer may be: --prompt-tokens N --tokens N",
        )
    prompt_tokens = PROMPT_TOKENS if binding.prompt_tokens is None else binding.prompt_tokens
    return compile_answer(checkpoint, AnswerShape(prompt_tokens, binding.tokens or ANSWER_TOKENS, binding.sampling))


def language_of(file: Path) -> Vocabulary:
    """The vocabulary of a language model. Raises `NoTokenizer`, and what reading the file raises."""
    if not is_language_model(file):
        raise NoTokenizer(f"{file} is no language model: a prompt needs one", hint="give a GGUF file")
    checkpoint = read_checkpoint(file)
    if checkpoint.vocabulary is None:
        raise NoTokenizer(f"{file.name} has no tokenizer that is known here")
    return checkpoint.vocabulary
