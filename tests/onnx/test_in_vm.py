"""
Conformance cases run in the VM as well: a spread sample of those that pass. `scripts/conformance --vm` runs them all.
"""

from __future__ import annotations

import warnings

import pytest

from opml_dispute.model.opcodes import Opcode
from tests.onnx.backend import attempt, cases
from tests.onnx.conformance import committed
from tests.onnx.in_vm import InVm

EVERY = 13
"""Of the passed node cases, sorted by name, each so many-th is in the sample."""

RARE = ("test_ai_onnx_ml_tree_ensemble_single_tree", "test_lstm_defaults", "test_top_k", "test_convtranspose_dilations")
"""And these: kernels or compositions that few cases use."""


def _sample() -> list[str]:
    passed = [name for name, line in sorted(committed().items()) if ": passed" in line]
    node_cases = [name for name in passed if not name.startswith("test_light_")]
    return list(dict.fromkeys((*node_cases[::EVERY], *RARE)))


def _run(name: str) -> InVm:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's own test data overflows on purpose
        (case,) = (case for case in cases(name) if case.name == name)
        in_vm = InVm()
        result = attempt(case, in_vm)
    assert result.outcome == "passed", result.reason
    assert in_vm.outcome == "equal", f"{in_vm.outcome} after {in_vm.steps:,} steps"
    return in_vm


@pytest.fixture(scope="module")
def seen() -> dict[str, set[Opcode]]:
    """The kernels that each case of the sample has run so far."""
    return {}


@pytest.mark.parametrize("name", _sample())
def test_the_vm_agrees_node_by_node(name: str, seen: dict[str, set[Opcode]]) -> None:
    """The guest comes to the same state after every node, within the estimated steps."""
    seen[name] = {run.record.opcode for run in _run(name).runs}


def test_the_sample_is_large_and_runs_every_kernel(seen: dict[str, set[Opcode]]) -> None:
    """Otherwise it would show little. Runs after the sample itself."""
    assert len(_sample()) >= 100
    if seen.keys() != set(_sample()):
        pytest.skip("not all of the sample was run")
    assert not set(Opcode) - set().union(*seen.values())
