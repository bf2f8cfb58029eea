"""
Products with weights that were packed before the run, output channels in the lanes of vectors: the plain kernels' bits.

Positions are taken together across rows and images, and channels begin and end anywhere in a panel, as threads cut
them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.lib import library_path
from opml_dispute.engine.segment import ARENA
from opml_dispute.model.opcodes import DType, Opcode
from opml_dispute.model.record import Record, strided_body
from tests.kernels import cases
from tests.kernels.bench import NOT_PACKED, PACKED, PLAIN, Bench, same_bits
from tests.kernels.maker import Case, Maker, words
from tests.kernels.test_fast import F32, SEEDS, strewn, strewn_case, windows


@pytest.fixture(autouse=True)
def _lanes() -> None:
    if library_path().stem == "libopml-x86_64":
        pytest.skip("the engine for any x86-64 has no lanes: it knows no fused multiply-add")


def agree(bench: Bench, case: Case) -> bool:
    """Whether the weights were packed; then the bits are the plain kernel's."""
    status, packed = bench.run(case, PACKED)
    if status == NOT_PACKED:
        return False
    plain_status, plain = bench.run(case, PLAIN)
    assert status == plain_status == 0
    assert same_bits(plain, packed), f"{case.record} {case.record.imm} {case.record.body}"
    return True


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_convolution_of_images_of_any_size(bench: Bench, seed: int) -> None:
    """All channels, and ranges of channels that begin and end within an image and a group."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 1, 2, 3]))
    per_in, per_out = int(rng.integers(1, 24)), int(rng.choice([8, 13, 16, 31, 32, 33, 64, 70]))
    at = windows(rng)
    images = int(rng.integers(1, 40)) if at[5][0] * at[5][1] < 30 else 2
    case = cases.conv(Maker(rng, awkward=False), at, (images, groups * per_in, groups * per_out, groups), F32)
    case = strewn_case(rng, case)
    if agree(bench, case):
        size, count = at[5][0] * at[5][1], images * groups * per_out
        first, end = sorted(int(channel) for channel in rng.integers(0, count + 1, 2))
        if first < end:
            agree(bench, case.part(first * size, end * size))


@pytest.mark.parametrize(
    ("channels", "side", "images"), [(64, 7, 1), (64, 3, 9), (40, 1, 50), (96, 5, 1), (512, 2, 70)]
)
def test_convolutions_of_few_positions_are_packed(bench: Bench, channels: int, side: int, images: int) -> None:
    """Many terms, which are summed in pieces, of images that leave lanes empty otherwise."""
    rng = np.random.default_rng([channels, side])
    per_in = 70 if channels < 512 else 3
    at = [[side, side, 1], [3, 3, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [side, side, 1], [1, 1, 0]]
    case = strewn_case(rng, cases.conv(Maker(rng, awkward=False), at, (images, per_in, channels, 1), F32))
    assert agree(bench, case)
    whole = channels * side * side
    if images > 2:  # from within one image to within another
        assert agree(bench, case.part(5 * side * side, 2 * whole + 9 * side * side))


@pytest.mark.parametrize("width", [4, 5, 7, 8, 11, 14, 15, 20, 28, 33, 57])
@pytest.mark.parametrize("stride", [1, 2])
def test_windows_are_read_where_rows_of_any_length_lie(bench: Bench, width: int, stride: int) -> None:
    """One run of neighbours, or two short ones, of a stretch of them; more terms than are summed at once."""
    rng = np.random.default_rng([width, stride])
    height, dilation = int(rng.integers(2, 7)), int(rng.integers(1, 3))
    sides = [(size - 1) * stride + 1 for size in (height, width)]
    pad = [dilation, dilation, 0]
    at = [[*sides, 1], [3, 3, 1], [stride, stride, 1], [dilation, dilation, 1], pad, [height, width, 1], pad]
    for channels in (64, 96):
        case = strewn_case(rng, cases.conv(Maker(rng, awkward=False), at, (3, 46, channels, 1), F32))
        assert agree(bench, case)
        size = height * width
        assert agree(bench, case.part(9 * size, (channels + 41) * size))


def product(bench: Bench, seed: int, sizes: tuple[int, int, int, int], *, finely: bool) -> None:
    """One matrix times `batch` of few columns, by their sizes (batch, m, n, k), and a range of it."""
    rng = np.random.default_rng(seed)
    batch, m, n, k = sizes
    make = Maker(rng, awkward=False)
    apart = int(rng.integers(1, k + 9))  # columns may overlap
    a, b, bias = (make.put(strewn(rng, size)) for size in (m * k, batch * n * apart + k, m))
    a_m, a_k = (1, m) if rng.random() < 0.3 else (k, 1)
    operands = 2 + int(rng.random() < 0.5)
    rows = [[m * n, n, 1] if rng.random() < 0.7 else [m * n, 1, m], [0, a_m, 0], [n * apart, 0, apart], [0, 1, 0]]
    record = Record(
        *(Opcode.CONTRACT, DType.F32, ARENA.offset, (a, b, bias)[:operands], (DType.F32,) * operands, 3, 0, 0),
        *(words(k, a_k, 1), strided_body([batch, m, n], rows[: operands + 1])),
    )
    case = make.case(record, batch * m * n)
    assert agree(bench, case)
    first, end = sorted(int(row) for row in rng.integers(0, batch * m + 1, 2))
    if first < end:
        assert agree(bench, case.part(first * n, end * n))
    if finely and n > 1:  # not whole rows: another path takes it
        assert agree(bench, replace(case, record=replace(record, lo=1, hi=batch * m * n - 1)))


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, batch=st.integers(1, 40), m=st.sampled_from([32, 64, 97, 258]), n=st.integers(1, 5))
def test_one_matrix_times_many_of_few_columns(bench: Bench, seed: int, batch: int, m: int, n: int) -> None:
    """Columns that lie apart or over one another, whose terms lie side by side."""
    product(bench, seed, (batch, m, n, int(np.random.default_rng(seed).choice([9, 16, 40, 200]))), finely=seed % 4 == 0)


@pytest.mark.parametrize("side", [8, 14])
def test_sums_too_small_to_be_told_from_zero_keep_its_sign(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    """Without a bias -1e-60 is -0, which an added +0 would make +0."""
    numbers = iter((-1e-30, 1e-30))
    monkeypatch.setattr(cases, "values", lambda rng, dtype, size, awkward: np.full(size, next(numbers), np.float32))
    rng = np.random.default_rng(1)  # which gives no bias
    at = [[side + 2, side + 2, 1], [3, 3, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0], [side, side, 1], [0, 0, 0]]
    whole = 3 * 96 * side * side
    case = cases.conv(Maker(rng, awkward=False), at, (3, 46, 96, 1), F32).part(0, whole)
    assert len(case.record.inputs) == 2
    assert agree(bench, case)
    assert np.signbit(np.frombuffer(bench.run(case, PACKED)[1], np.float32)[:whole]).all()
