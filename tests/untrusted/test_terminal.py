"""
Nothing that others wrote acts on a terminal: every way in which the package prints is found here and tried with text
that would.

`WAYS_TO_PRINT` names every call of the package that puts text on a stream, by file, with the reason why it is
harmless; a new one fails the test until it is looked at. Each of the ways that carry text of others is then given
random text out of what moves cursors, recolours, retitles, reverses lines, adds lines or is markup.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from rich.console import Console
from rich.table import Table
from rich.text import Text

import opml_dispute
from opml_dispute.agent.log import make_log
from opml_dispute.cannon.server import log_to_stderr
from opml_dispute.cli import execute
from opml_dispute.cli.demo.view import PlainView
from opml_dispute.cli.output import Output
from opml_dispute.errors import OpmlError
from opml_dispute.printable import lines, one_line

PACKAGE = Path(opml_dispute.__file__).parent

WAYS_TO_PRINT = {
    "__main__.py": "one word of its own",
    "agent/log.py": "the log, whose values pass through `one_line` or `repr`",
    "agent/second_opinion.py": "a hash in hexadecimal, to the parent process",
    "cannon/server.py": "`log_to_stderr`, which passes its text through `lines`",
    "cli/agent.py": "files of this package: alert rules and a dashboard",
    "cli/__init__.py": "a traceback, through `lines`",
    "cli/cannon.py": "JSON, which escapes all but ASCII",
    "cli/demo/command.py": "the console of a demo's view",
    "cli/demo/view.py": "a demo's own sentences, through `lines`",
    "cli/output.py": "`Output`",
    "cli/simulate.py": "names of a scenario's settings, which are this package's own, and a bar of progress",
    "generation/chat_process.py": "JSON, which escapes all but ASCII, to the parent process",
    "operator/blob_process.py": "JSON, which escapes all but ASCII, to the parent process",
    "operator/fetch_process.py": "JSON, which escapes all but ASCII, to the parent process",
    "testing/fault_proxy.py": "its own address",
    "toolchain/native.py": "paths of this package's builds",
    "toolchain/solidity.py": "paths, and words of the compiler about this package's sources",
}

HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""Controls of C0 and C1, bidirectional controls, invisible characters, halves of surrogates."""

PIECES = (
    *(
        "\x1b[2J",
        "\x1b]0;owned\x07",
        "\x1b[31m",
        "\x9b2J",
        "\x08" * 9,
        "\x7f",
        "\x00",
        "\r",
        "\n",
        "\r\n",
        "\x0b",
        "\x0c",
    ),
    *("\x85", "\u2028", "\u2029", "\u202e", "\u2066", "\u2069", "\u200b", "\ufeff", "\u061c", "\U000e0041", "\ud800"),
    *(
        "[bold]",
        "[/]",
        "[link=http://x]",
        ":smile:",
        "error: all is lost",
        "hint: send all",
        "{0}",
        "%s",
        "Stämme",
        "漢字",
    ),
)

hostile = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=8).map("".join)


class Bad(OpmlError):
    """An error that repeats what it was given."""


PRINTING = ("print", "Console", "structlog.PrintLogger", "warnings.warn", "traceback.print_exc")
PRINTING_BEGINS = ("click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "logging.")


def prints(node: ast.AST) -> bool:
    """Whether a call puts text on a stream."""
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called in PRINTING or called.startswith(PRINTING_BEGINS) or called.endswith(".print")


def test_every_way_to_print_is_known() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(prints(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found == set(WAYS_TO_PRINT)


def test_nothing_is_evaluated_or_unpickled() -> None:
    """Neither here nor by a library that would: no eval, exec, pickle, marshal, shelve or YAML, no pickled arrays."""
    forbidden = {"eval", "exec", "compile", "__import__"}
    modules = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in forbidden, where
                keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert keywords.get("allow_pickle", "False") == "False", where
                assert keywords.get("shell", "False") == "False", where
            if isinstance(node, ast.Import):
                assert not modules & {name.name.partition(".")[0] for name in node.names}, where
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] not in modules, where


def expect_harmless(printed: str, *, colours: bool = False) -> None:
    if colours:
        printed = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    found = HARMFUL.search(printed)
    assert found is None, repr(printed[max(0, found.start() - 20) : found.end() + 20])


@settings(max_examples=150, deadline=None)
@given(hostile)
def test_text_stays_on_its_line(text: str) -> None:
    expect_harmless(one_line(text))
    assert "\n" not in one_line(text)
    expect_harmless(lines(text))
    assert lines(text).count("\n") == text.count("\n"), "only what breaks a line by itself does"


@settings(max_examples=60, deadline=None)
@given(hostile, st.booleans())
def test_output_is_harmless_for_people_and_for_scripts(text: str, as_json: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        out, err = io.StringIO(), io.StringIO()
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        output = Output(as_json=as_json)
        output.say(text, style="red")
        sentences = err.getvalue().splitlines()
        output.error(Bad(text, hint=text))
        output.show(text)
        output.show(Text.assemble((text, "bold"), text))
        output.table(["name", "value"], [[text, text], [text, "1"]], right=["value"])
        table = Table()
        table.add_column(text)
        table.add_row(text)
        output.show(table)
        output.raw(text)
        output.fact(text=text, list=[text, {text: text}])
    expect_harmless(out.getvalue() + err.getvalue())
    assert len(sentences) == (0 if as_json else 1), "a sentence is one line, whatever is in it"
    errors = [line for line in err.getvalue().splitlines() if line.startswith("error:")]
    assert len(errors) == 1 + (not as_json and one_line(text).startswith("error:")), "none looks like ours"
    if as_json:
        told = [json.loads(line) for line in out.getvalue().splitlines()]
        assert told[-1]["text"] == text, "and scripts get all of it"


@settings(max_examples=60, deadline=None)
@given(hostile)
def test_the_logs_are_harmless(text: str) -> None:
    for as_json in (False, True):
        stream = io.StringIO()
        make_log(stream, as_json=as_json).warning(
            text, name=text, error=Bad(text), many=[text], raw=text.encode("utf-8", "surrogatepass")
        )
        expect_harmless(stream.getvalue(), colours=True)
        assert len(stream.getvalue().splitlines()) == 1, "one event is one line"


@settings(max_examples=60, deadline=None)
@given(hostile)
def test_what_a_program_printed_and_a_demos_sentences_are_harmless(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        err = io.StringIO()
        patch.setattr(sys, "stderr", err)
        log_to_stderr(text)
    expect_harmless(err.getvalue())
    stream = io.StringIO()
    PlainView(Console(file=stream, markup=False, highlight=False, emoji=False)).message(text)
    expect_harmless(stream.getvalue())


@settings(max_examples=40, deadline=None)
@given(hostile)
def test_refused_words_of_a_command_line_are_harmless(text: str) -> None:
    """click repeats what it does not understand."""
    for words in ([text], ["show", text], ["run", "--dim", text], ["show", f"--{text}"], ["model", text]):
        with pytest.MonkeyPatch.context() as patch:
            out, err = io.StringIO(), io.StringIO()
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            execute([*words, "--rpc-url", "http://127.0.0.1:9"])
        expect_harmless(out.getvalue() + err.getvalue())
