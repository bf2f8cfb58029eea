"""`opml-dispute deploy`: deploy the whole system on any chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from opml_dispute.chain.amounts import about_ether
from opml_dispute.chain.bonds import SCHEDULES
from opml_dispute.chain.deploy import deploy as deploy_all
from opml_dispute.chain.deploy import rehearse
from opml_dispute.chain.games import parse_address
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.times import Times
from opml_dispute.chain.transactions import Receipt
from opml_dispute.cli.command_line import Command, Number, Seconds
from opml_dispute.cli.options import ChainOptions, FileName, SendingOptions, json_option, sending_options
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import (
    Declined,
    introduce,
    load_account,
    open_rpc,
    open_sender,
    tell_confirmed,
    wait_for_blocks,
)
from opml_dispute.devnet.samples import deploy_samples
from opml_dispute.home import expect_writable
from opml_dispute.trace.guest import absolute_prestate

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULT = Times()


def _time(name: str, default_s: int, help_: str) -> Callable[[F], F]:
    return click.option(name, type=Seconds(), default=default_s, show_default=f"{default_s} s", help=help_)


@click.command(cls=Command)
@click.option("--rpc-url", envvar="OPML_RPC_URL", show_envvar=True, metavar="URL", help="The Ethereum node.")
@click.option(
    "--deployment",
    envvar="OPML_DEPLOYMENT",
    show_envvar=True,
    type=FileName(),
    metavar="FILE",
    default=Path("deployment.json"),
    show_default=True,
    help="The file for the addresses; an unfinished deployment in it is finished.",
)
@_time("--max-clock", _DEFAULT.max_clock_s, "Each side's time in a game.")
@_time("--clock-extension", _DEFAULT.extension_s, "The least time left to answer an answer.")
@_time("--challenge-period", _DEFAULT.challenge_period_s, "How long a large pre-image lies open.")
@_time("--finality-delay", _DEFAULT.finality_delay_s, "Between a game's resolution and its finality.")
@_time("--withdrawal-delay", _DEFAULT.withdrawal_delay_s, "Between unlocking a bond and withdrawing it.")
@_time(
    "--reclaim-delay", _DEFAULT.reclaim_delay_s, "After which the fee of a request without output can be taken back."
)
@_time("--pause", _DEFAULT.pause_s, "After which a pause by the guardian ends by itself.")
@_time("--timelock-delay", _DEFAULT.timelock_delay_s, "Between what the owner schedules and what happens.")
@click.option(
    "--bonds",
    type=click.Choice(sorted(SCHEDULES)),
    default="ml",
    show_default=True,
    help="The bonds of claims: from measured gas at an assumed price, or the OP Stack's schedule.",
)
@click.option(
    "--forfeit",
    type=Number(0, 50),
    metavar="PERCENT",
    help="Part of each lost bond that the winner does not get. Default: the schedule's, 20 or 0.",
)
@click.option("--treasury", metavar="ADDRESS", help="The account that gets that part. Default: it is burnt.")
@click.option("--owner", metavar="ADDRESS", help="The account that proposes to the timelock. Default: the sender.")
@click.option(
    "--guardian", metavar="ADDRESS", help="The account that can pause and discard games. Default: the sender."
)
@click.option("--examples", is_flag=True, help="Also register the sample model and deploy its consumer.")
@sending_options
@json_option
def deploy(
    rpc_url: str | None,
    deployment: Path,
    max_clock: int,
    clock_extension: int,
    challenge_period: int,
    finality_delay: int,
    withdrawal_delay: int,
    reclaim_delay: int,
    pause: int,
    timelock_delay: int,
    bonds: str,
    forfeit: float | None,
    treasury: str | None,
    owner: str | None,
    guardian: str | None,
    examples: bool,
    sending: SendingOptions,
    output: Output,
) -> None:
    """
    Deploy the whole system. A timelock, to which the owner proposes, owns it; a guardian can pause it at once.

    Example: opml-dispute deploy --rpc-url URL --keystore owner.json --deployment sepolia.json
    """
    times = Times(
        max_clock_s=max_clock,
        extension_s=clock_extension,
        challenge_period_s=challenge_period,
        finality_delay_s=finality_delay,
        withdrawal_delay_s=withdrawal_delay,
        reclaim_delay_s=reclaim_delay,
        pause_s=pause,
        timelock_delay_s=timelock_delay,
    )
    times.expect_playable()  # before a node is asked for anything
    schedule = SCHEDULES[bonds].with_forfeit(
        None if forfeit is None else round(100 * forfeit),
        parse_address(treasury, "the address of a treasury") if treasury else None,
    )
    expect_writable(deployment)
    account = load_account(sending.key)
    rpc = open_rpc(ChainOptions(rpc_url, None))
    chain_id = rpc.chain_id()
    sent: list[Receipt] = []
    sender = open_sender(rpc, account, sending, output, chain_id, on_sent=sent.append)
    introduce(sender, output)
    prestate = absolute_prestate()
    owner_address = parse_address(owner, "the owner's address") if owner else None
    guardian_address = parse_address(guardian, "the guardian's address") if guardian else None
    quotes = rehearse(
        sender,
        deployment,
        absolute_prestate=prestate,
        times=times,
        bonds=schedule,
        owner=owner_address,
        guardian=guardian_address,
    )
    most_wei = sum(quote.most_wei for quote in quotes.values())
    output.say(
        f"Will deploy {len(quotes)} contracts on chain {chain_id} from {sender.address}, for at most "
        f"{about_ether(most_wei)} of gas.",
        style="cyan",
    )
    if sending.dry_run:
        output.fact(would="deploy", chain_id=chain_id, contracts=list(quotes), gas_most_wei=most_wei)
        return
    _confirm(f"Spend up to {about_ether(most_wei)} of {sender.address}?", sending, output)
    output.keep_going()
    made = deploy_all(
        sender,
        deployment,
        absolute_prestate=prestate,
        times=times,
        bonds=schedule,
        owner=owner_address,
        guardian=guardian_address,
        tell=lambda name, address: output.say(f"  {name.replace('_', ' '):<16} {address}"),
    )
    if examples:
        deploy_samples(sender, made, deployment)
    _confirmed(sender, sent, sending.confirmations, output)
    output.say(f"Deployed; use it with --deployment {deployment}", style="green")
    output.fact(did="deploy", chain_id=chain_id, addresses=made.addresses, deployment=str(deployment))


def _confirmed(sender: Sender, sent: Sequence[Receipt], blocks: int, output: Output) -> None:
    """Waits until so many blocks hold all that was sent. Raises `NotConfirmed` and `TakenBack`."""
    if blocks > 1 and sent:
        # Where a contract is follows from its nonce: what comes into another block has the same address there.
        wait_for_blocks(sender, sent, blocks, output)
        tell_confirmed(blocks, output)


def _confirm(question: str, sending: SendingOptions, output: Output) -> None:
    """Ask before money is spent, if standard input is a terminal. Raises `Declined`."""
    if output.is_interactive and not sending.yes and not click.confirm(question, err=True):
        raise Declined("nothing was sent", hint="give --yes to send without being asked")
