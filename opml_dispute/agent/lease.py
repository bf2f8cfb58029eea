"""
One agent a key: a lock that a dead process gives back by itself.

Two agents with one key would make the same moves twice and spend each other's nonces. The second one watches until
the first one is gone, then takes over. The lock is of this computer: on two computers, use two keys.
"""

from __future__ import annotations

import fcntl
import os

from opml_dispute.home import CannotWrite, home
from opml_dispute.primitives import Address


class Lease:
    """The right to act with one key on one chain."""

    def __init__(self, chain_id: int, address: Address) -> None:
        self.path = home() / "leases" / f"{chain_id}-{address}.lock"
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Whether this process may act; asks again each time until it may. Raises `CannotWrite`."""
        if self._descriptor is not None:
            return True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotWrite(f"cannot write {self.path}: {error.strerror or error}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return True

    def holder(self) -> str:
        """The process that holds it, as far as its file says."""
        try:
            return self.path.read_text(errors="replace").strip() or "unknown"
        except OSError:
            return "unknown"

    def give_back(self) -> None:
        """Lets another process act."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
