"""
Ending a game: resolving its claims from the bottom up, then the game, then paying its bonds and its defenders' shares.

`settle_intents` makes the transactions that the clocks allow now; it is called again after they were sent, until it
makes none. `waiting` says what the others wait for, and how long: clocks, the finality delay, the withdrawal delay. Any
account may send each of these transactions, and repeating one is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opml_dispute.actors.actions import Resolution, ResolveClaim, Settle
from opml_dispute.actors.honest import resolution_actions
from opml_dispute.chain.amounts import ether
from opml_dispute.chain.answers import Head
from opml_dispute.chain.contracts.dispute import DelayedWETH, FaultDisputeGame, Withdrawal
from opml_dispute.chain.contracts.oracle import ProposerBonds
from opml_dispute.chain.rpc import Call
from opml_dispute.chain.system import System
from opml_dispute.chain.transactions import Receipt
from opml_dispute.errors import OpmlError
from opml_dispute.game.bond import BURN_ADDRESS
from opml_dispute.game.claim import Game, GameStatus
from opml_dispute.game.clock import time_left_s
from opml_dispute.operator.intents import Intent
from opml_dispute.operator.shares import DueShares, read_due_shares, share_intents
from opml_dispute.primitives import Address

STATUS_WORDS = {
    GameStatus.IN_PROGRESS: "in progress",
    GameStatus.CHALLENGER_WINS: "the challenger wins",
    GameStatus.DEFENDER_WINS: "the defender wins",
}

UNDECIDED, REFUND = 0, 2
"""Modes of paying: not closed yet; closed after it was discarded, so that every account gets its own bonds back."""


@dataclass(frozen=True)
class Credit:
    """The amount that a game owes to one address, and the state of its payment."""

    recipient: Address
    owed_wei: int
    is_unlocked: bool
    withdrawal: Withdrawal


@dataclass(frozen=True)
class Settlement:
    """A game and the payment of its bonds, at one block."""

    head: Head
    game: Game
    is_finalized: bool
    mode: int
    """How the game pays; between `UNDECIDED` and `REFUND`, as resolution awarded."""
    credits: tuple[Credit, ...]
    finality_delay_s: int
    withdrawal_delay_s: int
    proposer_bonds: ProposerBonds
    proposer_bond_wei: int
    """What the proposer locked because the request demands it; 0 once it is released."""
    shares: DueShares
    """What the game keeps of a fee for those of the payees that defended its root claim."""

    @property
    def is_closed(self) -> bool:
        """Whether it is decided how the game pays."""
        return self.mode != UNDECIDED


def recipients(game: Game) -> list[Address]:
    """The accounts that a game may pay, in the order of their first claims."""
    found: dict[Address, None] = {}
    for claim in game.claims:
        found[claim.claimant] = None
        if claim.bond_falls_to is not None:
            found[claim.bond_falls_to] = None
            # Burning what is forfeited would cost gas and change nothing; a treasury gets it.
            if game.terms.forfeited_to != BURN_ADDRESS:
                found[game.terms.forfeited_to] = None
    return list(found)


def read_settlement(system: System, address: Address, payees: Iterable[Address]) -> Settlement:
    """Read the game, and what it owes to `payees`, at the latest block."""
    head = system.rpc.head()
    game = system.games.read(address, at=head)
    (settlement,) = read_settlements(system, [game], payees, at=head)
    if isinstance(settlement, OpmlError):
        raise settlement
    return settlement


def read_settlements(
    system: System, games: Sequence[Game], payees: Iterable[Address], *, at: Head
) -> list[Settlement | OpmlError]:
    """What each of these games owes to `payees` at the block in which they were read; why, where it cannot be read."""
    rpc, wanted = system.rpc, list(payees)
    finality_delay_s = rpc.read(system.oracle.finality_delay_s(), at=at)
    vaults = {game.address: DelayedWETH(system.games.constants(game.address).weth) for game in games}
    named = {vault.address: vault for vault in vaults.values()}
    delays = {address: rpc.read(vault.delay_s(), at=at) for address, vault in named.items()}
    answers = rpc.try_each([call for game in games for call in _settlement_calls(system, game, vaults, wanted)], at=at)
    width = 3 + 3 * len(wanted)
    shares = read_due_shares(system, games, wanted, at=at)
    found: list[Settlement | OpmlError] = []
    for index, game in enumerate(games):
        part = answers[index * width : (index + 1) * width]
        error = next((answer for answer in part if isinstance(answer, OpmlError)), None)
        if error is not None:
            found.append(error)
            continue
        mode, is_finalized, proposer_bond_wei, *owed = part
        credits_ = tuple(Credit(payee, *owed[3 * i : 3 * i + 3]) for i, payee in enumerate(wanted))
        delay_s = delays[vaults[game.address].address]
        found.append(
            Settlement(
                *(at, game, is_finalized, mode, credits_, finality_delay_s, delay_s),
                *(system.proposer_bonds, proposer_bond_wei, shares[index]),
            )
        )
    return found


def _settlement_calls(
    system: System, game: Game, vaults: Mapping[Address, DelayedWETH], payees: Sequence[Address]
) -> list[Call[Any]]:
    contract, vault = FaultDisputeGame(game.address), vaults[game.address]
    return [
        contract.bond_distribution_mode(),
        system.oracle.is_finalized(game.address),
        system.proposer_bonds.bond_wei(game.address),
        *(
            call
            for payee in payees
            for call in (
                contract.credit_wei(payee),
                contract.has_unlocked_credit(payee),
                vault.withdrawal(game.address, payee),
            )
        ),
    ]


def settle_intents(settlement: Settlement, *, share_gas_price_wei: int = 0) -> list[Intent]:
    """
    The transactions that are possible now; empty if the rest has to wait, or if all is done.

    A share of a fee that is worth less than the gas of paying it, at `share_gas_price_wei`, is left for later.
    """
    game, now_s = settlement.game, settlement.head.timestamp
    contract = FaultDisputeGame(game.address)
    if game.in_progress:
        return [resolution_intent(contract, action) for action in resolution_actions(game, now_s)]
    if not settlement.is_finalized:
        return []
    intents: list[Intent] = []
    for credit in settlement.credits:
        if credit.owed_wei == 0:
            continue
        if not credit.is_unlocked:
            intents.append(_unlock_intent(contract, credit, settlement.withdrawal_delay_s))
        elif credit.withdrawal.unlocked_at_s + settlement.withdrawal_delay_s <= now_s:
            intents.append(_withdraw_intent(contract, credit))
    intents += _release_intents(settlement)
    intents += share_intents(game, settlement.shares, share_gas_price_wei)
    if not intents and not settlement.is_closed:
        intents.append(
            Intent(
                kind="close",
                call=contract.close(),
                will="Will close the game",
                did=lambda receipt: "Closed: how its bonds are paid out is decided",
                facts={"game": game.address},
            )
        )
    return intents


def _release_intents(settlement: Settlement) -> list[Intent]:
    """
    Pay out what the request demanded of the proposer, if one of the accounts looked after gets it.

    Who gets it is known once the game is closed. An account that gets nothing would pay the gas for another's money.
    """
    game, bond_wei = settlement.game, settlement.proposer_bond_wei
    if bond_wei == 0 or not settlement.is_closed:
        return []
    fell = game.status == GameStatus.CHALLENGER_WINS and settlement.mode != REFUND
    gets_it = {game.root.countered_by, game.terms.forfeited_to} if fell else {game.root.claimant}
    if gets_it.isdisjoint(credit.recipient for credit in settlement.credits):
        return []

    def did(receipt: Receipt) -> str:
        parts = [
            f"{ether(event['amount'])} to {event['recipient']}"
            for event in settlement.proposer_bonds.released(receipt.logs)
        ]
        return f"Paid {' and '.join(parts)}"

    return [
        Intent(
            kind="release-bond",
            call=settlement.proposer_bonds.release(game.address),
            will=f"Will release the bond of {ether(bond_wei)} that the request demanded of its proposer",
            did=did,
            facts={"game": game.address, "bond_wei": bond_wei},
            done_already=frozenset({"NoBond"}),
        )
    ]


def resolution_intent(contract: FaultDisputeGame, action: Resolution) -> Intent:
    """Resolve one claim, several, or the game."""
    if isinstance(action, ResolveClaim):
        index = action.claim_index
        return Intent(
            kind="resolve-claim",
            call=contract.resolve_claim(index),
            will=f"Will resolve claim {index}",
            did=lambda receipt: f"Claim {index} is resolved",
            reason=action.reason,
            facts={"game": contract.address, "claim": index},
            done_already=frozenset({"ClaimAlreadyResolved", "GameNotInProgress"}),
        )
    if isinstance(action, Settle):
        return _settle_intent(contract, action)
    outcome = STATUS_WORDS[action.expected]
    return Intent(
        kind="resolve-game",
        call=contract.resolve(),
        will="Will resolve the game",
        did=lambda receipt: f"The game is over: {outcome}",
        reason=action.reason,
        facts={"game": contract.address, "status": action.expected.name},
        done_already=frozenset({"GameNotInProgress"}),
    )


def _settle_intent(contract: FaultDisputeGame, action: Settle) -> Intent:
    indices = action.claim_indices
    claims = f"claim {indices[0]}" if len(indices) == 1 else f"{len(indices)} claims"

    def did(receipt: Receipt) -> str:
        settled = len(contract.events("ClaimResolved", receipt.logs))
        sentence = "1 claim is resolved" if settled == 1 else f"{settled} claims are resolved"
        for event in contract.events("Resolved", receipt.logs):
            sentence += f", and the game is over: {STATUS_WORDS.get(event['status'], 'unknown')}"
        return sentence

    return Intent(
        kind="settle",
        call=contract.settle(indices),
        will=f"Will resolve {claims}" + ("" if action.expected is None else ", and the game"),
        did=did,
        reason=action.reason,
        facts={
            "game": contract.address,
            "claims": list(indices),
            "status": None if action.expected is None else action.expected.name,
        },
        done_already=frozenset({"GameNotInProgress"}),
    )


def _unlock_intent(contract: FaultDisputeGame, credit: Credit, delay_s: int) -> Intent:
    return Intent(
        kind="unlock-credit",
        call=contract.claim_credit(credit.recipient),
        will=f"Will unlock {ether(credit.owed_wei)} for {credit.recipient}",
        did=lambda receipt: f"Unlocked: it can be withdrawn in {delay_s:,} s",
        facts={"game": contract.address, "recipient": credit.recipient, "credit_wei": credit.owed_wei},
    )


def _withdraw_intent(contract: FaultDisputeGame, credit: Credit) -> Intent:
    return Intent(
        kind="withdraw-credit",
        call=contract.claim_credit(credit.recipient),
        will=f"Will withdraw {ether(credit.owed_wei)} to {credit.recipient}",
        did=lambda receipt: f"Paid {ether(credit.owed_wei)} to {credit.recipient}",
        facts={"game": contract.address, "recipient": credit.recipient, "credit_wei": credit.owed_wei},
        done_already=frozenset({"NoCreditToClaim"}),
    )


@dataclass(frozen=True)
class Waiting:
    """What the next transaction waits for, and how long."""

    what: str
    seconds: int


def waiting(settlement: Settlement) -> Waiting | None:
    """The delay before the next transaction is possible; None if nothing is left to do."""
    game, now_s = settlement.game, settlement.head.timestamp
    if game.in_progress:
        open_claims = [claim for claim in game.claims if not claim.is_resolved]
        left_s = [time_left_s(game, claim.index, now_s) for claim in open_claims]
        return Waiting("the clocks of its claims", max(left_s, default=0))
    if not settlement.is_finalized:
        over_s = game.resolved_at_s + settlement.finality_delay_s + 1  # strictly more than the delay
        return Waiting("the finality delay", max(1, over_s - now_s))
    pending = [
        credit.withdrawal.unlocked_at_s + settlement.withdrawal_delay_s - now_s
        for credit in settlement.credits
        if credit.owed_wei and credit.is_unlocked
    ]
    return Waiting("the withdrawal delay", max(1, *pending)) if pending else None
