"""
A schedule comes to the same last state as its nodes one by one, bit for bit, or there is none.

Honest programs come from random models and real architectures; hand-made ones do what no compiler does: read what was
never written, free twice or in parts, fail in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings

from opml_dispute.engine.addresses import IN_WORKSPACE
from opml_dispute.engine.analysis import ProgramAnalysis, ProgramLike
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import ARENA, INPUT, OUTPUT, WEIGHTS
from opml_dispute.engine.segment_memory import SegmentUnavailable
from opml_dispute.model.compiler import compile_model
from opml_dispute.model.opcodes import Binary, DType, Opcode, Unary
from opml_dispute.model.program import Program
from opml_dispute.model.record import Free, Record, program_header, strided_body
from opml_dispute.models import DIGITS, digit_samples
from tests.guest.programs import BareProgram, program
from tests.kernels.maker import words
from tests.model.graphs import Graph, models

Array = npt.NDArray[Any]
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
INPUT_IMAGE = np.arange(1, 65, dtype=">f4").tobytes()


def one_by_one(made: ProgramLike, inputs: Any, threads: int = 1) -> Inference:
    """The last state, with every state between visited."""
    inference = Inference(made, inputs, threads=threads)
    ProgramAnalysis.of(made).__dict__["schedule"] = None
    for t in range(made.node_count + 1):
        inference.run_to(t)
    del ProgramAnalysis.of(made).__dict__["schedule"]
    return inference


def assert_same(made: ProgramLike, inputs: Any, *, scheduled: bool = True) -> None:
    """Whole runs, twice over and by one thread and two, come to the state that single steps come to."""
    n = made.node_count
    expected = one_by_one(made, inputs)
    ends = [(OUTPUT.offset, expected.read(OUTPUT.offset, 4096)), (ARENA.offset, expected.read(ARENA.offset, 4096))]
    assert (ProgramAnalysis.of(made).schedule is not None) == scheduled
    for threads in (1, 2):
        whole = Inference(made, inputs, threads=threads)
        for looks in (False, False, True):
            whole.run_to(0)
            if looks:  # S_0 holds nothing of what an earlier run left there
                assert not any(whole.read(OUTPUT.offset, 4096))
                assert not any(whole.read(ARENA.offset, 4096))
            whole.run_to(n)
            assert [(at, whole.read(at, 4096)) for at, _ in ends] == ends
        assert whole.state_root(n) == expected.state_root(n)
        assert (whole.status, whole.fault_node) == (expected.status, expected.fault_node)
        middle = n // 2
        assert whole.state_root(middle) == expected.state_root(middle)
        assert whole.state_root(0) == expected.state_root(0)


def named(made: Program, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {spec.name: rng.standard_normal(spec.shape).astype(spec.dtype.numpy) for spec in made.inputs}


@settings(max_examples=50, deadline=None)
@given(models())
def test_random_models(pair: tuple[onnx.ModelProto, dict[str, Array]]) -> None:
    """Random models give the same bits by schedule and node by node, whole and in tiles."""
    model, arrays = pair
    for budget in (1 << 26, 1 << 16):
        made = compile_model(model, tile_budget=budget)
        assert_same(made, {spec.name: arrays[spec.name] for spec in made.inputs})


def test_the_digit_reader_whole_and_in_tiles() -> None:
    for budget in (1 << 26, 1 << 16):
        made = compile_model(DIGITS, tile_budget=budget)
        assert_same(made, {"image": digit_samples()[0][:1]})


def residual(channels: int = 12, size: int = 20) -> onnx.ModelProto:
    """Convolutions, a shortcut around them, a branch that is looked at twice, and a concatenation of it all."""
    rng = np.random.default_rng(3)
    graph = Graph()
    graph.input("x", [2, channels, size, size])

    def conv(x: str) -> str:
        weights = graph.constant(rng.normal(size=(channels, channels, 3, 3)).astype(np.float32) * 0.1)
        return graph.node("Conv", x, weights, pads=[1, 1, 1, 1])

    first = graph.node("Relu", conv("x"))
    second = graph.node("Add", conv(first), first)
    third = graph.node("Sigmoid", graph.node("Relu", second))
    product = graph.node("Mul", third, graph.node("Tanh", second))
    joined = graph.node("Concat", first, product, graph.node("MaxPool", third, kernel_shape=[1, 1]), axis=1)
    scale = graph.constant(rng.normal(size=(3 * channels, 1, 1)).astype(np.float32))
    last = graph.node("Relu", graph.node("Add", graph.node("Mul", joined, scale), scale))
    return graph.model([last, graph.node("ReduceSum", last, keepdims=0)])


@pytest.mark.parametrize("budget", [1 << 26, 1 << 20])
def test_chains_that_share_tensors(budget: int) -> None:
    """Chains of steps that share tensors give the bits of the node-by-node run."""
    made = compile_model(residual(), tile_budget=budget)
    schedule = ProgramAnalysis.of(made).schedule
    assert schedule is not None
    assert sum(byte & 1 for byte in schedule.chained) >= 5
    assert_same(made, named(made))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["light_squeezenet", "light_shufflenet", "light_inception_v1", "light_densenet121"])
def test_real_architectures(name: str) -> None:
    """And with the states at a few places between, reached at once or by single nodes."""
    made = compile_model(onnx.load(LIGHT / f"{name}.onnx"))
    inputs = named(made)
    n = made.node_count
    whole, stepwise = Inference(made, inputs, threads=2), Inference(made, inputs)
    stepwise.run_to(n - 1)
    assert whole.state_root(n) == stepwise.state_root(n)
    assert whole.output_image() == stepwise.output_image()
    for t in (n // 3, n // 3 + 1, n // 2):
        assert whole.state_root(t) == stepwise.state_root(t)


def test_no_more_memory_than_is_live_at_once() -> None:
    """A long chain of tensors that each die at once takes the room of a few."""
    graph = Graph()
    last = graph.input("x", [64, 64])
    rng = np.random.default_rng(0)
    for _ in range(20):
        last = graph.node("MatMul", last, graph.constant(rng.normal(size=(64, 64)).astype(np.float32)))
    schedule = ProgramAnalysis.of(compile_model(graph.model([last]))).schedule
    assert schedule is not None
    assert schedule.workspace_bytes <= 3 * 4 * 64 * 64


def test_a_number_for_each_row_does_not_lie_where_rows_were() -> None:
    """Else the second reduction of a normalisation, whose widened numbers are gone by then, would wait for all rows."""
    graph = Graph()
    x, scale = graph.input("x", [512, 128], onnx.TensorProto.FLOAT16), graph.constant(np.ones(128, np.float16))
    made = compile_model(graph.model([graph.node("LayerNormalization", x, scale)], opset=17))
    schedule = ProgramAnalysis.of(made).schedule
    assert schedule is not None
    extents = [
        (int(at & ~IN_WORKSPACE), 4 * int(hi)) for _, hi, at, *_ in schedule.steps.astype(int) if at & IN_WORKSPACE
    ]
    small, large = ([pair for pair in extents if (pair[1] <= 4 * 512) == is_small] for is_small in (True, False))
    assert small
    assert large
    assert all(at + size <= other or other + length <= at for at, size in small for other, length in large)


# Programs that no compiler makes


def unary(function: Unary, out: int, at: int, count: int, frees: Sequence[int] = (), step: int = 1) -> Record:
    """out[i] = function(in[i * step]), f32, in blocks of 256 bytes."""
    return Record(
        Opcode.UNARY, DType.F32, out, (at,), (DType.F32,), 1, 0, count, words(function),
        strided_body([count], [[1], [step]]), tuple(Free(8, offset) for offset in frees),
    )  # fmt: skip


def fill(out: int, count: int, frees: Sequence[Free] = (), step: int = 1) -> Record:
    return Record(
        Opcode.FILL, DType.F32, out, rank=1, hi=count, imm=words(0x3F800000), body=strided_body([count], [[step]]),
        frees=tuple(frees),
    )  # fmt: skip


def add(out: int, x: int, y: int, count: int, frees: Sequence[int] = ()) -> Record:
    return Record(
        Opcode.BINARY, DType.F32, out, (x, y), (DType.F32, DType.F32), 1, 0, count, words(Binary.ADD),
        strided_body([count], [[1], [1], [1]]), tuple(Free(8, offset) for offset in frees),
    )  # fmt: skip


A, B, C = (ARENA.offset + 256 * i for i in range(3))


def bare(*records: Record, arrays: Sequence[tuple[int, Array]] = ()) -> BareProgram:
    return program([record.pack() for record in records], arrays)


@pytest.mark.parametrize(
    "records",
    [
        # Read, and never written: zeros.
        (unary(Unary.NEG, OUTPUT.offset, A, 16, [A]),),
        # Read in parts that were not written.
        (fill(A, 8), unary(Unary.ABS, OUTPUT.offset, A, 16, [A])),
        (fill(A, 8, step=2), unary(Unary.ABS, OUTPUT.offset, A, 16, [A])),
        # Written in two parts, read as one; then as another's beginning.
        (fill(A, 8), fill(A + 32, 8), unary(Unary.NEG, B, A, 16, [A]), unary(Unary.NEG, OUTPUT.offset, B, 16, [B])),
        # Every other element, and backwards.
        (unary(Unary.NEG, A, INPUT.offset, 16), unary(Unary.ABS, OUTPUT.offset, A, 8, [A], step=2)),
        (unary(Unary.NEG, A, INPUT.offset, 16), unary(Unary.ABS, OUTPUT.offset, A + 60, 16, [A], step=-1)),
        # Written again by a later node, in between read.
        (
            unary(Unary.NEG, A, INPUT.offset, 16),
            unary(Unary.EXP, B, A, 16),
            unary(Unary.ABS, A, INPUT.offset, 16),
            add(OUTPUT.offset, A, B, 16, [A, B]),
        ),
        # A chain whose middle is needed later.
        (
            unary(Unary.NEG, A, INPUT.offset, 16),
            unary(Unary.EXP, B, A, 16),
            unary(Unary.NEG, C, B, 16, [A]),
            add(OUTPUT.offset, C, B, 16, [B, C]),
        ),
        # Reads elements that its own chain has not made yet, were it one.
        (
            unary(Unary.NEG, A, INPUT.offset, 16),
            unary(Unary.ABS, B, A + 4, 15),
            unary(Unary.NEG, OUTPUT.offset, B, 15, [A, B]),
        ),
        # Freed by the node that made it, and by one that never touched it; never written at all.
        (unary(Unary.NEG, OUTPUT.offset, INPUT.offset, 16), unary(Unary.NEG, A, INPUT.offset, 16, [A])),
        (fill(A, 16), unary(Unary.NEG, OUTPUT.offset, INPUT.offset, 16), unary(Unary.ABS, B, INPUT.offset, 4, [A, B])),
        (fill(OUTPUT.offset, 4, [Free(20, ARENA.offset + (1 << 20))]),),
        # Never freed: part of the last state.
        (unary(Unary.NEG, A, INPUT.offset, 16), unary(Unary.NEG, OUTPUT.offset, A, 16)),
        (unary(Unary.NEG, A, INPUT.offset, 16), unary(Unary.NEG, B, A, 16), add(OUTPUT.offset, A, B, 8, [B])),
        # OUTPUT read before it is written, and written twice.
        (unary(Unary.EXP, OUTPUT.offset + 256, OUTPUT.offset, 16), fill(OUTPUT.offset, 16), fill(OUTPUT.offset, 4)),
    ],
)
def test_unusual_programs_that_can_be_scheduled(records: tuple[Record, ...]) -> None:
    assert_same(bare(*records), INPUT_IMAGE)


@pytest.mark.parametrize(
    "records",
    [
        # Touched after it was freed, freed twice, freed in part, freed as part of more.
        (fill(A, 16, [Free(8, A)]), unary(Unary.ABS, OUTPUT.offset, A, 16)),
        (fill(A, 16, [Free(8, A)]), fill(OUTPUT.offset, 16, [Free(8, A)])),
        (fill(A, 32), unary(Unary.NEG, OUTPUT.offset, A, 32), fill(OUTPUT.offset, 4, [Free(6, A)])),
        (fill(A, 32), fill(B, 32), fill(OUTPUT.offset, 4, [Free(8, A), Free(9, A)])),
        (fill(A + 192, 32), fill(OUTPUT.offset, 4, [Free(8, A)])),
    ],
)
def test_what_cannot_be_seen_to_be_right_runs_node_by_node(records: tuple[Record, ...]) -> None:
    assert_same(bare(*records), INPUT_IMAGE, scheduled=False)


def test_a_program_that_reads_its_output_before_writing_it_never_finds_an_earlier_runs() -> None:
    """The first node adds to OUTPUT what the second puts there: zeros, in every run."""
    made = bare(
        add(OUTPUT.offset + 64, OUTPUT.offset, INPUT.offset, 8), unary(Unary.NEG, OUTPUT.offset, INPUT.offset, 8)
    )
    schedule = ProgramAnalysis.of(made).schedule
    assert schedule is not None
    assert not schedule.repeats
    assert_same(made, INPUT_IMAGE)


def test_a_program_with_a_bad_record_or_header_has_no_schedule() -> None:
    good = [fill(A, 4), unary(Unary.NEG, OUTPUT.offset, A, 4, [A])]
    assert_same(bare(*good, replace(good[0], rank=9)), INPUT_IMAGE, scheduled=False)
    records = b"".join(record.pack() for record in good)
    assert_same(BareProgram(records, header=program_header(1, 40, 0, 0)), INPUT_IMAGE, scheduled=False)
    assert_same(BareProgram(records, header=bytes(32)), INPUT_IMAGE, scheduled=False)


def test_a_bad_index_in_any_tile_leaves_what_single_steps_leave() -> None:
    """Tiles of a gather are one step of a schedule; the one with the bad index is the one that fails."""
    graph = Graph()
    picked = graph.node(
        "GatherElements", graph.constant(np.arange(9, dtype=np.float32)), graph.input("i", [250_000], 7)
    )
    made = compile_model(graph.model([graph.node("Neg", picked)]))
    assert made.node_count > 3
    indices = np.arange(250_000) % 9
    assert_same(made, {"i": indices})
    for bad in (0, 170_000, 249_999):
        wrong = indices.copy()
        wrong[bad] = 9
        assert_same(made, {"i": wrong})
        assert Inference(made, {"i": wrong}).status == 7


def test_a_node_that_fails_in_the_middle_leaves_what_single_steps_leave() -> None:
    gather = Record(
        Opcode.GATHER, DType.F32, B, (A, WEIGHTS.offset), (DType.F32, DType.I64), 1, 0, 2, words(1, 1),
        strided_body([2], [[1], [0], [1], [1, 0, 0, 0, 4]]), (Free(8, A),),
    )  # fmt: skip
    for index, status in ((3, 0), (4, 7)):
        made = bare(
            fill(OUTPUT.offset + 64, 4),
            unary(Unary.NEG, A, INPUT.offset, 4),
            gather,
            unary(Unary.NEG, OUTPUT.offset, B, 2, [B]),
            arrays=[(WEIGHTS.offset, np.array([1, index], np.int64))],
        )
        assert_same(made, INPUT_IMAGE)
        assert Inference(made, INPUT_IMAGE).status == status


def test_weights_are_read_where_the_program_holds_them_or_where_they_must_lie() -> None:
    """Weights that end before their block does, span several, or lie at no multiple of their width."""
    values = np.arange(64, dtype=np.float32)
    for arrays, at, count in (
        ([(WEIGHTS.offset, values)], WEIGHTS.offset + 32, 32),
        ([(WEIGHTS.offset, values[:16])], WEIGHTS.offset, 16),
        ([(WEIGHTS.offset, values[:16])], WEIGHTS.offset + 32, 16),
        ([], WEIGHTS.offset + 4096, 16),
    ):
        made = bare(add(A, at, INPUT.offset, count), unary(Unary.NEG, OUTPUT.offset, A, count, [A]), arrays=arrays)
        assert_same(made, INPUT_IMAGE)
    odd = np.frombuffer(b"\0" + values.tobytes(), np.uint8)[1:]
    made = bare(add(OUTPUT.offset, WEIGHTS.offset, INPUT.offset, 16))
    weights = replace(program([], [(WEIGHTS.offset, values[:16])]).weights[0], data=odd[:64])
    assert_same(replace(made, weights=(weights,)), INPUT_IMAGE)


def test_the_memory_limit_counts_what_is_live() -> None:
    """A schedule needs less at once than the states between do; where it is too little, the message says at which."""
    made = compile_model(DIGITS)
    image = {"image": digit_samples()[0][:1]}
    schedule = ProgramAnalysis.of(made).schedule
    assert schedule is not None
    needed = schedule.workspace_bytes + made.input_bytes + made.output_bytes
    assert Inference(made, image, memory_limit=needed).status == 0
    with pytest.raises(SegmentUnavailable, match="live tensors of 6,432 bytes at node 1; "):
        Inference(made, image, memory_limit=needed - 1).run_to(made.node_count)


def test_a_liars_run_is_never_scheduled() -> None:
    made = bare(unary(Unary.NEG, A, INPUT.offset, 16), unary(Unary.NEG, OUTPUT.offset, A, 16, [A]))
    liar = Inference(made, INPUT_IMAGE, overrides={1: [(A, b"\x42")]})
    honest = Inference(made, INPUT_IMAGE)
    assert liar.state_root(2) != honest.state_root(2)
    assert liar.state_root(0) == honest.state_root(0)


def test_a_liars_run_starts_from_a_kept_state() -> None:
    """It has every state of the run that starts from S_0, those before the kept one too."""
    made = compile_model(DIGITS)
    image = {"image": digit_samples()[0][:1]}
    honest = Inference(made, image)
    for at in (1, made.node_count // 2, made.node_count - 1):
        block = max(honest.blocks_at(at + 1), key=lambda block: block.offset)  # of ARENA, or of OUTPUT at the end
        lie = {at + 1: [(block.offset, b"\x42" * 8)]}
        kept = honest.kept_at(at)
        assert list(kept) == [at]
        whole, short = Inference(made, image, overrides=lie), Inference(made, image, overrides=lie, kept=kept)
        assert short.output_image() == whole.output_image()
        for t in (made.node_count, at + 1, at, at - 1, 0):
            assert short.state_root(t) == whole.state_root(t)
        assert short.state_root(at + 1) != honest.state_root(at + 1)
    assert honest.kept_at(0) == {}
