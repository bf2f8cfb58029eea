"""Runs with a pre-image server: hints, proofs, snapshots, stops, and servers that misbehave."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opml_dispute.cannon.files import write_state
from opml_dispute.cannon.server import PreimageServer, ServerProblem
from opml_dispute.cli import execute
from opml_dispute.cli.cannon import cannon
from opml_dispute.engine.vm import Machine, preimage_part, step_from_witness
from opml_dispute.fpvm.statefile import load_state
from tests.cannon import preimage_server
from tests.cannon.served import EVERY_TYPE, KECCAK_DATA, KECCAK_KEY, SHA256_DATA, SMALL, expected_exit, write_folder
from tests.programs.build import build_preimages

SERVER = Path(preimage_server.__file__)


@pytest.fixture(scope="session")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """preimages.c, built."""
    return build_preimages(tmp_path_factory.mktemp("cannon"))


@pytest.fixture
def folder(tmp_path: Path, elf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the program's first state in it, made the working directory."""
    monkeypatch.chdir(tmp_path)
    assert invoke("load-elf", "--type", "multithreaded64-5", "--path", elf, "--out", "start.bin.gz").exit_code == 0
    write_folder(SMALL, tmp_path / "small")
    write_folder(EVERY_TYPE, tmp_path / "every type")
    return tmp_path


def invoke(*arguments: object) -> Result:
    """One cannon command, in this process."""
    return CliRunner().invoke(cannon, [str(argument) for argument in arguments])


def server(behaviour: str = "honest", preimages: str = "small") -> list[str]:
    """The command behind --."""
    return [sys.executable, str(SERVER), behaviour, "hints.log", preimages]


def run(*options: object, input_: str = "start.bin.gz", command: Sequence[str] | None = None) -> Result:
    """`cannon run` with the honest server."""
    tail = ["--", *(server() if command is None else command)]
    return invoke("run", "--input", input_, "--output", "final.bin.gz", "--info-at", "never", *options, *tail)


def hints(folder: Path) -> list[bytes]:
    """The hints that the server took."""
    return [bytes.fromhex(line) for line in (folder / "hints.log").read_text().splitlines()]


def state(name: str) -> Machine:
    """The machine in a state file."""
    return load_state(gzip.decompress(Path(name).read_bytes()))


def read_json(name: str) -> dict[str, Any]:
    """A packed JSON file."""
    content: dict[str, Any] = json.loads(gzip.decompress(Path(name).read_bytes()))
    return content


def test_program_gets_its_hints_acknowledged_and_its_preimages(folder: Path) -> None:
    """The server holds the data only after the hints, so the right exit code needs both."""
    result = run("--debug-info", "debug.json")
    assert result.exit_code == 0, result.output
    final = state("final.bin.gz")
    assert (final.exited, final.exit_code) == (True, expected_exit(SMALL))
    assert hints(folder) == [b"h" + key for key in SMALL]
    debug = json.loads((folder / "debug.json").read_text())
    assert debug["num_preimage_requests"] == 5
    assert debug["total_preimage_size"] == 8 + 64 + len(KECCAK_DATA) + len(SHA256_DATA)
    assert debug["total_steps"] == final.step


def test_every_proof_is_of_its_step_and_every_preimage_in_it_is_enough(folder: Path) -> None:
    """Each proof's post-state is the next one's pre-state, and the step replayed from the proof alone leads there."""
    assert run("--proof-at", "always", "--proof-fmt", "p%d.json.gz").exit_code == 0
    last = state("final.bin.gz").step
    kinds: set[int] = set()
    previous = None
    for step in range(last):
        proof = read_json(f"p{step}.json.gz")
        assert proof["step"] == step
        assert previous in {None, proof["pre"]}
        previous = proof["post"]
        value = b""
        if "oracle-key" in proof:
            key, value = bytes.fromhex(proof["oracle-key"][2:]), bytes.fromhex(proof["oracle-value"][2:])
            assert int.from_bytes(value[:8], "big") == len(value) - 8
            kinds.add(key[0])
        state_data, proof_data = (bytes.fromhex(proof[name][2:]) for name in ("state-data", "proof-data"))

        def preimage(_: bytes, offset: int, data: bytes = value[8:]) -> bytes | None:
            return preimage_part(data, offset)

        outcome = step_from_witness(state_data, proof_data, preimage)
        assert outcome.post_hash is not None
        assert "0x" + outcome.post_hash.hex() == proof["post"]
    assert kinds == {1, 2, 4}
    assert previous == "0x" + state("final.bin.gz").state_hash().hex()


