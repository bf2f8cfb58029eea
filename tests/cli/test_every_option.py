"""
Every option and argument of every command, given hostile values: one clear sentence, exit code 1 or 2, never a crash.

The sweep walks click's own command tree, so a new command or option is swept without being named here. `STAND_INS`
gives required arguments something that exists, so that a hostile value is met as late as it would be in earnest.
Nothing is sent: commands that could send get --dry-run, and those that start a chain are stopped where they would.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from opml_dispute import cli as cli_module
from opml_dispute.cli import COMMANDS
from opml_dispute.cli.demo.stage import Stage
from opml_dispute.cli.monitor import EXIT_ALERTS
from opml_dispute.devnet import anvil
from opml_dispute.devnet.anvil import DevnetProblem
from tests.cli.conftest import Cli, Result
from tests.conftest import Chain

Key = Callable[[str], str]

# INVARIANT: no value names a place outside the test's folder that could be written to. Some options write files, tests
# run as root in places, and a sweep must not be able to harm the machine: hence no way up, and nothing below "/" but
# devices and what the kernel refuses to everyone.
HOSTILE = (
    "",
    " ",
    "\x1b[31mred\x1b[0m\x07",
    "two\nerror: lines",
    "\u202egnp.exe",
    "\x9b2J",
    "[/]",
    "[bold]x",
    "-1",
    "0",
    "1e400",
    "-0.0",
    "nan",
    "inf",
    "99999999999999999999999999999999",
    "9" * 5_000,
    "1_000",
    "１２",
    "²",
    "0x",
    "0x" + "f" * 39 + "g",
    "0x" + "00" * 20,
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"[:-1] + "D",
    "0x" + "ff" * 32,
    "ab " * 32,
    "漢字",
    "a=b",
    "=",
    "x=99999999999999999999",
    "seed=99999999999999999999999",
    "seed=²",
    "0:1:r99.99",
    "18446744073709551616:1",
    "0x10000:99999999999",
    "/proc/nonexistent/file",
    "/dev/null",
    "/dev/full",
    "/proc/self/status",
    "no/such/folder/../../file",
    "x" * 100_000,
    "\udcff\udc80",
    "a\0b",
    "%s%n{0}{x.__class__}",
    "--json",
    "ftp://127.0.0.1",
    "http://",
    "http://127.0.0.1:99999",
    "http://[::1",
    "ipfs://\x1b[2J",
)


def leaves() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that lead to it."""
    for name in sorted(COMMANDS):
        context = click.Context(cli_module.cli)
        command = cli_module.cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                found = command.get_command(context, child)
                assert found is not None
                yield (name, child), found
        else:
            yield (name,), command


SWEPT = [
    (words, command)
    for words, command in leaves()
    if words[0] != "cannon"  # it speaks the OP Stack's command line
]


@pytest.fixture(scope="module")
def stand_ins() -> dict[str, str]:
    """Filled by the first test that has a chain: argument name -> something that exists."""
    return {}


def given_for(
    words: tuple[str, ...], command: click.Command, without: str, stand_ins: dict[str, str], key_file: str
) -> list[str]:
    """The shortest sensible command line, but for the parameter `without`."""
    names = {parameter.name for parameter in command.params}
    given: list[str] = []
    if "dry_run" in names:
        given.append("--dry-run")
    if "key_file" in names and without not in ("key_file", "keystore"):
        given += ["--key-file", key_file]
    if words == ("request",) and without not in ("sample", "inputs", "input_image"):
        given += ["--sample", "1"]
    if words == ("run",) and without not in ("sample", "inputs", "file"):
        given += ["--sample", "1"]
    if words[0] == "vm" and without not in ("node", "game", "file", "paths"):
        given += ["--node", "0"] + ([] if without in ("sample", "inputs") else ["--sample", "1"])
        given += {"prove": ["--step", "3"], "diff": ["--step", "1", "--step", "2"], "run": ["--max-steps", "100"]}.get(
            words[1], []
        )
    if words == ("preflight",) and without not in ("expected", "key_file", "keystore", "password_file"):
        given = ["--from", "0x" + "70" * 20]
    if words[0] == "agent" and without != "config_file":
        given += ["--config", "no-agent.toml"]
    if words == ("move",):
        given += [] if without == "is_attack" else ["--attack"]
        given += [] if without == "index" else ["--claim", "0"]
        given += [] if without == "value" else ["--value", "0x" + "ab" * 32]
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and parameter.required and parameter.name != without:
            given.append(stand_ins[str(parameter.name)])
    return given


def with_value(parameter: click.Parameter, value: str) -> list[str]:
    return [value] if isinstance(parameter, click.Argument) else [f"{parameter.opts[0]}={value}"]


