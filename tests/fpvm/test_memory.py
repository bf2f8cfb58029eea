"""The engine's memory tree against the readable one, in any order of writes, forks, subtrees and questions."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from opml_dispute.engine.hashing import BadSubtree, keccak256, zero_root
from opml_dispute.engine.merkle import SparseTree, UnknownContent, root_from_proof
from opml_dispute.engine.vm import Block, Machine, Reason, VmError

WINDOW = 1 << 14
WINDOWS = (0, (1 << 40) - WINDOW // 2, 0x7000_0000_0000, (1 << 64) - WINDOW)
LIMIT = 64 << 20


@dataclass
class Pair:
    """The same memory twice."""

    machine: Machine = field(default_factory=lambda: Machine(ml=True, memory_limit_bytes=LIMIT))
    tree: SparseTree = field(default_factory=lambda: SparseTree(64))
    leaves: dict[int, bytes] = field(default_factory=dict)
    """What is not zero."""

    def put(self, block: Block) -> None:
        """Puts it into the tree; the caller tells the engine."""
        self.tree.put(block)
        first, last = block.offset >> 5, (block.offset + (1 << block.log2_size) - 1) >> 5
        for leaf in [leaf for leaf in self.leaves if first <= leaf <= last]:
            del self.leaves[leaf]
        data = bytes(block.data)
        for at in range(0, len(data), 32):
            self.leaves[first + at // 32] = data[at : at + 32].ljust(32, b"\0")

    def known(self, address: int) -> bool:
        """Whether the tree knows the leaf's bytes."""
        try:
            self.tree.subtree(address >> 5 << 5, 5)
        except UnknownContent:
            return False
        return True

    def read(self, address: int, size: int) -> bytes:
        """From the leaves."""
        out = bytearray()
        for at in range(address, address + size):
            out.append(self.leaves.get((at % 2**64) >> 5, bytes(32))[at & 31])
        return bytes(out)


places = st.builds(
    lambda window, at: (window + at) % 2**64, st.sampled_from(WINDOWS), st.integers(0, WINDOW - 1)
)  # fmt: skip
small = st.binary(min_size=1, max_size=70)
log2_sizes = st.sampled_from((5, 5, 6, 7, 9, 11, 12, 13, 14, 16, 20, 21, 22, 23, 40, 41, 63))


