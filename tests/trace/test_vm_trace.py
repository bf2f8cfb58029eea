"""A VM trace gives the same answer whatever was asked before, from few snapshots, faulty or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml_dispute import working
from opml_dispute.game.position import ROOT, Position
from opml_dispute.primitives import StateHash, item_data
from opml_dispute.trace import vm as vm_module
from opml_dispute.trace.vm import VmFault, VmStopped, VmTrace, VmUnfinished
from tests.support.alphabet import EXIT_STEP, ToyInference, ToyMachine

DEPTH = 4
STEPS = 1 << DEPTH


def toy_machine(node_count: int = 3, *, is_right: bool = True) -> ToyMachine:
    """A toy machine about to run node 1; the disputed root is the right one or not."""
    inference = ToyInference(0, node_count)
    machine = ToyMachine(node_count)
    machine.set_local(2, inference.state_root(1))
    machine.set_local(3, inference.state_root(2) if is_right else b"\x66" * 32)
    machine.set_local(6, item_data())
    for root, log2_size, blocks in inference.subtrees_at(1):
        machine.add_subtree(root, log2_size, blocks)
    return machine


def slow_states(fault: VmFault | None = None) -> list[StateHash]:
    """Every state hash, one step at a time."""
    machine = toy_machine()
    hashes = [machine.state_hash()]
    for step in range(1, STEPS + 1):
        machine.run(1)
        if fault is not None and step == fault.after_step:
            machine.flip_bit(fault.target)
        hashes.append(machine.state_hash())
    return hashes


@pytest.fixture(params=[1, 3, 1 << 14], autouse=True)
def interval(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots at every step, at some, and at none but the start; never more than four."""
    monkeypatch.setattr(vm_module, "FIRST_INTERVAL", request.param)
    monkeypatch.setattr(vm_module, "MAX_SNAPSHOTS", 4)


@pytest.mark.parametrize("fault", [None, VmFault(1, 3), VmFault(7, 100), VmFault(EXIT_STEP + 1, 3)])
@pytest.mark.parametrize("order", [range(STEPS + 1), range(STEPS, -1, -1), [9, 3, 12, 3, 16, 1, 0, 8, 7, 6]])
def test_any_order_gives_the_same_states(fault: VmFault | None, order: list[int]) -> None:
    """A fault after the program's exit changes nothing."""
    expected = slow_states(None if fault is not None and fault.after_step > EXIT_STEP else fault)
    trace = VmTrace(toy_machine(), depth=DEPTH, fault=fault)
    for steps in order:
        assert trace.state_hash(steps) == expected[steps]


def test_positions_are_states_after_their_last_step() -> None:
    expected = slow_states()
    trace = VmTrace(toy_machine(), depth=DEPTH)
    for index in range(STEPS):
        assert trace.claim_at(Position(DEPTH, index)) == expected[index + 1]
    assert trace.claim_at(ROOT) == expected[STEPS]
    assert trace.claim_at(Position(1, 0)) == expected[STEPS // 2]


def test_witness_is_of_the_state_before() -> None:
    trace = VmTrace(toy_machine(), depth=DEPTH)
    machine = toy_machine()
    for index in range(STEPS):
        witness = trace.step_witness(Position(DEPTH, index))
        assert witness.state_data == machine.state.encode()
        machine.run(1)


def test_only_leaves_have_witnesses() -> None:
    with pytest.raises(ValueError, match="expected a leaf"):
        VmTrace(toy_machine(), depth=DEPTH).step_witness(Position(2, 1))


@pytest.mark.parametrize("is_right", [True, False])
def test_exit(is_right: bool) -> None:
    """A trace knows the exit code, the exit step and the status of its root claim."""
    trace = VmTrace(toy_machine(is_right=is_right), depth=DEPTH)
    assert trace.exit_code == (0 if is_right else 1)
    assert trace.exit_step == EXIT_STEP
    assert trace.claim_at(ROOT)[0] == (0 if is_right else 1)


def test_a_tree_too_small_is_an_error() -> None:
    """A trace that is longer than its game must not pass for an answer."""
    trace = VmTrace(toy_machine(), depth=2)
    with pytest.raises(VmUnfinished, match="has not exited after 4 steps"):
        trace.claim_at(ROOT)
    with pytest.raises(VmUnfinished):
        _ = trace.exit_code
    assert trace.claim_at(Position(2, 0))[0] == 3


def test_a_machine_that_stops_is_an_error() -> None:
    class Broken(ToyMachine):
        def fork(self) -> Broken:
            copy = Broken(self.node_count)
            copy.state, copy.local, copy.known = self.state, self.local, self.known
            return copy

        def run(self, max_steps: int) -> str:
            super().run(min(max_steps, 5 - self.step))
            return "unsupported instruction"

    machine = Broken(3)
    machine.local, machine.known = toy_machine().local, toy_machine().known
    with pytest.raises(VmStopped, match="stopped at step 5: unsupported instruction"):
        VmTrace(machine, depth=DEPTH).state_hash(9)


def test_the_prestate_is_out_of_reach_of_faults() -> None:
    with pytest.raises(ValueError, match="absolute prestate"):
        VmTrace(toy_machine(), depth=DEPTH, fault=VmFault(0, 1))


def test_a_run_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm_module, "FIRST_INTERVAL", 1)
    monkeypatch.setattr(working, "EVERY_S", 0)
    told: list[str | None] = []
    with working.watched_by(told.append):
        VmTrace(toy_machine(), depth=DEPTH, name="node 7").state_hash(STEPS)
    assert told[0] == "running node 7 in the VM: 1 steps"
    assert told[-2:] == [f"running node 7 in the VM: {EXIT_STEP} steps", None]


@given(st.lists(st.integers(0, STEPS), max_size=12), st.integers(1, EXIT_STEP - 1), st.integers(0, 191))
def test_random_questions(questions: list[int], after_step: int, bit: int) -> None:
    """States asked for in any order are those of a slow run."""
    fault = VmFault(after_step, bit)
    trace = VmTrace(toy_machine(), depth=DEPTH, fault=fault)
    expected = slow_states(fault)
    assert [trace.state_hash(steps) for steps in questions] == [expected[steps] for steps in questions]
