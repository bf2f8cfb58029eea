"""`opml-dispute resolve`: what the clocks and delays of a game allow, its claims, its end, and its bonds."""

from __future__ import annotations

from collections import Counter
from typing import Final

import click

from opml_dispute.chain.games import parse_address
from opml_dispute.chain.reverts import Reverted
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import GAME, ChainOptions, SendingOptions, chain_options, json_option, sending_options
from opml_dispute.cli.output import Output, duration, ether
from opml_dispute.cli.session import Session
from opml_dispute.errors import OpmlError
from opml_dispute.operator.inference import restoring_intents
from opml_dispute.operator.intents import Intent
from opml_dispute.operator.settle import STATUS_WORDS, read_settlement, recipients, settle_intents, waiting
from opml_dispute.primitives import Address

_OFTEN: Final = 3
"""How often `resolve` sends one transaction: unlocking a credit and withdrawing it are the same call."""


class DueForEver(OpmlError):
    """What was sent is said to be due again and again."""

    hint = "the RPC endpoint contradicts itself: use another --rpc-url"

    def __init__(self, intent: Intent) -> None:
        super().__init__(f"the node says, after {_OFTEN} times, that this has to be sent still: {intent.will}")


@click.command(cls=Command)
@click.argument("game")
@click.option(
    "--for", "payee", metavar="ADDRESS|all", help="The account whose bonds are paid out. Default: the sender."
)
@chain_options
@sending_options
@json_option
def resolve(game: str, payee: str | None, chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Settle what can be settled in GAME: its claims from the bottom up, the game, its bonds.

    Example: opml-dispute resolve 0x5a… --for all --key-file me.key
    """
    address = parse_address(game, GAME)
    named = None if payee in (None, "all") else parse_address(str(payee), "an address to pay out to")
    session = Session.open(chain, sending, output)
    sent = Counter[bytes]()
    refused: dict[bytes, Reverted] = {}
    while True:
        payees = _payees(session, address, named, everyone=payee == "all")
        settlement = read_settlement(session.system, address, payees)
        due = restoring_intents(session.system, [address], payees) + settle_intents(settlement)
        intents = [intent for intent in due if intent.call.data not in refused]
        # A node that names as due what was done just now would name it for ever.
        again = [intent for intent in intents if sent[intent.call.data] == _OFTEN]
        if again:
            raise DueForEver(again[0])
        outcomes = session.send_each(intents)
        for intent, outcome in zip(intents, outcomes, strict=True):
            # An account that takes no ether keeps none from the others.
            if isinstance(outcome, Reverted):
                refused[intent.call.data] = outcome
            elif isinstance(outcome, OpmlError):
                raise outcome
        if not intents or session.dry_run:
            break
        sent.update(intent.call.data for intent in intents)
    left = waiting(settlement)
    state = settlement.game
    if left is None:
        output.say(f"The game is over ({STATUS_WORDS[state.status]}), and nothing is left to settle.")
    elif not session.dry_run and not refused:
        output.say(f"The rest has to wait for {left.what}: {duration(left.seconds)} more.")
    owed_wei = sum(credit.owed_wei for credit in settlement.credits)
    if owed_wei:
        output.say(f"Still to be paid out: {ether(owed_wei)}")
    if settlement.shares.may_come:
        output.say(
            "A part of the fee comes with the delivery of the output: opml-dispute finalize "
            f"0x{state.request_id.hex()}, then resolve again."
        )
    output.fact(
        game=address,
        status=state.status.name,
        waits_for=None if left is None else left.what,
        seconds=0 if left is None else left.seconds,
        owed_wei=owed_wei,
        share_owed_wei=settlement.shares.owed_wei,
        share_may_come=settlement.shares.may_come,
    )
    for error in list(refused.values())[1:]:
        output.say(str(error), style="yellow")
    if refused:
        raise next(iter(refused.values()))


def _payees(session: Session, address: Address, payee: Address | None, *, everyone: bool) -> list[Address]:
    """The accounts that are to be paid out of a game."""
    return recipients(session.system.games.read(address)) if everyone else [payee or session.sender.address]