def test_run_from_any_snapshot_ends_in_the_same_state(folder: Path) -> None:
    """Also from one between the two writes of a hint: the beginning of the hint is in the state file."""
    assert run("--snapshot-at", "%97", "--snapshot-fmt", "s%d.bin.gz").exit_code == 0
    final = state("final.bin.gz").state_hash()
    snapshots = sorted(folder.glob("s*.bin.gz"))
    assert len(snapshots) > 10
    for snapshot in snapshots:
        # A server that was started again has not seen the hints before the snapshot.
        assert run(input_=snapshot.name, command=server("needs no hints")).exit_code == 0
        assert state("final.bin.gz").state_hash() == final


FIRST_HINTED = ("--stop-at-preimage-type", "keccak")
"""Options that stop behind the first read of a pre-image that the program hints at."""


def test_hint_that_a_snapshot_cuts_in_two_arrives_whole(folder: Path) -> None:
    machine = state("start.bin.gz")
    assert run("--snapshot-at", "always", "--snapshot-fmt", "s%d.bin", *FIRST_HINTED).exit_code == 0
    cut = [path for path in folder.glob("s*.bin") if load_state(path.read_bytes()).unfinished_hint]
    assert cut, "no snapshot lies between the two writes"
    assert not machine.unfinished_hint
    for snapshot in cut[:2]:
        (folder / "hints.log").unlink()
        assert run("--stop-at-preimage-type", "any", input_=snapshot.name).exit_code == 0
        assert hints(folder)[0] in {b"h" + key for key in SMALL}


def test_no_proof_is_written_for_a_step_behind_the_exit(folder: Path) -> None:
    """op-challenger then asks for the witness of the last state."""
    assert run("--proof-at", "=100000000").exit_code == 0
    assert not list(folder.glob("proof*"))
    told = json.loads(invoke("witness", "--input", "final.bin.gz").stdout)
    final = state("final.bin.gz")
    assert told == {
        "witnessHash": "0x" + final.state_hash().hex(),
        "witness": "0x" + final.witness().hex(),
        "step": final.step,
        "exited": True,
        "exitCode": expected_exit(SMALL),
        "stateVersion": 8,
    }


