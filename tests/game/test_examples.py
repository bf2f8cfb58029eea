"""The examples in docstrings of the rules and the actors run; tests/docs runs the others."""

import doctest
import importlib
from pathlib import Path

import pytest

import opml_dispute

PACKAGE = Path(opml_dispute.__file__).parent
MODULES = [
    ".".join(["opml_dispute", *path.relative_to(PACKAGE).with_suffix("").parts])
    for folder in ("game", "actors")
    for path in sorted((PACKAGE / folder).glob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_rules_give_what_they_say(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
