"""A real Prometheus reads what agent and monitor export, and its rules fire when they should and not before."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import opml_dispute.agent
from opml_dispute.agent.exposition import serve
from opml_dispute.agent.metrics import Metrics
from opml_dispute.agent.monitor_metrics import MonitorMetrics

RULES = Path(opml_dispute.agent.__file__).parent / "prometheus" / "alerts.yml"

WELL = {
    "opml_agent_up": 1,
    "opml_agent_acting": 1,
    'opml_agent_passes_total{outcome="failed"}': 0,
    "opml_agent_next_deadline_seconds": 90_000,
    "opml_agent_games_unjudged": 0,
    "opml_agent_failed_actions_total": 0,
    "opml_agent_balance_wei": 10**19,
    "opml_agent_endpoint_lag_blocks": 0,
    "opml_monitor_up": 1,
    "opml_monitor_monitor_duration_seconds_count": "0+2x60",
    'opml_monitor_alerts{kind="wrong_result_stands"}': 0,
    'opml_monitor_alerts{kind="honest_bond_falls"}': 0,
    'opml_monitor_alerts{kind="endpoints_disagree"}': 0,
    'opml_monitor_alerts{kind="endpoint_silent"}': 0,
    'opml_monitor_alerts{kind="endpoint_lags"}': 0,
    'opml_monitor_alerts{kind="input_wrong"}': 0,
    'opml_monitor_alerts{kind="input_missing"}': 0,
    'opml_monitor_alerts{kind="owner_changed"}': 0,
    'opml_monitor_alerts{kind="credit_wrong"}': 0,
    'opml_monitor_alerts{kind="implementation_changed"}': 0,
    'opml_monitor_alerts{kind="demanded_bond_missing"}': 0,
    'opml_monitor_demanded_bonds{state="short"}': 0,
    "opml_monitor_wrong_result_seconds_left": 90_000,
    'opml_monitor_games_agreement{completion="complete",result_correctness="incorrect"}': 0,
    'opml_monitor_honest_actor_bonds{honest_actor_address="0x1",state="lost"}': 0,
    'opml_monitor_bond_collateral_required{delayedWETH="0x1",balance="insufficient"}': 0,
    "opml_monitor_head_timestamp": "0+60x60",
    "opml_monitor_paused": 0,
    "opml_monitor_games_unjudged": 0,
    "opml_monitor_failed_games": 0,
}
"""Every series that a rule looks at, when all is well."""

ILL: dict[str, tuple[str, Any]] = {
    "OpmlAgentDown": ("opml_agent_up", 0),
    "OpmlAgentNotActing": ("opml_agent_acting", 0),
    "OpmlAgentPassesFail": ('opml_agent_passes_total{outcome="failed"}', "0+2x60"),
    "OpmlAgentDeadlineNear": ("opml_agent_next_deadline_seconds", 600),
    "OpmlAgentCannotJudge": ("opml_agent_games_unjudged", 2),
    "OpmlAgentActionsFail": ("opml_agent_failed_actions_total", "0+1x60"),
    "OpmlAgentPurseLow": ("opml_agent_balance_wei", 10**16),
    "OpmlAgentNodeLags": ("opml_agent_endpoint_lag_blocks", 9),
    "OpmlWrongInputStands": ("opml_agent_publications_wrong", 1),
    "OpmlInputMissing": ('opml_monitor_alerts{kind="input_missing"}', 1),
    "OpmlMonitorDown": ("opml_monitor_up", 0),
    "OpmlMonitorStandsStill": ("opml_monitor_monitor_duration_seconds_count", 7),
    "OpmlWrongResultStands": ('opml_monitor_alerts{kind="wrong_result_stands"}', 1),
    "OpmlClockRunsOut": ("opml_monitor_wrong_result_seconds_left", 1_800),
    "OpmlGameEndedWrong": (next(name for name in WELL if "incorrect" in name), 1),
    "OpmlHonestBondFalls": ('opml_monitor_alerts{kind="honest_bond_falls"}', 1),
    "OpmlHonestBondLost": (next(name for name in WELL if "lost" in name), "0+0x30 1+0x30"),
    "OpmlCollateralShort": (next(name for name in WELL if "insufficient" in name), 3),
    "OpmlCreditWrong": ('opml_monitor_alerts{kind="credit_wrong"}', 1),
    "OpmlShareWrong": ('opml_monitor_alerts{kind="share_wrong"}', 1),
    "OpmlDemandedBondMissing": ('opml_monitor_demanded_bonds{state="short"}', 2),
    "OpmlEndpointsDisagree": ('opml_monitor_alerts{kind="endpoints_disagree"}', 1),
    "OpmlEndpointFails": ('opml_monitor_alerts{kind="endpoint_lags"}', 1),
    "OpmlHeadIsOld": ("opml_monitor_head_timestamp", 60),
    "OpmlPaused": ("opml_monitor_paused", 1),
    "OpmlOwnerChanged": ('opml_monitor_alerts{kind="owner_changed"}', 1),
    "OpmlMonitorCannotJudge": ("opml_monitor_games_unjudged", 1),
    "OpmlGamesUnreadable": ("opml_monitor_failed_games", 1),
}
"""For each alert what makes it fire."""


def firing(tmp_path: Path, series: dict[str, Any]) -> set[str]:
    """The alerts that Prometheus raises after 50 minutes of these series, by its own evaluation of the rules."""
    names = list(ILL)
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": value if isinstance(value, str) else f"{value}+0x60"}
                    for name, value in series.items()
                ],
                "alert_rule_test": [{"eval_time": "50m", "alertname": name} for name in names],
            }
        ],
    }
    path = tmp_path / "rules.test.json"  # JSON is YAML
    path.write_text(json.dumps(test))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    assert "unexpected" not in text, text
    return {name for name in names if f"alertname: {name}," in text or f"alertname:{name}," in text}


needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (Debian: prometheus)")


@needs_promtool
def test_prometheus_accepts_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_promtool
def test_no_rule_fires_when_all_is_well(tmp_path: Path) -> None:
    assert firing(tmp_path, WELL) == set()


@needs_promtool
@pytest.mark.parametrize("alert", ILL)
def test_rule_fires_for_its_cause_and_no_other_does(tmp_path: Path, alert: str) -> None:
    name, value = ILL[alert]
    assert firing(tmp_path, {**WELL, name: value}) == {alert}


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A Prometheus that scrapes an agent's and a monitor's figures: its URL, and the name of the targets."""
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus here (Debian: prometheus)")
    servers = [serve(exposed, "127.0.0.1", 0) for exposed in (Metrics(), MonitorMetrics())]
    targets = [f"127.0.0.1:{server.server_port}" for server in servers]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "prometheus.json"
    jobs = [{"job_name": "opml", "scrape_interval": "1s", "static_configs": [{"targets": targets}]}]
    config.write_text(json.dumps({"rule_files": [str(RULES)], "scrape_configs": jobs}))
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}", "opml"
    finally:
        process.terminate()
        process.wait(20)
        for server in servers:
            server.shutdown()
            server.server_close()


def test_prometheus_scrapes_agent_and_monitor_and_loads_the_rules(prometheus: tuple[str, str]) -> None:
    url, job = prometheus

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"{url}/api/v1/{path}", timeout=10) as answer:
            return json.loads(answer.read())["data"]

    deadline = time.monotonic() + 30
    found: list[Any] = []
    while time.monotonic() < deadline and len(found) < 2:
        time.sleep(0.3)
        try:
            found = ask("query?query=" + quote(f'{{__name__=~"opml_(agent|monitor)_info",job="{job}"}}'))["result"]
        except OSError:
            continue
    assert {item["metric"]["__name__"] for item in found} == {"opml_agent_info", "opml_monitor_info"}
    targets = ask("targets")["activeTargets"]
    assert [target["health"] for target in targets] == ["up", "up"]
    names = {rule["name"] for group in ask("rules")["groups"] for rule in group["rules"]}
    assert names == set(ILL)
