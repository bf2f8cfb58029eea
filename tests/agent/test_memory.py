"""The agent's memory: kept across processes, never trusted beyond its chain, and never missed."""

from __future__ import annotations

from pathlib import Path

import pytest

from opml_dispute.agent.memory import Memory, MemoryUnusable
from opml_dispute.primitives import Address, RequestId, StateRoot

REQUEST = RequestId(b"\x01" * 32)
ROOT = StateRoot(b"\x02" * 32)
GAME = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
OWN = Address("0x90F79bf6EB2c4f870365E785982E1f101E93b906")
OTHER = Address("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65")


def test_game_is_ended_only_for_whom_it_was_settled(tmp_path: Path) -> None:
    """Another key, or a further address to claim for, has bonds of its own there."""
    memory = Memory(tmp_path / "state", 31337)
    memory.end_game(GAME, [OWN])
    assert memory.ended_games([OTHER], older_than_s=0) == set()
    assert memory.ended_games([OWN, OTHER], older_than_s=0) == set()
    memory.end_game(GAME, [OTHER, OWN])
    assert memory.ended_games([OWN, OTHER], older_than_s=0) == {GAME}


def test_what_ended_just_now_is_looked_at_again(tmp_path: Path) -> None:
    """The chain may have been reorganised while no process ran."""
    memory = Memory(tmp_path / "state", 31337)
    memory.end_game(GAME, [OWN])
    assert memory.ended_games([OWN]) == set()


def test_another_process_finds_what_was_kept(tmp_path: Path) -> None:
    first = Memory(tmp_path / "state", 31337)
    first.keep_root(REQUEST, b"\x03" * 32, ROOT, 0)
    first.confirm_root(REQUEST)
    first.end_game(GAME, [OWN])
    first.note_sent("attack", GAME, 10**20, "0x00", 144_000)
    second = Memory(tmp_path / "state", 31337)  # the first was killed: it never closed
    assert second.root(REQUEST) == (ROOT, 0, True)
    assert second.ended_games([OWN], older_than_s=0) == {GAME}
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
