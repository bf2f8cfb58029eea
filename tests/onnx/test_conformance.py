"""The package is held to the committed table of ONNX's conformance cases."""

from __future__ import annotations

import warnings

import pytest
from onnx.backend.test.case.test_case import TestCase

from tests.onnx.backend import attempt, cases, in_vm
from tests.onnx.conformance import committed

VM_SAMPLE = ("test_softmax_axis_1", "test_conv_with_strides_padding", "test_lstm_defaults", "test_gather_nd_example")


def _all(kind: str) -> list[TestCase]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's own test data overflows on purpose
        return [case for case in cases() if (case.kind == "real") == (kind == "real")]


def _differences(kind: str) -> list[str]:
    expected = committed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lines = {case.name: attempt(case).line() for case in _all(kind)}
    return [f"{line}\n  expected {expected.get(name)}" for name, line in lines.items() if expected.get(name) != line]


def test_node_cases_go_as_the_table_says() -> None:
    """What passed passes, what was refused is refused for the same reason; scripts/conformance --write renews it."""
    differences = _differences("node")
    assert not differences, "\n".join(differences)


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


@pytest.mark.parametrize("name", VM_SAMPLE)
def test_the_vm_agrees_node_by_node(name: str) -> None:
    """The guest comes to the same state after every node, within the estimated steps."""
    (case,) = (case for case in _all("node") if case.name == name)
    result = attempt(case, in_vm)
    assert result.outcome == "passed", result.reason
