"""An agent plays on where nothing can be written: a full disk costs it what it remembers, and no game."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from opml_dispute.agent.lease import Lease
from opml_dispute.agent.second_opinion import second_opinion
from opml_dispute.devnet import anvil as devnet
from opml_dispute.model.program_file import write_program
from tests.agent.test_agent import Unattended, game_of, lie
from tests.conftest import Chain


def test_an_agent_acts_though_the_lock_cannot_name_it(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock itself takes no room, and is held."""
    found = Unattended(chain, tmp_path).start()
    seat, _ = lie(chain, tmp_path, 3)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        assert found.passes() > 0
        assert not Lease(chain.deployment.chain_id, devnet.account("challenger").address).take()
    assert len(game_of(chain, seat).claims) == 2
    assert '"trouble"' not in found.said()
    found.end()


def test_an_agent_acts_though_no_lock_can_be_made(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says once that another one may act at the same time."""
    found = Unattended(chain, tmp_path).start()
    seat, _ = lie(chain, tmp_path, 3)
    (tmp_path / "file").write_text("")
    with monkeypatch.context() as patched:
        patched.setenv("OPML_HOME", str(tmp_path / "file" / "home"))
        found.agent.lease = Lease(chain.deployment.chain_id, devnet.account("challenger").address)
    assert found.passes() > 0
    found.passes()
    assert len(game_of(chain, seat).claims) == 2
    assert found.said().count("may act at the same time") == 1
    found.end()


def test_a_second_opinion_needs_no_room_on_a_disk(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, case = lie(chain, tmp_path, 3)
    path = tmp_path / "a.program"
    write_program(case.program, path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert second_opinion(path, case.image) == case.final_root
