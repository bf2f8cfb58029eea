"""Prompts and answers of language models as text, shown beside the roots; nothing for other models."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opml_dispute import plain_json
from opml_dispute.chain.requests import read_request
from opml_dispute.engine.segment import OUTPUT
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.disassemble import disassemble
from opml_dispute.generation.choice import PADDING
from opml_dispute.generation.files import language_of, takes_text
from opml_dispute.generation.refusals import BadPrompt, NoTokenizer
from opml_dispute.home import CannotWrite
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import ModelId, StateRoot
from opml_dispute.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opml_dispute.actors.disputed_range import DisputedRange
    from opml_dispute.chain.system import System
    from opml_dispute.cli.output import Output
    from opml_dispute.cli.prompts import PromptOptions
    from opml_dispute.game.claim import Game
    from opml_dispute.generation.vocabulary import Vocabulary
    from opml_dispute.operator.case import Case
    from opml_dispute.operator.model_description import Slot
    from opml_dispute.trace.split import SplitTrace


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


def keep_answer(case: Case, trace: SplitTrace, output: Output) -> None:
    """Keep the answer in words that was proposed by a trace, so that `show` knows it: the chain holds its root only."""
    from opml_dispute.engine.inference import Inference
    from opml_dispute.generation.talk import AnswerProgram

    takes = AnswerProgram.of(case.program.inputs, case.program.outputs)
    if takes is None or not isinstance(trace.states, Inference) or trace.states.status != 0:
        return
    try:
        ModelStore.default().keep_answer(trace.root_claim(), trace.states.output_image())
    except CannotWrite as error:  # it serves display only
        output.say(f"The answer was not kept: {error}", style="yellow")


@dataclass(frozen=True)
class GameWords:
    """A game about a language model's answer, in words."""

    prompt: str
    answer: str
    """As it is here, with marks around the first token in which the claimed one differs, if that is known."""
    claimed: str | None
    """The answer that the root claim is of, likewise marked; None if it is not known."""
    claimed_is: str
    """How it is known, or why not."""
    differs_at: int | None
    """The first token in which the two differ, counted from 0; None if they are equal, or one is not known."""
    place: str
    """The first node in question: what is computed there, of which token and layer."""
    place_end: str
    """The last node in question, likewise."""
    instructions: list[str]
    """The instructions in question, where they are two at most; else none."""

    @property
    def lines(self) -> list[str]:
        """For people, as `show` writes what it knows."""
        where = self.place if self.place == self.place_end else f"from {self.place} to {self.place_end}"
        claimed = self.claimed_is if self.claimed is None else f"{one_line(self.claimed)} ({self.claimed_is})"
        differ = [] if self.differs_at is None else [f"differ     from token {self.differs_at} of the answer on"]
        steps = [f"{'' if i else 'executes':<10} {text}" for i, text in enumerate(self.instructions)]
        return [
            f"prompt     {one_line(self.prompt)}",
            f"answer     {one_line(self.answer)} (as it is here)",
            f"claimed    {claimed}",
            *differ,
            f"place      {where}",
            *steps,
        ]


