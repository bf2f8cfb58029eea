"""
The project's prose, and what its code knows: so that what one says of the other can be compared.

1. `prose_files` lists every file that has prose; `prose` gives the prose of one: a page without its code blocks, a
   module's docstrings and comments, the comments of C and Solidity.
2. `vocabulary` is every identifier that occurs in code, wherever: what is quoted must be among them.
3. `exists` says whether a path in prose leads to a file; `headings` what a page's headings are.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
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
    return "\n".join(_python_prose(text))


def _python_prose(text: str) -> Iterator[str]:
    """Docstrings, also those of attributes, without their doctests; and comments."""
    for node in ast.walk(ast.parse(text)):
        for field in ("body", "orelse"):
            for statement in getattr(node, field, None) or [] if isinstance(getattr(node, field, None), list) else []:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    value = statement.value.value
                    if isinstance(value, str):
                        yield re.sub(r"^\s*(>>>|\.\.\.).*$", "", value, flags=re.MULTILINE)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("#")


@cache
def vocabulary() -> frozenset[str]:
    """Every identifier in code, with the words of Python's string constants, which hold options and fields of JSON."""
    found: set[str] = set()
    for path in files():
        if path.suffix in C_LIKE:
            found.update(_NAME.findall(_C_COMMENT.sub(" ", text_of(path))))
        elif path.suffix == ".py" or _is_script(path):
            found.update(_python_names(text_of(path)))
        elif path.suffix in {".toml", ".json"}:
            found.update(_NAME.findall(text_of(path)))
    return frozenset(found)


def _python_names(text: str) -> Iterator[str]:
    tree = ast.parse(text)
    docstrings = {
        id(statement.value)
        for node in ast.walk(tree)
        for statement in (getattr(node, "body", None) or [] if isinstance(getattr(node, "body", None), list) else [])
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield from _NAME.findall(node.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.string


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
