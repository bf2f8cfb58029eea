"""The examples in docstrings run, in every module that has one."""

import doctest
import importlib
from pathlib import Path

import opml_dispute

PACKAGE = Path(opml_dispute.__file__).parent


def test_examples_in_docstrings_give_what_they_say() -> None:
    """Those of the rules and the actors are run by tests/game."""
    modules = [
        ".".join(["opml_dispute", *path.relative_to(PACKAGE).with_suffix("").parts])
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name not in ("game", "actors") and ">>> " in path.read_text()
    ]
    assert len(modules) > 20
    for name in modules:
        result = doctest.testmod(importlib.import_module(name))
        assert (result.attempted > 0, result.failed) == (True, 0), name
