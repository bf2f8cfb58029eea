"""
The demo's two disputes, called stories, whose events are reported to a `DemoListener`.

1. `lying_proposer`: one bit flips at one instruction inside one node, so that the predicted digit is wrong. An honest
   challenger disputes it down to that instruction, the chain runs it, and the challenger wins the bonds.
2. `lying_challenger`: the proposer is honest, and a challenger with such a faulty trace attacks down to the last step.
   The proposer keeps its bonds, and the oracle delivers the digit to the consumer contract.

Both take an operator's steps: request, propose, challenge and respond, resolve, finalize. A `StoryResult` has a story's
outcome.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from opml_dispute.actors.actions import Action, Move, Step
from opml_dispute.actors.liars import FaultyInference, Liar, UselessFault, changes_prediction
from opml_dispute.actors.player import Round
from opml_dispute.cli.demo.digit import best_digit
from opml_dispute.cli.demo.stage import Party, Stage
from opml_dispute.devnet.self_play import play_out, settle_out
from opml_dispute.engine.segment import input_image
from opml_dispute.engine.vm import FaultKind, FaultTarget, Machine
from opml_dispute.errors import OpmlError
from opml_dispute.fpvm.disassemble import disassemble
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.rules import subgame_roots_of
from opml_dispute.model.files import Binding
from opml_dispute.models import digit_samples
from opml_dispute.operator.case import Case, open_case
from opml_dispute.operator.inference import (
    deliverable_game,
    delivery_intent,
    new_request_id,
    proposal_intent,
    request_intent,
)
from opml_dispute.operator.intents import Done, Intent, perform
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.operator.settle import Waiting
from opml_dispute.primitives import Address, RequestId, StateRoot
from opml_dispute.trace.guest import guest_machine
from opml_dispute.trace.split import SplitTrace

FEE_WEI = 10**16

ARITHMETIC = ("add.s", "sub.s", "mul.s", "div.s", "madd.s", "msub.s")
ARITHMETIC_WITHIN = 24
"""The number of instructions before a store within which the sum that it stores is searched."""


class StoryBroken(OpmlError):
    """A story did not end as it must: a bug of this package."""

    hint = "this must never happen: please report it with the seed"


@dataclass(frozen=True)
class DecidedStep:
    """The one instruction that a dispute came down to."""

    node_index: int
    op: str
    """The ONNX operator and name of the node."""
    step: int
    """Instructions of the node's run before it."""
    instruction: str
    """Disassembled."""


@dataclass
class StoryResult:
    """The outcome of a story."""

    story: str
    winner: str = ""
    status: str = ""
    node: int = 0
    op: str = ""
    step: int = 0
    instruction: str = ""
    moves: int = 0
    transactions: int = 0
    gas: dict[str, int] = field(default_factory=dict)
    bonds_wei: dict[str, int] = field(default_factory=dict)
    paid_out_wei: dict[str, int] = field(default_factory=dict)
    right_digit: int = 0
    told_digit: int = 0
    fault: str = ""
    seconds: float = 0.0
    delivered: int | None = None


class DemoListener(Protocol):
    """A listener to the events of a story."""

    def story_began(self, title: str, image: npt.NDArray[np.float32], label: int) -> None:
        """A story about this image begins."""

    def message(self, sentence: str) -> None:
        """A sentence about the story's progress."""

    def answers_known(self, right: npt.NDArray[np.float32], told: npt.NDArray[np.float32], liar: str) -> None:
        """The model's scores and the liar's scores are known."""

    def transaction_announced(self, party: Party, intent: Intent) -> None:
        """A transaction is about to be sent."""

    def transaction_mined(self, party: Party, done: Done) -> None:
        """The transaction was mined."""

    def game_changed(self, game: Game, node_steps: int) -> None:
        """The game has changed; `node_steps` is the number of instructions of the disputed node, 0 in the ML phase."""

    def instruction_found(self, judged: DecidedStep) -> None:
        """The dispute has reached this instruction."""

    def story_ended(self, result: StoryResult) -> None:
        """The story ends."""


