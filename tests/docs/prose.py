"""
The project's prose, and what its code knows: so that what one says of the other can be compared.

1. `prose_files` lists every file that has prose; `prose` gives the prose of one: a page without its code blocks, a
   module's docstrings and comments, the comments of C and Solidity.
2. `vocabulary` is every identifier that occurs in code, wherever: what is quoted must be among them.
3. `exists` says whether a path in prose leads to a file; `headings` what a page's headings are.
"""

from __future__ import annotations

import ast
import keyword
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CODE: Final = {".py", ".c", ".h", ".S", ".sol", ".toml", ".ld", ".json", ".go", ""}
C_LIKE: Final = {".c", ".h", ".S", ".sol", ".go", ".ld"}

_C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*")


@cache
def files() -> tuple[Path, ...]:
    """Every file that the project keeps: tracked, or new and not ignored."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return tuple(path for name in sorted(set(names)) if (path := ROOT / name).is_file())


def prose_files() -> list[Path]:
    """Those that have prose."""
    return [path for path in files() if path.suffix in {".md", ".py", *C_LIKE} or _is_script(path)]


def _is_script(path: Path) -> bool:
    return path.parent.name == "scripts" and not path.suffix


@cache
def text_of(path: Path) -> str:
    """A file's text."""
    return path.read_text(encoding="utf-8")


@cache
def prose(path: Path) -> str:
    """What a file says to people."""
    text = text_of(path)
    if path.suffix == ".md":
        return re.sub(r"^```.*?^```|^    .*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    if path.suffix in C_LIKE:
        return "\n".join(re.sub(r"^[ \t]*\*(?!/)", "", part, flags=re.MULTILINE) for part in _C_COMMENT.findall(text))
    return "\n".join(_read(text).prose)


@dataclass(frozen=True)
class _Reading:
    """What a file of Python says to people, and the names in it."""

    prose: tuple[str, ...]
    """Docstrings, also those of attributes, without their doctests; then comments."""
    names: frozenset[str]
    """Identifiers, keywords, and words of strings that are no docstrings."""


_FIELDS: Final = ("id", "attr", "name", "arg", "asname", "module", "rest")
"""Of the nodes of a syntax tree: those that hold an identifier."""


@cache
def _read(text: str) -> _Reading:
    """One walk of a file's syntax tree, which is several times faster than its tokens."""
    said, names, docstrings = list[str](), set[str](keyword.kwlist), set[int]()
    strings: dict[int, list[tuple[int, int]]] = {}
    for node in ast.walk(ast.parse(text)):  # parents come before their children
        for field in ("body", "orelse"):
            for statement in body if isinstance(body := getattr(node, field, None), list) else []:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    docstrings.add(id(statement.value))
                    if isinstance(value := statement.value.value, str):
                        said.append(re.sub(r"^\s*(>>>|\.\.\.).*$", "", value, flags=re.MULTILINE))
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)):
            for line in range(node.lineno, (node.end_lineno or 0) + 1):
                begin = node.col_offset if line == node.lineno else 0
                end = (node.end_col_offset or 0) if line == node.end_lineno else sys.maxsize
                strings.setdefault(line, []).append((begin, end))
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and id(node) not in docstrings:
                names.update(_NAME.findall(node.value))
            continue
        for field in _FIELDS:
            if isinstance(held := getattr(node, field, None), str):
                names.update(held.split("."))
        for field in ("names", "kwd_attrs"):
            names.update(each for each in getattr(node, field, ()) if isinstance(each, str))
    return _Reading((*said, *_comments(text, strings)), frozenset(names))


def _comments(text: str, strings: Mapping[int, Sequence[tuple[int, int]]]) -> Iterator[str]:
    """The comments of a file of Python; `strings` are the columns, in bytes, that strings take of its lines."""
    for number, line in enumerate(text.split("\n"), 1):
        if "#" in line:
            raw = line.encode()
            at = raw.find(b"#")
            while inside := [end for begin, end in strings.get(number, ()) if begin <= at < end]:
                at = raw.find(b"#", min(max(inside), len(raw)))
            if at >= 0:
                yield raw[at:].decode().lstrip("#")


@cache
def vocabulary() -> frozenset[str]:
    """Every identifier in code, with the words of Python's string constants, which hold options and fields of JSON."""
    found: set[str] = set()
    for path in files():
        if path.suffix in C_LIKE:
            found.update(_NAME.findall(_C_COMMENT.sub(" ", text_of(path))))
        elif path.suffix == ".py" or _is_script(path):
            found.update(_read(text_of(path)).names)
        elif path.suffix in {".toml", ".json"}:
            found.update(_NAME.findall(text_of(path)))
    return frozenset(found)


@cache
def _by_name() -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for path in files():
        names.setdefault(path.name, []).append("/" + path.relative_to(ROOT).as_posix())
    return names


@cache
def _folders() -> frozenset[str]:
    parents = {parent for path in files() for parent in path.relative_to(ROOT).parents}
    return frozenset("/" + parent.as_posix() for parent in parents)


def exists(name: str) -> bool:
    """Whether a path in prose is the end of one that the project has, or of a folder."""
    clean = "/" + name.removeprefix("./").removeprefix("../").rstrip("/")
    known = _by_name().get(clean.rsplit("/", 1)[1], [])
    return any(path.endswith(clean) for path in known) or any(folder.endswith(clean) for folder in _folders())


@cache
def headings(path: Path) -> tuple[str, ...]:
    """The headings of a page, without the marks of code."""
    body = re.sub(r"^```.*?^```", "", text_of(path), flags=re.DOTALL | re.MULTILINE)
    return tuple(line.replace("`", "").strip() for line in re.findall(r"^#+ (.*)$", body, re.MULTILINE))


def anchor(heading: str) -> str:
    """The link target that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
