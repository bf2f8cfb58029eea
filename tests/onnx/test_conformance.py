"""The package is held to the committed table of ONNX's conformance cases."""

from __future__ import annotations

import warnings
from functools import cache

import pytest
from onnx.backend.test.case.test_case import TestCase

from tests.onnx.backend import Result, attempt, cases
from tests.onnx.conformance import committed, documented, operators


def _all(kind: str) -> list[TestCase]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's own test data overflows on purpose
        return [case for case in cases() if (case.kind == "real") == (kind == "real")]


@cache
def _results(kind: str) -> list[Result]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [attempt(case) for case in _all(kind)]


def _differences(kind: str) -> list[str]:
    expected = committed()
    lines = {result.name: result.line() for result in _results(kind)}
    return [f"{line}\n  expected {expected.get(name)}" for name, line in lines.items() if expected.get(name) != line]


def test_node_cases_go_as_the_table_says() -> None:
    """What passed passes, what was refused is refused for the same reason; scripts/conformance --write renews it."""
    differences = _differences("node")
    assert not differences, "\n".join(differences)


def test_the_documentation_has_a_line_for_each_operator() -> None:
    """docs/operators.md says what each became in the cases; scripts/conformance --write renews it."""
    assert documented() == operators(_results("node"))


@pytest.mark.slow
def test_real_architectures_go_as_the_table_says() -> None:
    """AlexNet, DenseNet-121, Inception v1 and v2, ResNet-50, ShuffleNet, SqueezeNet, VGG-19, ZFNet-512."""
    differences = _differences("real")
    assert not differences, "\n".join(differences)


def test_the_table_names_every_case_once_and_nothing_failed() -> None:
    """A case that ONNX adds or takes away shows up here."""
    expected = committed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert set(expected) == {case.name for case in cases()}
    assert not [line for line in expected.values() if ": failed" in line]
