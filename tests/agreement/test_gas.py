"""
What a step costs on chain: below what the OP Stack's verifier costs for the same step.

Execution gas only (docs/vm.md): the base price of a transaction and its calldata come on top. The exact numbers of our
own contract are kept in contracts/snapshots/FPVM.json, which Forge compares.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from opml_dispute.engine.hashing import keccak256
from opml_dispute.testing.made_up_state import SYSCALL, MadeUpState
from tests.agreement.harness import verifier
from tests.support.last_step import LastStep, first_step

DATA = 0x20040
PREIMAGE = b"a pre-image"


def case(insn: int, *, ml: bool = False, **registers: int) -> MadeUpState:
    """Dense memory, two more threads, registers by name: r2=…"""
    values = [registers.get(f"r{i}", 0) for i in range(32)]
    return MadeUpState(ml=ml, insn=insn, registers=tuple(values), filling=b"dense", inner_root=b"\x22" * 32)


CEILINGS = {
    "add": (case(0x00430820, r2=5, r3=6), 33_393),
    "div": (case(0x0043001A, r2=5, r3=6), 33_933),
    "lw": (case(0x8C410004, r2=DATA), 45_036),
    "sw": (case(0xAC410004, r2=DATA), 56_376),
    "ll": (case(0xC0410004, r2=DATA), 43_572),
    "clock_gettime": (case(SYSCALL, r2=5222, r4=1, r5=DATA), 77_227),
    "getrandom": (case(SYSCALL, r2=5313, r4=DATA, r5=8), 55_764),
    # The ML extension has no model to be compared with: an arithmetic step, a store.
    "div.s": (case(0x46031043, ml=True), 33_393),
    "tensor_map": (case(SYSCALL, ml=True, r2=7001, r4=1 << 40, r5=40, r6=DATA), 56_376),
    "tensor_root": (case(SYSCALL, ml=True, r2=7002, r4=1 << 40, r5=40, r6=DATA), 56_376),
}


@pytest.mark.parametrize("kind", CEILINGS)
def test_a_step_costs_less_than_the_op_stacks(kind: str) -> None:
    subject, ceiling = CEILINGS[kind]
    vector = subject.vector()
    verdict = verifier(ml=subject.ml).step(vector.state, vector.proof)
    assert verdict.post is not None, verdict.refusal
    assert verdict.execution_gas < 0.75 * ceiling


def test_reading_a_cold_preimage_costs_less_than_the_op_stacks() -> None:
    key = b"\x02" + keccak256(PREIMAGE)[1:]
    vector = replace(case(SYSCALL, r2=5000, r4=5, r5=DATA, r6=8), preimage_key=key).vector()
    verifier(ml=False).load_keccak256(PREIMAGE, 0)
    verdict = verifier(ml=False).step(vector.state, vector.proof)
    assert verdict.post is not None, verdict.refusal
    assert verdict.execution_gas < 0.75 * 65_353


def test_a_compact_proof_saves_more_calldata_than_it_costs() -> None:
    sparse = replace(case(0x8C410004, r2=DATA), filling=None)
    verdicts = []
    for compact in (False, True):
        vector = replace(sparse, compact=compact).vector()
        verdicts.append(verifier(ml=False).step(vector.state, vector.proof))
    full, short = verdicts
    assert full.post == short.post
    assert short.gas_used < full.gas_used - 50_000


@pytest.mark.parametrize("opcode", [0x23, 0x2B], ids=["lw", "sw"])
def test_a_step_in_its_game_costs_less_than_half_of_the_op_stacks(opcode: int) -> None:
    """The whole transaction, with the compact proof that actors send; there a load or store costs 389,000 and more."""
    last = LastStep(first_step(lambda machine: machine.read(machine.pc, 1)[0] >> 2 == opcode))
    compact, full = last.gas(compact=True), last.gas(compact=False)
    assert max(compact) < 0.5 * 389_000
    assert max(full) < 389_000
    assert compact[0] < full[0] - 30_000


PAGE = Path(__file__).parents[2] / "docs" / "vm.md"
IN_PAGE = {
    **{name: CEILINGS[name][0] for name in ("add", "div", "lw", "sw", "ll", "clock_gettime")},
    **{f"{name}, 2^40 bytes": CEILINGS[name][0] for name in ("tensor_map", "tensor_root")},
    "pop of an exited thread": replace(CEILINGS["add"][0], thread_exited=1),
    "forced preemption": replace(CEILINGS["add"][0], slice=100_000),
    "VM already exited": replace(CEILINGS["add"][0], exited=1),
}
"""Rows of the table in docs/vm.md, "On chain"."""


@pytest.mark.parametrize("kind", IN_PAGE)
def test_page_of_the_vm_gives_the_gas_of_a_step(kind: str) -> None:
    row = re.search(rf"^\| {re.escape(kind)} \| ([\d,]+) \|[^|]*\| ([\d,]+) \|", PAGE.read_text(), re.MULTILINE)
    assert row is not None
    found = []
    for filling, compact in ((b"dense", False), (None, True)):
        vector = replace(IN_PAGE[kind], filling=filling, compact=compact).vector()
        found.append(verifier(ml=IN_PAGE[kind].ml).step(vector.state, vector.proof).execution_gas)
    assert [f"{gas:,}" for gas in found] == [*row.groups()]
