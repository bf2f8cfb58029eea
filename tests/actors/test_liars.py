"""Liars made by one flipped bit of the real VM: how good their stories are, and that they lose all the same."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from opml_dispute.actors.actions import Step
from opml_dispute.actors.faults import Fault
from opml_dispute.actors.liars import (
    TENSORS,
    FaultyInference,
    NoFaultFound,
    UselessFault,
    about_to_store,
    changed_ranges,
    changes_anything,
    changes_prediction,
    float_bit,
)
from opml_dispute.actors.player import play_round
from opml_dispute.engine.vm import FaultKind, FaultTarget
from opml_dispute.game.bond import forfeited_wei
from opml_dispute.game.claim import Claim, Game, GameStatus
from opml_dispute.game.position import Position
from opml_dispute.game.rules import subgame_roots_of
from opml_dispute.primitives import Hash32
from opml_dispute.trace.provider import StepData
from opml_dispute.trace.split import SplitTrace
from tests.support.builders import HONEST, MALLORY, Seat, snapshot
from tests.support.digits import (
    DigitsTable,
    digits_liar,
    digits_program,
    digits_truth,
    guest,
    honest_inference,
    honest_table,
)


def play_out(table: DigitsTable, faulty: FaultyInference) -> list[Step]:
    """Both play until the game is over; the honest steps."""
    liar_trace = faulty.trace(guest())
    honest, liar = Seat(table.reference, HONEST), Seat(table.reference, MALLORY)
    steps: list[Step] = []
    while table.reference.status == 0:
        ours, theirs = play_round(honest, table.truth), play_round(liar, liar_trace)
        assert not ours.refused
        steps += [action for action in ours.done if isinstance(action, Step)]
        if not ours.done and not theirs.done:
            table.reference.now += table.reference.rules.max_clock
    return steps


@pytest.mark.parametrize("on_contract", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_lying_proposer_is_beaten_by_one_step(seed: int, on_contract: bool) -> None:
    """The chain runs the instruction at the flipped bit, and every bond of the liar's goes to the honest side."""
    faulty = digits_liar().find(seed)
    table = DigitsTable(faulty.root_claim, MALLORY, on_contract=on_contract)
    steps = play_out(table, faulty)
    game = snapshot(table.reference)
    assert game.status == GameStatus.CHALLENGER_WINS
    assert len(steps) == 1
    leaf = game.claims[steps[0].claim_index]
    outputs = subgame_roots_of(game, leaf.index)
    assert outputs.node_index(game) == faulty.fault.node_index
    local = leaf.position.within_subtree(game.depths.execution_root).index_at_depth
    assert (local + 1 if steps[0].is_attack else local + 2) == faulty.fault.after_step
    # The honest player gets everything but the forfeited part of what others lost.
    game = snapshot(table.reference)
    forfeited = sum(forfeited_wei(claim.bond_wei, game.terms) for claim in game.claims if claim.countered_by)
    assert forfeited > 0
    assert table.reference.credits == {
        HONEST: sum(table.reference.deposits.values()) - forfeited,
        game.terms.forfeited_to: forfeited,
    }


