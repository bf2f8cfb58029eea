"""
One dispute on the demo's stage, measured: its moves, its last instruction, its transactions, bonds and seconds.

`Measuring` sends what the parties do and counts it in a `MeasuredDispute`. Its methods are the parts of a story:
register a model, play a liar against an honest challenger, settle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from opml_dispute.actors.actions import Move, Step
from opml_dispute.actors.liars import FaultyInference
from opml_dispute.actors.player import Round
from opml_dispute.cli.demo.stage import Stage
from opml_dispute.cli.demo.stories import instruction_text
from opml_dispute.devnet.self_play import play_out, settle_out
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import GameStatus
from opml_dispute.game.rules import subgame_roots_of
from opml_dispute.model.program import Program
from opml_dispute.operator.case import Case
from opml_dispute.operator.inference import proposal_intent
from opml_dispute.operator.intents import Done, Intent, perform
from opml_dispute.operator.model_description import describe_model
from opml_dispute.operator.model_store import registration
from opml_dispute.operator.play import Seat, Table, one_by_one
from opml_dispute.primitives import Address, ModelId
from opml_dispute.trace.guest import guest_machine


class DisputeBroken(OpmlError):
    """A dispute did not end as it must: a bug of this package."""

    hint = "this must never happen: please report it with model and seed"


@dataclass
class MeasuredDispute:
    """What a dispute came down to, and what it took."""

    nodes: int = 0
    log2_steps: int = 0
    fault: str = ""
    node: int = 0
    place: str = ""
    """Name and operator of the disputed node."""
    step: int = 0
    instruction: str = ""
    moves: int = 0
    gas: dict[str, int] = field(default_factory=dict)
    """By roles, as the two that follow."""
    bonds_wei: dict[str, int] = field(default_factory=dict)
    """Staked on claims."""
    paid_out_wei: dict[str, int] = field(default_factory=dict)
    winner: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time of each part."""


@dataclass(frozen=True)
class MeasuredTransaction:
    """One transaction of a party."""

    role: str
    kind: str
    calldata_bytes: int
    gas: int
    blobs: int


class Measuring:
    """Plays the parts of one dispute."""

    def __init__(self, stage: Stage, result: MeasuredDispute) -> None:
        self.stage, self.result = stage, result
        self.sent: list[MeasuredTransaction] = []
        stage.reset_tallies()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the wall time of the block to that part."""
        began = time.perf_counter()
        yield
        passed_s = self.result.seconds.get(part, 0.0) + time.perf_counter() - began
        self.result.seconds[part] = round(passed_s, 2)

    def act(self, role: str, intent: Intent) -> Done:
        """Sends what a party wants."""
        party = self.stage.parties[role]
        done = perform(intent, party.sender)
        if done.receipt is not None:
            if intent.kind in ("attack", "defend", "propose"):
                party.tally.bonds_wei += intent.value_wei
            blobs = 0 if intent.call.blobs is None else len(intent.call.blobs.blobs)
            size = len(intent.call.data)
            self.sent.append(MeasuredTransaction(role, intent.kind, size, done.receipt.gas_used, blobs))
        return done

    def register(self, program: Program, name: str, uri: str = "") -> ModelId:
        """Has the requester register a model."""
        registry = self.stage.system.registry
        description = describe_model(program, uri)
        registering = registration(registry, program, description)
        will, did = f"Will register {name}", f"Registered {name}"
        self.act("requester", Intent(kind="register-model", call=registering, will=will, did=lambda receipt: did))
        return ModelId(self.stage.system.rpc.read(registry.model_id_of(description)))

    def dispute(self, case: Case, faulty: FaultyInference, tell: Callable[[str], None]) -> Address:
        """The liar proposes, and both sides play until neither has a move left. Answers the game."""
        claim = proposal_intent(self.stage.system, case.request_id, faulty.root_claim, case.node_count)
        done = self.act("proposer", claim)
        assert done.receipt is not None
        game = self.stage.system.factory.created_game(done.receipt)
        with self.timed("play"):
            self._play(game, case, faulty)
        result = self.result
        tell(f"{result.moves} moves, then a step: {result.place}, node {result.node}, {result.instruction}")
        return game

    def _play(self, game: Address, case: Case, faulty: FaultyInference) -> None:
        system, result = self.stage.system, self.result
        traces = {"challenger": case.trace(), "proposer": faulty.trace(guest_machine())}
        seats = {
            role: Seat(Table(system, game, trace), one_by_one(partial(self.act, role)))
            for role, trace in traces.items()
        }

        def after_round(role: str, round_: Round) -> None:
            result.moves += sum(isinstance(action, Move) for action in round_.done)
            state, _ = seats[role].snapshot()
            for action in round_.done:
                if not isinstance(action, Step):
                    continue
                node = subgame_roots_of(state, action.claim_index).node_index(state)
                leaf = state.claim(action.claim_index).position.within_subtree(state.depths.execution_root)
                result.node, result.step = node, leaf.index_at_depth + (0 if action.is_attack else 1)
                named = case.program.nodes[node]
                result.place = ", ".join(filter(None, (named.name, named.op_type)))
                result.instruction = instruction_text(case.node_machine(node, result.step))

        play_out(seats, after_round=after_round)

    def settle(self, game: Address, *roles: str) -> None:
        """Lets the clocks run out, and settles claims, game and bonds, each role for itself."""
        payees = {role: self.stage.parties[role].address for role in roles}
        for role, wei in settle_out(self.stage.system, game, payees, self.act).items():
            self.result.paid_out_wei[role] = self.result.paid_out_wei.get(role, 0) + wei

    def finish(self, game: Address) -> None:
        """Writes down who won `game` and what each party spent. Raises `DisputeBroken` if the liar won."""
        tallies = {role: party.tally for role, party in self.stage.parties.items() if party.tally.transactions}
        self.result.gas = {role: tally.gas for role, tally in tallies.items()}
        self.result.bonds_wei = {role: tally.bonds_wei for role, tally in tallies.items() if tally.bonds_wei}
        status = self.stage.system.games.read(game).status
        self.result.winner = "challenger" if status == GameStatus.CHALLENGER_WINS else "proposer"
        if self.result.winner != "challenger":
            raise DisputeBroken(f"the liar won with this fault: {self.result.fault}")
