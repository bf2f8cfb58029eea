"""
Command lines that the documentation shows, parsed with their arguments as the program itself would parse them.

`shown` finds them in a page; `parse` hands one to click, which refuses unknown options, missing values and arguments,
and what a type does not allow. No command runs.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator

import click

from opml_dispute.cli import cli

STAND_INS = {
    "MODEL": "0x" + "11" * 32,
    "REQUEST": "0x" + "22" * 32,
    "GAME": "0x" + "33" * 20,
    "ADDRESS": "0x" + "44" * 20,
    "HASH": "0x" + "55" * 32,
    "NODE:STEP:PLACE.BIT": "0:7086:f3.30",
    "N": "7",
}
"""What a word in capitals stands for."""


def shown(text: str) -> Iterator[str]:
    """Each `opml-dispute …` in a page: in console blocks, in indented blocks, in backticks, after an `Example:`."""
    for block in re.findall(r"```(?:console|sh)\n(.*?)```|((?:^    .*\n)+)", text, re.DOTALL | re.MULTILINE):
        for line in "".join(block).replace("\\\n", " ").splitlines():
            if re.match(r"\s*(\$ )?(\S*/)?opml-dispute\b", line):
                for part in line.split("#")[0].split(";"):
                    if "opml-dispute" in part:
                        yield part.split("opml-dispute", 1)[1].strip()
    prose = re.sub(r"```.*?```|^    .*$", "", text, flags=re.DOTALL | re.MULTILINE)
    for quoted in re.findall(r"`opml-dispute ([^`]+)`", prose):
        line = " ".join(quoted.split())
        # In a sentence a command may be named without its arguments.
        yield f"{line} --help" if re.fullmatch(r"[a-z -]+", line) and "--" not in line else line


def parse(line: str) -> None:
    """
    Parses `opml-dispute LINE`. Raises `click.ClickException` with what is wrong in it.

    Of a list of commands (`vm run | trace`) only the names are looked up.
    """
    if "|" in line:
        first, *others = (part.split() for part in line.split("|"))
        for names in ([*first[:-1], name[0]] for name in (first[-1:], *others)):
            _parse(cli, click.Context(cli, info_name="opml-dispute", **cli.context_settings), [*names, "--help"])
        return
    words = [STAND_INS.get(word, word) for word in shlex.split(line) if word not in ("…", "...")]
    words = [re.sub(r"0x[0-9a-f]*…[0-9a-f]*", "0x" + "66" * 32, word) for word in words]
    words = [re.sub(r"=[A-Z]+$", "=1", word) for word in words]
    with click.Context(cli, info_name="opml-dispute", **cli.context_settings) as context:
        _parse(cli, context, words)


def _parse(command: click.Command, context: click.Context, words: list[str]) -> None:
    """Down the groups to the command, and there all options and arguments."""
    if isinstance(command, click.Group):
        if not words:
            return
        with contextlib.suppress(click.exceptions.Exit):  # --help
            command.parse_args(context, words)
        # click keeps what follows a group's own options here, until the group is invoked.
        rest = [*context._protected_args, *context.args]
        if not rest or rest[0] == "COMMAND":
            return
        name, child, remaining = command.resolve_command(context, rest)
        assert child is not None
        with click.Context(child, info_name=name, parent=context) as inner:
            _parse(child, inner, remaining)
    else:
        with contextlib.suppress(click.exceptions.Exit):  # --help, --version
            command.parse_args(context, list(words))
