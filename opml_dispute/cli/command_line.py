"""
Checks of every command line, before the command runs.

`LazyGroup` imports a command when it is called, so that help does not wait for libraries. `Command` (and `Group`, whose
commands have this class) refuses what click would accept silently: an option given twice where one value counts, and an
option or argument with an empty value, which is what an unset shell variable turns into.

The parameter types (`Seconds`, `Number`) explain in one sentence what they accept.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

MAX_SPAN_S: Final = 100 * 365 * 86_400
"""A hundred years: contracts count time in 64 bits, but nothing sensible takes longer."""


class Command(click.Command):
    """A command that refuses repeated options and empty values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does. Raises `click.UsageError`."""
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen = set[str]()
        for parameter in order:
            if not isinstance(parameter, click.Option) or parameter.multiple or parameter.count:
                continue
            name = "/".join(parameter.opts[:1] + parameter.secondary_opts[:1])
            if parameter.name in seen and not (parameter.is_flag and not parameter.secondary_opts):
                raise click.UsageError(f"{name} was given more than once, and only one value can count", ctx)
            seen.add(str(parameter.name))
        for parameter in self.params:
            value = given.get(str(parameter.name))
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                raise click.UsageError(f"{_label(parameter)} was given an empty value", ctx)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


class LazyGroup(Group):
    """A group that imports a command when it is called."""

    def __init__(self, *args: Any, commands_at: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._commands_at:
            return None
        module, _, attribute = self._commands_at[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"opml_dispute.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._commands_at[name][1]) for name in self.list_commands(ctx)])


def was_given(name: str) -> bool:
    """Whether the running command got the parameter on its command line, not from a default or the environment."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def expect_unused(reason: str, names: Sequence[str]) -> None:
    """Raises `click.UsageError` if one of the parameters was given; `reason` completes "--x …"."""
    context = click.get_current_context()
    for parameter in context.command.params:
        if parameter.name in names and was_given(str(parameter.name)):
            raise click.UsageError(f"{_label(parameter)} {reason}", context)


def _label(parameter: click.Parameter) -> str:
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name


class Seconds(click.ParamType[int]):
    """A time span in whole seconds: 90, 90s, 15min, 2h, 3d."""

    name = "time"
    _units = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}  # noqa: RUF012 - never changed

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,18})\s*(|s|m|min|h|d)", str(value).strip().lower())
        if found is None:
            self.fail(f"{value!r} is not a time span; write it like 90s, 15min, 2h or 3d", param, ctx)
        seconds = int(found[1]) * self._units[found[2]]
        if seconds > MAX_SPAN_S:
            self.fail(f"{value!r} is more than 100 years", param, ctx)
        return seconds


class Number(click.FloatRange):
    """A finite number in a range: NaN would pass every comparison."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return float(number)
