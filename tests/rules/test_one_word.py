"""One word, one thing: public names are unique in the package, and a word that the vocabulary replaced stays away."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Final

import pytest

import opml_dispute
from tests.docs.prose import ROOT, files, prose, prose_files, text_of

PACKAGE: Final = Path(opml_dispute.__file__).parent

TWICE: Final = {
    "Plan": "the memory of a program, and a study's plan of runs",
    "Step": "an action of the game, and a step of a native run's schedule",
    "Output": "where a command prints; everything else says outputs of a model",
    "run": "called with its module's name, which says what runs",
    "report": "each study of the laboratory has one, found by its module",
    "play": "a simulated game on one of several levels",
    "Code": "a part of a report, and a compiled contract",
    "Table": "a simulated game, and a table of a report",
    "loads": "as in json and tomllib, called with its module's name",
    "write_json": "the project's own files, and files as the OP Stack's cannon writes them",
}
"""Public names that two modules may share, each with its reason."""

MIRRORS: Final = "opml_dispute/simulation/"
"""The laboratory mirrors the real thing with the real thing's names (Table, Liar, Inference); only its own names are
compared with each other."""

COMMANDS: Final = "opml_dispute/cli/"
"""A command's function bears the command's name, and nothing calls it."""
LOWERINGS: Final = "opml_dispute/model/lower/"
"""Lowerings are found by their decorator, and nothing calls them by name."""
TEMPLATES: Final = "opml_dispute/web/templates/"
STUDIES: Final = ("opml_dispute/simulation/studies/", "opml_dispute/simulation/scenarios/")
"""Their strings are the texts of the laboratory's reports."""

BANNED: Final = {
    r"NaN has one face": "every NaN result is canonicalised to 0x7fc00000",
    r"\blocal_key\b": "unlocalized_key or localized_key",
    r"\btwo faces\b": "what is meant",
    r"\bowes? nothing to\b": "is independent of",
    r"\bfor want of\b": "for lack of, or what is missing",
    r"\bdeaf\b": "does not capture output",
    r"\bthread pools? of threads\b": "thread pool",
    r"\bkernels_bytes\b": "big_endian",
    r"\bbugs? of ours\b": "a bug of this package",
    r"\bbehind our back\b": "name the actor: the compiler must not fuse",
    r"\bcomes? to nothing\b": "changes nothing, or fails",
}
"""Phrases that the vocabulary replaced, in code or prose, and what to say in their place."""

BANNED_IN_PROSE: Final = {
    r"(?i)\b(some|no|any)body\b": "the role: proposer, challenger, registrant, requester, operator, an account",
    r"(?i)\b(someone|who(m)?ever)\b": "the role: proposer, challenger, registrant, requester, operator, an account",
    r"(?i)\bteams?\b": "side",
    r"(?i)\bvandals?\b": "random attacker",
    r"(?i)\bstrangers?\b": "untrusted input, or another account",
    r"(?i)\baudiences?\b": "listener",
    r"(?i)\bliar's (story|stories)\b": "faulty trace",
    r"\bMerkle node\b": "subtree, or inner node of the tree",
    r"(?i)\bat stake\b": "in dispute (a range), or the bond (money)",
    r"(?i)\bmend(s|ed|ing)?\b": "correct",
    r"(?i)\babsorb(s|ed|ing)?\b": "fuse, or fold",
    r"(?i)\bthe one of\b": "name the thing",
}
"""Words of prose that the vocabulary replaced: docstrings, comments, pages, and the texts of commands."""

SPONGE: Final = ("contracts/src/vm/preimages/", "contracts/test/vm/preimages/")
"""A Keccak sponge absorbs its input: that is the field's term."""


@cache
def public_names(*, mirrors: bool = False) -> dict[str, list[str]]:
    """Each public class and function of the package, or of its mirrors, with the files that define one of that name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        if "_build" in path.parts or place.startswith((COMMANDS, LOWERINGS)) or place.startswith(MIRRORS) != mirrors:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                found[node.name].append(place)
    found.pop("main", None)
    return found


@pytest.mark.parametrize("mirrors", [False, True])
def test_no_public_name_is_defined_twice(mirrors: bool) -> None:
    found = public_names(mirrors=mirrors).items()
    twice = {name: places for name, places in found if len(places) > 1 and name not in TWICE}
    assert twice == {}


def test_classes_of_commands_and_lowerings_have_names_of_their_own() -> None:
    """Their functions are exempt, their classes are not."""
    known = public_names()
    for path in (ROOT / COMMANDS).rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in TWICE:
                assert known.get(node.name, []) == [], (path, node.name)


@pytest.mark.parametrize(("phrase", "instead"), BANNED.items(), ids=str)
def test_a_replaced_phrase_stays_away(phrase: str, instead: str) -> None:
    places = [path.relative_to(ROOT).as_posix() for path in prose_files() if re.search(phrase, text_of(path))]
    assert [place for place in places if place != "tests/rules/test_one_word.py"] == [], f"say: {instead}"


def spoken(path: Path) -> str:
    """A file's prose, with the texts that a command prints and a page shows."""
    place = path.relative_to(ROOT).as_posix()
    if place.startswith(SPONGE) or place == "tests/rules/test_one_word.py":
        return ""
    return text_of(path) if place.startswith((COMMANDS, TEMPLATES, *STUDIES)) else prose(path)


def where(phrase: str) -> list[str]:
    """The lines in which a phrase occurs, with their files."""
    pages = [path for path in files() if path.relative_to(ROOT).as_posix().startswith((TEMPLATES, STUDIES[1]))]
    return [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (*prose_files(), *pages)
        for line in spoken(path).splitlines()
        if re.search(phrase, line)
    ]


@pytest.mark.parametrize(("phrase", "instead"), BANNED_IN_PROSE.items(), ids=str)
def test_prose_names_a_thing_by_its_one_word(phrase: str, instead: str) -> None:
    assert where(phrase) == [], f"say: {instead}"


def test_a_banned_word_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a docstring, in a comment of C, in a command's help, and in a study's question."""
    for place, text in (
        ("opml_dispute/game/claim.py", '"""Somebody answers."""'),
        ("opml_dispute/native/memory/memory.c", "/* data from strangers */"),
        ("opml_dispute/cli/show.py", 'HELP = "what is at stake"'),
        ("opml_dispute/simulation/scenarios/crowd.toml", 'question = "Does anybody check?"'),
    ):
        with monkeypatch.context() as patched:
            patched.setattr("tests.docs.prose.text_of", lambda path, text=text: text)
            patched.setattr("tests.rules.test_one_word.text_of", lambda path, text=text: text)
            patched.setattr("tests.rules.test_one_word.prose", prose.__wrapped__)
            said = spoken(ROOT / place)
        assert [phrase for phrase in BANNED_IN_PROSE if re.search(phrase, said)], place


def test_the_whole_package_is_looked_at() -> None:
    assert len(public_names()) > 500
    assert len(files()) > 500
