"""Whatever is wrong with what an operator gives: one clear sentence, a hint, a non-zero exit, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from opml_dispute import cli as cli_module
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet import samples
from opml_dispute.model.compiler import compile_model
from opml_dispute.models import DIGITS
from tests.cli.conftest import Cli, Result
from tests.conftest import TEST_TIMES, Chain

Key = Callable[[str], str]
NOBODY = "0x000000000000000000000000000000000000dEaD"


def assert_refused(result: Result, says: str) -> None:
    """One sentence with these words, one hint, nothing that looks like a crash."""
    assert result.code not in (0, cli_module.EXIT_BUG), result.err
    assert "Traceback" not in result.err + result.out
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    hints = [line for line in result.err.splitlines() if line.startswith("hint: ")]
    assert len(errors) == 1, result.err
    assert says in errors[0], result.err
    assert len(hints) == 1, result.err
    assert len(hints[0]) > len("hint: ")


# ---- model files ----


def write_model(path: Path, op_type: str, shape: list[int | str]) -> Path:
    """A model of one node from x to y."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    node = helper.make_node(op_type, ["x"], ["y"], name="only")
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("command", [("model", "inspect"), ("run",)])
def test_no_such_model_file(cli: Cli, tmp_path: Path, command: tuple[str, ...]) -> None:
    """A missing model file is named in the error."""
    assert_refused(cli(*command, tmp_path / "none.onnx"), "none.onnx")


def test_a_directory_is_no_model(cli: Cli, tmp_path: Path) -> None:
    assert_refused(cli("model", "inspect", tmp_path), str(tmp_path))


def test_a_file_that_is_not_onnx(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "words.onnx"
    path.write_text("These are words, and no model at all.")
    assert_refused(cli("model", "inspect", path), "not an ONNX model")


@pytest.mark.parametrize("part", [0, 1, 50, 90, 99])
def test_a_truncated_onnx_file(cli: Cli, tmp_path: Path, part: int) -> None:
    whole = DIGITS.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: len(whole) * part // 100])
    assert_refused(cli("model", "inspect", path), "cut.onnx")


def test_an_operator_we_cannot_express(cli: Cli, tmp_path: Path) -> None:
    path = write_model(tmp_path / "noise.onnx", "RandomNormalLike", [1, 4])
    assert_refused(cli("model", "inspect", path), "RandomNormalLike")


def test_a_dimension_without_a_size(cli: Cli, tmp_path: Path) -> None:
    """A symbolic dimension without a size is named; with --dim the model compiles."""
    path = write_model(tmp_path / "open.onnx", "Relu", ["batch", 4])
    assert_refused(cli("model", "inspect", path), "batch")
    assert cli("model", "inspect", path, "--dim", "batch=2").code == 0


@pytest.mark.parametrize("dim", ["batch", "batch=", "batch=0", "batch=-1", "batch=two", "=3"])
def test_a_dimension_that_is_no_number(cli: Cli, tmp_path: Path, dim: str) -> None:
    path = write_model(tmp_path / "open.onnx", "Relu", ["batch", 4])
    assert_refused(cli("model", "inspect", path, "--dim", dim), dim)


# ---- inputs ----


def test_inputs_of_wrong_shape_type_or_name(cli: Cli, tmp_path: Path) -> None:
    """Inputs of a wrong shape, type or name are refused with both sides of the comparison."""
    wrong_shape, wrong_type, right = (tmp_path / f"{name}.npy" for name in ("shape", "type", "right"))
    np.save(wrong_shape, np.zeros((1, 1, 9, 8), np.float32))
    np.save(wrong_type, np.zeros((1, 1, 8, 8), np.float64))
    np.save(right, np.zeros((1, 1, 8, 8), np.float32))
    assert_refused(cli("run", "--input", wrong_shape), "[1, 1, 9, 8], but the model takes [1, 1, 8, 8]")
    assert_refused(cli("run", "--input", wrong_type), "float64, but the model takes float32")
    assert_refused(cli("run", "--input", f"picture={right}"), "no input called 'picture'")
    assert_refused(cli("run"), "no value for input image")
    assert_refused(cli("run", "--input", right, "--sample", 1), "both --input and --sample")
    assert cli("run", "--input", right).code == 0


def test_input_files_that_are_no_arrays(cli: Cli, tmp_path: Path) -> None:
    words = tmp_path / "words.npy"
    words.write_text("no array")
    assert_refused(cli("run", "--input", tmp_path / "none.npy"), "none.npy")
    assert_refused(cli("run", "--input", words), "not a NumPy array")


# ---- nodes, chains, deployments ----


def test_an_unreachable_rpc(cli: Cli, on_chain: Chain) -> None:
    """An RPC URL that cannot be reached is named in the error."""
    url = f"http://127.0.0.1:{devnet.free_port()}"
    assert_refused(cli("list", "--rpc-url", url), f"no Ethereum node answers at {url}")
    assert_refused(cli("list", "--rpc-url", "ws://127.0.0.1:1"), "http://")


def test_a_wrong_chain(cli: Cli, on_chain: Chain, tmp_path: Path) -> None:
    """A deployment of another chain is refused."""
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps(json.loads(on_chain.deployment_file.read_text()) | {"chain_id": 1}))
    assert_refused(cli("list", "--deployment", elsewhere), "serves chain 31337, but the deployment is on chain 1")


