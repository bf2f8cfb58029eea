"""A process that does one thing for the agent and is ended with it, or when its time is over."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_LOOK_S: Final = 0.2


@dataclass(frozen=True)
class ProcessResult:
    """What a process said, and how it ended."""

    code: int
    out: str
    err: str


def run_process(
    command: Sequence[str],
    *,
    given: str = "",
    environment: Mapping[str, str] | None = None,
    timeout_s: float,
    ending: threading.Event | None = None,
) -> ProcessResult:
    """
    Runs a command to its end with `given` on its standard input.

    It is killed when `ending` is set. Raises `TimeoutError` then and after `timeout_s`, `OSError` if it cannot start.
    """
    deadline = time.monotonic() + timeout_s
    with os.fdopen(os.memfd_create("given"), "w+b") as source:
        # WHY NOT a pipe: after a time-out `Popen.communicate` sends no more of what had no room in it.
        # WHY NOT a file on a disk: that may be full.
        source.write(given.encode())
        source.seek(0)
        with subprocess.Popen(
            command,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=None if environment is None else dict(environment),
        ) as process:
            try:
                while True:
                    try:
                        out, err = process.communicate(timeout=_LOOK_S)
                        return ProcessResult(process.returncode, out, err)
                    except subprocess.TimeoutExpired:
                        if time.monotonic() >= deadline or (ending is not None and ending.is_set()):
                            raise TimeoutError from None
            finally:
                process.kill()  # of one that has ended nothing happens
