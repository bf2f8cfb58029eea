"""Encoders and decoders exported to ONNX, of text and of sound, answer as ONNX Runtime's greedy decoding does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.facts import language_facts
from opml_dispute.generation.files import open_model, read_language_model
from opml_dispute.generation.refusals import BadPrompt, UnsupportedLanguageModel
from opml_dispute.generation.talk import AnswerProgram
from opml_dispute.model.files import Binding
from tests.generation.heard_models import Heard, greedy_behind, write_heard
from tests.generation.onnx_models import DecoderWriter

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


def of_rows(model: onnx.ModelProto, table: str) -> onnx.ModelProto:
    """The graph with rows of an embedding in the place of tokens, which it looks up in `table`."""
    (look,) = (node for node in model.graph.node if node.op_type == "Gather" and node.input[0] == table)
    (tokens,) = (value for value in model.graph.input if value.name == "input_ids")
    model.graph.node.remove(look)
    for node in model.graph.node:
        node.input[:] = ["inputs_embeds" if name in ("input_ids", look.output[0]) else name for name in node.input]
    tokens.CopyFrom(onnx.helper.make_tensor_value_info("inputs_embeds", 1, ["batch_size", "length", 32]))
    return model


def test_encoder_and_decoder_take_rows_of_one_embedding(tmp_path: Path) -> None:
    """As models that see are exported: the text of a prompt goes through the embedding, then through the encoder."""
    file, prompt = write_heard(tmp_path / "model", Heard(text=True, seed=6), (1,)), [9, 3, 31, 7]
    paths = {name: file.with_name(f"{name}.onnx") for name in ("encoder_model", "decoder_model")}
    paths["decoder_with_past_model"] = file.with_name("decoder_with_past_model.onnx")
    graphs = {name: onnx.load(path) for name, path in paths.items()}
    (table,) = (tensor for tensor in graphs["decoder_model"].graph.initializer if tensor.name == "embedding")
    (words,) = (tensor for tensor in graphs["encoder_model"].graph.initializer if tensor.name == "words")
    words.raw_data = table.raw_data
    onnx.save(graphs["encoder_model"], paths["encoder_model"])
    source = {"input_ids": np.array([prompt]), "attention_mask": np.ones((1, 4), np.int64)}
    expected = greedy_behind(file.parent, source, (1,), TOKENS)
    for name, graph in graphs.items():
        onnx.save(of_rows(graph, "words" if name == "encoder_model" else "embedding"), paths[name])
    made = replace(Heard(seed=6).decoder, embedding="tokens")
    onnx.save(DecoderWriter(made).embedding(), file.with_name("embed_tokens.onnx"))
    program = open_model(file, Binding(prompt_tokens=6, tokens=TOKENS))
    takes = AnswerProgram.of(program.inputs, program.outputs)
    assert takes is not None
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
