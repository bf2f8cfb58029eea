"""Files are written whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from opml_dispute.writing import Unwritable, write_result


def test_a_file_is_replaced_and_a_link_stays_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"before")
    link.symlink_to(file)
    write_result(link, b"after")
    assert (file.read_bytes(), link.is_symlink()) == (b"after", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("name", ["no folder/file", "", "x" * 300, "a\0b"])
def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unwritable, match="cannot write"):
        write_result(tmp_path / name, b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_written_to_not_replaced() -> None:
    """A user with root's rights would lose the device otherwise."""
    write_result(Path(os.devnull), b"data")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_result(pipe, b"data")
    reader.join()
    assert got == [b"data"]


def test_a_killed_writer_leaves_what_was_there(tmp_path: Path) -> None:
    """The file is always one of the contents, whole, however often its writer is killed."""
    file = tmp_path / "file"
    write_result(file, b"0" * 1_000_000)
    program = (
        "import sys; from pathlib import Path; from opml_dispute.writing import write_result\n"
        "print(flush=True)\n"
        "while True:\n    for digit in b'123': write_result(Path(sys.argv[1]), bytes([digit]) * 1_000_000)\n"
    )
    for delay_s in (0.0, 0.003, 0.011):
        writer = subprocess.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        threading.Event().wait(delay_s)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = file.read_bytes()
        assert len(content) == 1_000_000
        assert len(set(content)) == 1
