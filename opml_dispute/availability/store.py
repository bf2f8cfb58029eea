"""
A folder of files by their content: what was fetched, compiled or given once is there the next time.

`ContentStore` knows a file by a name that its content decides, so a file is either right or damaged, never outdated.
What a file is worth is checked by who reads it; `drop` takes a damaged one out. Files are put there whole or not at
all. Of those that can be had again from a URI, the ones that were used least lately make room when the quota is full;
what the operator brought stays, and so does what a game is about (`hold`): its URI may be dead by now.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opml_dispute.errors import OpmlError
from opml_dispute.home import CannotWrite, write_json, write_whole
from opml_dispute.reading import Unreadable, read_json

QUOTA_BYTES: Final = 1 << 37
"""The limit of fetched files in bytes, unless the operator sets another."""

HOLD_S: Final = 3_600.0
"""How long a file stays after it was held last."""

_INCOMING: Final = ".incoming-"
_ORIGIN: Final = ".origin.json"


class StoreFull(OpmlError):
    """A file does not fit the store's limit."""

    hint = "allow more with fetch.quota, or give the file with --model"


@dataclass(frozen=True)
class FetchedFrom:
    """Where a file can be fetched from, and when that went well last."""

    uri: str
    fetched_at_s: int
    is_own: bool
    """Whether the operator brought the file, so that it stays."""


class ContentStore:
    """One folder; processes may share it."""

    def __init__(self, folder: Path, *, quota_bytes: int = QUOTA_BYTES) -> None:
        self.folder, self.quota_bytes = folder, quota_bytes

    def path(self, name: str) -> Path:
        """The path of a file, whether or not it is kept."""
        return self.folder / name

    def use(self, name: str) -> Path | None:
        """The path of a file that is about to be read; None if it is not kept."""
        path, now = self.path(name), time.time()
        try:
            if path.stat().st_mtime < now:  # otherwise it is held
                os.utime(path, (now, now))  # what makes room first is what was used least lately
        except OSError:
            return path if path.is_file() else None
        return path

    def hold(self, name: str) -> None:
        """A file does not make room for others, for `HOLD_S` seconds from now; the time of its use tells that."""
        until = time.time() + HOLD_S
        with contextlib.suppress(OSError):
            os.utime(self.path(name), (until, until))

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` make a file that stays. Raises `CannotWrite`."""
        write_whole(self.path(name), write)
        with contextlib.suppress(OSError):
            self.path(name + _ORIGIN).unlink()

    def drop(self, name: str) -> None:
        """Remove a file, if it is kept."""
        for path in (self.path(name), self.path(name + _ORIGIN)):
            with contextlib.suppress(OSError):
                path.unlink()

    # ---- what was fetched ----

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """A folder for files being fetched, removed afterwards. Raises `CannotWrite`."""
        folder = self.folder / f"{_INCOMING}{os.getpid()}-{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise CannotWrite(f"cannot write {folder}: {error.strerror}") from None
        self._clear_left_behind()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, name: str, file: Path, uri: str) -> None:
        """Take in a file that was fetched and checked. Raises `StoreFull` and `CannotWrite`."""
        self.make_room(file.stat().st_size)
        # First the note: a process that is killed in between must not leave a file that looks like the operator's own.
        self.note_origin(name, uri)
        try:
            file.replace(self.path(name))
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path(name)}: {error.strerror}") from None

    def note_origin(self, name: str, uri: str, *, is_own: bool = False) -> None:
        """This URI gives the file, now. Raises `CannotWrite`."""
        write_json(self.path(name + _ORIGIN), {"uri": uri, "fetched_at_s": int(time.time()), "is_own": is_own})

    def origin(self, name: str) -> FetchedFrom | None:
        """Where the file can be fetched from; None if it never was."""
        try:
            raw = read_json(self.path(name + _ORIGIN))
            return FetchedFrom(str(raw["uri"]), int(raw["fetched_at_s"]), bool(raw["is_own"]))
        except (Unreadable, KeyError, TypeError, ValueError):
            return None

    def make_room(self, size_bytes: int) -> None:
        """Drops what was fetched and used least lately until `size_bytes` fit the quota. Raises `StoreFull`."""
        if size_bytes > self.quota_bytes:
            raise StoreFull(f"{size_bytes:,} bytes do not fit the store's {self.quota_bytes:,}")
        fetched, now = sorted(self._fetched(), key=lambda found: found[2]), time.time()
        kept_bytes = sum(size for _, size, _ in fetched)
        held_bytes = sum(size for _, size, used_at in fetched if used_at > now)
        if held_bytes + size_bytes > self.quota_bytes:
            raise StoreFull(
                f"{size_bytes:,} bytes do not fit the store's {self.quota_bytes:,}: games in progress hold "
                f"{held_bytes:,} of them"
            )
        for name, size, _ in fetched:
            if kept_bytes + size_bytes <= self.quota_bytes:
                return
            self.drop(name)
            kept_bytes -= size

    def _fetched(self) -> Iterator[tuple[str, int, float]]:
        """Name, bytes, and time of the last use of each file that was fetched."""
        for note in self.folder.glob("*" + _ORIGIN):
            name = note.name.removesuffix(_ORIGIN)
            seen = self.origin(name)
            if seen is not None and seen.is_own:
                continue
            with contextlib.suppress(OSError):
                found = self.path(name).stat()
                yield name, found.st_size, found.st_mtime

    def _clear_left_behind(self) -> None:
        """Removes what processes left that were killed while they fetched."""
        for folder in self.folder.glob(_INCOMING + "*"):
            process = folder.name.removeprefix(_INCOMING).partition("-")[0]
            if process.isdecimal() and not _is_running(int(process)):
                shutil.rmtree(folder, ignore_errors=True)


def program_name(model_root: bytes) -> str:
    """How a store calls the program of a model."""
    return f"{bytes(model_root).hex()}.program"


def input_name(input_root: bytes) -> str:
    """How a store calls an input's image."""
    return f"{bytes(input_root).hex()}.input"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
