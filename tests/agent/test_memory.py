"""The agent's memory: kept across processes, never trusted beyond its chain, and never missed."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.agent.memory import Memory, MemoryUnusable
from opml_dispute.primitives import Address, RequestId, StateRoot

REQUEST = RequestId(b"\x01" * 32)
ROOT = StateRoot(b"\x02" * 32)
GAME = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")


def test_another_process_finds_what_was_kept(tmp_path: Path) -> None:
    first = Memory(tmp_path / "state", 31337)
    first.keep_root(REQUEST, b"\x03" * 32, ROOT, 0)
    first.confirm_root(REQUEST)
    first.end_game(GAME)
    first.note_sent("attack", GAME, 10**20, "0x00", 144_000)
    second = Memory(tmp_path / "state", 31337)  # the first was killed: it never closed
    assert second.root(REQUEST) == (ROOT, 0, True)
    assert second.ended_games() == {GAME}
    assert second.sent_counts() == {"attack": 1}


def test_memory_of_another_chain_is_put_aside(tmp_path: Path) -> None:
    Memory(tmp_path / "state", 1).keep_root(REQUEST, b"\x03" * 32, ROOT, 0)
    assert Memory(tmp_path / "state", 2).root(REQUEST) is None
    assert list(tmp_path.glob("*.aside"))


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"\xff" * 4096])
def test_damaged_memory_is_put_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    memory = Memory(tmp_path / "state", 31337)
    assert memory.root(REQUEST) is None
    memory.keep_root(REQUEST, b"\x03" * 32, ROOT, 0)
    assert list(tmp_path.glob("*.aside"))


def test_memory_that_cannot_be_made_is_an_error_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MemoryUnusable, match="file/state"):
        Memory(tmp_path / "file" / "state", 31337)
