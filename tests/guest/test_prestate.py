"""The guest is the same bytes on every machine, and the game starts from exactly those."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.fpvm.elf import prestate_of
from opml_dispute.fpvm.prestate import ABSOLUTE_PRESTATE
from opml_dispute.toolchain import native


def test_committed_prestate_is_that_of_the_guest() -> None:
    """After a change of the guest that is meant: scripts/renew."""
    assert prestate_of(native.guest_path().read_bytes(), ml=True) == ABSOLUTE_PRESTATE


def test_guest_rebuilds_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, with an empty compiler cache: no path and no time of a machine is in it."""
    before = native.guest_path().read_bytes()
    monkeypatch.setattr(native, "BUILD", tmp_path / "elsewhere")
    monkeypatch.setenv("ZIG_LOCAL_CACHE_DIR", str(tmp_path / "local"))
    assert native.build_guest(force=True).read_bytes() == before
