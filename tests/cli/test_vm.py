"""`opml-dispute vm`: programs and disputed nodes, looked at from outside."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from opml_dispute.engine.vm import Machine
from opml_dispute.fpvm.statefile import load_state
from opml_dispute.toolchain.native import guest_path
from tests.cli.conftest import Cli
from tests.cli.test_bad_input import assert_refused
from tests.conftest import Chain
from tests.programs.build import build_elf, build_host

NODE = ("--node", 1, "--sample", 7)


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that prints."""
    return build_elf("syscalls", tmp_path_factory.mktemp("vm"))


def test_run_prints_and_exits_as_the_program(cli: Cli, elf: Path) -> None:
    """Output and exit code are the program's own."""
    host = subprocess.run([build_host("syscalls", elf.parent)], capture_output=True, text=True)
    result = cli("vm", "run", elf, "--base")
    assert (result.out, result.code) == (host.stdout, host.returncode)
    facts = cli("vm", "run", elf, "--base", "--json").object_with("state_hash")
    assert (facts["stop"], facts["exit_code"]) == ("exited", host.returncode)


def test_run_stops_at_the_step_limit(cli: Cli, elf: Path) -> None:
    """The state shown is the one after so many steps."""
    facts = cli("vm", "run", elf, "--max-steps", 1234, "--json").object_with("state_hash")
    machine = Machine.from_elf(elf.read_bytes(), ml=True)
    machine.run(1234)
    assert (facts["stop"], facts["steps"]) == ("step limit", 1234)
    assert facts["state_hash"] == "0x" + machine.state_hash().hex()


