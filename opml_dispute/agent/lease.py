"""
One agent per key: a lock that the operating system releases when its process dies.

Two agents with one key would make the same moves twice and spend each other's nonces. The second one watches until
the first one is gone, or has been stopped (SIGSTOP) for a while, then takes over. The lock is of this computer: on two
computers, use two keys.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

from opml_dispute.chain.file_lock import FileLock
from opml_dispute.home import CannotWrite, home
from opml_dispute.primitives import Address

STOPPED_S: Final = 60.0
"""How long a stopped holder is waited for."""


class Lease:
    """The right to act with one key on one chain."""

    def __init__(self, chain_id: int, address: Address) -> None:
        self._lock = FileLock(home() / "leases" / f"{chain_id}-{address}.lock")
        self.trouble: str | None = None
        """Why this process acts without the lock, if it does: another one may act at the same time."""
        self._stopped_since: float | None = None
        """Since when the holder is seen to be stopped, by `time.monotonic`."""

    def take(self) -> bool:
        """Whether this process may act; each call tries to take the lease until it has it."""
        try:
            is_taken = self._lock.take()
        except CannotWrite as error:
            # WHY NOT wait: the chain refuses what two agents do twice, and games are lost by one that does nothing.
            self.trouble = str(error)
            return True
        self.trouble = None
        if is_taken:
            self._stopped_since = None
            self._lock.write(f"{os.getpid()}\n")
            return True
        return self._stands_in()

    def _stands_in(self) -> bool:
        """Whether the holder has been stopped for so long that this process acts in its place, until it goes on."""
        holder = self.holder()
        if not (holder.isdecimal() and _is_stopped(int(holder)) and self._lock.is_open_in(int(holder))):
            self._stopped_since = None
            return False
        if self._stopped_since is None:
            self._stopped_since = time.monotonic()
        if time.monotonic() - self._stopped_since < STOPPED_S:
            return False
        self.trouble = f"process {holder} has the lease and is stopped; this one acts in its place until it goes on"
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


def _is_stopped(pid: int) -> bool:
    """Whether a process of this computer exists and is stopped, by a signal or a debugger."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return False
    return re.search(r"^State:\s+[Tt] ", status, re.MULTILINE) is not None
