"""What the checks cover: every script is type-checked, every page keeps to one width, no file lies about."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WIDTH = 120
"""Columns of a line, in every language of the project."""

LINK = re.compile(r"\s*(?:[-*] )?!?\[.*\]\(\S+\)|\S+( \S+)?")
"""A line that is one link, one picture or one long name cannot be wrapped."""

UNTYPED_SCRIPTS = {"scripts/train-letters": "a backward pass made of closures over arrays; it wrote a committed model"}


def committed(*patterns: str) -> list[Path]:
    """The files under version control whose path matches one of git's patterns."""
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0")[:-1] if (ROOT / name).is_file()]


def test_the_top_folder_holds_what_belongs_there() -> None:
    """A file that a trial left behind is committed easily, and read by all who come after."""
    folders = {"contracts", "docs", "opml_dispute", "scripts", "tests", ".ci"}
    pages = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"}
    build = {"hatch_build.py", "pyproject.toml", "requirements.txt", ".dockerignore"}
    habits = {".clang-format", ".gitattributes", ".gitignore"}
    found = {path.relative_to(ROOT).parts[0] for path in committed()}
    assert found == folders | pages | build | habits


def test_every_script_is_type_checked() -> None:
    """mypy finds files by their suffix, so a script without one has to be named in pyproject.toml."""
    named = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"])
    scripts = [path for path in committed("scripts") if path.parent == ROOT / "scripts" and not path.suffix]
    python = {str(path.relative_to(ROOT)) for path in scripts if b"python" in path.read_bytes().split(b"\n", 1)[0]}
    assert python - named == set(UNTYPED_SCRIPTS)
    assert {name for name in named if name.startswith("scripts/") and name != "scripts/lib"} <= python


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page but for code blocks and tables."""
    in_code = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if re.match(r"\s*(```|~~~)", line):
            in_code = not in_code
        elif not in_code and not line.lstrip().startswith("|"):
            yield number, line


PAGES = [page for page in committed("*.md") if "vendor" not in page.parts and "lib" not in page.parts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_keeps_to_one_width(page: Path) -> None:
    """Lines of prose fit the width of code; one that is a single link or name may be longer."""
    long = [number for number, line in prose(page) if len(line) > WIDTH and not LINK.fullmatch(line)]
    assert not long, f"lines {long} of {page.relative_to(ROOT)} have more than {WIDTH} columns: wrap them"
