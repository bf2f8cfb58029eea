"""States, threads, proofs and state files: bytes there and back, and bytes that are none of these."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import Machine, VmError
from opml_dispute.fpvm.state import BadEncoding, State, Thread, push_thread
from opml_dispute.fpvm.statefile import Subtree, load_state, save_state
from opml_dispute.fpvm.witness import Proof
from opml_dispute.primitives import VmStatus
from tests.fpvm.program import A0, A1, A2, DATA, SEGMENT, START, call, immediate, machine, sd
from tests.fpvm.test_content import BLOCKS, TREE
from tests.fpvm.test_run import random_program


@given(st.binary(min_size=188, max_size=188))
def test_a_state_is_its_bytes(witness: bytes) -> None:
    state = State.decode(witness)
    assert state.encode() == witness
    assert state.hash()[1:] == keccak256(witness)[1:]


@pytest.mark.parametrize("size", [298, 430])
@settings(max_examples=30)
@given(data=st.data())
def test_a_thread_is_its_bytes(size: int, data: st.DataObject) -> None:
    witness = data.draw(st.binary(min_size=size, max_size=size))
    thread = Thread.decode(witness)
    assert thread.encode() == witness
    assert thread.hash() == keccak256(witness)
    assert thread.ml == (size == 430)
    at = Machine(ml=thread.ml)
    at.set_thread(witness)
    assert at.thread_witness() == witness


@pytest.mark.parametrize(
    ("exited", "code", "status"),
    [
        (0, 0, VmStatus.UNFINISHED),
        (0, 1, VmStatus.UNFINISHED),
        (1, 0, VmStatus.VALID),
        (1, 1, VmStatus.INVALID),
        (1, 2, VmStatus.PANIC),
        (1, 255, VmStatus.PANIC),
    ],
)
def test_the_status_is_the_hashs_first_byte(exited: int, code: int, status: VmStatus) -> None:
    witness = bytearray(188)
    witness[97], witness[98] = code, exited
    state = State.decode(bytes(witness))
    assert state.status == state.hash()[0] == status


@pytest.mark.parametrize("size", [0, 187, 189, 297, 299, 431])
def test_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(BadEncoding):
        State.decode(bytes(size))
    with pytest.raises(BadEncoding):
        Thread.decode(bytes(size))


STEPS = {
    "sd": lambda: machine([sd(8, A0)], {A0: DATA}),
    "add": lambda: machine([0x00430820]),
    "clock": lambda: call(5222, 1, DATA),
    "map": lambda: call(7001, SEGMENT, 40, DATA),
    "root": lambda: call(7002, SEGMENT, 44, DATA),
    "small": lambda: call(7002, SEGMENT, 5, DATA),
    "load": lambda: machine([immediate(0x23, 8, A0, 4)], {A0: 2**64 - 8}),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_proof_says_the_same_in_both_encodings(name: str) -> None:
    at = STEPS[name]()
    at.write(DATA, keccak256(b"dense") * 100)
    full, compact = (at.step_witness(compact=compact) for compact in (False, True))
    short = Proof.decode(compact.proof, ml=True)
    assert short.encode(compact=True) == compact.proof
    assert short.thread.encode() == at.thread_witness()
    state = State.decode(full.state_data)
    assert short.stack_root == push_thread(short.inner_root, short.thread) == state.active_stack
    assert short.memory_proofs[0].memory_root(START) == state.memory_root
    whole = Proof.decode(full.proof, ml=True)
    assert whole.memory_proofs[: len(short.memory_proofs)] == short.memory_proofs
    assert whole.encode()[: len(short.encode())] == short.encode()
    if name in {"map", "root", "small"}:
        assert short.memory_proofs[1].memory_root(at.registers()[A2]) == state.memory_root
        assert short.memory_proofs[2].memory_root(SEGMENT) == state.memory_root
        assert short.memory_proofs[2].log2_size == at.registers()[A1]


def test_a_compact_proof_is_much_smaller() -> None:
    at = machine([sd(8, A0)], {A0: DATA})
    sizes = [len(at.step_witness(compact=compact).proof) for compact in (False, True)]
    assert sizes[0] == 6222
    assert sizes[1] < 1000


@pytest.mark.parametrize("compact", [False, True])
def test_a_proof_cut_short_is_refused(compact: bool) -> None:
    proof = machine([sd(8, A0)], {A0: DATA}).step_witness(compact=compact).proof
    for size in (0, 100, 461, 500, len(proof) - 1):
        with pytest.raises(BadEncoding):
            Proof.decode(proof[:size], ml=True)


@pytest.mark.parametrize("ml", [False, True])
def test_a_saved_machine_goes_on_as_the_one_that_was_saved(ml: bool) -> None:
    for seed in range(8):
        at = random_program(seed, ml=ml)
        at.run(100)
        again = load_state(save_state(at))
        assert again.state_hash() == at.state_hash()
        assert again.run(200).steps == at.run(200).steps
        assert again.state_hash() == at.state_hash()


def test_threads_on_both_stacks_are_saved() -> None:
    at = call(5055, 0x50F00, 0)
    at.run(1)
    at.set_register(2, 5023)
    at.jump(START)
    at.run(1)
    assert at.thread_counts() == (1, 1)
    assert load_state(save_state(at)).state_hash() == at.state_hash()


def test_subtrees_are_saved_by_their_roots() -> None:
    at = Machine(ml=True)
    at.put_subtree(SEGMENT, 44, keccak256(b"unknown"))
    at.put_subtree(1 << 50, 40, TREE.root)
    at.put_subtree(DATA, 9, keccak256(b"a part of a page"))
    data = save_state(at)
    assert load_state(data).state_hash() == at.state_hash()
    assert len(data) < 20_000

    known = Machine(ml=True)
    known.add_subtree(TREE.root, 40, BLOCKS)
    known.put_subtree(1 << 50, 40, TREE.root)
    known.write((1 << 50) + (1 << 20), b"changed")
    known.zero((1 << 50) + (1 << 39), 1 << 39)
    known.put_subtree((1 << 50) + (1 << 35), 30, keccak256(b"inside"))
    data = save_state(known)
    again = load_state(data, [Subtree(TREE.root, 40, BLOCKS)])
    assert again.state_hash() == known.state_hash()
    assert again.read((1 << 50) + (1 << 20), 16) == known.read((1 << 50) + (1 << 20), 16)
    with pytest.raises(VmError):
        load_state(data)  # what was changed lies in content that is not there


def test_damaged_state_files_are_refused() -> None:
    data = save_state(machine([sd(8, A0)], {A0: DATA}))
    for size in (*range(0, len(data), 97), len(data) - 1):
        with pytest.raises(BadEncoding):
            load_state(data[:size])
    with pytest.raises(BadEncoding, match="too many"):
        load_state(data + b"\0")
    with pytest.raises(BadEncoding, match="version 9"):
        load_state(b"\x09" + data[1:])
    rng = random.Random(3)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            load_state(bytes(damaged)).run(10)
        except (BadEncoding, VmError):
            continue
