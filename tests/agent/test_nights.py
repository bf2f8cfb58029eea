"""What an agent lives through while its operator sleeps: mistakes in files, a node that starts, a full disk, a bug."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opml_dispute.agent import playing
from opml_dispute.agent.agent import Agent
from opml_dispute.agent.config import AgentConfig
from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.agent.log import make_log
from opml_dispute.agent.memory import Memory, MemoryUnusable
from opml_dispute.agent.metrics import Metrics
from opml_dispute.agent.unexpected import Unexpected
from opml_dispute.chain.deployment import BadDeployment
from opml_dispute.chain.rpc import NoCode, UnexpectedAnswer, WrongChain
from opml_dispute.cli import agent as cli_agent
from opml_dispute.devnet import anvil as devnet
from opml_dispute.errors import OpmlError
from opml_dispute.operator.intents import Done
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.primitives import Address, RequestId, StateRoot
from opml_dispute.testing.fault_proxy import FaultProxy
from tests.agent.test_agent import Unattended, game_of, lie
from tests.conftest import Chain

REQUEST, ROOT = RequestId(b"\x01" * 32), StateRoot(b"\x02" * 32)
GAME = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")


class Process:
    """`opml-dispute agent run`, with what it logs."""

    def __init__(self, chain: Chain, folder: Path, url: str) -> None:
        key = folder / "challenger.key"
        key.touch(mode=0o600)
        key.write_text(devnet.key_hex(devnet.ROLES.index("challenger")))
        self.config, self.log = folder / "agent.toml", folder / "log"
        self.config.write_text(
            f'[chain]\nrpc = "{url}"\ndeployment = "{chain.deployment_file}"\n[key]\nfile = "{key.name}"\n'
            '[agent]\nroles = ["challenger"]\ninterval = 0.3\nsecond_opinion = false\npreflight = false\n'
        )
        self.good = self.config.read_text()
        command = [sys.executable, "-m", "opml_dispute", "agent", "run", "--config", str(self.config)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def await_(self, what: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def said(self, event: str) -> int:
        return sum(line["event"] == event for line in self.lines())

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()


@pytest.fixture
def start() -> Iterator[Callable[[Chain, Path, str], Process]]:
    """Starts processes, and ends what is left of them."""
    found: list[Process] = []

    def begin(chain: Chain, folder: Path, url: str) -> Process:
        found.append(Process(chain, folder, url))
        return found[-1]

    yield begin
    for one in found:
        one.process.kill()
        one.process.wait()


@pytest.mark.slow
def test_configuration_with_a_mistake_in_it_is_not_taken_and_stops_nothing(
    chain: Chain, tmp_path: Path, start: Callable[[Chain, Path, str], Process]
) -> None:
    """Reloaded with a typing error, then with a key file that is not there, then well: the same process plays on."""
    seat, _ = lie(chain, tmp_path, 3)
    agent = start(chain, tmp_path, chain.anvil.url)
    agent.await_(lambda: len(game_of(chain, seat).claims) == 2)
    for count, text in enumerate(
        (agent.good + "typo = 1\n", agent.good + "[", agent.good.replace("challenger.key", "other.key")), start=1
    ):
        agent.config.write_text(text)
        agent.process.send_signal(signal.SIGHUP)
        agent.await_(lambda count=count: agent.said("the configuration is kept as it was") == count)  # type: ignore[misc]
    agent.config.write_text(agent.good)
    agent.process.send_signal(signal.SIGHUP)
    agent.await_(lambda: agent.said("reading the configuration again") == 4)
    another, _ = lie(chain, tmp_path, 4)
    agent.await_(lambda: len(game_of(chain, another).claims) == 2)
    assert agent.said("the configuration is kept as it was") == 3
    assert agent.end() in {0, 130}


@pytest.mark.slow
def test_agent_may_be_started_before_its_node(
    chain: Chain, tmp_path: Path, start: Callable[[Chain, Path, str], Process]
) -> None:
    """And says once what it waits for."""
    seat, _ = lie(chain, tmp_path, 3)
    port = devnet.free_port()
    agent = start(chain, tmp_path, f"http://127.0.0.1:{port}")
    agent.await_(lambda: agent.said("trouble") == 1)
    time.sleep(2)
    with FaultProxy(chain.anvil.url, port=port):
        agent.await_(lambda: len(game_of(chain, seat).claims) == 2)
        assert sum("nothing listens" in line.get("what", "") for line in agent.lines()) == 1
        started = time.monotonic()
        assert agent.end() in {0, 130}
        assert time.monotonic() - started < 15


def test_agent_that_waits_for_its_node_ends_when_told(
    chain: Chain, tmp_path: Path, start: Callable[[Chain, Path, str], Process]
) -> None:
    agent = start(chain, tmp_path, f"http://127.0.0.1:{devnet.free_port()}")
    agent.await_(lambda: agent.said("trouble") == 1)
    started = time.monotonic()
    assert agent.end() == 0
    assert time.monotonic() - started < 10
    assert agent.said("stopped") == 1


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (NoCode("0x0", "the factory"), False),
        (WrongChain("http://x", 1, 31337), False),
        (BadDeployment("cannot read the deployment x.json"), True),
    ],
)
def test_what_its_node_says_of_the_deployment_is_doubted_for_a_while(
    monkeypatch: pytest.MonkeyPatch, error: OpmlError, ends: bool
) -> None:
    """A node that was started with an empty state has no contracts yet."""
    opened: list[int] = []
    now_s = 0.0

    def fail(*_: Any, **__: Any) -> Agent:
        opened.append(1)
        if len(opened) < 30:
            raise error
        raise NoAnswerNeeded

    class Waits(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now_s
            now_s += timeout or 0
            return False

    signals = SimpleNamespace(stop=Waits())
    monkeypatch.setattr(cli_agent, "_open", fail)
    monkeypatch.setattr(time, "monotonic", lambda: now_s)

    def open_it(doubt_s: float) -> None:
        log: Any = make_log(io.StringIO(), as_json=True)
        config = AgentConfig(rpc_urls=("http://x",), deployment=Path("x.json"), roles=frozenset({"challenger"}))
        cli_agent._open_patiently(
            config, log, Metrics(), cast(Any, signals), dry_run=False, patient=True, doubt_s=doubt_s
        )

    with pytest.raises(type(error)):
        open_it(90.0)
    assert ends == (now_s == 0)
    assert ends or now_s > 90
    opened.clear()
    with pytest.raises(type(error) if ends else NoAnswerNeeded):
        open_it(float("inf"))


class NoAnswerNeeded(Exception):
    """The thirtieth try."""


@pytest.fixture
def unattended(chain: Chain, tmp_path: Path) -> Iterator[Unattended]:
    found = Unattended(chain, tmp_path).start()
    yield found
    found.end()


def test_bug_in_a_pass_does_not_end_the_process(unattended: Unattended, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged with its traceback, and the next pass goes on."""
    stop, real, count = threading.Event(), playing.GamePlayer.play, 0

    def play(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == 1:
            raise KeyError("a bug")
        real(*arguments)
        stop.set()

    monkeypatch.setattr(playing.GamePlayer, "play", play)
    unattended.agent.run(stop, pause=lambda seconds: None)
    assert count == 2
    assert "KeyError" in unattended.said()
    assert "test_nights.py" in unattended.said(), "with its traceback"


def test_latest_block_that_is_old_is_told_once_and_nothing_else_stops(
    unattended: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one node there is no other to compare it with: only this computer's clock can tell."""
    unattended.agent.run_pass()
    assert "The latest block" not in unattended.said()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * 365 * 86_400)
    for _ in range(3):
        unattended.agent.run_pass()
    assert unattended.said().count("does not follow the chain") == 1
    assert unattended.agent.metrics.may_act


def test_bug_in_judging_one_game_stops_no_other(
    chain: Chain, tmp_path: Path, unattended: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = lie(chain, tmp_path, 3)[0], lie(chain, tmp_path, 4)[0]
    real = unattended.agent.cases.judge

    def judge(game: Any, *arguments: Any) -> Any:
        if game.address == first.table.address:
            raise IndexError("a bug")
        return real(game, *arguments)

    monkeypatch.setattr(unattended.agent.cases, "judge", judge)
    unattended.passes()
    assert [len(game_of(chain, seat).claims) for seat in (first, second)] == [1, 2]
    assert "IndexError at test_nights.py" in unattended.said()


def test_workers_run_little_ahead_of_what_is_taken(chain: Chain, tmp_path: Path) -> None:
    """So that what they opened is open still when it is used; and results come in order, errors in their place."""
    cases = LocalCases(chain.system(), ModelStore(tmp_path / "models"), workers=2)
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ZeroDivisionError("a bug")
        return number

    results = cases.stream(work, [(number,) for number in range(50)])
    assert next(results) == 0
    assert len(begun) <= 5
    left = list(results)
    assert isinstance(left.pop(2), Unexpected)
    assert left == [1, 2, *range(4, 50)]
    cases.close()


def test_receipt_that_says_something_else_stops_nothing(
    chain: Chain, tmp_path: Path, unattended: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    seats = [lie(chain, tmp_path, seed)[0] for seed in (3, 4)]

    def contradict(done: Done) -> str:
        raise UnexpectedAnswer("the node's receipt has 0 events ClaimAdded; expected one")

    monkeypatch.setattr(Done, "sentence", property(contradict))
    assert unattended.agent.run_pass()
    assert [len(chain.system().games.read(seat.table.address).claims) for seat in seats] == [2, 2]
    assert unattended.said().count("the node's receipt has 0 events") >= 2


def test_full_disk_stops_no_game(tmp_path: Path) -> None:
    """What cannot be written is kept by the process, and told."""
    memory = Memory(tmp_path / "state", 31337)
    memory.close()  # as good as a disk that takes nothing
    memory.keep_root(REQUEST, b"\x03" * 32, ROOT, 0)
    memory.confirm_root(REQUEST)
    memory.end_game(GAME, [GAME])
    memory.note_sent("attack", GAME, 1, None, None)
    assert memory.root(REQUEST) == (ROOT, 0, True)
    assert memory.ended_games([GAME], older_than_s=0) == set()
    assert memory.trouble is not None


_ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from opml_dispute.agent.memory import Memory
from opml_dispute.primitives import RequestId, StateRoot
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
memory = Memory(Path(sys.argv[1]), 31337)
memory.keep_root(RequestId(bytes(32)), bytes(32), StateRoot(bytes(32)), 0)
print(memory.root(RequestId(bytes(32))) is not None, memory.trouble)
"""


@pytest.mark.parametrize("is_new", [True, False])
def test_an_agent_starts_on_a_full_disk(tmp_path: Path, is_new: bool) -> None:
    """One that did not start would defend no game, not even once there is space again."""
    if not is_new:
        Memory(tmp_path / "state", 31337).close()
    command = [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"True {tmp_path / 'state'} cannot be"), done.stderr


def test_memory_that_is_locked_is_not_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is whole: another process has it."""
    first = Memory(tmp_path / "state", 31337)
    first.keep_root(REQUEST, b"\x03" * 32, ROOT, 0)
    first.close()
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **named: real(path, **(named | {"timeout": 0.05})))
    other = real(tmp_path / "state", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("DELETE FROM sent")
    with pytest.raises(MemoryUnusable, match="locked"):
        Memory(tmp_path / "state", 31337)
    other.close()
    assert not list(tmp_path.glob("*.aside"))
    assert Memory(tmp_path / "state", 31337).root(REQUEST) == (ROOT, 0, False)
