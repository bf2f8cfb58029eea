"""Answers of programs, against a decoder that was written from the papers; and that repeating steps changes no byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.generation import program as generation_program
from opml_dispute.generation.answer import AnswerShape
from opml_dispute.generation.checkpoint import Checkpoint
from opml_dispute.generation.choice import PADDING
from opml_dispute.generation.facts import language_facts
from opml_dispute.generation.files import open_model
from opml_dispute.generation.gguf_model import gguf_checkpoint
from opml_dispute.generation.program import compile_answer
from opml_dispute.generation.refusals import BadPrompt, UnsupportedLanguageModel
from opml_dispute.generation.scores import SCORES, compile_scores
from opml_dispute.generation.talk import AnswerProgram, padded, spoken
from opml_dispute.model.files import BadDimension, Binding
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.program import Program
from tests.generation.models import Made, Sizes, weights_of, write_model
from tests.generation.reference import Reference

PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
FAMILIES = {
    "llama": Made(),
    "llama, output of its own": Made(tied=False, seed=1),
    "one key head, uneven sizes": Made(sizes=Sizes(heads=3, kv_heads=1, head_size=10, width=32, hidden=96), seed=2),
    "qwen2": Made("qwen2", seed=3),
    "qwen3, wide heads": Made("qwen3", Sizes(head_size=16), seed=4),
    "gemma": Made("gemma", seed=5, scale=0.5),
    "gemma2, a window of 3": Made("gemma2", seed=6, extra={"attention.sliding_window": 3}, scale=0.5),
    "gemma3, a window of 4": Made("gemma3", Sizes(layers=7), seed=7, extra={"attention.sliding_window": 4}, scale=0.5),
    "phi3, output of its own": Made("phi3", tied=False, seed=10),
    "smollm3": Made("smollm3", Sizes(layers=5), seed=14),
    "llama, a bias with each matrix": Made(biases=PARTS, seed=15),
    "olmo2, a window of 3": Made("olmo2", Sizes(layers=5), seed=16, tied=False, extra={"attention.sliding_window": 3}),
    "exaone4": Made("exaone4", seed=17),
    "glm4, turned in part": Made("glm4", Sizes(turned=4), seed=18, biases=PARTS[:3]),
    "ernie4_5": Made("ernie4_5", seed=19),
    "seed_oss": Made("seed_oss", seed=20, biases=PARTS[:3]),
    "half floats": Made(encoding="F16", seed=8),
    "bfloat16": Made(encoding="BF16", seed=9),
}


def answer(program: Program, prompt: list[int]) -> list[int]:
    room = program.inputs[0].shape[0]
    inference = Inference(program, {"prompt": padded(prompt, room)})
    result = inference.outputs()["answer"].tolist()
    assert inference.status == 0
    return list(result)


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_the_references(name: str, tmp_path: Path) -> None:
    """In a prompt's own length, and in a larger room behind padding."""
    path = write_model(tmp_path / "model.gguf", FAMILIES[name])
    checkpoint, reference = gguf_checkpoint(path), Reference(path)
    for prompt in ([7, 3, 31, 2, 19], [5], [9, 9, 1, 30, 22, 8, 4, 17]):
        expected, lead = reference.greedy(prompt, 7)
        assert lead > 1e-4, "the reference itself is undecided: take another seed"
        for room in (len(prompt), 9):
            said = answer(compile_answer(checkpoint, AnswerShape(room, 7)), prompt)
            assert spoken(said) == expected
            assert said[len(expected) :] == [PADDING] * (7 - len(expected))


def test_the_first_logits_are_near_the_references(tmp_path: Path) -> None:
    """Every token of a long answer is one that the reference gives nearly the highest score."""
    path = write_model(tmp_path / "model.gguf", Made(seed=11))
    reference = Reference(path)
    prompt = [7, 3, 31, 2, 19]
    said = spoken(answer(compile_answer(gguf_checkpoint(path), AnswerShape(5, 40)), prompt))
    for i, token in enumerate(said):
        scores = reference.logits([*prompt, *said[:i]])
        assert scores[token] > scores.max() - 1e-4


def test_scores_are_the_references_at_every_place(tmp_path: Path) -> None:
    """Behind padding too; the last place's greatest is what an answer begins with."""
    path = write_model(tmp_path / "model.gguf", Made("qwen3", seed=4))
    checkpoint, reference, prompt = gguf_checkpoint(path), Reference(path), [7, 3, 31, 2, 19]
    inference = Inference(compile_scores(checkpoint, 7), {"prompt": padded(prompt, 7)})
    scores = inference.outputs()[SCORES]
    assert scores.shape == (7, 40)
    for i in range(len(prompt)):
        np.testing.assert_allclose(scores[2 + i], reference.logits(prompt[: i + 1]), rtol=1e-4, atol=1e-4)
    assert scores[-1].argmax() == answer(compile_answer(checkpoint, AnswerShape(5, 1)), prompt)[0]


