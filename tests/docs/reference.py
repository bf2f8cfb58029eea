"""
Pages and blocks that are written by the program itself, so that they cannot say what is not so.

`cli_page` is docs/cli.md, from each command's `--help`; `api_reference` is the end of docs/python.md, from signatures
and docstrings of the public names; `demo_block` is the README's panel, from a story of the demo. `scripts/renew docs`
writes the first two, `scripts/renew readme` the third; tests compare them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import textwrap
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

import click
from rich.console import Console

import opml_dispute
from opml_dispute.cli import cli
from opml_dispute.cli.demo.stories import StoryResult
from opml_dispute.cli.demo.view import summary

ROOT: Final = Path(__file__).resolve().parents[2]
CLI_PAGE: Final = ROOT / "docs" / "cli.md"
API_PAGE: Final = ROOT / "docs" / "python.md"
README: Final = ROOT / "README.md"

WIDTH: Final = 120
HELP_WIDTH: Final = 100
PANEL_WIDTH: Final = 96
API_MARK: Final = "<!-- scripts/renew writes everything below this line from the docstrings -->\n"
DEMO_BLOCK: Final = re.compile(r"(<!-- scripts/renew writes this block[^\n]*\n```text\n)(.*?)(```\n)", re.DOTALL)

CLI_HEAD: Final = """# Commands

Every command of `opml-dispute`, as its own `--help` describes it; `scripts/renew docs` writes this page.
[operating.md](operating.md) shows the commands in the order in which an operator needs them.

"""


def commands() -> Iterator[tuple[str, click.Context]]:
    """Each command and subcommand with its full name and the context in which it would run, `opml-dispute` first."""

    def walk(context: click.Context) -> Iterator[tuple[str, click.Context]]:
        yield context.command_path, context
        command = context.command
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                yield from walk(click.Context(child, parent=context, info_name=name))

    settings = {**cli.context_settings, "max_content_width": HELP_WIDTH, "terminal_width": HELP_WIDTH}
    yield from walk(click.Context(cli, info_name="opml-dispute", **settings))


def cli_page() -> str:
    """docs/cli.md."""
    found = list(commands())
    links = [f"[{name.removeprefix('opml-dispute ')}](#{name.replace(' ', '-')})" for name, _ in found[1:]]
    contents = "Contents:\n" + " ·\n".join(links) + "\n"
    parts = [f"## {name}\n\n```text\n{context.get_help()}\n```\n" for name, context in found]
    return CLI_HEAD + contents + "\n" + "\n".join(parts)


def api_reference() -> str:
    """What follows `API_MARK` in docs/python.md."""
    return "\n" + "\n".join(_entry(name, module) for name, module in opml_dispute.PUBLIC.items())


def _entry(name: str, module: str) -> str:
    """One public name: where it is, how it is called, what it means, and its members."""
    value = getattr(importlib.import_module(f"opml_dispute.{module}"), name)
    head = f"### {name}\n\n`opml_dispute.{module}`\n"
    if inspect.isclass(value):
        members = [*_fields(value), *_methods(value)]
        return "\n".join([head, _docstring(value), *([""] if members else []), *members]) + "\n"
    if callable(value):
        return f"{head}\n```python\n{name}{_signature(value)}\n```\n\n{_docstring(value)}\n"
    return f"{head}\n{_constant_docstring(name, module)}\n"


def _fields(value: type) -> Iterator[str]:
    """The documented attributes of a class, in their order."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(value))).body
    assert isinstance(tree, ast.ClassDef)
    for statement, following in pairwise(tree.body):
        if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
            assert isinstance(statement.target, ast.Name)
            assert isinstance(following.value, ast.Constant)
            yield _item(statement.target.id, str(following.value.value))


def _methods(value: type) -> Iterator[str]:
    """The documented methods and properties of a class, in their order; then those of its own bases in the package."""
    seen: dict[str, object] = {}
    for ancestor in value.__mro__:
        if ancestor.__module__.startswith("opml_dispute."):
            seen = {**seen, **{name: found for name, found in vars(ancestor).items() if name not in seen}}
    for member, found in seen.items():
        function = found.__func__ if isinstance(found, (classmethod, staticmethod)) else found
        if member.startswith("_"):
            continue
        if isinstance(function, (property, cached_property)):
            getter = function.fget if isinstance(function, property) else function.func
            if getter is not None and getter.__doc__:
                yield _item(member, getter.__doc__)
        elif inspect.isfunction(function) and function.__doc__:
            yield _item(member + _parameters(function), function.__doc__)


def _item(name: str, docstring: str) -> str:
    """A line of a list, with the first paragraph of a docstring."""
    words = " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())
    return textwrap.fill(
        f"- `{name}`: {words}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _signature(function: object) -> str:
    """With annotations, a parameter on each line where one line would be too long."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    text = str(signature).replace("'", "")
    if len(text) < PANEL_WIDTH:
        return text
    inside, star, lines = list(signature.parameters.values()), False, []
    for parameter in inside:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not star:
            star = True
            lines.append("    *,")
        lines.append(f"    {parameter},")
    end = "" if signature.return_annotation is inspect.Signature.empty else f" -> {signature.return_annotation}"
    return ("(\n" + "\n".join(lines) + "\n)" + end).replace("'", "")


def _parameters(function: object) -> str:
    """The names alone."""
    names, star = [], False
    for parameter in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not star:
            star = True
            names.append("*")
        names.append(("*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "") + parameter.name)
    return f"({', '.join(names)})"


def _docstring(value: object) -> str:
    """Without its doctests, which run where they are."""
    text = inspect.cleandoc(value.__doc__ or "")
    return re.sub(r"\n*^>>> .*?(?=\n\n|\Z)", "", text, flags=re.DOTALL | re.MULTILINE).strip()


def _constant_docstring(name: str, module: str) -> str:
    source = inspect.getsource(importlib.import_module(f"opml_dispute.{module}"))
    found = re.search(rf'^{name}\b[^\n]*\n"""(.*?)"""', source, re.DOTALL | re.MULTILINE)
    assert found is not None, f"{module}.{name} has no docstring"
    return textwrap.fill(" ".join(found[1].split()), WIDTH)


def demo_block(result: StoryResult) -> str:
    """The panel that ends a story, without what differs from run to run and from release to release: time and gas."""
    screen = io.StringIO()
    Console(file=screen, width=PANEL_WIDTH, highlight=False, color_system=None).print(summary(result, measured=False))
    return "".join(line.rstrip() + "\n" for line in screen.getvalue().splitlines())
