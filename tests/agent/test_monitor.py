"""The monitor sees trouble before it costs, and nothing where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opml_dispute.agent.desk import Desk
from opml_dispute.agent.monitor import KINDS, Monitor
from opml_dispute.chain.rpc import Rpc
from opml_dispute.cli import execute
from opml_dispute.devnet.anvil import Anvil
from opml_dispute.game.claim import GameStatus
from opml_dispute.operator.model_store import ModelStore
from tests.agent.test_agent import Unattended, lie
from tests.conftest import TEST_TIMES, Chain


@pytest.fixture
def desk(chain: Chain, tmp_path: Path) -> Iterator[Desk]:
    found = Desk(chain.system(), ModelStore(tmp_path / "models"), workers=1)
    yield found
    found.close()


def kinds(monitor: Monitor) -> list[str]:
    return [alert.kind for alert in monitor.look().alerts]


def test_deployment_without_trouble_has_no_alerts(chain: Chain, desk: Desk) -> None:
    assert kinds(Monitor(chain.system(), desk)) == []


def test_wrong_claim_that_nobody_answers_is_told_with_the_time_left(chain: Chain, desk: Desk, tmp_path: Path) -> None:
    """Until it is answered; then the forecast is right."""
    seat, _ = lie(chain, tmp_path, 3)
    monitor = Monitor(chain.system(), desk, warn_before_s=600)
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
    chain: Chain, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie(chain, tmp_path, 3)

    def fails(_: Any) -> Any:
        from opml_dispute.errors import OpmlError

        raise OpmlError("no file")

    monkeypatch.setattr(desk, "final_root", fails)
    report = Monitor(chain.system(), desk).look()
    assert [alert.kind for alert in report.alerts] == ["not_computed"]
    assert report.standings[0].right is None


def test_nodes_that_disagree_or_are_silent_are_told(chain: Chain, desk: Desk, bare_anvil: Anvil) -> None:
    while bare_anvil.rpc.head().number < chain.rpc.head().number + 40:
        bare_anvil.rpc.request("anvil_mine", "0x40")
    silent = Rpc("http://127.0.0.1:9", patience_s=0.1)
    assert kinds(Monitor(chain.system(), desk, others=[bare_anvil.rpc, silent], max_lag_blocks=10**6)) == [
        "endpoints_disagree",
        "endpoint_silent",
    ]


def test_vault_that_holds_too_little_is_told(chain: Chain, desk: Desk, tmp_path: Path) -> None:
    seat, _ = lie(chain, tmp_path, 3)
    vault = chain.system().games.constants(seat.table.address).weth
    chain.rpc.request("anvil_setBalance", vault, "0x0")
    assert "collateral_short" in kinds(Monitor(chain.system(), desk))


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
