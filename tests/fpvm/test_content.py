"""What is known of a subtree before the program maps it: byte order, laziness, content that is not what it says."""

from __future__ import annotations

import numpy as np
import pytest

from opml_dispute.engine.hashing import keccak256, merkle_root, zero_root
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.vm import Block, Machine, Reason, StopKind, VmError
from tests.fpvm.program import A0, A1, A2, DATA, SEGMENT, SYSCALL, V0, daddiu, immediate, machine, sd

WEIGHTS = np.arange(5000, dtype=np.float32)
BLOCKS = [
    Block(0, 12, b"header"),
    Block(1 << 20, 15, WEIGHTS, 4),
    Block(3 << 30, 30, np.arange(300, dtype=np.int64) - 150, 8),
    Block(1 << 39, 39, b"\1" * 40_000),
]
TREE = SparseTree(40, BLOCKS)


def mapped() -> Machine:
    at = Machine(ml=True)
    at.add_subtree(TREE.root, 40, BLOCKS)
    at.put_subtree(SEGMENT, 40, TREE.root)
    return at


def test_host_words_are_big_endian_in_the_vm() -> None:
    at = mapped()
    assert at.read(SEGMENT + (1 << 20), 20_000) == WEIGHTS.astype(">f4").tobytes()
    assert at.read(SEGMENT + (3 << 30) + 8 * 149, 16) == (-1).to_bytes(8, "big", signed=True) + bytes(8)
    assert at.read(SEGMENT, 8) == b"header\0\0"
    assert at.read(SEGMENT + (1 << 39) + 40_000 - 4, 8) == b"\1\1\1\1\0\0\0\0"


def test_reading_changes_no_hash_and_writing_costs_only_what_changed() -> None:
    at = mapped()
    expected = SparseTree(64)
    for block in BLOCKS:
        expected.put(Block(SEGMENT + block.offset, block.log2_size, block.data, block.word_bytes))
    assert at.witness()[:32] == expected.root
    at.read(SEGMENT + (1 << 20), 8)
    assert at.witness()[:32] == expected.root
    at.write(SEGMENT + (1 << 20) + 4096, b"changed!" * 4)
    expected.put(Block(SEGMENT + (1 << 20) + 4096, 5, b"changed!" * 4))
    assert at.witness()[:32] == expected.root
    assert at.subtree_root(SEGMENT, 40) == expected.subtree(SEGMENT, 40)


def test_a_given_root_spares_hashing_the_block() -> None:
    """A block whose root is given is believed: even wrong data behind it is not looked at, until a part changes."""
    good = Block(0, 20, b"a" * 100_000)
    lie = Block(0, 20, b"b" * 100_000, root=merkle_root(good.data, 20))
    root = SparseTree(30, [good]).root
    at = Machine(ml=True)
    at.add_subtree(root, 30, [lie])
    at.put_subtree(0, 30, root)
    assert at.subtree_root(0, 30) == root
    at.write(0, b"x")
    with pytest.raises(VmError, match="does not have that subtree's root"):
        at.state_hash()


def test_blocks_must_make_the_root() -> None:
    at = Machine(ml=True)
    with pytest.raises(VmError, match="does not have") as caught:
        at.add_subtree(keccak256(b"another"), 40, BLOCKS)
    assert caught.value.reason == Reason.WRONG_CONTENT


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Block(0, 4, b""), "below 5"),
        (Block(0, 41, b""), "above the subtree's"),
        (Block(32, 6, b""), "not a multiple of its size"),
        (Block(1 << 40, 5, b""), "outside the subtree"),
        (Block(0, 5, bytes(33)), "more data than bytes"),
        (Block(0, 5, bytes(7), 4), "whole number of words"),
        (Block(1 << 20, 10, b""), "overlaps"),
    ],
)
def test_a_misplaced_block_is_named(block: Block, words: str) -> None:
    with pytest.raises(VmError, match=words) as caught:
        Machine(ml=True).add_subtree(TREE.root, 40, [*BLOCKS, block])
    assert "block 4" in str(caught.value) or "block 1" in str(caught.value)


@pytest.mark.parametrize("block", [Block(-1, 5, b""), Block(0, 300, b""), Block(0, 5, b"", 3)])
def test_what_no_block_can_be_is_refused(block: Block) -> None:
    with pytest.raises(VmError, match="no block"):
        Machine(ml=True).add_subtree(TREE.root, 40, [block])


def test_forks_know_what_was_known_when_they_were_made() -> None:
    at = Machine(ml=True)
    early = at.fork()
    at.add_subtree(TREE.root, 40, BLOCKS)
    late = at.fork()
    del at
    for fork, knows in ((early, False), (late, True)):
        fork.put_subtree(SEGMENT, 40, TREE.root)
        assert fork.subtree_root(SEGMENT, 40) == TREE.root
        if knows:
            assert fork.read(SEGMENT, 6) == b"header"
        else:
            with pytest.raises(VmError, match="known by its root"):
                fork.read(SEGMENT, 6)


def test_content_may_come_after_the_map() -> None:
    """A run that stopped at unknown content continues once the content was given."""
    code = [SYSCALL, daddiu(8, 0, 1), immediate(0x37, 9, A0, 0), sd(9, A2, 32)]
    at = machine(code, {V0: 7001, A0: SEGMENT, A1: 40, A2: DATA})
    at.write(DATA, TREE.root)
    fork = at.fork()
    stop = at.run(10)
    assert (stop.kind, stop.steps, stop.reason) == (StopKind.UNKNOWN_MEMORY, 2, Reason.UNKNOWN_MEMORY)
    assert "LD (0xdc890000) at pc 0x10008" in stop.message
    assert f"address 0x{SEGMENT:x}" in stop.message
    at.add_subtree(TREE.root, 40, BLOCKS)
    fork.add_subtree(TREE.root, 40, BLOCKS)
    assert at.run(2).kind == fork.run(4).kind == StopKind.STEP_LIMIT
    assert at.read(DATA + 32, 8) == b"header\0\0"
    assert at.state_hash() == fork.state_hash()


def test_nothing_known_is_all_zero() -> None:
    at = Machine(ml=True)
    at.add_subtree(zero_root(40), 40, [])
    at.put_subtree(SEGMENT, 40, zero_root(40))
    assert at.state_hash() == Machine(ml=True).state_hash()
    assert at.read(SEGMENT + 12345, 8) == bytes(8)
