"""Made-up states: engine and contract agree on every one, and a difference would be found and made small."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opml_dispute.engine.vm import step_from_witness
from opml_dispute.primitives import StateHash
from opml_dispute.testing.fuzz import cases, fuzz, shrink
from opml_dispute.testing.made_up_state import MadeUpState
from opml_dispute.testing.vectors import EngineStepper, Stepper, Vector
from tests.agreement.harness import verifier


def steppers() -> dict[bool, dict[str, Stepper]]:
    return {ml: {"engine": EngineStepper(), "contract": verifier(ml=ml)} for ml in (False, True)}


def test_engine_and_contract_agree() -> None:
    found = fuzz(steppers(), seed=1, count=2_000)
    assert found is None, found and found.vector.to_json()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_engine_and_contract_agree_on_many(seed: int) -> None:
    found = fuzz(steppers(), seed=seed, count=5_000)
    assert found is None, found and found.vector.to_json()


def test_most_made_up_states_have_a_successor() -> None:
    """Agreement would mean little if nearly all were refused."""
    engine, sample = EngineStepper(), list(cases(1, 600))
    stepped = [case for case in sample if engine.step_vector(case.vector()) is not None]
    assert len(stepped) > 0.75 * len(sample)
    assert {case.ml for case in stepped} == {False, True}
    assert {case.compact for case in stepped} == {False, True}
    assert len({case.insn >> 26 for case in stepped}) > 35


class BrokenEngine(EngineStepper):
    """Forgets that sub.s is not add.s."""

    def step_vector(self, vector: Vector) -> StateHash | None:
        if vector.insn is not None and vector.ml and vector.insn >> 21 == 0x230 and vector.insn & 63 == 1:
            return step_from_witness(vector.state, vector.proof[:-1] + b"\0", ml=True).post_hash and StateHash(
                bytes(32)
            )
        return super().step_vector(vector)


def test_a_planted_bug_is_found_and_shrunk() -> None:
    broken = {ml: {**both, "engine": BrokenEngine()} for ml, both in steppers().items()}
    found = fuzz(broken, seed=5, count=3_000)
    assert found is not None
    assert found.results["contract"] != found.results["engine"]
    # What the bug does not need is gone: every register, the other threads, the memory around.
    assert found.case is not None
    assert found.case == MadeUpState(ml=True, insn=found.case.insn)
    assert found.vector.insn == found.case.insn


def test_shrinking_keeps_what_matters() -> None:
    case = MadeUpState(ml=True, insn=5, registers=tuple(range(32)), step=7, compact=True, filling=b"x")
    assert shrink(case, lambda c: c.registers[4] == 4 and c.compact) == MadeUpState(
        insn=5, registers=(0, 0, 0, 0, 4) + (0,) * 27, compact=True
    )


def test_cases_follow_from_the_seed() -> None:
    assert list(cases(3, 20)) == list(cases(3, 20))
    assert list(cases(3, 20)) != list(cases(4, 20))


def test_encodings_show_the_same_step() -> None:
    """A step does not depend on how its proof is encoded."""
    engine = EngineStepper()
    for case in cases(9, 300):
        if not case.flips and case.cut is None:
            full, compact = (replace(case, compact=compact).vector() for compact in (False, True))
            assert engine.step_vector(full) == engine.step_vector(compact)
            assert len(compact.proof) < len(full.proof) or case.filling is not None or len(full.proof) < 3_000
