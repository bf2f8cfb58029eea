"""Decoders that are a part of a model which also sees, and biases: what folders say of them is what is taken."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.generation.huggingface import huggingface_checkpoint
from opml_dispute.generation.huggingface_types import read_config
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from tests.generation.published_models import SCORES_FILE, tensor_of, write_case, write_safetensors

PUBLISHED = json.loads(SCORES_FILE.read_text())


def test_the_decoder_of_a_model_that_sees_is_found_under_its_older_names_too(tmp_path: Path) -> None:
    """Its published folders have its tensors under language_model.model, the package's newest the other way round."""
    for case in ("gemma3 with eyes", "mistral3 with eyes"):
        made = copy.deepcopy(PUBLISHED[case])
        newest = huggingface_checkpoint(write_case(tmp_path / f"{case} new", made))
        renamed = write_case(tmp_path / case, made)
        tensors = {name: tensor_of(name, shape) for name, shape in made["shapes"].items()}
        older = {
            name.replace("model.language_model.", "language_model.model.")
            .replace("model.vision_tower.", "vision_tower.")
            .replace("model.multi_modal_projector.", "multi_modal_projector.")
            .replace("lm_head.", "language_model.lm_head."): value
            for name, value in tensors.items()
        }
        write_safetensors(renamed / "model.safetensors", older)
        found = huggingface_checkpoint(renamed)
        assert found.architecture == newest.architecture
        assert sorted(found.weights) == sorted(newest.weights)


def test_what_a_model_that_sees_leaves_out_of_its_decoder_has_the_defaults_of_the_type(tmp_path: Path) -> None:
    """As the smaller models of Gemma 3 do, whose text_config names few sizes."""
    text = {"hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024}
    config = read_config(tmp_path, {"model_type": "gemma3", "text_config": text, "eos_token_id": [1, 106]})
    assert (config.count("num_attention_heads"), config.count("num_key_value_heads")) == (8, 4)
    assert (config.count("max_position_embeddings"), config.real("rope_theta")) == (131072, 1e6)
    assert (config.values["eos_token_id"], config.values["model_type"]) == ([1, 106], "gemma3_text")
    for quantised in ({"quantization_config": {"quant_method": "fp8"}}, {}):
        inner = {**text, **({} if quantised else {"quantization_config": {"quant_method": "fp8"}})}
        with pytest.raises(UnsupportedLanguageModel, match="quantised"):
            read_config(tmp_path, {"model_type": "gemma3", "text_config": inner, **quantised})
    with pytest.raises(UnsupportedLanguageModel, match=r"type 'mamba'; known are llama, .*, mistral3"):
        read_config(tmp_path, {"model_type": "mistral3", "text_config": {"model_type": "mamba"}})


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("llama, biases", {"mlp_bias": False}, r"'blk\.0\.ffn_.*\.bias', for which its family has no place"),
        ("llama", {"attention_bias": True}, r"no tensor 'blk\.0\.attn_q\.bias'"),
        ("glm4", {"attention_bias": 1}, "attention_bias; expected true or false"),
    ],
)
def test_biases_are_those_that_the_configuration_speaks_of(
    case: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Others would be left out by the package that publishes the model, or made up."""
    made = copy.deepcopy(PUBLISHED[case])
    made["config"] |= changes
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=message):
        huggingface_checkpoint(write_case(tmp_path / "model", made))
