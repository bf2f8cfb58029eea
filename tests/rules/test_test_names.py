"""A test says what it holds: by a docstring, or by a name that is a sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.docs.prose import ROOT

LONG_ENOUGH: Final = 6
"""Words of a name that says enough by its length."""
SHORTEST: Final = 4
"""Words that a name has at least; with fewer than `LONG_ENOUGH`, one of them is a verb."""
VERBS: Final = re.compile(
    "is|are|has|have|can|cannot|may|must|does|do|be|was|were|fuses|leave|leaves|save|saves|say|says|broadcast|satisfy|"
    "(accept|add|agree|answer|change|cost|count|end|exist|fail|find|fit|follow|give|hold|keep|lead|make|need|print|read|run|"
    "round|send|show|sign|stay|survive|tell|work|wrap|write)s?|crash(es)?|multipl(y|ies)|[a-z]{3,}ed"
)


def names_without_a_sentence(text: str) -> Iterator[str]:
    """The names of test functions that have neither a docstring nor a sentence for a name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            words = node.name.split("_")[1:]
            has_verb = any(VERBS.fullmatch(word) for word in words)
            if ast.get_docstring(node) or len(words) >= LONG_ENOUGH or (len(words) >= SHORTEST and has_verb):
                continue
            yield node.name


def test_every_test_says_what_it_holds() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (names := list(names_without_a_sentence(path.read_text(encoding="utf-8"))))
    }
    assert found == {}, "write a docstring, or a name that is a sentence"


HOLDS_A_TEST: Final = re.compile(r"^\s*(async )?def test_\w+\(|^Test\w+( =|\.)|^class Test", re.MULTILINE)


def test_every_file_of_tests_holds_one() -> None:
    """A file that lost its content looks as if something were tested."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert [str(path) for path in files if not HOLDS_A_TEST.search(path.read_text(encoding="utf-8"))] == []
    assert not HOLDS_A_TEST.search('"""Tests."""\n\ndef helper(): pass\n')


def test_a_name_without_a_sentence_is_found() -> None:
    assert list(names_without_a_sentence("def test_padding(): pass\ndef test_bonds_of_the_contract(): pass")) == [
        "test_padding",
        "test_bonds_of_the_contract",
    ]
    assert list(names_without_a_sentence('def test_padding():\n    """It agrees with the reference."""')) == []
