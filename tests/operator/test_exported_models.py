"""What a registration tells of an exported language model is enough to compile it again from its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.generation.files import open_model, takes_text
from opml_dispute.model.files import Binding
from opml_dispute.operator.model_description import binding_as_registered, facts_to_be
from opml_dispute.operator.model_store import ModelStore
from tests.generation.encoder_models import write_encoder
from tests.generation.heard_models import Heard, write_heard
from tests.generation.onnx_models import OnnxMade, write_decoder, write_tokenizer

SIZES = {"batch_size": 1, "sequence_length": 3, "past_sequence_length": 2, "total_sequence_length": 5}


@pytest.mark.parametrize(
    ("kind", "binding"),
    [
        ("decoder", Binding(prompt_tokens=5, tokens=3)),
        ("decoder", Binding(prompt_tokens=5, tokens=3, sampling=True)),
        ("decoder", Binding(dims=SIZES)),
        ("positions", Binding(prompt_tokens=4, tokens=2)),
        ("sound", Binding(tokens=3)),
        ("text", Binding(prompt_tokens=6, tokens=3)),
        ("sentences", Binding(prompt_tokens=6)),
        ("sentences", Binding(dims={"batch_size": 1, "sequence_length": 4})),
    ],
)
def test_a_registration_tells_how_to_compile_the_file(kind: str, binding: Binding, tmp_path: Path) -> None:
    file = {
        "decoder": lambda: write_decoder(tmp_path / "model", OnnxMade()),
        "positions": lambda: write_decoder(tmp_path / "model", OnnxMade("positions of the past")),
        "sound": lambda: write_heard(tmp_path / "model", Heard(), (1, 2)),
        "text": lambda: write_heard(tmp_path / "model", Heard(text=True), (1,)),
        "sentences": lambda: write_encoder(tmp_path / "model"),
    }[kind]()
    program = open_model(file, binding)
    told = binding_as_registered(facts_to_be(program, ""), is_language=takes_text(file))
    assert open_model(file, told).model_root == program.model_root


def test_the_vocabulary_of_an_exported_model_is_kept(tmp_path: Path) -> None:
    """One that lies beside its graph; a graph without one, or without its encoder, has none to keep."""
    store = ModelStore(tmp_path / "store")
    (tmp_path / "store").mkdir()
    with_one = write_decoder(tmp_path / "one", OnnxMade(vocabulary=48))
    write_tokenizer(with_one.parent)
    alone = write_heard(tmp_path / "alone", Heard(), (1,))
    alone.with_name("encoder_model.onnx").unlink()
    files = (with_one, write_encoder(tmp_path / "sentences"), write_decoder(tmp_path / "none", OnnxMade()), alone)
    for i, file in enumerate(files):
        store.keep_vocabulary(bytes([i]) * 32, file)
    kept = [store.vocabulary(bytes([i]) * 32) for i in range(4)]
    assert [vocabulary is not None for vocabulary in kept] == [True, True, False, False]
    assert kept[1] is not None
    assert kept[1].encode("the ferry") == [2, 4, 5, 3]
