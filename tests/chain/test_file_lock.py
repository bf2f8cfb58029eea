"""One process at a time; one that dies gives the lock back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opml_dispute.chain.file_lock import FileLock
from opml_dispute.home import CannotWrite

HOLD = """
import sys, time
from pathlib import Path
from opml_dispute.chain.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
lock.take() and lock.write("it is me")
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_is_held_once_and_given_back_by_a_process_that_dies(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.lock"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        mine = FileLock(path)
        assert not mine.take()
        assert path.read_text() == "it is me"
    finally:
        other.kill()
        other.wait()
        other.stdout.close() if other.stdout is not None else None
    assert mine.take(wait_s=60)
    assert mine.take(), "it is held already"
    mine.write("mine")
    assert path.read_text() == "mine"
    mine.give_back()
    assert FileLock(path).take()


def test_a_lock_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match=r"a\.lock"):
        FileLock(tmp_path / "file" / "a.lock").take()


def test_a_lock_is_waited_for_no_longer_than_said(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "a.lock"), FileLock(tmp_path / "a.lock")
    assert first.take()
    started = time.monotonic()
    assert not second.take(wait_s=0.3)
    assert 0.3 <= time.monotonic() - started < 5
    assert first.is_open_in(os.getpid())
    first.give_back()
    assert not first.is_open_in(os.getpid())
    assert second.take(wait_s=0.3)
