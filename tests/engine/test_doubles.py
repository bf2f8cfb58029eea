"""
Operations of binary64 are found among a program's steps, and the processor's own have the bits of what they stand for.

The same program run node by node computes with integers: every comparison here is with that, NaN's bits included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from opml_dispute.engine.analysis import ProgramAnalysis
from opml_dispute.engine.doubles import Double, with_doubles
from opml_dispute.engine.folding import float_mode
from opml_dispute.engine.host_steps import together
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.node_record import DOUBLE_EXTREMES, DOUBLE_SCANS, DOUBLE_SUMS, DOUBLES, RANKS, RECORD
from opml_dispute.engine.segment import ARENA, INPUT, OUTPUT
from opml_dispute.engine.steps import Step, steps_of
from opml_dispute.engine.views import Records
from opml_dispute.model.builder import Builder
from opml_dispute.model.compiler import compile_model, compile_operations
from opml_dispute.model.opcodes import Binary, DType, Reduction, Unary
from opml_dispute.model.program import Program
from opml_dispute.model.tensor import Array, Tensor
from opml_dispute.primitives import RECORD_BYTES
from tests.engine.test_schedule import assert_same, one_by_one
from tests.model.test_binary64 import awkward, program_of, trees

RNG = np.random.default_rng(5)
Operation = Callable[..., Tensor]
ADD, SUB, MUL, DIV = Binary.ADD, Binary.SUB, Binary.MUL, Binary.DIV
BINARY = [ADD, SUB, MUL, DIV, Binary.MIN, Binary.MAX, Binary.EQ, Binary.LT, Binary.LE]
UNARY = [Unary.SQRT, Unary.FLOOR, Unary.CEIL, Unary.TRUNC, Unary.ROUND, Unary.NEG, Unary.ABS, Unary.RELU, Unary.SIGN,
         Unary.ISNAN, Unary.RECIPROCAL]  # fmt: skip
AWKWARD = np.concatenate([awkward(3000), np.array([0.5, -0.5, 1.5, 2.5, -2.5, -0.25, 0.75, 2.0**52 - 0.5, np.nan])])
AWKWARD[::97] = np.array([0xFFF8000000000001], np.uint64).view(np.float64)


def found(program: Program) -> tuple[list[Double], int]:
    """The operations of binary64 in a program's schedule, and how many other steps there are."""
    schedule = ProgramAnalysis.of(program).schedule
    assert schedule is not None
    numbers = schedule.steps[:, 0].astype(np.int64) - program.node_count
    further = np.frombuffer(schedule.copies, RECORD)
    chosen = further[numbers[numbers >= 0]]
    operations = [Double(int(row["imm"][0])) for row in chosen if row["opcode"] == DOUBLES]
    return operations, len(numbers) - len(operations)


def check(operation: Operation, inputs: Sequence[Array], wanted: Sequence[Double], others: int = 0) -> None:
    program, values = program_of(operation, inputs)
    assert found(program) == (list(wanted), others)
    expected = one_by_one(program, values).output_image()
    assert Inference(program, values).output_image() == expected


def shuffled(count: int = AWKWARD.size) -> Array:
    return np.resize(RNG.permutation(AWKWARD), count)


@pytest.mark.parametrize("function", BINARY)
def test_two_operands_of_every_kind_are_one_operation(function: Binary) -> None:
    """Of one shape, a row, a column or a number that meets all, both repeated, views; constants on either side."""
    wanted = [Double[function.name]]
    check(lambda g, x, y: g.binary(function, x, y), [shuffled(), shuffled()], wanted)
    if function in (SUB, Binary.MAX, Binary.EQ, Binary.LE):
        return  # as their neighbours
    table, row, column = shuffled(600).reshape(30, 20), shuffled(20), shuffled(30).reshape(30, 1)
    for one, other in ((table, row), (column, table), (column, row), (table, shuffled(1))):
        check(lambda g, x, y: g.binary(function, x, y), [one, other], wanted)
    for constant in (row, column, shuffled(1)):
        check(lambda g, x, c=constant: g.binary(function, x, g.constant(np.array(c))), [table], wanted)
        check(lambda g, x, c=constant: g.binary(function, g.constant(np.array(c)), x), [table], wanted)
    check(lambda g, x: g.binary(function, x.sliced(0, 0, 15, 2), x.sliced(0, 15, 15)), [table], wanted)
    check(lambda g, x, y: g.binary(function, x.transposed((1, 0)), y.sliced(0, 0, 1)), [table, column], wanted)