def test_run_stops_before_a_step_and_behind_a_preimage(folder: Path) -> None:
    assert run("--stop-at", "=123").exit_code == 0
    assert state("final.bin.gz").step == 123
    assert run("--stop-at-preimage", "0x" + KECCAK_KEY.hex()).exit_code == 0
    scalars = state("final.bin.gz").scalars
    assert (scalars.preimage_key, scalars.preimage_offset) == (KECCAK_KEY, 8)
    assert run("--stop-at-preimage", "0x" + KECCAK_KEY.hex() + "@16").exit_code == 0
    assert state("final.bin.gz").scalars.preimage_offset == 24
    assert run("--stop-at-preimage-type", "sha256").exit_code == 0
    assert state("final.bin.gz").scalars.preimage_key[0] == 4
    assert run("--stop-at-preimage-larger-than", 8 + len(KECCAK_DATA) - 1).exit_code == 0
    assert state("final.bin.gz").scalars.preimage_key == KECCAK_KEY


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("dies", "ended with code 9"),
        ("lies", "do not have that hash"),
        ("is endless", "announces 1,099,511,627,776 bytes"),
        ("stops half-way", "ended with code 0"),
        ("leaves a child", "ended with code 0 when it was to answer key"),
        ("stalls", "took more than 2 s to answer key"),
        ("drips", "took more than 4 s to answer key"),
        ("takes no hints", "took more than 2 s to acknowledge a hint"),
    ],
)
def test_misbehaving_server_ends_the_run_with_its_fault_and_leaves_no_file(
    folder: Path, behaviour: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """However it fails: with an exit, a lie, an answer without end, or none at all."""
    arguments = ["cannon", "run", "--input", "start.bin.gz", "--output", "final.bin.gz", "--server-patience", "2"]
    assert execute([*arguments, "--", *server(behaviour)]) == 1
    assert said in capfd.readouterr().err
    assert not (folder / "final.bin.gz").exists()


def test_server_that_takes_no_bytes_is_given_up(tmp_path: Path) -> None:
    """A hint larger than a pipe holds: the writing itself would wait for ever."""
    idle = [sys.executable, "-c", "import time; time.sleep(60)"]
    with PreimageServer.start(idle, patience_s=1.0) as running, pytest.raises(ServerProblem, match="take a hint"):
        running.hint(bytes(1 << 20))


def test_large_hint_arrives_at_a_server_that_takes_it_in_pieces(tmp_path: Path) -> None:
    """Larger than a pipe holds."""
    taking = (
        "import os, sys, time\n"
        "size = int.from_bytes(os.read(3, 4), 'big')\n"
        "while size:\n    size -= len(os.read(3, 70_000)); time.sleep(0.01)\n"
        "os.write(4, b'.')\n"
    )
    with PreimageServer.start([sys.executable, "-c", taking], patience_s=20.0) as running:
        running.hint(bytes(1 << 20))


def test_read_behind_the_end_of_a_preimage_is_a_panic(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Cannon's exit code then, instead of asking the server again for ever."""
    assert run("--stop-at-preimage", "0x" + KECCAK_KEY.hex()).exit_code == 0
    machine = state("final.bin.gz")
    machine.set_scalars(replace(machine.scalars, preimage_offset=8 + len(KECCAK_DATA)))
    write_state(folder / "behind.bin", machine)
    capfd.readouterr()
    arguments = ["cannon", "run", "--input", "behind.bin", "--output", "out.bin", "--", *server("needs no hints")]
    assert execute(arguments) == 2
    assert f"with its length it has {8 + len(KECCAK_DATA)} bytes" in capfd.readouterr().err
    assert not (folder / "out.bin").exists()


def test_proof_and_stop_at_the_same_read_go_together(folder: Path) -> None:
    """The read is made by the proof, and still noticed."""
    assert run("--stop-at-preimage-type", "sha256").exit_code == 0
    stopped_at = state("final.bin.gz").step
    step = ("--proof-at", f"={stopped_at - 1}", "--proof-fmt", "p%d.json.gz")
    assert run("--stop-at-preimage-type", "sha256", *step).exit_code == 0
    assert state("final.bin.gz").step == stopped_at
    assert (folder / f"p{stopped_at - 1}.json.gz").exists()


def test_files_have_cannons_names_unless_others_are_given(folder: Path) -> None:
    arguments = ["run", "--input", "start.bin.gz", "--info-at", "never", "--stop-at", "=5", "--proof-at", "=3"]
    assert invoke(*arguments, "--snapshot-at", "=2").exit_code == 0
    assert state("out.bin.gz").step == 5
    assert state("state-2.bin.gz").step == 2
    assert json.loads((folder / "proof-3.json").read_bytes())["step"] == 3


def test_standard_output_and_no_file_at_all_are_places_for_files(
    folder: Path, elf: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """- and an empty name, as for Cannon."""
    before = sorted(path.name for path in folder.iterdir())
    stop = ["--input", "start.bin.gz", "--info-at", "never", "--stop-at", "=5"]
    assert execute(["cannon", "run", *stop, "--output", ""]) == 0
    assert capfdbinary.readouterr().out == b""
    assert execute(["cannon", "run", *stop, "--output", "-"]) == 0
    assert load_state(capfdbinary.readouterr().out).step == 5
    load = ["cannon", "load-elf", "--type", "multithreaded64-5", "--path", str(elf)]
    assert execute([*load, "--out", "", "--meta", "-"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["symbols"]
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("text", ["0x", "0x0", "02@", "02@x", "02@-1", "02@1@2@3", "0x" + "02" * 33, "02@" + "9" * 21])
def test_place_to_stop_at_that_cannot_be_read_is_refused(
    folder: Path, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert execute(["cannon", "run", "--input", "start.bin.gz", "--stop-at-preimage", text]) == 1
    assert capfd.readouterr().err.startswith("error: ")


def test_servers_output_does_not_reach_standard_output(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """op-challenger reads standard output as JSON."""
    assert execute(["cannon", "run", "--input", "start.bin.gz", "--output", "f.bin", "--", *server("is slow")]) == 0
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "a line on standard output" in captured.err


def test_program_that_asks_without_a_server_is_told_so(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert execute(["cannon", "run", "--input", "start.bin.gz"]) == 1
    error = capfd.readouterr().err
    assert "asks for the pre-image of 0x01" in error
    assert "after --" in error


def test_state_without_a_successor_ends_the_run_with_code_2(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Cannon's exit code when the machine cannot go on."""
    machine = state("start.bin.gz")
    machine.jump(machine.pc + 2)
    write_state(folder / "bad.bin", machine)
    assert execute(["cannon", "run", "--input", "bad.bin"]) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_symbols_of_the_program_are_in_its_metadata(folder: Path) -> None:
    names = [symbol["name"] for symbol in json.loads((folder / "meta.json").read_text())["symbols"]]
    assert "__start" in names


@pytest.mark.parametrize("content", [b"", b"{}", b"\x1f\x8b", b"\x07" + bytes(500), b"\x08" + b"\xff" * 300])
def test_file_that_is_no_state_is_refused_with_a_sentence(
    folder: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad").write_bytes(content)
    for command in (["witness", "--input", "bad"], ["run", "--input", "bad"]):
        assert execute(["cannon", *command]) == 1
        captured = capfd.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")


@pytest.mark.parametrize("way", ["packed", "plain"])
def test_state_comes_through_a_pipe(folder: Path, way: str) -> None:
    """Read once and to its end: a pipe cannot be opened twice."""
    data = (folder / "start.bin.gz").read_bytes()
    os.mkfifo("pipe")
    writer = threading.Thread(
        target=Path("pipe").write_bytes, args=(data if way == "packed" else gzip.decompress(data),)
    )
    writer.start()
    told = json.loads(invoke("witness", "--input", "pipe").stdout)
    writer.join()
    assert told == json.loads(invoke("witness", "--input", "start.bin.gz").stdout)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty", "."])
def test_device_is_no_state(folder: Path, device: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither hangs nor fills the memory."""
    assert execute(["cannon", "witness", "--input", device]) == 1
    assert capfd.readouterr().err.startswith("error: ")


def test_killed_run_leaves_whole_files_only_and_goes_on_from_the_last_snapshot(folder: Path) -> None:
    arguments = ["run", "--input", "start.bin.gz", "--output", "final.bin.gz", "--info-at", "never"]
    patterns = ["--snapshot-at", "%5", "--snapshot-fmt", "s%d.bin.gz", "--proof-at", "%5", "--proof-fmt", "p%d.json.gz"]
    command = [sys.executable, "-m", "opml_dispute", "cannon", *arguments, *patterns, "--", *server()]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(list(folder.glob("s[0-9]*.gz"))) < 20:
        assert running.poll() is None
        time.sleep(0.001)
    running.kill()
    running.wait()
    snapshots = sorted(folder.glob("s[0-9]*.bin.gz"), key=lambda path: int(path.name[1:-7]))
    assert [state(path.name).step for path in snapshots] == [5 * index for index in range(len(snapshots))]
    for path in folder.glob("p*.json.gz"):
        assert read_json(path.name)["step"] == int(path.name[1:-8])
    assert not (folder / "final.bin.gz").exists()
    assert run(input_=snapshots[-1].name, command=server("needs no hints")).exit_code == 0
    assert state("final.bin.gz").exit_code == expected_exit(SMALL)


def test_vm_run_asks_the_server_for_what_it_was_not_given(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The same end as the cannon command's, with a step limit on the way."""
    assert run().exit_code == 0
    final = state("final.bin.gz")
    capfd.readouterr()
    limited = ["vm", "run", "start.bin.gz", "--max-steps", "1000", "--save", "mid.bin.gz", "--", *server()]
    assert execute(limited) == 0
    assert state("mid.bin.gz").step == 1000
    capfd.readouterr()
    assert execute(["vm", "run", "mid.bin.gz", "--json", "--", *server("needs no hints")]) == expected_exit(SMALL)
    captured = capfd.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["state_hash"] == "0x" + final.state_hash().hex()
    assert "a line on standard output" in captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["start.bin.gz", "--", "./none"], "cannot start the pre-image server ./none"),
        (["--node", "1", "--sample", "7", "start.bin.gz", "--", "./none"], "a pre-image server and a node's run"),
    ],
)
def test_vm_run_refuses_a_server_that_makes_no_sense(
    folder: Path, arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert execute(["vm", "run", *arguments]) == 1
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("behaviour", ["dies", "lies", "is endless", "stops half-way"])
def test_vm_run_ends_with_the_fault_of_a_misbehaving_server(
    folder: Path, behaviour: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert execute(["vm", "run", "start.bin.gz", "--save", "out.bin", "--", *server(behaviour)]) == 1
    assert "the pre-image server" in capfd.readouterr().err
    assert not (folder / "out.bin").exists()


def test_server_that_does_not_end_by_itself_is_ended() -> None:
    with PreimageServer.start([sys.executable, "-c", "import time; time.sleep(60)"]) as running:
        os.kill(running.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)


def test_command_that_is_no_program_is_refused() -> None:
    with pytest.raises(ServerProblem, match="cannot start"):
        PreimageServer.start(["./no such program"])
