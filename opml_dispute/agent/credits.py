"""
What games that are over still owe, and whether it is what their claims say.

A game keeps a credit for each account, and the vault a withdrawal of what was unlocked. `CreditAudit.look` reads both
for the games whose payments are not over, and computes beside them what the claims award. What is paid out is looked at
seldom: a node may have erred about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from opml_dispute.agent.open_requests import RoundRobin
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.dispute import DelayedWETH, FaultDisputeGame, Withdrawal
from opml_dispute.chain.rpc import Call
from opml_dispute.chain.system import System
from opml_dispute.errors import OpmlError
from opml_dispute.game.claim import Game
from opml_dispute.game.resolve import forecast
from opml_dispute.operator.settle import REFUND, recipients
from opml_dispute.primitives import Address

GAMES_A_LOOK: Final = 200
PAID_A_LOOK: Final = 16


@dataclass(frozen=True, slots=True)
class OwedCredit:
    """What one game still owes to one account, in wei."""

    game: Address
    vault: Address
    recipient: Address
    owed_wei: int
    """By the game."""
    expected_wei: int
    """By its claims."""
    withdrawal: Withdrawal | None
    """What was unlocked in the vault, once it was."""
    delay_s: int
    """Of the vault."""

    @property
    def comparison(self) -> str:
        """op-dispute-mon's word for it: `below`, `expected` or `above`."""
        if self.owed_wei == self.expected_wei:
            return "expected"
        return "below" if self.owed_wei < self.expected_wei else "above"

    def is_withdrawable(self, now_s: int) -> bool:
        """Whether the vault pays it out now."""
        return self.withdrawal is not None and now_s >= self.withdrawal.unlocked_at_s + self.delay_s

    @property
    def unlocked_wei(self) -> int:
        """In the vault."""
        return 0 if self.withdrawal is None else self.withdrawal.amount_wei

    @property
    def matches(self) -> bool:
        """Whether the vault will pay what the game owes."""
        return self.withdrawal is None or self.withdrawal.amount_wei == self.owed_wei


class CreditAudit:
    """Of one deployment."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._rotation, self._again = RoundRobin(), RoundRobin()
        self._found: dict[Address, list[OwedCredit]] = {}
        """By games; empty where all is paid out."""

    def look(self, finished: Sequence[Game], head: Head) -> list[OwedCredit]:
        """
        What the games owe, as last seen: some of them are read anew in each look.

        A game that cannot be read keeps what was seen. Raises an `RpcError` if the node gives no answers at all.
        """
        by_address = {game.address: game for game in finished}
        self._found = {address: owed for address, owed in self._found.items() if address in by_address}
        unpaid = [game for game in finished if self._found.get(game.address) != []]
        paid = [game for game in finished if self._found.get(game.address) == []]
        taken = [*self._rotation.take(unpaid, GAMES_A_LOOK), *self._again.take(paid, PAID_A_LOOK)]
        for game, owed in zip(taken, self._read(taken, head), strict=True):
            if owed is not None:
                self._found[game.address] = owed
        return [credit for owed in self._found.values() for credit in owed]

    def forget(self) -> None:
        """After a reorganisation: a payment may have been undone."""
        self._found.clear()

    def _read(self, games: Sequence[Game], head: Head) -> list[list[OwedCredit] | None]:
        rpc = self._system.rpc
        payees = {game.address: recipients(game) for game in games}
        vaults = {game.address: DelayedWETH(self._system.games.constants(game.address).weth) for game in games}
        delays = {vault.address: rpc.read(vault.delay_s(), at=head) for vault in vaults.values()}
        calls = [call for game in games for call in _calls(game.address, vaults[game.address], payees[game.address])]
        answers = iter(rpc.try_each(calls, at=head))
        found: list[list[OwedCredit] | None] = []
        for game in games:
            part = [next(answers) for _ in range(1 + 3 * len(payees[game.address]))]
            if any(isinstance(answer, OpmlError) for answer in part):
                found.append(None)
                continue
            vault = vaults[game.address].address
            found.append(_owed(game, vault, payees[game.address], part, delays[vault]))
        return found


def _calls(game: Address, vault: DelayedWETH, payees: Sequence[Address]) -> list[Call[Any]]:
    contract = FaultDisputeGame(game)
    calls: list[Call[Any]] = [contract.bond_distribution_mode()]
    for payee in payees:
        calls += [contract.credit_wei(payee), contract.has_unlocked_credit(payee), vault.withdrawal(game, payee)]
    return calls


def _owed(
    game: Game, vault: Address, payees: Sequence[Address], answers: Sequence[Any], delay_s: int
) -> list[OwedCredit]:
    mode, *parts = answers
    if mode == REFUND:
        awards = {payee: sum(claim.bond_wei for claim in game.claims if claim.claimant == payee) for payee in payees}
    else:
        awards = dict(forecast(game).payouts_wei)
    found = []
    for number, payee in enumerate(payees):
        owed_wei, is_unlocked, withdrawal = parts[3 * number : 3 * number + 3]
        is_paid = is_unlocked and not owed_wei and not withdrawal.amount_wei
        if is_paid or not (owed_wei or awards.get(payee, 0)):
            continue
        unlocked = withdrawal if is_unlocked else None
        found.append(OwedCredit(game.address, vault, payee, owed_wei, awards.get(payee, 0), unlocked, delay_s))
    return found
