"""
The tests that hold the verifier against the engine (`AGREEMENT`), and a changed verifier for them.

`put_verifier` compiles the verifier and pre-image oracle of a copy of the project, and those alone, into the contracts
that the copy's package brings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from lib.bare_contracts import compiled

_CONTRACTS: Final = {
    "src/vm/FPVM.sol": "FPVM",
    "src/vm/PreimageOracle.sol": "PreimageOracle",
}
_FOLDER: Final = "tests/agreement"
AGREEMENT: Final = (
    f"{_FOLDER}/test_vectors.py::test_engine_and_contract_reproduce_the_vectors",
    *(f"{_FOLDER}/test_{name}.py" for name in ("preimage_oracle", "system_calls", "refusals", "made_up_states")),
    *(f"{_FOLDER}/test_{name}.py" for name in ("instruction_words", "programs", "whole_map", "floats", "tampering")),
)
"""The quick and telling ones first."""


def put_verifier(folder: Path, solc: Path) -> None:
    """Compiles the verifier of the copy in `folder`. Raises `CompileError`."""
    made = compiled(folder, solc, _CONTRACTS)
    for name, contract in made.items():
        path = folder / "opml_dispute" / "_build" / "contracts" / f"{name}.json"
        artifact = json.loads(path.read_text())
        artifact["bytecode"] = "0x" + contract["evm"]["bytecode"]["object"]
        path.write_text(json.dumps(artifact))
