"""Running commands in a test: in this process, with what they print."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opml_dispute import cli as cli_module
from opml_dispute.devnet import anvil as devnet
from tests.conftest import Chain


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON objects on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    def object_with(self, key: str) -> dict[str, Any]:
        """The only one that has this key."""
        (found,) = [item for item in self.objects if key in item]
        return found


Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line; wide, so that no sentence is broken."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = cli_module.execute([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def on_chain(chain: Chain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Chain:
    """Commands find the test chain in their environment."""
    monkeypatch.setenv("OPML_RPC_URL", chain.anvil.url)
    monkeypatch.setenv("OPML_DEPLOYMENT", str(chain.deployment_file))
    return chain


@pytest.fixture
def key(tmp_path: Path) -> Callable[[str], str]:
    """A key file for a role."""

    def write(role: str) -> str:
        path = tmp_path / f"{role}.key"
        path.write_text(devnet.key_hex(devnet.ROLES.index(role)))
        return str(path)

    return write
