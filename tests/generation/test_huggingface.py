"""Folders as Hugging Face publishes them: the answers that GGUF gives; damage leads to a sentence."""

from __future__ import annotations

import copy
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opml_dispute.generation.answer import AnswerShape
from opml_dispute.generation.families import FAMILIES
from opml_dispute.generation.files import is_language_model, read_checkpoint
from opml_dispute.generation.gguf_model import gguf_checkpoint
from opml_dispute.generation.huggingface import huggingface_checkpoint
from opml_dispute.generation.huggingface_config import _local_layers
from opml_dispute.generation.huggingface_names import _PARTS
from opml_dispute.generation.huggingface_types import MODEL_TYPES, Config, read_config
from opml_dispute.generation.program import compile_answer
from opml_dispute.generation.refusals import BadModelFile, BadPrompt, UnsupportedLanguageModel
from opml_dispute.generation.safetensors_file import read_safetensors
from opml_dispute.generation.vocabulary import Vocabulary
from tests.generation.models import LETTERS, Made, weights_of, write_model
from tests.generation.published_models import SCORES_FILE, write_case, write_safetensors

MADE = Made("qwen2", seed=3)
PUBLISHED = json.loads(SCORES_FILE.read_text())


def published(folder: Path, made: Made = MADE, **changes: Any) -> Path:
    """A folder with a model, in two files."""
    s = made.sizes
    folder.mkdir(exist_ok=True)
    config = {
        "model_type": made.family, "hidden_size": s.width, "num_attention_heads": s.heads, "head_dim": s.head_size,
        "num_key_value_heads": s.kv_heads, "num_hidden_layers": s.layers, "intermediate_size": s.hidden,
        "max_position_embeddings": s.context, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "eos_token_id": 0,
        "tie_word_embeddings": made.tied,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | changes))
    parts = {ours: theirs for theirs, ours in list(_PARTS.items())[:15] if theirs != "mlp.gate_up_proj"}
    tensors = {}
    for name, value in weights_of(made).items():
        if name.startswith("blk."):
            _, layer, part, what = name.split(".")
            name = f"model.layers.{layer}.{parts[part]}.{what}"
            if name.endswith("mlp.up_proj.weight") and made.family == "phi3":
                name = name.replace("up_proj", "gate_up_proj")
        fixed = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
        # Gemma's folders have the weights of norms less 1.
        is_less = made.family == "gemma" and "norm" in name
        tensors[fixed.get(name, name)] = value - np.float32(1) if is_less else value
    halves = [dict(list(tensors.items())[:9]), dict(list(tensors.items())[9:])]
    for i, half in enumerate(halves):
        write_safetensors(folder / f"part-{i}.safetensors", half)
    index = {"weight_map": {name: f"part-{i}.safetensors" for i, half in enumerate(halves) for name in half}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [
            {"id": 0, "content": "<end>", "special": True, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False}
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(LETTERS[:40])}, "merges": []},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "gemma", "phi3", "ernie4_5"])
def test_a_folder_gives_the_program_that_its_gguf_file_gives(family: str, tmp_path: Path) -> None:
    made = Made(family, seed=3)
    ours = read_checkpoint(published(tmp_path / "folder", made))
    theirs = gguf_checkpoint(write_model(tmp_path / "model.gguf", made))
    shape = AnswerShape(4, 3)
    assert compile_answer(ours, shape).records == compile_answer(theirs, shape).records
    for name, weight in theirs.weights.items():
        # Gemma loses a bit or two of the weights of norms on the way to less 1 and back.
        bits = 1e-6 if family == "gemma" else 0
        np.testing.assert_allclose(ours.weights[name].float32(), weight.float32(), rtol=bits, atol=0)
    assert ours.vocabulary is not None
    assert ours.vocabulary.encode("abc <end>") == [1, 2, 3, 27, 0]
    assert ours.vocabulary.text([1, 2, 27, 3, 0]) == "ab c"
    assert ours.vocabulary.end_tokens == [0]


