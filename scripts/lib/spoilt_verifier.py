"""
The tests that hold the verifier against the engine (`AGREEMENT`), and a changed verifier for them.

`put_verifier` compiles the verifier and pre-image oracle of a copy of the project, and those alone, into the contracts
that the copy's package brings.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

from opml_dispute.toolchain.solidity import CompileError, compiler_input

_CONTRACTS: Final = {
    "src/vm/FPVM.sol": "FPVM",
    "src/vm/PreimageOracle.sol": "PreimageOracle",
}
_FOLDER: Final = "tests/agreement"
AGREEMENT: Final = (
    f"{_FOLDER}/test_vectors.py::test_engine_and_contract_reproduce_the_vectors",
    *(f"{_FOLDER}/test_{name}.py" for name in ("preimage_oracle", "system_calls", "refusals", "made_up_states")),
    *(f"{_FOLDER}/test_{name}.py" for name in ("programs", "whole_map", "floats", "tampering")),
)
"""The quick and telling ones first."""
_TIMEOUT_OF_SOLC_S: Final = 300


def put_verifier(folder: Path, solc: Path) -> None:
    """Compiles the verifier of the copy in `folder`. Raises `CompileError`."""
    asked = compiler_input(folder / "contracts")
    asked["settings"]["optimizer"] = {"enabled": False}  # in a fifth of the time
    wanted = asked["settings"]["outputSelection"]["*"]["*"]
    asked["settings"]["outputSelection"] = {file: {name: wanted} for file, name in _CONTRACTS.items()}
    run = subprocess.run(
        [str(solc), "--standard-json"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_OF_SOLC_S,
        check=False,
    )
    answer = json.loads(run.stdout[run.stdout.index("{") :])
    errors = [error["message"] for error in answer.get("errors", []) if error["severity"] == "error"]
    if errors:
        raise CompileError(errors[0])
    for file, name in _CONTRACTS.items():
        path = folder / "opml_dispute" / "_build" / "contracts" / f"{name}.json"
        artifact, made = json.loads(path.read_text()), answer["contracts"][file][name]["evm"]
        artifact["bytecode"] = "0x" + made["bytecode"]["object"]
        path.write_text(json.dumps(artifact))
