"""Terminals, pipes, disks, encodings, and text and files that others wrote: nothing of it ends in a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from opml_dispute.chain.keys import Account
from opml_dispute.devnet import anvil
from opml_dispute.engine.segment import BadInput
from opml_dispute.home import CannotWrite
from opml_dispute.operator.model_description import slots_from_json
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import NOBODY, assert_refused
from tests.cli.test_commands import ask, propose
from tests.conftest import Chain

Key = Callable[[str], str]

FULL = Path("/dev/full")


def run_process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a shell would run it."""
    command = [sys.executable, "-m", "opml_dispute", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]


# ---- where output goes ----


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    "arguments", [("--help",), ("run", "--sample", "1"), ("run", "--sample", "1", "--json"), ("vm", "--help")]
)
def test_a_full_disk_behind_stdout_is_one_sentence(arguments: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        result = run_process(*arguments, stdout=full)
    assert result.returncode == 1, result.stderr
    assert result.stderr.count("No space left on device") == 1
    assert "Traceback" not in result.stderr
    assert "bug of opml-dispute" not in result.stderr


@pytest.mark.parametrize("closed", [1, 2, 0])
def test_a_closed_stream_is_no_obstacle(closed: int) -> None:
    """As a daemon starts its children; what is opened next must not take the stream's place."""
    line = f"exec {sys.executable} -m opml_dispute run --sample 1 {closed}>&-"
    result = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


def test_a_reader_that_has_gone_is_told_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = run_process("model", "inspect", "--no-time", stdout=writer)
    os.close(writer)
    assert result.returncode == 1
    assert result.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_an_encoding_that_lacks_our_characters_gets_substitutes(encoding: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    result = run_process("doctor", "--offline", stdout=subprocess.PIPE, env=environment)
    assert "Traceback" not in result.stderr + result.stdout
    assert "bug of opml-dispute" not in result.stderr
    assert "python" in result.stdout


def test_a_narrow_terminal_shows_ids_and_addresses_whole(
    cli: Cli, on_chain: Chain, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = ask(cli, key)
    game = propose(cli, key, request_id)
    monkeypatch.setattr("opml_dispute.cli.output.PIPE_WIDTH", 60)
    assert request_id in cli("list", "--requests").out
    listed = cli("list").out
    assert game in listed
    assert "in progress" in listed
    model_id = on_chain.system().rpc.read(on_chain.system().registry.model_id_at(0))
    assert model_id.hex() in cli("model", "list").out
    shown = re.sub(r"\s+", " ", cli("show", game).out)
    assert "bond 0.10557 ETH" in shown
    assert "to answer" in shown


# ---- text that others wrote ----

EVIL = "\x1b[2J\x1b]0;owned\x07\u202e[bold]\r\nerror: all is lost"


def evil_model(path: Path, *, output: str = EVIL, node: str = "[/]") -> Path:
    """One Log whose names act on terminals, on rich's markup, and on folders."""
    graph = helper.make_graph(
        [helper.make_node("Log", ["x"], [output], name=node)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def x_file(tmp_path: Path) -> Path:
    """An input whose logarithms are -inf, NaN and a number."""
    path = tmp_path / "x.npy"
    np.save(path, np.array([0, -1, 2], np.float32))
    return path


def test_names_in_a_model_do_not_act_on_the_terminal(cli: Cli, tmp_path: Path, x_file: Path) -> None:
    model = evil_model(tmp_path / "evil.onnx")
    for command in (("run", model, "--input", x_file), ("model", "inspect", model, "--no-time")):
        result = cli(*command)
        assert result.code == 0, result.err
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", result.out + result.err)
        assert "\\x1b[2J" in result.out
        assert not [line for line in (result.out + result.err).splitlines() if line.startswith("error:")]
    assert "[/]" in cli("model", "inspect", model, "--no-time").out, "a name is no markup"


def test_json_has_no_numbers_that_are_none(cli: Cli, tmp_path: Path, x_file: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    result = cli("run", evil_model(tmp_path / "log.onnx", output="y"), "--input", x_file, "--json")
    (facts,) = [json.loads(line, parse_constant=refuse) for line in result.out.splitlines()]
    assert facts["outputs"]["y"][:2] == ["-Infinity", "NaN"]


@pytest.mark.parametrize("name", ["../../y", "/proc/y", "..", ".", "a/b", "x" * 5_000, "CON\0", EVIL, ".hidden"])
def test_an_output_is_saved_in_the_folder_and_nowhere_else(cli: Cli, tmp_path: Path, x_file: Path, name: str) -> None:
    folder = tmp_path / "deep" / "er" / "out"
    before = {path for path in tmp_path.rglob("*") if path != folder}
    result = cli("run", evil_model(tmp_path / "m.onnx", output=name), "--input", x_file, "--save", folder)
    if result.code:  # a name that ONNX itself refuses
        assert_refused(result, "")
        return
    (saved,) = folder.iterdir()
    assert np.load(saved).shape == (3,)
    assert not saved.name.startswith(".")
    others = {path for path in tmp_path.rglob("*") if folder not in path.parents} - before
    assert others <= {folder, *folder.parents, tmp_path / "m.onnx"}


def test_outputs_are_not_saved_in_the_place_of_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(cli("run", "--sample", 1, "--save", tmp_path / "file"), "cannot make the folder")
    assert_refused(cli("run", "--sample", 1, "--save", tmp_path / "file" / "below"), "cannot make the folder")


# ---- files that others wrote ----


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000, 1000)}"), "has shape"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 8, 8)}"), "does not hold"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 8, 8)}", b"\0" * 300), "does not hold"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1, 8, 8)}"), "has type object"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8)}"), "has shape [-1, 8]"),
        (npy("{'descr': '<f4'"), "not a NumPy array"),
        (npy("(" * 9_000), "not a NumPy array"),
        (npy("__import__('os').system('true')"), "not a NumPy array"),
        (npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 1, 8, 8)}"), "has type"),
        (b"\x93NUMPY\x09\x00" + b"\0" * 200, "not a NumPy array"),
        (b"\x93NUMPY", "not a NumPy array"),
        (b"", "not a NumPy array"),
        (b"PK\x03\x04" + b"\0" * 100, "not a NumPy array"),
    ],
)
def test_a_hostile_array_file_is_refused(cli: Cli, tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "hostile.npy"
    path.write_bytes(content)
    assert_refused(cli("run", "--input", path), says)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
def test_an_array_may_lie_in_any_order(cli: Cli, tmp_path: Path, dtype: str, order: str) -> None:
    plain, other = tmp_path / "plain.npy", tmp_path / "other.npy"
    image = np.random.default_rng(1).random((1, 1, 8, 8), np.float32)
    np.save(plain, image)
    np.save(other, np.asarray(image.astype(dtype), order=order))  # type: ignore[call-overload]
    roots = [cli("run", "--input", path, "--json").objects[0]["state_root"] for path in (plain, other)]
    assert roots[0] == roots[1]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["name", "dtype", "shape", "offset"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON_VALUES)
def test_a_registration_never_describes_inputs_outside_its_image(value: object) -> None:
    """A registrant writes what it likes there; what is accepted fits the size that the chain knows."""
    try:
        slots = slots_from_json(json.dumps(value), 1_000)
    except BadInput:
        return
    for slot in slots:
        assert np.prod(slot.shape, dtype=object) * slot.dtype.width <= 1_000


def two_inputs(first: str, second: str, second_offset: int) -> str:
    """A description of two tensors of eight bytes."""
    named = ((first, 0), (second, second_offset))
    return json.dumps([{"name": name, "dtype": "F32", "shape": [2], "offset": offset} for name, offset in named])


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "",
        "{}",
        "null",
        '[{"name": "x", "dtype": "F32", "shape": [1], "offset": 999}]',
        '[{"name": "x", "dtype": "F32", "shape": [1099511627776, 1099511627776], "offset": 0}]',
        two_inputs("x", "y", 4),
        two_inputs("x", "x", 8),
        '[{"name": "x", "dtype": "width", "shape": [1], "offset": 0}]',
        '[{"name": "x", "dtype": "F32", "shape": [-1], "offset": 0}]',
        '[{"name": "x", "dtype": "F32", "shape": [true], "offset": 0}]',
        '[{"name": "x", "dtype": "F32", "shape": [1], "offset": -4}]',
    ],
)  # fmt: skip
def test_a_hostile_description_of_inputs_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="does not describe its inputs"):
        slots_from_json(text, 1_000)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("[" * 100_000, "inside each other"),
        ({"chain_id": "1"}, "`chain_id` is not a number"),
        ({"chain_id": True}, "`chain_id` is not a number"),
        ({"block": -1}, "`block` is not a number"),
        ({"block": None}, "`block` is not a number"),
        ({"absolute_prestate": "0x12"}, "`absolute_prestate` is not"),
        ({"addresses": []}, "`addresses` is not an object"),
        ({"addresses": {"vm": 7}}, "the address of the vm"),
        ({"addresses": {"vm": NOBODY.replace("d", "D", 1)}}, "checksum of another address"),
        ({"times": {}}, "has no `max_clock_s`"),
        ({"times": None}, "`times` is not an object"),
    ],
)
def test_a_damaged_deployment_names_the_field(
    cli: Cli, on_chain: Chain, tmp_path: Path, change: object, says: str
) -> None:
    """In our words, not in Python's."""
    raw = json.loads(on_chain.deployment_file.read_text())
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(raw | change) if isinstance(change, dict) else str(change))
    assert_refused(cli("list", "--deployment", path), says)


