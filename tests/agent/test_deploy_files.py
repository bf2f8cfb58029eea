"""The systemd unit and the image of the agent: a linter reads them, and they call commands that exist."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from opml_dispute.cli import cli

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "scripts" / "deploy" / "Dockerfile"
UNIT = ROOT / "scripts" / "deploy" / "opml-dispute-agent.service"
HADOLINT = Path(sys.executable).parent / "hadolint"


def last(instruction: str) -> str:
    """What follows an instruction of the Dockerfile, where it stands last."""
    return str(re.findall(rf"^{instruction} (.*)$", DOCKERFILE.read_text(), re.MULTILINE)[-1])


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser["Service"]


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    found = subprocess.run([HADOLINT, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_hadolint_finds_what_is_wrong(tmp_path: Path) -> None:
    """So the test above cannot pass by a linter that reads nothing."""
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(DOCKERFILE.read_text().replace("FROM python:3.11-slim\n", "FROM python\n"))
    assert subprocess.run([HADOLINT, wrong], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize(
    "command", [json.loads(last("ENTRYPOINT")), unit()["ExecStart"].split()], ids=["image", "unit"]
)
def test_the_command_is_one_that_exists(command: list[str]) -> None:
    program, *rest = command
    assert Path(program).name == "opml-dispute"
    option = next(index for index, word in enumerate(rest) if word.startswith("--"))
    shown = CliRunner().invoke(cli, [*rest[:option], "--help"])
    assert shown.exit_code == 0
    assert rest[option] in shown.output


def test_the_image_runs_without_root_and_asks_for_its_own_health() -> None:
    assert last("USER").isdigit()
    assert int(last("USER")) > 0
    check = DOCKERFILE.read_text().split("HEALTHCHECK", 1)[1]
    assert f"127.0.0.1:{last('EXPOSE')}/healthz" in check


def test_the_unit_restarts_the_agent_however_often_it_fails_and_ends_it_without_haste() -> None:
    service = unit()
    assert service["Restart"] == "always"
    assert "StartLimitIntervalSec=0" in UNIT.read_text()
    assert int(service["TimeoutStopSec"]) >= 30
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
