"""Decoders exported to ONNX answer as ONNX Runtime's greedy decoding does, in every convention of exporters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.facts import language_facts
from opml_dispute.generation.files import is_language_model, open_model, read_language_model
from opml_dispute.generation.onnx_files import find_decoder
from opml_dispute.generation.refusals import BadPrompt, UnsupportedLanguageModel
from opml_dispute.generation.talk import AnswerProgram
from opml_dispute.model.files import Binding
from opml_dispute.model.graph_ends import graph_ends
from opml_dispute.model.opcodes import Opcode
from tests.generation.onnx_models import DecoderWriter, OnnxMade, greedy, write_decoder

MADE = {
    "one file": OnnxMade(),
    "one file, half floats": OnnxMade(half=True, seed=1),
    "merged": OnnxMade("merged", seed=2),
    "two files": OnnxMade("two files", seed=3),
    "genai": OnnxMade("genai", seed=4, head_size=16),
    "genai, four bits": OnnxMade("genai", seed=8, head_size=16, bits=4),
    "genai, sizes by name": OnnxMade("genai", seed=4, head_size=16, names_sizes=True),
    "positions of the past": OnnxMade("positions of the past", seed=5),
    "positions of the mask": OnnxMade("positions of the mask", seed=6),
    "merged, embedded": OnnxMade("merged", seed=9, embedding="tokens"),
    "two files, embedded": OnnxMade("two files", seed=10, embedding="tokens", half=True),
    "one file, embedded for pictures": OnnxMade(seed=11, embedding="pictures"),
    "genai, embedded for layers": OnnxMade("genai", seed=12, head_size=16, embedding="layers"),
    "old names": OnnxMade("old", seed=7, kv_heads=4),
}
TOKENS = 5


def answer(file: Path, prompt: list[int], room: int) -> list[int]:
    program = open_model(file, Binding(prompt_tokens=room, tokens=TOKENS))
    takes = AnswerProgram.of(program.inputs, program.outputs)
    assert takes is not None
    inference = Inference(program, takes.inputs(prompt))
    assert inference.status == 0
    return [int(token) for token in inference.outputs()["answer"]]


@pytest.mark.parametrize("name", MADE)
def test_an_answer_is_onnx_runtimes(name: str, tmp_path: Path) -> None:
    """In a prompt's own length, and where it can be in a larger room."""
    file, prompt = write_decoder(tmp_path / "model", MADE[name]), [7, 3, 31, 2, 19]
    expected = greedy(file.parent, MADE[name], prompt, TOKENS)
    assert is_language_model(file)
    assert answer(file, prompt, 5) == expected
    if name == "positions of the past":
        with pytest.raises(BadPrompt, match="takes prompts of 8 only"):
            answer(file, prompt, 8)
    else:
        assert answer(file, prompt, 8) == expected


@pytest.mark.parametrize("name", ["one file", "merged", "two files", "genai", "genai, four bits"])
def test_steps_share_their_weights(name: str, tmp_path: Path) -> None:
    """A program of many tokens has no more constants than one of few, but for masks and positions."""
    file = write_decoder(tmp_path / "model", MADE[name])
    weights = [
        sum(1 << block.log2_size for block in open_model(file, Binding(prompt_tokens=5, tokens=tokens)).weights)
        for tokens in (2, 9)
    ]
    assert weights[0] > 40_000
    assert weights[1] - weights[0] < 7 * 600


@pytest.mark.parametrize("name", ["one file", "merged", "two files", "genai"])
def test_of_a_prompt_the_last_row_is_scored_alone(name: str, tmp_path: Path) -> None:
    """Logits of every row would be most of the work where a vocabulary is large."""
    made = MADE[name]
    program = open_model(write_decoder(tmp_path / "model", made), Binding(prompt_tokens=6, tokens=2))
    scored = [
        int(np.prod(record.body[: record.rank]))
        for record in map(program.record, range(program.node_count))
        if record.opcode is Opcode.CONTRACT and record.body[record.rank - 1] == made.vocabulary
    ]
    assert scored == [made.vocabulary] * 2


def test_a_program_says_what_it_is(tmp_path: Path) -> None:
    file = write_decoder(tmp_path / "model", MADE["one file"], end_tokens=[3])
    model = read_language_model(file)
    program = open_model(file, Binding(prompt_tokens=5, tokens=4, sampling=True))
    facts = language_facts(model, program)
    assert (facts.architecture, facts.layers, facts.width, facts.vocabulary, facts.context) == ("tiny", 2, 32, 40, 64)
    assert (facts.prompt_tokens, facts.tokens, facts.sampled) == (5, 4, True)
    assert facts.parameters == sum(facts.encodings.values()) > 10_000
    assert 0 < facts.token_nodes < facts.prompt_nodes < program.node_count
    assert any(node.name.startswith("token 3/") and node.op_type == "MatMul" for node in program.nodes)


def test_an_answer_ends_with_the_end_token(tmp_path: Path) -> None:
    file, prompt = write_decoder(tmp_path / "model", MADE["merged"]), [7, 3, 31, 2, 19]
    expected = greedy(file.parent, MADE["merged"], prompt, TOKENS)
    write_decoder(tmp_path / "model", MADE["merged"], end_tokens=[expected[2], 39])
    end = expected.index(expected[2])
    assert answer(file, prompt, 6) == expected[: end + 1] + [-1] * (TOKENS - end - 1)


