"""Language models on the command line: a prompt is answered in words, here and on a chain, and bad input is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from opml_dispute.actors.disputed_range import DisputedRange
from opml_dispute.cli import show as show_module
from opml_dispute.generation.files import language_of, open_model
from opml_dispute.model.files import Binding
from opml_dispute.models import DIGITS, LETTERS
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.conftest import Chain
from tests.generation import encoder_models
from tests.generation.heard_models import Heard, greedy_behind, write_heard
from tests.generation.models import LETTERS as LETTERS_OF_FILES
from tests.generation.models import Made, write_model
from tests.generation.onnx_models import OnnxMade, greedy, write_decoder, write_tokenizer

Key = Callable[[str], str]

QUESTION = "Is the ferry running?"


def test_an_answer_is_shown_in_words(cli: Cli) -> None:
    shown = cli("run", LETTERS, "--prompt", QUESTION, "--tokens", 40)
    assert shown.code == 0, shown.err
    assert shown.out == " No, the ferry does not run today.\n"
    told = cli("run", LETTERS, "--prompt", QUESTION, "--tokens", 5, "--json")
    assert [item["text"] for item in told.objects if "token" in item] == list(" No, ")
    assert told.object_with("answer")["answer"] == " No, "
    assert told.object_with("state_root")["status"] == 0


def test_a_decoder_exported_to_onnx_answers_in_words(cli: Cli, tmp_path: Path) -> None:
    """No dimension is named: the folder's files say everything, and the answer is ONNX Runtime's."""
    made = OnnxMade("merged", seed=2, vocabulary=len(LETTERS_OF_FILES))
    file = write_decoder(tmp_path / "model", made)
    write_tokenizer(file.parent)
    tokens = [LETTERS_OF_FILES.index(letter) for letter in "ferry"]
    expected = "".join(LETTERS_OF_FILES[token] for token in greedy(file.parent, made, tokens, 6))
    told = cli("run", file, "--prompt", "ferry", "--tokens", 6, "--json")
    assert told.code == 0, told.err
    assert told.object_with("answer")["answer"] == expected.replace("\u0120", " ")
    facts = cli("model", "inspect", file, "--prompt-tokens", 5, "--tokens", 3, "--json").object_with("language")
    assert facts["language"]["architecture"] == "tiny"
    refused = cli("run", file, "--prompt", "ferry", "--constant", "use_cache_branch=true")
    assert refused.code != 0
    assert "has no dimensions or inputs to fix" in refused.err


def test_a_text_becomes_a_vector_on_the_command_line(cli: Cli, tmp_path: Path) -> None:
    """And the pooling is said; the graph alone is still compiled with sizes."""
    file = encoder_models.write_encoder(tmp_path / "model", normalised=True)
    told = cli("run", file, "--prompt", encoder_models.TEXT, "--json")
    assert told.code == 0, told.err
    mean = encoder_models.token_vectors(file).mean(0)
    found = told.object_with("outputs")["outputs"]["embedding"]
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=2e-4, atol=2e-5)
    said = cli("run", tmp_path / "model", "--prompt", encoder_models.TEXT)
    assert "pooled: the mean of the tokens' vectors" in said.err
    assert "embedding = [" in said.out
    graph = open_model(file, Binding(dims={"batch_size": 1, "sequence_length": 4}))
    assert [spec.name for spec in graph.inputs] == ["input_ids", "attention_mask", "token_type_ids"]


def test_sound_is_answered_in_words(cli: Cli, tmp_path: Path) -> None:
    heard = Heard(seed=2)
    file = write_heard(tmp_path / "model", heard, (5, 11))
    write_tokenizer(file.parent)
    sound = np.random.default_rng(3).normal(size=(1, 6, 10)).astype(np.float32)
    np.save(tmp_path / "sound.npy", sound)
    expected = greedy_behind(file.parent, {"input_features": sound}, (5, 11), 4)
    told = cli("run", file, "--input", f"input_features={tmp_path / 'sound.npy'}", "--tokens", 4, "--json")
    assert told.code == 0, told.err
    words = "".join(LETTERS_OF_FILES[token] for token in expected).replace("\u0120", " ")
    assert told.object_with("answer")["answer"] == words


def test_a_drawn_answer_is_that_of_its_seed(cli: Cli) -> None:
    """A seed that is not given is told, and gives the same answer again; other seeds give others."""
    drawing = ("run", LETTERS, "--prompt", QUESTION, "--tokens", 16, "--temperature", 2.5, "--json")
    first = cli(*drawing)
    assert first.code == 0, first.err
    seed = first.object_with("seed")["seed"]
    again = cli(*drawing, "--seed", seed).object_with("answer")["answer"]
    assert first.object_with("answer")["answer"] == again
    others = {str(cli(*drawing, "--seed", number).object_with("answer")["answer"]) for number in range(3)}
    assert len(others) == 3
    plain = ("run", LETTERS, "--prompt", QUESTION, "--tokens", 16, "--json")
    greedy = cli(*plain, "--temperature", 0).object_with("answer")["answer"]
    assert greedy == cli(*plain).object_with("answer")["answer"]


def test_a_request_draws_only_from_a_model_that_can(cli: Cli, on_chain: Chain, key: Key) -> None:
    """The drawn answer is the same for who proposes and who looks at it."""
    signing = ("--key-file", key("requester"), "--json")
    ids = [
        str(cli("model", "register", LETTERS, *sizes, *signing).object_with("model_id")["model_id"])
        for sizes in (
            ("--prompt-tokens", 24, "--tokens", 6),
            ("--prompt-tokens", 24, "--tokens", 6, "--sampling"),
        )
    ]
    drawing = ("--prompt", QUESTION, "--temperature", 2.5, "--top-k", 9, "--seed", 4)
    refused = cli("request", "--model-id", ids[0], *drawing, *signing)
    assert_refused(refused, "was compiled without sampling")
    asked = cli("request", "--model-id", ids[1], *drawing, *signing)
    assert asked.code == 0, asked.err
    request_id = asked.object_with("request_id")["request_id"]
    made = cli("propose", request_id, "--key-file", key("proposer"), "--force-unavailable", "--json")
    assert made.code == 0, made.err
    alone = cli("run", LETTERS, *drawing, "--prompt-tokens", 24, "--tokens", 6, "--json").object_with("answer")
    assert made.object_with("answer")["answer"] == alone["answer"]


def test_a_models_facts_are_those_of_the_lengths_asked_for(cli: Cli) -> None:
    asked = ("model", "inspect", LETTERS, "--prompt-tokens", 8, "--tokens", 6, "--no-time", "--nodes", 2, "--json")
    facts = cli(*asked).object_with("model_root")
    assert (facts["inputs"], facts["outputs"]) == (["prompt i64[8]"], ["answer i64[6]"])
    assert facts["moves"] <= 50
    language = facts["language"]
    assert isinstance(language, dict)
    assert (language["architecture"], language["layers"], language["context"]) == ("llama", 2, 128)
    assert (language["prompt_tokens"], language["tokens"], language["sampled"]) == (8, 6, False)
    told = language["prompt_nodes"] + 5 * language["token_nodes"]
    assert 0 <= told - facts["nodes"] < 5  # the last token's end is not looked for
    assert sum(language["encodings"].values()) == language["parameters"]
    shown = cli(*asked[:-1])
    assert "parameters" in shown.out
    assert "a token      " in shown.out


def test_a_prompt_is_asked_proposed_and_found_right_in_words(cli: Cli, on_chain: Chain, key: Key) -> None:
    """The words are kept from registering: the file is not named again. Another file is not taken."""
    signing = ("--key-file", key("requester"), "--json")
    registered = cli("model", "register", LETTERS, "--prompt-tokens", 24, "--tokens", 12, *signing)
    assert registered.code == 0, registered.err
    model_id = str(registered.object_with("model_id")["model_id"])
    asked = cli("request", "--model-id", model_id, "--prompt", QUESTION, *signing)
    assert asked.code == 0, asked.err
    request_id = asked.object_with("request_id")["request_id"]
    made = cli("propose", request_id, "--force-unavailable", "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    words = made.object_with("answer")
    assert (words["prompt"], words["answer"]) == (QUESTION, " No, the fer")
    game = str(made.object_with("game")["game"])
    found = cli("challenge", game, "--key-file", key("challenger"))
    assert found.code == 0, found.err
    assert f"Prompt: {QUESTION}" in found.err
    assert "nothing to challenge" in found.err
    shown = cli("show", game)
    assert f"prompt     {QUESTION}\n" in shown.out
    assert "answer      No, the fer (as it is here)" in shown.out
    told = cli("show", game, "--json").object_with("words")["words"]
    assert isinstance(told, dict)
    assert (told["prompt"], told["answer"]) == (QUESTION, " No, the fer")
    assert told["place_end"].startswith("token 11")
    long = cli("request", "--model-id", model_id, "--prompt", QUESTION * 2, *signing)
    assert_refused(long, "the prompt has 42 tokens, but the program has room for 1 to 24")


def test_the_answer_of_a_liar_is_shown_where_it_is_known(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the liar's computer, and where its text or tokens are given; the root claim says whether they are its."""
    signing = ("--key-file", key("requester"), "--json")
    model = cli("model", "register", LETTERS, "--prompt-tokens", 21, "--tokens", 6, *signing)
    model_id = str(model.object_with("model_id")["model_id"])
    asked = cli("request", "--model-id", model_id, "--prompt", QUESTION, *signing)
    request_id = asked.object_with("request_id")["request_id"]
    lying = ("--fault", "seed=4", "--key-file", key("proposer"), "--json")
    made = cli("propose", request_id, *lying)
    assert made.code == 0, made.err
    game = str(made.object_with("game")["game"])

    def words(*more: object) -> dict[str, object]:
        told = cli("show", game, "--json", *more).object_with("words")["words"]
        assert isinstance(told, dict)
        return told

    known = words()
    assert known["claimed_is"] == "proposed from this computer"
    at = known["differs_at"]
    assert isinstance(at, int)
    answer, claimed = str(known["answer"]), str(known["claimed"])
    marks = [text.partition(">>>")[2].partition("<<<")[0] for text in (answer, claimed)]
    assert answer.partition(">>>")[0] == claimed.partition(">>>")[0]
    assert marks[0] != marks[1]
    plain = claimed.replace(">>>", "").replace("<<<", "")
    shown = cli("show", game).out
    assert f"claimed    {claimed} (proposed from this computer)" in shown
    assert f"differ     from token {at} of the answer on" in shown
    for kept in Path(os.environ["OPML_HOME"], "models").glob("*.answer"):
        kept.unlink()
    assert words()["claimed"] is None
    assert "the chain holds the root alone" in cli("show", game).out
    said = words("--claimed", plain)
    assert (said["claimed"], said["differs_at"]) == (claimed, at)
    assert words("--claimed", "No, the")["claimed"] is None
    assert "another answer than the one given" in cli("show", game, "--claimed", "[1, 2, 3]").out
    tokens = str(language_of(LETTERS).encode(plain, begin=False))
    assert words("--claimed", tokens)["claimed"] == claimed
    monkeypatch.setattr(show_module, "disputed_range", lambda *_: DisputedRange("FPVM", 30, 31, 1_000, 1_002))
    lines = cli("show", game).out.splitlines()
    (first,) = (i for i, line in enumerate(lines) if line.startswith("executes   instruction 1,000 of the node at 0x"))
    assert "instruction 1,001 of the node at 0x" in lines[first + 1]