def test_saved_state_goes_on(cli: Cli, elf: Path, tmp_path: Path) -> None:
    """A saved state, packed or not, is where the run goes on."""
    whole = cli("vm", "run", elf, "--json").object_with("state_hash")
    for name in ("at.state", "at.state.gz"):
        file = tmp_path / name
        assert cli("vm", "state", elf, "--step", 777, "--save", file).code == 0
        rest = cli("vm", "run", file, "--json").object_with("state_hash")
        assert rest["state_hash"] == whole["state_hash"]
    plain, packed = (tmp_path / "at.state").read_bytes(), (tmp_path / "at.state.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    assert load_state(plain).step == 777


def test_trace_shows_every_step(cli: Cli, elf: Path) -> None:
    """From step to step, one object each, ending in the state that `vm state` shows."""
    steps = cli("vm", "trace", elf, "--from", 100, "--to", 140, "--json").objects
    assert [step["step"] for step in steps] == list(range(100, 140))
    after = cli("vm", "state", elf, "--step", 140, "--json").object_with("state_hash")
    before = cli("vm", "state", elf, "--step", 100, "--json").object_with("state_hash")
    registers = before["threads"][0]["registers"]
    for step in steps:
        for change in step["changes"]:
            if change["where"] in registers:
                assert int(change["before"], 16) == registers[change["where"]]
                registers[change["where"]] = int(change["after"], 16)
    assert registers == after["threads"][0]["registers"]


def test_state_shows_memory(cli: Cli, elf: Path) -> None:
    """A dump is what the machine holds there."""
    facts = cli("vm", "state", elf, "--memory", "0x10000:64", "--json").object_with("memory")
    assert facts["memory"] == {"0x10000": "0x" + Machine.from_elf(elf.read_bytes(), ml=True).read(0x10000, 64).hex()}


@pytest.mark.parametrize("encoding", ["--compact", None])
@pytest.mark.parametrize("version", ["--ml", "--base"])
def test_contract_makes_the_step(cli: Cli, elf: Path, encoding: str | None, version: str) -> None:
    """The witness that is shown is one that the contract accepts, with the same result."""
    options = [option for option in (encoding, version) if option]
    result = cli("vm", "prove", elf, "--step", 500, "--verify-onchain", "--json", *options)
    shown, verdict = result.object_with("proof"), result.object_with("contract_agrees")
    after = cli("vm", "state", elf, "--step", 501, version, "--json").object_with("state_hash")
    assert verdict["contract_agrees"]
    assert verdict["post_hash"] == shown["post_hash"] == after["state_hash"]
    assert verdict["execution_gas"] > 0


def test_contract_reads_the_preimage_of_a_step(cli: Cli) -> None:
    """The guest's first read of its starting root: local data, given to the contract's oracle as a game would."""
    trace = cli("vm", "trace", *NODE, "--from", 0, "--to", 400, "--json").objects
    step = next(item["step"] for item in trace if "read(5" in item["text"])
    result = cli("vm", "prove", *NODE, "--step", step, "--verify-onchain", "--json")
    assert result.object_with("proof")["preimage"]["key"] == "0x01" + "00" * 30 + "02"
    assert result.object_with("contract_agrees")["contract_agrees"]


def test_contract_on_a_chain_makes_the_step(cli: Cli, on_chain: Chain) -> None:
    """The deployed contract is asked in a call that changes nothing."""
    result = cli("vm", "prove", *NODE, "--step", 20, "--verify-onchain", "--deployed", "--json")
    assert str(on_chain.deployment.chain_id) in result.object_with("contract_agrees")["where"]
    base = cli("vm", "prove", guest_path(), "--base", "--step", 1, "--verify-onchain", "--deployed")
    assert_refused(base, "base state")


def test_node_run_checks_a_claim(cli: Cli) -> None:
    """Over the right root the guest exits with 0; over any other claim with 1."""
    assert cli("vm", "run", *NODE).code == 0
    assert cli("vm", "run", *NODE, "--disputed-root", "0x" + "11" * 32).code == 1


def test_diff_finds_the_flipped_bit(cli: Cli) -> None:
    """A liar's state beside the honest one: right after the flip, that bit is all there is."""
    result = cli("vm", "diff", *NODE, "--fault", "1:3000:r17.5", "--step", 3000, "--json")
    differences = [item for item in result.objects if "where" in item]
    assert [item["where"] for item in differences] == ["s1"]
    assert int(differences[0]["before"], 16) ^ int(differences[0]["after"], 16) == 1 << 5
    assert result.code == 1


def test_diff_of_files_and_steps(cli: Cli, elf: Path, tmp_path: Path) -> None:
    """Two saved states differ as the two steps do; a state does not differ from itself."""
    for step in (100, 150):
        cli("vm", "state", elf, "--step", step, "--save", tmp_path / f"{step}.state")
    files = cli("vm", "diff", tmp_path / "100.state", tmp_path / "150.state", "--json")
    assert files.objects == cli("vm", "diff", elf, "--step", 100, "--step", 150, "--json").objects
    assert files.object_with("differences")["differences"] > 0
    assert cli("vm", "diff", elf, "--step", 100, "--step", 100).code == 0


def test_states_of_a_node_are_saved_compared_and_gone_on_from(cli: Cli, tmp_path: Path) -> None:
    """The file leaves the node's tensors out; with the same --node they are there again."""
    for step in (3000, 3010):
        cli("vm", "state", *NODE, "--step", step, "--save", tmp_path / f"{step}.state")
    one, other = tmp_path / "3000.state", tmp_path / "3010.state"
    assert_refused(cli("vm", "diff", one, other), "the tensors of that node are not in the file")
    assert_refused(cli("vm", "run", one, "--node", 2, "--sample", 7), "the tensors of that node")
    files = cli("vm", "diff", one, other, *NODE, "--json")
    assert files.objects == cli("vm", "diff", *NODE, "--step", 3000, "--step", 3010, "--json").objects
    assert files.object_with("differences")["differences"] > 0
    whole = cli("vm", "run", *NODE, "--json").object_with("state_hash")
    rest = cli("vm", "run", one, *NODE, "--json").object_with("state_hash")
    assert (rest["state_hash"], rest["steps"]) == (whole["state_hash"], whole["steps"])
    proof = cli("vm", "prove", one, *NODE, "--step", 3005, "--verify-onchain", "--json")
    assert proof.object_with("contract_agrees")["contract_agrees"]


def test_the_step_after_the_end_changes_nothing(cli: Cli, elf: Path) -> None:
    """Claims beyond a program's end are about its last state; the contract's step there is proven by nothing."""
    end = cli("vm", "run", elf, "--json").object_with("state_hash")
    result = cli("vm", "prove", elf, "--step", end["steps"], "--verify-onchain", "--json")
    assert result.object_with("proof")["proof"] == "0x"
    assert result.object_with("contract_agrees")["post_hash"] == end["state_hash"]
    assert "needs no proof" in cli("vm", "prove", elf, "--step", end["steps"]).out


def test_a_saved_state_is_what_it_is(cli: Cli, elf: Path, tmp_path: Path) -> None:
    """Its version is not the command line's to choose."""
    for version, other in (("--base", "--ml"), ("--ml", "--base")):
        file = tmp_path / f"{version}.state"
        assert cli("vm", "state", elf, version, "--step", 50, "--save", file).code == 0
        assert_refused(cli("vm", "run", file, other), f"{other} was given")
        assert cli("vm", "state", file, version).code == cli("vm", "state", file).code == 0
    assert_refused(cli("vm", "run", *NODE, "--base"), "--base was given")


def test_damaged_states_are_refused(cli: Cli, elf: Path, tmp_path: Path) -> None:
    """Cut, lengthened, of impossible counts: one sentence each, and never a crash."""
    file = tmp_path / "at.state"
    assert cli("vm", "state", elf, "--base", "--step", 50, "--save", file).code == 0
    whole = file.read_bytes()
    pages_end = 9 + int.from_bytes(whole[1:9], "big") * 4104
    exited, threads = pages_end + 66, pages_end + 92
    damaged = {
        "cut": (whole[:-100], "ends at byte"),
        "longer": (whole + b"x", "1 bytes too many"),
        "pages": (whole[:1] + b"\xff" * 8 + whole[9:], "ends at byte"),
        "threads": (whole[:threads] + b"\x00" + b"\xff" * 7 + whole[threads + 8 :], "ends at byte"),
        "exited": (whole[:exited] + b"\x07" + whole[exited + 1 :], "exited is 7"),
        "version": (b"\x88" + whole[1:], "no whole state"),
    }
    for name, (data, says) in damaged.items():
        (tmp_path / name).write_bytes(data)
        assert_refused(cli("vm", "run", tmp_path / name), says)
    empty = tmp_path / "no-thread"
    empty.write_bytes(whole[:threads] + bytes(20))
    assert_refused(cli("vm", "run", empty), "no thread is left")
    for command in (("trace",), ("prove", "--step", 50)):
        assert_refused(cli("vm", *command, empty), "no thread is left")


def test_sources_that_make_no_sense_are_refused(cli: Cli, elf: Path, tmp_path: Path) -> None:
    """Each with what was found, and what to do."""
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(elf.read_bytes())[:500])
    text = tmp_path / "text"
    text.write_text("no program")
    short = tmp_path / "short.state"
    short.write_bytes(bytes([136, 0, 0]))
    assert_refused(cli("vm", "run"), "no program was named")
    assert_refused(cli("vm", "run", tmp_path / "none"), "none")
    assert_refused(cli("vm", "run", tmp_path), "cannot read")
    assert_refused(cli("vm", "run", text), "neither an ELF file nor a saved state")
    assert_refused(cli("vm", "run", broken), "not a whole gzip file")
    assert_refused(cli("vm", "run", elf, *NODE), "both a program and --node")
    assert_refused(cli("vm", "run", elf, "--sample", 3), "--sample")
    for local in ("x", "=00", "1=", "1=0", f"1={'00' * 33}", f"{2**248}=00"):
        assert_refused(cli("vm", "run", elf, "--local", local), "--local")
    assert cli("vm", "run", elf, "--local", f"{2**248 - 1}=00", "--max-steps", 1).code == 0
    assert_refused(cli("vm", "run", "--node", 1), "input")
    assert_refused(cli("vm", "run", "--node", 99, "--sample", 7), "no node 99")
    assert_refused(cli("vm", "run", *NODE, "--disputed-root", "0x12"), "cannot read the hash")
    assert_refused(cli("vm", "run", *NODE, "--fault", "2:5:r1.1"), "the fault is in node 2")
    assert_refused(cli("vm", "state", elf, "--step", 10**9), "lies past the end")
    assert_refused(cli("vm", "state", elf, "--memory", "here"), "--memory")
    assert_refused(cli("vm", "trace", elf, "--from", 10, "--to", 5), "lies before")
    assert_refused(cli("vm", "trace", elf, "--from", 10, "--to", 2**62), "at most 1,000,000")
    assert_refused(cli("vm", "diff", elf), "two states are compared")
    assert_refused(cli("vm", "diff", elf, elf, elf), "3 files")
    assert_refused(cli("vm", "run", short), "state file ends")
    assert_refused(cli("vm", "state", elf, "--memory", f"0x{2**64 - 16:x}:32"), "outside the memory")


