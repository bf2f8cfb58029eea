"""Prompts and answers of language models as text, shown beside the roots; nothing for other models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opml_dispute.chain.requests import read_request
from opml_dispute.errors import OpmlError
from opml_dispute.generation.files import language_of, takes_text
from opml_dispute.generation.refusals import NoTokenizer
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import ModelId, RequestId
from opml_dispute.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opml_dispute.actors.disputed_range import DisputedRange
    from opml_dispute.chain.system import System
    from opml_dispute.cli.output import Output
    from opml_dispute.cli.prompts import PromptOptions
    from opml_dispute.generation.vocabulary import Vocabulary
    from opml_dispute.operator.case import Case
    from opml_dispute.operator.model_description import Slot


def vocabulary_for(model_id: ModelId, file: Path | None) -> Vocabulary:
    """The vocabulary of a registered model: from the named file, or kept from an earlier use. Raises `NoTokenizer`."""
    if file is not None:
        return language_of(file)
    kept = ModelStore.default().vocabulary(model_id)
    if kept is None:
        raise NoTokenizer(
            f"the vocabulary of model 0x{model_id.hex()} is not on this computer",
            hint="name the model's file: --model FILE",
        )
    return kept


def prompt_image(
    inputs: Sequence[Slot], outputs: Sequence[Slot], asked: PromptOptions, vocabulary: Vocabulary, output: Output
) -> bytes:
    """The input image of a prompt. Raises `BadPrompt`, or `NoTokenizer` for a model that takes none."""
    from opml_dispute.engine.segment import input_image
    from opml_dispute.generation.talk import prompt_of, prompt_program

    program = prompt_program(inputs, outputs)
    if program is None:
        raise NoTokenizer("the registered model takes no prompt", hint="give its inputs with --input")
    tokens = prompt_of(vocabulary, asked.text or "", chat=asked.chat)
    return input_image(inputs, program.inputs(tokens, asked.choice(output)))


def show_words(case: Case, file: Path | None, output: Output) -> None:
    """Show a request's prompt, and the answer as computed here."""
    from opml_dispute.engine.segment import INPUT, tensors
    from opml_dispute.generation.names import ANSWER
    from opml_dispute.generation.talk import AnswerProgram, spoken

    takes = AnswerProgram.of(case.program.inputs, case.program.outputs)
    if takes is None or case.item_count > 1:
        return
    model_id = ModelId(bytes(case.record.model_id))
    vocabulary = language_of(file) if file is not None and takes_text(file) else None
    vocabulary = vocabulary or ModelStore.default().vocabulary(model_id)
    prompt = takes.prompt(tensors(case.program.inputs, case.image, INPUT))
    answer = spoken(case.outputs[ANSWER].tolist())
    if vocabulary is None:
        output.say(f"Prompt: tokens {prompt}")
        output.say(f"Answer here: tokens {answer}")
        output.fact(prompt_tokens=prompt, answer_tokens=answer)
        return
    asked, said = vocabulary.text(prompt), vocabulary.text(answer)
    output.say(f"Prompt: {asked}")
    output.say(f"Answer here: {said}")
    output.fact(prompt=asked, answer=said, prompt_tokens=prompt, answer_tokens=answer)


@dataclass(frozen=True)
class GameWords:
    """A game about a language model's answer, in words."""

    prompt: str
    answer: str
    """As it is here."""
    place: str
    """The first node in question: what is computed there, of which token and layer."""
    place_end: str
    """The last node in question, likewise."""

    @property
    def lines(self) -> list[str]:
        """For people, as `show` writes what it knows."""
        where = self.place if self.place == self.place_end else f"from {self.place} to {self.place_end}"
        return [
            f"prompt     {one_line(self.prompt)}",
            f"answer     {one_line(self.answer)} (as it is here)",
            f"place      {where}",
        ]


def game_words(system: System, request_id: RequestId, disputed: DisputedRange) -> GameWords | None:
    """
    What a game is about, in words; None where the model is no language model, or is not on this computer whole.

    The answer is computed here, which takes as long as the model takes; nothing is fetched.
    """
    from opml_dispute.engine.segment import INPUT, tensors
    from opml_dispute.generation.names import ANSWER
    from opml_dispute.generation.talk import AnswerProgram, spoken
    from opml_dispute.operator.case import open_case

    store = ModelStore(ModelStore.default().folder)
    try:
        vocabulary = store.vocabulary(read_request(system, request_id).model_id)
        if vocabulary is None:
            return None
        case = open_case(system, request_id, store=store)
    except OpmlError:
        return None
    takes = AnswerProgram.of(case.program.inputs, case.program.outputs)
    if takes is None:
        return None
    prompt = takes.prompt(tensors(case.program.inputs, case.image, INPUT))
    answer = spoken(case.outputs[ANSWER].tolist()) if case.inference.status == 0 else []
    nodes = case.program.nodes

    def place(index: int) -> str:
        node = nodes[min(index, len(nodes) - 1)]
        return f"{node.name}: {node.op_type}" if node.name else node.op_type

    asked = vocabulary.text(prompt)
    return GameWords(asked, vocabulary.text(answer), place(disputed.node_low), place(disputed.node_high - 1))
