"""
The transition around the kernels: the header, errors that latch, freed blocks, untrusted programs.

Everything here is run on the host and in the VM, which must reach the same state root.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.hashing import merkle_root, zero_root
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.segment import ARENA, HEADER, INPUT, OUTPUT, WEIGHTS, header_leaf, header_root, state_root
from opml_dispute.engine.segment_memory import validate_records
from opml_dispute.model.opcodes import Binary, DType, Opcode, Unary
from opml_dispute.model.record import Free, Record, program_header, strided_body
from tests.guest.programs import EQUAL, BareProgram, image, inference, program, run_node, specs
from tests.kernels import cases
from tests.kernels.maker import Array, Maker, body, words

BAD_PROGRAM, BAD_OPCODE, BAD_DTYPE, BAD_SHAPE, BAD_OPERAND, BAD_FREE, OUT_OF_RANGE = range(1, 8)


def fill(out: int, count: int, value: int = 7, frees: tuple[Free, ...] = (), dtype: DType = DType.U8) -> Record:
    """`count` elements `value` at `out`."""
    return Record(
        Opcode.FILL, dtype, out, rank=1, hi=count, imm=words(value), body=strided_body([count], [[1]]), frees=frees
    )


def negate(out: int, at: int, count: int) -> Record:
    """out = -in, both f32."""
    return Record(
        Opcode.UNARY,
        DType.F32,
        out,
        (at,),
        (DType.F32,),
        1,
        0,
        count,
        words(Unary.NEG),
        strided_body([count], [[1], [1]]),
    )


def run_all(states: Inference) -> None:
    """Every node, in the VM as on the host."""
    for t in range(states.program.node_count):
        assert run_node(states, t).exit_code == EQUAL, f"node {t}"


def test_states_of_a_run_are_what_the_format_says() -> None:
    """S_1 from its five parts, computed by hand."""
    records = [fill(ARENA.offset, 40).pack(), fill(OUTPUT.offset, 3).pack()]
    made = program(records)
    states = Inference(made, b"\x01\x02")
    arena = merkle_root(b"\x07" * 40, 38)
    input_root = merkle_root(b"\x01\x02", 36)
    assert states.state_root(1) == state_root(made.model_root, header_root(1), input_root, zero_root(36), arena)
    run_all(states)


@pytest.mark.parametrize("log2_size", [6, 7, 12, 20, 38])
def test_freed_block_is_the_zero_subtree(log2_size: int) -> None:
    free = Free(log2_size, ARENA.offset)
    states = Inference(program([fill(ARENA.offset, 64).pack(), fill(OUTPUT.offset, 1, frees=(free,)).pack()]), b"")
    states.run_to(2)
    assert states.read(ARENA.offset, 64) == bytes(64)
    empty = Inference(program([fill(OUTPUT.offset, 1).pack()]), b"")
    assert states.output_proof().arena_root == empty.output_proof().arena_root == zero_root(38)
    run_all(states)


def test_a_block_may_be_freed_by_the_node_that_made_it_and_seven_at_once() -> None:
    frees = tuple(Free(6, ARENA.offset + 64 * i) for i in range(7))
    states = Inference(program([fill(ARENA.offset, 512, frees=frees).pack()]), b"")
    states.run_to(1)
    assert states.read(ARENA.offset, 512) == bytes(448) + b"\x07" * 64
    run_all(states)


def test_index_past_the_end_changes_nothing() -> None:
    """S_t = S_n for t >= n: the guest, run once more, finds the root it started from."""
    states = Inference(program([fill(OUTPUT.offset, 1).pack()]), b"")
    machine = run_node(states, 1, disputed=states.state_root(1))
    assert machine.exit_code == EQUAL


def test_a_failed_node_leaves_only_its_status_and_the_rest_is_skipped() -> None:
    index = np.array([0, 5], np.int64)
    gather = Record(
        Opcode.GATHER,
        DType.F32,
        ARENA.offset,
        (WEIGHTS.offset, WEIGHTS.offset + 64),
        (DType.F32, DType.I64),
        1,
        0,
        2,
        words(1, 1),
        strided_body([2], [[1], [0], [1], [1, 0, 0, 0, 4]]),
        (Free(6, ARENA.offset + 64),),
    )
    arrays: list[tuple[int, Array]] = [
        (WEIGHTS.offset, np.arange(4, dtype=np.float32)),
        (WEIGHTS.offset + 64, index),
    ]
    records = [fill(ARENA.offset + 64, 8).pack(), gather.pack(), fill(OUTPUT.offset, 4).pack()]
    states = Inference(program(records, arrays), b"")
    assert (states.status, states.fault_node) == (OUT_OF_RANGE, 1)
    assert states.read(ARENA.offset, 128) == bytes(64) + b"\x07" * 8 + bytes(56)
    assert states.read(OUTPUT.offset, 4) == bytes(4)
    assert states.read(HEADER.offset, 32) == header_leaf(3, OUT_OF_RANGE, 1)
    run_all(states)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (bytes(8) + program_header(1, 40, 0, 0)[8:], "no magic"),
        (
            program_header(1, 40, 0, 0)[:8] + (1).to_bytes(8, "big") + program_header(1, 40, 0, 0)[16:],
            "another version",
        ),
        (program_header(1, 15, 0, 0), "a step limit too small for any node"),
        (program_header(1, 41, 0, 0), "a step limit beyond any game"),
        (program_header(1, (1 << 64) - 1, 0, 0), "a step limit beyond any game"),
        (program_header(1 << 28, 40, 0, 0), "more nodes than fit"),
        (program_header((1 << 64) - 1, 40, 0, 0), "more nodes than fit"),
    ],
)
def test_program_that_is_none_fails_at_once(header: bytes, why: str) -> None:
    made = program([fill(OUTPUT.offset, 1).pack()])
    states = Inference(BareProgram(made.records, header=header), b"")
    assert (states.status, states.fault_node) == (BAD_PROGRAM, 0), why
    run_all(states)


def test_program_of_no_nodes_stays_where_it_is() -> None:
    made = BareProgram(fill(OUTPUT.offset, 1).pack(), header=program_header(0, 40, 0, 0))
    states = Inference(made, b"")
    assert states.state_root(0) == states.state_root(1)
    assert run_node(states, 0, disputed=states.state_root(0)).exit_code == EQUAL


def test_windows_whose_taps_lie_2_to_the_63_away_are_refused() -> None:
    """The host took their coordinates for negative ones, which lie before the input's end, and read far outside."""
    for size, status in ((1 << 31, BAD_SHAPE), ((1 << 31) - 1, 0)):
        window = (1, 1, 1, 1, 1, 1, 1, 1, *(size, 1, 1) * 3, -size, 0, 0, size, 1, 1, 0, 0, 0)
        record = Record(
            Opcode.CONV,
            DType.F32,
            ARENA.offset,
            (INPUT.offset, WEIGHTS.offset),
            (DType.F32, DType.F32),
            1,
            size - 2,
            size,
            body=body(*window),
        )
        judged = validate_records(record.pack())
        assert judged.status[0] == status
        reach = (size + 1) * size + size + (size - 1) * size
        assert (reach < 1 << 63) == (status == 0)


