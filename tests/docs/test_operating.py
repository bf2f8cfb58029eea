"""docs/operating.md speaks of commands and options that exist."""

from __future__ import annotations

import re
from pathlib import Path

import click

from opml_dispute import cli as cli_module

TEXT = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()


def test_every_option_named_exists_somewhere() -> None:
    known = {"--help", "--debug"}
    for name in cli_module.COMMANDS:
        command = cli_module.cli.get_command(click.Context(cli_module.cli), name)
        for child in getattr(command, "commands", {"": command}).values():
            known |= {option for parameter in child.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for script in set(re.findall(r"scripts/[a-z-]+", TEXT)):
        path = Path(__file__).parents[2] / script
        known |= set(re.findall(r'"(--[a-z][a-z-]+)"', path.read_text())) if path.is_file() else set()
    assert set(re.findall(r"`?(--[a-z][a-z-]+)", TEXT)) <= known


def test_the_exit_codes_are_those_of_the_program() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert codes == {0, 1, 2, cli_module.EXIT_BUG, cli_module.EXIT_INTERRUPTED}
