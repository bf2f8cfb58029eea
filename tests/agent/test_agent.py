"""Whole games that an agent plays unattended, on a local chain."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.actors.player import play_round
from opml_dispute.agent import remote_cases
from opml_dispute.agent.agent import Agent
from opml_dispute.agent.config import AgentConfig
from opml_dispute.agent.exposition import serve
from opml_dispute.agent.lease import Lease
from opml_dispute.agent.log import make_log
from opml_dispute.agent.memory import Memory
from opml_dispute.agent.metrics import Metrics
from opml_dispute.agent.second_opinion import second_opinion
from opml_dispute.agent.waiting import LOOK_AGAIN_S
from opml_dispute.chain.rpc import Rpc
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.model.program_file import write_program
from opml_dispute.operator.case import Case, open_case
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.primitives import RequestId, StateRoot
from opml_dispute.trace.guest import guest_machine
from tests.conftest import TEST_TIMES, Chain

CHALLENGER = devnet.account("challenger").address


class Unattended:
    """An agent with one of the local chain's keys; what it logs is read back."""

    def __init__(self, chain: Chain, tmp_path: Path, *, role: str = "challenger", others: tuple[Rpc, ...] = ()) -> None:
        self.chain, self.tmp_path, self.role, self.others = chain, tmp_path, role, others
        self.config = AgentConfig(
            rpc_urls=(chain.anvil.url,),
            deployment=chain.deployment_file,
            roles=frozenset({"challenger", "resolver", "claimer"}),
            state=tmp_path / f"{role}.sqlite",
            second_opinion=False,
            workers=0,
        )
        self.stream = io.StringIO()
        self.agent: Agent

    def start(self, **changes: Any) -> Unattended:
        """A new process, as far as the chain can tell."""
        self.config = replace(self.config, **changes)
        system, account = self.chain.system(), devnet.account(self.role)
        self.agent = Agent(
            self.config,
            system,
            self.chain.sender(self.role),
            memory=Memory(self.config.state, system.deployment.chain_id),
            store=ModelStore(self.tmp_path / "models"),
            log=make_log(self.stream, as_json=True),
            metrics=Metrics(),
            lease=Lease(system.deployment.chain_id, account.address),
            others=self.others,
        )
        return self

    def end(self) -> None:
        self.agent.lease.give_back()
        self.agent.close()
        self.agent.memory.close()

    def passes(self) -> int:
        """Until one sends nothing; how many sent something."""
        count = 0
        while self.agent.run_pass():
            count += 1
            assert count < 200
        return count

    def said(self) -> str:
        return self.stream.getvalue()


@pytest.fixture
def unattended(chain: Chain, tmp_path: Path) -> Iterator[Unattended]:
    found = Unattended(chain, tmp_path).start()
    yield found
    found.end()


def lie(chain: Chain, tmp_path: Path, seed: int) -> tuple[Seat, Case]:
    """A liar's seat at a game that it just opened."""
    system, store = chain.system(), ModelStore(tmp_path / "models")
    request_id = ask_sample(system, chain.sender("requester"), seed, store)
    case = open_case(system, request_id, store=store)
    faulty = case.liar().find(seed)
    sender = chain.sender("proposer")
    done = perform(proposal_intent(system, request_id, faulty.root_claim, case.program.node_count), sender)
    assert done.receipt is not None
    address = system.factory.created_game(done.receipt)
    table = Table(system, address, faulty.trace(guest_machine()))
    return Seat(table, one_by_one(lambda intent: perform(intent, sender))), case


def game_of(chain: Chain, seat: Seat) -> Game:
    return chain.system().games.read(seat.table.address)