GOOD = fill(ARENA.offset, 16)
ADD = Record(
    Opcode.BINARY,
    DType.F32,
    ARENA.offset,
    (INPUT.offset, WEIGHTS.offset),
    (DType.F32, DType.F32),
    1,
    0,
    4,
    words(Binary.ADD),
    strided_body([4], [[1], [1], [1]]),
)


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (replace(GOOD, opcode=99), BAD_OPCODE),  # type: ignore[arg-type]
        (replace(GOOD, opcode=0), BAD_OPCODE),  # type: ignore[arg-type]
        (replace(GOOD, rank=9), BAD_OPCODE),
        (replace(ADD, inputs=ADD.inputs[:1], dtypes_in=ADD.dtypes_in[:1]), BAD_OPCODE),
        (replace(ADD, imm=words(0)), BAD_OPCODE),
        (replace(ADD, imm=words(999)), BAD_OPCODE),
        (replace(GOOD, dtype_out=8), BAD_DTYPE),  # type: ignore[arg-type]
        (replace(ADD, dtypes_in=(DType.F32, DType.I32)), BAD_DTYPE),
        (replace(ADD, dtypes_in=(DType.F64, DType.F64), dtype_out=DType.F64), BAD_DTYPE),
        (replace(GOOD, hi=17), BAD_SHAPE),
        (replace(GOOD, lo=5, hi=4), BAD_SHAPE),
        (replace(GOOD, body=strided_body([0], [[1]]), hi=0), BAD_SHAPE),
        (replace(GOOD, body=strided_body([1 << 39], [[1]])), BAD_SHAPE),
        (replace(GOOD, rank=2, body=strided_body([1 << 33, 1 << 33], [[1 << 33, 1]])), BAD_SHAPE),
        (replace(GOOD, body=strided_body([16], [[0]])), BAD_SHAPE),
        (replace(GOOD, body=strided_body([16], [[1 << 62]])), BAD_SHAPE),
        (replace(GOOD, rank=2, body=strided_body([4, 4], [[3, 1]])), BAD_SHAPE),
        (replace(GOOD, out=INPUT.offset), BAD_OPERAND),
        (replace(GOOD, out=HEADER.offset), BAD_OPERAND),
        (replace(GOOD, out=WEIGHTS.offset), BAD_OPERAND),
        (replace(GOOD, out=0), BAD_OPERAND),
        (replace(GOOD, out=ARENA.end - 8), BAD_OPERAND),
        (replace(GOOD, out=(1 << 64) - 8), BAD_OPERAND),
        (replace(GOOD, out=ARENA.offset - 8), BAD_OPERAND),
        (replace(ADD, out=ARENA.offset + 2), BAD_OPERAND),
        (replace(ADD, inputs=(INPUT.offset, HEADER.offset)), BAD_OPERAND),
        (replace(ADD, inputs=(INPUT.offset, 512)), BAD_OPERAND),
        (replace(ADD, inputs=(INPUT.offset, ARENA.offset)), BAD_OPERAND),
        (replace(ADD, inputs=(INPUT.offset, ARENA.offset + 12)), BAD_OPERAND),
        (replace(GOOD, frees=(Free(6, OUTPUT.offset),)), BAD_FREE),
        (replace(GOOD, frees=(Free(6, ARENA.offset + 32),)), BAD_FREE),
        (replace(GOOD, frees=(Free(39, ARENA.offset),)), BAD_FREE),
        (replace(GOOD, frees=(Free(5, ARENA.offset),)), BAD_FREE),
    ],
)
def test_hostile_record_latches_the_same_status_on_both_sides(record: Record, status: int) -> None:
    arrays = [(WEIGHTS.offset, np.ones(4, np.float32))]
    states = Inference(program([record.pack(), fill(OUTPUT.offset, 4).pack()], arrays), bytes(64))
    assert (states.status, states.fault_node) == (status, 0)
    assert states.read(OUTPUT.offset, 4) == bytes(4)
    run_all(states)


