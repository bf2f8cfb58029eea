"""
A simulated chain: blocks at fixed times, a pool of pending transactions, fees, bribed builders, reorganisations.

Blocks without transactions cost nothing: a transaction is put into the first block that takes it, and only such blocks
become events. Which block that is depends on room, on chance (`chain.full_share`), and for honest transactions on
whether the block's builder is bribed. Within a block, higher priority goes first, then the earlier one.

Observers are notified: watchers of the pool see every transaction when it is sent (front-runners do), and
`table(game).changed` fires when a game has changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import simpy

from opml_dispute.actors.actions import Action, Move, ResolveClaim, ResolveGame, Settle, Step
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address
from opml_dispute.simulation.accounts import ETHER, Purse
from opml_dispute.simulation.evm import NodeFailed
from opml_dispute.simulation.fees import FeePath
from opml_dispute.simulation.gas_table import TABLES, GasTable
from opml_dispute.simulation.referee import Applied, Referee
from opml_dispute.simulation.scenario import Scenario

BLOCK_GAS = 60_000_000
PRIORITY_HONEST, PRIORITY_FRONT_RUN = 1, 2


@dataclass(slots=True, eq=False)
class Transaction:
    """One action on its way into a block."""

    sender: Address
    game: Address
    action: Action
    is_honest: bool
    priority: int
    order: int
    done: simpy.Event
    """Succeeds with None once accepted, with the refusal otherwise."""


@dataclass(slots=True)
class Table:
    """A game on the chain."""

    referee: Referee
    changed: simpy.Event
    """Succeeds when the game changes; another takes its place then."""
    movers: set[Address] = field(default_factory=set)
    """Who has moved: a first move costs more, but not that of the root claim's claimant."""
    charges: dict[int, tuple[float, int]] = field(default_factory=dict)
    """By transaction order: (gas in wei, bond), so that a reorganisation can give them back."""
    by_entry: dict[int, Transaction] = field(default_factory=dict)
    """By id of the journal's entry."""