def game_words(system: System, game: Game, disputed: DisputedRange, told: str | None) -> GameWords | None:
    """
    What a game is about, in words; None where the model is no language model, or is not on this computer whole.

    `told` is the claimed answer as the user tells it: text, or tokens as a list in JSON. The root claim says whether it
    is. The answer is computed here, which takes as long as the model takes; nothing is fetched.
    """
    from opml_dispute.engine.segment import INPUT, tensors
    from opml_dispute.generation.names import ANSWER
    from opml_dispute.generation.talk import AnswerProgram, first_difference, marked, spoken
    from opml_dispute.operator.case import open_case

    store = ModelStore(ModelStore.default().folder)
    try:
        vocabulary = store.vocabulary(read_request(system, game.request_id).model_id)
        if vocabulary is None:
            return None
        case = open_case(system, game.request_id, store=store)
    except OpmlError:
        return None
    takes = AnswerProgram.of(case.program.inputs, case.program.outputs)
    if takes is None or case.item_count > 1:
        return None
    prompt = takes.prompt(tensors(case.program.inputs, case.image, INPUT))
    answer = spoken(case.outputs[ANSWER].tolist()) if case.inference.status == 0 else []
    claimed, known = _claimed_answer(case, StateRoot(game.root.value), vocabulary, told, store)
    differs_at = None if claimed is None else first_difference(answer, claimed)
    texts = [
        vocabulary.text(tokens) if differs_at is None else marked(vocabulary, tokens, differs_at)
        for tokens in (answer, claimed or [])
    ]
    nodes = case.program.nodes

    def place(index: int) -> str:
        node = nodes[min(index, len(nodes) - 1)]
        return f"{node.name}: {node.op_type}" if node.name else node.op_type

    return GameWords(
        vocabulary.text(prompt),
        texts[0],
        None if claimed is None else texts[1],
        known,
        differs_at,
        place(disputed.node_low),
        place(disputed.node_high - 1),
        _instructions(case, disputed),
    )


def _claimed_answer(
    case: Case, root_claim: StateRoot, vocabulary: Vocabulary, told: str | None, store: ModelStore
) -> tuple[list[int] | None, str]:
    """
    The tokens that a root claim is of, and how they are known; None, and why, if they are not.

    A state's root cannot be read backwards, but S_n holds nothing but the input, the output and the node count, so
    anyone can compare it with the root of a given answer.
    """
    from opml_dispute.engine.segment import tensors
    from opml_dispute.generation.names import ANSWER
    from opml_dispute.generation.talk import spoken

    if case.final_root == root_claim:
        if case.status != 0:
            return None, "that there is no answer, as it is here"
        return spoken(case.outputs[ANSWER].tolist()), "the same"
    proof = case.inference.output_proof()
    kept = store.answer(root_claim)
    if kept is not None and len(kept) == case.program.output_bytes and proof.shows(kept, root_claim):
        return spoken(tensors(case.program.outputs, kept, OUTPUT)[ANSWER].tolist()), "proposed from this computer"
    if told is None:
        return None, "another answer, of which the chain holds the root alone; to check one: --claimed TEXT"
    (size,) = case.program.outputs[0].shape
    for tokens in _tokens_told(vocabulary, told):
        if len(tokens) <= size and proof.shows(_answer_image(tokens, size), root_claim):
            return tokens, "as you said: the root claim is of it"
    return None, "another answer than the one given with --claimed"


def _tokens_told(vocabulary: Vocabulary, told: str) -> Iterator[list[int]]:
    """What a text may be as an answer's tokens: with and without the end; or the tokens that a JSON list names."""
    with suppress(ValueError):
        listed = plain_json.loads(told)
        if isinstance(listed, list) and all(type(token) is int and 0 <= token < 1 << 31 for token in listed):
            yield listed
    with suppress(BadPrompt):
        tokens = vocabulary.encode(told, begin=False)
        yield from (tokens, *([*tokens, end] for end in vocabulary.end_tokens))


def _answer_image(tokens: Sequence[int], size: int) -> bytes:
    """The OUTPUT section's bytes of an answer."""
    return struct.pack(f">{size}q", *tokens, *[PADDING] * (size - len(tokens)))


def _instructions(case: Case, disputed: DisputedRange) -> list[str]:
    """The disassembly of the instructions in dispute, if there are no more than two; they are run up to here."""
    if disputed.step_low is None or disputed.step_high is None or disputed.step_high - disputed.step_low > 2:
        return []
    machine, texts = case.node_machine(disputed.node_low, disputed.step_low), list[str]()
    for step in range(disputed.step_low, disputed.step_high):
        if machine.exited:
            break
        word = int.from_bytes(machine.read(machine.pc, 4), "big")
        texts.append(f"instruction {step:,} of the node at 0x{machine.pc:x}: {disassemble(word, machine.pc, ml=True)}")
        machine.run(1)
    return texts
