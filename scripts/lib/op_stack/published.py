"""
The OP Stack's FaultDisputeGame as it is published: compiled from the sources in its Go module.

The module leaves out the libraries that the contract imports; two of them come from npm, and of the third only a type
is named. Compiler and settings are those of the module's foundry.toml.
"""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from opml_dispute.chain.artifacts import Artifact, parse_artifact
from opml_dispute.errors import OpmlError
from opml_dispute.toolchain.programs import npm_packages

PACKAGES = ("solc@0.8.15", "@openzeppelin/contracts@4.7.3", "solady@0.0.163")
GAME = "src/dispute/FaultDisputeGame.sol"
CONTRACTS = Path("packages", "contracts-bedrock")
_IMPORT = re.compile(r'(?:from|import)\s+"([^"]+)"')
_COMPILE = "process.stdout.write(require(process.argv[1]).compile(require('fs').readFileSync(0, 'utf8')))"
_WRITTEN = {
    "@lib-keccak/LibKeccak.sol": "library LibKeccak { struct StateMatrix { uint64[25] state; } }",
}
"""Of the library only the name of a type in an interface is needed."""


class NotPublished(OpmlError):
    """The folder does not hold the contract's sources, or they do not compile."""

    hint = "give the folder of the Go module github.com/ethereum-optimism/optimism at version v1.19.6"


@cache
def published_game(module: Path) -> Artifact:
    """The contract, compiled. Raises `NotPublished`."""
    node, modules = npm_packages("op-stack-0.8.15", PACKAGES)
    settings = {
        "optimizer": {"enabled": True, "runs": 5000},
        "evmVersion": "london",
        "metadata": {"bytecodeHash": "none"},
        "outputSelection": {GAME: {"FaultDisputeGame": ["abi", "evm.bytecode.object"]}},
    }
    wanted = {"language": "Solidity", "sources": _sources(module / CONTRACTS, modules), "settings": settings}
    command = [str(node), "-e", _COMPILE, str(modules / "solc")]
    done = subprocess.run(command, input=json.dumps(wanted), capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    if "contracts" not in answer:
        said = [error["formattedMessage"] for error in answer.get("errors", [])] or [done.stderr]
        raise NotPublished(f"the published game does not compile: {said[0].strip()}")
    compiled = answer["contracts"][GAME]["FaultDisputeGame"]
    code = compiled["evm"]["bytecode"]["object"]
    facts = {"name": "FaultDisputeGame", "abi": compiled["abi"], "bytecode": "0x" + code, "runtime_bytes": 0}
    return parse_artifact(facts)


def _sources(contracts: Path, modules: Path) -> dict[str, dict[str, str]]:
    """The game and all that it imports."""
    places = {
        "src/": contracts / "src",
        "interfaces/": contracts / "interfaces",
        "@openzeppelin/contracts/": modules / "@openzeppelin" / "contracts",
        "@solady/": modules / "solady" / "src",
    }
    head = "// SPDX-License-Identifier: MIT\npragma solidity ^0.8.0;\n"
    found = {name: head + text for name, text in _WRITTEN.items()}
    left = [GAME]
    while left:
        name = left.pop()
        if name in found:
            continue
        place = next((folder / name.removeprefix(start) for start, folder in places.items() if name.startswith(start)))
        if not place.is_file():
            raise NotPublished(f"{place} is not there")
        found[name] = place.read_text()
        left += [_absolute(name, imported) for imported in _IMPORT.findall(found[name])]
    return {name: {"content": text} for name, text in found.items()}


def _absolute(importer: str, imported: str) -> str:
    if not imported.startswith("."):
        return imported
    parts: list[str] = []
    for part in PurePosixPath(importer).parent.joinpath(imported).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
