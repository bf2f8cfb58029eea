"""
Every operator, in every version of its schema, with every element type: compiled and right, or refused with a reason.

The test takes a few trials of each operator, spread over versions and types; `scripts/sweep-operators` takes all. What
ONNX Runtime computes decides; where it has no such operator, ONNX's reference evaluator does.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from opml_dispute.model.lower.random import ALWAYS_DRAW
from tests.onnx.sweep import Outcome, check
from tests.onnx.trials import Trial, operators, trials

QUICK = 6
"""Trials of one operator in the test."""

REFERENCE_ERRS = {
    **dict.fromkeys(("Adagrad", "Adam", "Momentum"), "the reference answers in the type of the rate or the step"),
    "AffineGrid": "the reference evaluator answers float32 for a bfloat16 transform",
    "Attention": "negative scales and caps: the reference takes roots of them",
    "AveragePool": "version 1: the reference counts padding, which that version does not say",
    "BatchNormalization": "the reference mixes up the types of the running statistics",
    "DequantizeLinear": "the reference takes integers as result types, which the schema does not",
    "Det": "the reference answers float64 for bfloat16",
    "GridSample": "the reference answers in the wrong type where input and grid have different ones",
    "Hardmax": "versions 1 to 12: the reference takes one axis, and not all behind it",
    "LayerNormalization": "the mean of bfloat16 is float32 by stash_type, and bfloat16 in the reference",
    "LogSoftmax": "versions 1 to 12: the reference takes one axis, and not all behind it",
    "Pow": "powers of integers that overflow wrap here, and saturate in the reference's binary64",
    "RMSNormalization": "the reference answers in the input's type, the schema says the scale's",
    "ReduceL2": "the reference squares in the narrow type, which wraps",
    "ReduceMean": "sums of 32 bits wrap there",
    "ReduceSumSquare": "the reference answers uint64 for uint32",
    "Softmax": "versions 1 to 12: the reference takes one axis, and not all behind it",
    "TreeEnsemble": "the reference answers float32 for float16, and mixes up memberships",
}
"""Operators in which the reference evaluator is not followed where ONNX Runtime has no kernel, with the reason."""


def chosen(domain: str, op_type: str, count: int | None) -> Sequence[Trial]:
    """All trials of an operator, or `count` of them, evenly spread."""
    found = list(trials(domain, op_type))
    if count is None or len(found) <= count:
        return found
    return [found[i * len(found) // count] for i in range(count)]


def findings(domain: str, op_type: str, count: int | None) -> list[str]:
    """What is wrong with an operator."""
    found = []
    for trial in chosen(domain, op_type, count):
        outcome = check(trial)
        if outcome.kind in ("crashed", "status", "folded") or (outcome.kind == "differs" and not _excused(outcome)):
            found.append(f"{op_type}-{trial.version} [{trial.name}] {outcome.kind}: {outcome.detail}")
    return found


def _excused(outcome: Outcome) -> bool:
    op_type = outcome.trial.op_type
    if op_type in ALWAYS_DRAW:  # what is drawn is compared in tests/model/test_random.py, types and shapes here
        return "; expected [" in outcome.detail
    if op_type == "Dropout":  # ONNX Runtime's mask is zeros before version 12; the standard's evaluator keeps all
        return "output 1" in outcome.detail and outcome.trial.version < 12
    if op_type == "ReduceLogSumExp" and "T=UINT" in outcome.trial.name and outcome.trial.name.startswith("seed 0"):
        return True  # of nothing it is minus infinity: 0 here, whatever the processor makes of it there
    return op_type in REFERENCE_ERRS and "ONNX Runtime" not in outcome.detail


@pytest.mark.parametrize(("domain", "op_type"), operators())
def test_a_few_trials_of_each_operator(domain: str, op_type: str) -> None:
    problems = findings(domain, op_type, QUICK)
    assert not problems, "\n".join(problems)
