"""Every script answers --help with what it does, what each of its options means, and does nothing else."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.prose import ROOT, text_of

SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix)
FORWARDED = {"demo": "opml_dispute/cli/demo/command.py"}
"""Scripts whose arguments a command of the program reads."""


def sources(script: Path) -> list[str]:
    """The script, and the modules of this project whose `main` it calls."""
    found = [text_of(script)]
    for node in ast.walk(ast.parse(found[0])):
        if isinstance(node, ast.ImportFrom) and node.module and any(name.name == "main" for name in node.names):
            path = node.module.replace(".", "/")
            places = (
                ROOT / folder / end for folder in (".", "scripts") for end in (f"{path}.py", f"{path}/__init__.py")
            )
            found += [text_of(place) for place in places if place.is_file()]
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_answers_help(script: Path) -> None:
    """By a parser, or by its docstring: without either, a script that renews or trains something would do so."""
    written = sources(script)
    assert script.name in FORWARDED or any("ArgumentParser(" in text or "enter(__doc__)" in text for text in written)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_option_of_a_script_is_explained(script: Path) -> None:
    for text in sources(script):
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
                assert any(keyword.arg == "help" for keyword in call.keywords), ast.unparse(call)


def test_a_script_without_a_parser_prints_its_docstring_and_ends(tmp_path: Path) -> None:
    """`renew` is one whose work would be noticed late; it is not even set up for."""
    for name in ("renew", "test"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / name), "--help"], cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert f"scripts/{name} " in done.stdout


FULL = "cannot write: No space left on device"
ENDING = """
import sys
sys.path.insert(0, "scripts")
from lib.environment import enter
enter()
{work}
"""


@pytest.mark.parametrize(
    ("work", "shell", "said"),
    [
        ("for i in range(99_999): print(i)", "| true", ""),
        ("for i in range(99_999): print(i, flush=True)", "| true", ""),
        ("print('little, written when all is done')", "> /dev/full", FULL),
        ("print('at once', flush=True)", "> /dev/full", FULL),
        (
            "print('more'); sys.excepthook(OSError, OSError(28, 'No space left on device'), None)",
            "> /dev/full",
            FULL,
        ),
        ("raise KeyboardInterrupt", "", "stopped"),
        ("print('nowhere'); sys.exit(1)", ">&-", ""),
    ],
    ids=["much-to-a-closed-pipe", "at-once-to-a-closed-pipe", "late-full", "full", "full-twice", "ctrl-c", "no-stdout"],
)
def test_a_script_whose_output_cannot_be_written_or_that_is_stopped_ends_without_a_traceback(
    work: str, shell: str, said: str
) -> None:
    """`scripts/… | head` shows no lines of Python, and the exit code is not that of a success."""
    line = f'set -o pipefail; "{sys.executable}" -c "$PROGRAM" {shell}'
    inside = {"OPML_SCRIPT_ENVIRONMENT": sys.prefix, "PROGRAM": ENDING.format(work=work), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=dict(os.environ, **inside), stderr=subprocess.PIPE, text=True
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr.strip() == (f"· {said}" if said == "stopped" else f"· error: {said}" if said else "")
