"""
A pre-image server as a child process: op-program's, kona-host's, or any program that speaks their protocol.

The child reads hints from descriptor 3 (u32 length, bytes) and acknowledges each with one byte on descriptor 4; it
reads 32-byte keys from descriptor 5 and answers on descriptor 6 (u64 length, data). Numbers are big-endian.
`PreimageServer.start` starts one, `hint` and `fetch` talk to it, `close` ends it. An answer is checked against its key
where the key is the answer's hash. When this process dies, the child sees its pipes close.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.printable import lines

MAX_PREIMAGE_BYTES: Final = 1 << 30
PATIENCE_S: Final = 600.0
"""How long a server may take for an answer, and again for every further MiB of it. A node behind it may be slow."""
_SAY_EVERY_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.5
"""How often a server that says nothing is looked at: it may have ended while a child of its own holds the pipes."""

LOCAL, KECCAK, SHA256, BLOB, PRECOMPILE = 1, 2, 4, 5, 6
KEY_TYPES: Final = {"local": LOCAL, "keccak": KECCAK, "sha256": SHA256, "blob": BLOB, "precompile": PRECOMPILE}
"""Names of pre-image types; the number is a key's first byte. Source: docs/vm.md, "Pre-image oracle"."""

_HASHES: Final[dict[int, Callable[[bytes], bytes]]] = {
    KECCAK: keccak256,
    SHA256: lambda data: hashlib.sha256(data).digest(),
}
_ENVIRONMENT: Final = {"NO_COLOR": "1"}
"""What Cannon sets beside the environment: servers written in Rust would colour what they print."""
_ABOVE_CHILDS: Final = 16  # descriptors from here on cannot be among the child's 3 to 6
_SHUTDOWN_S: Final = 10.0


class ServerProblem(OpmlError):
    """The pre-image server could not be started, ended early, or gave a wrong answer."""

    hint = "look at the server's own messages above; it is the command after --"