def test_work_beyond_the_limit_is_refused() -> None:
    """2^32 inner steps are the most; one product more is too many."""

    def contract(k: int, rows: int) -> Record:
        body = strided_body([rows, 1 << 15], [[1 << 15, 1], [0, 0], [0, 0]])
        inputs = (INPUT.offset, WEIGHTS.offset)
        return Record(
            Opcode.CONTRACT, DType.F32, ARENA.offset, inputs, (DType.F32,) * 2, 2, 0, rows << 15, words(k, 0, 0), body
        )

    records = b"".join([contract(1 << 15, 4).pack(), contract((1 << 15) + 1, 4).pack()])
    assert validate_records(records).status.tolist() == [0, BAD_SHAPE]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    opcode=st.sampled_from(list(Opcode)),
    flips=st.lists(st.integers(0, 8 * 512 - 1), min_size=1, max_size=4),
)
def test_record_with_flipped_bits_comes_to_the_same_on_both_sides(seed: int, opcode: Opcode, flips: list[int]) -> None:
    """Refused or run; no bit pattern makes host and guest disagree."""
    case = cases.case(np.random.default_rng(seed), opcode, awkward=True)
    raw = bytearray(case.record.pack())
    for flip in flips:
        raw[flip // 8] ^= 1 << flip % 8
    judged = validate_records(bytes(raw))
    lo, hi = (int(n) for n in judged.extents[0, 0, :2])
    if judged.status[0] == 0 and (hi - lo > 1 << 22 or _work(bytes(raw)) > 1 << 18):
        return  # allowed, but too much for a test
    states = Inference(program([bytes(raw)], case.arrays), image(case.arrays))
    run_all(states)


def _work(raw: bytes) -> int:
    """A rough count of what a mutated record would do."""
    record = Record.unpack(raw)
    if record.opcode in (Opcode.CONV, Opcode.POOL, Opcode.POOL_INDEX):
        inner = int(np.prod([max(1, n) for n in record.body[8:11]], dtype=object)) * max(1, record.body[2])
    elif record.opcode in (Opcode.BLOCK_QUANTISE, Opcode.BLOCK_CONTRACT, Opcode.BLOCK_GATHER):
        inner = 256 if record.opcode is not Opcode.BLOCK_CONTRACT else record.body[2]
    elif record.opcode is Opcode.TREE:
        inner = record.body[3] * (1 + record.body[6] + record.body[7]) + record.body[5]
    else:
        inner = int(np.prod([max(1, n) for n in record.dims], dtype=object)) + record.imm[0]
        return inner if record.opcode not in (Opcode.CONTRACT,) else (record.hi - record.lo) * record.imm[0] + inner
    return (record.hi - record.lo) * inner


def test_untyped_program_runs_on_vm_bytes_to_the_same_states() -> None:
    """Bytes written as f32 and read as u8, then added as i16: no one byte order of the host fits."""
    add = Record(
        Opcode.BINARY,
        DType.I16,
        OUTPUT.offset,
        (ARENA.offset, ARENA.offset + 8),
        (DType.I16, DType.I16),
        1,
        0,
        4,
        words(Binary.ADD),
        strided_body([4], [[1], [1], [1]]),
    )
    records = [fill(ARENA.offset, 4, 0x3FC01234, dtype=DType.F32).pack(), fill(ARENA.offset + 3, 5).pack(), add.pack()]
    states = Inference(program(records), b"")
    assert not states.is_typed
    states.run_to(3)
    assert states.read(ARENA.offset, 16).hex() == "3fc01207070707073fc012343fc01234"
    assert states.read(OUTPUT.offset, 8).hex() == "7f80243b46c7193b"
    run_all(states)


def test_case_gives_the_same_states_typed_or_not() -> None:
    """The kernels on VM bytes, through a whole run."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        case = cases.case(rng, Opcode(int(rng.integers(1, len(Opcode) + 1))), awkward=True)
        typed = inference(case)
        spoiler = [fill(OUTPUT.offset + (1 << 20), 4, dtype=d).pack() for d in (DType.U8, DType.U16)]
        records = [case.record.pack(), *spoiler]
        untyped = Inference(
            program(records, case.arrays, inputs=specs(case)), image(case.arrays), overrides=typed.overrides
        )
        assert typed.is_typed
        assert not untyped.is_typed
        lo, hi = (int(n) for n in validate_records(case.record.pack()).extents[0, 0, :2])
        typed.run_to(1)
        untyped.run_to(1)
        assert typed.read(lo, hi - lo) == untyped.read(lo, hi - lo)


def chain() -> tuple[BareProgram, bytes]:
    """Input -> negate -> negate -> output, with a freed block between."""
    first, second = ARENA.offset, ARENA.offset + 64
    records = [
        negate(first, INPUT.offset, 8).pack(),
        replace(negate(second, first, 8), frees=(Free(6, first),)).pack(),
        replace(negate(OUTPUT.offset, second, 8), frees=(Free(6, second),)).pack(),
    ]
    return program(records), np.arange(8, dtype=">f4").tobytes()


def test_states_can_be_asked_for_in_any_order() -> None:
    made, given = chain()
    in_order = Inference(made, given)
    expected = [in_order.state_root(t) for t in range(4)]
    for order in ([3, 0, 2, 1], [1, 3, 1, 0], [2, 1, 3, 0, 2]):
        states = Inference(made, given)
        assert [states.state_root(t) for t in order] == [expected[t] for t in order]
        assert run_node(states, 1).exit_code == EQUAL


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(threads: int) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        make = Maker(rng, awkward=True)
        case = (
            cases.contract(make, (130, 70, 50), (DType.F32,) * 3)
            if seed % 2
            else cases.conv(
                make, [[24, 24, 1], [3, 3, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0], [24, 24, 1], [0, 0, 0]], (2, 8, 16, 2)
            )
        )
        made = program([case.record.pack()], case.arrays)
        roots = {Inference(made, image(case.arrays), threads=n).state_root(1) for n in (1, threads)}
        assert len(roots) == 1


def test_wrong_bytes_are_carried_on() -> None:
    """A liar's S_1: later states follow from it, natively as in the VM; earlier ones are right."""
    made, given = chain()
    honest = Inference(made, given)
    wrong = Inference(made, given, overrides={1: [(ARENA.offset + 5, b"\x99\x88")]})
    assert wrong.state_root(0) == honest.state_root(0)
    assert wrong.state_root(1) != honest.state_root(1)
    lied = bytearray(np.negative(np.arange(8, dtype=np.float32)).astype(">f4").tobytes())
    lied[5:7] = b"\x99\x88"
    wrong.run_to(1)
    assert wrong.read(ARENA.offset, 32) == bytes(lied)
    for t in (1, 2):
        assert run_node(wrong, t).exit_code == EQUAL
    assert run_node(wrong, 0).exit_code != EQUAL
    assert wrong.state_root(3) != honest.state_root(3)


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (HEADER.offset + 15, b"\x02"),  # the node index: node 1 is skipped
        (HEADER.offset + 23, b"\x05"),  # a status out of nowhere
        (HEADER.offset + 4096, b"\x05"),  # where nothing ever is
        (512 * 2 + 0x97, bytes([Unary.ABS])),  # node 1 of the program becomes another function
        (WEIGHTS.offset + 77, b"\x01"),
        (INPUT.offset + 2, b"\x41"),
        (INPUT.offset + (1 << 30), b"\x41"),
        (OUTPUT.offset + 103, b"\x41"),
        (ARENA.offset + (1 << 37) - 1, b"\x01\x02"),
    ],
)
def test_any_byte_of_a_state_can_be_lied_about(offset: int, data: bytes) -> None:
    made, given = chain()
    honest = Inference(made, given)
    wrong = Inference(made, given, overrides={1: [(offset, data)]})
    assert wrong.state_root(3) != honest.state_root(3)
    for t in (2, 1):
        assert run_node(wrong, t).exit_code == EQUAL
    assert wrong.state_root(0) == honest.state_root(0)
    assert wrong.state_root(1) == Inference(made, given, overrides={1: [(offset, data)]}).state_root(1)


