"""
Contracts of a copy of the project, compiled alone, without the optimizer: in a fifth of the time.

`compiled` compiles some of them, and `deployed_with` says which have the code of a file.
"""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from opml_dispute.toolchain.solidity import CompileError, compiler_input

_TIMEOUT_OF_SOLC_S: Final = 300
_OUTPUTS: Final = [f"evm.{kind}.object" for kind in ("bytecode", "deployedBytecode")]
_IMPORT: Final = re.compile(r'^import\b[^;]*?"([^"]+)";', re.MULTILINE)
_CONTRACT: Final = re.compile(r"^contract (\w+)\b", re.MULTILINE)


def compiled(
    folder: Path, solc: Path, contracts: dict[str, str], changed: dict[str, str] | None = None
) -> dict[str, Any]:
    """
    What solc says of these contracts (file: name) of the copy in `folder`, by name: an object with the field "evm".
    `changed` has the texts of files that are to differ from the copy's.

    Raises `CompileError`.
    """
    asked = compiler_input(folder / "contracts")
    asked["sources"] |= {file: {"content": text} for file, text in (changed or {}).items()}
    asked["settings"]["optimizer"]["enabled"] = False
    wanted = [*_OUTPUTS, "evm.deployedBytecode.immutableReferences"]
    asked["settings"]["outputSelection"] = {file: {name: wanted} for file, name in contracts.items()}
    needed = {source for file in contracts for source in _closure(asked["sources"], file, asked["settings"])}
    asked["sources"] = {source: asked["sources"][source] for source in sorted(needed)}
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
    return {name: answer["contracts"][file][name] for file, name in contracts.items()}


def deployed_with(folder: Path, file: str = "") -> dict[str, str]:
    """
    The contracts (file: name) of the copy in `folder` that take code from this file, as "src/dispute/Clock.sol"; all of
    them without a file.
    """
    asked = compiler_input(folder / "contracts")
    sources, found = asked["sources"], {}
    for source, text in sources.items():
        name = _CONTRACT.search(text["content"]) if source.startswith("src/") else None
        if name and (not file or file in _closure(sources, source, asked["settings"], interfaces=False)):
            found[source] = name[1]
    return found


def _closure(
    sources: dict[str, Any], file: str, settings: dict[str, Any], *, interfaces: bool = True
) -> dict[str, None]:
    """The file and what it imports, without what only interfaces import if they are not followed."""
    remappings = [line.split("=") for line in settings["remappings"]]
    found: dict[str, None] = {}
    left = [file]
    while left:
        source = left.pop()
        if source in found:
            continue
        found[source] = None
        if not interfaces and "/interfaces/" in source:
            continue
        for imported in _IMPORT.findall(sources[source]["content"]):
            if imported.startswith("."):
                left.append(posixpath.normpath(posixpath.join(posixpath.dirname(source), imported)))
            else:
                left.append(
                    next(to + imported[len(prefix) :] for prefix, to in remappings if imported.startswith(prefix))
                )
    return found
