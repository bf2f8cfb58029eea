"""What docs/debugging.md shows is what its commands print."""

from __future__ import annotations

import re
import shlex

import pytest

from opml_dispute import cli as cli_module
from tests.docs.prose import ROOT

PAGE = (ROOT / "docs" / "debugging.md").read_text()
SHOWN = [
    (command, printed)
    for command, printed in re.findall(r"```console\n\$ opml-dispute ([^\n]*)\n(.*?)```", PAGE, re.DOTALL)
    if "--game" not in command
]
"""Commands with what they print; those about a game need a chain with one."""


@pytest.mark.parametrize(("command", "printed"), SHOWN, ids=[command.split(" --")[0] for command, _ in SHOWN])
def test_a_command_prints_what_the_page_shows(
    command: str, printed: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line; a line may end in `…` for more than a page has room for."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("NO_COLOR", "1")
    cli_module.execute(shlex.split(command))
    captured = capfd.readouterr()
    got = [line.rstrip() for line in (captured.out + captured.err).splitlines()]
    wanted = printed.splitlines()
    assert len(got) == len(wanted), got
    for line in wanted:
        assert any(found == line or (line.endswith("…") and found.startswith(line[:-1])) for found in got), line


def test_page_shows_blocks_to_compare() -> None:
    assert len(SHOWN) == 4
