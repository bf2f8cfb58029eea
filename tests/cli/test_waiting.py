"""The line about long work: on a terminal only, never wider than it, and gone when the work is done."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import parser

from opml_dispute import working
from opml_dispute.cli.waiting import shown_work

MANY = 12_000
"""Operations of a model that compiles for a while."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "EVERY_S", 0)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_line_is_overwritten_and_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with shown_work(), working.under_way():
        working.tell(lambda: "one")
        with working.under_way():
            working.tell(lambda: "two\nlines\x1b[31m")
        working.tell(lambda: "x" * 300)
    lines = stream.getvalue().split("\r\x1b[K")
    assert lines[1] == "one"
    assert "\n" not in lines[2]
    assert "\x1b" not in lines[2]
    assert lines[3:] == ["x" * 79, ""]


def test_pipes_get_nothing_and_nobody_is_asked_for_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with shown_work(), working.under_way():
        working.tell(lambda: pytest.fail("there is no listener"))
    assert stream.getvalue() == ""


def test_what_is_told_outside_of_any_work_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with shown_work():
        working.tell(lambda: "left over")
    assert stream.getvalue() == ""


def test_compiling_on_a_terminal_says_how_far_it_is(tmp_path: Path) -> None:
    body = "\n".join(f"x{i + 1} = Add (x{i}, w)" for i in range(MANY))
    head = f'<ir_version: 8, opset_import: ["" : 17]>\nchain (float[3] x0, float[3] w) => (float[3] x{MANY})'
    onnx.save(parser.parse_model(f"{head}\n{{\n{body}\n}}"), tmp_path / "chain.onnx")
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "opml_dispute", "model", "inspect", "chain.onnx", "--json"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "60"}
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=follower, env=environment, check=True)
    os.close(follower)
    shown = b""
    while chunk := _read(leader):
        shown += chunk
    os.close(leader)
    assert re.search(rb"\r\x1b\[Kcompiling the model, \d+ s: [\d,]+ operations, ", shown)
    assert shown.endswith(b"\r\x1b[K")
    assert b'"nodes": 12000' in done.stdout


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65_536)
    except OSError:
        return b""
