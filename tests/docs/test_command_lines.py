"""Every command line that the documentation and the help texts show is one that the program accepts."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from tests.docs.command_lines import parse, shown
from tests.docs.reference import ROOT, commands

PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINES = [(path.relative_to(ROOT), line) for path in PAGES for line in dict.fromkeys(shown(path.read_text()))]
EXAMPLES = [
    (name, line.split("opml-dispute ", 1)[1])
    for name, context in commands()
    for line in (context.command.help or "").splitlines()
    if line.strip().startswith(("Example: opml-dispute", "opml-dispute "))
]


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda value: str(value))
def test_a_command_line_of_the_documentation_parses(page: Path, line: str) -> None:
    try:
        parse(line)
    except click.ClickException as error:
        pytest.fail(f"{page}: opml-dispute {line}: {error.format_message()}")


@pytest.mark.parametrize(("name", "line"), EXAMPLES, ids=lambda value: str(value))
def test_the_example_of_a_command_parses(name: str, line: str) -> None:
    parse(line)


def test_enough_is_looked_at() -> None:
    assert len(LINES) > 30, LINES
    assert len(EXAMPLES) > 20, EXAMPLES


@pytest.mark.parametrize(
    "line", ["request MODEL --input a.npy", "show", "list --no-such", "vm prove --node x", "respond GAME --claim"]
)
def test_a_wrong_command_line_is_refused(line: str) -> None:
    """The check can fail."""
    with pytest.raises(click.ClickException):
        parse(line)