def test_agent_wins_several_games_at_once_and_gets_its_bonds_back(
    chain: Chain, tmp_path: Path, unattended: Unattended
) -> None:
    """Two liars; the agent's process is replaced, memory and all, after each of its passes."""
    before_wei = chain.rpc.balance_wei(CHALLENGER)
    liars = [lie(chain, tmp_path, seed)[0] for seed in (3, 4)]
    for turn in range(200):
        busy = unattended.agent.run_pass()
        unattended.end()
        if turn % 3 == 0:
            unattended.config.state.unlink()
        unattended.start()
        rounds = [play_round(seat, seat.table.trace) for seat in liars]
        if not busy and not any(round_.done for round_ in rounds):
            break
    for seat in liars:
        game = game_of(chain, seat)
        assert len(game.claims) == game.depths.max + 1, "no move is missing, none was made twice"
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1, TEST_TIMES.withdrawal_delay_s):
        chain.warp(delay_s)
        assert unattended.passes() > 0
    assert all(game_of(chain, seat).status == GameStatus.CHALLENGER_WINS for seat in liars)
    assert chain.rpc.balance_wei(CHALLENGER) > before_wei
    assert not unattended.agent.memory.ended_games([CHALLENGER], older_than_s=0), "one look may have been a lie"
    chain.warp(LOOK_AGAIN_S)
    assert unattended.passes() == 0
    assert unattended.agent.memory.ended_games([CHALLENGER], older_than_s=0) == {seat.table.address for seat in liars}
    assert '"trouble"' not in unattended.said()


def test_agent_answers_requests_and_delivers(chain: Chain, tmp_path: Path) -> None:
    system, store = chain.system(), ModelStore(tmp_path / "models")
    request_id = ask_sample(system, chain.sender("requester"), 5, store)
    found = Unattended(chain, tmp_path, role="proposer")
    found.start(roles=frozenset({"proposer", "resolver", "claimer", "finalizer"}), second_opinion=True)
    found.passes()
    case = open_case(system, request_id, store=store)
    (game,) = found.agent.discovery.addresses
    assert system.games.read(game).root.value == bytes(case.final_root)
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1, TEST_TIMES.withdrawal_delay_s):
        chain.warp(delay_s)
        found.passes()
    assert system.rpc.read(system.oracle.request_of(request_id)).delivered_by == game
    assert len(found.agent.discovery.games) == 1, "a request is answered once"
    found.end()


def test_right_proposal_of_a_stranger_is_left_alone(chain: Chain, tmp_path: Path, unattended: Unattended) -> None:
    system, store = chain.system(), ModelStore(tmp_path / "models")
    request_id = ask_sample(system, chain.sender("requester"), 6, store)
    case = open_case(system, request_id, store=store)
    perform(proposal_intent(system, request_id, case.final_root, case.program.node_count), chain.sender("proposer"))
    assert unattended.passes() == 0
    assert len(system.games.read(unattended.agent.discovery.addresses[0]).claims) == 1


def test_game_above_the_limits_is_not_entered_and_the_reason_told(
    chain: Chain, tmp_path: Path, unattended: Unattended
) -> None:
    unattended.end()
    unattended.start(max_per_game_wei=10**15)
    seat, _ = lie(chain, tmp_path, 3)
    assert unattended.passes() == 0
    assert len(game_of(chain, seat).claims) == 1
    assert "it is not entered" in unattended.said()


def test_agent_watches_while_endpoints_disagree(chain: Chain, tmp_path: Path, bare_anvil: devnet.Anvil) -> None:
    """And says so once, not at every pass."""
    while bare_anvil.rpc.head().number < chain.rpc.head().number + 40:
        bare_anvil.rpc.request("anvil_mine", "0x40")
    found = Unattended(chain, tmp_path, others=(bare_anvil.rpc,)).start()
    seat, _ = lie(chain, tmp_path, 3)
    assert found.passes() == 0
    found.passes()
    assert len(game_of(chain, seat).claims) == 1
    assert found.said().count("has another block") == 1
    assert "would send" in found.said()
    found.end()


def test_second_agent_with_the_same_key_takes_over_when_the_first_is_gone(
    chain: Chain, tmp_path: Path, unattended: Unattended
) -> None:
    seat, _ = lie(chain, tmp_path, 3)
    unattended.agent.lease.take()
    second = Unattended(chain, tmp_path).start(state=tmp_path / "second.sqlite")
    assert second.passes() == 0
    assert "has the lease" in second.said()
    unattended.agent.lease.give_back()
    assert second.passes() == 1
    assert len(game_of(chain, seat).claims) == 2
    second.end()


