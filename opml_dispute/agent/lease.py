"""
One agent per key: a lock that the operating system releases when its process dies.

Two agents with one key would make the same moves twice and spend each other's nonces. The second one watches until
the first one is gone, then takes over. The lock is of this computer: on two computers, use two keys.
"""

from __future__ import annotations

import os

from opml_dispute.chain.file_lock import FileLock
from opml_dispute.home import CannotWrite, home
from opml_dispute.primitives import Address


class Lease:
    """The right to act with one key on one chain."""

    def __init__(self, chain_id: int, address: Address) -> None:
        self._lock = FileLock(home() / "leases" / f"{chain_id}-{address}.lock")
        self.trouble: str | None = None
        """Why the lock cannot be made, if it cannot: an agent that acts at the same time is not noticed then."""

    def take(self) -> bool:
        """Whether this process may act; each call tries to take the lease until it has it."""
        try:
            is_taken = self._lock.take(wait=False)
        except CannotWrite as error:
            # WHY NOT wait: the chain refuses what two agents do twice, and games are lost by one that does nothing.
            self.trouble = str(error)
            return True
        self.trouble = None
        if not is_taken:
            return False
        self._lock.write(f"{os.getpid()}\n")
        return True

    def holder(self) -> str:
        """The process that holds the lease, by its file."""
        try:
            return self._lock.path.read_text(errors="replace").strip() or "unknown"
        except OSError:
            return "unknown"

    def give_back(self) -> None:
        """Release the lease."""
        self._lock.give_back()
