"""
Liars without a faulty trace: claims made up from some point on, true before it.

A `Bluff` answers as the truth does for states up to a first wrong one, and with noise after: in the ML phase from
`first_wrong_state` on, in the VM phase from `first_wrong_step` on, with the status byte that the contract asks for. It
need not agree with itself, know any state, or respect the trace's ends: it claims states beyond the last node, steps
after the program's exit, and a first step that never was.

`small_program(nodes)` is a program of few, cheap nodes to bluff about, and `BluffTable` a game about it, over the real
VM: in memory or on the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.inference import Inference
from opml_dispute.engine.overrides import Override
from opml_dispute.engine.segment import ARENA, INPUT, OUTPUT
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.depths import Depths
from opml_dispute.game.rules import allowed_vm_statuses
from opml_dispute.model.opcodes import DType, Opcode, Unary
from opml_dispute.model.record import Free, Record, strided_body
from opml_dispute.primitives import LEAST_LOG2_STEPS, Address, Hash32, VmStatus
from opml_dispute.trace.provider import GameTrace, StepData, TraceError
from opml_dispute.trace.split import SplitTrace
from tests.guest.programs import BareProgram, program
from tests.kernels.maker import words
from tests.support.contract_game import ContractGame
from tests.support.digits import guest, real_vm
from tests.support.reference_game import ReferenceGame, Rules

GIVEN = bytes(range(32))


@cache
def small_program(nodes: int) -> BareProgram:
    """Negates its input once a node; the last node puts it out."""
    records = []
    for i in range(nodes):
        source = INPUT.offset if i == 0 else ARENA.offset + 64 * (i - 1)
        target = OUTPUT.offset if i == nodes - 1 else ARENA.offset + 64 * i
        frees = (Free(6, source),) if i else ()
        body = strided_body([8], [[1], [1]])
        records.append(
            Record(Opcode.UNARY, DType.F32, target, (source,), (DType.F32,), 1, 0, 8, words(Unary.NEG), body, frees)
        )
    return program([record.pack() for record in records], log2_steps=LEAST_LOG2_STEPS)


def inference(nodes: int, changes: dict[int, Sequence[Override]] | None = None) -> Inference:
    """The run of a small program; with `changes`, a liar's."""
    return Inference(small_program(nodes), GIVEN, overrides=changes or {})


def trace_of(states: Inference) -> SplitTrace:
    """What follows from these states, told to the end by the real guest."""
    return SplitTrace(states, guest(), node_count=states.program.node_count)


@dataclass
class Bluff:
    """A `GameTrace` that is true up to a point; `base` is what it is true to."""

    base: GameTrace
    first_wrong_state: int | None
    """Index of the ML phase's leaf from which on its claims are noise; None: all of `base`'s are kept."""
    first_wrong_step: int
    """The same for steps of a VM run, counted from 0."""
    salt: bytes = b""

    def root_claim(self) -> Hash32:
        return self.base.root_claim() if self.first_wrong_state is None else self._noise(b"state")

    def claim_at(self, game: Game, claim: Claim) -> Hash32:
        parent = game.parent(claim)
        if parent is None:
            return self.root_claim()
        return self._answer(game, parent, game.is_attack(claim), lambda: self.base.claim_at(game, claim))

    def reply_at(self, game: Game, claim: Claim, *, is_attack: bool) -> Hash32:
        return self._answer(game, claim, is_attack, lambda: self.base.reply_at(game, claim, is_attack=is_attack))

    def step_at(self, game: Game, claim: Claim, *, is_attack: bool) -> StepData:
        return self.base.step_at(game, claim, is_attack=is_attack)

    def _answer(self, game: Game, parent: Claim, is_attack: bool, true: Callable[[], Hash32]) -> Hash32:
        """What it says where an answer to `parent` stands."""
        depths, position = game.depths, parent.position.move(is_attack=is_attack)
        if position.depth <= depths.split:
            is_wrong = self.first_wrong_state is not None and (
                position.trace_index(depths.split) >= self.first_wrong_state
            )
            return self._noise(b"state") if is_wrong else true()
        step = position.within_subtree(depths.execution_root).trace_index(depths.execution)
        if step < self.first_wrong_step:
            try:
                return true()
            except TraceError:  # no VM runs from a state that was made up
                return self._noise(b"lost")
        noise = self._noise(b"step" + min(step, self.first_wrong_step + 3).to_bytes(8, "big"))
        is_execution_root = position.depth == depths.execution_root
        statuses = (
            allowed_vm_statuses(game, parent, is_attack=is_attack) if is_execution_root else {VmStatus.UNFINISHED}
        )
        return Hash32(bytes([min(statuses)]) + noise[1:])

    def _noise(self, about: bytes) -> Hash32:
        return Hash32(keccak256(b"bluff" + self.salt + about))


class BluffTable:
    """A game about a small program."""

    def __init__(self, nodes: int, root_claim: bytes, proposer: Address, *, on_contract: bool = False) -> None:
        self.states = inference(nodes)
        self.truth = trace_of(self.states)
        depths = Depths.for_model(nodes, small_program(nodes).log2_steps)
        self.rules = Rules(
            max_depth=depths.max,
            split_depth=depths.split,
            node_count=nodes,
            starting_root=self.states.state_root(0),
            absolute_prestate=guest().state_hash(),
        )
        self.reference: ReferenceGame | ContractGame
        if on_contract:
            self.reference = ContractGame(self.rules, proposer, root_claim)
        else:
            self.reference = ReferenceGame(self.rules, real_vm, proposer, root_claim)
