"""
What Forge has compiled of a copy of the project, with some contracts replaced by changed ones.

Tests that deploy a contract by its artifact meet the changed one without being compiled again. What a test takes into
its own code, a library above all, is as before: only a failure tells something.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from lib.bare_contracts import compiled, deployed_with


class ForgeArtifacts:
    """Those of the copy in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def unlike_compiled(self, solc: Path) -> list[str]:
        """
        The contracts that Forge compiled to other code than `compiled` does: the names, none if all is well.

        Raises `CompileError`.
        """
        made = compiled(self._folder, solc, deployed_with(self._folder))
        return [
            name
            for name, contract in made.items()
            if _with_code(before := self._path(name).read_text(), contract["evm"]) != before
        ]

    def _path(self, name: str) -> Path:
        return self._folder / "contracts" / "out" / f"{name}.sol" / f"{name}.json"

    @contextlib.contextmanager
    def spoilt(self, changed: Path, text: str, solc: Path) -> Iterator[bool]:
        """
        Puts what is compiled with this text of a file in place, and afterwards what was there. Yields whether there is
        a contract with code of the file that differs from what was there.

        Raises `CompileError`.
        """
        file = changed.relative_to("contracts").as_posix()
        contracts = deployed_with(self._folder, file)
        made = compiled(self._folder, solc, contracts, {file: text}) if contracts else {}
        kept: dict[Path, str] = {}
        try:
            for name, contract in made.items():
                path = self._path(name)
                before = path.read_text()
                after = _with_code(before, contract["evm"])
                if after != before:
                    kept[path] = before
                    path.write_text(after)
            yield bool(kept)
        finally:
            for path, before in kept.items():
                path.write_text(before)


def _with_code(artifact: str, evm: dict[str, dict[str, object]]) -> str:
    """Forge's artifact with this code. It stays as it is, byte by byte, if the code is the same."""
    fields = json.loads(artifact)
    changed = False
    for kind in ("bytecode", "deployedBytecode"):
        code = f"0x{evm[kind]['object']}"
        changed = changed or fields[kind]["object"] != code
        fields[kind]["object"] = code
    fields["deployedBytecode"]["immutableReferences"] = evm["deployedBytecode"]["immutableReferences"]
    return json.dumps(fields) if changed else artifact
