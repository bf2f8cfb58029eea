"""Ctrl-C ends a command with one word, whenever it comes."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPTED_LOADING = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
sys.argv = ["opml-dispute", *{arguments!r}]
from opml_dispute.__main__ import {program}
{program}()
"""
INTERRUPTED_ENDING = """
import os, signal, sys, threading
from opml_dispute.__main__ import main
# Joined when Python ends: what a command leaves running.
threading.Thread(target=lambda: (threading.main_thread().join(), os.kill(os.getpid(), signal.SIGINT))).start()
sys.argv = ["opml-dispute", "--version"]
main()
"""


def run_code(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("program", "module", "arguments"),
    [
        ("main", "rich.console", ["list"]),
        ("main", "opml_dispute.cli.show", ["list"]),
        ("main", "onnx", ["model", "inspect", "model.onnx"]),
        ("cannon", "opml_dispute.cli.cannon", ["version"]),
        ("cannon", "rich.console", ["version"]),
    ],
)
def test_ctrl_c_while_a_command_loads_is_one_sentence(program: str, module: str, arguments: list[str]) -> None:
    result = run_code(INTERRUPTED_LOADING.format(program=program, module=module, arguments=arguments))
    assert result.returncode == 130, result.stderr
    assert result.stderr.strip().startswith("Stopped.")
    assert result.stderr.strip().count("\n") == 0


def test_ctrl_c_while_python_ends_is_no_traceback() -> None:
    assert "Traceback" not in run_code(INTERRUPTED_ENDING).stderr
