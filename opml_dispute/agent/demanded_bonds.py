"""
The bonds that requests demand of their proposers: what is locked for each game, and whether the money is there.

`DemandedBondAudit.look` reads what is locked for the games of requests that demand a bond, and what their proposers
have deposited besides. Both together are the least that the contract has to hold: deposits of accounts that proposed
nothing are not known. A game in progress must have locked what its request demands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from opml_dispute.agent.open_requests import RoundRobin
from opml_dispute.chain.answers import Head
from opml_dispute.chain.system import System
from opml_dispute.game.claim import Game
from opml_dispute.primitives import Address, RequestId

GAMES_A_LOOK: Final = 200
AGAIN_A_LOOK: Final = 16
"""Of what does not change, and is read again all the same: a node may have erred about it."""
_READS: Final = 3
"""How often the amounts are read again if the contract seems to hold too little: they change while they are read."""


@dataclass(frozen=True, slots=True)
class DemandedBonds:
    """Of one deployment, in wei."""

    contract: Address
    locked_wei: int
    """For games in progress."""
    unreleased_wei: int
    """For games that are over, and have not paid it out yet."""
    deposits_wei: int
    """Of proposers of these games, not locked."""
    available_wei: int
    """What the contract holds."""
    missing: tuple[tuple[Address, int, int], ...]
    """Games in progress with less than their requests demand: what is locked, and what is demanded."""

    @property
    def required_wei(self) -> int:
        """The least that the contract has to hold."""
        return self.locked_wei + self.unreleased_wei + self.deposits_wei


class DemandedBondAudit:
    """Of one deployment."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._rotation, self._again, self._paid_again = RoundRobin(), RoundRobin(), RoundRobin()
        self._demanded: dict[RequestId, int] = {}
        """What each request demands, as last read."""
        self._locked: dict[Address, int] = {}
        """By games, as last read."""

    def forget(self) -> None:
        """After a reorganisation: a release may have been undone."""
        self._locked.clear()

    def look(self, running: Sequence[Game], finished: Sequence[Game], head: Head) -> DemandedBonds:
        """
        What is locked, as last seen: new games are read, and some of the others anew in each look.

        Raises an `RpcError` if the node gives no answers.
        """
        games = self._with_demand([*running, *finished], head)
        known = {game.address for game in games}
        self._locked = {address: wei for address, wei in self._locked.items() if address in known}
        changing = [game.address for game in games if self._locked.get(game.address) != 0 or game.in_progress]
        due = dict.fromkeys(address for address in changing if address not in self._locked)
        paid = self._paid_again.take([one.address for one in games if one.address not in set(changing)], AGAIN_A_LOOK)
        again = self._rotation.take([one for one in changing if one not in due], GAMES_A_LOOK)
        self._read([*due, *again, *paid], head)
        found = self._sum(games)
        for _ in range(_READS):
            if found.available_wei >= found.required_wei and not found.missing:
                break
            head = self._system.rpc.head()
            self._read(changing, head)
            found = self._sum(games)
        return found

    def _with_demand(self, games: Sequence[Game], head: Head) -> list[Game]:
        asked = list(dict.fromkeys(game.request_id for game in games))
        again = self._again.take([id_ for id_ in asked if id_ in self._demanded], AGAIN_A_LOOK)
        due = [*(id_ for id_ in asked if id_ not in self._demanded), *again]
        rpc, oracle = self._system.rpc, self._system.oracle
        records = rpc.read_each([oracle.request_of(request_id) for request_id in due], at=head)
        self._demanded |= {id_: record.min_bond_wei for id_, record in zip(due, records, strict=True)}
        return [game for game in games if self._demand(game)]

    def _demand(self, game: Game) -> int:
        return self._demanded[game.request_id]

    def _read(self, games: Sequence[Address], head: Head) -> None:
        rpc, contract = self._system.rpc, self._system.proposer_bonds
        amounts = rpc.read_each([contract.bond_wei(game) for game in games], at=head)
        self._locked |= dict(zip(games, amounts, strict=True))

    def _sum(self, games: Sequence[Game]) -> DemandedBonds:
        rpc, contract = self._system.rpc, self._system.proposer_bonds
        less = [game for game in games if game.in_progress and self._locked[game.address] < self._demand(game)]
        # A game of a type that does not count locks nothing, and delivers nothing.
        counts = rpc.read_each([self._system.oracle.is_respected(game.address) for game in less])
        proposers = dict.fromkeys(game.root.claimant for game in games)
        deposits = rpc.read_each([contract.deposit_wei(proposer) for proposer in proposers])
        return DemandedBonds(
            contract=contract.address,
            locked_wei=self._total(game for game in games if game.in_progress),
            unreleased_wei=self._total(game for game in games if not game.in_progress),
            deposits_wei=sum(deposits),
            available_wei=rpc.balance_wei(contract.address) if games else 0,
            missing=tuple(
                (game.address, self._locked[game.address], self._demand(game))
                for game, is_counted in zip(less, counts, strict=True)
                if is_counted
            ),
        )

    def _total(self, games: Iterable[Game]) -> int:
        return sum(self._locked[game.address] for game in games)
