"""
Results that are expensive to compute again: roots, and the agent's stakes and payments.

A SQLite file in write-ahead mode, so that a process killed at any time leaves a valid file. Only the chain decides; an
agent whose memory was deleted computes again. A damaged file is moved aside and replaced.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address, RequestId, StateRoot

VERSION: Final = 2

SETTLED_S: Final = 3_600
"""What ended more lately is looked at again by the next process: the chain may have been reorganised meanwhile."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS roots (request BLOB PRIMARY KEY, model BLOB, root BLOB NOT NULL, status INTEGER NOT NULL,
    confirmed INTEGER NOT NULL, computed_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ended (game TEXT, payees TEXT, ended_at INTEGER NOT NULL, PRIMARY KEY (game, payees))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (id INTEGER PRIMARY KEY, sent_at INTEGER NOT NULL, kind TEXT NOT NULL, game TEXT,
    value_wei TEXT NOT NULL, tx TEXT, gas INTEGER);
"""


class MemoryUnusable(OpmlError):
    """The memory's file cannot be made or written."""

    hint = "check the folder of agent.state and the disk"


class Memory:
    """The agent's SQLite file."""

    def __init__(self, path: Path, chain_id: int) -> None:
        """Opens or makes the file; another chain's or a damaged one is moved aside. Raises `MemoryUnusable`."""
        self.path = path
        self.trouble: str | None = None
        """Why the file could not be written last; the agent goes on without it."""
        self._cannot_open: str | None = None
        self._roots: dict[bytes, tuple[StateRoot, int, bool]] = {}
        """What this process keeps, whatever becomes of the file."""
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MemoryUnusable(f"cannot make the folder of {path}: {error.strerror}") from None
        try:
            self._connection = self._open(chain_id)
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise MemoryUnusable(f"cannot use {path}: {error}") from None
            # A full disk: an agent that does not start defends no game, not even once there is space again.
            self.trouble = self._cannot_open = f"{path} cannot be opened: {error}"
            self._connection = self._connected(chain_id, ":memory:")

    def _open(self, chain_id: int) -> sqlite3.Connection:
        try:
            return self._connected(chain_id)
        except sqlite3.OperationalError:
            raise  # locked, read-only or a full disk: the file itself is whole
        except (sqlite3.DatabaseError, _OtherFile):
            aside = self.path.with_name(f"{self.path.name}.{int(time.time())}.aside")
            for suffix in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
            return self._connected(chain_id)

    def _connected(self, chain_id: int, where: str | None = None) -> sqlite3.Connection:
        connection = sqlite3.connect(where or self.path, isolation_level=None, timeout=10.0, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            known = connection.execute("PRAGMA user_version").fetchone()[0]
            identity = connection.execute("PRAGMA application_id").fetchone()[0]
            if known == 0:
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA user_version={VERSION}")
                connection.execute(f"PRAGMA application_id={chain_id & 0x7FFFFFFF}")
            elif known != VERSION or identity != chain_id & 0x7FFFFFFF:
                raise _OtherFile
            connection.execute("SELECT request, root, status, confirmed FROM roots LIMIT 1").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def _write(self, statement: str, values: tuple[object, ...] = ()) -> None:
        """What cannot be written is only missed at the next start: a full disk stops no game."""
        try:
            with self._guard:
                self._connection.execute(statement, values)
        except sqlite3.Error as error:
            self.trouble = f"{self.path} cannot be written: {error}"
        else:
            self.trouble = self._cannot_open

    def _read(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Nothing, where the file cannot be read: what is missing is computed again."""
        try:
            with self._guard:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self.trouble = f"{self.path} cannot be read: {error}"
            return []

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # ---- computed roots ----

    def root(self, request_id: RequestId) -> tuple[StateRoot, int, bool] | None:
        """S_n of a request, the status of its inference, and whether a second build of the engine confirmed it."""
        kept = self._roots.get(bytes(request_id))
        if kept is not None:
            return kept
        rows = self._read("SELECT root, status, confirmed FROM roots WHERE request = ?", (bytes(request_id),))
        if not rows:
            return None
        ((root, status, confirmed),) = rows
        self._roots[bytes(request_id)] = (StateRoot(root), int(status), bool(confirmed))
        return self._roots[bytes(request_id)]

    def keep_root(
        self, request_id: RequestId, model: bytes, root: StateRoot, status: int, *, confirmed: bool = False
    ) -> None:
        """Store a computed root."""
        self._roots[bytes(request_id)] = (root, status, confirmed)
        self._write(
            "INSERT OR REPLACE INTO roots VALUES (?, ?, ?, ?, ?, ?)",
            (bytes(request_id), bytes(model), bytes(root), status, int(confirmed), int(time.time())),
        )

    def confirm_root(self, request_id: RequestId) -> None:
        """Note that a second build of the engine computed the same root."""
        kept = self.root(request_id)
        if kept is not None:
            self._roots[bytes(request_id)] = (kept[0], kept[1], True)
        self._write("UPDATE roots SET confirmed = 1 WHERE request = ?", (bytes(request_id),))

    # ---- games ----

    def ended_games(
        self, payees: Iterable[Address], *, older_than_s: int = SETTLED_S, newer_than_s: float = 10**9
    ) -> set[Address]:
        """Games in which nothing is left to do for these addresses, found so long ago at least and at most."""
        now = int(time.time())
        rows = self._read(
            "SELECT game FROM ended WHERE payees = ? AND ended_at BETWEEN ? AND ?",
            (_joined(payees), now - int(newer_than_s), now - older_than_s),
        )
        return {Address(row[0]) for row in rows}

    def end_game(self, game: Address, payees: Iterable[Address]) -> None:
        """Nothing is left to do in this game for these addresses."""
        self._write("INSERT OR REPLACE INTO ended VALUES (?, ?, ?)", (game, _joined(payees), int(time.time())))

    def forget_games(self) -> None:
        """Forget the finished games, after a reorganisation of the chain."""
        self._write("DELETE FROM ended")

    # ---- what was sent ----

    def note_sent(self, kind: str, game: Address | None, value_wei: int, tx: str | None, gas: int | None) -> None:
        """Note a transaction of this agent, for later inspection."""
        self._write(
            "INSERT INTO sent (sent_at, kind, game, value_wei, tx, gas) VALUES (?, ?, ?, ?, ?, ?)",
            (int(time.time()), kind, game, str(value_wei), tx, gas),
        )

    def sent_counts(self) -> dict[str, int]:
        """How many transactions of each kind were sent."""
        return dict(self._read("SELECT kind, COUNT(*) FROM sent GROUP BY kind"))


def _joined(payees: Iterable[Address]) -> str:
    return ",".join(sorted({address.lower() for address in payees}))


class _OtherFile(Exception):
    """The file belongs to another chain or another version."""