# ---- options that do not go together ----

ID = "0x" + "ab" * 32


@pytest.mark.parametrize(
    "arguments",
    [
        ("request", "--sample", 1, "--input-image", "x"),
        ("request", "--input", "x", "--input-image", "x"),
        ("request", "--sample", 1, "--input", "x"),
        ("request", "--sample", 1, "--callback-gas", 7),
        ("request", "--sample", 1, "--reader", "--model-id", ID),
        ("request", "--sample", 1, "--reader", "--by-root", "ipfs://x"),
        ("list", "--requests", "--request", ID),
        ("respond", NOBODY, "--interval", 3),
        ("doctor", "--offline", "--rpc-url", "http://127.0.0.1:1"),
        ("vm", "state", "--node", 0, "--sample", 1, "--rpc-url", "http://127.0.0.1:1"),
        ("vm", "prove", "--node", 0, "--sample", 1, "--step", 1, "--deployed"),
        ("move", NOBODY, "--attack", "--defend", "--claim", 0, "--value", ID),
        ("model", "inspect", "--time", "--no-time"),
        ("request", "--sample", 1, "--callback-gas", 10**24),
        ("request", "--sample", 1, "--uri", "x"),
    ],
)
def test_options_of_which_one_would_be_ignored_are_refused(cli: Cli, arguments: tuple[object, ...]) -> None:
    result = cli(*arguments)
    assert result.code in (1, 2), result.err
    assert result.err.count("error:") == 1


