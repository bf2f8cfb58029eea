"""
No node takes more steps than estimated, whatever its operands hold.

A dispute has room for as many steps as the model's step bound says. A node that takes more has no last state in the
game's tree, and whoever is right about it cannot say so.
"""

from __future__ import annotations

import numpy as np
import pytest

from opml_dispute.model.cost import estimate_steps
from opml_dispute.model.opcodes import Binary, DType, Opcode, Reduction, Unary
from opml_dispute.model.record import Record, strided_body
from opml_dispute.segment import ARENA, INPUT
from tests.kernels import cases
from tests.kernels.cases import Array, Case, Maker, words

from .programs import EQUAL, inference, run_node


def assert_within_estimate(case: Case) -> None:
    states = inference(case)
    assert states.status == 0
    machine = run_node(states)
    assert machine.exit_code == EQUAL
    assert machine.step <= estimate_steps(case.record), case.record


def elementwise(opcode: Opcode, function: int, dtype: DType, *operands: Array, rows: int = 1) -> Case:
    """A function of whole arrays, in so many rows that do not join."""
    count = operands[0].size // (rows + 1) * rows
    columns, pitch = count // rows, operands[0].size // rows
    dims, strides = ([rows, columns], [pitch, 1]) if rows > 1 else ([count], [1])
    size = -(-operands[0].nbytes // 64) * 64
    places = [INPUT.offset + size * i for i in range(len(operands))]
    record = Record(
        opcode,
        dtype,
        ARENA.offset,
        tuple(places),
        (dtype,) * len(operands),
        len(dims),
        0,
        rows * columns,
        words(function),
        strided_body(dims, [strides] * (1 + len(operands))),
    )
    return Case(record, tuple(zip(places, operands, strict=True)))


@pytest.mark.parametrize("opcode", Opcode)
def test_random_nodes_stay_within_their_estimates(opcode: Opcode) -> None:
    for seed in range(40):
        case = cases.case(np.random.default_rng([opcode, seed, 7]), opcode, awkward=True)
        if inference(case).status == 0:
            assert_within_estimate(case)


FLOATS = {
    "any bits": lambda rng, n: rng.integers(0, 1 << 32, n, dtype=np.uint32).view(np.float32),
    "subnormal": lambda rng, n: rng.integers(1, 1 << 23, n, dtype=np.uint32).view(np.float32),
    "huge": lambda rng, n: rng.integers(0x7E000000, 0x7F800000, n, dtype=np.uint32).view(np.float32),
    "small": lambda rng, n: rng.uniform(-1, 1, n).astype(np.float32),
    "middling": lambda rng, n: rng.uniform(1, 40_000, n).astype(np.float32),
}


@pytest.mark.parametrize("population", FLOATS)
@pytest.mark.parametrize("dtype", [DType.F32, DType.F16, DType.BF16])
def test_every_unary_function_on_the_worst_operands(dtype: DType, population: str) -> None:
    operands = FLOATS[population](np.random.default_rng(1), 400)
    with np.errstate(all="ignore"):
        operands = operands.astype(dtype.numpy)
    if dtype is not DType.F32 and population == "subnormal":
        operands = np.arange(1, 401, dtype=np.uint16).view(dtype.numpy)
    for function in Unary:
        if dtype in cases._UNARY[function] and function not in (Unary.ISNAN, Unary.ISINF):
            for rows in (1, 130):
                assert_within_estimate(elementwise(Opcode.UNARY, function, dtype, operands, rows=rows))


@pytest.mark.parametrize("dtype", [DType.I8, DType.I64, DType.U64])
def test_integer_powers_with_every_bit_of_the_exponent_set(dtype: DType) -> None:
    most = np.iinfo(dtype.numpy).max
    operands = np.full(300, most, dtype.numpy)
    assert_within_estimate(elementwise(Opcode.BINARY, Binary.POW, dtype, operands, operands))


@pytest.mark.parametrize("function", [Binary.MOD, Binary.FMOD, Binary.POW, Binary.ATAN2])
def test_binary_functions_of_the_largest_and_the_least(function: Binary) -> None:
    large, least = np.full(300, 3e38, np.float32), np.full(300, 3e-45, np.float32)
    assert_within_estimate(elementwise(Opcode.BINARY, function, DType.F32, large, least))
    assert_within_estimate(elementwise(Opcode.BINARY, function, DType.F32, least, large))


@pytest.mark.parametrize("product", cases.PRODUCTS, ids=lambda product: "-".join(dtype.name for dtype in product))
def test_products_of_every_type_in_blocks_of_every_kind(product: tuple[DType, DType, DType]) -> None:
    for seed, (rows, columns, depth) in enumerate([(16, 16, 60), (5, 7, 40), (1, 33, 50), (33, 1, 50), (3, 3, 200)]):
        make = Maker(np.random.default_rng(seed), awkward=True)
        case = cases.contract(make, (rows, columns, depth), product)
        for part in (case.part(0, rows * columns), case.part(rows * columns // 3, rows * columns - 1)):
            assert_within_estimate(part)


CONVOLUTIONS = [
    # input, kernel, stride, dilation, padding, output; images, channels, outputs, groups
    ([[12, 12, 1], [3, 3, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [12, 12, 1]], (1, 3, 8, 1)),
    ([[12, 12, 1], [3, 3, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0], [10, 10, 1]], (1, 6, 6, 6)),
    ([[9, 9, 1], [9, 1, 1], [1, 1, 1], [1, 1, 1], [4, 0, 0], [9, 9, 1]], (1, 2, 3, 1)),
    ([[7, 7, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [9, 9, 1]], (1, 8, 3, 1)),
    ([[2, 2, 1], [2, 2, 1], [2, 2, 1], [1, 1, 1], [0, 0, 0], [1, 1, 1]], (2, 16, 18, 2)),
    ([[11, 5, 1], [3, 3, 1], [2, 1, 1], [2, 3, 1], [2, 3, 0], [6, 5, 1]], (1, 5, 5, 1)),
]


@pytest.mark.parametrize("product", cases.PRODUCTS, ids=lambda product: "-".join(dtype.name for dtype in product))
def test_convolutions_of_every_type_inside_and_at_the_edge(product: tuple[DType, DType, DType]) -> None:
    for seed, (fields, channels) in enumerate(CONVOLUTIONS):
        case = cases.conv(Maker(np.random.default_rng(seed), awkward=True), fields, channels, product)
        count = channels[0] * channels[2] * int(np.prod(fields[5]))
        for part in (case.part(0, count), case.part(count // 3, count - 1)):
            assert_within_estimate(part)


@pytest.mark.parametrize("reduction", Reduction)
@pytest.mark.parametrize("dtype", [DType.F16, DType.F32, DType.I8, DType.I64])
def test_scatter_with_every_reduction(dtype: DType, reduction: Reduction) -> None:
    count = 300
    updates = np.ones(count, dtype.numpy)
    record = Record(
        Opcode.SCATTER,
        dtype,
        ARENA.offset,
        (INPUT.offset, INPUT.offset + 4096),
        (dtype, DType.I64),
        1,
        0,
        count,
        words(1, 1, reduction),
        strided_body([count], [[0], [1], [1], [1, 0, 0, 0, count]]),
    )
    indices = -np.arange(1, count + 1)
    assert_within_estimate(Case(record, ((INPUT.offset, updates), (INPUT.offset + 4096, indices))))
