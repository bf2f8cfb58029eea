"""Alert rules and dashboard speak of metrics that exist, and every alert says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from opml_dispute.agent.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "scripts" / "deploy"
RULES = DEPLOY / "opml-dispute-alerts.yml"
DASHBOARD = DEPLOY / "opml-dispute-dashboard.json"


def exported() -> set[str]:
    """The names of all series that an agent exports, those of counters and histograms included."""
    names = set()
    for family in text_string_to_metric_families(Metrics().text().decode()):
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
    page = (Path(__file__).parents[2] / "docs" / "agent.md").read_text()
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert len(alerts) == len(set(alerts)) == RULES.read_text().count("runbook: docs/agent.md, ") >= 8
    assert [alert for alert in alerts if f"| {alert} |" not in page] == []


def test_dashboard_shows_each_panel_once() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 6
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(places) == len(set(places))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (Debian: prometheus)")
def test_prometheus_accepts_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