class Chain:
    """Blocks, pool and purses of one trial."""

    def __init__(self, env: simpy.Environment, scenario: Scenario, fees: FeePath, chance: random.Random) -> None:
        self.env, self.scenario, self.fees, self.chance = env, scenario, fees, chance
        self.gas: GasTable = TABLES[scenario.chain.gas_table]
        self.tables: dict[Address, Table] = {}
        self.purses: dict[Address, Purse] = {}
        self.watchers: list[Callable[[Transaction], None]] = []
        self.briber: Purse | None = None
        self.bribed_blocks = 0
        self.reorgs = 0
        self._budget_left_wei = scenario.censorship.budget_eth * ETHER
        self._bribed: dict[int, bool] = {}
        self._due: dict[int, list[Transaction]] = {}
        self._room: dict[int, int] = {}
        self._order = 0
        self._last_block = int(scenario.horizon_days * 86_400 // scenario.chain.block_s) + 1
        """The trial is over then: bribes that cost nothing would keep a transaction out for ever."""
        self._fee_start_s = chance.uniform(0, len(fees.wei) * fees.grid_s)
        if scenario.reorgs.per_day:
            env.process(self._reorganise())

    # --- what players do ---

    def open(self, referee: Referee) -> Table:
        """A game was created: its proposer pays."""
        proposer = referee.game.root.claimant
        table = self.tables[referee.game.address] = Table(referee, self.env.event(), {proposer})
        purse = self.purses[proposer]
        purse.gas_wei += self.gas.create * self.base_fee_wei()
        purse.transactions += 1
        purse.lock(referee.game.root.bond_wei, self.env.now)
        return table

    def base_fee_wei(self, time_s: float | None = None) -> float:
        """The base fee now, or at a time."""
        return self.fees.at_wei(self._fee_start_s + (self.env.now if time_s is None else time_s))

    def cheap_from_s(self, cap_wei: float) -> float | None:
        """The first time from now on at which the base fee is at most `cap_wei`."""
        found = self.fees.first_below_s(self._fee_start_s + self.env.now, cap_wei)
        return None if found is None else found - self._fee_start_s

    def cost_wei(self, referee: Referee, action: Action) -> float:
        """What sending `action` takes now: gas and bond."""
        bond = referee.bond_wei(action.position.depth) if isinstance(action, Move) else 0
        return bond + self._gas_of(action) * self.base_fee_wei()

    def send(
        self,
        sender: Address,
        game: Address,
        action: Action,
        *,
        is_honest: bool,
        priority: int = 0,
        not_before_s: float = 0,
    ) -> Transaction:
        """Puts a transaction into the pool; its `done` tells what became of it."""
        self._order += 1
        transaction = Transaction(sender, game, action, is_honest, priority, self._order, self.env.event())
        self._schedule(transaction, not_before_s)
        for watcher in self.watchers:
            watcher(transaction)
        return transaction

    # --- blocks ---

    def _schedule(self, transaction: Transaction, not_before_s: float = 0) -> None:
        block_s = self.scenario.chain.block_s
        block = int(max(self.env.now, not_before_s) // block_s) + 1
        gas = self._gas_of(transaction.action)
        while block <= self._last_block and not self._takes(block, transaction, gas):
            block += 1
        self._room[block] = self._room.get(block, BLOCK_GAS) - gas
        if block not in self._due:
            self._due[block] = []
            # A block comes after everything else that happens at its time: what is sent by then may be in it.
            self.env.process(self._produce(block))
        self._due[block].append(transaction)

    def _takes(self, block: int, transaction: Transaction, gas: int) -> bool:
        if self._room.get(block, BLOCK_GAS) < gas:
            return False
        if self.scenario.chain.full_share and self.chance.random() < self.scenario.chain.full_share:
            return False
        return not (transaction.is_honest and self._is_bribed(block))

    def _is_bribed(self, block: int) -> bool:
        censorship = self.scenario.censorship
        if not censorship.share or self.briber is None:
            return False
        if block not in self._bribed:
            price_wei = censorship.bribe_eth_per_block * ETHER
            taken = self._budget_left_wei >= price_wei and self._budget_left_wei > 0
            taken = taken and self.chance.random() < censorship.share
            self._bribed[block] = taken
            if taken:
                self._budget_left_wei -= price_wei
                self.briber.bribes_wei += price_wei
                self.bribed_blocks += 1
        return self._bribed[block]

    def _produce(self, block: int) -> Any:
        yield self.env.timeout(block * self.scenario.chain.block_s - self.env.now)
        transactions = self._due.pop(block)
        self._room.pop(block, None)
        touched: dict[Address, None] = {}  # in order: a set's would change from process to process
        for transaction in sorted(transactions, key=lambda each: (-each.priority, each.order)):
            if self._execute(transaction):
                touched[transaction.game] = None
        for address in touched:
            self.notify(address)

    def notify(self, address: Address) -> None:
        """Tells that a game has changed."""
        table = self.tables[address]
        fired, table.changed = table.changed, self.env.event()
        fired.succeed()

    def _execute(self, transaction: Transaction) -> bool:
        table, action = self.tables[transaction.game], transaction.action
        purse = self.purses[transaction.sender]
        now_s = int(self.env.now)
        bond_wei = 0
        if isinstance(action, Move):
            bond_wei = table.referee.bond_wei(action.position.depth)
        if purse.available_wei < bond_wei + self._gas_of(action) * self.base_fee_wei():
            # No block takes what its sender cannot pay for.
            if not transaction.done.triggered:
                transaction.done.succeed(OpmlError("the purse is empty"))
            return False
        refusal: OpmlError | None = None
        try:
            table.referee.apply(transaction.sender, action, now_s)
        except NodeFailed:
            raise  # no refusal: whether the contract accepts the action is not known
        except OpmlError as error:
            refusal = error
        gas = self.gas.refused if refusal is not None else self._gas_of(action)
        known = transaction.sender in table.movers or transaction.sender == table.referee.game.root.claimant
        if refusal is None and not known and isinstance(action, Move):
            gas += self.gas.first_move
            table.movers.add(transaction.sender)
        gas_wei = gas * self.base_fee_wei()
        purse.gas_wei += gas_wei
        purse.transactions += 1
        if refusal is None:
            purse.lock(bond_wei, now_s)
            table.charges[transaction.order] = (gas_wei, bond_wei)
            table.by_entry[id(table.referee.journal[-1])] = transaction
        else:
            purse.refused += 1
        if not transaction.done.triggered:
            transaction.done.succeed(refusal)
        return refusal is None

    def _gas_of(self, action: Action) -> int:
        match action:
            case Move():
                return self.gas.move
            case Step():
                return self.gas.step
            case Settle():
                return self.gas.settle_base + len(action.claim_indices) * self.gas.settle_claim
            case ResolveClaim():
                return self.gas.settle_base
            case ResolveGame():
                return self.gas.settle_base

    # --- reorganisations ---

    def _reorganise(self) -> Any:
        settings = self.scenario.reorgs
        while True:
            yield self.env.timeout(self.chance.expovariate(settings.per_day / 86_400))
            self.reorgs += 1
            cutoff_s = self.env.now - settings.depth_blocks * self.scenario.chain.block_s
            for address, table in self.tables.items():
                journal = table.referee.journal
                if journal and journal[-1].time_s > cutoff_s and table.referee.game.in_progress:
                    self._undo(address, table, cutoff_s)

    def _undo(self, address: Address, table: Table, cutoff_s: float) -> None:
        before = {id(entry): table.by_entry.get(id(entry)) for entry in table.referee.journal}
        kept = [before[id(entry)] for entry in table.referee.journal if entry.time_s <= cutoff_s]
        undone: list[Applied] = table.referee.undo_after(cutoff_s)
        table.by_entry = {
            id(entry): transaction
            for entry, transaction in zip(table.referee.journal, kept, strict=True)
            if transaction is not None
        }
        for entry in undone:
            transaction = before[id(entry)]
            if transaction is None:
                continue
            gas_wei, bond_wei = table.charges.pop(transaction.order)
            purse = self.purses[transaction.sender]
            purse.gas_wei -= gas_wei
            purse.lock(-bond_wei, self.env.now)
            if self.chance.random() >= self.scenario.reorgs.lost_share:
                delay_s = self.chance.uniform(0, self.scenario.reorgs.depth_blocks) * self.scenario.chain.block_s
                self._schedule(transaction, self.env.now + delay_s)
        self.notify(address)
