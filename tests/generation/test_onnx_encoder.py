"""Sentence encoders exported to ONNX: a text's vector is what ONNX Runtime's token vectors pool to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.files import language_of, open_model
from opml_dispute.generation.refusals import BadModelFile, BadPrompt, UnsupportedLanguageModel
from opml_dispute.generation.talk import EmbeddingProgram, prompt_of
from opml_dispute.model.files import Binding
from tests.generation.encoder_models import TEXT, TOKENS, token_vectors, write_encoder


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("pooling", ["", "cls_token", "mean_tokens", "max_tokens"])
def test_a_vector_is_pooled_as_the_files_say(pooling: str, normalised: bool, tmp_path: Path) -> None:
    """In a text's own length, and in a larger room, whose padding counts for nothing."""
    file = write_encoder(tmp_path / "model", pooling=pooling, normalised=normalised)
    rows = token_vectors(file)
    expected = {"cls_token": rows[0], "max_tokens": rows.max(0)}.get(pooling, rows.mean(0))
    if normalised:
        expected = expected / np.linalg.norm(expected)
    assert prompt_of(language_of(file), TEXT, chat=False) == TOKENS
    for room in (len(TOKENS), 12):
        program = open_model(file, Binding(prompt_tokens=room))
        takes = EmbeddingProgram.of(program.inputs, program.outputs)
        assert takes == EmbeddingProgram(room)
        found = Inference(program, takes.inputs(TOKENS)).outputs()["embedding"]
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


def test_a_graph_that_pools_by_itself_is_left_to_it(tmp_path: Path) -> None:
    file = write_encoder(tmp_path / "model", pooled=True)
    program = open_model(file, Binding(prompt_tokens=len(TOKENS)))
    found = Inference(program, EmbeddingProgram(len(TOKENS)).inputs(TOKENS)).outputs()["embedding"]
    np.testing.assert_allclose(found, token_vectors(file).max(0), rtol=2e-4, atol=2e-5)
    assert program.notes == ("the vector is the graph's own, without a pooling here",)


def test_an_encoder_is_refused_with_a_sentence(tmp_path: Path) -> None:
    file = write_encoder(tmp_path / "model", pooling="weightedmean_tokens")
    with pytest.raises(UnsupportedLanguageModel, match="asks for the pooling"):
        open_model(file, Binding(prompt_tokens=8))
    with pytest.raises(BadPrompt, match="the model's context has 16"):
        open_model(write_encoder(tmp_path / "other"), Binding(prompt_tokens=17))


@pytest.mark.parametrize("rows", [None, True, 0, -1, 1.5, "x", [1], {}])
def test_a_vocabulary_of_no_size_is_one_of_unknown_size(rows: Any, tmp_path: Path) -> None:
    file = write_encoder(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": rows}))
    assert prompt_of(language_of(file), TEXT, chat=False) == TOKENS


@pytest.mark.parametrize("name", ["1_Pooling/config.json", "modules.json", "config.json", "tokenizer.json"])
def test_a_link_to_nothing_beside_an_encoder_is_refused(name: str, tmp_path: Path) -> None:
    """Passed over, it would give another vector: of another pooling, or of another length."""
    file = write_encoder(tmp_path / "model", pooling="cls_token", normalised=True)
    (tmp_path / "model" / name).unlink()
    (tmp_path / "model" / name).symlink_to("../blobs/0123")
    with pytest.raises(BadModelFile, match="a link to what is not there"):
        open_model(file, Binding(prompt_tokens=8))