@pytest.mark.parametrize(
    "opcode", [Opcode.UNARY, Opcode.CONTRACT, Opcode.CONV, Opcode.REDUCE, Opcode.GATHER, Opcode.TOPK]
)
def test_tiles_run_together_or_one_by_one_lead_to_the_same_states(opcode: Opcode) -> None:
    """The host makes neighbouring tiles in one go; asking for the states between makes it do them singly."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        case = cases.case(rng, opcode, awkward=True)
        lo, hi = case.record.lo, case.record.hi
        cuts = sorted({lo, hi, *(int(cut) for cut in rng.integers(lo, hi + 1, 5))})
        parts = [case.part(a, b).record for a, b in pairwise(cuts)] or [case.record]
        parts[-1] = replace(parts[-1], frees=(Free(6, ARENA.offset + (1 << 30)),))
        made = program([fill(ARENA.offset + (1 << 30), 9).pack(), *(part.pack() for part in parts)], case.arrays)
        whole, single = Inference(made, image(case.arrays)), Inference(made, image(case.arrays))
        roots = [single.state_root(t) for t in range(made.node_count + 1)]
        assert whole.state_root(made.node_count) == roots[-1]
        middle = made.node_count // 2
        assert Inference(made, image(case.arrays)).state_root(middle) == roots[middle]
