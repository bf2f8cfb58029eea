"""
Playing a game: the honest actor's decisions (`actors.honest`) as transactions.

`Table.look` reads a game and asks the actor; `Table.intents` turns the answer into intents: a move with its bond,
asked from the chain; a step with the local data it reads, loaded first. Only caches are kept between calls, so a player
can be killed at any time and started again. A liar plays by the same code over a liar's trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from opml_dispute.actors.actions import Action, Move, Step
from opml_dispute.actors.exposure import SpendableFunds
from opml_dispute.actors.honest import Decision, consider
from opml_dispute.actors.player import URGENT_S, ActionRefused
from opml_dispute.actors.words import short_hex, subject
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.dispute import FaultDisputeGame
from opml_dispute.chain.contracts.vm import PreimageOracle
from opml_dispute.chain.data_fee import move_data_fee_wei
from opml_dispute.chain.fees import price_now_wei
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.system import System
from opml_dispute.chain.transactions import Receipt
from opml_dispute.engine.preimage_key import localized_key
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.gas import MOVE_GAS
from opml_dispute.game.rules import subgame_roots_of
from opml_dispute.operator.intents import Intent
from opml_dispute.operator.settle import resolution_intent
from opml_dispute.primitives import Address, LocalIdent
from opml_dispute.trace.provider import GameTrace


@dataclass(frozen=True)
class Look:
    """A game at one block, and the actor's decision about it."""

    head: Head
    game: Game
    plan: Decision


class Table:
    """One game on the chain, and the trace that its player plays by."""

    def __init__(self, system: System, address: Address, trace: GameTrace) -> None:
        self.system, self.address, self.trace = system, address, trace
        self.contract = FaultDisputeGame(address)

    def look(self) -> Look:
        """Read the game and decide. Raises `TraceError` if too little is known to do anything."""
        head = self.system.head()
        game = self.system.games.read(self.address, at=head)
        plan = consider(game, self.trace, head.timestamp)
        plan.expect_something()
        return Look(head, game, plan)

    def snapshot(self) -> tuple[Game, int]:
        """The game now, and the chain's time."""
        head = self.system.head()
        return self.system.games.read(self.address, at=head), head.timestamp

    def intents(self, game: Game, now_s: int, actions: Sequence[Action]) -> Iterator[Intent]:
        """The transactions of these actions, in order; the bonds are read from the chain."""
        for intents in self.intents_of(game, now_s, actions):
            yield from intents

    def intents_of(self, game: Game, now_s: int, actions: Sequence[Action]) -> Iterator[Iterable[Intent]]:
        """For each action its transactions, in order."""
        moves = [action for action in actions if isinstance(action, Move)]
        bonds = self.system.rpc.read_each([self.contract.required_bond_wei(move.position) for move in moves])
        bond_of = {id(move): bond_wei for move, bond_wei in zip(moves, bonds, strict=True)}
        for action in actions:
            if isinstance(action, Move):
                yield [move_intent(self.contract, game, now_s, action, bond_of[id(action)])]
            elif isinstance(action, Step):
                yield self._step_intents(game, action)
            else:
                yield [resolution_intent(self.contract, action)]

    def _step_intents(self, game: Game, step: Step) -> Iterator[Intent]:
        read = step.data.local_read
        if read is not None and not self._is_loaded(game, step):
            name = LocalIdent(read.ident).describe()
            yield Intent(
                kind="local-data",
                call=self.contract.add_local_data(read.ident, step.claim_index, read.offset),
                will=f"Will load the {name} from byte {read.offset}, which the instruction reads",
                did=lambda receipt: "Loaded",
                facts={"game": self.address, "ident": read.ident, "offset": read.offset, "claim": step.claim_index},
            )
        yield step_intent(self.contract, game, step)

    def _is_loaded(self, game: Game, step: Step) -> bool:
        read = step.data.local_read
        assert read is not None
        oracle = PreimageOracle(self.system.games.constants(self.address).preimage_oracle)
        context = subgame_roots_of(game, step.claim_index).local_context
        return self.system.rpc.read(oracle.part_ok(localized_key(read.ident, self.address, context), read.offset))


Act = Callable[[Sequence[Intent]], Sequence[object]]
"""Sends intents that do not depend on each other; answers for each an `OpmlError` if it failed, anything else if
done."""