@pytest.mark.parametrize(
    ("settings", "begins"), [({}, True), ({"add_bos_token": False}, False), ({"add_bos_token": True}, True)]
)
def test_texts_begin_as_the_tokenizer_puts_it(settings: dict[str, Any], begins: bool, tmp_path: Path) -> None:
    """By its settings; where they do not say, by the tokenizer's last step, as in the folders of Llama 3."""
    folder = published(tmp_path / "folder", bos_token_id=5)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    template = {
        "type": "TemplateProcessing", "pair": [],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}},
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    }  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    tokenizer["post_processor"] = {"type": "Sequence", "processors": [byte_level, template]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    vocabulary = huggingface_checkpoint(folder).vocabulary
    assert vocabulary is not None
    assert vocabulary.encode("abc") == ([5, 1, 2, 3] if begins else [1, 2, 3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "'mamba'; known are llama, mistral, qwen2, qwen3, gemma, gemma2"),
        ({"model_type": ["llama"]}, "known are llama"),
        ({"hidden_size": "32"}, "hidden_size; expected a whole number"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "over 3 key heads"),
        ({"rope_scaling": {"rope_type": "dynamic"}}, "scales positions by 'dynamic'; known are default, linear"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "has 0 as factor; expected a number above 0"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "nothing as low_freq_factor"),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}},
            "high_freq_factor; expected more than low_freq_factor, 4",
        ),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 2}, "rope_theta": 1},
            "rope_theta; expected a number above 1",
        ),
        ({"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "short_factor; expected a list of 4 numbers"),
        ({"rope_scaling": 7}, "rope_scaling; expected an object"),
        ({"partial_rotary_factor": 0.4}, "partial_rotary_factor 0.4, which models of the type 'qwen2' do not have"),
        ({"hidden_act": "tanh"}, "activation .tanh.; known are silu"),
        ({"use_sliding_window": "yes", "sliding_window": 4}, "use_sliding_window; expected true or false"),
        ({"layer_types": ["full_attention"], "sliding_window": 4}, "a list of 2 kinds of layers"),
        ({"layer_types": ["chunked_attention"] * 2, "sliding_window": 4}, "layers of the kind 'chunked_attention'"),
        ({"use_bidirectional_attention": True}, "lets tokens see those behind them"),
    ],
)
def test_what_a_configuration_says_wrongly_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=message):
        huggingface_checkpoint(published(tmp_path / "folder", **changes))


def test_a_safetensors_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = (published(tmp_path / "folder") / "part-1.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for size in [*range(0, 600, 7), *range(600, len(whole), 1501), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(BadModelFile):
            read_safetensors(path)


@pytest.mark.parametrize(
    "name", ["config.json", "part-0.safetensors", "tokenizer.json", "model.safetensors.index.json"]
)
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    folder = published(tmp_path / "folder")
    (folder / name).write_bytes(b"\x10\0\0\0\0\0\0\0{nonsense}")
    with pytest.raises(BadModelFile, match=name):
        huggingface_checkpoint(folder)


def test_files_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    folder = published(tmp_path / "folder")
    index = {"weight_map": {"model.norm.weight": "../part-0.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadModelFile, match="outside of its folder"):
        huggingface_checkpoint(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"model.norm.weight": "a" * 9999}}))
    with pytest.raises(BadModelFile, match="more than 255 characters"):
        huggingface_checkpoint(folder)


@pytest.mark.parametrize("field", ["dtype", "shape", "data_offsets"])
@pytest.mark.parametrize("value", [None, [], [[]], [1, "a" * 9999], {}, -1, 1 << 70, "a" * 9999])
def test_a_tensor_that_is_described_wrongly_is_named(field: str, value: Any, tmp_path: Path) -> None:
    """Whatever stands in the header in place of a type, a shape or a place: a sentence of a few hundred characters."""
    header = {"model.norm.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], field: value}}
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=r"model\.norm\.weight") as told:
        read_safetensors(path)
    assert len(str(told.value)) < 600


def test_a_folder_without_configuration_is_no_model(tmp_path: Path) -> None:
    assert not is_language_model(tmp_path)
    assert is_language_model(published(tmp_path / "folder"))


_SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the base beside rope_parameters": (
        {"rope_parameters": {"rope_type": "default"}, "rope_theta": 500.0}, {"rope_theta": 500.0}
    ),
    "both spellings: the older counts": (
        {"rope_parameters": {"rope_theta": 3.0}, "rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 7.0},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 7.0}},
    ),
    "the first context beside rope_scaling counts": (
        {
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
            "original_max_position_embeddings": 16,
        },
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
    ),
    "no number is no base": ({"rope_parameters": {"rope_theta": None}, "rope_theta": 500.0}, {"rope_theta": 500.0}),
    "SiLU's other name": ({"hidden_act": "swish"}, {"hidden_act": "silu"}),
    "a window that is not used": ({"sliding_window": 3, "layer_types": ["sliding_attention"] * 2}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", _SAME)
def test_ways_to_write_the_same_configuration_give_the_same_decoder(case: str, tmp_path: Path) -> None:
    """The package transformers takes these pairs for the same: its scores say so."""
    one, other = (
        repr(huggingface_checkpoint(published(tmp_path / name, **changes)).architecture)
        for name, changes in zip(("one", "other"), _SAME[case], strict=True)
    )
    assert one == other


@pytest.mark.parametrize(
    ("kind", "changes", "local"),
    [
        ("llama", {"layer_types": ["sliding_attention"] * 4}, []),
        ("granite", {}, []),
        ("gemma", {}, []),
        ("mistral", {"layer_types": ["full_attention"] * 4}, [0, 1, 2, 3]),
        ("phi3", {"layer_types": ["full_attention"] * 4}, [0, 1, 2, 3]),
        ("qwen3", {"layer_types": ["sliding_attention"] * 4}, []),
        ("qwen3", {"use_sliding_window": True, "max_window_layers": 3}, [3]),
        ("qwen3", {"use_sliding_window": True, "max_window_layers": None}, []),
        ("smollm3", {"use_sliding_window": True}, [3]),
        ("smollm3", {"layer_types": ["sliding_attention", "full_attention"] * 2}, [0, 2]),
        ("gemma2", {}, [0, 2]),
        ("gemma3_text", {"sliding_window_pattern": 3}, [0, 1, 3]),
    ],
)
def test_windows_are_those_of_the_type(kind: str, changes: dict[str, Any], local: list[int]) -> None:
    config = read_config(Path("model"), {"model_type": kind, "sliding_window": 3, **changes})
    assert sorted(_local_layers(config, FAMILIES[MODEL_TYPES[kind]], 4)) == local


def test_keys_that_are_left_out_have_the_defaults_of_the_type() -> None:
    def of(kind: str) -> Config:
        return read_config(Path("model"), {"model_type": kind})

    assert of("smollm3").real("rope_theta") == 2e6
    assert of("smollm3").truth("tie_word_embeddings", False)
    assert of("phi3").real("rms_norm_eps", 1e-6) == 1e-5
    assert of("gemma2").real("attn_logit_softcapping") == 50
    assert of("qwen3").count("head_dim") == 128


@pytest.mark.parametrize(
    ("made", "changes", "message"),
    [
        ("gemma", {"hidden_act": ["gelu"]}, r"activation \['gelu'\]"),
        ("gemma", {"hidden_activation": {"a": 1}}, "activation"),
        ("qwen2", {"rope_scaling": {"rope_type": {}}}, "scales positions by {}"),
        ("qwen2", {"rope_parameters": {"full_attention": {"rope_theta": 5}}}, "one object for all layers"),
        ("qwen2", {"quantization_config": {"quant_method": "fp8"}}, "quantised .quant_method 'fp8'"),
        ("qwen2", {"compression_config": {"quant_method": 7}}, "quantised"),
        ("qwen2", {"quantization_config": []}, "expected an object"),
    ],
)
def test_what_would_be_misread_is_refused(made: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=message):
        huggingface_checkpoint(published(tmp_path / "folder", Made(made, seed=3), **changes))


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_theta": 5.0}, "expected an object a kind of layers"),
        ({"sliding_attention": {"rope_type": "linear", "factor": 8.0}}, "scales the positions of layers that see"),
    ],
)
def test_rotations_of_gemma3_are_told_by_kind_of_layer(rope: dict[str, Any], message: str, tmp_path: Path) -> None:
    case = PUBLISHED["gemma3"]
    folder = write_case(tmp_path / "model", {**case, "config": {**case["config"], "rope_parameters": rope}})
    with pytest.raises((BadModelFile, UnsupportedLanguageModel), match=message):
        huggingface_checkpoint(folder)


def test_an_adapter_and_a_folder_without_weights_are_named(tmp_path: Path) -> None:
    folder = published(tmp_path / "folder")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UnsupportedLanguageModel, match="holds an adapter"):
        read_checkpoint(folder)
    (folder / "config.json").rename(folder / "other.json")
    assert is_language_model(folder)  # so that opening it says what it is
    (folder / "other.json").rename(folder / "config.json")
    (folder / "adapter_config.json").unlink()
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(UnsupportedLanguageModel, match=r"neither model\.safetensors nor"):
        read_checkpoint(folder)