@pytest.mark.parametrize(("option", "value"), [("--dim", "n=2"), ("--input", "x=a.npy"), ("--constant", "x=1")])
def test_a_name_that_is_given_two_values_is_refused(cli: Cli, tmp_path: Path, option: str, value: str) -> None:
    model = evil_model(tmp_path / "m.onnx", output="y")
    assert_refused(cli("run", model, option, value, option, value), "given twice")


@pytest.mark.parametrize(
    "command", [("show",), ("challenge",), ("request", "--sample", 1, "--callback"), ("resolve", NOBODY, "--for")]
)
def test_an_address_with_a_wrong_checksum_is_refused(cli: Cli, command: tuple[object, ...]) -> None:
    """One wrong letter: capital and small letters are a checksum (EIP-55)."""
    right = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    assert_refused(cli(*command, right[:-1] + "D"), "checksum of another address")


def test_a_callback_without_code_is_refused_before_it_is_paid_for(cli: Cli, on_chain: Chain, key: Key) -> None:
    signing = ("--key-file", key("requester"))
    before = on_chain.rpc.head().number
    assert_refused(cli("request", "--sample", 1, "--callback", NOBODY, *signing), "there is no contract there")
    assert_refused(cli("request", "--sample", 1, "--from", NOBODY, *signing), "but the key is that of")
    assert_refused(cli("request", "--sample", 1, "--max-fee", "1wei", *signing), "more than the limit")
    assert on_chain.rpc.head().number == before


# ---- before money is spent ----


