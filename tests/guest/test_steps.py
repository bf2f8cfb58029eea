"""
The bound of steps against the guest: no node takes more than its record's bound, and none above the limit runs.

A node whose trace is longer than its game could not be disputed to the end: the honest side would lose. The hunt
(`hunt`) tries everything; here are a short profile of it, and layers on which an earlier, fitted estimate was too low.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import ARENA, INPUT, OUTPUT, WEIGHTS
from opml_dispute.engine.segment_memory import TOO_MANY_STEPS, validate_records
from opml_dispute.game.depths import Depths
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import Binary, DType, Opcode, Reduction, Unary
from opml_dispute.model.program import Program
from opml_dispute.model.record import Free, Record, strided_body
from opml_dispute.primitives import LEAST_LOG2_STEPS
from opml_dispute.trace.guest import run_node_in_vm
from tests.determinism.subjects import runs
from tests.guest.hunt import Tally, bound, hunt, taken
from tests.guest.hunted import hunted
from tests.guest.programs import EQUAL, program, run_node
from tests.kernels import cases
from tests.kernels.maker import Case, Maker, body, words
from tests.model.graphs import Array, Graph

AT_MOST = 3.0
"""Times what the guest takes that the bound of a layer of usual size may be: games do not grow for nothing."""


def test_a_short_hunt_finds_no_record_above_its_bound() -> None:
    tally = hunt(first=0, largest_log2=18, go_on=lambda tried: tried < 250)
    assert tally.above == []
    assert set(tally.found) == {opcode.name for opcode in Opcode}


def test_what_hunts_found_is_written_down_and_added_up() -> None:
    whole = hunt(first=0, largest_log2=20, go_on=lambda tried: tried < 60)
    parts = [hunt(first=first, largest_log2=20, go_on=lambda tried: tried < 30) for first in (0, 30)]
    total = Tally()
    for part in parts:
        total.merge(Tally.from_json(json.loads(json.dumps(part.to_json()))))
    assert str(total.rows()) == str(whole.rows()), "as text: a ratio may be NaN"


def test_a_hunted_case_is_the_same_for_the_same_seed() -> None:
    assert hunted(5, 18).record == hunted(5, 18).record


def numbers(*shape: int) -> Array:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def layer(build: Callable[[Graph, str], str], x: Array, dtype: int = 1) -> Inference:
    graph = Graph()
    made = compile_model(graph.model([build(graph, graph.input("x", x.shape, dtype))], opset=18))
    return Inference(made, {"x": x})


def conv3d(kernel: tuple[int, int, int]) -> Inference:
    weights = numbers(8, 8, *kernel)
    pads = [size // 2 for size in kernel] * 2
    return layer(lambda g, x: g.node("Conv", x, g.constant(weights), pads=pads), numbers(1, 8, 5, 7, 7))


def conv_integer(kernel: int, pad: int, groups: int = 1) -> Inference:
    rng = np.random.default_rng(kernel)
    x = rng.integers(0, 255, (1, 8, 9, 9)).astype(np.uint8)
    weights = rng.integers(-90, 90, (8, 8 // groups, kernel, kernel)).astype(np.int8)
    return layer(
        lambda g, name: g.node("ConvInteger", name, g.constant(weights), pads=[pad] * 4, group=groups), x, dtype=2
    )


def topk(length: int, k: int, x: Array) -> Inference:
    kinds = {"float32": 1, "int32": 6, "int64": 7, "float16": 10}

    def build(g: Graph, name: str) -> str:
        return g.node("TopK", name, g.constant(np.array([k])), outputs=2)

    return layer(build, x.reshape(1, length), kinds[str(x.dtype)])


LAYERS: Mapping[str, Callable[[], Inference]] = {
    "Conv 3x1x1": lambda: conv3d((3, 1, 1)),
    "Conv 5x1x1": lambda: conv3d((5, 1, 1)),
    "Conv 1x3x1": lambda: conv3d((1, 3, 1)),
    "Conv 3x3x3": lambda: conv3d((3, 3, 3)),
    "ConvInteger 3x3": lambda: conv_integer(3, 1),
    "ConvInteger 5x5 padded": lambda: conv_integer(5, 4),
    "ConvInteger 7x7, nothing but padding": lambda: conv_integer(7, 6),
    "ConvInteger by channel": lambda: conv_integer(3, 1, 8),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_a_fitted_estimate_got_wrong_fit_their_game(name: str) -> None:
    assert_fits(LAYERS[name]())


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64"])
@pytest.mark.parametrize("k", [1, 2, 5, 300])
@pytest.mark.parametrize("order", [1, -1])
def test_topk_of_sorted_data_fits_its_game(dtype: str, k: int, order: int) -> None:
    """The largest of ascending data: every element enters the heap."""
    assert_fits(topk(650, k, np.arange(650).astype(dtype)[::order]))


def assert_fits(inference: Inference) -> None:
    """Every node ends within its bound, and with as many steps again to spare in the game."""
    made = inference.program
    assert isinstance(made, Program)
    depths = Depths.for_model(made.node_count, made.log2_steps)
    for t, most in enumerate(made.node_steps):
        run = run_node_in_vm(inference, t)
        assert run.agrees
        assert run.steps <= most <= 1 << made.log2_steps <= depths.steps // 2


@pytest.mark.parametrize("mode", [1, 2, 3, 4, 5, 6, 0x101, 0x105])
@pytest.mark.parametrize("reduction", [Reduction.SUM, Reduction.MAX, Reduction.MIN])
def test_deep_trees_fit(mode: int, reduction: Reduction) -> None:
    """The bound of steps holds for decision trees of great depth."""
    depth, leaf = 60, 12
    nodes = [(mode, 0, at + 1, at + 1) for at in range(depth)] + [(0, 0, leaf, 0)]
    for x in (0.0, 1.0, np.nan):
        make = Maker(np.random.default_rng(0), awkward=False)
        table = [
            np.array([x, x], np.float32),
            np.array(nodes, np.int32),
            np.zeros(len(nodes), np.float32),
            np.zeros(5, np.int32),
            np.zeros(leaf, np.int32),
            np.ones(leaf, np.float32),
        ]
        record = Record(
            Opcode.TREE,
            DType.F32,
            ARENA.offset,
            tuple(make.put(part) for part in table),
            (DType.F32, DType.I32, DType.F32, DType.I32, DType.I32, DType.F32),
            2,
            0,
            2,
            words(reduction),
            body(2, 1, len(nodes), 5, leaf, 1, depth, leaf),
        )
        assert_bounded(Case(record, tuple(make.arrays)))


def assert_bounded(case: Case) -> None:
    steps, most = taken(case), bound(case.record)
    assert steps <= most, f"{steps:,} steps, bound {most:,}: {case.record}"


@pytest.mark.parametrize(
    "function", [*Unary, *Binary], ids=lambda function: f"{type(function).__name__}.{function.name}"
)
def test_no_operand_takes_more_than_the_longest_way(function: Unary | Binary) -> None:
    """Each of many numbers alone in all elements: what branches on data then takes its longest way everywhere."""
    sizes = [0.0, -0.0, 1.0, -1.0, 0.3, 0.5, 0.99, 2.0, 2.5, -3.7, 100.0, 5e3, -4e4, 1e10, 1e30, -3e38, 1e-10, 1e-40]
    wild = np.array([*sizes, -1e-45, np.inf, -np.inf, np.nan], np.float32)
    takes = cases._UNARY[function] if isinstance(function, Unary) else cases._BINARY[function]
    for dtype in takes:
        if dtype.is_integer:
            limits = np.iinfo(dtype.numpy)
            values = np.array([0, 1, 3, limits.min, limits.max], dtype.numpy)
        elif dtype is DType.BOOL:
            values = np.array([False, True])
        else:
            with np.errstate(all="ignore"):
                values = wild.astype(dtype.numpy)
        pairs: list[tuple[np.generic, ...]] = (
            [(x,) for x in values] if isinstance(function, Unary) else [(x, y) for x in values for y in values[::5]]
        )
        for operands in pairs[:: 1 if dtype is DType.F32 else 3]:
            make = Maker(np.random.default_rng(0), awkward=False)
            make.dims = lambda rank=None, most=6: [96]  # type: ignore[method-assign]
            if isinstance(function, Unary):
                case = cases.unary(make, function, dtype)
            else:
                case = cases.binary(make, function, dtype)
            arrays = tuple((at, np.full_like(a, x)) for (at, a), x in zip(case.arrays, operands, strict=True))
            assert_bounded(replace(case, record=replace(case.record, lo=0, hi=96), arrays=arrays))


def repeated(opcode: Opcode, dtype: DType, count: int, columns: int) -> Case:
    """A record of few bytes, whose loops go round so often: `count` times for each of `columns`, or elements."""
    place, other = INPUT.offset, INPUT.offset + 4096
    ones = np.ones(64, dtype.numpy)
    if opcode is Opcode.CONTRACT:
        out = {8: DType.U64}.get(dtype.numpy.itemsize, DType.U32) if dtype.is_integer else dtype
        shape = strided_body([1, columns], [[columns, 1], [0, 0], [0, 0], [0, 0]])
        inputs, dtypes = (place, other, other + 4096), (dtype, dtype, out)
        arrays = ((place, ones), (other, ones), (other + 4096, np.ones(64, out.numpy)))
        record = Record(opcode, out, ARENA.offset, inputs, dtypes, 2, 0, columns, words(count, 0, 0), shape)
        return Case(record, arrays)
    if opcode is Opcode.FILL:
        shape = strided_body([count], [[columns]])
        return Case(Record(opcode, dtype, ARENA.offset, (), (), 1, 0, count, words(1), shape))
    shape = strided_body([count], [[columns], [0]])
    return Case(Record(opcode, dtype, ARENA.offset, (place,), (dtype,), 1, 0, count, words(1), shape), ((place, ones),))


@pytest.mark.parametrize(
    ("opcode", "dtype", "columns", "largest"),
    [
        *(
            (Opcode.CONTRACT, dtype, n, 1 << 17)
            for dtype in (DType.U8, DType.U32, DType.I64, DType.F32)
            for n in (1, 4)
        ),
        *((Opcode.FILL, dtype, apart, 1 << 18) for dtype in (DType.U8, DType.U64) for apart in (1, 2)),
        *((Opcode.COPY, dtype, apart, 1 << 18) for dtype in (DType.U8, DType.U32) for apart in (1, 2)),
    ],
    ids=str,
)
def test_of_longer_loops_the_bound_grows_by_no_less_than_the_steps(
    opcode: Opcode, dtype: DType, columns: int, largest: int
) -> None:
    """
    What every node has to spare hides a loop that is counted a little too short until the record is long: these took
    one step more in 100,000, for switches between threads, and a record of 2.8 x 10^9 steps was above its bound.
    """
    few, many = (repeated(opcode, dtype, count, columns) for count in (largest // 16, largest))
    assert taken(many) - taken(few) <= bound(many.record) - bound(few.record)


def test_frees_and_many_dimensions_are_counted() -> None:
    frees = tuple(Free(6, ARENA.offset + (1 << 20) + 64 * i) for i in range(7))
    strides = [[3**d for d in range(8)], [5**d % 7 for d in range(8)], [0] * 8, [-(d % 3) for d in range(8)]]
    for opcode, inputs, imm in (
        (Opcode.FILL, 0, 7),
        (Opcode.COPY, 1, 0),
        (Opcode.BINARY, 2, Binary.ADD),
        (Opcode.SELECT, 3, 0),
    ):
        dtypes = (DType.BOOL, DType.F32, DType.F32) if opcode is Opcode.SELECT else (DType.F32,) * inputs
        places = tuple(INPUT.offset + 65536 * (1 + i) for i in range(inputs))
        shape = strided_body([2] * 8, strides[: 1 + inputs])
        assert_bounded(
            Case(Record(opcode, DType.F32, ARENA.offset, places, dtypes, 8, 0, 256, words(imm), shape, frees))
        )


# Not needlessly high


def _conv(channels: int, made: int, size: int, kernel: int, **how: int) -> Inference:
    weights = numbers(made, channels // how.get("groups", 1), kernel, kernel)

    def build(g: Graph, x: str) -> str:
        stride, groups = how.get("stride", 1), how.get("groups", 1)
        return g.node("Conv", x, g.constant(weights), pads=[kernel // 2] * 4, strides=[stride] * 2, group=groups)

    return layer(build, numbers(1, channels, size, size))


def _matmul(rows: int, depth: int, columns: int) -> Inference:
    return layer(lambda g, x: g.node("MatMul", x, g.constant(numbers(depth, columns))), numbers(rows, depth))


USUAL: Mapping[str, Callable[[], Inference]] = {
    "MatMul 37 x 53 x 29": lambda: _matmul(37, 53, 29),
    "MatMul 1 x 256 x 256": lambda: _matmul(1, 256, 256),
    "MatMul 128 x 64 x 96": lambda: _matmul(128, 64, 96),
    "MatMul 16 x 1024 x 1024, in tiles": lambda: _matmul(16, 1024, 1024),
    "Conv 1x1, 64 channels": lambda: _conv(64, 64, 14, 1),
    "Conv 3x3, 16 channels": lambda: _conv(16, 16, 28, 3),
    "Conv 3x3, stride 2": lambda: _conv(16, 32, 28, 3, stride=2),
    "Conv 7x7, 3 channels": lambda: _conv(3, 16, 56, 7, stride=2),
    "Conv 3x3, channel by channel": lambda: _conv(32, 32, 28, 3, groups=32),
    "ConvInteger 3x3": lambda: conv_integer(3, 1),
    "Softmax 64 x 1000": lambda: layer(lambda g, x: g.node("Softmax", x), numbers(64, 1000)),
    "LayerNormalization 64 x 256": lambda: layer(
        lambda g, x: g.node("LayerNormalization", x, g.constant(numbers(256))), numbers(64, 256)
    ),
    "Gelu 128 x 256": lambda: layer(lambda g, x: g.node("Mul", x, g.node("Erf", x)), numbers(128, 256)),
    "Transpose 96 x 50 x 40": lambda: layer(lambda g, x: g.node("Transpose", x, perm=[2, 0, 1]), numbers(96, 50, 40)),
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_layers_are_bounded_tightly(name: str) -> None:
    assert_tight(USUAL[name]())


def test_the_sample_model_is_bounded_tightly() -> None:
    (run,) = runs("digits")
    assert_tight(run.inference())


def assert_tight(inference: Inference) -> None:
    """Over all nodes; what every node does once is counted at its most, which only small nodes feel."""
    made = inference.program
    assert isinstance(made, Program)
    once = validate_records(Record(Opcode.FILL, DType.F32, ARENA.offset).pack()).steps[0]
    steps = [run_node_in_vm(inference, t).steps for t in range(made.node_count)]
    assert all(step <= most for step, most in zip(steps, made.node_steps, strict=True))
    assert sum(made.node_steps) <= AT_MOST * sum(steps) + int(once) * made.node_count


# The limit


def elements(count: int) -> Record:
    body = strided_body([count], [[1], [1]])
    return Record(
        Opcode.UNARY, DType.F32, OUTPUT.offset, (INPUT.offset,), (DType.F32,), 1, 0, count, words(Unary.SIN), body
    )


def test_a_record_above_the_limit_latches_its_status_on_host_and_guest() -> None:
    """At the limit it runs; one element more, and neither side runs it."""
    most = next(n for n in range(64, 4096) if bound(elements(n + 1)) > 1 << LEAST_LOG2_STEPS)
    for count, status in ((most, 0), (most + 1, TOO_MANY_STEPS)):
        made = program([elements(count).pack()], log2_steps=LEAST_LOG2_STEPS)
        states = Inference(made, bytes(16_384))
        assert (states.status, states.fault_node) == (status, 0)
        machine = run_node(states)
        assert machine.exit_code == EQUAL
        assert machine.step <= 1 << LEAST_LOG2_STEPS


def test_tiles_that_the_host_joins_are_admitted_one_by_one() -> None:
    """The host makes adjoining tiles in one go; the limit is of each, and holds back a single one."""
    whole = elements(3_000)
    tiles = [replace(whole, lo=lo, hi=lo + 100).pack() for lo in range(0, 3_000, 100)]
    good = Inference(program(tiles, log2_steps=LEAST_LOG2_STEPS), bytes(16_384))
    assert good.status == 0
    tiles[7] = replace(whole, lo=700, hi=1_300).pack()
    bad = Inference(program(tiles, log2_steps=LEAST_LOG2_STEPS), bytes(16_384))
    assert (bad.status, bad.fault_node) == (TOO_MANY_STEPS, 7)
    assert run_node(bad, 7).exit_code == EQUAL


def test_bounds_of_the_largest_records_do_not_wrap() -> None:
    """Counts up to 2^38 and work up to 2^32: the bound grows with them, and stays far below 64 bits."""
    found = 0
    for count_log2 in range(1, 39, 3):
        for depth_log2 in range(0, 39, 3):
            for outputs in (1, 1 << min(32, count_log2)):
                for record in large(1 << count_log2, 1 << depth_log2, outputs):
                    judged = validate_records(record.pack())
                    if judged.status[0] == 0:
                        found += 1
                        assert outputs < int(judged.steps[0]) < 1 << 56, record
    assert found > 400


def large(count: int, depth: int, outputs: int) -> Iterator[Record]:
    """Records of `count` outputs, of which `outputs` are made, each of `depth` elements; they need not be admitted."""
    f32, places = DType.F32, (INPUT.offset, WEIGHTS.offset)
    flat = strided_body([count], [[1], [0], [0]])
    yield Record(Opcode.BINARY, f32, ARENA.offset, places, (f32, f32), 1, 0, outputs, words(Binary.POW), flat)
    wide = strided_body([count], [[1], [0]])
    yield Record(Opcode.BINARY, DType.I8, ARENA.offset, places, (DType.I8,) * 2, 1, 0, outputs, words(Binary.POW), flat)
    yield Record(Opcode.CAST, DType.I8, ARENA.offset, places[:1], (DType.F16,), 1, 0, outputs, words(1), wide)
    for rows in (1, 4):
        product = strided_body([rows, count], [[count, 1], [0, 0], [0, 0]])
        yield Record(
            Opcode.CONTRACT,
            DType.I32,
            ARENA.offset,
            places,
            (DType.I8,) * 2,
            2,
            0,
            outputs,
            words(depth, 0, 0),
            product,
        )
    along = strided_body([count, depth], [[1, 0], [0, 0]])
    yield Record(Opcode.REDUCE, f32, ARENA.offset, places[:1], (f32,), 2, 0, outputs, words(Reduction.SUM, 1), along)
    yield Record(
        Opcode.SCAN,
        f32,
        ARENA.offset,
        places[:1],
        (f32,),
        2,
        0,
        outputs,
        words(1, 1),
        strided_body([count, depth], [[depth, 1], [0, 0]]),
    )
    for k in {1, depth}:
        lines = strided_body([count, depth], [[k, 1], [0, 0]])
        yield Record(Opcode.TOPK, DType.I64, ARENA.offset, places[:1], (f32,), 2, 0, outputs, words(1, 1, k), lines)
    for size in {min(count, 1 << 31)}:
        taps = min(depth, 1 << 31)
        fields = (1, 1, 1, 4, 1, 1, 1, 1, taps, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, size, 1, 1)
        yield Record(
            Opcode.CONV, DType.I32, ARENA.offset, places, (DType.I8,) * 2, 1, 0, outputs, words(), body(*fields)
        )
        yield Record(Opcode.POOL, f32, ARENA.offset, places[:1], (f32,), 1, 0, outputs, words(0), body(*fields))
