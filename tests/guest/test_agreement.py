"""Guest and host reach the same state, whatever the node."""

from __future__ import annotations

import numpy as np
import pytest

from opml_dispute.model.opcodes import Binary, DType, Opcode, Unary
from tests.guest.programs import DIFFERENT, EQUAL, inference, run_node
from tests.kernels import cases
from tests.kernels.maker import Case, Maker
from tests.kernels.spare import with_spare_words


def agrees(case: Case) -> bool:
    states = inference(case)
    assert states.status == 0
    return run_node(states).exit_code == EQUAL


@pytest.mark.parametrize("opcode", Opcode)
def test_guest_and_host_agree_on_random_nodes(opcode: Opcode) -> None:
    """With NaNs, infinities, subnormals and signed zeros among the operands."""
    for seed in range(60):
        case = cases.case(np.random.default_rng([opcode, seed]), opcode, awkward=seed % 4 != 0)
        assert agrees(case), f"seed {seed}: {case.record} {case.record.imm} {case.record.body}"


@pytest.mark.parametrize("opcode", Opcode)
def test_guest_and_host_agree_whatever_the_words_are_that_no_rule_reads(opcode: Opcode) -> None:
    for seed in range(6):
        case = cases.case(np.random.default_rng([opcode, seed, 11]), opcode)
        expected, states = inference(case), inference(case, raw=with_spare_words(case.record.pack(), seed))
        assert states.status == 0
        assert run_node(states).exit_code == EQUAL, case.record
        assert states.output_image() == expected.output_image()


@pytest.mark.parametrize("function", Unary)
def test_guest_and_host_agree_on_every_unary_function(function: Unary) -> None:
    for dtype in cases._UNARY[function]:
        for seed in range(2):
            make = Maker(np.random.default_rng([function, dtype, seed]), awkward=True)
            assert agrees(cases.unary(make, function, dtype)), f"{dtype.name} seed {seed}"


@pytest.mark.parametrize("function", Binary)
def test_guest_and_host_agree_on_every_binary_function(function: Binary) -> None:
    for dtype in cases._BINARY[function]:
        for seed in range(2):
            make = Maker(np.random.default_rng([function, dtype, seed]), awkward=True)
            assert agrees(cases.binary(make, function, dtype)), f"{dtype.name} seed {seed}"


@pytest.mark.parametrize("function", [each for each in Unary if DType.F32 in cases._UNARY[each]])
def test_guest_and_host_agree_on_floats_of_every_size(function: Unary) -> None:
    """A thousand operands over all exponents: both sides take the same path through every special case."""
    rng = np.random.default_rng(function)
    operands = rng.integers(0, 1 << 32, 1000, dtype=np.uint32).view(np.float32)
    operands[:250] = rng.uniform(-100, 100, 250)
    operands[250:500] = rng.uniform(-1.5, 1.5, 250)
    make = Maker(rng, awkward=True)
    make.dims = lambda rank=None, most=6: [1000]  # type: ignore[method-assign]
    case = cases.unary(make, function, DType.F32)
    (offset, array), *rest = case.arrays
    array[: min(array.size, 1000)] = operands[: min(array.size, 1000)]
    assert agrees(Case(case.record, ((offset, array), *rest))), case.record


def test_guest_says_so_when_the_disputed_root_is_wrong() -> None:
    states = inference(cases.case(np.random.default_rng(1), Opcode.BINARY))
    assert run_node(states, disputed=bytes(32)).exit_code == DIFFERENT
