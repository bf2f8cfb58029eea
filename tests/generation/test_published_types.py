"""Types of models that the package transformers publishes: its scores, in folders, in GGUF files, and step by step."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.generation.answer import AnswerShape
from opml_dispute.generation.gguf_model import gguf_checkpoint
from opml_dispute.generation.huggingface import huggingface_checkpoint
from opml_dispute.generation.program import compile_answer
from opml_dispute.generation.refusals import BadModelFile, UnsupportedLanguageModel
from opml_dispute.generation.scores import SCORES, compile_scores
from opml_dispute.generation.talk import padded
from tests.generation.gguf_of import write_gguf_of
from tests.generation.published_models import SCORES_FILE, prompt_of, write_case

PUBLISHED = json.loads(SCORES_FILE.read_text())


@pytest.mark.parametrize("case", PUBLISHED)
def test_scores_are_those_of_the_package_that_publishes_the_model(case: str, tmp_path: Path) -> None:
    """Of every type, kind of window and scaling of positions; behind the last three tokens of each prompt."""
    checkpoint = huggingface_checkpoint(write_case(tmp_path / "model", PUBLISHED[case]))
    for length, expected in PUBLISHED[case]["scores"].items():
        prompt = prompt_of(int(length))
        inference = Inference(compile_scores(checkpoint, len(prompt)), {"prompt": padded(prompt, len(prompt))})
        np.testing.assert_allclose(inference.outputs()[SCORES][-3:], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "case",
    [
        "gpt2", "gpt_bigcode", "starcoder2, a window", "gpt_neox", "gpt_neox, one part behind the other",
        "bloom, six heads", "falcon", "falcon, two norms and groups", "mpt, the usual scale", "stablelm",
        "stablelm, parallel", "olmo",
        "cohere, norms of heads", "cohere2", "nemotron", "arcee", "glm",
    ],
)  # fmt: skip
def test_a_gguf_file_of_a_folder_gives_its_scores(case: str, tmp_path: Path) -> None:
    """
    Those of transformers, recorded. llama.cpp's were within 10^-5 of them, or within 0.002 where it takes GELU from
    tables in binary16; but it sees no window in StarCoder 2, and did not load `glm` and `cohere, norms of heads`.
    """
    folder = huggingface_checkpoint(write_case(tmp_path / "model", PUBLISHED[case]))
    checkpoint = gguf_checkpoint(write_gguf_of(tmp_path / "model.gguf", folder))
    prompt = prompt_of(10)
    inference = Inference(compile_scores(checkpoint, len(prompt)), {"prompt": padded(prompt, len(prompt))})
    expected = PUBLISHED[case]["scores"]["10"]
    np.testing.assert_allclose(inference.outputs()[SCORES][-3:], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["gpt2", "bloom, six heads", "mpt", "cohere2", "falcon, two norms and groups", "glm"])
def test_an_answer_goes_on_as_scores_say(case: str, tmp_path: Path) -> None:
    """Steps learn their positions, and how far scores fall, as the prompt's rows do, with padding before it too."""
    checkpoint = huggingface_checkpoint(write_case(tmp_path / "model", PUBLISHED[case]))
    prompt = prompt_of(9)
    inference = Inference(compile_answer(checkpoint, AnswerShape(12, 7)), {"prompt": padded(prompt, 12)})
    answer = [int(token) for token in inference.outputs()["answer"]]
    text = [*prompt, *answer[:-1]]
    scores = Inference(compile_scores(checkpoint, len(text)), {"prompt": padded(text, len(text))}).outputs()[SCORES]
    assert answer == scores[len(prompt) - 1 :].argmax(1).tolist()


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx true"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before false"),
        ("falcon", {"alibi": True}, "alibi true"),
        ("falcon, two norms and groups", {"parallel_attn": False}, "new_decoder_architecture without parallel_attn"),
        ("falcon", {"multi_query": False}, r"query_key_value.weight' has the shape \[48, 32\]; expected 96 rows"),
        ("mpt", {"attn_config": {"alibi": False}}, "alibi false"),
        ("gpt_neo", {"attention_types": [[["global"], 2]]}, "attention_types; expected 3 layers that are global or"),
        ("gpt_neo", {"attention_types": [["global"], 2]}, "attention_types; expected lists of kinds"),
        ("phi3, turned in part", {"rope_parameters": {"partial_rotary_factor": 0.4}}, "an even number of 8 elements"),
        ("gptj", {"rotary_dim": 3}, "rotary_dim; expected an even number"),
        ("stablelm, parallel", {"qk_layernorm": False}, "attn_q_norm.weight', for which its family has no place"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5, which models of the type 'llama'"),
        ("gemma", {"hidden_act": "silu"}, "activation 'silu'"),
    ],
)
def test_what_a_type_does_not_have_is_refused(case: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    made = copy.deepcopy(PUBLISHED[case])
    made["config"] |= changes
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=message):
        huggingface_checkpoint(write_case(tmp_path / "model", made))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.mlp.down_proj.weight"])
def test_weights_that_are_no_numbers_are_refused(name: str, value: float, tmp_path: Path) -> None:
    """Where compiling reads them: an answer would be one token, again and again. Matrices in F32 stay in the file."""
    folder = write_case(tmp_path / "model", PUBLISHED["llama"])
    checkpoint = huggingface_checkpoint(folder)
    ours = "output_norm.weight" if "norm" in name else "blk.1.ffn_down.weight"
    weight = checkpoint.weights[ours]
    damaged = weight.float32().astype(np.float16)
    damaged.flat[5] = value
    weights = {**checkpoint.weights, ours: replace(weight, encoding="F16", data=damaged)}
    with pytest.raises(BadModelFile, match=f"'{name}' has elements that are no finite numbers"):
        compile_answer(replace(checkpoint, weights=weights), AnswerShape(3, 2))