def test_an_address_without_code(cli: Cli, on_chain: Chain, tmp_path: Path) -> None:
    """A deployment that names an address without a contract is refused."""
    raw = json.loads(on_chain.deployment_file.read_text())
    raw["addresses"]["factory"] = NOBODY
    moved = tmp_path / "moved.json"
    moved.write_text(json.dumps(raw))
    assert_refused(cli("list", "--deployment", moved), f"expected the factory at {NOBODY}")


def test_no_deployment_anywhere(cli: Cli, tmp_path: Path) -> None:
    """A command without a deployment, or with a missing file, says how to give one."""
    assert_refused(cli("list"), "no deployment was named, and no devnet is running")
    assert_refused(cli("list", "--deployment", tmp_path / "none.json"), "cannot read the deployment")
    assert_refused(cli("devnet", "stop"), "no local chain of ours is running")
    assert_refused(cli("devnet", "status"), "no local chain of ours is running")


# ---- games, requests, keys, money ----


@pytest.mark.parametrize("command", ["show", "challenge", "respond", "resolve"])
def test_an_unknown_game(cli: Cli, on_chain: Chain, key: Key, command: str) -> None:
    """An address that is no game of the factory is refused."""
    signing = () if command == "show" else ("--key-file", key("challenger"))
    assert_refused(cli(command, NOBODY, *signing), f"there is no game at {NOBODY}")
    weth = on_chain.deployment.addresses["weth"]
    assert_refused(cli(command, weth, *signing), f"the contract at {weth} is no game")
    assert_refused(cli(command, "0x1234", *signing), "0x1234 is not the address of a game")
    assert "as long as the id of a request" in cli(command, "0x" + "ab" * 32, *signing).err


def test_an_unknown_request(cli: Cli, on_chain: Chain, key: Key) -> None:
    """A request id that the oracle does not have is refused."""
    unknown = "0x" + "ab" * 32
    for command in ("propose", "finalize"):
        assert_refused(cli(command, unknown, "--key-file", key("proposer")), f"has no request {unknown}")
        assert_refused(cli(command, "0x12", "--key-file", key("proposer")), "0x12 is not a request id")
        a_game = cli(command, NOBODY, "--key-file", key("proposer"))
        assert_refused(a_game, f"{NOBODY} is not a request id")
        assert f"opml-dispute show {NOBODY}" in a_game.err
    assert_refused(cli("list", "--request", unknown), f"has no request {unknown}")


def test_an_unknown_model(cli: Cli, on_chain: Chain, key: Key) -> None:
    """A model id that is not registered is refused."""
    signing = ("--key-file", key("requester"))
    assert_refused(cli("request", "--sample", 1, "--model-id", "0x" + "ab" * 32, *signing), "is not registered")
    assert_refused(cli("request", "--sample", 1, "--model-id", "zz", *signing), "zz is not a model id")


def test_a_sample_says_which_of_several_models_is_asked(cli: Cli, on_chain: Chain, key: Key, tmp_path: Path) -> None:
    """Its own one, though another with the same root is registered; and one of another URI where the own is not."""
    signing, asking = ("--key-file", key("requester"), "--json"), ("request", "--sample", 1)
    own = cli("model", "list", "--json").objects[0]["model_id"]
    other = cli("model", "register", "--uri", "https://example.org/digits", *signing)
    assert other.object_with("model_id")["model_id"] != own
    asked = cli(*asking, *signing)
    system = on_chain.system()
    record = system.rpc.read(system.oracle.request_of(bytes.fromhex(asked.object_with("request_id")["request_id"][2:])))
    assert record.model_id.hex() == own[2:]
    assert f"Of the 2 registered models, the sample is of {own}" in cli(*asking, *signing[:-1]).err
    assert_refused(cli("request", "--input", tmp_path / "none.npy", *signing[:-1]), "there are 2 registered models")