@pytest.mark.parametrize("function", UNARY)
@pytest.mark.parametrize("count", [7, 1 << 14])
def test_one_operand_is_one_operation(function: Unary, count: int) -> None:
    """Of few numbers and of many, for which the compiler computes less of what is known."""
    wanted = Double[function.name]
    if function is Unary.RECIPROCAL and count < 1 << 13:
        wanted = Double.DIV
    check(lambda g, x: g.unary(function, x), [np.resize(shuffled(), count)], [wanted])


@pytest.mark.parametrize("kind", [kind for kind in DType if kind is not DType.F64])
def test_casts_are_one_operation_and_perhaps_a_step_from_what_is_narrow(kind: DType) -> None:
    near, halves = {DType.F32, DType.I64, DType.U64}, {DType.F16, DType.BF16}
    bits = np.array([7, 8, 15, 16, 31, 32, 63, 64])
    ends = (np.ldexp(1.0, bits)[:, None] + [-1.5, -1, -0.5, -0.25, 0, 0.5, 1, 1.5]).reshape(-1)
    x, narrow = np.concatenate([AWKWARD, ends, -ends]), kind.is_integer and kind.width < 8 and kind is not DType.I32
    check(lambda g, x: g.cast(x, kind), [x], [Double.TO_NEAREST if narrow else Double.TO])
    if narrow:  # as ONNX's Cast
        by = DType.I64 if kind is DType.U32 else DType.I32
        check(lambda g, x: g.cast(g.cast(x, by), kind), [x], [Double.TO])
    if kind in halves:  # neighbours of what lies half way between two
        with np.errstate(all="ignore"):
            ties = np.arange(0, 1 << 15, 3, dtype=np.uint16).view(kind.numpy).astype(np.float64)
            middle = ties + np.ldexp(1.0, np.frexp(ties)[1] - (12 if kind is DType.F16 else 9))
            near_ties = np.concatenate([middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)])
        check(lambda g, x: g.cast(x, kind), [near_ties], [Double.TO])
    raw = AWKWARD.view(np.uint64) >> RNG.integers(0, 64, AWKWARD.size).astype(np.uint64)
    values = raw.view(np.uint8).reshape(-1, 8)[:, : kind.width].copy().view(kind.numpy if kind.width > 1 else np.uint8)
    given = values.reshape(-1) > 3 if kind is DType.BOOL else values.reshape(-1)
    check(lambda g, x: g.cast(x, DType.F64), [given], [Double.OF], others=kind not in near)


def test_orders_are_made_of_keys() -> None:
    x = AWKWARD[:3000].reshape(30, 100)
    check(lambda g, a: g.topk(a, 20, 1, largest=False), [x], [Double.FALLING_KEY], others=1)


def test_operations_after_one_another_run_as_a_chain() -> None:
    """The sum of products, a mean and a deviation; the last is an output of its own."""
    x, y = shuffled(3000).reshape(30, 100), shuffled(100)

    def operation(g: Builder, a: Tensor, b: Tensor) -> Tensor:
        product = g.binary(MUL, a, b)
        return g.unary(Unary.SQRT, g.binary(ADD, g.binary(MUL, product, product), g.binary(DIV, a, b)))

    check(operation, [x, y], [Double.MUL, Double.MUL, Double.DIV, Double.ADD, Double.SQRT])