class Seat:
    """
    A table as a `ChainGame` for `actors.player`: a player's decisions go to `act` as intents, several at a time.

    An action that the chain refuses becomes `ActionRefused`: another account was faster, or the player is a liar.
    """

    def __init__(self, table: Table, act: Act, *, account: Address | None = None) -> None:
        """With an `account`, its funds go first to the moves that protect most."""
        self.table, self._act, self._account = table, act, account
        self._seen: tuple[Game, int] | None = None

    def purse(self) -> SpendableFunds | None:
        """The account's balance, and the highest price of sending a move now; None if no account was named."""
        if self._account is None:
            return None
        rpc = self.table.system.rpc
        price_wei = price_now_wei(rpc)
        return SpendableFunds(rpc.balance_wei(self._account), MOVE_GAS * price_wei + move_data_fee_wei(rpc))

    def snapshot(self) -> tuple[Game, int]:
        """The game now, and the chain's time."""
        self._seen = self.table.snapshot()
        return self._seen

    def send_all(self, actions: Sequence[Action]) -> list[OpmlError | None]:
        """The result of each action: None if it is done, else the error. A failed action stops no other."""
        game, now_s = self._seen or self.snapshot()
        waiting: list[list[Intent]] = []
        outcomes: list[OpmlError | None] = [None] * len(actions)
        for intents in self.table.intents_of(game, now_s, actions):
            waiting.append(list(intents))
        while any(waiting):
            turn = [index for index, intents in enumerate(waiting) if intents]
            results = self._act([waiting[index].pop(0) for index in turn])
            for index, result in zip(turn, results, strict=True):
                if isinstance(result, OpmlError):
                    outcomes[index] = result
                    waiting[index].clear()  # the intents after it depend on it
        return [_refusal(outcome) for outcome in outcomes]


def one_by_one(act: Callable[[Intent], object]) -> Act:
    """Send each intent after the one before it was mined."""

    def act_all(intents: Sequence[Intent]) -> list[object]:
        results: list[object] = []
        for intent in intents:
            try:
                results.append(act(intent))
            except OpmlError as error:
                results.append(error)
        return results

    return act_all


def _refusal(error: OpmlError | None) -> OpmlError | None:
    return ActionRefused(str(error), hint=error.hint) if isinstance(error, Reverted) else error


def move_intent(contract: FaultDisputeGame, game: Game, now_s: int, move: Move, bond_wei: int) -> Intent:
    """An attack or a defence."""
    verb, past = ("attack", "Attacked") if move.is_attack else ("defend", "Defended")
    left_s = time_left_s(game, move.parent_index, now_s)
    return Intent(
        kind=verb,
        call=contract.move(move.disputed, move.parent_index, move.value, is_attack=move.is_attack),
        value_wei=bond_wei,
        will=f"Will {verb} claim {move.parent_index} at depth {move.position.depth} with {short_hex(move.value)}",
        did=lambda receipt: f"{past} as claim {new_claim_index(contract, receipt)}",
        reason=move.reason,
        facts={
            "game": game.address,
            "parent": move.parent_index,
            "position": move.position.gindex,
            "depth": move.position.depth,
            "value": move.value,
            "clock_left_s": left_s,
        },
        done_already=frozenset({"ClaimAlreadyExists"}),
        is_urgent=left_s < URGENT_S,
    )


def new_claim_index(contract: FaultDisputeGame, receipt: Receipt) -> int:
    """The index of the claim that a move's transaction added."""
    event = contract.event("ClaimAdded", receipt.logs)
    return int(event["claimIndex"])


def step_intent(contract: FaultDisputeGame, game: Game, step: Step) -> Intent:
    """Have the chain run the one disputed instruction."""
    witness = step.data.witness
    claim = game.claim(step.claim_index)

    def did(receipt: Receipt) -> str:
        event = contract.event("Stepped", receipt.logs)
        return f"The chain ran it: it ends in {short_hex(event['postState'])}, and claim {claim.index} is countered"

    return Intent(
        kind="step",
        call=contract.step(
            step.claim_index, is_attack=step.is_attack, state_data=witness.state_data, proof=witness.proof
        ),
        will=f"Will let the chain run one instruction against claim {step.claim_index} ({subject(game, claim)})",
        did=did,
        reason=step.reason,
        facts={"game": game.address, "claim": step.claim_index, "attack": step.is_attack},
        done_already=frozenset({"DuplicateStep"}),
    )