def _with_tokenizer(folder: Path, **changes: Any) -> Vocabulary:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    vocabulary = huggingface_checkpoint(folder).vocabulary
    assert vocabulary is not None
    return vocabulary


def test_a_token_without_a_row_is_refused_in_a_prompt_only(tmp_path: Path) -> None:
    """Gemma 3's tokenizer has one for pictures beyond the embedding of the models that see none."""
    added = [
        {"id": i, "content": name, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for i, name in ((0, "<end>"), (40, "<picture\u2581>"))
    ]  # fmt: skip
    vocabulary = _with_tokenizer(published(tmp_path / "folder"), added_tokens=added)
    assert vocabulary.encode("ab") == [1, 2]
    assert vocabulary.special == [0]
    assert vocabulary.kind == "bytes"  # an added name with SentencePiece's space says nothing
    with pytest.raises(BadPrompt, match=r"picture.*a token that the tokenizer knows and the model does not"):
        vocabulary.encode("a<picture\u2581>")


@pytest.mark.parametrize("pieces", [[[["a"], 0.0], [{}, 1]], [[1, 0.0], [None, 1]], [["<unk>", 0.0], [], "b"]])
def test_a_list_of_pieces_with_other_things_in_it_is_read(pieces: list[Any], tmp_path: Path) -> None:
    model = {"type": "Unigram", "unk_id": 0, "vocab": pieces}
    assert len(_with_tokenizer(published(tmp_path / "folder"), model=model).tokens) >= 1


@pytest.mark.parametrize(
    ("settings", "config", "begin"),
    [
        ({"add_bos_token": True, "bos_token": "b"}, {}, 2),  # named only
        ({"add_bos_token": True, "bos_token": {"content": "b"}}, {"bos_token_id": 99}, 2),  # beyond the rows
        ({"add_bos_token": True}, {}, None),
        ({}, {"bos_token_id": 7}, 5),  # the tokenizer itself puts another one
        ({}, {}, 5),
    ],
)
def test_the_token_before_texts_is_the_one_that_the_tokenizer_puts(
    settings: dict[str, Any], config: dict[str, Any], begin: int | None, tmp_path: Path
) -> None:
    folder = published(tmp_path / "folder", **config)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    template = {
        "type": "TemplateProcessing", "pair": [], "special_tokens": {"e": {"id": "e", "ids": [5], "tokens": ["e"]}},
        "single": [{"SpecialToken": {"id": "e", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    }  # fmt: skip
    assert _with_tokenizer(folder, post_processor=template).begin == begin


def test_chat_templates_may_have_names_and_a_file_counts_first(tmp_path: Path) -> None:
    folder = published(tmp_path / "folder")
    named = [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert _with_tokenizer(folder).template == "yes"
    (folder / "chat_template.jinja").write_text("the file's")
    assert _with_tokenizer(folder).template == "the file's"


@pytest.mark.parametrize(
    ("case", "key", "value"),
    [
        ("llama, scaled as Llama 3.1", "factor", 1e-300),
        ("llama, scaled as Llama 3.1", "factor", 1e300),
        ("llama, scaled by a factor", "factor", 1e-300),
        ("llama, scaled by YaRN", "attention_factor", 1e300),
        ("llama, scaled by YaRN", "factor", 1e300),
        ("phi3, LongRoPE", "short_factor", [1.0, 1.0, 1.0, 1e-300]),
        ("phi3, LongRoPE", "long_factor", [1.0, 1.0, 1.0, 1e300]),
    ],
)
def test_a_scaling_that_binary32_cannot_hold_is_refused(case: str, key: str, value: Any, tmp_path: Path) -> None:
    made = copy.deepcopy(PUBLISHED[case])
    made["config"]["rope_parameters"][key] = value
    with pytest.raises(UnsupportedLanguageModel, match="scales its rotations by what is no number above 0"):
        huggingface_checkpoint(write_case(tmp_path / "model", made))


@pytest.mark.parametrize("case", [case for case in PUBLISHED if "scaled" in case or "LongRoPE" in case])
def test_a_model_has_one_root_whatever_decimals_the_process_computes_with(case: str, tmp_path: Path) -> None:
    """A program that uses the package may have set another precision or rounding."""
    folder = write_case(tmp_path / "model", PUBLISHED[case])
    expected = compile_answer(huggingface_checkpoint(folder), AnswerShape(8, 12)).model_root
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP)):
        assert compile_answer(huggingface_checkpoint(folder), AnswerShape(8, 12)).model_root == expected
