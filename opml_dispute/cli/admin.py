"""`opml-dispute admin …`: the actions of a deployment's guardian and owner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from opml_dispute.chain.amounts import BadAmount, duration, ether, parse_wei
from opml_dispute.chain.contracts.contract import ZERO_ADDRESS
from opml_dispute.chain.contracts.governance import ALL_WEI, OperationState
from opml_dispute.chain.games import BadAddress, parse_address
from opml_dispute.chain.times import utc
from opml_dispute.cli.command_line import Group
from opml_dispute.cli.options import (
    GAME,
    ChainOptions,
    FileName,
    SendingOptions,
    chain_options,
    json_option,
    sending_options,
)
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import Session, open_system
from opml_dispute.operator import governance
from opml_dispute.operator.governance import Wish
from opml_dispute.operator.intents import Intent
from opml_dispute.primitives import Address

_cancel_option = click.option(
    "--cancel", "is_cancelled", is_flag=True, help="Cancel the call that is scheduled at the timelock."
)


@click.group(cls=Group)
def admin() -> None:
    """
    Act as guardian, at once, or as owner, through the timelock.

    An owner's command schedules its call the first time it is run; run again, it says how long the delay still lasts,
    and executes the call once the delay is over.
    """


@admin.command()
@click.option(
    "--write",
    "file",
    type=FileName(),
    metavar="FILE",
    help="Write the deployment's file as it is now, with the guardian and the root bond of the chain.",
)
@chain_options
@json_option
def status(file: Path | None, chain: ChainOptions, output: Output) -> None:
    """
    Show the guardian, the owner, and what is paused or retired.

    Example: opml-dispute admin status --deployment deployment.json
    """
    system = open_system(chain)
    standing = governance.read_governance(system)
    now = standing.named_in(system.deployment)
    pause = "nothing is paused"
    if standing.is_paused:
        pause = f"paused until {utc(standing.paused_until_s)}"
    if standing.pause_possible_at_s:
        pause += f"; the next pause can begin at {utc(standing.pause_possible_at_s)}"
    timelock = system.deployment.addresses["timelock"]
    rows = [
        ("guardian", standing.guardian),
        ("owner", f"{standing.owner}{' (the timelock)' if standing.owner == timelock else ''}"),
        ("timelock delay", duration(standing.timelock_delay_s)),
        ("proposes to it", f"{system.deployment.owner} (as the deployment says)"),
        ("pause", pause),
        ("games count that", f"are of type {standing.respected_type} and younger than {utc(standing.retired_until_s)}"),
        ("root bond", ether(standing.root_bond_wei)),
    ]
    output.table(("", ""), rows)
    output.fact(
        guardian=standing.guardian,
        owner=standing.owner,
        timelock=timelock,
        timelock_delay_s=standing.timelock_delay_s,
        paused=standing.is_paused,
        paused_until=standing.paused_until_s,
        pause_possible_at=standing.pause_possible_at_s,
        retired_until=standing.retired_until_s,
        respected_type=standing.respected_type,
        root_bond_wei=standing.root_bond_wei,
    )
    if file is not None:
        now.save(file)
        output.say(f"Wrote {file}, the deployment as it is now.", style="green")
        output.fact(deployment=str(file))
    elif now != system.deployment:
        output.say(f"The deployment's file says otherwise. {_NEW_FILE}", style="yellow")


_NEW_FILE = "Write a file of now, for all who use it, with: opml-dispute admin status --write FILE"


# ---------------------------------------------------------------- guardian


@admin.command()
@chain_options
@sending_options
@json_option
def pause(chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Guardian: stop deliveries, closing of games and withdrawals for a while.

    Example: opml-dispute admin pause --keystore guardian.json
    """
    session = Session.open(chain, sending, output)
    session.send_all([governance.pause_intent(session.system, session.sender.address)])