@dataclass
class DemoPlayer:
    """Plays the stories on a stage and reports their events to a listener."""

    stage: Stage
    listener: DemoListener
    seed: int = 2
    pace_s: float = 0.0
    """A pause after each transaction, for people to follow."""

    # ---- the stories ----

    def lying_proposer(self, sample: int) -> StoryResult:
        """A wrong answer is disputed, and loses."""
        with self._story("lying-proposer", "A lying proposer", sample) as result:
            request_id = self._ask(sample)
            case = self._case(request_id)
            faulty = self._lie(case, "proposer", result, op_type="Conv")
            game = self._propose(request_id, faulty.root_claim, case)
            self._dispute(game, case, result, liar="proposer", trace=faulty.trace(guest_machine()))
            self._settle(game, result, first="challenger")
        return result

    def lying_challenger(self, sample: int) -> StoryResult:
        """A right answer is disputed, and wins."""
        with self._story("lying-challenger", "A lying challenger", sample) as result:
            request_id = self._ask(sample)
            case = self._case(request_id)
            faulty = self._lie(case, "challenger", result, op_type="Gemm")
            game = self._propose(request_id, case.final_root, case)
            self._dispute(game, case, result, liar="challenger", trace=faulty.trace(guest_machine()))
            self._settle(game, result, first="proposer")
            self._deliver(request_id, case, result)
        return result

    @contextmanager
    def _story(self, name: str, title: str, sample: int) -> Iterator[StoryResult]:
        images, labels = digit_samples()
        self.stage.reset_tallies()
        self.listener.story_began(title, images[sample], int(labels[sample]))
        started = time.perf_counter()
        result = StoryResult(name)
        yield result
        result.seconds = round(time.perf_counter() - started, 2)
        tallies = {role: party.tally for role, party in self.stage.parties.items() if party.tally.transactions}
        result.gas = {role: tally.gas for role, tally in tallies.items()}
        result.gas["total"] = sum(result.gas.values())
        result.transactions = sum(tally.transactions for tally in tallies.values())
        result.bonds_wei = {role: tally.bonds_wei for role, tally in tallies.items() if tally.bonds_wei}
        expected = "challenger" if name == "lying-proposer" else "proposer"
        if result.winner != expected:
            raise StoryBroken(f"the story {name} was won by the {result.winner}, expected the {expected}")
        self.listener.story_ended(result)

    # ---- what happens in them ----

    def _act(self, role: str, intent: Intent) -> Done:
        party = self.stage.parties[role]
        self.listener.transaction_announced(party, intent)
        done = perform(intent, party.sender)
        if done.receipt is not None and intent.kind in ("attack", "defend", "propose"):
            party.tally.bonds_wei += intent.value_wei
        self.listener.transaction_mined(party, done)
        if self.pace_s:
            time.sleep(self.pace_s)
        return done

    def _ask(self, sample: int) -> RequestId:
        system, reader = self.stage.system, self.stage.reader
        model_id = system.rpc.read(reader.model_id())
        registered = system.rpc.read(system.registry.model(model_id))
        program = self.stage.store.program(model_id, registered, file=None, binding=Binding())
        image = input_image(program.inputs, {program.inputs[0].name: digit_samples()[0][sample : sample + 1]})
        intent = request_intent(system, model_id, image, fee_wei=FEE_WEI, reader=reader.address)
        done = self._act("requester", intent)
        assert done.receipt is not None
        return new_request_id(system, done.receipt)

    def _case(self, request_id: RequestId) -> Case:
        return open_case(self.stage.system, request_id, store=self.stage.store)

    def _lie(self, case: Case, role: str, result: StoryResult, *, op_type: str) -> FaultyInference:
        """A faulty inference that changes the answer, with the fault in the first node of that operator."""
        self.listener.message(f"The {role} looks for one bit whose flip changes the answer …")
        node_index = next(index for index, node in enumerate(case.program.nodes) if node.op_type == op_type)
        liar = case.liar()
        faulty = _at_arithmetic(liar, case, liar.find(self.seed, goal=changes_prediction, node_index=node_index))
        (right,), (told,) = case.outputs.values(), faulty.outputs().values()
        right_scores, told_scores = (np.asarray(scores, dtype=np.float32) for scores in (right, told))
        result.right_digit, result.told_digit = best_digit(right_scores), best_digit(told_scores)
        result.fault = str(faulty.fault)
        self.listener.answers_known(right_scores, told_scores, role)
        self.listener.message(f"The lie: {faulty}.")
        return faulty

    def _propose(self, request_id: RequestId, root_claim: StateRoot, case: Case) -> Address:
        system = self.stage.system
        done = self._act("proposer", proposal_intent(system, request_id, root_claim, case.program.node_count))
        assert done.receipt is not None
        return system.factory.created_game(done.receipt)

    def _dispute(self, address: Address, case: Case, result: StoryResult, *, liar: str, trace: SplitTrace) -> None:
        """Both sides play until neither has a move left."""
        system = self.stage.system
        truth = case.trace()
        traces = {role: trace if role == liar else truth for role in ("challenger", "proposer")}
        seats = {
            role: Seat(Table(system, address, believed), one_by_one(partial(self._act, role)))
            for role, believed in traces.items()
        }

        def after_round(role: str, round_: Round) -> None:
            result.moves += sum(isinstance(action, Move) for action in round_.done)
            game, _ = seats[role].snapshot()
            self.listener.game_changed(game, _node_steps(game, truth))
            for action in (*round_.done, *(refused for refused, _ in round_.refused)):
                if isinstance(action, Step) and not result.instruction:
                    self._judge(game, action, truth, case, result)
            for _, refusal in round_.refused:
                why = f", since {refusal.hint}" if refusal.hint else ""
                self.listener.message(f"The chain refuses the {role}'s action: {refusal}{why}.")

        play_out(seats, after_round=after_round)

    def _judge(self, game: Game, action: Action, truth: SplitTrace, case: Case, result: StoryResult) -> None:
        """Report the instruction that a step is about."""
        assert isinstance(action, Step)
        outputs = subgame_roots_of(game, action.claim_index)
        leaf = game.claim(action.claim_index).position.within_subtree(game.depths.execution_root)
        step = leaf.index_at_depth + (0 if action.is_attack else 1)
        node_index = outputs.node_index(game)
        text = instruction_text(case.node_machine(node_index, step))
        node = case.program.nodes[node_index]
        judged = DecidedStep(node_index, node.op_type, step, text)
        result.node, result.op, result.step, result.instruction = node_index, judged.op, step, text
        self.listener.instruction_found(judged)

    def _settle(self, address: Address, result: StoryResult, *, first: str) -> None:
        """Let the clocks run out, then settle claims, game and bonds, each party for itself, the winner `first`."""
        system = self.stage.system
        roles = (first, "proposer" if first == "challenger" else "challenger")
        parties = {role: self.stage.parties[role].address for role in roles}

        def passing(left: Waiting) -> None:
            self.listener.message(f"Time passes: {left.what}, {left.seconds:,} s.")

        result.paid_out_wei = settle_out(
            system,
            address,
            parties,
            self._act,
            passing=passing,
            settled=lambda settlement: self.listener.game_changed(settlement.game, 0),
        )
        game = system.games.read(address)
        result.status = game.status.name
        result.winner = "challenger" if game.status == GameStatus.CHALLENGER_WINS else "proposer"

    def _deliver(self, request_id: RequestId, case: Case, result: StoryResult) -> None:
        """Deliver the output, with its proof, to the oracle, which calls the consumer."""
        system = self.stage.system
        self._act("proposer", delivery_intent(system, case, deliverable_game(system, request_id)))
        result.delivered = int(system.rpc.read(self.stage.reader.digit_of(request_id)))
        self.listener.message(f"The consumer contract now holds the digit {result.delivered}.")


