"""
A lock on a file, between processes of this computer: one that dies gives it back by itself.

Across computers it says nothing.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from opml_dispute.home import CannotWrite


class FileLock:
    """Held by at most one process that opens the same path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self, *, wait: bool) -> bool:
        """Whether it is held now; with `wait` only once it is. Raises `CannotWrite` if the file cannot be made."""
        if self._descriptor is not None:
            return True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path}: {error.strerror or error}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:  # some network file systems have no locks
            os.close(descriptor)
            raise CannotWrite(f"cannot lock {self.path}: {error.strerror or error}") from None
        self._descriptor = descriptor
        return True

    def write(self, text: str) -> None:
        """What the file says while the lock is held, for people: who holds it."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)

    def give_back(self) -> None:
        """Lets another process have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