def test_a_program_that_stops_says_why(cli: Cli, tmp_path: Path) -> None:
    """Floating point in a base state, and a pre-image that was not given."""
    elf = build_elf("float", tmp_path)
    assert_refused(cli("vm", "run", elf, "--base"), "there is no such instruction")
    for command in (("run",), ("state", "--step", 5000), ("trace", "--to", 5000)):
        assert_refused(cli("vm", *command, guest_path()), "a pre-image that was not given is read")


def test_a_disputed_step_is_looked_at(cli: Cli, on_chain: Chain, key: Callable[[str], str]) -> None:
    """A liar and a challenger play down to one step; a third operator finds the lie, the instruction, the proof."""
    # With seed 2 the liar's last claim is the first wrong state; else that may be a claim to its right, made before.
    sides = [("--key-file", key("proposer"), "--fault", "seed=2"), ("--key-file", key("challenger"))]
    request = cli("request", "--sample", 7, "--reader", "--key-file", key("requester"), "--json")
    request_id = request.object_with("request_id")["request_id"]
    game = cli("propose", request_id, *sides[0], "--json").objects[-1]["game"]
    early = cli("vm", "state", "--game", game)
    assert_refused(early, "none of them about the VM yet")
    cli("challenge", game, *sides[1])
    for turn in range(60):
        answer = cli("respond", game, *sides[turn % 2], "--json")
        if "step" in [item.get("did") for item in answer.objects]:
            break
    claims = [item for item in cli("show", game, "--json").objects if "position" in item]
    deepest = claims[-1]["claim"]
    wrong = cli("vm", "state", "--game", game, "--claim", deepest, "--json").object_with("state_hash")
    assert wrong["claim"]["index"] == deepest
    assert wrong["claim"]["right"] is False, "the last claim is the liar's"
    right = cli("vm", "state", "--game", game, "--claim", deepest - 1, "--json").object_with("state_hash")
    assert right["claim"]["right"] is True
    proof = cli("vm", "prove", "--game", game, "--verify-onchain", "--json")
    assert proof.object_with("proof")["post_hash"] == wrong["state_hash"]
    assert proof.object_with("contract_agrees")["contract_agrees"]
    steps = cli("vm", "trace", "--game", game, "--json").objects
    assert wrong["step"] - 1 in [step["step"] for step in steps]
    assert_refused(cli("vm", "state", "--game", game, "--claim", 0), "claim 0")
    assert_refused(cli("vm", "state", "--game", game, "--sample", 7), "--sample")
