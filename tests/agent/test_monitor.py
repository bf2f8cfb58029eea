"""The monitor sees trouble before it costs, and nothing where there is none."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.agent.local_cases import LocalCases
from opml_dispute.agent.monitor import KINDS, Monitor
from opml_dispute.agent.monitor_metrics import MonitorMetrics
from opml_dispute.chain.contracts.dispute import DelayedWETH, FaultDisputeGame, Withdrawal
from opml_dispute.chain.contracts.governance import GuardedOracle
from opml_dispute.chain.contracts.oracle import ProposerBonds, RequestTerms
from opml_dispute.chain.rpc import NoCode, Rpc
from opml_dispute.cli import execute
from opml_dispute.cli import monitor as cli_monitor
from opml_dispute.devnet import anvil as devnet
from opml_dispute.devnet.anvil import Anvil
from opml_dispute.devnet.campaign import ask_sample
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.case import open_case
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import perform
from opml_dispute.operator.model_store import ModelStore
from opml_dispute.operator.play import Seat
from tests.agent.test_agent import Unattended, lie
from tests.conftest import TEST_TIMES, Chain


@pytest.fixture
def cases(chain: Chain, tmp_path: Path) -> Iterator[LocalCases]:
    found = LocalCases(chain.system(), ModelStore(tmp_path / "models"), workers=1)
    yield found
    found.close()


def kinds(monitor: Monitor) -> list[str]:
    return [alert.kind for alert in monitor.look().alerts]


def test_deployment_without_trouble_has_no_alerts(chain: Chain, cases: LocalCases) -> None:
    assert kinds(Monitor(chain.system(), cases)) == []


def test_unanswered_wrong_claim_is_told_with_the_time_left(chain: Chain, cases: LocalCases, tmp_path: Path) -> None:
    """Until it is answered; then the forecast is right."""
    seat, _ = lie(chain, tmp_path, 3)
    monitor = Monitor(chain.system(), cases, warn_before_s=600)
    report = monitor.look()
    assert [alert.kind for alert in report.alerts] == ["wrong_result_stands"]
    assert report.alerts[0].game == seat.table.address
    assert TEST_TIMES.max_clock_s - 60 < (report.alerts[0].seconds_left or 0) <= TEST_TIMES.max_clock_s
    (standing,) = report.standings
    assert (standing.forecast, standing.right) == (GameStatus.DEFENDER_WINS, GameStatus.CHALLENGER_WINS)
    chain.warp(TEST_TIMES.max_clock_s - 500)
    assert kinds(monitor) == ["wrong_result_stands", "clock_running_out"]
    agent = Unattended(chain, tmp_path).start()
    agent.passes()
    assert kinds(monitor) == []
    agent.end()


def test_request_that_cannot_be_computed_is_told_and_not_guessed(
    chain: Chain, cases: LocalCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie(chain, tmp_path, 3)

    def fails(_: Any) -> Any:
        from opml_dispute.errors import OpmlError

        raise OpmlError("no file")

    monkeypatch.setattr(cases, "final_root", fails)
    report = Monitor(chain.system(), cases).look()
    assert [alert.kind for alert in report.alerts] == ["not_computed"]
    assert report.standings[0].right is None


def test_nodes_that_disagree_or_are_silent_are_told(chain: Chain, cases: LocalCases, bare_anvil: Anvil) -> None:
    while bare_anvil.rpc.head().number < chain.rpc.head().number + 40:
        bare_anvil.rpc.request("anvil_mine", "0x40")
    silent = Rpc("http://127.0.0.1:9", patience_s=0.1)
    assert kinds(Monitor(chain.system(), cases, others=[bare_anvil.rpc, silent], max_lag_blocks=10**6)) == [
        "endpoints_disagree",
        "endpoint_silent",
    ]


def test_vault_that_holds_too_little_is_told(chain: Chain, cases: LocalCases, tmp_path: Path) -> None:
    seat, _ = lie(chain, tmp_path, 3)
    assert "collateral_short" not in kinds(Monitor(chain.system(), cases))
    chain.rpc.request("anvil_setBalance", seat.table.address, "0x0")
    assert "collateral_short" in kinds(Monitor(chain.system(), cases))


def test_honest_account_whose_claim_is_about_to_fall_is_told(chain: Chain, cases: LocalCases, tmp_path: Path) -> None:
    """The liar's own account stands in for an honest one: its root claim is attacked, and falls with the clock."""
    seat, _ = lie(chain, tmp_path, 3)
    account = devnet.account("proposer").address
    monitor = Monitor(chain.system(), cases, honest=[account])
    report = monitor.look()
    bond_wei = report.standings[0].game.root.bond_wei
    assert report.count("honest_bond_falls") == 0
    assert report.honest[account].pending_wei == bond_wei
    agent = Unattended(chain, tmp_path).start()
    agent.passes()
    (alert,) = [alert for alert in monitor.look().alerts if alert.kind == "honest_bond_falls"]
    assert alert.game == seat.table.address
    assert 0 < (alert.seconds_left or 0) <= TEST_TIMES.max_clock_s
    chain.warp(TEST_TIMES.max_clock_s)
    agent.passes()
    report = monitor.look()
    assert [alert.kind for alert in report.alerts] == ["honest_bond_lost"]
    assert (report.honest[account].pending_wei, report.honest[account].lost_wei) == (0, bond_wei)
    challenger = Monitor(chain.system(), cases, honest=[agent.agent.sender.address]).look().honest
    assert 0 < challenger[agent.agent.sender.address].won_wei < bond_wei, "less what is forfeited"
    agent.end()