def test_dimensions_that_no_walk_has_together_are_copied_first() -> None:
    """A column view of 3 x 4 meets a view of 2 x 6."""
    assert together(12, [((3, 1), (4, 3)), ((2, 1), (6, 2))]) is None
    x = shuffled(24)

    def operation(g: Builder, a: Tensor) -> Tensor:
        one = g.reshape(a, (3, 8)).sliced(1, 0, 4)
        return g.binary(ADD, one, g.reshape(g.reshape(a, (4, 6)).sliced(0, 0, 2), (3, 4)))

    program, values = program_of(operation, [x])
    assert found(program)[0] == [Double.ADD]
    assert_same(program, values)


def two_outputs(interior: int) -> tuple[Program, dict[str, Array]]:
    """A sum, and what one of its steps makes."""
    x, y = shuffled(50), shuffled(50)
    with float_mode():
        g = Builder()
        tensors = [g.new(DType.F64, (50,)) for _ in range(2)]
        for name, tensor in zip("xy", tensors, strict=True):
            tensor.buffer.input_name, tensor.buffer.depends = name, frozenset({name})
        made = g.binary(ADD, *tensors)
        inner = g.ops[interior].out
        program = compile_operations(g, list(zip("xy", tensors, strict=True)), [("a", made), ("b", inner)])
    return program, {"x": x, "y": y}


@pytest.mark.parametrize("interior", [0, 2, 5, 30, 60, 80])
def test_a_sequence_of_which_something_else_is_read_runs_as_it_is(interior: int) -> None:
    program, values = two_outputs(interior)
    assert found(program)[0] == []
    assert_same(program, values)


def test_a_sequence_that_differs_in_any_word_is_no_operation() -> None:
    """A sum with one word of one record changed: another operand, function, immediate, view or block that is freed."""
    program, values = program_of(lambda g, x, y: g.binary(ADD, x, y), [shuffled(40).reshape(8, 5), shuffled(5)])
    rows = np.frombuffer(program.records, RECORD)
    changed = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        mutant = rows.copy()
        row = mutant[int(rng.integers(len(rows) - 1))]
        kind = seed % 3
        if kind == 0:  # another operand of the same width
            other = rows[int(rng.integers(len(rows)))]
            row["inputs"][int(rng.integers(max(1, row["n_in"])))] = rng.choice(
                [other["out"], *other["inputs"][: other["n_in"]]]
            )
        elif kind == 1:  # another function
            row["imm"][0] = rng.integers(1, 20)
        else:  # another view
            row["body"][8 * int(rng.integers(2, 4)) + int(rng.integers(0, 2))] += rng.choice([-1, 1])
        records = mutant.tobytes()
        other_program = replace(program, records=records)
        analysis = ProgramAnalysis.of(other_program)
        if records == program.records or analysis.judged.status.any() or analysis.schedule is None:
            continue
        changed += 1
        last = one_by_one(other_program, values)
        whole = Inference(other_program, values)
        n = program.node_count
        assert whole.state_root(n) == last.state_root(n), (seed, kind)
        assert whole.read(ARENA.offset, 4096) == last.read(ARENA.offset, 4096)
    assert changed >= 6
    assert len(program.records) == RECORD_BYTES * len(rows)


SUMS = [2, 3, 37]
"""Numbers of a row: around powers of two, whose rounds leave an odd one over, or never do."""


def steps_of_kind(program: Program, opcode: int) -> int:
    """How many steps of a program's schedule have an opcode of the host's own."""
    schedule = ProgramAnalysis.of(program).schedule
    assert schedule is not None
    numbers = schedule.steps[:, 0].astype(np.int64) - program.node_count
    further = np.frombuffer(schedule.copies, RECORD)[numbers[numbers >= 0]]
    return int((further["opcode"] == opcode).sum())


def sums(program: Program) -> int:
    return steps_of_kind(program, DOUBLE_SUMS)


def check_sums(operation: Operation, inputs: Sequence[Array], steps: int, count: int = 1) -> None:
    program, values = program_of(operation, inputs)
    schedule = ProgramAnalysis.of(program).schedule
    assert schedule is not None
    assert (sums(program), len(schedule.steps)) == (count, steps)
    expected = one_by_one(program, values).output_image()
    assert Inference(program, values).output_image() == expected