def test_a_registration_that_could_not_be_noted_is_not_paid_for(
    cli: Cli, on_chain: Chain, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPML_HOME", str(tmp_path / "file"))
    before = on_chain.rpc.head().number
    assert_refused(cli("model", "register", "--uri", "ipfs://x", "--key-file", key("proposer")), "cannot write")
    assert on_chain.rpc.head().number == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--max-clock", "0s"), "0 s"),
        (("--max-clock", "1h", "--clock-extension", "31min"), "twice the clock extension"),
        (("--max-clock", "12h", "--clock-extension", "1h", "--challenge-period", "1d"), "challenge period together"),
        (("--max-clock", "60d"), "before a disputed answer can be delivered"),
        (("--deployment", "/dev/null/x.json"), "cannot write"),
        (("--deployment", "/"), "it is a directory"),
        (("--deployment", "/dev/null"), "it is no regular file"),
    ],
)
def test_a_deployment_that_cannot_work_costs_nothing(
    cli: Cli, bare_anvil: anvil.Anvil, key: Key, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    deployment = () if "--deployment" in options else ("--deployment", tmp_path / "d.json")
    chain = ("--rpc-url", bare_anvil.url, "--key-file", key("deployer"), *deployment)
    before = bare_anvil.rpc.head().number
    assert_refused(cli("deploy", *options, *chain), says)
    assert bare_anvil.rpc.head().number == before


def test_an_account_that_cannot_pay_for_all_contracts_pays_for_none(
    cli: Cli, bare_anvil: anvil.Anvil, tmp_path: Path
) -> None:
    poor = tmp_path / "poor.key"
    poor.write_text("0x" + "78" * 32)
    address = Account.from_hex("78" * 32, "test").address
    bare_anvil.rpc.request("anvil_setBalance", address, hex(10**16))
    before = bare_anvil.rpc.head().number
    command = ("deploy", "--rpc-url", bare_anvil.url, "--deployment", tmp_path / "d.json", "--key-file", poor)
    assert_refused(cli(*command), f"{address} has 0.01 ETH, but")
    assert bare_anvil.rpc.head().number == before


# ---- the local chain, and no other ----


def test_the_clock_of_a_chain_that_is_not_ours_is_not_moved(cli: Cli, on_chain: Chain) -> None:
    before = on_chain.rpc.head()
    assert_refused(cli("devnet", "warp", "1h"), "no local chain of ours is running")
    assert on_chain.rpc.head().number == before.number


def test_a_process_number_that_was_used_again_is_not_stopped(cli: Cli, own_home: Path, bare_anvil: anvil.Anvil) -> None:
    """The note names when its process started, too."""
    (own_home / "devnet").mkdir(parents=True)
    note = {"pid": bare_anvil.pid, "url": bare_anvil.url, "started": "long ago"}
    (own_home / "devnet" / "devnet.json").write_text(json.dumps(note))
    assert_refused(cli("devnet", "stop"), "no local chain of ours is running")
    assert bare_anvil.rpc.head()


@pytest.mark.slow
def test_a_frozen_local_chain_is_known_and_can_be_stopped(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anvil, "ANSWER_TIMEOUT_S", 0.5)
    chain = anvil.start(port=anvil.free_port())
    os.kill(chain.anvil.pid, signal.SIGSTOP)
    assert_refused(cli("devnet", "status"), "does not answer")
    assert_refused(cli("devnet", "start"), "is running already")
    assert cli("devnet", "stop").code == 0
    assert not anvil.is_alive(chain.anvil.pid)


def test_a_local_chain_whose_note_cannot_be_written_is_not_left_running(
    monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    """A disk that fills up after the chain was started."""
    spawned: list[anvil.Anvil] = []
    real = anvil.Anvil.spawn

    def spawn(**options: object) -> anvil.Anvil:
        spawned.append(real(**options))  # type: ignore[arg-type]
        return spawned[-1]

    def refuse(*_: object) -> None:
        raise CannotWrite("the disk is full")

    monkeypatch.setattr(anvil.Anvil, "spawn", spawn)
    monkeypatch.setattr(anvil, "write_json", refuse)
    with pytest.raises(CannotWrite):
        anvil.start(port=anvil.free_port())
    assert not anvil.is_alive(spawned[0].pid)
