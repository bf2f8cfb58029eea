"""
Whole programs and single steps: what a running machine proves, the contract accepts, and both come to the same state.

So three things meet at every step: the fast interpreter, which ran it; the witness, which the machine made; and the
contract, which stepped from it.
"""

from __future__ import annotations

import random

import pytest

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import Machine, VmError, preimage_part
from opml_dispute.fpvm.case import SYSCALL
from opml_dispute.fpvm.fuzz import SYSCALLS, random_float, random_instruction, random_word
from tests.agreement.harness import check_step

CODE = 0x10000
INSTRUCTIONS = 200


def random_program(rng: random.Random, *, ml: bool) -> Machine:
    """A page of random instructions, random registers, and a machine about to run them."""
    machine = Machine(ml=ml)
    machine.resize_stack(right=False, count=1)
    machine.resize_stack(right=True, count=0)
    words = [SYSCALL if rng.random() < 0.1 else random_instruction(rng, ml=ml) for _ in range(INSTRUCTIONS)]
    machine.write(CODE, b"".join(word.to_bytes(4, "big") for word in words))
    thread = bytes(26) + b"".join(random_word(rng).to_bytes(8, "big") for _ in range(34))
    if ml:
        thread += b"".join(random_float(rng).to_bytes(4, "big") for _ in range(32)) + bytes(4)
    machine.set_thread(thread)
    machine.set_register(0, 0)
    machine.jump(CODE)
    return machine


@pytest.mark.parametrize("ml", [False, True], ids=["base", "ml"])
def test_random_programs_step_by_step(ml: bool) -> None:
    """Branches, faults, threads and all; where the machine stops, the run goes on behind the instruction."""
    rng = random.Random(f"programs/{ml}")
    stepped = refused = 0
    while stepped < 1_000:  # a program may end soon, as an exit is an instruction like others
        machine = random_program(rng, ml=ml)
        for at in range(CODE, CODE + 4 * INSTRUCTIONS, 4):
            if machine.exited:
                break
            if machine.registers()[2] not in SYSCALLS and rng.random() < 0.1:
                machine.set_register(2, rng.choice(SYSCALLS))
            try:
                check_step(machine, compact=rng.random() < 0.5)
                stepped += 1
            except VmError:
                refused += 1
                machine.jump(at + 4)
            if machine.pc not in range(CODE, CODE + 4 * INSTRUCTIONS) or rng.random() < 0.05:
                machine.jump(at + 4)
    assert 10 < refused < stepped


def test_preimages_are_read_to_their_end() -> None:
    """Key by key and word by word, at every alignment that comes up on the way."""
    data = bytes(range(100, 145))
    key = b"\x02" + keccak256(data)[1:]
    for compact in (False, True):
        machine = Machine(ml=False)
        machine.resize_stack(right=False, count=1)
        machine.write(CODE, SYSCALL.to_bytes(4, "big") * 100)
        machine.write(0x2000, key)
        machine.add_preimage(key, data)
        machine.jump(CODE)
        done = 0
        while done < len(key):  # write(6, 0x2000 + done, …)
            for register, value in ((2, 5001), (4, 6), (5, 0x2000 + done), (6, len(key) - done)):
                machine.set_register(register, value)
            check_step(machine, compact=compact)
            done += machine.registers()[2]
        done = 0
        while done < 8 + len(data):  # read(5, 0x3003 + done, …)
            for register, value in ((2, 5000), (4, 5), (5, 0x3003 + done), (6, 1 + done % 9)):
                machine.set_register(register, value)
            check_step(machine, compact=compact, preimages={key: data})
            done += machine.registers()[2]
        assert machine.read(0x3003, 8 + len(data)) == len(data).to_bytes(8, "big") + data
        assert preimage_part(data, done) is None
