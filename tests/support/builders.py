"""
Games told in the words of the game.

    ToyTable().root(LIE).attack(TRUTH).attack(LIE).expect_attack()

A `ToyTable` holds a game in memory (`reference_game`) over a toy inference (`alphabet`), the true trace, and a faulty
one. Values are said by name: `TRUTH` is what the true trace has at that place, `FAULTY` what the faulty one has, `LIE`
something else that the contract accepts there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from opml_dispute.actors.actions import Action, Move, ResolveClaim, ResolveGame, Settle, Step
from opml_dispute.actors.honest import consider
from opml_dispute.actors.player import ActionRefused
from opml_dispute.engine.hashing import keccak256
from opml_dispute.engine.vm import PreimageRead
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import BondTerms
from opml_dispute.game.claim import Claim, Game, GameStatus, ResolvedPages
from opml_dispute.game.clock import Clock, ClockSettings
from opml_dispute.game.depths import Depths
from opml_dispute.game.position import Position
from opml_dispute.game.rules import allowed_vm_statuses
from opml_dispute.primitives import Address, Hash32, RequestId, StateHash, StateRoot
from opml_dispute.trace.provider import TraceError
from opml_dispute.trace.split import NodeFault, SplitTrace
from opml_dispute.trace.vm import VmFault
from tests.support.alphabet import (
    EXIT_STEP,
    SCRAMBLES,
    TOY_PRESTATE,
    ToyInference,
    ToyMachine,
    ToyState,
    first_root,
    step_toy_vm,
)
from tests.support.reference_game import NO_PARENT, ZERO, ReadLocal, Record, ReferenceGame, Reverted, Rules

HONEST = Address("0x00000000000000000000000000000000000000A1")
MALLORY = Address("0x00000000000000000000000000000000000000B2")
SPAMMER = Address("0x00000000000000000000000000000000000000C3")


class AnyGame(Protocol):
    """A game to play at: in memory (`reference_game`) or the contract in an EVM (`contract_game`)."""

    rules: Rules
    now: int
    created_at: int

    @property
    def status(self) -> int: ...
    @property
    def resolved_at(self) -> int: ...
    @property
    def claims(self) -> list[Record]: ...
    def required_bond(self, position: int) -> int: ...
    def move(self, sender: str, disputed: bytes, index: int, claim: bytes, is_attack: bool, value: int) -> int: ...
    def add_local_data(self, ident: int, index: int, offset: int) -> None: ...
    def step(self, sender: str, index: int, is_attack: bool, state_data: bytes, proof: bytes) -> None: ...
    def resolve_claim(self, index: int, count: int) -> None: ...
    def settle(self, indices: Sequence[int], count: int) -> int: ...
    def resolve(self) -> int: ...


class Value(Enum):
    """A claim's value, by what it is worth."""

    TRUTH = "truth"
    FAULTY = "story"
    LIE = "lie"


TRUTH, FAULTY, LIE = Value.TRUTH, Value.FAULTY, Value.LIE


def snapshot(reference: AnyGame, before: Game | None = None) -> Game:
    """The game in memory as actors see games. `before` is an earlier snapshot of it, whose claims are used again."""
    rules = reference.rules
    known = () if before is None else before.claims
    return Game(
        address=Address(rules.address),
        request_id=RequestId(bytes(32)),
        status=GameStatus(reference.status),
        created_at_s=reference.created_at,
        depths=Depths(rules.split_depth, rules.max_depth),
        clocks=ClockSettings(rules.max_clock, rules.extension, rules.challenge_period),
        node_count=rules.node_count,
        starting_root=StateRoot(rules.starting_root),
        absolute_prestate=StateHash(rules.absolute_prestate),
        chain_id=rules.chain_id,
        l1_head=Hash32(rules.l1_head),
        claims=tuple(
            known[index] if index < len(known) and _is_as_before(known[index], record) else _claim(index, record)
            for index, record in enumerate(reference.claims)
        ),
        resolved_at_s=reference.resolved_at,
        terms=terms_of(rules),
    )


def _is_as_before(claim: Claim, record: Record) -> bool:
    """Nothing else of a claim ever changes."""
    return (
        claim.is_resolved == record.resolved
        and (claim.countered_by or ZERO) == record.countered_by
        and claim.checkpoint == _checkpoint(record)
    )