def test_a_sample_of_a_model_that_is_registered_with_another_uri_is_found(
    on_chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = on_chain.system()
    own = system.rpc.read(system.registry.model_id_at(0))
    monkeypatch.setattr(samples, "SAMPLE_URI", "ipfs://elsewhere")
    assert samples.sample_model_id(system) == own
    monkeypatch.setattr(samples, "compile_model", lambda file: replace(compile_model(file), inputs=()))
    assert samples.sample_model_id(system) is None


def test_no_key_and_bad_keys(cli: Cli, on_chain: Chain, tmp_path: Path) -> None:
    """A missing, unreadable or malformed key is refused without showing it."""
    bad = tmp_path / "bad.key"
    bad.write_text("0x12")
    without = cli("request", "--sample", 1)
    assert_refused(without, "no key")
    assert "opml-dispute devnet status" in without.err
    assert_refused(cli("request", "--sample", 1, "--key-file", tmp_path / "none"), "cannot read the key file")
    assert_refused(cli("request", "--sample", 1, "--key-file", bad), "8 bits found, expected 256")


@pytest.mark.parametrize("fee", ["much", "-1", "0.5wei"])
def test_a_fee_that_is_no_amount(cli: Cli, on_chain: Chain, key: Key, fee: str) -> None:
    assert_refused(cli("request", "--sample", 1, "--fee", fee, "--key-file", key("requester")), "is not an amount")


def test_not_enough_funds(cli: Cli, on_chain: Chain, key: Key, tmp_path: Path) -> None:
    """An account that cannot pay is told its balance and what is needed."""
    poor = tmp_path / "poor.key"
    poor.write_text("0x" + "77" * 32)
    assert_refused(cli("request", "--sample", 1, "--fee", "1eth", "--key-file", poor), "has 0 ETH, but")
    request_id = cli("request", "--sample", 1, "--key-file", key("requester"), "--json").object_with("request_id")
    proposing = ("propose", request_id["request_id"], "--key-file", poor)
    assert_refused(cli(*proposing), "funds: a dispute to the last step takes")
    assert_refused(cli(*proposing, "--stake-anyway"), "needs 0.10557 ETH")


@pytest.fixture
def game(cli: Cli, on_chain: Chain, key: Key) -> str:
    """A wrong proposal, made by a command."""
    asked = cli("request", "--sample", 1, "--key-file", key("requester"), "--json")
    request_id = asked.object_with("request_id")["request_id"]
    made = cli("propose", request_id, "--fault", "seed=1", "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    return str(made.objects[-1]["game"])


def test_a_duplicate_move(cli: Cli, game: str, key: Key) -> None:
    """A move that was made already is refused."""
    move = ("move", game, "--attack", "--claim", 0, "--value", "0x" + "ab" * 32, "--key-file", key("challenger"))
    assert cli(*move).code == 0
    assert_refused(cli(*move), "claim 1 already says this")


def test_moves_that_the_rules_forbid(cli: Cli, game: str, key: Key) -> None:
    """Moves that the contract would refuse are refused with the reason."""
    signing = ("--key-file", key("challenger"))
    value = ("--value", "0x" + "ab" * 32)
    assert_refused(cli("move", game, "--defend", "--claim", 0, *value, *signing), "can be attacked, not defended")
    assert_refused(cli("move", game, "--attack", "--claim", 7, *value, *signing), "has no claim 7")
    assert_refused(cli("move", game, "--attack", "--claim", 0, "--value", "0x12", *signing), "is not a claim")


def test_a_clock_that_has_run_out(cli: Cli, game: str, key: Key, on_chain: Chain) -> None:
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    signing = ("--key-file", key("challenger"))
    assert_refused(cli("challenge", game, *signing), "the clock has run out")
    assert_refused(cli("respond", game, *signing), "the clock has run out")
    value = ("--value", "0x" + "ab" * 32)
    assert_refused(cli("move", game, "--attack", "--claim", 0, *value, *signing), "the time to answer claim 0 is over")


def test_a_game_that_is_over(cli: Cli, game: str, key: Key, on_chain: Chain) -> None:
    on_chain.warp(TEST_TIMES.max_clock_s + 1)
    signing = ("--key-file", key("challenger"))
    assert cli("resolve", game, *signing).code == 0
    assert_refused(cli("respond", game, *signing), "is over: the defender wins")
    assert_refused(cli("challenge", game, *signing), "is over: the defender wins")


def test_a_proposal_made_twice(cli: Cli, on_chain: Chain, key: Key) -> None:
    """A second proposal of the same answer is refused and names the first game."""
    asked = cli("request", "--sample", 2, "--key-file", key("requester"), "--json")
    request_id = asked.object_with("request_id")["request_id"]
    signing = ("--key-file", key("proposer"))
    assert_refused(cli("finalize", request_id, *signing), "no proposer has answered request")
    assert cli("propose", request_id, *signing).code == 0
    assert_refused(cli("propose", request_id, *signing), "is proposed for this request already")
    assert_refused(cli("finalize", request_id, *signing), "1 of 1 in progress")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("bogus", "cannot read the fault"),
        ("seed=x", "cannot read the seed"),
        ("9999:1:r4.1", "node 9999"),
        ("0:999999999999:r4.1", "step 999999999999"),
    ],
)
def test_a_fault_that_makes_no_lie(cli: Cli, on_chain: Chain, key: Key, fault: str, says: str) -> None:
    asked = cli("request", "--sample", 1, "--key-file", key("requester"), "--json")
    request_id = asked.object_with("request_id")["request_id"]
    assert_refused(cli("propose", request_id, "--fault", fault, "--key-file", key("proposer")), says)