class PreimageServer:
    """A running server."""

    def __init__(
        self,
        pid: int,
        hints: tuple[int, int],
        preimages: tuple[int, int],
        say: Callable[[str], None],
        patience_s: float,
    ) -> None:
        """`hints` and `preimages` are this side's descriptors: to read from, to write to."""
        self.pid = pid
        self.requests = 0
        self.received_bytes = 0
        self._hints, self._preimages, self._say, self._patience_s = hints, preimages, say, patience_s
        self._exit: int | None = None

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        say: Callable[[str], None] = lambda _: None,
        patience_s: float = PATIENCE_S,
    ) -> Self:
        """
        Starts the server; `say` is told when an answer takes long, and after `patience_s` seconds it is given up.

        Both of its output streams go to this process's standard error: standard output carries the command's own
        results. Raises `ServerProblem` if the command cannot be run.
        """
        pipes = [_pipe() for _ in range(4)]
        (hint_in, to_hints), (from_hints, hint_out), (key_in, to_keys), (from_data, data_out) = pipes
        child = {hint_in: 3, hint_out: 4, key_in: 5, data_out: 6}
        actions = [(os.POSIX_SPAWN_DUP2, ours, number) for ours, number in child.items()]
        actions.append((os.POSIX_SPAWN_DUP2, 2, 1))
        try:
            pid = os.posix_spawnp(command[0], list(command), os.environ | _ENVIRONMENT, file_actions=actions)
        except (OSError, ValueError) as error:
            for descriptor in (number for pipe in pipes for number in pipe):
                os.close(descriptor)
            raise ServerProblem(
                f"cannot start the pre-image server {command[0]}: {getattr(error, 'strerror', None) or error}",
                hint="give the path of a program",
            ) from None
        for descriptor in child:
            os.close(descriptor)
        for descriptor in (from_hints, to_hints, from_data, to_keys):
            os.set_blocking(descriptor, False)
        return cls(pid, (from_hints, to_hints), (from_data, to_keys), say, patience_s)

    def hint(self, hint: bytes) -> None:
        """Hands over one hint and waits until the server has taken it. Raises `ServerProblem`."""
        self._write(self._hints[1], len(hint).to_bytes(4, "big") + hint, "take a hint")
        self._read(self._hints[0], 1, "acknowledge a hint")

    def fetch(self, key: bytes) -> bytes:
        """The pre-image behind a 32-byte key. Raises `ServerProblem`, also if the data does not have that hash."""
        what = f"answer key 0x{key.hex()}"
        self._write(self._preimages[1], key, what)
        size = int.from_bytes(self._read(self._preimages[0], 8, what), "big")
        if size > MAX_PREIMAGE_BYTES:
            raise ServerProblem(
                f"the pre-image server announces {size:,} bytes for key 0x{key.hex()}; "
                f"at most {MAX_PREIMAGE_BYTES:,} are accepted"
            )
        data = self._read(self._preimages[0], size, what)
        if key[0] in _HASHES and _HASHES[key[0]](data)[1:] != key[1:]:
            raise ServerProblem(f"the pre-image server's {size:,} bytes for key 0x{key.hex()} do not have that hash")
        self.requests += 1
        self.received_bytes += size
        return data

    def close(self) -> None:
        """Interrupts the server, as Cannon does, and waits for its end; kills it if it does not end."""
        for descriptor in (*self._hints, *self._preimages):
            os.close(descriptor)
        for number, patience_s in ((signal.SIGINT, _SHUTDOWN_S), (signal.SIGKILL, _SHUTDOWN_S)):
            if self._ended():
                return
            os.kill(self.pid, number)
            deadline = time.monotonic() + patience_s
            while not self._ended() and time.monotonic() < deadline:
                time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ended(self) -> bool:
        if self._exit is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._exit = os.waitstatus_to_exitcode(status) if pid else None
        return self._exit is not None

    def _read(self, descriptor: int, size: int, what: str) -> bytes:
        parts: list[bytes] = []
        left, started = size, time.monotonic()
        patience_s = self._patience_s * (1 + (size >> 20))
        while left:
            self._wait(descriptor, what, started, patience_s, to_write=False)
            part = os.read(descriptor, min(left, 1 << 20))
            if not part:
                raise self._gone(what)
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _write(self, descriptor: int, data: bytes, what: str) -> None:
        view, started = memoryview(data), time.monotonic()
        try:
            while view:
                self._wait(descriptor, what, started, self._patience_s, to_write=True)
                view = view[os.write(descriptor, view) :]
        except BrokenPipeError:
            raise self._gone(what) from None

    def _wait(self, descriptor: int, what: str, started: float, patience_s: float, *, to_write: bool) -> None:
        """Until the descriptor is ready. Raises `ServerProblem` when the server has ended or takes too long."""
        say_at = time.monotonic() + _SAY_EVERY_S
        while True:
            waited_s = time.monotonic() - started
            if waited_s > patience_s:
                raise ServerProblem(
                    f"the pre-image server took more than {patience_s:g} s to {what}",
                    hint="a slow server is given more time by --server-patience SECONDS or OPML_SERVER_PATIENCE",
                )
            pause_s = min(_LOOK_EVERY_S, patience_s - waited_s + 0.01)
            ended = self._ended()  # looked at first: what it wrote before its end is still read
            ready = select.select([] if to_write else [descriptor], [descriptor] if to_write else [], [], pause_s)
            if ready[0] or ready[1]:
                return
            if ended:
                raise self._gone(what)
            if time.monotonic() > say_at:
                say_at += _SAY_EVERY_S
                self._say(f"the pre-image server has taken {waited_s:.0f} s so far to {what}")

    def _gone(self, what: str) -> ServerProblem:
        deadline = time.monotonic() + 1.0
        while not self._ended() and time.monotonic() < deadline:
            time.sleep(0.01)
        how = "closed its pipes" if self._exit is None else f"ended with code {self._exit}"
        return ServerProblem(f"the pre-image server {how} when it was to {what}")


def _pipe() -> tuple[int, int]:
    """A pipe's two ends, above the numbers that the child's descriptors get."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _ABOVE_CHILDS) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


def log_to_stderr(text: str) -> None:
    """A line for people; standard output belongs to the answers."""
    print(lines(text), file=sys.stderr, flush=True)