def _claim(index: int, record: Record) -> Claim:
    return Claim(
        index=index,
        parent_index=None if record.parent_index == NO_PARENT else record.parent_index,
        countered_by=None if record.countered_by == ZERO else Address(record.countered_by),
        claimant=Address(record.claimant),
        bond_wei=record.bond,
        value=Hash32(record.claim),
        position=Position.from_gindex(record.position),
        clock=Clock(record.duration, record.timestamp),
        is_resolved=record.resolved,
        paid_back=record.paid_back,
        checkpoint=_checkpoint(record),
    )


def _checkpoint(record: Record) -> ResolvedPages | None:
    if record.resolved or not record.started or not record.cursor:
        return None
    winner = None if record.checkpoint_countered_by == ZERO else Address(record.checkpoint_countered_by)
    return ResolvedPages(record.subgames[record.cursor - 1], record.leftmost, winner)


def terms_of(rules: Rules) -> BondTerms:
    """The bond terms of a game in memory."""
    return BondTerms(
        rules.base_fee,
        rules.gas_at_root,
        rules.gas_at_max_depth,
        rules.forfeited_bps,
        Address(rules.forfeited_to),
    )


def toy_vm(node_count: int) -> Any:
    """The toy VM as a chain runs it: one step from a witness."""

    def step(state_data: bytes, proof: bytes, read_local: ReadLocal) -> bytes:
        def read(toy_read: PreimageRead) -> bytes:
            return read_local(int.from_bytes(toy_read.key[1:], "big"), toy_read.offset)

        return step_toy_vm(ToyState.decode(state_data), node_count, read).state_hash()

    return step


def faulty_trace(seed: int, node_count: int, node_index: int, scramble_index: int, bit: int) -> SplitTrace:
    """A liar's trace: bit `bit` flips after one of the scrambles of one node, and the trace continues from there."""
    fault = VmFault(after_step=3 + scramble_index % SCRAMBLES, target=bit)
    honest = ToyInference(seed, node_count)
    machine = ToyMachine(node_count)
    machine.set_local(2, honest.state_root(node_index))
    machine.set_local(3, bytes(32))
    machine.known.add(honest.state_root(node_index))
    machine.run(fault.after_step)
    machine.flip_bit(bit)
    machine.run(EXIT_STEP)
    wrong = StateRoot(machine.state.root)
    states = ToyInference(seed, node_count, {node_index + 1: wrong})
    return SplitTrace(states, ToyMachine(node_count), node_count=node_count, fault=NodeFault(node_index, fault))


def send(reference: AnyGame, sender: Address, action: Action) -> None:
    """Does on the game in memory what the chain layer does on a chain. Raises `Reverted`."""
    match action:
        case Move():
            position = action.position.gindex
            reference.move(
                sender,
                action.disputed,
                action.parent_index,
                action.value,
                action.is_attack,
                reference.required_bond(position),
            )
        case Step():
            if action.data.local_read is not None:
                read = action.data.local_read
                reference.add_local_data(read.ident, action.claim_index, read.offset)
            witness = action.data.witness
            reference.step(sender, action.claim_index, action.is_attack, witness.state_data, witness.proof)
        case ResolveClaim():
            reference.resolve_claim(action.claim_index, 512)
        case Settle():
            reference.settle(action.claim_indices, 512)
        case ResolveGame():
            reference.resolve()


class ToyTable:
    """A game over a toy inference, waiting for its root claim."""

    def __init__(self, *, node_count: int = 5, split_depth: int = 3, max_depth: int = 8, seed: int = 0) -> None:
        assert node_count <= 1 << split_depth
        assert 1 << (max_depth - split_depth - 1) >= EXIT_STEP
        self.node_count = node_count
        self.rules = Rules(
            max_depth=max_depth,
            split_depth=split_depth,
            node_count=node_count,
            starting_root=first_root(seed),
            absolute_prestate=TOY_PRESTATE,
        )
        self.truth = SplitTrace(ToyInference(seed, node_count), ToyMachine(node_count), node_count=node_count)
        self.faulty = faulty_trace(seed, node_count, node_index=min(2, node_count - 1), scramble_index=3, bit=5)
        self.vm = toy_vm(node_count)
        self.reference: ReferenceGame

    def root(self, value: Value | bytes, by: Address | None = None) -> Told:
        """Starts the game. The root claim is MALLORY's unless it is true."""
        named: dict[Value, bytes] = {
            TRUTH: self.truth.root_claim(),
            FAULTY: self.faulty.root_claim(),
            LIE: keccak256(b"lie"),
        }
        raw = named[value] if isinstance(value, Value) else value
        is_true = raw == self.truth.root_claim()
        self.reference = ReferenceGame(self.rules, self.vm, by or (HONEST if is_true else MALLORY), raw)
        return Told(self, 0)

    def game(self) -> Game:
        """A snapshot."""
        return snapshot(self.reference)

    def say(self, value: Value, index: int, *, is_attack: bool) -> bytes:
        """The value of that name for an answer to claim `index`."""
        game = self.game()
        claim = game.claims[index]
        if value is FAULTY:
            return bytes(self.faulty.reply_at(game, claim, is_attack=is_attack))
        try:
            true_value = bytes(self.truth.reply_at(game, claim, is_attack=is_attack))
        except TraceError:
            assert value is LIE, "there is no truth after a wrong start"
            true_value = bytes(32)
        return true_value if value is TRUTH else a_lie(game, claim, true_value, is_attack=is_attack)


