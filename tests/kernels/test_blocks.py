"""Products with weights in blocks: to the bit what docs/kernels.md says, with every instruction that they may use."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from opml_dispute.engine.segment_memory import native
from opml_dispute.model.block_formats import BlockFormat, dequantised, from_nbits
from opml_dispute.model.opcodes import Opcode
from tests.kernels import block_cases, cases
from tests.kernels.bench import FAST, PLAIN, VM_BYTES, Bench, same_bits
from tests.kernels.maker import Case, Maker
from tests.kernels.test_kernels import read_again, show

VNNI = 1


@pytest.fixture(params=[0, VNNI], ids=["all instructions", "without VNNI"])
def instructions(request: pytest.FixtureRequest) -> Iterator[None]:
    native().opml_hide_features(request.param)
    yield
    native().opml_hide_features(0)


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("fmt", BlockFormat)
def test_products_are_those_of_the_third_implementation(bench: Bench, fmt: BlockFormat) -> None:
    for seed in range(40):
        make = Maker(np.random.default_rng([fmt, seed]), awkward=bool(seed % 2))
        case = block_cases.contract(make, fmt=fmt)
        expected = read_again(case)
        for mode in (PLAIN, FAST):
            status, found = bench.run(case, mode)
            assert status == 0
            assert same_bits(found, expected), f"seed {seed}: {show(case)}"


@pytest.mark.parametrize("opcode", [Opcode.BLOCK_QUANTISE, Opcode.BLOCK_GATHER])
def test_activations_and_elements_are_those_of_the_third_implementation(bench: Bench, opcode: Opcode) -> None:
    for seed in range(150):
        case = cases.case(np.random.default_rng(seed), opcode, awkward=bool(seed % 2))
        status, found = bench.run(case, FAST)
        assert status == 0
        assert same_bits(found, read_again(case)), f"seed {seed}: {show(case)}"


def test_an_index_outside_of_the_table_is_a_status(bench: Bench) -> None:
    seen = 0
    for seed in range(60):
        case = block_cases.gather(Maker(np.random.default_rng(seed), awkward=False))
        record = case.record
        if len(record.inputs) == 1 or record.lo == record.hi:
            continue
        columns, blocks = record.body[1], record.body[2] // BlockFormat(record.imm[0]).elements
        (table, index) = case.arrays
        for wrong in (columns, -columns - 1):
            bad = index[1].copy()
            bad[record.lo // blocks] = wrong
            case = Case(record, (table, (index[0], bad)))
            assert [bench.run(case, mode)[0] for mode in (PLAIN, FAST, VM_BYTES)] == [7, 7, 7]
            seen += 1
    assert seen


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block_size", [32, 64, 128])
@pytest.mark.parametrize("has_zeros", [False, True])
def test_onnx_runtimes_blocks_keep_their_values(bits: int, block_size: int, has_zeros: bool) -> None:
    rng = np.random.default_rng(bits * block_size)
    n, k = 5, 200
    blocks = -(-k // block_size)
    q = rng.integers(0, 1 << bits, (n, blocks, block_size), np.uint8)
    packed = q if bits == 8 else q[..., ::2] | q[..., 1::2] << 4
    scales = rng.standard_normal((n, blocks)).astype(np.float32)
    zeros = rng.integers(0, 1 << bits, (n, blocks), np.uint8) if has_zeros else np.full((n, blocks), 1 << bits - 1)
    even = np.concatenate([zeros, np.zeros((n, blocks % 2), zeros.dtype)], axis=1).astype(np.uint8)
    stored = (zeros if bits == 8 else even[:, ::2] | even[:, 1::2] << 4).astype(np.uint8)
    fmt, made = from_nbits(packed, scales, stored if has_zeros else None, bits, block_size, n, k)
    values = (q.astype(np.float64) - zeros[..., None]) * scales[..., None]
    expected = values.reshape(n, -1)[:, :k].astype(np.float32)
    found = dequantised(made, fmt)
    assert (found[:, :k] == expected).all()
    assert not found[:, k:].any()
