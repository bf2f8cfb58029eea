"""
Every kernel, on random records: right values, and the same bits however it is run.

Right values: against tests/model/interpreter/, which reads docs/kernels.md on its own and computes in numpy.
Same bits: plain kernels, fast paths and kernels on the VM's bytes; and whatever parts a range is cut into.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.opcodes import Binary, DType, Opcode, Unary
from opml_dispute.model.recorder import MOVES
from tests.kernels import cases
from tests.kernels.bench import FAST, PLAIN, VM_BYTES, Bench, extent, same_bits
from tests.kernels.maker import Array, Case, Maker
from tests.kernels.spare import with_spare_words
from tests.model import interpreter
from tests.model.interpreter.segment import Segment

SEEDS = st.integers(0, 2**32 - 1)
EXACT = (Opcode.COPY, Opcode.FILL, Opcode.SELECT, Opcode.GATHER, Opcode.TOPK, Opcode.ARGREDUCE, Opcode.POOL_INDEX)


def read_again(case: Case) -> Array:
    """The output's extent as the interpreter makes it."""
    lo, hi = extent(case)
    segment = Segment.__new__(Segment)
    segment.blocks = {}
    for offset, array in case.arrays:
        segment.blocks[offset] = (array.nbytes, array.view(np.uint8).copy())
    segment.blocks[lo] = (hi - lo, case.before(hi - lo).view(np.uint8).copy())
    with np.errstate(all="ignore"):
        interpreter.KERNELS[case.record.opcode](segment, case.record)
    return segment.blocks[lo][1].view(case.record.dtype_out.numpy)


def close(found: Array, expected: Array, dtype: DType) -> bool:
    """Equal; floats up to what another order of rounding can do."""
    if not dtype.is_float or dtype is DType.F64:
        return same_bits(found, expected)
    tolerance = {DType.F32: 2e-5, DType.F16: 4e-3, DType.BF16: 3e-2}[dtype]
    return np.allclose(
        found.astype(np.float64), expected.astype(np.float64), rtol=tolerance, atol=tolerance, equal_nan=True
    )


def show(case: Case) -> str:
    record = case.record
    return f"{record} imm {record.imm} body {record.body}"


@pytest.mark.parametrize("opcode", Opcode)
def test_words_that_no_rule_reads_change_nothing(bench: Bench, opcode: Opcode) -> None:
    """Neither what the validator says nor a bit of the answer, however the record is run."""
    for seed in range(25):
        case = cases.case(np.random.default_rng([opcode, seed, 11]), opcode)
        raw = case.record.pack()
        strange = with_spare_words(raw, seed)
        plain, odd = validate_records(raw), validate_records(strange)
        assert odd.status[0] == 0
        assert (odd.extents == plain.extents).all()
        assert odd.steps[0] == plain.steps[0]
        status, expected = bench.run(case)
        for mode in (PLAIN, FAST, VM_BYTES):
            found = bench.run(case, mode, raw=strange)
            assert found[0] == status
            assert same_bits(found[1], expected), show(case)


@pytest.mark.parametrize("opcode", Opcode)
def test_kernel_computes_what_its_record_says(bench: Bench, opcode: Opcode) -> None:
    """And it touches nothing between, before or behind its elements."""
    for seed in range(150):
        case = cases.case(np.random.default_rng([opcode, seed]), opcode)
        status, found = bench.run(case)
        assert status == 0, show(case)
        assert close(found, read_again(case), case.record.dtype_out), f"seed {seed}: {show(case)}"


@pytest.mark.parametrize("function", Unary)
def test_unary_function_in_every_dtype(bench: Bench, function: Unary) -> None:
    """Each unary function agrees with the reference in every dtype."""
    for dtype in cases._UNARY[function]:
        for seed in range(4):
            make = Maker(np.random.default_rng([function, dtype, seed]), awkward=False)
            case = cases.unary(make, function, dtype)
            status, found = bench.run(case)
            assert status == 0
            assert close(found, read_again(case), case.record.dtype_out), f"{dtype.name} seed {seed}: {show(case)}"


@pytest.mark.parametrize("function", Binary)
def test_binary_function_in_every_dtype(bench: Bench, function: Binary) -> None:
    """Each binary function agrees with the reference in every dtype."""
    for dtype in cases._BINARY[function]:
        for seed in range(4):
            make = Maker(np.random.default_rng([function, dtype, seed]), awkward=False)
            case = cases.binary(make, function, dtype)
            status, found = bench.run(case)
            assert status == 0
            assert close(found, read_again(case), case.record.dtype_out), f"{dtype.name} seed {seed}: {show(case)}"


@pytest.mark.parametrize("opcode", Opcode)
@settings(max_examples=120, deadline=None)
@given(seed=SEEDS)
def test_every_build_and_fast_path_gives_the_same_bits(bench: Bench, opcode: Opcode, seed: int) -> None:
    """On NaNs, infinities, subnormals and signed zeros too."""
    case = cases.case(np.random.default_rng(seed), opcode, awkward=True)
    status, plain = bench.run(case, PLAIN)
    assert status == 0, show(case)
    for mode in (FAST, VM_BYTES):
        other_status, other = bench.run(case, mode)
        assert other_status == 0
        assert same_bits(plain, other), f"mode {mode}: {show(case)}"


@pytest.mark.parametrize("opcode", [opcode for opcode in Opcode if opcode is not Opcode.SCATTER])
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, cut=st.floats(0, 1))
def test_parts_of_a_range_make_the_whole(bench: Bench, opcode: Opcode, seed: int, cut: float) -> None:
    """So tiles and threads may be cut anywhere."""
    whole = cases.case(np.random.default_rng(seed), opcode, awkward=True)
    record = whole.record
    middle = record.lo + round(cut * (record.hi - record.lo))
    _, expected = bench.run(whole, PLAIN)
    for mode in (PLAIN, FAST):
        _, first = bench.run(whole.part(record.lo, middle), mode)
        second = Case(whole.part(middle, record.hi).record, whole.arrays, first)
        _, both = bench.run(second, mode)
        assert same_bits(both, expected), show(whole)


@pytest.mark.parametrize("opcode", [opcode for opcode in Opcode if opcode not in MOVES])
def test_floats_are_stored_with_one_nan(bench: Bench, opcode: Opcode) -> None:
    """Arithmetic results are; moves keep bits as they are."""
    canonical = {DType.F32: 0x7FC00000, DType.F16: 0x7E00, DType.BF16: 0x7FC0}
    seen = 0
    for seed in range(200):
        case = cases.case(np.random.default_rng(seed), opcode, awkward=True)
        dtype = case.record.dtype_out
        if dtype not in canonical:
            continue
        _, found = bench.run(case)
        nans = found.view(f"u{dtype.width}")[np.isnan(found.astype(np.float32))]
        seen += nans.size
        assert set(nans.tolist()) <= {canonical[dtype]}, show(case)
    assert seen or opcode in (Opcode.ARGREDUCE, Opcode.TOPK, Opcode.POOL_INDEX, Opcode.BLOCK_QUANTISE)