def assert_clear(result: Result, line: list[str]) -> None:
    """Done, or refused in one sentence with a hint; nothing that acts on a terminal either way."""
    shown = [word[:60] for word in line]
    alerts = result.code == EXIT_ALERTS and line[0] == "monitor"
    assert alerts or result.code in (0, 1, 2), (shown, result.err[-2000:])
    assert "Traceback" not in result.err + result.out, shown
    for stream in (result.err, result.out):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", stream), (shown, stream[:500])
        assert not [text for text in stream.splitlines() if len(text) > 20_000], shown
    if result.code == 1 and "diff" in line and "difference" in result.err:
        return  # two states that differ are no error
    if result.code and not alerts:
        errors = [text for text in result.err.splitlines() if text.startswith("error: ")]
        hints = [text for text in result.err.splitlines() if text.startswith("hint: ")]
        assert len(errors) == 1, (shown, result.err[-2000:])
        assert len(hints) == 1, (shown, result.err[-2000:])


@pytest.fixture
def sweepable(
    on_chain: Chain, cli: Cli, key: Key, stand_ins: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A chain with a game on it; no second chain is started, whatever a command line says."""

    def refuse(*_: object, **__: object) -> None:
        raise DevnetProblem("no chain is started in this test")

    monkeypatch.setattr(anvil.Anvil, "spawn", refuse)
    monkeypatch.setattr(Stage, "open", refuse)
    monkeypatch.setattr("opml_dispute.cli.serve_rollup.make_server", refuse)
    monkeypatch.setattr("opml_dispute.web.server.listening_socket", refuse)
    monkeypatch.chdir(tmp_path)
    asked = cli("request", "--sample", 1, "--key-file", key("requester"), "--json")
    stand_ins["request_id"] = str(asked.object_with("request_id")["request_id"])
    made = cli("propose", stand_ins["request_id"], "--fault", "seed=1", "--key-file", key("proposer"), "--json")
    assert made.code == 0, made.err
    stand_ins["game"] = str(made.objects[-1]["game"])
    stand_ins |= {
        "span": "1h",
        "address": "0x" + "70" * 20,
        "target": "0x" + "70" * 20,
        "amount": "1eth",
        "number": "1",
    }
    stand_ins["subject"] = stand_ins["game"]
    stand_ins["file"] = "no-scenario.toml"  # one that exists would be played


PARAMETERS = [
    pytest.param(words, command, parameter, id=f"{' '.join(words)} {parameter.name}")
    for words, command in SWEPT
    for parameter in command.params
    if not (isinstance(parameter, click.Option) and parameter.is_flag)
]


def sweep(
    cli: Cli,
    key: Key,
    stand_ins: dict[str, str],
    words: tuple[str, ...],
    command: click.Command,
    parameter: click.Parameter,
    values: list[str],
) -> None:
    for value in values:
        line = [*words, *given_for(words, command, str(parameter.name), stand_ins, key("challenger"))]
        line += with_value(parameter, value)
        line += ["--once"] if words == ("monitor",) else []  # else it watches until it is stopped
        assert_clear(cli(*line), line)


AT_A_TIME = 12
"""Values for each parameter, of those in HOSTILE; each parameter gets others. All of them with pytest's --whole."""


@pytest.mark.usefixtures("sweepable")
@pytest.mark.parametrize(("words", "command", "parameter"), PARAMETERS)
def test_hostile_values_are_refused_clearly(
    cli: Cli,
    key: Key,
    stand_ins: dict[str, str],
    words: tuple[str, ...],
    command: click.Command,
    parameter: click.Parameter,
    pytestconfig: pytest.Config,
) -> None:
    draw = random.Random(f"{' '.join(words)} {parameter.name}")
    values = HOSTILE if pytestconfig.getoption("whole") else draw.sample(HOSTILE, AT_A_TIME)
    sweep(cli, key, stand_ins, words, command, parameter, list(values))


@pytest.mark.parametrize(("words", "command", "parameter"), PARAMETERS)
def test_an_empty_value_is_refused_by_name(
    cli: Cli, words: tuple[str, ...], command: click.Command, parameter: click.Parameter
) -> None:
    """What an unset shell variable becomes."""
    arguments = [
        "" if other is parameter else "1"
        for other in command.params
        if isinstance(other, click.Argument) and (other.required or other is parameter)
    ]
    option = [] if isinstance(parameter, click.Argument) else [parameter.opts[0], ""]
    result = cli(*words, *arguments, *option)
    assert result.code == 2, result.err
    assert "was given an empty value" in result.err


@pytest.mark.parametrize(
    ("words", "command", "parameter"),
    [case for case in PARAMETERS if isinstance(case.values[2], click.Option) and not case.values[2].multiple],
)
def test_an_option_that_counts_once_is_refused_twice(
    cli: Cli, words: tuple[str, ...], command: click.Command, parameter: click.Parameter
) -> None:
    arguments = ["1" for other in command.params if isinstance(other, click.Argument) and other.required]
    name = parameter.opts[0]
    result = cli(*words, *arguments, name, "1", name, "2")
    assert result.code == 2, result.err
    assert f"{name} was given more than once" in result.err
