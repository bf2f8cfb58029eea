"""Alert rules and dashboard speak of metrics that exist, and every alert says what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import opml_dispute.agent
from opml_dispute.agent.metrics import Metrics
from opml_dispute.agent.monitor import KINDS
from opml_dispute.agent.monitor_metrics import MonitorMetrics
from opml_dispute.cli import execute

FILES = Path(opml_dispute.agent.__file__).parent / "prometheus"
RULES = FILES / "alerts.yml"
DASHBOARD = FILES / "dashboard.json"


def exported() -> set[str]:
    """The names of all series that agent and monitor export, those of counters and histograms included."""
    names = set()
    for registry in (Metrics().registry, MonitorMetrics().registry):
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
            names |= {family.name + suffix for suffix in suffixes}
    return names


def named(text: str) -> set[str]:
    return set(re.findall(r"\bopml_[a-z0-9_]+", text))


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_that_is_named_exists(path: Path) -> None:
    assert named(path.read_text()) - exported() == set()
    assert len(named(path.read_text())) >= 6


def test_every_alert_has_its_paragraph() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert len(alerts) == len(set(alerts)) >= 20
    assert re.findall(r"runbook: docs/operating.md, (\w+)", RULES.read_text()) == alerts
    runbook = dict(re.findall(r"^### (Opml\w+)\n\n(.+?)\n\n", page, re.MULTILINE | re.DOTALL))
    assert list(runbook) == alerts
    assert [name for name, text in runbook.items() if len(text.split()) < 8] == []


def test_every_kind_that_a_rule_names_exists() -> None:
    kinds = set(re.findall(r'kind="(\w+)"', RULES.read_text()))
    assert kinds
    assert kinds - set(KINDS) == set()


@pytest.mark.parametrize(("command", "path"), [("alerts", RULES), ("dashboard", DASHBOARD)])
def test_command_prints_the_file(command: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["agent", command]) == 0
    assert capsys.readouterr().out == path.read_text()


def test_dashboard_shows_each_panel_once() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 6
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(places) == len(set(places))
