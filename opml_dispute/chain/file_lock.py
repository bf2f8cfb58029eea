"""
A lock on a file, between processes of this computer; the operating system releases it when its holder dies.

It does not work between computers.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from opml_dispute.home import CannotWrite

_LOOK_S: Final = 0.01


class FileLock:
    """Held by at most one process that opens the same path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self, *, wait_s: float = 0.0) -> bool:
        """
        Take the lock and say whether this process holds it, which is waited for `wait_s` long.

        Raises `CannotWrite` if the file cannot be made.
        """
        if self._descriptor is not None:
            return True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path}: {error.strerror or error}") from None
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # WHY NOT let the system wait: a holder that was stopped never gives it back.
                if time.monotonic() < deadline:
                    time.sleep(_LOOK_S)
                    continue
                os.close(descriptor)
                return False
            except OSError as error:  # some network file systems have no locks
                os.close(descriptor)
                raise CannotWrite(f"cannot lock {self.path}: {error.strerror or error}") from None
            self._descriptor = descriptor
            return True

    def is_open_in(self, pid: int) -> bool:
        """Whether a process of this user has the file open, as its holder has."""
        with suppress(OSError):
            own = self.path.stat()
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    found = descriptor.stat()
                    if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
                        return True
        return False

    def write(self, text: str) -> None:
        """Write into the file who holds the lock, for people: on a full disk it is held all the same."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, text.encode(), 0)

    def give_back(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
