"""
A worker: something that answers one question at a time, and may be lost while it does.

`ProcessWorker` is a process of this computer, spoken to through pipes in messages with their length first. It dies with
the process that started it, ends when its input ends, and ends itself when it holds more memory than it may
(`python -m opml_dispute.compute.workers`). `HereWorker` computes in the process that asks: for tests and small systems.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from opml_dispute.availability.store import ContentStore
from opml_dispute.compute.case_server import CaseServer
from opml_dispute.compute.messages import MAX_MESSAGE_BYTES

TOO_MUCH_MEMORY: Final = 77
"""What a worker exits with that ends itself."""

_LENGTH: Final = struct.Struct(">Q")
_WATCH_S: Final = 0.1
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG


class WorkerLost(Exception):
    """A worker is gone, or gave no answer in time and was ended; the reason is a clause."""


class Worker(Protocol):
    """One worker; for one question at a time."""

    def ask(self, raw: bytes, timeout_s: float) -> bytes:
        """The answer. Raises `WorkerLost`; the worker is of no use then."""
        ...

    def stop(self) -> None:
        """Ends it at once, whatever it computes."""
        ...


class HereWorker:
    """Computes in this process; `timeout_s` cannot be kept."""

    def __init__(self, folder: Path) -> None:
        self._server = CaseServer(ContentStore(folder))

    def ask(self, raw: bytes, timeout_s: float) -> bytes:
        """See `Worker`."""
        return self._server.answer(raw)

    def stop(self) -> None:
        """Nothing to end."""


class ProcessWorker:
    """Computes in a process of its own."""

    def __init__(self, folder: Path, *, memory_bytes: int | None = None) -> None:
        """`folder` is the store's; `memory_bytes` is what the process may hold."""
        command = [sys.executable, "-m", "opml_dispute.compute.workers", str(folder)]
        if memory_bytes is not None:
            command += ["--memory", str(memory_bytes)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise WorkerLost(f"no process can be started: {error.strerror}") from None

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, raw: bytes, timeout_s: float) -> bytes:
        """See `Worker`."""
        deadline = time.monotonic() + timeout_s
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(_LENGTH.pack(len(raw)) + raw)
            self._process.stdin.flush()
            (size,) = _LENGTH.unpack(self._receive(_LENGTH.size, deadline))
            if size > MAX_MESSAGE_BYTES:
                raise WorkerLost(f"it announced {size:,} bytes")
            return self._receive(size, deadline)
        except (OSError, ValueError):
            raise WorkerLost(self._end_of()) from None
        except WorkerLost:
            self.stop()
            raise

    def _receive(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        pipe, parts, left = self._process.stdout.fileno(), list[bytes](), size
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while left:
            wait_s = deadline - time.monotonic()
            if wait_s <= 0:
                raise WorkerLost("it did not answer in time")
            if poll.poll(wait_s * 1000):
                part = os.read(pipe, min(left, 1 << 20))
                if not part:
                    raise WorkerLost(self._end_of())
                parts.append(part)
                left -= len(part)
        return b"".join(parts)

    def _end_of(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.returncode
        if code == TOO_MUCH_MEMORY:
            return "it needed more memory than it may have"
        if code is None:
            return "it closed its output"
        return f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"

    def stop(self) -> None:
        """See `Worker`."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)


# ---- the process ----


def serve_pipes(answer: Callable[[bytes], bytes], source: BinaryIO, into: BinaryIO) -> None:
    """Answers questions until the input ends, or there is no one left to answer."""
    while len(head := source.read(_LENGTH.size)) == _LENGTH.size:
        raw = answer(source.read(_LENGTH.unpack(head)[0]))
        try:
            into.write(_LENGTH.pack(len(raw)) + raw)
            into.flush()
        except BrokenPipeError:
            return  # the process that asked was killed, and this one is about to be


def watch_memory(most_bytes: int) -> None:
    """
    Ends this process, from a thread, once it holds more than that.

    WHY NOT a resource limit: the engine reserves address space far beyond what it uses, and a process that meets such a
    limit fails at a place that cannot be foreseen.
    """
    page_bytes = os.sysconf("SC_PAGE_SIZE")

    def watch() -> None:
        while True:
            held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * page_bytes
            if held > most_bytes:
                os._exit(TOO_MUCH_MEMORY)
            time.sleep(_WATCH_S)

    threading.Thread(target=watch, name="memory", daemon=True).start()


def main(arguments: list[str] | None = None) -> None:
    """A worker process: questions on standard input, answers on standard output."""
    parser = argparse.ArgumentParser(prog="opml_dispute.compute.workers")
    parser.add_argument("folder", type=Path, help="the store of programs")
    parser.add_argument("--memory", type=int, help="bytes that this process may hold")
    options = parser.parse_args(arguments)
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return  # it died before it could be died with
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this one
    if options.memory is not None:
        watch_memory(options.memory)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not reach the answers
    budget_bytes = None if options.memory is None else options.memory // 4
    serve_pipes(CaseServer(ContentStore(options.folder), budget_bytes=budget_bytes).answer, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