@pytest.mark.parametrize("length", SUMS)
def test_sums_along_any_axis_are_one_step(length: int) -> None:
    """The last, the first and a middle one, all, and of a view; products too, and what a later step makes of a sum."""
    alone = int(length > 2)  # a single pair is a single operation
    tail, front = shuffled(9 * length).reshape(9, length), shuffled(20 * length).reshape(length, 20)
    check_sums(lambda g, x: g.reduce(Reduction.SUM, x, (1,)), [tail], 1, alone)
    check_sums(lambda g, x: g.reduce(Reduction.PROD, x, (0,)), [front], 1, alone)
    middle = shuffled(6 * length).reshape(2, length, 3)
    check_sums(lambda g, x: g.reduce(Reduction.SUM, x, (1,)), [middle], 1, alone)
    check_sums(lambda g, x: g.reduce(Reduction.SUM, x.sliced(0, 1, 4, 2), (1,)), [tail], 1, alone)
    check_sums(lambda g, x: g.unary(Unary.SQRT, g.reduce(Reduction.SUM, x, (1,))), [tail], 2, alone)


@pytest.mark.parametrize(("length", "columns"), [(3, 1), (37, 11), (46, 9)])
def test_a_product_of_matrices_is_one_step_and_perhaps_a_copy(length: int, columns: int) -> None:
    x, w, bias = (np.nan_to_num(shuffled(n)) for n in (5 * length, length * columns, columns))
    left, right = x.reshape(5, length), w.reshape(length, columns)
    alone = int(length > 2)
    steps = 1 if alone else 2
    check_sums(lambda g, a: g.contract(a, g.constant(right), g.constant(bias)), [left], steps + 1, alone)
    copies = int(columns > 1)
    check_sums(lambda g, a, b: g.contract(a, b), [left, right], steps + copies, alone)
    check_sums(lambda g, a, b: g.contract(a, b.transposed((1, 0))), [left, right.T.copy()], steps, alone)
    # Sums of the numbers above are mostly infinite or none; of these, each product counts.
    near = [RNG.standard_normal(shape) * 2.0 ** RNG.integers(-9, 10, shape) for shape in (left.shape, right.shape)]
    check_sums(lambda g, a: g.contract(a, g.constant(near[1]), g.constant(bias)), near[:1], steps + 1, alone)
    check_sums(lambda g, a, b: g.contract(a, b), near, steps + copies, alone)


@pytest.mark.parametrize(("batches", "rows", "length", "columns"), [(3, 5, 37, 17), (2, 9, 6, 8), (6, 3, 16, 33)])
def test_products_of_batches_are_one_step(batches: int, rows: int, length: int, columns: int) -> None:
    """Each with a second factor of its own or all with one, as it is or transposed; a first one that is gets copied."""

    def near(*shape: int) -> Array:
        return RNG.standard_normal(shape) * 2.0 ** RNG.integers(-9, 10, shape)

    x, w = near(batches, rows, length), near(batches, length, columns)
    check_sums(lambda g, a, b: g.contract(a, b), [x, w], 2)
    turned = w.swapaxes(1, 2).copy()
    check_sums(lambda g, a, b: g.contract(a, b.transposed((0, 2, 1))), [x, turned], 1)
    check_sums(lambda g, a, b: g.contract(a, b.transposed((1, 0))), [x, turned[0]], 1)
    backwards = x.swapaxes(1, 2).copy()
    check_sums(lambda g, a, b: g.contract(a.transposed((0, 2, 1)), b.transposed((0, 2, 1))), [backwards, turned], 2)


def test_sums_of_which_a_round_is_read_elsewhere_are_two_sums() -> None:
    x = shuffled(100)
    with float_mode():
        g = Builder()
        tensor = g.new(DType.F64, (100,))
        tensor.buffer.input_name, tensor.buffer.depends = "x", frozenset({"x"})
        made = g.reduce(Reduction.SUM, tensor, (0,))
        halves = [op.out for op in g.ops if op.out.dtype is DType.F64 and op.out.size == 25]
        program = compile_operations(g, [("x", tensor)], [("a", made), ("b", halves[0])])
    assert sums(program) == 2  # up to it, and behind it
    assert_same(program, {"x": x})


