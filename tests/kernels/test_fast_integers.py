"""
Integer contractions and convolutions on fast paths: the plain kernels' bits, with each of the processor's instructions.

Numbers are wild, or lie in ranges that just fit in a byte, or just do not; then constants are taken off them, and put
back by sums of rows and columns. Everything is exact modulo 2^32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment_memory import native
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import DType
from tests.kernels import cases
from tests.kernels.bench import FAST, PLAIN, Bench, same_bits
from tests.kernels.maker import PRODUCTS, Array, Case, Maker, Rng, values
from tests.kernels.test_fast import channels, windows
from tests.model.graphs import Graph

VNNI, AMX = 1, 2
"""Bits of native/fast/integers.h; this processor may have neither."""
SEEDS = st.integers(0, 2**32 - 1)
SMALL_PRODUCTS = [types for types in PRODUCTS if types[0].is_integer and types[0].width <= 4]


@pytest.fixture(params=[0, AMX, AMX | VNNI], ids=["all", "without AMX", "without VNNI"])
def hidden(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every instruction that there is, and what is left without the special ones."""
    native().opml_hide_features(request.param)
    yield
    native().opml_hide_features(0)


def types(rng: Rng) -> tuple[DType, DType, DType]:
    """Int16 most often: it is what integers less a zero point become."""
    if rng.random() < 0.4:
        return DType.I16, DType.I16, DType.I32
    return SMALL_PRODUCTS[int(rng.integers(len(SMALL_PRODUCTS)))]


def numbers(rng: Rng, dtype: DType, count: int) -> Array:
    """Wild ones, or int16 in a range about as wide as a byte's."""
    if dtype is not DType.I16 or rng.random() < 0.3:
        return values(rng, dtype, count, awkward=True)
    least = int(rng.integers(-400, 200))
    return rng.integers(least, least + int(rng.choice([100, 255, 256, 510])) + 1, count).astype(np.int16)


def agree(bench: Bench, case: Case) -> None:
    status, plain = bench.run(case, PLAIN)
    assert status == 0
    _, fast = bench.run(case, FAST)
    assert same_bits(plain, fast), f"{case.record} {case.record.imm} {case.record.body}"


@pytest.mark.usefixtures("hidden")
@settings(max_examples=80, deadline=None)
@given(seed=SEEDS)
def test_contraction(bench: Bench, seed: int) -> None:
    """Random contractions of integers have the same bits in the fast and the plain kernel."""
    rng = np.random.default_rng(seed)
    make = Maker(rng, awkward=False)
    m, n, k = (int(rng.choice([1, 2, 3, 7, 12, 13, 16, 31, 32, 33, 48, 65, 100])) for _ in range(3))
    if rng.random() < 0.1:
        k = int(rng.integers(600, 2200))
    if rng.random() < 0.05:
        m = 600
    of_a, of_b, of_out = types(rng)
    batch = int(rng.integers(1, 3))
    data = (
        numbers(rng, of_a, batch * m * k),
        numbers(rng, of_b, batch * k * n),
        values(rng, of_out, m * n, awkward=True),
    )
    agree(bench, cases.laid_out_product(make, (batch, m, n, k), data, (of_a, of_b, of_out)))


@pytest.mark.usefixtures("hidden")
@settings(max_examples=80, deadline=None)
@given(seed=SEEDS)
def test_convolution(bench: Bench, seed: int) -> None:
    """Random convolutions of integers have the same bits in the fast and the plain kernel."""
    rng = np.random.default_rng(seed)
    sizes = channels(rng)
    dtypes = types(rng)
    case = cases.conv(Maker(rng, awkward=True), windows(rng), sizes, dtypes)
    (x_at, x), (w_at, w), *bias = case.arrays
    arrays = (x_at, numbers(rng, dtypes[0], x.size)), (w_at, numbers(rng, dtypes[1], w.size)), *bias
    agree(bench, replace(case, arrays=arrays))


BYTES = [types for types in SMALL_PRODUCTS if types[0].width == types[1].width == 1]


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("dtypes", BYTES, ids=lambda types: f"{types[0].name} {types[1].name}")
@pytest.mark.parametrize("groups", [1, 12], ids=["one group", "depthwise"])
@pytest.mark.parametrize("width", [3, 17, 56, 131])
def test_convolution_of_bytes(bench: Bench, dtypes: tuple[DType, DType, DType], groups: int, width: int) -> None:
    """Bytes of either sign, the extremes among them, in rows of every length; with padding, and read where they lie."""
    rng = np.random.default_rng(width)
    for kernel, pad, stride in ((1, 0, 1), (3, 1, 1), (3, 1, 2)):
        out = (width + 2 * pad - kernel) // stride + 1
        row = (width, kernel, stride, 1, pad, out, pad)
        fields = [list(column) for column in zip((2, 1, 1, 1, 0, 2, 0), row, (1, 1, 1, 1, 0, 1, 0), strict=True)]
        case = cases.conv(Maker(rng, awkward=True), fields, (1, 12, 12, groups), dtypes)
        agree(bench, case)


def tall_windows(rng: Rng) -> list[list[int]]:
    """Windows of up to 35 by 18 taps over inputs of which some rows and columns lie outside; some in one dimension."""
    fields: list[list[int]] = []
    for kernels in ((1, 2, 3, 3, 3, 5, 5, 35), (1, 2, 3, 3, 4, 5, 9, 16, 18)):
        kernel, stride = int(rng.choice(kernels)), int(rng.choice([1, 1, 2, 3]))
        dilation, out = int(rng.choice([1, 1, 1, 2])), int(rng.integers(1, 40))
        before, after = (int(n) for n in rng.integers(-2, 20, 2))
        if rng.random() < 0.4:
            before = after = 0
        size = max((out - 1) * stride + (kernel - 1) * dilation + 1 - before - after, 1)
        fields.append([size, kernel, stride, dilation, before, out, after])
    fields.append([1, 1, 1, 1, 0, 1, 0])
    return [list(column) for column in zip(*fields, strict=True)]


@pytest.mark.usefixtures("hidden")
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_depthwise_convolution_of_bytes(bench: Bench, seed: int) -> None:
    """Any part of the outputs, of any window, where each output channel reads one channel."""
    rng = np.random.default_rng(seed)
    groups, images = int(rng.integers(1, 6)), int(rng.integers(1, 3))
    channels = images, groups, groups * int(rng.integers(1, 3)), groups
    case = cases.conv(Maker(rng, awkward=True), tall_windows(rng), channels, BYTES[int(rng.integers(len(BYTES)))])
    lo, hi = sorted(int(n) for n in rng.integers(0, case.record.hi + 1, 2))
    if rng.random() < 0.5 or lo == hi:
        lo, hi = 0, case.record.hi
    agree(bench, replace(case, record=replace(case.record, lo=lo, hi=hi)))


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 3, 40, 130])
def test_weights_that_are_prepared(threads: int, rows: int) -> None:
    """A whole run packs the weights once, for every range of rows or columns and every later run."""
    rng = np.random.default_rng(rows)
    graph = Graph()
    weights = rng.integers(-128, 128, (70, 77), dtype=np.int8)
    product = graph.node("MatMulInteger", graph.input("x", [rows, 70], TensorProto.UINT8), graph.constant(weights))
    program = compile_model(graph.model([product]))
    x = rng.integers(0, 256, (rows, 70), dtype=np.uint8)
    inference = Inference(program, {"x": x}, threads=threads)
    for _ in range(2):
        inference.run_to(0)
        (found,) = inference.outputs().values()
        np.testing.assert_array_equal(found, x.astype(np.int32) @ weights.astype(np.int32))
