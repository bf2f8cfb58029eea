"""
Reading of untrusted files, with a limit of size and of time.

`read_bytes` refuses directories, files above a size, and pipes that stay silent; `read_unpacked`, `read_text` and
`read_json` build on it (`plain_json` says which JSON is refused). All raise `Unreadable`, whose `reason` callers put
into their own sentence.
"""

from __future__ import annotations

import gzip
import io
import os
import select
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from opml_dispute import plain_json
from opml_dispute.errors import OpmlError

MAX_TEXT_BYTES: Final = 1 << 20
"""The size limit of a key, a password, a keystore or a deployment file; real ones have some hundred bytes."""

PIPE_PATIENCE_S: Final = 60.0
"""How long a pipe may deliver nothing, in seconds."""

MAX_PIPE_BYTES: Final = 1 << 28
"""The size limit of pipes and devices, whose size is not known beforehand and some of which never end."""

_CHUNK_BYTES: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"


class Unreadable(OpmlError):
    """A file cannot be read, or does not have the expected form."""

    hint = "check the path"

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"cannot read {path}: {reason}")
        self.reason = reason


def read_bytes(path: Path, *, max_bytes: int, cut: bool = False, patience_s: float = PIPE_PATIENCE_S) -> bytes:
    """
    The whole file, or all that comes through a pipe; with `cut`, of a larger one the first `max_bytes + 1` bytes.

    Raises `Unreadable`, without `cut` also for a larger one.
    """
    with _opened(path) as opened:
        found = os.fstat(opened)
        if stat.S_ISDIR(found.st_mode):
            raise Unreadable(path, "it is a directory")
        if stat.S_ISREG(found.st_mode) and found.st_size > max_bytes and not cut:
            raise Unreadable(path, f"it has {found.st_size:,} bytes, expected {max_bytes:,} at most")
        if not stat.S_ISREG(found.st_mode):
            max_bytes = min(max_bytes, MAX_PIPE_BYTES)
        data = _read_all(opened, path, max_bytes, patience_s, is_regular=stat.S_ISREG(found.st_mode))
    if len(data) > max_bytes and not cut:
        raise Unreadable(path, f"it has more than {max_bytes:,} bytes")
    return data


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The file's descriptor. What the system refuses, at opening or while it is open, is `Unreadable`."""
    try:
        # Non-blocking: opening a pipe that has no writer would otherwise wait for ever.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise Unreadable(path, _words(error)) from None
    except ValueError:
        raise Unreadable(path, "no file can have this name") from None
    try:
        yield opened
    except OSError as error:
        raise Unreadable(path, _words(error)) from None
    finally:
        os.close(opened)


def _read_all(opened: int, path: Path, max_bytes: int, patience_s: float, *, is_regular: bool) -> bytes:
    parts, size_bytes = list[bytes](), 0
    while True:
        if not is_regular:
            _await_data(opened, path, patience_s)
        part = os.read(opened, min(_CHUNK_BYTES, max_bytes + 1 - size_bytes))
        parts.append(part)
        size_bytes += len(part)
        if not part or size_bytes > max_bytes:
            return b"".join(parts)


def _await_data(opened: int, path: Path, patience_s: float) -> None:
    poll = select.poll()
    poll.register(opened, select.POLLIN)
    deadline = time.monotonic() + patience_s
    while not poll.poll(max(0, (deadline - time.monotonic()) * 1000)):
        if time.monotonic() >= deadline:
            raise Unreadable(path, f"nothing came through this pipe for {patience_s:.0f} s")


def copy_file(path: Path, into: Path, *, max_bytes: int) -> None:
    """Copies a regular file of any size, a chunk at a time. Raises `Unreadable`."""
    with _opened(path) as opened:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(path, "it is a directory" if stat.S_ISDIR(found.st_mode) else "it is no regular file")
        if found.st_size > max_bytes:
            raise Unreadable(path, f"it has {found.st_size:,} bytes, expected {max_bytes:,} at most")
        with into.open("wb") as file:
            size_bytes = 0
            while part := os.read(opened, _CHUNK_BYTES):
                size_bytes += len(part)
                if size_bytes > max_bytes:
                    raise Unreadable(path, f"it has more than {max_bytes:,} bytes")
                file.write(part)


def read_unpacked(path: Path, *, max_bytes: int) -> bytes:
    """The file's content, unpacked if it is a gzip file; the limit applies to the unpacked size too. Raises
    `Unreadable`."""
    data = read_bytes(path, max_bytes=max_bytes)
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            data = stream.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(path, f"it is not a whole gzip file: {error}") from None
    if len(data) > max_bytes:
        raise Unreadable(path, f"it unpacks to more than {max_bytes:,} bytes")
    return data


def read_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The file as UTF-8, without a byte order mark. Raises `Unreadable`."""
    try:
        return read_bytes(path, max_bytes=max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable(path, "it is not text") from None


def read_json(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> Any:
    """The file's JSON value. Raises `Unreadable`."""
    text = read_text(path, max_bytes=max_bytes)
    try:
        return plain_json.loads(text)
    except ValueError as error:
        raise Unreadable(path, f"it is not JSON: {error}") from None


def _words(error: OSError) -> str:
    return error.strerror or str(error)
