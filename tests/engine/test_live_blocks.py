"""Which blocks of a state may hold something: found without looking at all others, and shared between states."""

from __future__ import annotations

import random
import time

from opml_dispute.engine.inference import Inference
from opml_dispute.engine.live import Live
from opml_dispute.engine.segment import ARENA, OUTPUT
from opml_dispute.model.opcodes import DType, Opcode, Unary
from opml_dispute.model.record import Record, strided_body
from tests.guest.programs import program
from tests.kernels.maker import words


def test_random_blocks_come_and_go_as_in_a_plain_list() -> None:
    """Against the slow obvious version: a set of 64-byte places that may hold something."""
    chance = random.Random(1)
    live, places = Live(), set[int]()
    for _ in range(4_000):
        offset = 64 * chance.randrange(256)
        if chance.random() < 0.5:
            live.touch(offset, offset + chance.choice([4, 64]))
            places.add(offset)
        else:
            log2_size = chance.choice([6, 7, 9])
            base = offset >> log2_size << log2_size
            live.free(base, log2_size)
            places -= set(range(base, base + (1 << log2_size), 64))
        entries = live.entries()
        assert [entry.offset for entry in entries] == sorted(entry.offset for entry in entries)
        covered = {
            place for entry in entries for place in range(entry.offset, entry.offset + (1 << entry.log2_size), 64)
        }
        assert places <= covered
        assert live.size_bytes == sum(entry.used for entry in entries)


def test_going_through_the_states_takes_time_by_their_blocks_alone() -> None:
    """Twice the live blocks take about twice the time, not four times: no node looks through all blocks."""

    def seconds(count: int) -> float:
        live = Live()
        started = time.process_time()
        for index in range(count):
            live.touch(64 * index, 64 * index + 4)
        for index in range(count):
            live.free(64 * index, 6)
        assert live.entries() == []
        assert live.size_bytes == 0
        return time.process_time() - started

    seconds(1_000)
    # In turns, and the best of several: a busy machine slows some of them down.
    turns = [(seconds(4_000), seconds(16_000)) for _ in range(5)]
    assert min(many for _, many in turns) < 10 * min(few for few, _ in turns)


def test_equal_blocks_of_several_states_share_one_copy() -> None:
    """What was copied for one VM run is not copied again for the next as long as it is held."""
    count = 1 << 16
    body = strided_body([count], [[1]])
    fill = Record(Opcode.FILL, DType.F32, ARENA.offset, (), (), 1, 0, count, words(0x3F800000), body).pack()
    small = strided_body([4], [[1], [1]])
    reads = [
        Record(
            *(Opcode.UNARY, DType.F32, OUTPUT.offset + 64 * index, (ARENA.offset,), (DType.F32,), 1, 0, 4),
            *(words(Unary.NEG), small),
        ).pack()
        for index in range(3)
    ]
    inference = Inference(program([fill, *reads]), b"")
    held = [inference.blocks_at(t) for t in (1, 3, 2)]
    copies = {id(block.data) for blocks in held for block in blocks if block.offset == ARENA.offset}
    assert len(copies) == 1
    assert all(block.data[0] in (0, 0x3F) for blocks in held for block in blocks if block.offset == ARENA.offset)