def _at_arithmetic(liar: Liar, case: Case, faulty: FaultyInference) -> FaultyInference:
    """
    The same fault a few instructions earlier, where the flipped register was computed, if that is near.

    A wrong sum is easier to understand than a register that changes at a jump.
    """
    fault = faulty.fault
    for back in range(1, ARITHMETIC_WITHIN + 1):
        step = fault.after_step - back
        if step < 0 or not _computes(instruction_text(case.node_machine(fault.node_index, step)), fault.target):
            continue
        try:
            earlier = liar.inject(replace(fault, after_step=step + 1))
        except UselessFault:
            return faulty
        return earlier if changes_prediction(case.outputs, earlier.outputs()) else faulty
    return faulty


def _computes(instruction: str, target: FaultTarget) -> bool:
    """Whether an instruction is floating-point arithmetic with its result in the target's register."""
    name, _, operands = instruction.partition(" ")
    in_register = target.kind == FaultKind.FLOAT_REGISTER and operands.startswith(f"$f{target.index},")
    return name in ARITHMETIC and in_register


def instruction_text(machine: Machine) -> str:
    """The disassembly of the next instruction."""
    return disassemble(int.from_bytes(machine.read(machine.pc, 4), "big"), machine.pc, ml=True)


def _node_steps(game: Game, truth: SplitTrace) -> int:
    """The number of instructions of the disputed node; 0 in the ML phase."""
    deepest = max(game.claims, key=lambda claim: claim.position.depth)
    if deepest.position.depth <= game.depths.split:
        return 0
    return truth.vm_trace(game, subgame_roots_of(game, deepest.index)).exit_step


def result_facts(result: StoryResult) -> dict[str, Any]:
    """A story's outcome as JSON."""
    return dict(vars(result))
