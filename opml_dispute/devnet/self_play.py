"""
A whole game whose parties one process plays, for the demo, for tests and for campaigns of random games.

`play_out` lets every seat move in turn until none has a move left; `settle_out` lets the clocks run out on a chain
whose time can be moved, and settles claims, game and bonds, each party for itself. Both only repeat the actions of a
single operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from opml_dispute.actors.player import Round, play_round
from opml_dispute.chain.system import System
from opml_dispute.devnet import anvil as devnet
from opml_dispute.operator.intents import Done, Intent
from opml_dispute.operator.play import Seat
from opml_dispute.operator.settle import Settlement, Waiting, read_settlement, settle_intents, waiting
from opml_dispute.primitives import Address

MOST_FAILURES = 5
"""The most consecutive rounds in which a transaction could not be sent."""

Act = Callable[[str, Intent], Done]
"""Sends an intent for a role."""


def play_out(
    seats: Mapping[str, Seat],
    *,
    after_round: Callable[[str, Round], None] = lambda role, round_: None,
    rounds: int | None = None,
) -> None:
    """
    Let the seats play in turn until no player acts any more, or for `rounds` rounds.

    A transaction that could not be sent is tried again a few times. Raises the errors of playing.
    """
    idle = failures = 0
    while idle < len(seats) and rounds != 0:
        rounds = None if rounds is None else rounds - 1
        for role, seat in seats.items():
            round_ = play_round(seat, seat.table.trace)
            failures = failures + 1 if round_.failed else 0
            if failures > MOST_FAILURES:
                raise round_.failed[0][1]
            idle = 0 if round_.done or round_.failed else idle + 1
            after_round(role, round_)
            if idle >= len(seats):
                break


def settle_out(
    system: System,
    address: Address,
    parties: Mapping[str, Address],
    act: Act,
    *,
    passing: Callable[[Waiting], None] = lambda left: None,
    settled: Callable[[Settlement], None] = lambda settlement: None,
) -> dict[str, int]:
    """
    Warp and settle until every party has its money, and answer what each was paid, in wei.

    Raises `DevnetProblem` on a chain whose clock cannot be moved.
    """
    paid_wei = dict.fromkeys(parties, 0)
    while True:
        waits = []
        for role, payee in parties.items():
            settlement = read_settlement(system, address, [payee])
            while intents := settle_intents(settlement):
                paid_wei[role] += _send(role, intents, act)
                settlement = read_settlement(system, address, [payee])
                settled(settlement)
            if (left := waiting(settlement)) is not None:
                waits.append(left)
        if not waits:
            return paid_wei
        longest = max(waits, key=lambda left: left.seconds)
        passing(longest)
        devnet.warp(system.rpc, longest.seconds)


def _send(role: str, intents: Sequence[Intent], act: Act) -> int:
    """Send these intents and answer the payments that they made, in wei."""
    paid_wei = 0
    for intent in intents:
        done = act(role, intent)
        if intent.kind == "withdraw-credit" and done.receipt is not None:
            paid_wei += int(intent.facts["credit_wei"])
    return paid_wei
