"""What the README shows works: its Python runs, its commands and its places exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from opml_dispute.cli import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The sample prints the same digit twice, what the model reads and what people do, and a state root."""
    (sample,) = blocks("python")
    exec(compile(sample, "README.md", "exec"), {})
    digits, root = capsys.readouterr().out.splitlines()
    read, label = digits.split()
    assert read == label
    assert re.fullmatch(r"[0-9a-f]{64}", root)


def test_its_commands_exist() -> None:
    """Each `opml-dispute …` line names a command, and a subcommand where there is a group."""
    lines = [part for block in blocks("console") for line in block.splitlines() for part in line.split(";")]
    called = [line.replace("$", "").split() for line in lines if "opml-dispute" in line]
    assert len(called) >= 10
    for _, name, *rest in called:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        if isinstance(command, click.Group):
            assert rest[0] in command.list_commands(click.Context(command)), (name, rest[0])


def test_its_places_exist() -> None:
    """Every path of the map, and every page it sends a reader to."""
    named = re.findall(r"`((?:opml_dispute|contracts|tests|scripts|docs)/[\w/.-]*)`", README)
    pages = re.findall(r"docs/[a-z]+\.md", README)
    assert len(named) > 10
    assert len(pages) > 5
    missing = [name for name in {*named, *pages} if not (ROOT / name).exists()]
    assert missing == []