def test_another_owner_or_implementation_is_told_at_the_first_look(chain: Chain, cases: LocalCases) -> None:
    """Also by `--once`, which has no earlier look: the deployment's file says who it should be."""
    system = chain.system()
    named = system.deployment.addresses
    other = devnet.account("requester").address
    for role, changed in (
        ("owner_changed", {"guardian": other}),
        ("owner_changed", {"addresses": named | {"timelock": other}}),
        ("implementation_changed", {"addresses": named | {"game": other}}),
    ):
        deployment = replace(system.deployment, **changed)
        assert set(kinds(Monitor(replace(system, deployment=deployment), cases))) == {role}


def test_pause_is_told(chain: Chain, cases: LocalCases) -> None:
    """A pause by the guardian is an alert."""
    oracle = GuardedOracle(chain.system().oracle.address)
    chain.sender("deployer").send(oracle.set_paused(paused=True))
    report = Monitor(chain.system(), cases).look()
    assert [alert.kind for alert in report.alerts] == ["paused"]
    assert report.is_paused


def test_lagging_node_is_told_and_not_taken_for_another_chain(
    chain: Chain, cases: LocalCases, bare_anvil: Anvil
) -> None:
    """A node of the same chain that stands at block 0."""
    chain.rpc.request("anvil_mine", "0x40")
    assert kinds(Monitor(chain.system(), cases, others=[bare_anvil.rpc], max_lag_blocks=5)) == ["endpoint_lags"]


def test_unmoved_games_are_not_read_again(chain: Chain, cases: LocalCases, tmp_path: Path) -> None:
    """One is read when its claims change; the right ones that stand still cost nothing."""
    system, store = chain.system(), ModelStore(tmp_path / "models")
    for seed in (3, 4, 5):
        request_id = ask_sample(system, chain.sender("requester"), seed, store)
        case = open_case(system, request_id, store=store)
        perform(proposal_intent(system, request_id, case.final_root, case.program.node_count), chain.sender("proposer"))
    monitor = Monitor(system, cases)
    monitor.look()
    assert monitor.game_cache.reads == 3
    chain.rpc.request("anvil_mine", "0x40")  # beyond the overlap of the searches
    monitor.look()
    before = monitor.game_cache.reads
    monitor.look()
    assert monitor.game_cache.reads == before
    lie(chain, tmp_path, 6)
    monitor.look()
    assert monitor.game_cache.reads == before + 1


