"""Files that are mapped and written to meanwhile: told, never believed, and never the end of the process."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from opml_dispute.engine import mapped_files
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.engine.mapped_files import FileChanged, expect_unchanged, map_file, mappings_of, unchanged

SIZE = 64 * mmap.PAGESIZE
KEPT = 3 * mmap.PAGESIZE + 7


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.write_bytes(b"\1" * SIZE)
    return path


def test_what_is_cut_off_reads_as_zeros_and_is_told(file: Path) -> None:
    """In Python, in C, and in a thread of C's: without a guard each ends the process."""
    data = map_file(file)
    os.truncate(file, KEPT)
    assert int(data.sum()) == KEPT
    root = merkle_root(data, 18)
    thread = threading.Thread(target=lambda: merkle_root(data, 18))
    thread.start()
    thread.join()
    os.truncate(file, SIZE)  # as long again, and not as it was
    assert root == merkle_root(data, 18)
    with pytest.raises(FileChanged, match="written to while it was in use"):
        expect_unchanged(mappings_of([data]))


def test_a_file_as_long_and_as_old_as_before_is_told_if_a_part_was_gone(file: Path) -> None:
    data, then = map_file(file), file.stat()
    os.truncate(file, 0)
    assert not data[5 * mmap.PAGESIZE]
    file.write_bytes(b"\1" * SIZE)
    os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))
    with pytest.raises(FileChanged):
        expect_unchanged(mappings_of([data]))


def test_a_file_beside_one_that_was_cut_is_as_it_was(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"\2" * SIZE)
    first, second = map_file(file), map_file(other)
    os.truncate(file, 0)
    assert not first.any()
    assert (second == 2).all()
    expect_unchanged(mappings_of([second]))


def cut(path: Path) -> None:
    os.truncate(path, KEPT)


def rewrite(path: Path) -> None:
    with path.open("r+b") as opened:
        opened.write(b"\3")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [cut, rewrite])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("is_kept", [False, True])
def test_what_was_copied_from_a_file_that_changed_is_not_believed(
    change: Callable[[Path], None], fails: bool, is_kept: bool, file: Path
) -> None:
    """Whether the mapping is still there or not, and whatever error came of what was read."""
    kept = []

    @unchanged()
    def read() -> None:
        data = map_file(file)
        change(file)
        data.copy()
        if is_kept:
            kept.append(data)
        del data
        if fails:
            raise ValueError("a matrix of no shape")

    with pytest.raises(FileChanged):
        read()


def test_what_was_mapped_before_and_within_an_inner_part_counts_too(file: Path) -> None:
    data = map_file(file)
    with pytest.raises(FileChanged), unchanged(mappings_of([data])):
        rewrite(file)

    @unchanged()
    def read() -> None:
        with unchanged():
            inner = map_file(file)
        os.truncate(file, 1)
        del inner

    with pytest.raises(FileChanged):
        read()


def test_an_error_of_ones_own_stays_one_where_nothing_changed(file: Path) -> None:
    @unchanged()
    def read() -> None:
        map_file(file)
        raise ValueError("a matrix of no shape")

    with pytest.raises(ValueError, match="of no shape"):
        read()


def test_places_are_free_again_when_files_are_let_go(file: Path) -> None:
    """There are 4,096."""
    for _ in range(5000):
        assert map_file(file)[0] == 1


def test_more_files_than_can_be_watched_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        @staticmethod
        def opml_guard(*_: object) -> int:
            return -1

    monkeypatch.setattr(mapped_files, "library", Full)
    with pytest.raises(OSError, match="can be watched"):
        map_file(file)


def test_another_handler_in_between_is_no_obstacle(file: Path) -> None:
    """Libraries put handlers in our place, and take them away again; theirs may lead back to ours."""
    code = """
import faulthandler, os, sys
from pathlib import Path
from opml_dispute.engine.mapped_files import map_file
path = Path(sys.argv[1])
for _ in range(3):
    faulthandler.enable()
    data = map_file(path)
    os.truncate(path, 0)
    print(data[0])
    path.write_bytes(b"x" * 10_000)
    faulthandler.disable()
    data = map_file(path)
    os.truncate(path, 0)
    print(data[0], flush=True)
    path.write_bytes(b"x" * 10_000)
"""
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("0\n" * 6, 0), done.stderr


def test_other_memory_that_is_gone_still_ends_the_process(file: Path) -> None:
    """A fault that is not a guarded file's is none of ours to hide."""
    code = """
import mmap, os, sys
from pathlib import Path
from opml_dispute.engine.mapped_files import map_file
path = Path(sys.argv[1])
guarded = map_file(path)
with path.open("rb") as file:
    other = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
os.truncate(path, 0)
print(guarded[0], flush=True)
other[0]
"""
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("0\n", -signal.SIGBUS)