@pytest.mark.parametrize(("rows", "targets"), [(1, 1), (9, 3)])
def test_trees_rank_each_feature_and_add_their_weights_in_one_step(rows: int, targets: int) -> None:
    model, thresholds = trees("TreeEnsembleRegressor", 12, targets)
    x = RNG.choice(np.concatenate([thresholds.reshape(-1), shuffled(30)]), (rows, 3))
    program = compile_model(model, dims={"x.0": rows, "x.1": 3})
    assert (steps_of_kind(program, RANKS), sums(program)) == (3, 1)
    assert_same(program, {"x": x})


@pytest.mark.parametrize(("terms", "outputs"), [(2, 3), (3, 20), (30, 1)])
def test_sums_in_order_are_one_step(terms: int, outputs: int) -> None:
    x = shuffled(2 * terms * outputs).reshape(2, terms, outputs)

    def operation(g: Builder, a: Tensor) -> Tensor:
        total = a.sliced(1, 0, 1)
        for term in range(1, terms):
            total = g.add(total, a.sliced(1, term, 1))
        return total

    check_sums(operation, [x], 1, int(terms > 2))


def operations_of(program: Program) -> list[Step]:
    """A program's steps, with one for each operation of binary64."""
    analysis = ProgramAnalysis.of(program)
    records = Records(program.records, analysis.judged.extents)
    singles = list(steps_of(program.records, analysis.judged.extents, np.arange(1, program.node_count + 1)))
    return with_doubles(records, singles, program.model_blocks, program.double_patterns)


def equally_apart(program: Program, starts_with_input: bool) -> Program:
    """The program with the outputs of its second and third operations as far apart as the second's and the first's, or
    as the second's and the input."""
    first, second, third = (operation.operands[0].at for operation in operations_of(program)[:3])
    begin = INPUT.offset if starts_with_input else first
    moved = second if starts_with_input else first + (1 << 24)  # where no other block is
    rows = np.frombuffer(program.records, RECORD).copy()
    for field in ("out", "inputs", "frees"):
        words = rows[field].astype(np.int64)
        offsets = words & (1 << 56) - 1
        for old, new in ((second, moved), (third, 2 * moved - begin)):
            words += np.where((old <= offsets) & (offsets < old + 256), new - old, 0)
        rows[field] = words
    return replace(program, records=rows.tobytes())


@pytest.mark.parametrize("starts_with_input", [False, True])
@pytest.mark.parametrize("by_pairs", [False, True])
def test_sums_of_tensors_in_blocks_of_their_own_are_operations(by_pairs: bool, starts_with_input: bool) -> None:
    """They are as far apart in the segment as in one tensor would be, but not in a run's workspace."""

    def operation(g: Builder, x: Tensor) -> Tensor:
        a, b, c = g.sqrt(x), g.floor(x), g.absolute(x)
        total = g.add(x if starts_with_input else a, b)
        joined = g.reduce(Reduction.SUM, g.concat([total, c], 1), (1,)) if by_pairs else g.add(total, c)
        return g.mul(joined, g.reshape(a, joined.shape))

    program, values = program_of(operation, [shuffled(20).reshape(20, 1)])
    program = equally_apart(program, starts_with_input)
    assert_same(program, values)
    assert sums(program) == 0


def test_a_sum_that_begins_before_the_output_reads_nothing_of_an_earlier_run() -> None:
    """A program made for it adds what lies at the end of INPUT, and at the first and the second place of OUTPUT."""

    def operation(g: Builder, x: Tensor) -> Tensor:
        a, b, c, d = g.sqrt(x), g.floor(x), g.absolute(x), g.unary(Unary.CEIL, x)
        return g.sub(g.add(g.add(b, c), d), a)

    program, values = program_of(operation, [np.arange(1.0, 21.0)])
    rows = np.frombuffer(program.records, RECORD).copy()
    for term, step in enumerate(operations_of(program)[1:4]):
        rows["inputs"][rows["inputs"] == step.operands[0].at] = OUTPUT.offset + 256 * (term - 1)
    program = replace(program, records=rows.tobytes())
    assert_same(program, values)
    assert sums(program) == 0