def test_credit_that_is_not_what_the_claims_award_is_told(
    chain: Chain, cases: LocalCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a game that owes less, and by a vault that unlocked another amount."""
    lie(chain, tmp_path, 3)
    agent = Unattended(chain, tmp_path).start()
    agent.passes()
    for delay_s in (TEST_TIMES.max_clock_s, TEST_TIMES.finality_delay_s + 1):
        chain.warp(delay_s)
        agent.passes()
    agent.end()
    monitor = Monitor(chain.system(), cases)
    assert "credit_wrong" not in kinds(monitor)
    credit, withdrawal = FaultDisputeGame.credit_wei, DelayedWETH.withdrawal
    lies: dict[tuple[type, str], Any] = {
        (FaultDisputeGame, "credit_wei"): lambda *asked: replace(credit(*asked), parse=lambda wei: max(0, wei - 1)),
        (DelayedWETH, "withdrawal"): lambda *asked: replace(withdrawal(*asked), parse=lambda _: Withdrawal(1, 1)),
    }
    for (where, name), lying in lies.items():
        with monkeypatch.context() as patched:
            patched.setattr(where, name, lying)
            (told,) = [alert for alert in monitor.look().alerts if alert.kind == "credit_wrong"]
            assert "its claims award" in told.what


def test_demanded_bonds_are_audited(chain: Chain, cases: LocalCases, tmp_path: Path) -> None:
    """What is locked and deposited beside what the contract holds; from the proposal until the release."""
    bond_wei, left_wei, system = 2 * 10**18, 10**17, chain.system()
    proposer, store = chain.sender("proposer"), ModelStore(tmp_path / "models")
    monitor, metrics = Monitor(system, cases), MonitorMetrics()

    def seen() -> dict[str, float]:
        metrics.show(monitor.look(), 0.1)
        value = metrics.registry.get_sample_value
        states = ("locked", "unreleased", "deposited", "held", "short")
        return {state: value("opml_monitor_demanded_bonds", {"state": state}) or 0 for state in states}

    assert set(seen().values()) == {0}
    proposer.send(system.proposer_bonds.deposit(), value_wei=bond_wei + left_wei)
    terms = RequestTerms(min_bond_wei=bond_wei)
    request_id = ask_sample(system, chain.sender("requester"), 3, store, terms=terms)
    case = open_case(system, request_id, store=store)
    perform(proposal_intent(system, request_id, case.final_root, case.node_count), proposer)
    well = {"locked": 2.0, "unreleased": 0.0, "deposited": 0.1, "held": 2.1, "short": 0.0}
    assert seen() == well
    assert kinds(monitor) == []
    contract = system.proposer_bonds.address
    chain.rpc.request("anvil_setBalance", contract, hex(bond_wei))
    assert kinds(monitor) == ["collateral_short"]
    assert seen()["short"] == pytest.approx(0.1)
    chain.rpc.request("anvil_setBalance", contract, hex(bond_wei + left_wei))
    assert seen() == well
    chain.warp(TEST_TIMES.max_clock_s)
    agent = Unattended(chain, tmp_path, role="proposer").start(roles=frozenset({"resolver", "claimer"}))
    agent.passes()
    assert seen() == well | {"locked": 0.0, "unreleased": 2.0}
    chain.warp(TEST_TIMES.finality_delay_s + 1)
    agent.passes()
    assert seen() == well | {"locked": 0.0, "held": 0.1}
    agent.end()


def test_demanded_bond_that_is_not_locked_is_told(
    chain: Chain, cases: LocalCases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No contract of this release lets that happen, so the answer about the bond is changed."""
    system, store = chain.system(), ModelStore(tmp_path / "models")
    chain.sender("proposer").send(system.proposer_bonds.deposit(), value_wei=10**18)
    terms = RequestTerms(min_bond_wei=10**18)
    request_id = ask_sample(system, chain.sender("requester"), 3, store, terms=terms)
    case = open_case(system, request_id, store=store)
    perform(proposal_intent(system, request_id, case.final_root, case.node_count), chain.sender("proposer"))
    monitor = Monitor(system, cases)
    assert kinds(monitor) == []
    bond = ProposerBonds.bond_wei
    monkeypatch.setattr(ProposerBonds, "bond_wei", lambda *asked: replace(bond(*asked), parse=lambda wei: wei // 2))
    (told,) = monitor.look().alerts
    assert told.kind == "demanded_bond_missing"
    assert "has locked 0.5 ETH, and its request demands 1 ETH" in told.what
    assert told.game is not None


def test_metrics_show_what_a_look_found(chain: Chain, cases: LocalCases, tmp_path: Path) -> None:
    account = devnet.account("proposer").address
    monitor, metrics = Monitor(chain.system(), cases, honest=[account]), MonitorMetrics()
    assert metrics.readiness() is not None
    metrics.show(monitor.look(), 0.1)
    assert metrics.readiness() is None
    seat, _ = lie(chain, tmp_path, 3)
    metrics.show(monitor.look(), 0.1)
    value = metrics.registry.get_sample_value
    labels = {"completion": "in_progress", "root_agreement": "disagree"}
    ahead = labels | {"status": "disagree_defender_ahead", "result_correctness": "incorrect"}
    assert value("opml_monitor_games_agreement", ahead) == 1
    assert value("opml_monitor_alerts", {"kind": "wrong_result_stands"}) == 1
    assert 0 < (value("opml_monitor_wrong_result_seconds_left") or 0) <= TEST_TIMES.max_clock_s
    assert value("opml_monitor_honest_actor_claims", {"honest_actor_address": account, "state": "pending"}) == 1
    vault = {"delayedWETH": chain.system().deployment.addresses["weth"], "balance": "sufficient"}
    assert value("opml_monitor_bond_collateral_required", vault) == value(
        "opml_monitor_honest_actor_bonds", {"honest_actor_address": account, "state": "pending"}
    )
    agent = Unattended(chain, tmp_path).start()
    agent.passes()
    metrics.show(monitor.look(), 0.1)
    assert value("opml_monitor_games_agreement", ahead) == 0, "what is gone is zero, not what it was"
    good = labels | {"status": "disagree_challenger_ahead", "result_correctness": "correct"}
    assert value("opml_monitor_games_agreement", good) == 1
    assert value("opml_monitor_wrong_result_seconds_left") == float("inf")
    chain.warp(TEST_TIMES.max_clock_s)
    agent.passes()
    metrics.show(monitor.look(), 0.1)
    done = {"status": "disagree_challenger_wins", "completion": "complete"}
    assert value("opml_monitor_games_agreement", labels | done | {"result_correctness": "correct"}) == 1
    assert value("opml_monitor_latest_proposal", {"root_agreement": "disagree"}) == report_time(chain, seat)
    assert value("opml_monitor_credits", {"credit": "expected", "withdrawable": "non_withdrawable"}) == 1
    chain.warp(TEST_TIMES.finality_delay_s + 1)
    agent.passes()  # unlocks
    metrics.show(monitor.look(), 0.1)
    unlocked = {"delayedWETH": vault["delayedWETH"], "credits": "matching"}
    assert value("opml_monitor_withdrawal_requests", unlocked) == 1
    required, available = (
        value(f"opml_monitor_bond_collateral_{what}", vault) or 0 for what in ("required", "available")
    )
    assert 0 < required <= available
    chain.warp(TEST_TIMES.withdrawal_delay_s + 1)
    metrics.show(monitor.look(), 0.1)
    assert value("opml_monitor_credits", {"credit": "expected", "withdrawable": "withdrawable"}) == 1
    agent.passes()  # withdraws
    metrics.show(monitor.look(), 0.1)
    assert value("opml_monitor_credits", {"credit": "expected", "withdrawable": "withdrawable"}) == 0
    assert value("opml_monitor_withdrawal_requests", unlocked) == 0
    assert value("opml_monitor_alerts", {"kind": "credit_wrong"}) == 0
    metrics.failed("the node is gone")
    assert metrics.readiness() == "the node is gone"
    agent.end()


def report_time(chain: Chain, seat: Seat) -> int:
    return chain.system().games.read(seat.table.address).created_at_s


def test_command_serves_metrics_and_ends_when_told(chain: Chain, tmp_path: Path) -> None:
    lie(chain, tmp_path, 3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--rpc-url", chain.anvil.url, "--deployment", str(chain.deployment_file), "--interval", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "opml_dispute", "monitor", "--listen", where, "--no-compute", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            assert urllib.request.urlopen(f"http://{where}/readyz", timeout=10).status == 200
            break
        except OSError:
            continue
    text = urllib.request.urlopen(f"http://{where}/metrics", timeout=10).read().decode()
    assert "opml_monitor_up 1.0" in text
    assert "opml_monitor_games_unjudged 1.0" in text
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    process.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert process.returncode in {0, 130}


@pytest.mark.parametrize(("options", "code", "tries"), [(["--once"], 1, 1), ([], 130, 4)])
def test_command_doubts_a_node_that_has_no_contracts_yet(
    monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, tries: int
) -> None:
    """Three times, if it is to go on looking."""
    opened: list[int] = []

    def open_system(_: Any) -> Any:
        opened.append(1)
        if len(opened) > 3:
            raise KeyboardInterrupt  # by the operator
        raise NoCode("0x0", "the factory")

    monkeypatch.setattr(cli_monitor, "open_system", open_system)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert execute(["monitor", *options]) == code
    assert len(opened) == tries


def test_most_urgent_games_are_shown_and_all_are_given_to_scripts(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_monitor, "MOST_ROWS", 1)
    system, store = chain.system(), ModelStore(tmp_path / "models")
    request_id = ask_sample(system, chain.sender("requester"), 5, store)
    case = open_case(system, request_id, store=store)
    intent = proposal_intent(system, request_id, case.final_root, case.program.node_count)
    perform(intent, chain.sender("proposer"))
    seat, _ = lie(chain, tmp_path, 3)
    options = ["--rpc-url", chain.anvil.url, "--deployment", str(chain.deployment_file)]
    assert execute(["monitor", "--once", *options]) == 3
    said = "".join(capsys.readouterr())
    assert "The 1 most urgent of 2 games" in said
    assert seat.table.address in said
    execute(["monitor", "--once", "--json", *options])
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum("forecast" in fact for fact in facts) == 2


@pytest.mark.parametrize("text", ["7301", "127.0.0.1:", "127.0.0.1:99999", ":7301"])
def test_address_to_listen_on_is_checked_before_anything_else(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["monitor", "--listen", text]) == 2
    assert "127.0.0.1:7300" in capsys.readouterr().err


def test_command_prints_every_alert_and_exits_with_3(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--rpc-url", chain.anvil.url, "--deployment", str(chain.deployment_file), "--json"]
    assert execute(["monitor", "--once", *options]) == 0
    lie(chain, tmp_path, 3)
    capsys.readouterr()
    assert execute(["monitor", "--once", "--warn-before", "600", *options]) == 3
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [fact["alert"] for fact in facts if "alert" in fact] == ["wrong_result_stands"]
    assert facts[-1]["games_in_progress"] == 1


def test_every_kind_of_alert_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "agent.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []
