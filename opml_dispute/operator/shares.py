"""
The defenders' shares of fees: what a game's request promises, what was kept at its delivery, and what is still owed.

`read_share` reads them of one game, `read_due_shares` what accounts have coming, and `share_intents` pays that. Any
account may send it, for any other, and repeating it is harmless. Source: docs/game.md, "Shares of the defenders".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from opml_dispute.chain.amounts import ether
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.oracle import DefenderShares, RequestRecord
from opml_dispute.chain.system import System
from opml_dispute.chain.transactions import Receipt
from opml_dispute.game.bond import ALL_BPS
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.resolve import forecast
from opml_dispute.game.shares import most_share_wei, rewards_wei, won_wei
from opml_dispute.operator.intents import Intent
from opml_dispute.primitives import Address

SHARE_KIND: Final = "pay-share"
"""The kind of the intents that pay a share."""

CLAIMS_AT_ONCE: Final = 256
"""Claims that one payment counts: at 10,000 gas each, far below the gas limit of a transaction on any chain."""

PAYMENT_GAS, CLAIM_GAS = 92_000, 10_000
"""Gas of paying a share, without and for each claim: measured in contracts/test/dispute/Gas.t.sol, rounded up."""


@dataclass(frozen=True)
class OwedShare:
    """What one account can be paid now, out of one game's share."""

    recipient: Address
    owed_wei: int
    claim_indices: tuple[int, ...]
    """The claims that it countered, at most `CLAIMS_AT_ONCE` of them that are not counted yet."""

    @property
    def gas(self) -> int:
        """What paying it takes, about."""
        return PAYMENT_GAS + CLAIM_GAS * len(self.claim_indices)


@dataclass(frozen=True)
class GameShare:
    """What the defenders of one game got of the fee, and may get."""

    defenders_bps: int
    """What the request says, in ten-thousandths of the fee."""
    share_wei: int
    """What was kept at deliveries by this game."""
    rewards_wei: Mapping[Address, int]
    """The parts of each account in that, paid or not."""
    prospects_wei: Mapping[Address, int]
    """What the accounts had in the end if this game, as it stands, delivered all that is not delivered yet."""
    may_grow: bool
    """Whether that is more than what was kept: an output can still be delivered for a fee."""


NO_SHARE: Final = GameShare(0, 0, {}, {}, may_grow=False)
"""Of a game that keeps nothing for its defenders."""


def proposers_fee_wei(record: RequestRecord) -> int:
    """What the proposer gets of the fee, or of what is left of it, whatever is disputed."""
    return record.fee_wei - record.fee_wei * record.defenders_bps // ALL_BPS


def game_share(game: Game, record: RequestRecord, share_wei: int) -> GameShare:
    """The share of a game, from the request that it is about and from what was kept at its deliveries."""
    outcome = forecast(game)
    if outcome.winner != GameStatus.DEFENDER_WINS or not record.defenders_bps:
        return GameShare(record.defenders_bps, share_wei, {}, {}, may_grow=False)
    won = won_wei(game, outcome.countered_by)
    open_fee_wei = record.fee_wei if record.delivered_by == ZERO_ADDRESS else 0
    promised_wei = share_wei + open_fee_wei * record.defenders_bps // ALL_BPS
    most_wei = min(promised_wei, max(share_wei, most_share_wei(won)))
    return GameShare(
        record.defenders_bps,
        share_wei,
        rewards_wei(won, share_wei) if share_wei else {},
        rewards_wei(won, most_wei) if most_wei else {},
        may_grow=most_wei > share_wei,
    )


def read_share(system: System, game: Game, *, at: Head) -> GameShare:
    """The share of one game, over or not."""
    calls = (system.oracle.request_of(game.request_id), system.defender_shares.share_wei(game.address))
    record, share_wei = system.rpc.read_all(calls, at=at)
    return game_share(game, record, share_wei)


@dataclass(frozen=True)
class DueShares:
    """What is owed to the accounts looked after, of one game's share."""

    contract: DefenderShares
    owed: tuple[OwedShare, ...] = ()
    may_come: bool = False
    """Whether one of them will be owed more if an output is delivered."""

    @property
    def owed_wei(self) -> int:
        """What all of them can be paid now."""
        return sum(one.owed_wei for one in self.owed)


def read_due_shares(system: System, games: Sequence[Game], payees: Iterable[Address], *, at: Head) -> list[DueShares]:
    """
    What is owed to `payees` in each of these games at the block in which they were read.

    Only a game whose root claim stands, and in which a payee countered a claim, is asked about.
    """
    wanted = frozenset(payees)
    contract, rpc = system.defender_shares, system.rpc
    asked = [game for game in games if wanted & _defenders(game).keys()]
    records = rpc.read_each([system.oracle.request_of(game.request_id) for game in asked], at=at)
    kept = rpc.read_each([contract.share_wei(game.address) for game in asked], at=at)
    shares = {
        game.address: game_share(game, record, share_wei)
        for game, record, share_wei in zip(asked, records, kept, strict=True)
    }
    claims = [
        (game.address, payee, indices[first : first + CLAIMS_AT_ONCE])
        for game in asked
        if shares[game.address].share_wei
        for payee, indices in _defenders(game).items()
        if payee in wanted
        for first in range(0, len(indices), CLAIMS_AT_ONCE)
    ]
    # What a payment would pay is the contract's own answer: it knows which claims were counted before.
    amounts = rpc.read_each([contract.pay(*claim) for claim in claims], at=at)
    owed: dict[Address, list[OwedShare]] = {}
    for (game_address, payee, indices), amount_wei in zip(claims, amounts, strict=True):
        if amount_wei:
            owed.setdefault(game_address, []).append(OwedShare(payee, amount_wei, tuple(indices)))
    found = []
    for game in games:
        share = shares.get(game.address, NO_SHARE)
        may_come = share.may_grow and not wanted.isdisjoint(share.prospects_wei)
        found.append(DueShares(contract, tuple(owed.get(game.address, ())), may_come))
    return found


def _defenders(game: Game) -> dict[Address, list[int]]:
    """Of a game whose root claim stands, which claims each account countered; empty for other games."""
    found: dict[Address, list[int]] = {}
    if game.status == GameStatus.DEFENDER_WINS and game.terms.forfeited_bps:
        for claim in game.claims:
            if claim.bond_falls_to is not None:
                found.setdefault(claim.bond_falls_to, []).append(claim.index)
    return found


def share_intents(game: Game, due: DueShares, gas_price_wei: int) -> list[Intent]:
    """The payments that are owed now, but for those that are worth less than their gas at this price."""
    return [_share_intent(game, due.contract, owed) for owed in due.owed if owed.owed_wei > owed.gas * gas_price_wei]


def _share_intent(game: Game, contract: DefenderShares, owed: OwedShare) -> Intent:
    def did(receipt: Receipt) -> str:
        paid_wei = sum(event["amount"] for event in contract.paid(receipt.logs))
        return f"Paid {ether(paid_wei)} to {owed.recipient}"

    return Intent(
        kind=SHARE_KIND,
        call=contract.pay(game.address, owed.recipient, owed.claim_indices),
        will=f"Will pay {ether(owed.owed_wei)} of the fee to {owed.recipient}, which defended the answer",
        did=did,
        facts={"game": game.address, "recipient": owed.recipient, "share_wei": owed.owed_wei},
    )
