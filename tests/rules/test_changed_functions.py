"""A mutant is put into a process that runs: every function that changed, and nothing that an import computed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.prose import ROOT

SOURCE = """
from functools import lru_cache

LIMIT = 3

def above(value, least=LIMIT):
    return value > least

@lru_cache
def double(value):
    return 2 * value

class Scale:
    FACTOR = 10

    @property
    def ten(self):
        return self.FACTOR + 0

    def each(self, values):
        return [value * self.FACTOR for value in values]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The source, imported from a file."""
    (tmp_path / "changed_here.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.delitem(sys.modules, "changed_here", raising=False)
    return importlib.import_module("changed_here")


def replaced(module: Any, before: str, after: str) -> bool:
    assert SOURCE.count(before) == 1
    lib = importlib.import_module("lib.changed_functions")
    return bool(lib.replace_functions(module.__file__, SOURCE, SOURCE.replace(before, after)))


def test_functions_that_others_hold_run_the_new_code(module: Any) -> None:
    above, double, scale = module.above, module.double, module.Scale()
    assert replaced(module, "value > least", "value >= least")
    assert replaced(module, "2 * value", "3 * value")
    assert replaced(module, "FACTOR + 0", "FACTOR - 1")
    assert replaced(module, "[value * self", "[value // self")
    assert (above(3), double(5), scale.ten, scale.each([20])) == (True, 15, 9, [2])


@pytest.mark.parametrize(("before", "after"), [("LIMIT = 3", "LIMIT = 4"), ("FACTOR = 10", "FACTOR = 11")])
def test_what_an_import_computes_is_left_to_another_process(module: Any, before: str, after: str) -> None:
    assert not replaced(module, before, after)
    assert not module.above(3)
    assert module.above(4)