def test_computer_that_computes_wrongly_stakes_nothing(
    chain: Chain, tmp_path: Path, unattended: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_cases, "second_opinion", lambda program, image, items, *, ending: StateRoot(bytes(32)))
    unattended.end()
    unattended.start(second_opinion=True)
    seat, _ = lie(chain, tmp_path, 3)
    assert unattended.passes() == 0
    assert len(game_of(chain, seat).claims) == 1
    assert "another" in unattended.said()


def test_second_opinion_is_computed_by_another_process(chain: Chain, tmp_path: Path) -> None:
    _, case = lie(chain, tmp_path, 3)
    write_program(case.program, tmp_path / "program")
    assert second_opinion(tmp_path / "program", case.image) == case.final_root


def test_request_whose_model_is_not_here_stops_nothing_else(
    chain: Chain, tmp_path: Path, unattended: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = lie(chain, tmp_path, 3)
    second, _ = lie(chain, tmp_path, 4)
    hidden = first.table.system.games.read(first.table.address).request_id
    real = unattended.agent.cases._fetcher.request

    def of(request_id: RequestId, *, ahead: bool = False) -> Any:
        if request_id == hidden:
            raise OpmlError("the file of the model is not on this computer")
        return real(request_id, ahead=ahead)

    monkeypatch.setattr(unattended.agent.cases._fetcher, "request", of)
    assert unattended.passes() == 1
    assert len(game_of(chain, first).claims) == 1
    assert len(game_of(chain, second).claims) == 2
    assert "cannot be computed here" in unattended.said()


def test_metrics_say_what_the_agent_does(chain: Chain, tmp_path: Path, unattended: Unattended) -> None:
    lie(chain, tmp_path, 3)
    server = serve(unattended.agent.metrics, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.server_port}"
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"{url}/readyz", timeout=10)
    unattended.passes()
    text = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    assert 'opml_agent_transactions_total{kind="attack"} 1.0' in text
    assert "opml_agent_games_disagree 1.0" in text
    assert 'opml_agent_tracked_games{status="in_progress"} 1.0' in text
    for path in ("healthz", "readyz"):
        assert urllib.request.urlopen(f"{url}/{path}", timeout=10).status == 200
    server.shutdown()
    server.server_close()


@pytest.fixture
def config_file(chain: Chain, tmp_path: Path) -> Path:
    key = tmp_path / "challenger.key"
    key.touch(mode=0o600)
    key.write_text(devnet.key_hex(devnet.ROLES.index("challenger")))
    path = tmp_path / "agent.toml"
    path.write_text(
        f'[chain]\nrpc = "{chain.anvil.url}"\ndeployment = "{chain.deployment_file}"\n[key]\nfile = "challenger.key"\n'
        '[agent]\nroles = ["challenger", "resolver", "claimer"]\ninterval = 0.2\nsecond_opinion = false\n'
    )
    return path


def command(*arguments: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "opml_dispute", "agent", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def test_check_says_what_would_be_done_and_sends_nothing(chain: Chain, tmp_path: Path, config_file: Path) -> None:
    seat, _ = lie(chain, tmp_path, 3)
    process = command("check", "--config", config_file, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["games"] == 1
    assert "would send" in err
    assert len(game_of(chain, seat).claims) == 1


@pytest.mark.slow
def test_process_killed_again_and_again_plays_on_and_ends_when_told(
    chain: Chain, tmp_path: Path, config_file: Path
) -> None:
    """SIGKILL at random moments; then SIGTERM, after which it is gone within seconds."""
    seat, _ = lie(chain, tmp_path, 3)
    process = command("run", "--config", config_file)
    deadline = time.monotonic() + 240
    lives = 0
    while time.monotonic() < deadline:
        round_ = play_round(seat, seat.table.trace)
        game = game_of(chain, seat)
        if len(game.claims) == game.depths.max + 1 and game.claims[-1].countered_by is not None:
            break
        if round_.done and lives < 6:
            time.sleep(0.4 * (lives % 3))
            process.kill()
            process.communicate()
            process = command("run", "--config", config_file)
            lives += 1
        time.sleep(0.1)
    else:
        pytest.fail(f"the agent did not finish the game: {len(game_of(chain, seat).claims)} claims")
    assert lives == 6
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert process.returncode in {0, 130}
    assert '"stopped"' in err or process.returncode == 130
