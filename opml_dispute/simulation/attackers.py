"""
Attackers: accounts that play against the truth, alone or together.

* `Liar`: the honest actor over a faulty trace. As proposer it made the root claim; as challenger it attacks a right
  one. It may answer as late as its clock allows (`stalls`), wait, or give up after some moves.
* `Sybil`: many different wrong answers to claims of the honest side, so many a block, each of which must be answered.
* `Freeloader`: wrong answers beside the honest answers, to claims that the honest side attacks: it hopes for their
  bonds.
* `RandomAttacker`: random legal moves.

`front_runs` makes any of them copy honest moves from the pool and send them first, for the bond of the claim that they
answer. Only their budgets limit them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Protocol

from opml_dispute.actors.actions import Move, Step
from opml_dispute.actors.honest import consider, resolution_actions
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Claim, Game
from opml_dispute.game.clock import time_left_s
from opml_dispute.game.rules import allowed_vm_statuses, check_move
from opml_dispute.primitives import Address, Hash32
from opml_dispute.simulation.chain import PRIORITY_FRONT_RUN, Chain, Transaction
from opml_dispute.simulation.scenario import AttackerSection
from opml_dispute.simulation.symbolic import Trace

SETTLE_LATE_S = 6 * 3_600
"""How long attackers leave settling to the honest side, in seconds."""


class Attacker(Protocol):
    """One dishonest account in one game."""

    def play(self) -> Any:
        """A process: until the game is over or the attacker gives up."""
        ...


class _InGame:
    """The common parts of attackers."""

    def __init__(
        self, chain: Chain, game: Address, account: Address, settings: AttackerSection, chance: random.Random
    ) -> None:
        self.chain, self.env, self.address, self.account = chain, chain.env, game, account
        self.settings, self.chance = settings, chance
        self.moves_left = settings.gives_up_after

    @property
    def game(self) -> Game:
        return self.chain.tables[self.address].referee.game

    def send(self, action: Move | Step, *, priority: int = 0) -> Transaction | None:
        """Send an action, if its funds and its plan allow it."""
        table = self.chain.tables[self.address]
        cost_wei = self.chain.cost_wei(table.referee, action)
        if self.moves_left <= 0 or self.chain.purses[self.account].available_wei < cost_wei:
            return None
        self.moves_left -= 1
        return self.chain.send(self.account, self.address, action, is_honest=False, priority=priority)

    def move(self, claim: Claim, value: bytes, *, is_attack: bool) -> Move | None:
        """A move against `claim`, if it would be legal now."""
        try:
            position = check_move(self.game, claim.index, value, is_attack=is_attack, now_s=int(self.env.now))
        except OpmlError:
            return None
        return Move(claim.index, claim.value, is_attack, Hash32(value), position, 0, "against the truth")

    def made_up(self, claim: Claim, *, is_attack: bool) -> bytes:
        """A value that belongs to no trace, with a status byte that an answer to `claim` may carry."""
        value = bytearray(self.chance.randbytes(32))
        if claim.position.depth == self.game.depths.split:
            value[0] = min(allowed_vm_statuses(self.game, claim, is_attack=is_attack))
        elif claim.position.depth > self.game.depths.split:
            value[0] = 3
        return bytes(value)

    def pause(self) -> Any:
        """Until the next block."""
        return self.env.timeout(self.chain.scenario.chain.block_s)


class Liar(_InGame):
    """The honest actor over a faulty trace."""

    def __init__(
        self,
        chain: Chain,
        game: Address,
        account: Address,
        settings: AttackerSection,
        chance: random.Random,
        trace: Trace,
    ) -> None:
        super().__init__(chain, game, account, settings, chance)
        self.trace = trace

    def play(self) -> Any:
        table = self.chain.tables[self.address]
        answered: set[tuple[int, bytes]] = set()
        while self.game.in_progress and self.moves_left > 0:
            changed = table.changed
            plan = consider(self.game, self.trace, int(self.env.now))
            sent = False
            for action in plan.actions:
                index = action.parent_index if isinstance(action, Move) else action.claim_index
                value = bytes(action.value) if isinstance(action, Move) else b"step"
                if (index, value) in answered:
                    continue
                left_s = time_left_s(self.game, index, int(self.env.now))
                wait_s = self.settings.delay_h * 3_600
                if self.settings.stalls:
                    wait_s = max(wait_s, left_s - 3 * self.chain.scenario.chain.block_s)
                answered.add((index, value))
                if wait_s > 0:
                    self.env.process(self._later(action, wait_s))
                elif self.send(action) is None:
                    return
                sent = True
            if not sent or plan.actions:
                yield self.env.any_of([changed, self.env.timeout(86_400)])
            else:
                yield changed

    def _later(self, action: Move | Step, wait_s: float) -> Any:
        yield self.env.timeout(wait_s)
        if self.game.in_progress:
            self.send(action)


class Sybil(_InGame):
    """Many wrong answers to claims of the honest side."""

    def __init__(
        self,
        chain: Chain,
        game: Address,
        account: Address,
        settings: AttackerSection,
        chance: random.Random,
        honest_accounts: frozenset[Address],
    ) -> None:
        super().__init__(chain, game, account, settings, chance)
        self.honest_accounts = honest_accounts

    def play(self) -> Any:
        made = 0
        while self.game.in_progress and made < self.settings.claims and self.moves_left > 0:
            targets = [claim for claim in self._targets() if time_left_s(self.game, claim.index, int(self.env.now))]
            if not targets:
                yield self.env.any_of([self.chain.tables[self.address].changed, self.env.timeout(86_400)])
                continue
            for _ in range(min(self.settings.per_block, self.settings.claims - made)):
                claim = self.chance.choice(targets)
                action = self.move(claim, self.made_up(claim, is_attack=True), is_attack=True)
                if action is None or self.send(action) is None:
                    return
                made += 1
            yield self.pause()

    def _targets(self) -> list[Claim]:
        """The honest claim nearest to the root: each answer to it must be answered, most cheaply there."""
        game = self.game
        return [c for c in game.claims if c.claimant in self.honest_accounts and c.position.depth < game.depths.max][:1]


class Freeloader(Sybil):
    """Wrong answers beside the honest ones."""

    def _targets(self) -> list[Claim]:
        game = self.game
        return [
            claim
            for claim in game.claims
            if claim.claimant not in self.honest_accounts
            and claim.claimant != self.account
            and claim.position.depth < game.depths.max
            and game.replies(claim.index)
        ]


class RandomAttacker(_InGame):
    """Random legal moves against any claim."""

    def play(self) -> Any:
        made = 0
        while self.game.in_progress and made < self.settings.claims and self.moves_left > 0:
            for _ in range(min(self.settings.per_block, self.settings.claims - made)):
                action = next(self._some_move(), None)
                if action is None or self.send(action) is None:
                    return
                made += 1
            yield self.env.any_of([self.chain.tables[self.address].changed, self.env.timeout(3_600)])
            yield self.pause()

    def _some_move(self) -> Iterator[Move]:
        claims = list(self.game.claims)
        for claim in self.chance.sample(claims, min(len(claims), 40)):
            is_attack = self.chance.random() < 0.5
            if claim.position.is_root:
                is_attack = True
            if not is_attack and claim.position.depth == self.game.depths.execution_root:
                continue
            if claim.position.depth >= self.game.depths.max or (not is_attack and claim.position.is_rightmost):
                continue
            action = self.move(claim, self.made_up(claim, is_attack=is_attack), is_attack=is_attack)
            if action is not None:
                yield action


def settle_late(chain: Chain, game: Address, account: Address) -> Any:
    """
    A process: attackers settle what could have been settled for hours, as they would where they win.

    Without it a game whose honest side has no gas left would never end.
    """
    table = chain.tables[game]
    yield chain.env.timeout(table.referee.game.clocks.max_clock_s)
    ripe: list[object] = []
    while table.referee.game.in_progress:
        actions = resolution_actions(table.referee.game, int(chain.env.now))
        if actions and actions == ripe:
            for action in actions:
                chain.send(account, game, action, is_honest=False)
        ripe = list(actions)
        yield chain.env.timeout(SETTLE_LATE_S)


def front_run(chain: Chain, account: Address, settings: AttackerSection, chance: random.Random) -> None:
    """Makes `account` copy honest moves from the pool and send them first."""

    def copy(transaction: Transaction) -> None:
        if not transaction.is_honest or not isinstance(transaction.action, Move):
            return
        if chance.random() >= settings.front_runs:
            return
        cost_wei = chain.cost_wei(chain.tables[transaction.game].referee, transaction.action)
        if chain.purses[account].available_wei >= cost_wei:
            chain.send(account, transaction.game, transaction.action, is_honest=False, priority=PRIORITY_FRONT_RUN)

    chain.watchers.append(copy)