def test_a_claimed_answer_needs_a_game_about_one(cli: Cli, on_chain: Chain, key: Key) -> None:
    """A game about a digit has no answer in words; nor has one whose model is elsewhere."""
    signing = ("--key-file", key("requester"), "--json")
    asked = cli("request", "--sample", 3, *signing)
    assert asked.code == 0, asked.err
    made = cli("propose", asked.object_with("request_id")["request_id"], "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    game = made.object_with("game")["game"]
    assert_refused(cli("show", game, "--claimed", "seven"), "the game is about no answer in words")
    assert cli("show", game, "--claimed", "seven", "--html", "page.html").code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prompt", ""), "--prompt was given an empty value"),
        (("--prompt", "Is it?", "--prompt-tokens", 3), "the prompt has 6 tokens, but the program has room for 1 to 3"),
        (("--prompt", "Is it?", "--tokens", 200), "the model's context has 128"),
        (("--prompt", "Is it?", "--chat"), "have no chat template"),
        (("--prompt", "Is it \u00fc?"), "does not know"),
        (("--prompt", "Is it?", "--temperature", "nan"), "a temperature of nan"),
        (("--prompt", "Is it?", "--top-k", 65), "a top-k of 65; expected 1 to 64"),
        (("--prompt", "Is it?", "--top-p", 0), "a top-p of 0.0"),
        (("--prompt", "Is it?", "--seed", -1), "a seed of -1"),
        (("--prompt", "Is it?", "--dim", "batch=1"), "is a language model"),
    ],
)
def test_prompts_that_cannot_be_answered_are_told(cli: Cli, arguments: tuple[object, ...], message: str) -> None:
    assert_refused(cli("run", LETTERS, *arguments), message)


def test_options_that_have_no_effect_are_refused(cli: Cli) -> None:
    assert cli("run", LETTERS, "--chat").code == 2
    assert cli("run", LETTERS, "--prompt", "Is it?", "--sample", 3).code == 2
    assert cli("request", "--chat").code == 2
    assert_refused(cli("run", DIGITS, "--prompt", "Is it?"), "is no language model")
    assert_refused(cli("run", DIGITS, "--tokens", 3), "is no language model")


def test_a_file_without_tokenizer_takes_no_text(cli: Cli, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.gguf", Made(tokenizer=None))
    assert_refused(cli("run", path, "--prompt", "abc"), "has no tokenizer")
