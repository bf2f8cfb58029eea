"""A process that does one thing is ended when its time is over, or when the agent ends."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from opml_dispute.agent.processes import run_process

ECHO = [sys.executable, "-c", "import sys, time; time.sleep(0.5); print(sys.stdin.read()[::-1], end='')"]
SLEEP = [sys.executable, "-c", "import time; print('x', flush=True); time.sleep(60)"]


def test_what_is_given_arrives_however_long_the_process_takes() -> None:
    result = run_process(ECHO, given="abc" * 100_000, timeout_s=30)
    assert (result.code, result.out) == (0, "cba" * 100_000)


def test_process_is_killed_when_its_time_is_over_or_the_agent_ends() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        run_process(SLEEP, timeout_s=0.3)
    ending = threading.Event()
    threading.Timer(0.3, ending.set).start()
    with pytest.raises(TimeoutError):
        run_process(SLEEP, timeout_s=60, ending=ending)
    assert time.monotonic() - begun < 20
    with pytest.raises(FileNotFoundError):
        run_process(["/nowhere/program"], timeout_s=1)