@pytest.mark.parametrize("on_contract", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_lying_challenger_loses_every_bond(seed: int, on_contract: bool) -> None:
    """An honest proposal is attacked all the way down by a trace that is consistent but for one instruction."""
    faulty = digits_liar().find(seed)
    table = honest_table(on_contract=on_contract)
    play_out(table, faulty)
    game = snapshot(table.reference)
    assert game.status == GameStatus.DEFENDER_WINS
    assert max(claim.position.depth for claim in game.claims) == game.depths.max
    # The honest player gets everything but the forfeited part of what others lost.
    game = snapshot(table.reference)
    forfeited = sum(forfeited_wei(claim.bond_wei, game.terms) for claim in game.claims if claim.countered_by)
    assert forfeited > 0
    assert table.reference.credits == {
        HONEST: sum(table.reference.deposits.values()) - forfeited,
        game.terms.forfeited_to: forfeited,
    }


def test_a_story_agrees_with_itself() -> None:
    """Over its own roots the program exits with 0 at every node: nothing but the flipped bit gives it away."""
    faulty = digits_liar().find(seed=1)
    trace = faulty.trace(guest())
    program, fault = digits_program(), faulty.fault
    honest = honest_inference()
    for t in range(program.node_count + 1):
        assert (faulty.states.state_root(t) == honest.state_root(t)) == (t <= fault.node_index)
    table = DigitsTable(faulty.root_claim, MALLORY)
    play_out(table, faulty)
    game = snapshot(table.reference)
    roots = [claim for claim in game.claims if claim.position.depth == game.depths.execution_root]
    for claim in roots:
        outputs = subgame_roots_of(game, claim.index)
        own = outputs.disputed.root == faulty.states.state_root(fault.node_index + 1)
        assert trace.vm_trace(game, outputs).exit_code == (0 if own else 1)
        truth = table.truth.vm_trace(game, outputs)
        assert truth.exit_code == (1 if own else 0)


def test_a_fault_that_turns_the_prediction() -> None:
    """What the demo shows: another digit, found in seconds, the same for the same seed."""
    right = honest_inference().outputs()
    faulty = digits_liar().find(seed=7, goal=changes_prediction)
    (name,) = right
    assert right[name].argmax() != faulty.outputs()[name].argmax()
    assert digits_liar().find(seed=7, goal=changes_prediction).fault == faulty.fault


def test_only_tensors_are_changed() -> None:
    faulty = digits_liar().find(seed=3)
    assert faulty.changes
    for offset, data in faulty.changes:
        blocks = [
            block
            for block in digits_program().blocks
            if block.offset <= offset and offset + len(data) <= block.offset + (1 << block.log2_size)
        ]
        assert blocks
        assert all(block.offset >= 0xB0_0000_0000 for block in blocks)


def test_an_explicit_fault_tells_the_same_story() -> None:
    found = digits_liar().find(seed=2)
    told = digits_liar().inject(Fault.parse(str(found.fault)))
    assert told.root_claim == found.root_claim


def test_useless_faults_say_why() -> None:
    """A flip that nothing reads, one of the stack pointer, one after the end."""
    liar = digits_liar()
    steps = liar.find(seed=0).exit_step
    with pytest.raises(UselessFault, match="changes no tensor"):
        liar.inject(Fault(0, 1, FaultTarget(FaultKind.HI, bit=3)))
    with pytest.raises(UselessFault, match="breaks the program"):
        liar.inject(Fault(0, 2000, FaultTarget(FaultKind.PC, bit=1)))
    with pytest.raises(UselessFault, match=r"expected 1 to \d+"):
        liar.inject(Fault(0, 10**9 + steps, FaultTarget(FaultKind.HI, bit=3)))
    with pytest.raises(UselessFault, match=r"node 99 found, expected 0 to \d+"):
        liar.inject(Fault(99, 1, FaultTarget(FaultKind.HI, bit=3)))


def test_a_search_can_fail() -> None:
    with pytest.raises(NoFaultFound, match="none of 3 faults from seed 0"):
        digits_liar().find(seed=0, goal=lambda right, wrong: False, attempts=3)


def test_weighty_bits_of_what_a_node_stores_are_tried_once() -> None:
    """Each of the ten probabilities has each bit flipped once, and then the search is over."""
    liar, node = digits_liar(), digits_program().node_count - 1
    faulty = liar.find_weighty(1, node, (30,), goal=changes_anything)
    target = faulty.fault.target
    assert (faulty.fault.node_index, target.kind, target.bit) == (node, FaultKind.FLOAT_REGISTER, 30)
    assert liar.find_weighty(1, node, (30,), goal=changes_anything).fault == faulty.fault
    tried: list[int] = []
    with pytest.raises(NoFaultFound, match="none of 20 faults from seed 1"):
        liar.find_weighty(1, node, (30, 29), goal=lambda right, wrong: False, tell=tried.append)
    assert tried == list(range(20))


def test_prediction_changes_only_if_another_class_clearly_leads() -> None:
    right = {"p": np.array([[0.1, 0.8, 0.1]], np.float32)}
    assert changes_prediction(right, {"p": np.array([[0.9, 0.05, 0.05]], np.float32)})
    assert not changes_prediction(right, right)
    assert not changes_prediction(right, {"p": np.array([[0.4, 0.3, 0.3]], np.float32)})
    assert not changes_prediction(right, {"p": np.array([[np.nan, 0.0, 1.0]], np.float32)})


def test_what_is_no_score_makes_no_prediction() -> None:
    """Integers and single numbers are passed over, and so is what is not finite; the other outputs count."""
    turned = np.array([0.1, 0.9], np.float32), np.array([0.9, 0.1], np.float32)
    nothing = [
        (np.array([5, 1]), np.array([1, 5])),
        (np.array(0.5, np.float32), np.array(0.1, np.float32)),
        (np.array([0.5], np.float32), np.array([0.1], np.float32)),
        (turned[0], np.array([np.inf, 0.1], np.float32)),
    ]
    for right, wrong in nothing:
        assert not changes_prediction({"other": right}, {"other": wrong})
        assert changes_prediction({"other": right, "p": turned[0]}, {"other": wrong, "p": turned[1]})


def test_a_prediction_turns_clearly_from_half_the_lead_on() -> None:
    right = {"p": np.array([[0.0, 4.0], [8.0, 0.0]], np.float32)}
    for wrong, is_clear in ((2.0, True), (1.875, False), (0.0, False)):
        assert changes_prediction(right, {"p": np.array([[wrong, 0.0], [8.0, 0.0]], np.float32)}) == is_clear
    high = {"p": np.array([3.0, 2.0], np.float32)}
    assert changes_prediction(high, {"p": np.array([1.0, 1.625], np.float32)})
    even = {"p": np.array([1.0, 1.0], np.float32)}
    assert not changes_prediction(even, {"p": np.array([1.0, 1.0], np.float32)})


class AboutTo:
    """A machine before one instruction; register n holds `values[n]`."""

    pc = 0x4000

    def __init__(self, word: int, values: dict[int, int]) -> None:
        self._word, self._values = word, values

    def read(self, address: int, size: int) -> bytes:
        assert (address, size) == (self.pc, 4)
        return self._word.to_bytes(4, "big")

    def registers(self) -> list[int]:
        return [self._values.get(number, 0) for number in range(32)]


BEFORE, BEHIND = TENSORS[0] - 1, TENSORS[-1] + 1


def store(opcode: int, offset: int) -> int:
    """The word of `opcode` r/f3, offset(r2)."""
    return opcode << 26 | 2 << 21 | 3 << 16 | offset & 0xFFFF


@pytest.mark.parametrize(("opcode", "bits"), [(0x28, 8), (0x29, 16), (0x2B, 32), (0x3F, 64)])
@pytest.mark.parametrize("offset", [0, 1, 0x7FFF, -1, -0x8000])
def test_a_store_to_a_tensor_is_seen_by_its_address(opcode: int, bits: int, offset: int) -> None:
    word, chance = store(opcode, offset), random.Random(1)
    for address, is_tensor in ((BEFORE, False), (TENSORS[0], True), (TENSORS[-1], True), (BEHIND, False)):
        machine: Any = AboutTo(word, {2: address - offset})
        found = [about_to_store(machine, chance) for _ in range(20 * bits)]
        if is_tensor:
            assert {(target.kind, target.index) for target in found if target} == {(FaultKind.REGISTER, 3)}
            assert {target.bit for target in found if target} == set(range(bits))
        else:
            assert set(found) == {None}
    nothing: Any = AboutTo(word & ~(31 << 16), {2: TENSORS[0] - offset})
    assert about_to_store(nothing, chance) is None, "register 0 holds 0 whatever is flipped"


def test_a_store_of_a_float_is_seen_by_its_address() -> None:
    """By an offset or by an index; a multiplication with the same opcode stores nothing, nor does a load."""
    chance = random.Random(1)
    indexed = 0x13 << 26 | 2 << 21 | 4 << 16 | 5 << 11
    for word, register, by, index in ((store(0x39, -8), 3, 8, 0), (indexed | 8, 5, -8, 8)):
        for address, is_tensor in ((BEFORE, False), (TENSORS[0], True), (TENSORS[-1], True), (BEHIND, False)):
            machine: Any = AboutTo(word, {2: address + by, 4: index})
            target = about_to_store(machine, chance)
            assert (target is not None) == is_tensor
            assert target is None or (target.kind, target.index) == (FaultKind.FLOAT_REGISTER, register)
    for word in (indexed | 0x20, store(0x31, 0), store(0x23, 0), store(0x09, 0)):
        machine = AboutTo(word, {2: TENSORS[0], 4: 0})
        assert about_to_store(machine, chance) is None


def test_flipped_bits_of_floats_are_mostly_significant() -> None:
    chance = random.Random(5)
    count = Counter(float_bit(chance) for _ in range(10_000))
    assert set(count) == set(range(32))
    assert 6_700 < sum(number for bit, number in count.items() if bit >= 20) < 7_300


def test_changed_ranges_are_whole_words() -> None:
    right = bytes(40)
    wrong = bytes(7) + b"\1\2" + bytes(20) + b"\3" + bytes(10)
    assert changed_ranges(right, wrong) == [(0, wrong[:16]), (24, wrong[24:32])]
    assert changed_ranges(right, right) == []
    assert changed_ranges(bytes(4), b"\0\0\0\1") == [(0, b"\0\0\0\1")]


class BeyondTheEnd:
    """A liar about what cannot change any more: its VM states are true until the program has exited, then noise."""

    def __init__(self, truth: SplitTrace, *, first_wrong_state: int, first_wrong_step: int) -> None:
        self.truth, self.first_wrong_state, self.first_wrong_step = truth, first_wrong_state, first_wrong_step

    def root_claim(self) -> Hash32:
        return Hash32(b"\x77" * 32)

    def _twist(self, game: Game, position: Position, value: Hash32) -> Hash32:
        if position.depth <= game.depths.split:
            state_index = min(position.trace_index(game.depths.split) + 1, game.node_count)
            return value if state_index < self.first_wrong_state else Hash32(b"\x77" * 32)
        steps = position.within_subtree(game.depths.execution_root).trace_index(game.depths.execution) + 1
        # The status that the liar's side has to claim is the one that is not true.
        return value if steps < self.first_wrong_step else Hash32(bytes([1 - value[0]]) + b"\x77" * 31)

    def claim_at(self, game: Game, claim: Claim) -> Hash32:
        return self._twist(game, claim.position, self.truth.claim_at(game, claim))

    def reply_at(self, game: Game, claim: Claim, *, is_attack: bool) -> Hash32:
        position = claim.position.move(is_attack=is_attack)
        return self._twist(game, position, self.truth.reply_at(game, claim, is_attack=is_attack))

    def step_at(self, game: Game, claim: Claim, *, is_attack: bool) -> StepData:
        return self.truth.step_at(game, claim, is_attack=is_attack)


@pytest.mark.parametrize("on_contract", [False, True])
@pytest.mark.parametrize("beyond", [1, 2, 1000])
@pytest.mark.parametrize("is_honest_proposal", [False, True])
def test_an_exited_program_is_stepped_too(is_honest_proposal: bool, beyond: int, on_contract: bool) -> None:
    """Past its exit the program does nothing, and the chain says so in one step."""
    node_index = 8
    # Over another disputed root the run is the same up to the comparison at its end, a few steps.
    exit_step = digits_liar().steps_of(node_index)
    liar_trace = BeyondTheEnd(
        digits_truth(), first_wrong_state=node_index + 1, first_wrong_step=exit_step + 20 + beyond
    )
    if is_honest_proposal:
        table = honest_table(on_contract=on_contract)
    else:
        table = DigitsTable(liar_trace.root_claim(), MALLORY, on_contract=on_contract)
    honest, liar = Seat(table.reference, HONEST), Seat(table.reference, MALLORY)
    steps: list[Step] = []
    while table.reference.status == 0:
        ours, theirs = play_round(honest, table.truth), play_round(liar, liar_trace)
        steps += [action for action in ours.done if isinstance(action, Step)]
        if not ours.done and not theirs.done:
            table.reference.now += table.reference.rules.max_clock
    game = snapshot(table.reference)
    assert game.status == (GameStatus.DEFENDER_WINS if is_honest_proposal else GameStatus.CHALLENGER_WINS)
    if not is_honest_proposal:
        # Leaves are the liar's then. In the other game they are the honest side's, and the clock decides.
        (step,) = steps
        exited_at, running = 98, 0  # docs/vm.md, "State": the flag of an exited program
        assert step.data.witness.state_data[exited_at] != running


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_random_liars_lose_on_the_contract(seed: int) -> None:
    """Any picture, any fault, either side: the chain's own contracts find for the truth."""
    sample = seed * 7 % 360
    faulty = digits_liar(sample).find(seed)
    is_proposer = seed % 2 == 0
    if is_proposer:
        table = DigitsTable(faulty.root_claim, MALLORY, sample=sample, on_contract=True)
    else:
        table = honest_table(sample, on_contract=True)
    play_out(table, faulty)
    status = snapshot(table.reference).status
    assert status == (GameStatus.CHALLENGER_WINS if is_proposer else GameStatus.DEFENDER_WINS)
    # The honest player gets everything but the forfeited part of what others lost.
    game = snapshot(table.reference)
    forfeited = sum(forfeited_wei(claim.bond_wei, game.terms) for claim in game.claims if claim.countered_by)
    assert forfeited > 0
    assert table.reference.credits == {
        HONEST: sum(table.reference.deposits.values()) - forfeited,
        game.terms.forfeited_to: forfeited,
    }