# ---- the local store ----


def test_a_corrupted_cache_and_a_wrong_model_file(
    cli: Cli, game: str, key: Key, own_home: Path, tmp_path: Path
) -> None:
    signing = ("--key-file", key("challenger"))
    assert cli("challenge", game, "--model", DIGITS, "--dry-run", *signing).code == 0
    (kept,) = (own_home / "models").glob("*.program")
    whole = kept.read_bytes()
    for damaged in (whole[:100], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        kept.write_bytes(damaged)
        mended = cli("challenge", game, "--dry-run", *signing)
        assert mended.code == 0
        assert f"The kept copy {kept}" in mended.err
        assert not kept.exists()
    other = write_model(tmp_path / "other.onnx", "Relu", [1, 4])
    assert_refused(cli("challenge", game, "--model", other, *signing), "the registered model's is")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "\0\xff", '{"pid": "x"}', '{"url": "http://127.0.0.1:1"}', '{"pid": PID, "url": "ftp://x"}'],
)
@pytest.mark.parametrize("pid", [-1, 0, 1, 2**31, 10**30])
def test_a_damaged_note_about_the_local_chain_is_no_chain(cli: Cli, own_home: Path, text: str, pid: int) -> None:
    """Nothing is stopped on its word: not process 1, nor the group of processes that a negative number means."""
    (own_home / "devnet").mkdir(parents=True)
    (own_home / "devnet" / "devnet.json").write_text(text.replace("PID", str(pid)), encoding="latin-1")
    assert_refused(cli("devnet", "status"), "no local chain")
    assert_refused(cli("devnet", "stop"), "no local chain")


@pytest.mark.parametrize("damage", ["empty", "cut", "list", "no addresses", "a number", "an address"])
def test_a_damaged_deployment_is_refused(cli: Cli, on_chain: Chain, tmp_path: Path, damage: str) -> None:
    text = on_chain.deployment_file.read_text()
    facts = json.loads(text)
    match damage:
        case "empty":
            text = ""
        case "cut":
            text = text[: len(text) // 2]
        case "list":
            text = "[]"
        case "no addresses":
            text = json.dumps({name: value for name, value in facts.items() if name != "addresses"})
        case "a number":
            text = json.dumps({name: 5 if isinstance(value, dict) else value for name, value in facts.items()})
        case _:
            text = json.dumps(facts | {"addresses": dict.fromkeys(facts["addresses"], "0x12")})
    file = tmp_path / "damaged.json"
    file.write_text(text)
    assert_refused(cli("list", "--deployment", file), "deployment")


# ---- the frame ----


def test_an_unexpected_error_is_called_a_bug_and_keeps_its_traceback_in_a_file(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("opml_dispute.cli.model.open_model", broken)
    result = cli("model", "inspect")
    assert result.code == cli_module.EXIT_BUG
    assert "unexpected ZeroDivisionError: oops" in result.err
    assert "Traceback" not in result.err
    assert "ZeroDivisionError" in (own_home / "crash.log").read_text()
    assert "Traceback" in cli("--debug", "model", "inspect").err


def test_errors_are_objects_for_scripts(cli: Cli, tmp_path: Path) -> None:
    result = cli("model", "inspect", tmp_path / "none.onnx", "--json")
    (error,) = result.objects
    assert error["error"] == "ModelFileError"
    assert "none.onnx" in error["message"]


@pytest.mark.parametrize("arguments", [("nonsense",), ("show",), ("list", "--limit", "x"), ("devnet", "warp", "soon")])
def test_a_command_line_that_makes_no_sense_names_its_help_and_has_exit_code_2(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert "--help" in result.err
    (error,) = cli(*arguments, "--json").objects
    assert error["message"]
