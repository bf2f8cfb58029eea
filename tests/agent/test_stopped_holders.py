"""A process of the key that was stopped (SIGSTOP, Ctrl-Z) while it held a lock keeps no other one from playing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from opml_dispute.agent import lease as lease_module
from opml_dispute.chain import journal
from opml_dispute.devnet import anvil as devnet
from opml_dispute.home import home
from tests.agent.test_agent import Unattended, game_of, lie
from tests.conftest import Chain

HOLD = """
import os, sys, time
from pathlib import Path
from opml_dispute.chain.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
assert lock.take()
lock.write(str(os.getpid()))
print("held", flush=True)
time.sleep(600)
"""

NAME = f"{devnet.CHAIN_ID}-{devnet.account('challenger').address}.lock"


@pytest.fixture
def hold() -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    """Starts a process that holds a lock."""
    started: list[subprocess.Popen[bytes]] = []

    def start(path: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)


def test_an_agent_acts_in_the_place_of_one_that_was_stopped(
    chain: Chain,
    tmp_path: Path,
    hold: Callable[[Path], subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not at once, and only until that one goes on."""
    holder = hold(home() / "leases" / NAME)
    seat, _ = lie(chain, tmp_path, 3)
    found = Unattended(chain, tmp_path).start()
    assert found.passes() == 0
    stop(holder)
    assert found.passes() == 0, "it may go on soon"
    monkeypatch.setattr(lease_module, "STOPPED_S", 0.0)
    assert found.passes() == 1
    assert len(game_of(chain, seat).claims) == 2
    assert found.said().count("is stopped; this one acts in its place") == 1
    holder.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 30
    while found.agent.lease.take():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found.end()


def test_what_is_sent_waits_for_no_stopped_process_without_end(
    chain: Chain,
    tmp_path: Path,
    hold: Callable[[Path], subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It holds the lock under which nonces are chosen; it is waited for once, not for each transaction."""
    stop(hold(home() / "sending" / NAME))
    monkeypatch.setattr(journal, "LOCK_WAIT_S", 0.5)
    sender, oracle = chain.sender("challenger"), chain.system().oracle
    receipts: list[object] = []

    def send() -> None:
        receipts.extend(sender.send(oracle.commit(bytes([number]) * 32)) for number in (1, 2, 3))

    started = time.monotonic()
    thread = Thread(target=send, daemon=True)
    thread.start()
    thread.join(30)
    assert len(receipts) == 3
    assert time.monotonic() - started < 10
