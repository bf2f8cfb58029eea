"""`run --prompt`: a language model's answer, shown as it is computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from opml_dispute.cli.output import Output
from opml_dispute.engine.inference import Inference
from opml_dispute.generation.files import (
    ANSWER_TOKENS,
    compile_language_model,
    is_language_model,
    open_model,
    read_language_model,
    text_encoder,
)
from opml_dispute.generation.refusals import NoTokenizer
from opml_dispute.generation.speaking import tokens_of
from opml_dispute.generation.talk import AnswerProgram, EmbeddingProgram, prompt_of

if TYPE_CHECKING:
    from opml_dispute.cli.prompts import PromptOptions
    from opml_dispute.generation.onnx_encoder import OnnxEncoder
    from opml_dispute.generation.vocabulary import Vocabulary
    from opml_dispute.model.files import Binding
    from opml_dispute.model.program import Program


def run_prompt(file: Path, binding: Binding, asked: PromptOptions, output: Output) -> tuple[Program, Inference, float]:
    """
    Compiles the model for this prompt, runs it, and shows the answer token by token.

    Answers the program, the inference at its end, and the time of its run in seconds.
    """
    encoder = text_encoder(file)
    if encoder is not None:
        return _embedded(file, encoder, binding, asked, output)
    if not is_language_model(file):
        raise NoTokenizer(f"{file} is no language model, so it takes no prompt", hint="give its inputs with --input")
    language_model = read_language_model(file)
    if language_model.vocabulary is None:
        raise NoTokenizer(f"{file.name} has no tokenizer that is known here: it takes no text")
    vocabulary = language_model.vocabulary
    tokens = prompt_of(vocabulary, asked.text or "", chat=asked.chat)
    choice = asked.choice(output)
    binding = replace(
        binding,
        prompt_tokens=len(tokens) if binding.prompt_tokens is None else binding.prompt_tokens,
        tokens=ANSWER_TOKENS if binding.tokens is None else binding.tokens,
        sampling=binding.sampling or choice is not None,
    )
    assert binding.prompt_tokens is not None
    assert binding.tokens is not None
    AnswerProgram(binding.prompt_tokens, binding.tokens, binding.sampling).inputs(tokens, choice)  # before the work
    started = time.perf_counter()
    program = compile_language_model(language_model, binding, file.name)
    compiled_s = time.perf_counter() - started
    takes = AnswerProgram.of(program.inputs, program.outputs)
    assert takes is not None
    inputs = takes.inputs(tokens, choice)
    output.say(f"{len(tokens)} tokens of prompt; {program.node_count:,} nodes compiled in {compiled_s:.2f} s")
    inference = Inference(program, inputs)
    return program, inference, _show(vocabulary, inference, output)


def _embedded(
    file: Path, encoder: OnnxEncoder, binding: Binding, asked: PromptOptions, output: Output
) -> tuple[Program, Inference, float]:
    """The vector of a text, and how it was pooled."""
    if encoder.vocabulary is None:
        raise NoTokenizer(f"{file.name} has no tokenizer.json beside it: it takes no text")
    tokens = prompt_of(encoder.vocabulary, asked.text or "", chat=asked.chat)
    room = len(tokens) if binding.prompt_tokens is None else binding.prompt_tokens
    inputs = EmbeddingProgram(room).inputs(tokens, asked.choice(output))
    started = time.perf_counter()
    program = open_model(file, replace(binding, prompt_tokens=room))
    compiled_s = time.perf_counter() - started
    output.say(f"{len(tokens)} tokens; {program.node_count:,} nodes compiled in {compiled_s:.2f} s")
    for note in program.notes:
        output.say(f"Note: {note}")
    output.fact(tokens=tokens, notes=list(program.notes))
    inference = Inference(program, inputs)
    started = time.perf_counter()
    inference.run_to(program.node_count)
    return program, inference, time.perf_counter() - started


def _show(vocabulary: Vocabulary, inference: Inference, output: Output) -> float:
    started = time.perf_counter()
    seen: list[int] = []

    def chosen() -> Iterator[int]:
        for token in tokens_of(inference):
            seen.append(token)
            yield token

    said = []
    for words in vocabulary.stream(chosen()):
        said.append(words)
        if words:
            output.raw(words)
        if len(said) <= len(seen):
            output.fact(token=seen[len(said) - 1], text=words)
    output.raw("\n")
    ran_s = time.perf_counter() - started
    output.fact(answer="".join(said), tokens=seen, seconds=ran_s)
    return ran_s
