"""Files, JSON and text from outside: read with limits, printed without effects."""

from __future__ import annotations

import gzip
import io
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml_dispute import plain_json, printable
from opml_dispute.reading import Unreadable, read_bytes, read_json, read_text, read_unpacked


def test_a_file_is_read_whole_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_bytes(path, max_bytes=100) == b"x" * 100
    with pytest.raises(Unreadable, match="it has 100 bytes, expected 99 at most"):
        read_bytes(path, max_bytes=99)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "directory"), ("none", "No such file"), ("x" * 300, "too long"), ("a\0b", "no file can have this name")],
)
def test_what_is_no_file_is_refused_with_a_reason(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_bytes(tmp_path / name, max_bytes=10)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_an_endless_device_is_read_up_to_the_limit_only() -> None:
    with pytest.raises(Unreadable, match="more than 1,000 bytes"):
        read_bytes(Path("/dev/zero"), max_bytes=1000)


@pytest.mark.parametrize("way", ["file", "pipe"])
def test_a_packed_file_is_read_unpacked_once_and_within_its_limit(tmp_path: Path, way: str) -> None:
    """Through a pipe as well, which can be read only once; what unpacks to too much is refused."""
    for content, limit in ((b"x" * 5000, 5000), (b"plain", 5), (b"x" * 5001, 5000)):
        data = content if content == b"plain" else gzip.compress(content)
        path = tmp_path / f"{way}{len(content)}"
        if way == "file":
            path.write_bytes(data)
        else:
            os.mkfifo(path)
            threading.Thread(target=path.write_bytes, args=(data,), daemon=True).start()
        if len(content) <= limit:
            assert read_unpacked(path, max_bytes=limit) == content
        else:
            with pytest.raises(Unreadable, match="it unpacks to more than 5,000 bytes"):
                read_unpacked(path, max_bytes=limit)


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: data[:5], lambda data: data[:-8] + bytes(8)])
def test_a_damaged_packed_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(damage(gzip.compress(b"something" * 100)))
    with pytest.raises(Unreadable, match="it is not a whole gzip file"):
        read_unpacked(path, max_bytes=10_000)


def test_a_pipe_is_read_when_its_writer_comes_late(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        time.sleep(0.1)
        path.write_text("late")

    writer = threading.Thread(target=write)
    writer.start()
    assert read_text(path) == "late"
    writer.join()


def test_a_pipe_that_nobody_writes_to_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(Unreadable, match="nothing came through this pipe"):
        read_bytes(path, max_bytes=10, patience_s=0.05)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "inside each other"),
        ('{"a":' * 100_000, "inside each other"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ("[NaN]", "NaN is not a number"),
        ("-Infinity", "-Infinity is not a number"),
        ("[1e999]", "1e999 is larger than any number of 64 bits"),
        ('{"a": -1.5E400}', "-1.5E400 is larger than any number of 64 bits"),
        ("9" * 5_000, "5,000 digits"),
        ("[1,", "line 1, column 4"),
        ("", "line 1, column 1"),
    ],
)
def test_hostile_json_is_refused_with_a_reason(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        plain_json.loads(text)
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(Unreadable, match=reason):
        read_json(path)


def test_deep_json_is_refused_even_with_a_raised_recursion_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries raise the limit; the parser must not rely on it."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        with pytest.raises(ValueError, match="inside each other"):
            plain_json.loads("[" * 100_000)
    finally:
        sys.setrecursionlimit(limit)


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    assert plain_json.loads('["' + "[" * 1000 + '\\"{"]') == ["[" * 1000 + '"{']


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.text(), st.lists))
def test_ordinary_json_is_read_as_it_is(value: object) -> None:
    import json

    assert plain_json.loads(json.dumps(value)) == value


@given(st.text())
def test_one_line_holds_no_character_that_acts_on_a_terminal(text: str) -> None:
    shown = printable.one_line(text)
    assert not [
        c
        for c in shown
        if not c.isprintable()
        and ord(c) not in {0xA0, 0x1680, 0x202F, 0x205F, 0x3000}
        and not 0x2000 <= ord(c) <= 0x200A
    ]
    assert all(
        character.isprintable() or character in "\n\t" for character in printable.lines(text) if character < "\x80"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2066b\u200bc", "a\\u2066b\\u200bc"),
        ("a\ud800b", "a\\ud800b"),
        ("a\u2028b", "a b"),
        ("first\r\nerror: second", "first error: second"),
        ("[bold]/Stämme/漢字[/]", "[bold]/Stämme/漢字[/]"),
    ],
)
def test_what_acts_on_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable.one_line(text) == shown


def test_a_very_long_name_is_cut() -> None:
    assert printable.one_line("x" * 10**7, limit=20) == "x" * 20 + "… (10,000,000 characters)"


def test_a_stream_that_knows_ascii_only_prints_substitutes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    printable.use_substitutes(stream)
    stream.write("✓ 0x12…ab – ä")
    stream.flush()
    assert raw.getvalue() == b"+ 0x12...ab - \\xe4"


OWN_JSON: Final = {
    "chain/artifacts.py": "contracts as this package was built with",
    "generation/chat_process.py": "between a process and the one that it started",
    "operator/blob_process.py": "between a process and the one that it started",
    "operator/fetch_process.py": "between a process and the one that it started",
    "plain_json.py": "the reader itself",
    "simulation/evm.py": "contracts as this package was built with",
    "simulation/scenario.py": "a copy of what it wrote itself",
    "simulation/studies/layer_two.py": "measurements that are part of this package",
    "testing/fault_proxy.py": "test equipment, between a test and its local chain",
    "testing/vectors.py": "test vectors of this repository",
}
"""Files that may use Python's own reader, and for what."""


def test_no_other_json_goes_past_the_reader_of_untrusted_json() -> None:
    """A program file that was fetched went to Python's own: its nesting ended the process by a fault of memory."""
    package = Path(plain_json.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\bjson\.loads?\(", path.read_text(encoding="utf-8").replace("plain_json.", ""))
    }
    assert found == set(OWN_JSON)
