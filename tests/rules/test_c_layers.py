"""
Calls in the C code point one way too: between its folders, and between its files.

A file calls another if it names a function that the other defines. What a header declares says nothing about that: one
header may stand for several files, each of which uses only those before it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opml_dispute.toolchain.native import NATIVE

FOLDERS = ("", "memory", "program", "vm", "kernels", "fast", "inference", "jit")
"""From the bottom up; "" is native/ itself. `guest/` is another program, over `kernels` and `program`."""

FILES = sorted(NATIVE.rglob("*.[ch]"))
SOURCES = [file for file in FILES if file.suffix == ".c" and file.parent.name != "guest"]

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
STRING = re.compile(r'"(?:\\.|[^"\\])*"')
DEFINITION = re.compile(r"^(?!static|INLINE|typedef|#)(?:\w+[ \t*]+)+(\w+)\(", re.M)
PRIVATE = re.compile(r"^(?:static|INLINE)\b[^;{(]*?\b(\w+)\(", re.M)


def code(file: Path) -> str:
    """A file without comments and strings."""
    return STRING.sub('""', COMMENT.sub("", file.read_text()))


def defined(text: str) -> set[str]:
    """The functions that a file defines for others: at the left margin, with a body, not static."""
    found = set()
    for match in DEFINITION.finditer(text):
        depth, at = 1, match.end()
        while depth and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        if text[at:].lstrip().startswith("{"):
            found.add(match[1])
    return found


def calls() -> dict[Path, set[Path]]:
    """For every source the other sources whose functions it names, but for those that it defines: for its processor."""
    texts = {file: code(file) for file in SOURCES}
    homes: dict[str, list[Path]] = {}
    for file, text in texts.items():
        for name in defined(text):
            homes.setdefault(name, []).append(file)
    return {
        file: {
            home
            for name in set(re.findall(r"\b\w+\b(?=\()", text)) - set(PRIVATE.findall(text)) - defined(text)
            for home in homes.get(name, [])
            if home != file
        }
        for file, text in texts.items()
    }


CALLS = calls()


def test_the_search_finds_functions() -> None:
    text = "int one(int x)\n{\n}\nstatic int two(void)\n{\n}\nint three(int x);\nEXPORT void four(int (*f)(int)) { }\n"
    assert defined(text) == {"one", "four"}
    assert NATIVE / "vm" / "run.c" in CALLS[NATIVE / "vm" / "machine.c"]


def test_files_do_not_call_each_other_in_a_circle() -> None:
    """A file is done once all that it calls is done; what is left goes in circles."""
    left = {file: set(others) for file, others in CALLS.items()}
    while ready := {file for file, others in left.items() if not others & left.keys()}:
        for file in ready:
            del left[file]
    assert not {
        str(file.relative_to(NATIVE)): sorted(other.name for other in others & left.keys())
        for file, others in left.items()
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(NATIVE)))
def test_a_folder_includes_only_folders_below_it(file: Path) -> None:
    own = file.parent.relative_to(NATIVE).as_posix().replace(".", "")
    included = re.findall(r'#include "([^"]+)"', file.read_text())
    folders = {
        "" if (NATIVE / name).is_file() and "/" not in name else name.rpartition("/")[0] or own for name in included
    }
    if own == "guest":
        assert folders <= {"guest", "kernels", "program"}
    else:
        assert all(FOLDERS.index(folder) <= FOLDERS.index(own) for folder in folders)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(NATIVE)))
def test_a_file_opens_with_a_sentence_that_says_what_it_holds(file: Path) -> None:
    opening = re.match(r"/\*(.*?)\*/", file.read_text(), re.S)
    assert opening, "the first line is no comment"
    words = re.sub(r"\n \*", " ", opening[1]).split()
    assert len(words) >= 4
    assert words[0] != "See", "a sentence of its own, not a reference"


def test_another_compiler_is_told_each_vector_builtin() -> None:
    """Else gcc, which finds wrong accesses of memory where there is no clang, cannot build the fuzzer's engine."""
    used = {
        name
        for path in (*FILES, *NATIVE.rglob("*.inc"))
        for name in re.findall(r"__builtin_((?:elementwise|reduce)_\w+)\(", path.read_text())
    }
    told = (NATIVE.parents[1] / "scripts" / "lib" / "sanitized.py").read_text()
    assert used
    assert [name for name in sorted(used) if f'"{name}"' not in told] == []
