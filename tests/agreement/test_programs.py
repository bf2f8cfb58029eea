"""
Whole programs and single steps: what a running machine proves, the contract accepts, and both come to the same state.

So three things meet at every step: the fast interpreter, which ran it; the witness, which the machine made; and the
contract, which stepped from it.
"""

from __future__ import annotations

import pytest

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import Machine, preimage_part
from opml_dispute.primitives import StateHash
from opml_dispute.testing.made_up_state import SYSCALL, MadeUpState
from opml_dispute.testing.sequences import CODE, fuzz_programs
from opml_dispute.testing.vectors import EngineStepper, Stepper, Vector
from tests.agreement.harness import check_step, verifier


@pytest.mark.parametrize("seed", [1, 2])
def test_random_programs_step_by_step_and_in_one_go(seed: int) -> None:
    """Branches, faults, threads and all; where the machine stops, the run goes on behind the instruction."""
    steppers: dict[bool, dict[str, Stepper]] = {
        ml: {"engine": EngineStepper(), "contract": verifier(ml=ml)} for ml in (False, True)
    }
    found = fuzz_programs(steppers, seed=seed, count=1_000)
    assert found is None, found and (found.vector.to_json(), found.results)


class Forgetful(EngineStepper):
    """An engine that loses what daddu adds."""

    def step_vector(self, vector: Vector) -> StateHash | None:
        post = super().step_vector(vector)
        return StateHash(bytes(32)) if post is not None and _is_daddu(vector) else post


def _is_daddu(vector: Vector) -> bool:
    start = 8 if vector.proof.startswith(b"OPMLCMP1") else 0
    leaf_at = start + (430 if vector.ml else 298) + 32
    pc = int.from_bytes(vector.proof[start + 10 : start + 18], "big")
    word = int.from_bytes(vector.proof[leaf_at + pc % 32 : leaf_at + pc % 32 + 4], "big")
    return word >> 26 == 0 and word & 63 == 0x2D


def test_a_planted_bug_is_found_in_a_run_and_shrunk_to_a_single_state() -> None:
    steppers: dict[bool, dict[str, Stepper]] = {
        ml: {"engine": Forgetful(), "other": EngineStepper()} for ml in (False, True)
    }
    found = fuzz_programs(steppers, seed=3, count=3_000)
    assert found is not None
    assert found.case is not None
    assert found.case == MadeUpState(ml=found.case.ml, insn=found.case.insn)
    assert found.results["engine"] != found.results["other"]


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