def test_a_graph_that_sizes_are_given_to_is_compiled_as_it_is(tmp_path: Path) -> None:
    """As it was before graphs were recognised: one token's logits and states."""
    file = write_decoder(tmp_path / "model", MADE["one file"])
    sizes = {"batch_size": 1, "sequence_length": 3, "past_sequence_length": 2, "total_sequence_length": 5}
    program = open_model(file, Binding(dims=sizes))
    assert [spec.name for spec in program.inputs][:3] == ["input_ids", "attention_mask", "position_ids"]


def test_a_prompt_beyond_the_context_is_refused(tmp_path: Path) -> None:
    file = write_decoder(tmp_path / "model", MADE["one file"])
    with pytest.raises(BadPrompt, match="take 68 positions; the model's context has 64"):
        open_model(file, Binding(prompt_tokens=60, tokens=9))


def test_a_folder_is_as_good_as_its_file(tmp_path: Path) -> None:
    """With the graphs in it, or in a folder `onnx` within it, where publishers put them."""
    file = write_decoder(tmp_path / "model", MADE["two files"])
    of_file = open_model(file, Binding(prompt_tokens=5, tokens=3))
    for named in (file.parent, file.with_name("decoder_with_past_model.onnx")):
        assert open_model(named, Binding(prompt_tokens=5, tokens=3)).model_root == of_file.model_root
    (tmp_path / "model" / "onnx").mkdir()
    for graph in file.parent.glob("*.onnx"):
        graph.rename(tmp_path / "model" / "onnx" / graph.name)
    assert open_model(tmp_path / "model", Binding(prompt_tokens=5, tokens=3)).model_root == of_file.model_root


def test_a_graph_with_an_input_that_the_loop_does_not_know_is_refused(tmp_path: Path) -> None:
    file = write_decoder(tmp_path / "model", MADE["one file"])
    model = onnx.load(file)
    model.graph.input.append(onnx.helper.make_tensor_value_info("pixel_values", 1, [1, 3]))
    onnx.save(model, file)
    with pytest.raises(UnsupportedLanguageModel, match="takes an input 'pixel_values'"):
        open_model(file, Binding(prompt_tokens=5, tokens=3))


def test_the_embedding_that_belongs_to_a_decoder_is_found(tmp_path: Path) -> None:
    """By the decoder's name, by genai_config.json, or as the only one; any other is not taken for it."""
    made = MADE["merged, embedded"]
    file = write_decoder(tmp_path / "model", made)
    expected = find_decoder(file)
    assert expected is not None
    assert expected.embedding == file.with_name("embed_tokens.onnx")
    other = DecoderWriter(replace(made, seed=99)).embedding()
    onnx.save(other, file.with_name("embed_tokens_q4.onnx"))
    assert find_decoder(file) == expected
    quantised = file.rename(file.with_name("decoder_model_merged_q4.onnx"))
    found = find_decoder(quantised)
    assert found is not None
    assert found.embedding == file.with_name("embed_tokens_q4.onnx")
    named = {"decoder": {"filename": quantised.name}, "embedding": {"filename": "words.onnx"}}
    file.with_name("genai_config.json").write_text(json.dumps({"model": named}))
    onnx.save(other, file.with_name("words.onnx"))
    found = find_decoder(file.parent)
    assert found is not None
    assert (found.prompt, found.embedding) == (quantised, file.with_name("words.onnx"))
    for graph in file.parent.glob("embed_*.onnx"):
        graph.rename(graph.with_name(f"a {graph.name}"))
    file.with_name("genai_config.json").write_text(json.dumps({"model": {"embedding": {"filename": "../words.onnx"}}}))
    with pytest.raises(UnsupportedLanguageModel, match="beside it there are 3 graphs that make them"):
        find_decoder(quantised)
    for graph in file.parent.glob("a *.onnx"):
        graph.unlink()
    assert find_decoder(quantised) == replace(found, prompt=quantised, step=quantised)
    file.with_name("words.onnx").unlink()
    with pytest.raises(UnsupportedLanguageModel, match="beside it there is no graph that makes them"):
        open_model(quantised, Binding(prompt_tokens=5, tokens=3))


def test_names_are_read_without_the_weights(tmp_path: Path) -> None:
    """As the whole file says; what is cut short, empty or no ONNX file has none."""
    file = write_decoder(tmp_path / "model", MADE["merged"])
    graph, ends = onnx.load(file).graph, graph_ends(file)
    assert ends is not None
    assert list(ends.inputs) == [value.name for value in graph.input]
    assert list(ends.outputs) == [value.name for value in graph.output]
    raw = file.read_bytes()
    for cut in (0, 1, 100, len(raw) // 2, len(raw) - 1):
        (tmp_path / "cut.onnx").write_bytes(raw[:cut])
        assert graph_ends(tmp_path / "cut.onnx") is None
    (tmp_path / "text.onnx").write_bytes(b"no model at all, but text that goes on for a while\n" * 10)
    assert graph_ends(tmp_path / "text.onnx") is None
    with (tmp_path / "zeros.onnx").open("wb") as zeros:
        zeros.truncate(1 << 34)
    assert graph_ends(tmp_path / "zeros.onnx") is None
    assert graph_ends(tmp_path) is None
    assert graph_ends(tmp_path / "absent") is None
