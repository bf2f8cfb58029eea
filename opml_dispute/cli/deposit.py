"""`opml-dispute deposit`: what an account deposited for bonds that requests demand, and taking it back."""

from __future__ import annotations

import click

from opml_dispute.chain.amounts import ether
from opml_dispute.cli.command_line import Command
from opml_dispute.cli.options import ChainOptions, SendingOptions, chain_options, json_option, sending_options
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import Session
from opml_dispute.operator.deposits import believe_node, withdrawal_intent


@click.command(cls=Command)
@click.option("--withdraw", is_flag=True, help="Take back what is not locked in a game.")
@click.option(
    "--as-told",
    is_flag=True,
    help="Believe the node, though more was deposited from this computer: then the next proposal deposits again.",
)
@chain_options
@sending_options
@json_option
def deposit(withdraw: bool, as_told: bool, chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Show the account's deposit for bonds that requests demand of their proposers.

    `propose` makes the deposit that it needs, and making the game locks it. What is left here was not locked: the next
    proposal uses it, or it is taken back.

    A node that hides a deposit is held against what this computer signed, and nothing is deposited again until another
    node was asked, or --as-told was given.

    Example: opml-dispute deposit --withdraw --key-file me.key
    """
    session = Session.open(chain, sending, output)
    system, account = session.system, session.sender.address
    deposit_wei = system.rpc.read(system.proposer_bonds.deposit_wei(account))
    output.say(f"{account} has {ether(deposit_wei)} deposited that no game has locked.")
    output.fact(account=account, deposit_wei=deposit_wei)
    if as_told and not session.dry_run:
        believe_node(system, account)
        output.say("This is believed from now on, whatever was deposited from this computer before.")
    if withdraw and deposit_wei:
        session.send_all([withdrawal_intent(system, deposit_wei)])