@pytest.mark.parametrize("function", [Reduction.SUM, Reduction.PROD])
@pytest.mark.parametrize("shape", [(37,), (3, 1, 3), (5, 33, 1), (2, 9, 21), (1, 40, 11), (4, 64, 2)])
def test_cumulative_sums_and_products_are_one_step(function: Reduction, shape: tuple[int, ...]) -> None:
    """Of lines side by side and far apart, from either end, without their own number, and of views."""
    axis = len(shape) // 2
    x = shuffled(int(np.prod(shape))).reshape(shape)
    turned = tuple(reversed(range(len(shape))))

    def check_scans(operation: Operation) -> None:
        program, values = program_of(operation, [x])
        assert steps_of_kind(program, DOUBLE_SCANS) == (shape[axis] > 2)
        expected = one_by_one(program, values).output_image()
        for threads in (1, 2):
            assert Inference(program, values, threads=threads).output_image() == expected

    for exclusive, reverse in ((False, False), (False, True), (True, False), (True, True)):
        check_scans(lambda g, a, e=exclusive, r=reverse: g.scan(function, a, axis, exclusive=e, reverse=r))
    check_scans(lambda g, a: g.scan(function, a.transposed(turned), axis))
    check_scans(lambda g, a: g.unary(Unary.NEG, g.scan(function, a.sliced(0, shape[0] - 1, shape[0], -1), axis)))


@pytest.mark.parametrize(("interior", "scans"), [(0, 1), (1, 1), (2, 0), (3, 0)])
def test_a_cumulative_sum_of_which_a_round_is_read_elsewhere_is_one_from_there_on(interior: int, scans: int) -> None:
    """Behind two rounds of a line of twenty numbers, each four neighbours are one place of a line of five."""
    x = shuffled(60).reshape(20, 3)
    with float_mode():
        g = Builder()
        tensor = g.new(DType.F64, x.shape)
        tensor.buffer.input_name, tensor.buffer.depends = "x", frozenset({"x"})
        made = g.scan(Reduction.SUM, tensor, 0)
        joined = [op.out.buffer for op in g.ops if (op.out.dtype, op.out.buffer.size) == (DType.F64, x.size)]
        inner = Tensor(joined[2 * interior], x.shape, (3, 1), 0)
        program = compile_operations(g, [("x", tensor)], [("a", made), ("b", inner)])
    assert steps_of_kind(program, DOUBLE_SCANS) == scans
    assert_same(program, {"x": x})


@pytest.mark.parametrize("function", [Reduction.MAX, Reduction.MIN])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 77, 2), (2, 9, 300), (1, 33, 12), (31, 4, 5)])
def test_extremes_are_one_step(function: Reduction, shape: tuple[int, ...]) -> None:
    """Over any axes, with and without a NaN, of zeros of both signs, of infinities alone."""
    any_number = shuffled(int(np.prod(shape))).reshape(shape)
    numbers, zeros = np.where(np.isnan(any_number), -0.0, any_number), np.where(any_number < 0, -0.0, 0.0)
    endless = np.copysign(np.inf, any_number)
    for x in (any_number, numbers, zeros, endless, np.full(shape, -np.inf), np.full(shape, -0.0)):
        for axes in ((0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)):
            program, values = program_of(lambda g, a, over=axes: g.reduce(function, a, over), [x])
            assert steps_of_kind(program, DOUBLE_EXTREMES) == 1
            assert Inference(program, values).output_image() == one_by_one(program, values).output_image()


def test_an_extreme_whose_keys_are_read_elsewhere_is_made_of_them() -> None:
    x = shuffled(60).reshape(20, 3)

    def operation(g: Builder, a: Tensor) -> Tensor:
        keys = g.wide.ordered(a, largest=True)
        return g.add(g.argreduce(Reduction.MAX, keys, 0), g.reduce(Reduction.MAX, keys, (0,)))

    program, values = program_of(operation, [x])
    assert steps_of_kind(program, DOUBLE_EXTREMES) == 0
    assert_same(program, values)
