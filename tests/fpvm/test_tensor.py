"""tensor_map and tensor_root: one subtree, in one step. docs/vm.md, ML.11."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.merkle import SparseTree
from opml_dispute.engine.vm import Block, Machine, Reason, Scalars, VmError
from opml_dispute.fpvm.witness import Proof
from tests.fpvm.program import A0, A1, A2, DATA, SEGMENT, U64, advanced, call, changed_fields, refused, step, thread_of

MAP, ROOT = 7001, 7002
SOME = keccak256(b"some root")
EINVAL = 22


def reserve(at: Machine, address: int) -> None:
    at.set_scalars(replace(at.scalars, ll_status=1, ll_address=address, ll_owner=0))


@pytest.mark.parametrize(("address", "log2_size"), [(SEGMENT, 40), (0, 63), (1 << 63, 63), (1 << 20, 5), (1 << 20, 11)])
def test_tensor_map_replaces_one_subtree(address: int, log2_size: int) -> None:
    """One subtree, v0, a3 and the program counter change; nothing else does."""
    leaf = DATA if address else (1 << 63) + DATA
    at = call(MAP, address, log2_size, leaf)
    at.write(leaf, SOME)
    if address == 0:  # the code must lie elsewhere
        at.write((1 << 63) + 0x10000, at.read(0x10000, 4))
        at.jump((1 << 63) + 0x10000)
    before, thread = at.witness(), thread_of(at)
    expected = SparseTree(64)
    for known, data in at.memory_parts()[1]:
        expected.put(Block(known, 12, data))
    expected.put_root(address, log2_size, SOME)
    step(at)
    assert thread_of(at) == advanced(thread, r2=0, r7=0)
    assert at.witness()[:32] == expected.root
    assert at.subtree_root(address, log2_size) == SOME
    assert set(changed_fields(before, at.witness())) == {"memory_root", "left_stack", "step", "slice"}


@pytest.mark.parametrize("log2_size", [5, 9, 12, 13, 30, 40, 44])
def test_tensor_root_writes_one_leaf(log2_size: int) -> None:
    at = call(ROOT, SEGMENT, log2_size, DATA)
    at.write(SEGMENT + 24, b"content!")
    root, thread = at.subtree_root(SEGMENT, log2_size), thread_of(at)
    before = at.fork()
    step(at)
    assert at.read(DATA, 32) == root
    assert thread_of(at) == advanced(thread, r2=0, r7=0)
    before.write(DATA, root)
    assert at.witness()[:32] == before.witness()[:32]


def test_a_root_that_is_mapped_is_read_again() -> None:
    at = call(MAP, SEGMENT, 40, DATA)
    at.write(DATA, SOME)
    step(at)
    for register, value in ((2, ROOT), (A2, DATA + 64)):
        at.set_register(register, value)
    at.jump(0x10000)
    step(at)
    assert at.read(DATA + 64, 32) == SOME


@pytest.mark.parametrize(
    ("address", "log2_size", "leaf"),
    [
        (SEGMENT, 4, DATA),
        (SEGMENT, 0, DATA),
        (0, 64, DATA),
        (SEGMENT, U64, DATA),
        (SEGMENT, 40 + (1 << 32), DATA),
        (SEGMENT + 32, 6, DATA),
        (SEGMENT + 1, 5, DATA),
        (SEGMENT, 40, DATA + 8),
        (SEGMENT, 40, SEGMENT),
        (SEGMENT, 40, SEGMENT + (1 << 40) - 32),
        (0, 63, DATA),
        (DATA, 5, DATA),
    ],
)
@pytest.mark.parametrize("number", [MAP, ROOT])
def test_bad_arguments_are_an_error_that_looks_at_no_memory(
    number: int, address: int, log2_size: int, leaf: int
) -> None:
    at = call(number, address, log2_size, leaf)
    before, thread = at.witness(), thread_of(at)
    witness = step(at)
    assert thread_of(at) == advanced(thread, r2=EINVAL, r7=U64)
    assert at.witness()[:32] == before[:32]
    assert len(Proof.decode(witness.proof, ml=True).memory_proofs) == 1


@pytest.mark.parametrize("leaf", [SEGMENT - 32, SEGMENT + (1 << 40)])
def test_the_leaf_may_touch_the_subtree_from_outside(leaf: int) -> None:
    at = call(MAP, SEGMENT, 40, leaf)
    at.write(leaf, SOME)
    step(at)
    assert at.subtree_root(SEGMENT, 40) == SOME


@pytest.mark.parametrize(
    ("number", "reserved", "is_lost"),
    [
        (MAP, SEGMENT, True),
        (MAP, SEGMENT + (1 << 40) - 1, True),
        (MAP, SEGMENT - 1, False),
        (MAP, SEGMENT + (1 << 40), False),
        (MAP, DATA, False),
        (ROOT, DATA + 31, True),
        (ROOT, DATA, True),
        (ROOT, DATA + 32, False),
        (ROOT, SEGMENT, False),
    ],
)
def test_what_is_written_loses_its_reservation(number: int, reserved: int, is_lost: bool) -> None:
    at = call(number, SEGMENT, 40, DATA)
    reserve(at, reserved)
    step(at)
    kept: Scalars = at.scalars
    assert (kept.ll_status, kept.ll_address) == ((0, 0) if is_lost else (1, reserved))


@pytest.mark.parametrize("number", [MAP, ROOT])
def test_a_base_state_has_no_tensor_calls(number: int) -> None:
    stop = refused(call(number, SEGMENT, 40, DATA, ml=False), Reason.UNSUPPORTED_SYSCALL)
    assert f"number {number}" in stop.message


def test_mapping_over_the_program_takes_effect_at_once() -> None:
    """The instruction always comes from memory, so decoded code must be forgotten."""
    code = SparseTree(16, [Block(0, 5, (0x64080007).to_bytes(4, "big") * 8)])  # daddiu $t0, $zero, 7
    at = call(MAP, 0x10000, 16, 0x30000)
    at.add_subtree(code.root, 16, [Block(0, 5, (0x64080007).to_bytes(4, "big") * 8)])
    at.write(0x30000, code.root)
    at.run(2)
    assert at.registers()[8] == 7


def test_inside_an_unknown_subtree_nothing_can_be_put() -> None:
    at = call(MAP, SEGMENT, 20, DATA)
    at.put_subtree(SEGMENT, 40, SOME)
    with pytest.raises(VmError) as caught:
        at.step_witness()
    assert caught.value.reason == Reason.UNKNOWN_MEMORY
    before = at.state_hash()
    assert at.run(1).reason == Reason.UNKNOWN_MEMORY
    assert at.state_hash() == before


def test_registers_are_read_whole() -> None:
    """A k with high bits set is no k."""
    at = call(MAP, SEGMENT, 40, DATA)
    assert [at.registers()[i] for i in (A0, A1, A2)] == [SEGMENT, 40, DATA]
    at.set_register(A1, 40 | 1 << 63)
    step(at)
    assert at.registers()[2] == EINVAL