class Memory(RuleBasedStateMachine):
    """Any number of forks, each with its model."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = [Pair()]
        self.roots = 0

    @rule(data=st.data(), address=places, content=small)
    def write(self, data: st.DataObject, address: int, content: bytes) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        touched = range(address >> 5, ((address + len(content) - 1) >> 5) + 1)
        leaves = [(leaf << 5) % 2**64 for leaf in touched]
        if not all(pair.known(leaf) for leaf in leaves):
            root = pair.machine.witness()
            with pytest.raises(VmError) as caught:
                pair.machine.write(address, content)
            assert caught.value.reason == Reason.UNKNOWN_MEMORY
            assert pair.machine.witness() == root
            return
        pair.machine.write(address, content)
        whole = bytearray(pair.read(touched.start << 5, 32 * len(touched)))
        whole[address & 31 : (address & 31) + len(content)] = content
        for i, leaf in enumerate(leaves):
            pair.put(Block(leaf, 5, bytes(whole[32 * i : 32 * i + 32])))

    @rule(data=st.data(), address=places, log2_size=log2_sizes)
    def put_unknown(self, data: st.DataObject, address: int, log2_size: int) -> None:
        """A root of unknown content."""
        self.roots += 1
        pair = data.draw(st.sampled_from(self.pairs))
        address, root = address >> log2_size << log2_size, keccak256(self.roots.to_bytes(8, "big"))
        tree = pair.tree.copy()
        try:
            tree.put_root(address, log2_size, root)
        except UnknownContent:
            with pytest.raises(VmError):
                pair.machine.put_subtree(address, log2_size, root)
            return
        pair.machine.put_subtree(address, log2_size, root)
        pair.put(Block(address, log2_size, root if log2_size == 5 else b""))
        pair.tree = tree

    @rule(
        data=st.data(), address=places, log2_size=log2_sizes, content=st.binary(max_size=9000), count=st.integers(1, 3)
    )
    def put_known(self, data: st.DataObject, address: int, log2_size: int, content: bytes, count: int) -> None:
        """A root whose blocks were told before."""
        pair = data.draw(st.sampled_from(self.pairs))
        address = address >> log2_size << log2_size
        part = max(log2_size - 2, 5)
        blocks = [
            Block(i << part, part, content[i * 700 :][: min(1 << part, 5000)])
            for i in range(min(count, 1 << (log2_size - part)))
        ]
        root = SparseTree(log2_size, blocks).root
        tree = pair.tree.copy()
        try:
            tree.put(Block(address, log2_size, b""))
        except UnknownContent:
            return
        if root != zero_root(log2_size):
            pair.machine.add_subtree(root, log2_size, blocks)
        pair.machine.put_subtree(address, log2_size, root)
        pair.put(Block(address, log2_size, b""))
        for block in blocks:
            pair.put(Block(address + block.offset, block.log2_size, block.data))

    @rule(data=st.data(), address=places, size=st.integers(0, 20_000))
    def zero(self, data: st.DataObject, address: int, size: int) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        size = min(size, 2**64 - address)
        leaves = range(address >> 5, (address + size + 31) >> 5)
        if not all(pair.known(leaf << 5) for leaf in leaves):
            return
        pair.machine.zero(address, size)
        for leaf in leaves:
            kept = bytearray(pair.read(leaf << 5, 32))
            begin, end = max(address - (leaf << 5), 0), min(address + size - (leaf << 5), 32)
            kept[begin:end] = bytes(end - begin)
            pair.put(Block(leaf << 5, 5, bytes(kept)))

    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        self.pairs.append(Pair(pair.machine.fork(), pair.tree.copy(), dict(pair.leaves)))
        if len(self.pairs) > 4:
            del self.pairs[data.draw(st.integers(0, 3))]

    @rule(data=st.data(), address=places, size=st.integers(1, 9000))
    def read(self, data: st.DataObject, address: int, size: int) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        leaves = range(address >> 5, ((address + size - 1) >> 5) + 1)
        if all(pair.known((leaf << 5) % 2**64) for leaf in leaves):
            assert pair.machine.read(address, size) == pair.read(address, size)
        else:
            with pytest.raises(VmError, match="known by its root"):
                pair.machine.read(address, size)

    @rule(data=st.data(), address=places, log2_size=log2_sizes)
    def prove(self, data: st.DataObject, address: int, log2_size: int) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        address = address >> log2_size << log2_size
        try:
            root, proof = pair.tree.subtree(address, log2_size), list(pair.tree.proof(address, log2_size))
        except UnknownContent:
            with pytest.raises(VmError):
                pair.machine.subtree_proof(address, log2_size)
            return
        assert pair.machine.subtree_root(address, log2_size) == root
        assert pair.machine.subtree_proof(address, log2_size) == proof
        assert root_from_proof(root, address, log2_size, proof) == pair.tree.root

    @rule(data=st.data())
    def hash(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        assert pair.machine.witness()[:32] == pair.tree.root

    @invariant()
    def memory_is_accounted_for(self) -> None:
        assert 0 < self.pairs[0].machine.memory_used_bytes < LIMIT

    def teardown(self) -> None:
        for pair in self.pairs:
            assert pair.machine.witness()[:32] == pair.tree.root


TestMemory = Memory.TestCase
TestMemory.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_nothing_is_left_when_all_forks_are_gone() -> None:
    """Pages, branches and mappings all go back to the account; hashes of known content are kept, once."""
    machine = Machine(ml=True)
    block = Block(1 << 20, 20, bytes(range(256)) * 64)
    tree = SparseTree(40, [block])
    machine.add_subtree(tree.root, 40, [block])

    def use_a_fork() -> int:
        fork = machine.fork()
        fork.put_subtree(1 << 40, 40, tree.root)
        fork.write((1 << 40) + (1 << 20), b"x")
        fork.put_subtree(1 << 50, 8, keccak256(b"unknown"))
        fork.state_hash()
        return fork.memory_used_bytes

    used = use_a_fork()
    left = machine.memory_used_bytes
    assert left < used
    assert {use_a_fork() for _ in range(20)} == {used}
    assert machine.memory_used_bytes == left


@pytest.mark.parametrize("log2_size", [4, 64, 0, 200])
def test_no_subtree_is_smaller_than_a_leaf_or_as_large_as_memory(log2_size: int) -> None:
    machine = Machine(ml=True)
    with pytest.raises(VmError):
        machine.put_subtree(0, log2_size, bytes(32))
    with pytest.raises(VmError):
        machine.subtree_root(0, log2_size)
    with pytest.raises(BadSubtree):
        SparseTree(63).subtree(0, log2_size)


def test_a_subtree_lies_at_a_multiple_of_its_size() -> None:
    with pytest.raises(VmError):
        Machine(ml=True).put_subtree(32, 6, bytes(32))


def test_a_hostile_program_meets_the_memory_limit_not_the_hosts() -> None:
    """One write to each of ever more pages."""
    machine = Machine(ml=False, memory_limit_bytes=1 << 20)

    def write_everywhere() -> None:
        for page in range(1000):
            machine.write(page << 30, b"\1")

    with pytest.raises(VmError) as caught:
        write_everywhere()
    assert caught.value.reason == Reason.OUT_OF_MEMORY
    assert machine.memory_used_bytes <= 1 << 20
    written = [page for page in range(1000) if machine.read(page << 30, 1) == b"\1"]
    assert written == list(range(len(written)))
    assert machine.witness()[:32] == SparseTree(64, [Block(page << 30, 5, b"\1") for page in written]).root


@pytest.mark.parametrize(("address", "size"), [(0, -1), (1, 2**64), (2**64 - 8, 9), (-1, 1)])
def test_nothing_beyond_the_memory_is_zeroed(address: int, size: int) -> None:
    with pytest.raises(VmError, match="there are no"):
        Machine(ml=True).zero(address, size)


def test_all_of_memory_can_be_zeroed() -> None:
    machine = Machine(ml=True)
    machine.write(2**64 - 4, b"end of memory and around it"[:4])
    machine.write(12345, b"somewhere")
    machine.zero(0, 2**64 - 1)
    machine.zero(2**64 - 1, 1)
    assert machine.witness()[:32] == zero_root(64)


def test_an_access_may_wrap_around_the_end() -> None:
    machine = Machine(ml=True)
    machine.write(2**64 - 4, b"12345678")
    assert machine.read(0, 4) == b"5678"
    assert machine.read(2**64 - 4, 8) == b"12345678"
