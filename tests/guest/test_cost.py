"""
The step estimate against the guest: never too low, and for the nodes that models are made of not much too high.

Too low would break the step bound that a model is registered with: a dispute about such a node could not reach its
last instruction. Too high costs extra tiles.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.segment import ARENA, INPUT, WEIGHTS
from opml_dispute.model.cost import estimate_steps
from opml_dispute.model.opcodes import Binary, DType, Opcode, Reduction, Unary
from opml_dispute.model.record import Free, Record, strided_body
from tests.guest.programs import EQUAL, inference, run_node
from tests.kernels import cases
from tests.kernels.cases import Case, Maker, body, words


def steps(case: Case) -> int:
    """What the guest takes."""
    states = inference(case)
    assert states.status == 0
    machine = run_node(states)
    assert machine.exit_code == EQUAL
    return machine.step


@pytest.mark.parametrize("opcode", Opcode)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), awkward=st.booleans())
def test_no_node_takes_more_than_estimated(opcode: Opcode, seed: int, awkward: bool) -> None:
    case = cases.case(np.random.default_rng(seed), opcode, awkward=awkward)
    taken, estimate = steps(case), estimate_steps(case.record)
    assert taken <= estimate, f"{case.record} {case.record.imm} {case.record.body}"


def test_frees_and_many_dimensions_are_counted() -> None:
    frees = tuple(Free(6, ARENA.offset + (1 << 20) + 64 * i) for i in range(7))
    dims = [2] * 8
    strides = [[3**d for d in range(8)], [5**d % 7 for d in range(8)], [0] * 8, [-(d % 3) for d in range(8)]]
    for opcode, inputs, imm in (
        (Opcode.FILL, 0, 7),
        (Opcode.COPY, 1, 0),
        (Opcode.BINARY, 2, Binary.ADD),
        (Opcode.SELECT, 3, 0),
    ):
        dtypes = (DType.BOOL, DType.F32, DType.F32) if opcode is Opcode.SELECT else (DType.F32,) * inputs
        record = Record(
            opcode,
            DType.F32,
            ARENA.offset,
            tuple(INPUT.offset + 65536 * (1 + i) for i in range(inputs)),
            dtypes,
            8,
            0,
            256,
            words(imm),
            strided_body(dims, strides[: 1 + inputs]),
            frees,
        )
        assert steps(Case(record)) <= estimate_steps(record), opcode


@pytest.mark.parametrize("function", [*Unary, *Binary])
def test_worst_operands_of_each_function_are_counted(function: Unary | Binary) -> None:
    """Where a function branches, the longest way counts."""
    sizes = [0.0, -0.0, 0.3, -0.7, 0.99, 1.5, -3.0, 20.0, -104.0, 5e3, -4e4, 1e10, 1e30, -3e38, 1e-10, 1e-40, -1e-45]
    wild = np.array([*sizes, np.inf, -np.inf, np.nan], np.float32)
    takes = cases._UNARY[function] if isinstance(function, Unary) else cases._BINARY[function]
    for dtype in (DType.F32, DType.F16, DType.BF16):
        if dtype not in takes:
            continue
        with np.errstate(all="ignore"):
            values = wild.astype(dtype.numpy)
        pairs: list[tuple[np.generic, ...]] = (
            [(x,) for x in values] if isinstance(function, Unary) else [(x, y) for x in values for y in values[::5]]
        )
        for operands in pairs:
            make = Maker(np.random.default_rng(0), awkward=False)
            make.dims = lambda rank=None, most=6: [16]  # type: ignore[method-assign]
            if isinstance(function, Unary):
                case = cases.unary(make, function, dtype)
            else:
                case = cases.binary(make, function, dtype)
            arrays = tuple((at, np.full_like(a, x)) for (at, a), x in zip(case.arrays, operands, strict=True))
            case = replace(case, record=replace(case.record, lo=0, hi=16), arrays=arrays)
            assert steps(case) <= estimate_steps(case.record), f"{dtype.name} {operands}"


def contract(m: int, n: int, k: int, lo: int = 0, hi: int | None = None) -> Case:
    record = Record(
        Opcode.CONTRACT,
        DType.F32,
        ARENA.offset,
        (INPUT.offset, WEIGHTS.offset),
        (DType.F32, DType.F32),
        2,
        lo,
        m * n if hi is None else hi,
        words(k, 1, n),
        strided_body([m, n], [[n, 1], [k, 0], [0, 1]]),
    )
    return Case(record)


def conv(channels: int, made: int, size: int, kernel: int, pad: int, stride: int = 1, groups: int = 1) -> Case:
    out = (size + 2 * pad - kernel) // stride + 1
    at = [[size, size, 1], [kernel, kernel, 1], [stride, stride, 1], [1, 1, 1], [pad, pad, 0], [out, out, 1]]
    fields = (2, 1, channels, made, groups, *(value for column in at for value in column))
    inputs = (INPUT.offset, WEIGHTS.offset)
    return Case(
        Record(
            Opcode.CONV,
            DType.F32,
            ARENA.offset,
            inputs,
            (DType.F32,) * 2,
            2,
            0,
            made * out * out,
            words(),
            body(*fields),
        )
    )


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_part_of_a_convolution_or_product_takes_more_than_estimated(data: st.DataObject) -> None:
    """Shallow ones, where what a block costs once counts; and parts that begin and end anywhere."""

    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    if data.draw(st.booleans()):
        groups, kernel = draw(1, 2), draw(1, 5)
        case = conv(
            groups * draw(1, 4), groups * draw(1, 5), draw(kernel, 20), kernel, draw(0, kernel // 2), draw(1, 2), groups
        )
    else:
        case = contract(draw(1, 9), draw(1, 20), draw(1, 20))
    lo = draw(0, case.record.hi - 1)
    case = replace(case, record=replace(case.record, lo=lo, hi=draw(lo + 1, case.record.hi)))
    assert steps(case) <= estimate_steps(case.record), f"{case.record} {case.record.body}"


def elementwise(opcode: Opcode, function: int, inputs: int, count: int) -> Case:
    places = (INPUT.offset, WEIGHTS.offset)[:inputs]
    shape = strided_body([count], [[1]] * (1 + inputs))
    return Case(
        Record(opcode, DType.F32, ARENA.offset, places, (DType.F32,) * inputs, 1, 0, count, words(function), shape)
    )


def reduce(kept: int, reduced: int, function: Reduction) -> Case:
    shape = strided_body([kept, reduced], [[1, 0], [reduced, 1]])
    record = Record(
        Opcode.REDUCE, DType.F32, ARENA.offset, (INPUT.offset,), (DType.F32,), 2, 0, kept, words(function, 1), shape
    )
    return Case(record)


@pytest.mark.parametrize(
    ("name", "case", "at_most"),
    [
        ("matrix product", contract(64, 64, 64), 1.15),
        ("matrix product, odd sizes", contract(37, 29, 51), 1.3),
        ("tile of a matrix product", contract(64, 64, 64, 777, 3001), 1.3),
        ("matrix times vector", contract(256, 1, 128), 1.3),
        ("vector times matrix", contract(1, 256, 128), 1.3),
        ("convolution 1x1", conv(32, 16, 14, 1, 0), 1.25),
        ("convolution 3x3", conv(16, 16, 28, 3, 1), 1.25),
        ("convolution 3x3, stride 2", conv(16, 8, 28, 3, 1, stride=2), 1.3),
        ("convolution 7x7", conv(3, 8, 32, 7, 3, stride=2), 1.3),
        ("convolution by channel", conv(16, 16, 28, 3, 1, groups=16), 1.4),
        ("sum", elementwise(Opcode.BINARY, Binary.ADD, 2, 20_000), 2.0),
        ("relu", elementwise(Opcode.UNARY, Unary.RELU, 1, 20_000), 1.6),
        ("exp", elementwise(Opcode.UNARY, Unary.EXP, 1, 20_000), 1.2),
        ("gelu's erf", elementwise(Opcode.UNARY, Unary.ERF, 1, 20_000), 1.2),
        ("sums of rows", reduce(64, 1000, Reduction.SUM), 1.3),
        ("maxima of rows", reduce(64, 1000, Reduction.MAX), 1.3),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_common_nodes_are_not_overestimated(name: str, case: Case, at_most: float) -> None:
    taken, estimate = steps(case), estimate_steps(case.record)
    assert taken <= estimate <= at_most * taken, f"{name}: {taken:,} steps, estimate {estimate:,}"
