"""
Opening model files of every kind: ONNX, compiled programs, and language models.

`open_model` answers the program of a file. A language model (a GGUF file, a folder as Hugging Face publishes them, or
a decoder that was exported to ONNX) needs to know for how long a prompt and an answer; `language_of` answers its
vocabulary, with which text becomes tokens and back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from opml_dispute.generation.refusals import BadModelFile, NoTokenizer, UnsupportedLanguageModel
from opml_dispute.model.files import BadDimension, Binding, read_model
from opml_dispute.model.graph_ends import graph_ends

if TYPE_CHECKING:
    from opml_dispute.generation.checkpoint import Checkpoint
    from opml_dispute.generation.language_model import LanguageModel
    from opml_dispute.generation.onnx_encoder import OnnxEncoder
    from opml_dispute.generation.onnx_files import DecoderFiles
    from opml_dispute.generation.vocabulary import Vocabulary
    from opml_dispute.model.program import Program

PROMPT_TOKENS: Final = 64
"""The default room for a prompt, in tokens."""
ANSWER_TOKENS: Final = 64
"""The default limit of an answer, in tokens."""


def is_language_model(file: Path) -> bool:
    """Whether `file` is one that `read_language_model` reads; False for what cannot be read."""
    from opml_dispute.generation.gguf_file import is_gguf
    from opml_dispute.generation.huggingface import is_huggingface

    try:
        return is_gguf(file) or _onnx_decoder(file) is not None or is_huggingface(file)
    except (UnsupportedLanguageModel, BadModelFile):
        return True  # reading it says what is missing, or broken


def _onnx_decoder(file: Path) -> DecoderFiles | None:
    from opml_dispute.generation.huggingface import has_safetensors
    from opml_dispute.generation.onnx_files import find_decoder

    return None if has_safetensors(file) else find_decoder(file)


def text_encoder(file: Path) -> OnnxEncoder | None:
    """The encoder of sentences in a file or folder; None if it is something else. Raises as `read_language_model`."""
    from opml_dispute.generation.huggingface import has_safetensors
    from opml_dispute.generation.onnx_encoder import find_encoder, read_encoder

    files = None if has_safetensors(file) or _onnx_decoder(file) is not None else find_encoder(file)
    return None if files is None else read_encoder(files)


def read_language_model(file: Path) -> LanguageModel:
    """A language model of any kind. Raises `ModelFileError`, `UnsupportedLanguageModel`, `InvalidModel`."""
    files = _onnx_decoder(file)
    if files is None:
        return read_checkpoint(file)
    from opml_dispute.generation.onnx_decoder import read_decoder

    return read_decoder(files)


def read_checkpoint(file: Path) -> Checkpoint:
    """A language model that is weights alone. Raises `BadModelFile`, `UnsupportedLanguageModel`."""
    from opml_dispute.generation.gguf_model import gguf_checkpoint
    from opml_dispute.generation.huggingface import huggingface_checkpoint, is_huggingface

    return huggingface_checkpoint(file) if is_huggingface(file) else gguf_checkpoint(file)


def open_model(file: Path, binding: Binding) -> Program:
    """
    The program of a file: of a language model for the prompt and the answer that `binding` names, else as `read_model`.

    An encoder of sentences is compiled for texts of so many tokens as `binding.prompt_tokens` says. A graph for which
    `binding` has no prompt or answer, but sizes or values, is compiled as it is.
    Raises `BadDimension` if `binding` does not concern such a file, and what compiling and loading raise.
    """
    answers = binding.tokens is not None or binding.sampling
    speaks = answers or binding.prompt_tokens is not None
    encoder = text_encoder(file) if binding.prompt_tokens is not None and not answers else None
    if encoder is not None and binding.prompt_tokens is not None:
        return encoder.compiled(binding.prompt_tokens, binding.dims)
    as_graph = not speaks and bool(binding.dims or binding.constants) and graph_ends(file) is not None
    if as_graph or not is_language_model(file):
        if speaks:
            raise BadDimension(
                f"{file.name} is no language model, so it takes none of --prompt-tokens, --tokens and --sampling",
                hint="leave them out; sizes of an ONNX model's dimensions are given with --dim",
            )
        return read_model(file, binding)
    return compile_language_model(read_language_model(file), binding, file.name)


def compile_language_model(model: LanguageModel, binding: Binding, name: str) -> Program:
    """A language model's program for the prompt and answer that `binding` names. Raises as `open_model`."""
    from opml_dispute.generation.answer import AnswerShape

    if binding.constants or binding.max_sizes or binding.seed_input is not None:
        raise BadDimension(
            f"{name} is a language model, which has no dimensions or inputs to fix",
            hint="say how long prompt and answer may be: --prompt-tokens N --tokens N",
        )
    prompt_tokens = PROMPT_TOKENS if binding.prompt_tokens is None else binding.prompt_tokens
    shape = AnswerShape(prompt_tokens, binding.tokens or ANSWER_TOKENS, binding.sampling)
    return model.compiled(shape, binding.dims)


def language_of(file: Path) -> Vocabulary:
    """The vocabulary of a language model. Raises `NoTokenizer`, and what reading the file raises."""
    encoder = text_encoder(file)
    if encoder is None and not is_language_model(file):
        raise NoTokenizer(f"{file} is no language model: a prompt needs one", hint="give a GGUF file")
    vocabulary = encoder.vocabulary if encoder else read_language_model(file).vocabulary
    if vocabulary is None:
        raise NoTokenizer(f"{file.name} has no tokenizer that is known here")
    return vocabulary


def takes_text(file: Path) -> bool:
    """Whether `file` is a language model, or an encoder of sentences."""
    from opml_dispute.generation.onnx_encoder import find_encoder

    return is_language_model(file) or find_encoder(file) is not None