@pytest.mark.parametrize("encoding", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_weights_in_blocks_are_multiplied_in_their_blocks(encoding: str, tmp_path: Path) -> None:
    """They lie in the program as in the file; rows are rounded to int8, so scores are only near the reference's."""
    made = Made("qwen2", encoding=encoding, seed=13)
    path = write_model(tmp_path / "model.gguf", made)
    checkpoint, reference = gguf_checkpoint(path), Reference(path)
    prompt = [7, 3, 31, 2, 19]
    program = compile_answer(checkpoint, AnswerShape(6, 9))
    kernels = {program.record(i).opcode.name for i in range(program.node_count)}
    assert {"BLOCK_GATHER", "BLOCK_QUANTISE", "BLOCK_CONTRACT"} <= kernels
    assert products_of_halves(program) == 2 * 8 * checkpoint.architecture.layers, "each step's, with keys and values"
    blocks = {bytes(np.asarray(block.data)) for block in program.weights}
    assert all(weight.data.tobytes() in blocks for weight in checkpoint.weights.values() if len(weight.shape) == 2)
    said = spoken(answer(program, prompt))
    for i, token in enumerate(said):
        scores = reference.logits([*prompt, *said[:i]])
        assert scores[token] > scores.max() - 0.1 * scores.std()


def products_of_halves(program: Program) -> int:
    records = [program.record(i) for i in range(program.node_count)]
    both = [record.dtypes_in[:2] for record in records if record.opcode is Opcode.CONTRACT]
    return both.count((DType.F16, DType.F16))


def test_keys_and_values_of_weights_that_are_no_blocks_stay_binary32(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", Made(encoding="F16", seed=8))
    assert products_of_halves(compile_answer(gguf_checkpoint(path), AnswerShape(6, 9))) == 0


def without_end(checkpoint: Checkpoint) -> Checkpoint:
    return Checkpoint(checkpoint.architecture, checkpoint.weights, None)


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("tokens", [1, 2, 4, 5, 6, 7, 13])
def test_repeated_steps_are_those_that_planning_all_of_them_gives(
    ends: bool, tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a byte of records, weights or origins differs."""
    made = Made("gemma3", Sizes(layers=3), "Q4_1", extra={"attention.sliding_window": 4})
    checkpoint = gguf_checkpoint(write_model(tmp_path / "model.gguf", made))
    if not ends:
        checkpoint = without_end(checkpoint)
    short = compile_answer(checkpoint, AnswerShape(3, tokens), tile_budget=1 << 16)
    monkeypatch.setattr(generation_program, "PLANNED_STEPS", 1000)
    whole = compile_answer(checkpoint, AnswerShape(3, tokens), tile_budget=1 << 16)
    assert short.records == whole.records
    assert short.origins == whole.origins
    assert short.model_root == whole.model_root


def test_an_answer_ends_with_the_end_token(tmp_path: Path) -> None:
    """After it comes padding, whatever the model would have said; without an end token it goes on."""
    made = Made(seed=12)
    path = write_model(tmp_path / "model.gguf", made)
    checkpoint = gguf_checkpoint(path)
    never_ending = compile_answer(without_end(checkpoint), AnswerShape(4, 12))
    assert generation_program.NEVER_ENDS in never_ending.notes
    going_on = answer(never_ending, [3, 1, 4, 1])
    assert checkpoint.vocabulary is not None
    # The token that is said fifth ends this model's answers.
    end = going_on[4]
    checkpoint.vocabulary.end_tokens[:] = [0, end]
    ending = compile_answer(checkpoint, AnswerShape(4, 12))
    assert not ending.notes
    said = answer(ending, [3, 1, 4, 1])
    first = going_on.index(end)
    assert said == going_on[: first + 1] + [PADDING] * (11 - first)


@pytest.mark.parametrize("token", [40, 1 << 40])
def test_a_token_outside_of_the_vocabulary_is_a_provable_failure(token: int, tmp_path: Path) -> None:
    program = compile_answer(gguf_checkpoint(write_model(tmp_path / "model.gguf")), AnswerShape(3, 3))
    inference = Inference(program, {"prompt": np.array([1, token, 2])})
    inference.run_to(program.node_count)
    assert inference.status == 7
    assert program.nodes[inference.fault_node].op_type == "embedding"


def test_an_input_of_padding_alone_is_no_failure(tmp_path: Path) -> None:
    """A requester may ask for it, and then it must have an answer like any other."""
    program = compile_answer(gguf_checkpoint(write_model(tmp_path / "model.gguf")), AnswerShape(3, 3))
    inference = Inference(program, {"prompt": np.full(3, PADDING)})
    assert all(PADDING <= token < 40 for token in inference.outputs()["answer"].tolist())
    assert inference.status == 0


def test_a_prompt_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    checkpoint = gguf_checkpoint(write_model(tmp_path / "model.gguf"))
    with pytest.raises(BadPrompt, match=r"take 65 positions; the model's context has 64"):
        compile_answer(checkpoint, AnswerShape(33, 33))
    compile_answer(checkpoint, AnswerShape(33, 32))
    for room, tokens in ((0, 1), (1, 0), (-1, 4)):
        with pytest.raises(BadPrompt, match="1 of each at least"):
            compile_answer(checkpoint, AnswerShape(room, tokens))
    with pytest.raises(BadPrompt, match="the prompt has 4 tokens, but the program has room for 1 to 3"):
        padded([1, 2, 3, 4], 3)
    with pytest.raises(BadPrompt, match="0 tokens"):
        padded([], 3)


def test_what_a_decoder_needs_must_be_there(tmp_path: Path) -> None:
    """Each tensor that is left out, or has another shape, is named."""
    made = Made()
    checkpoint = gguf_checkpoint(write_model(tmp_path / "model.gguf", made))
    for name in weights_of(made):
        rest = {key: weight for key, weight in checkpoint.weights.items() if key != name}
        with pytest.raises(UnsupportedLanguageModel, match=name.replace(".", r"\.")):
            compile_answer(Checkpoint(checkpoint.architecture, rest, None), AnswerShape(2, 2))
    other = gguf_checkpoint(write_model(tmp_path / "other.gguf", Made(sizes=Sizes(hidden=96))))
    mixed = dict(checkpoint.weights) | {"blk.1.ffn_up.weight": other.weights["blk.1.ffn_up.weight"]}
    with pytest.raises(UnsupportedLanguageModel, match=r"blk\.1\.ffn_up.weight.*\[96, 32\]; expected \[64, 32\]"):
        compile_answer(Checkpoint(checkpoint.architecture, mixed, None), AnswerShape(2, 2))


def test_a_program_is_known_by_its_input_and_output(tmp_path: Path) -> None:
    program = open_model(write_model(tmp_path / "model.gguf"), Binding(prompt_tokens=5, tokens=2))
    assert AnswerProgram.of(program.inputs, program.outputs) == AnswerProgram(5, 2)
    assert AnswerProgram.of(program.inputs, program.inputs) is None


def test_other_options_do_not_concern_language_models(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf")
    with pytest.raises(BadDimension, match="language model"):
        open_model(path, Binding(dims={"batch": 1}))
    other = tmp_path / "other.onnx"
    other.write_bytes(b"nothing")
    with pytest.raises(BadDimension, match="is no language model"):
        open_model(other, Binding(tokens=3))


@pytest.mark.parametrize("name", ["llama", "gemma2, a window of 3", "exaone4", "one key head, uneven sizes"])
def test_a_long_prompt_attends_some_rows_at_a_time(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the answers of the reference, behind padding that fills the first rows too."""
    path = write_model(tmp_path / "model.gguf", FAMILIES[name])
    checkpoint, reference = gguf_checkpoint(path), Reference(path)
    whole = compile_answer(checkpoint, AnswerShape(11, 4)).node_count
    monkeypatch.setattr("opml_dispute.generation.attention.ROWS_TOGETHER", 4)
    program = compile_answer(checkpoint, AnswerShape(11, 4))
    assert program.node_count > whole
    for prompt in ([7, 3, 31, 2, 19, 9, 1, 30, 22, 8, 4], [5, 17]):
        assert [token for token in answer(program, prompt) if token >= 0] == reference.greedy(prompt, 4)[0]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("sampled", [False, True])
def test_nodes_are_those_of_the_prompt_and_of_every_token(name: str, sampled: bool, tmp_path: Path) -> None:
    """What is said of a model adds up, whatever its family makes of an embedding."""
    checkpoint = gguf_checkpoint(write_model(tmp_path / "model.gguf", FAMILIES[name]))
    for tokens in (1, 2, 9):
        program = compile_answer(checkpoint, AnswerShape(4, tokens, sampled))
        facts = language_facts(checkpoint, program)
        assert (facts.prompt_tokens, facts.tokens, facts.sampled) == (4, tokens, sampled)
        told = facts.prompt_nodes + (tokens - 1) * facts.token_nodes
        assert 0 <= told - program.node_count < facts.layers + 3  # the last token's end is not looked for
        assert (facts.token_nodes > 0) == (tokens > 1)
