"""What prose names exists: identifiers, paths, options, headings, anchors. A name that went leaves its sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import click
import pytest

from opml_dispute.chain.artifacts import load_artifact
from tests.docs.prose import ROOT, anchor, exists, files, headings, prose, prose_files, text_of, vocabulary
from tests.docs.reference import commands

FOREIGN: Final = {
    "S_t": "the state root in formulas",
    "u128": "notation of docs/game.md",
    "u256": "notation of docs/game.md",
    "ancestorOf": "notation of docs/game.md",
    "ext": "notation of docs/game.md",
    **dict.fromkeys(
        ("anchors", "getStartingAnchorRoot", "superchainConfig", "systemConfig"),
        "functions of the OP Stack's contracts that these do without",
    ),
    "exp2k": "notation of docs/arithmetic.md",
    "pmaddwd": "an x86 instruction",
    "Squareplus": "the made-up operator of docs/operators.md, as an example",
    "softmax_1": "an example of a function's name for a later opset",
    "CalledProcessError": "of Python's subprocess",
    "ASSUMES": "a label of comments",
    "INVARIANT": "a label of comments",
    "idx": "notation of a docstring",
}
"""Quoted names that no code of the project has, and what they are."""

FOREIGN_OPTIONS: Final = {"--help", "--version", "--server", "--ignored-games", "--pprof"}
"""click's own, and some of the OP Stack's op-program, op-dispute-mon and cannon."""

PLACEHOLDER: Final = re.compile(r"(?!README|CONTRIBUTING|SECURITY|CHANGELOG)[A-Z]{4,}\.")
"""A file's name in capitals stands for any file."""

IN_COMMENTS: Final = {"sum_k": "mathematics", "input_0": "a name by PyTorch", "input_1": "a name by PyTorch"}
"""More of them, in comments."""

FOREIGN_FILES: Final = {"agent.toml": "an operator's own file (docs/agent.md)", "web3.py": "the library's name"}
"""Names of files that are not this repository's."""

SNAKE: Final = re.compile(r"(?<![\w./-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w/])")
"""Such a word in a comment is a name, with backticks or without."""

SPELLING = re.compile(r"[A-Za-z_][\w]*(?:(?:\.|::)[A-Za-z_]\w*)*(?:\(.*\))?")
DIGEST = re.compile(r"[0-9a-f]{32,}")
PATH = re.compile(r"(?<![\w/.-])(?:[\w.-]+/)*[\w-]+\.(?:py|c|h|S|sol|md|ld|toml|jsonl\.gz|elf\.gz)(?![\w/])")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def identifier(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def known_words() -> frozenset[str]:
    """What a quoted name may consist of: identifiers in code, and modules and files by their names."""
    return vocabulary() | {path.stem for path in files()} | FOREIGN.keys()


def quoted(text: str) -> Iterator[str]:
    """What stands in backticks, on one line or two."""
    for found in re.findall(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", text):
        yield " ".join(found.split())


def unknown_names(path: Path) -> list[str]:
    """Quoted identifiers that occur in no code."""
    missing = []
    for name in quoted(prose(path)):
        if SPELLING.fullmatch(name) and not DIGEST.fullmatch(name) and not exists(name):
            parts = re.split(r"\.|::", name.partition("(")[0])
            missing += [name for part in parts if len(part) > 1 and part not in known_words()]
    return missing


def options() -> set[str]:
    """Every option of every command and script."""
    known = {option for _, context in commands() for option in _options(context.command)}
    return known | {word for path in files() if "scripts" in path.parts for word in OPTION.findall(text_of(path))}


def _options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)


@pytest.mark.parametrize("path", prose_files(), ids=identifier)
def test_quoted_names_exist(path: Path) -> None:
    """Every identifier in backticks occurs in code."""
    assert unknown_names(path) == []


@pytest.mark.parametrize("path", [path for path in prose_files() if path.suffix != ".md"], ids=identifier)
def test_names_in_comments_exist(path: Path) -> None:
    assert sorted(set(SNAKE.findall(prose(path))) - known_words() - IN_COMMENTS.keys()) == []


@pytest.mark.parametrize("path", prose_files(), ids=identifier)
def test_named_files_exist(path: Path) -> None:
    """Also those of a "Twin:"."""
    text = text_of(path) if path.suffix == ".md" else prose(path)
    named = (name for name in PATH.findall(text) if not PLACEHOLDER.match(name.rsplit("/", 1)[-1]))
    assert [name for name in named if name not in FOREIGN_FILES and not exists(name)] == []


@pytest.mark.parametrize("path", [path for path in prose_files() if path.suffix == ".md"], ids=identifier)
def test_named_options_exist(path: Path) -> None:
    """Every option that prose names is an option of a command."""
    assert sorted(set(OPTION.findall(prose(path))) - options() - FOREIGN_OPTIONS) == []


@pytest.mark.parametrize("path", prose_files(), ids=identifier)
def test_cited_headings_exist(path: Path) -> None:
    """docs/PAGE.md, "Heading", "Another"."""
    text = re.sub(r"\n\s*(///|//|\*|#)?", " ", prose(path))
    assert missing_headings(text) == []


@pytest.mark.parametrize("path", [path for path in files() if path.suffix in {".py", ".yml"}], ids=identifier)
def test_headings_cited_in_messages_exist(path: Path) -> None:
    """Hints and files for operators cite pages as well, in strings that are no prose."""
    assert missing_headings(text_of(path).replace('\\"', '"')) == []


def missing_headings(text: str) -> list[str]:
    """Headings that a text cites, as docs/PAGE.md, "Heading", and that the page does not have."""
    missing = []
    for page, cited in re.findall(
        r'(?:docs/)?\b([\w-]+\.md)\)?,? ((?:"[^"]+"(?:, | and )?)+)', re.sub(r"\s+", " ", text)
    ):
        if (file := ROOT / "docs" / page).exists():
            known = {name for found in headings(file) for name in (found, found.partition(":")[0])}
            titles = re.findall(r'"([^"]+)"', cited)
            missing += [f"{page}: {title}" for title in titles if title.rstrip(".,") not in known]
    return missing


@pytest.mark.parametrize("path", [path for path in prose_files() if path.suffix == ".md"], ids=identifier)
def test_links_lead_somewhere(path: Path) -> None:
    """Every link of a page leads to a file, and to a heading if it names one."""
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        page, _, place = target.partition("#")
        file = (path.parent / page).resolve() if page else path
        if not file.exists() or (place and place not in {anchor(title) for title in headings(file)}):
            missing.append(target)
    assert missing == []


def test_functions_that_docs_game_calls_absent_are() -> None:
    """What the published registry and vault have and ours do not; and that only the game has an initializer."""
    page = (ROOT / "docs" / "game.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"What the published contracts have beside these and ours do not:(.*?)\.\n", page, re.DOTALL)
    absent = re.findall(r"`(\w+)`", told)
    assert len(absent) == 5
    for contract in ("InferenceOracle", "DelayedWETH", "DisputeGameFactory", "PreimageOracle", "FPVM"):
        names = {function.name for function in load_artifact(contract).functions.values()}
        assert not names & {*absent, "initialize", "proxyAdmin", "proxyAdminOwner"}, contract
