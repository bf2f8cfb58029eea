"""The examples in docstrings run."""

import doctest
import importlib

import pytest

MODULES = [
    "opml_dispute.game.bond",
    "opml_dispute.game.depths",
    "opml_dispute.game.position",
    "opml_dispute.actors.liars",
    "opml_dispute.actors.words",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
