"""
Conformance cases run in the VM as well: a spread sample of those that pass. `scripts/conformance --vm` runs them all.
"""

from __future__ import annotations

import warnings

import pytest

from opml_dispute.model.opcodes import Opcode
from tests.onnx.backend import Result, Run, attempt, cases, native
from tests.onnx.conformance import committed
from tests.onnx.in_vm import InVm

EVERY = 13
"""Of the passed node cases, sorted by name, each so many-th is in the sample."""

RARE = (
    "test_ai_onnx_ml_tree_ensemble_single_tree",
    "test_lstm_defaults",
    "test_top_k",
    "test_convtranspose_dilations",
    "test_maxpool_with_argmax_2d_precomputed_pads",
)
"""And these: kernels or compositions that few cases use."""

ELSEWHERE = {Opcode.BLOCK_QUANTISE, Opcode.BLOCK_CONTRACT, Opcode.BLOCK_GATHER}
"""
Kernels that no ONNX node case can use: their weights lie in blocks, a format that no operator of the standard has.

tests/kernels/test_blocks.py holds their numbers against the third implementation, tests/guest/test_agreement.py the
guest against the host.
"""


def _sample() -> list[str]:
    passed = [name for name, line in sorted(committed().items()) if ": passed" in line]
    node_cases = [name for name in passed if not name.startswith("test_light_")]
    return list(dict.fromkeys((*node_cases[::EVERY], *RARE)))


def _attempt(name: str, run: Run) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ONNX's own test data overflows on purpose
        (case,) = (case for case in cases(name) if case.name == name)
        return attempt(case, run)


@pytest.mark.parametrize("name", _sample())
def test_the_vm_agrees_node_by_node(name: str) -> None:
    """The guest comes to the same state after every node, within its bound of steps."""
    in_vm = InVm()
    result = _attempt(name, in_vm)
    assert result.outcome == "passed", result.reason
    assert in_vm.outcome == "equal", f"{in_vm.outcome} after {in_vm.steps:,} steps"


def test_the_sample_is_large_and_uses_every_kernel_that_onnx_reaches() -> None:
    """Otherwise it would show little. A kernel of `ELSEWHERE` that a case does use is no longer one of them."""
    assert len(_sample()) >= 100
    used = {kernel for name in _sample() for _, kernel in _attempt(name, native).kernels}
    assert used == {opcode.name for opcode in set(Opcode) - ELSEWHERE}
