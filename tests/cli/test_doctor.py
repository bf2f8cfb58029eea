"""`opml-dispute doctor`: what is there, what is missing, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from opml_dispute.devnet import anvil as devnet
from tests.cli.conftest import Cli
from tests.conftest import Chain

Key = Callable[[str], str]


def test_doctor_finds_a_healthy_system_healthy_and_a_missing_chain_missing(cli: Cli, on_chain: Chain, key: Key) -> None:
    healthy = cli("doctor", "--key-file", key("proposer"), "--json")
    assert healthy.code == 0, healthy.out
    assert all(item["ok"] for item in healthy.objects)
    sick = cli("doctor", "--rpc-url", f"http://127.0.0.1:{devnet.free_port()}", "--json")
    assert sick.code == 1
    assert [item["check"] for item in sick.objects if item.get("ok") is False] == ["node"]
    assert cli("doctor", "--offline").code == 0


def test_doctor_fetches_no_program(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local chain is what some commands need, on some computers."""
    monkeypatch.setenv("OPML_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("OPML_ANVIL", raising=False)
    monkeypatch.setattr("opml_dispute.toolchain.programs._npm_install", lambda *_, **__: pytest.fail("it is fetched"))
    looked = cli("doctor", "--offline")
    assert looked.code == 0
    assert "not here; demo, devnet and simulate fetch" in looked.out
    assert not (tmp_path / "cache").exists()
    monkeypatch.setenv("OPML_ANVIL", str(tmp_path / "missing"))
    assert cli("doctor", "--offline").code == 1, "what is configured must be there"