def a_lie(game: Game, claim: Claim, true_value: bytes, *, is_attack: bool, salt: bytes = b"") -> bytes:
    """A value other than the true one, which the contract accepts as an answer to `claim`."""
    lie: bytes = keccak256(b"lie" + salt + true_value)
    if claim.position.depth == game.depths.split:
        lie = bytes([min(allowed_vm_statuses(game, claim, is_attack=is_attack))]) + lie[1:]
    return lie


@dataclass
class Told:
    """A claim on the table, and what can be said after it."""

    table: ToyTable
    index: int

    def attack(self, value: Value | bytes, by: Address | None = None) -> Told:
        return self._move(value, by, is_attack=True)

    def defend(self, value: Value | bytes, by: Address | None = None) -> Told:
        return self._move(value, by, is_attack=False)

    def _move(self, value: Value | bytes, by: Address | None, *, is_attack: bool) -> Told:
        raw = self.table.say(value, self.index, is_attack=is_attack) if isinstance(value, Value) else value
        reference = self.table.reference
        parent = reference.claims[self.index]
        position = parent.position << 1 if is_attack else (parent.position | 1) << 1
        sender = by or (HONEST if value is TRUTH else MALLORY)
        index = reference.move(sender, parent.claim, self.index, raw, is_attack, reference.required_bond(position))
        return Told(self.table, index)

    @property
    def up(self) -> Told:
        """The claim that this one answers: what is said next stands beside this one."""
        return Told(self.table, self.table.reference.claims[self.index].parent_index)

    def wait(self, seconds: int) -> Told:
        self.table.reference.now += seconds
        return self

    def honest_answers(self) -> list[Move | Step]:
        """What the honest actor does about this claim."""
        plan = consider(self.table.game(), self.table.truth, self.table.reference.now)
        return [
            action
            for action in plan.actions
            if (action.parent_index if isinstance(action, Move) else action.claim_index) == self.index
        ]

    def expect_attack(self) -> Told:
        self._expect(Move, is_attack=True)
        return self

    def expect_defence(self) -> Told:
        self._expect(Move, is_attack=False)
        return self

    def expect_step(self, *, is_attack: bool) -> Told:
        self._expect(Step, is_attack=is_attack)
        return self

    def expect_nothing(self) -> Told:
        assert self.honest_answers() == []
        return self

    def _expect(self, kind: type[Move] | type[Step], *, is_attack: bool) -> None:
        (action,) = self.honest_answers()
        assert isinstance(action, kind)
        assert action.is_attack == is_attack
        send(self.table.reference, HONEST, action)
        if isinstance(action, Move):
            expected = self.table.truth.reply_at(
                self.table.game(), self.table.game().claims[self.index], is_attack=is_attack
            )
            assert action.value == expected


class Seat:
    """One player's place at a game in memory: a `ChainGame`."""

    def __init__(self, reference: AnyGame, name: Address) -> None:
        self.reference, self.name = reference, name

    def snapshot(self) -> tuple[Game, int]:
        return snapshot(self.reference), self.reference.now

    def send_all(self, actions: Sequence[Action]) -> list[OpmlError | None]:
        return [self._send(action) for action in actions]

    def _send(self, action: Action) -> OpmlError | None:
        try:
            send(self.reference, self.name, action)
        except Reverted as error:
            return ActionRefused(f"the game in memory refuses {action}: {error}")
        return None
