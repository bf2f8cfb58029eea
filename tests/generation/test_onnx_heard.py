"""Encoders and decoders exported to ONNX, of text and of sound, answer as ONNX Runtime's greedy decoding does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.facts import language_facts
from opml_dispute.generation.files import open_model, read_language_model
from opml_dispute.generation.refusals import BadPrompt, UnsupportedLanguageModel
from opml_dispute.generation.talk import AnswerProgram
from opml_dispute.model.files import Binding
from tests.generation.heard_models import Heard, greedy_behind, write_heard

START = (5, 11, 2)
TOKENS = 5
SOUND = np.random.default_rng(3).normal(size=(1, 6, 10)).astype(np.float32)


def test_sound_is_answered(tmp_path: Path) -> None:
    """By two files and by one; they say what the decoder begins with, and what no answer begins with."""
    sizes = Binding(tokens=TOKENS)
    file = write_heard(tmp_path / "two", Heard(), START)
    free = greedy_behind(file.parent, {"input_features": SOUND}, START, TOKENS)
    for excluded in ((), (free[0],)):
        file = write_heard(tmp_path / "two", Heard(), START, excluded=excluded)
        expected = greedy_behind(file.parent, {"input_features": SOUND}, START, TOKENS, excluded)
        for merged in (False, True) if excluded else (False,):
            file = write_heard(tmp_path / str(merged), Heard(merged=merged), START, excluded=excluded)
            program = open_model(file, sizes)
            assert [(spec.name, spec.shape) for spec in program.inputs] == [("input_features", (1, 6, 10))]
            assert Inference(program, {"input_features": SOUND}).outputs()["answer"].tolist() == expected
    assert expected[0] != free[0]


@pytest.mark.parametrize("merged", [False, True])
def test_a_text_is_answered_by_an_encoder_and_a_decoder(merged: bool, tmp_path: Path) -> None:
    """The prompt is the encoder's, in its own length and in a larger room."""
    prompt = [9, 3, 31, 7]
    file = write_heard(tmp_path / "two", Heard(text=True, seed=4), (1,))
    source = {"input_ids": np.array([prompt]), "attention_mask": np.ones((1, 4), np.int64)}
    expected = greedy_behind(file.parent, source, (1,), TOKENS)
    file = write_heard(tmp_path / "told", Heard(text=True, merged=merged, seed=4), (1,))
    for room in (4, 7):
        program = open_model(file, Binding(prompt_tokens=room, tokens=TOKENS))
        takes = AnswerProgram.of(program.inputs, program.outputs)
        assert takes == AnswerProgram(room, TOKENS)
        assert Inference(program, takes.inputs(prompt)).outputs()["answer"].tolist() == expected


def test_a_program_that_hears_takes_no_prompt(tmp_path: Path) -> None:
    file = write_heard(tmp_path / "model", Heard(), START)
    program = open_model(file, Binding(tokens=3))
    takes = AnswerProgram.of(program.inputs, program.outputs)
    assert takes == AnswerProgram(0, 3)
    with pytest.raises(BadPrompt, match="answers sound"):
        takes.inputs([1])
    facts = language_facts(read_language_model(file), program)
    assert (facts.prompt_tokens, facts.layers, facts.architecture) == (0, 2, "heard")


def test_a_decoder_without_its_encoder_is_refused(tmp_path: Path) -> None:
    file = write_heard(tmp_path / "model", Heard(), START)
    file.with_name("encoder_model.onnx").unlink()
    with pytest.raises(UnsupportedLanguageModel, match=r"there is no encoder_model\.onnx beside it"):
        open_model(file, Binding(tokens=3))
    with pytest.raises(UnsupportedLanguageModel, match=r"there is no encoder_model\.onnx beside it"):
        open_model(file, Binding())


def test_a_decoder_without_its_encoder_is_compiled_as_a_graph_for_given_sizes(tmp_path: Path) -> None:
    file = write_heard(tmp_path / "model", Heard(), START)
    file.with_name("encoder_model.onnx").unlink()
    sizes = {"batch_size": 1, "decoder_sequence_length": 2, "encoder_sequence_length": 10}
    program = open_model(file, Binding(dims=sizes))
    assert [spec.name for spec in program.inputs] == ["input_ids", "encoder_hidden_states"]