@admin.command()
@chain_options
@sending_options
@json_option
def unpause(chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Guardian: end a pause before it ends by itself.

    Example: opml-dispute admin unpause --keystore guardian.json
    """
    session = Session.open(chain, sending, output)
    _send(session, governance.unpause_intent(session.system, session.sender.address), "Nothing is paused.")


@admin.command()
@click.argument("game")
@chain_options
@sending_options
@json_option
def discard(game: str, chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Guardian: discard GAME; its bonds are refunded, and its answer can be proposed again.

    Example: opml-dispute admin discard 0x5a… --keystore guardian.json
    """
    address = parse_address(game, GAME)
    session = Session.open(chain, sending, output)
    intent = governance.discard_intent(session.system, session.sender.address, address)
    _send(session, intent, f"The game {address} is discarded already.")


@admin.command()
@chain_options
@sending_options
@json_option
def retire(chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Guardian: discard all games that were made until now.

    Example: opml-dispute admin retire --keystore guardian.json
    """
    session = Session.open(chain, sending, output)
    session.send_all([governance.retire_intent(session.system, session.sender.address)])


@admin.command()
@click.argument("game")
@chain_options
@sending_options
@json_option
def anchor(game: str, chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Record GAME as the survivor of its request. Any account may do so; the record decides nothing.

    Example: opml-dispute admin anchor 0x5a… --key-file me.key
    """
    address = parse_address(game, GAME)
    session = Session.open(chain, sending, output)
    _send(session, governance.anchor_intent(session.system, address), f"The game {address} is recorded already.")


@admin.command()
@click.argument("game")
@chain_options
@sending_options
@json_option
def deposit(game: str, chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Put the bonds of GAME, which it keeps until it is closed, into the vault, so that the owner can hold or recover
    them. Any account may do so; it changes nothing for the players.

    Example: opml-dispute admin deposit 0x5a… --key-file me.key
    """
    address = parse_address(game, GAME)
    session = Session.open(chain, sending, output)
    _send(session, governance.deposit_intent(session.system, address), f"The game {address} keeps no bonds.")


# ---------------------------------------------------------------- owner


@admin.command("set-guardian")
@click.argument("address")
@_cancel_option
@chain_options
@sending_options
@json_option
def set_guardian(
    address: str, is_cancelled: bool, chain: ChainOptions, sending: SendingOptions, output: Output
) -> None:
    """
    Owner: set the guardian.

    Example: opml-dispute admin set-guardian 0x5a… --keystore owner.json
    """
    guardian = parse_address(address, "the guardian's address")
    if guardian == ZERO_ADDRESS:
        raise BadAddress("the zero address has no key, so the system could not be paused and no game discarded")
    _through_timelock(
        chain, sending, output, lambda session: governance.set_guardian(session.system, guardian), is_cancelled
    )


@admin.command("set-game-type")
@click.argument("number", type=click.IntRange(0, 2**32 - 1))
@_cancel_option
@chain_options
@sending_options
@json_option
def set_game_type(
    number: int, is_cancelled: bool, chain: ChainOptions, sending: SendingOptions, output: Output
) -> None:
    """
    Owner: set the type of games that counts, of those made from then on.

    Example: opml-dispute admin set-game-type 0 --keystore owner.json
    """
    _through_timelock(
        chain, sending, output, lambda session: governance.set_game_type(session.system, number), is_cancelled
    )


@admin.command("set-bond")
@click.argument("amount")
@_cancel_option
@chain_options
@sending_options
@json_option
def set_bond(amount: str, is_cancelled: bool, chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Owner: set the bond of a root claim.

    Example: opml-dispute admin set-bond 0.2eth --keystore owner.json
    """
    bond_wei = parse_wei(amount)
    if bond_wei >= 1 << 128:
        raise BadAmount(f"a bond of {amount} does not fit the 128 bits that a game keeps it in")
    _through_timelock(
        chain, sending, output, lambda session: governance.set_root_bond(session.system, bond_wei), is_cancelled
    )


@admin.command()
@click.argument("game")
@click.argument("amount")
@_cancel_option
@chain_options
@sending_options
@json_option
def hold(
    game: str, amount: str, is_cancelled: bool, chain: ChainOptions, sending: SendingOptions, output: Output
) -> None:
    """
    Owner: take AMOUNT of the bonds of GAME into the timelock's balance at the vault. A game that is not closed keeps
    its bonds itself: `admin deposit` puts them into the vault.

    Example: opml-dispute admin hold 0x5a… 0.5eth --keystore owner.json
    """
    address, amount_wei = parse_address(game, GAME), parse_wei(amount)
    _through_timelock(
        chain, sending, output, lambda session: governance.hold(session.system, address, amount_wei), is_cancelled
    )


@admin.command()
@click.argument("game")
@click.argument("amount", required=False)
@_cancel_option
@chain_options
@sending_options
@json_option
def recover(
    game: str, amount: str | None, is_cancelled: bool, chain: ChainOptions, sending: SendingOptions, output: Output
) -> None:
    """
    Owner: take AMOUNT of the bonds of GAME out of the vault as ether (default: all there are then). A game that is not
    closed keeps its bonds itself: `admin deposit` puts them into the vault.

    Example: opml-dispute admin recover 0x5a… --keystore owner.json
    """
    address = parse_address(game, GAME)
    amount_wei = ALL_WEI if amount is None else parse_wei(amount)
    _through_timelock(
        chain, sending, output, lambda session: governance.recover(session.system, address, amount_wei), is_cancelled
    )


@admin.command()
@click.argument("target")
@click.option(
    "--data", "data_hex", default="0x", metavar="HEX", help="The call's selector and arguments. Default: none."
)
@click.option("--value", default="0", metavar="AMOUNT", help="Ether to send from the timelock. Default: none.")
@_cancel_option
@chain_options
@sending_options
@json_option
def call(
    target: str,
    data_hex: str,
    value: str,
    is_cancelled: bool,
    chain: ChainOptions,
    sending: SendingOptions,
    output: Output,
) -> None:
    """
    Owner: have the timelock call TARGET, or pay its ether there.

    Example: opml-dispute admin call 0x5a… --value 0.5eth --keystore owner.json
    """
    address = parse_address(target, "the address to call")
    value_wei = parse_wei(value)
    try:
        data = bytes.fromhex(data_hex.removeprefix("0x"))
    except ValueError:
        raise click.UsageError(f"--data {data_hex!r} is not 0x and pairs of hexadecimal digits") from None
    if not data and not value_wei:
        raise click.UsageError("give --data, --value, or both: a call with neither does nothing")
    _through_timelock(
        chain, sending, output, lambda session: governance.any_call(address, data, value_wei), is_cancelled
    )


def _send(session: Session, intent: Intent | None, otherwise: str) -> None:
    """Send the intent, or say why there is nothing to send."""
    if intent is None:
        session.output.say(otherwise)
        session.output.fact(sent=False)
    else:
        session.send_all([intent])


def _through_timelock(
    chain: ChainOptions,
    sending: SendingOptions,
    output: Output,
    wish: Callable[[Session], Wish],
    is_cancelled: bool,
) -> None:
    """Schedule, execute or cancel a call, or say how long its delay lasts."""
    session = Session.open(chain, sending, output)
    found = governance.pending(session.system, wish(session))
    account: Address = session.sender.address
    if is_cancelled:
        session.send_all([governance.cancel_intent(session.system, found, account)])
        return
    if found.state is OperationState.UNSET and governance.already_so(session.system, found.wish):
        output.say("The chain has this value already: nothing was scheduled.")
        output.fact(sent=False, what=found.wish.kind)
        return
    if found.times_done and found.state is OperationState.UNSET:
        output.say(f"This very call was made {found.times_done} times before.", style="yellow")
    intent = governance.next_intent(session.system, found, account)
    if intent is not None:
        session.send_all([intent])
        deployment = session.system.deployment
        if intent.kind == "execute" and governance.read_governance(session.system).named_in(deployment) != deployment:
            output.say(_NEW_FILE)
        return
    output.say(
        f"Scheduled as 0x{found.operation_id.hex()}, to {found.wish.what}; it can be executed in "
        f"{duration(found.seconds_left)}, at {utc(found.ready_at_s)}: run the same command then."
    )
    output.fact(sent=False, what=found.wish.kind, operation=found.operation_id, seconds_left=found.seconds_left)
