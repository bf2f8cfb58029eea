"""`opml-dispute devnet`: a local chain with everything deployed, in the background."""

from __future__ import annotations

import click

from opml_dispute.chain.deploy import deploy
from opml_dispute.chain.rpc import Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.times import Times
from opml_dispute.cli.command_line import Group, Seconds
from opml_dispute.cli.options import json_option
from opml_dispute.cli.output import Output, duration, ether
from opml_dispute.devnet import anvil as net
from opml_dispute.devnet.samples import deploy_samples
from opml_dispute.trace.guest import absolute_prestate

DEVNET_TIMES = Times(
    max_clock_s=3_600,
    extension_s=300,
    challenge_period_s=600,
    finality_delay_s=600,
    withdrawal_delay_s=600,
    reclaim_delay_s=86_400,
)
"""Short times, so that one `devnet warp 2h` ends a game."""


@click.group(cls=Group)
def devnet() -> None:
    """A local chain (Anvil) with everything deployed."""


@devnet.command()
@click.option("--port", type=click.IntRange(1, 65535), default=net.DEFAULT_PORT, show_default=True, help="TCP port.")
@click.option(
    "--block-time",
    type=click.IntRange(1, 86_400),
    metavar="S",
    help="Mine a block every S seconds. Default: one for every transaction.",
)
@json_option
def start(port: int, block_time: int | None, output: Output) -> None:
    """
    Start the chain and deploy everything on it.

    Example: opml-dispute devnet start --port 8545
    """
    output.say(f"Starting a local chain on port {port} …")
    chain = net.start(port=port, block_time_s=block_time)
    try:
        sender = Sender(chain.anvil.rpc, net.account("deployer"))
        deployment = deploy(
            sender,
            chain.deployment_file,
            absolute_prestate=absolute_prestate(),
            times=DEVNET_TIMES,
            tell=lambda name, address: output.say(f"  {name.replace('_', ' '):<16} {address}", style="dim"),
        )
        model_id = deploy_samples(sender, deployment, chain.deployment_file)
        # Games made in the same second as the oracle would not count.
        net.warp(chain.anvil.rpc, 2)
    except BaseException:
        net.stop()
        raise
    output.say(f"Running at {chain.anvil.url} with everything deployed.", style="green")
    output.say(f"The sample model is registered as 0x{model_id.hex()}.")
    output.say("Keys of accounts with money, one for each role:")
    for role in net.ROLES[1:]:
        output.say(f"  {role:<11} --key-file {chain.key_file(role)}")
    output.say(f"Ask for a first answer with: opml-dispute request --sample 7 --key-file {chain.key_file('requester')}")
    output.fact(
        started=True,
        url=chain.anvil.url,
        pid=chain.anvil.pid,
        deployment=str(chain.deployment_file),
        addresses=deployment.addresses,
        model_id=model_id,
        key_files={role: str(chain.key_file(role)) for role in net.ROLES},
    )


@devnet.command()
@json_option
def status(output: Output) -> None:
    """
    Show whether the chain runs, its keys and its addresses.

    Example: opml-dispute devnet status --json
    """
    chain = net.expect_running()
    rpc = Rpc(chain.anvil.url)
    head = rpc.head()
    output.say(f"Running at {chain.anvil.url}, process {chain.anvil.pid}, block {head.number}.")
    accounts = {}
    for role in net.ROLES:
        address = net.account(role).address
        balance_wei = rpc.balance_wei(address)
        accounts[role] = {"address": address, "balance_wei": balance_wei, "key_file": str(chain.key_file(role))}
        output.say(f"  {role:<11} {address}  {ether(balance_wei)}  --key-file {chain.key_file(role)}")
    output.fact(
        url=chain.anvil.url,
        pid=chain.anvil.pid,
        block=head.number,
        timestamp=head.timestamp,
        deployment=str(chain.deployment_file),
        accounts=accounts,
    )


@devnet.command()
@json_option
def stop(output: Output) -> None:
    """
    Stop the chain. All its data is lost.

    Example: opml-dispute devnet stop
    """
    chain = net.stop()
    output.say(f"Stopped the local chain at {chain.anvil.url}.")
    output.fact(stopped=True, url=chain.anvil.url, pid=chain.anvil.pid)


@devnet.command()
@click.argument("span", type=Seconds())
@json_option
def warp(span: int, output: Output) -> None:
    """
    Move the clock of the chain that `devnet start` started forward by SPAN, like 2h.

    Example: opml-dispute devnet warp 2h
    """
    now_s = net.warp(net.expect_running().anvil.rpc, span)
    output.say(f"The chain's clock went {duration(span)} forward.")
    output.fact(warped_s=span, timestamp=now_s)
