"""
From a command's options to a connected system, a key and a case.

Options that the operator left out come from the running devnet, so that on a local chain no command needs an address.
Every command sends with `Session.send_all`: it prints each intent and, unless it is a dry run, sends it and prints the
result and the cost. A dry run makes all the chain's checks of sending, but signs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opml_dispute.chain import keys
from opml_dispute.chain.amounts import BadAmount, about_ether, parse_wei
from opml_dispute.chain.deployment import BadDeployment, Deployment
from opml_dispute.chain.fees import DEFAULT_MAX_FEE_WEI
from opml_dispute.chain.games import parse_address
from opml_dispute.chain.remote_signer import load_signing
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import DEFAULT_URL, Rpc
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System, connect
from opml_dispute.chain.transactions import Receipt
from opml_dispute.cli.options import ChainOptions, KeyOptions, ModelOptions, SendingOptions
from opml_dispute.cli.output import Output, ether, gas, short
from opml_dispute.devnet import anvil as devnet
from opml_dispute.errors import OpmlError
from opml_dispute.operator.intents import Done, Intent, perform, perform_all
from opml_dispute.primitives import RequestId

if TYPE_CHECKING:
    from opml_dispute.operator.case import Case
    from opml_dispute.operator.model_store import ModelStore


class Declined(OpmlError):
    """The operator declined."""


def open_rpc(chain: ChainOptions) -> Rpc:
    """The node that the options name, else the running devnet's, else the one at the usual local port."""
    if chain.rpc_url:
        return Rpc(chain.rpc_url)
    running = devnet.running()
    return Rpc(running.anvil.url if running else DEFAULT_URL)


def deployment_path(chain: ChainOptions) -> Path:
    """The deployment file that the options name, else the running devnet's. Raises `BadDeployment`."""
    if chain.deployment is not None:
        return chain.deployment
    running = devnet.running()
    if running is None or not running.deployment_file.exists():
        raise BadDeployment(
            "no deployment was named, and no devnet is running",
            hint="give --deployment FILE, or start a local chain: opml-dispute devnet start",
        )
    return running.deployment_file


def open_system(chain: ChainOptions) -> System:
    """The connected system."""
    path = deployment_path(chain)
    return connect(open_rpc(chain), Deployment.load(path))


def open_case_of(system: System, request_id: RequestId, files: ModelOptions, output: Output | None = None) -> Case:
    """The case of a request, with the operator's model file if there is one; `output` is told what is fetched."""
    # Imported late: compiling and running models takes half a second to import, and the chain is read first.
    from opml_dispute.operator.case import open_case

    return open_case(
        system,
        request_id,
        store=store_of(output),
        model_file=files.model,
        binding=files.binding,
        image_file=files.input_image,
    )


def store_of(output: Output | None) -> ModelStore:
    """The user's store of models and inputs."""
    from opml_dispute.operator.model_store import ModelStore

    return ModelStore.default(lambda sentence: None if output is None else output.say(sentence, style="dim"))


def load_account(key: KeyOptions) -> keys.Signing:
    """The key that the options name, or the signer that keeps it. Raises `KeyProblem` or `SignerProblem`."""

    def ask() -> str:
        return str(click.prompt(f"Password of {key.keystore}", hide_input=True, err=True))

    return load_signing(
        signer=key.signer,
        address=None if key.expected is None else parse_address(key.expected, "the sender's address"),
        key_file=key.key_file,
        keystore=key.keystore,
        password_file=key.password_file,
        ask_password=ask if sys.stdin.isatty() else None,
    )


@dataclass
class Session:
    """A command that sends: its account, its system, its output."""

    system: System
    sender: Sender
    output: Output
    dry_run: bool
    ask_first: bool
    confirmations: int = 1
    """How many blocks have to hold what was sent, its own included."""
    done: list[Done] = field(default_factory=list)

    @classmethod
    def open(cls, chain: ChainOptions, sending: SendingOptions, output: Output) -> Session:
        """
        Load the key, connect, and wait for what an earlier command of this key may have left in flight.

        Says who will send, and where.
        """
        account = load_account(sending.key)
        for exposed in (sending.key.key_file, sending.key.password_file):
            if (sentence := keys.exposure_of(exposed)) is not None:
                output.say(f"{sentence[0].upper()}{sentence[1:]}", style="yellow")
        system = open_system(chain)
        sender = open_sender(system.rpc, account, sending, output, system.deployment.chain_id)
        sender.settle()
        ask = output.is_interactive and not sending.yes and system.deployment.chain_id != devnet.CHAIN_ID
        if not sending.dry_run:
            output.keep_going()
        introduce(sender, output)
        return cls(system, sender, output, sending.dry_run, ask, sending.confirmations)

    def send_all(self, intents: Sequence[Intent]) -> list[Done]:
        """
        Announce and send each intent in turn; on a dry run only announce it. Answers the results, none on a dry run.

        The operator is asked once, before the first, about the value of all of them.

        Raises what sending raises, at the first that fails; `Declined` if the operator says no.
        """
        done = []
        for number, intent in enumerate(intents):
            self.announce(intent)
            if self.dry_run:
                self._rehearse(intent, is_first=number == 0)
                continue
            if self.ask_first:
                self._confirm(intents)
            result = perform(intent, self.sender)
            self.report(result)
            done.append(result)
        confirmed = self._confirmed(done)
        self.done += confirmed
        return confirmed

    def send_each(self, intents: Sequence[Intent]) -> list[Done | OpmlError]:
        """
        As `send_all`, for intents that do not depend on each other: all are sent before the first is mined.

        Answers the result or the error of each; a failed one stops no other. On a dry run none fails.
        """
        if self.dry_run:
            self.send_all(intents)
            return [Done(intent, None) for intent in intents]
        for intent in intents:
            self.announce(intent)
        if intents and self.ask_first:
            self._confirm(intents)
        outcomes = perform_all(intents, self.sender)
        for outcome in outcomes:
            if isinstance(outcome, Done):
                self.report(outcome)
        confirmed = iter(self._confirmed([outcome for outcome in outcomes if isinstance(outcome, Done)]))
        outcomes = [next(confirmed) if isinstance(outcome, Done) else outcome for outcome in outcomes]
        self.done += [outcome for outcome in outcomes if isinstance(outcome, Done)]
        return outcomes

    def _confirmed(self, done: Sequence[Done]) -> list[Done]:
        """
        The same, once enough blocks hold them. What came into another block, and so may have done something else, is
        reported anew. Raises `NotConfirmed` and `TakenBack`.
        """
        receipts = [one.receipt for one in done if one.receipt is not None]
        if self.confirmations == 1 or not receipts:
            return list(done)
        held = wait_for_blocks(self.sender, receipts, self.confirmations, self.output)
        now = {receipt.hash: receipt for receipt in held}
        confirmed = []
        for one in done:
            receipt = None if one.receipt is None else now[one.receipt.hash]
            confirmed.append(replace(one, receipt=receipt))
            if receipt != one.receipt:
                self.output.say("A reorganisation put this into another block:", style="yellow")
                self.report(confirmed[-1])
        tell_confirmed(self.confirmations, self.output)
        return confirmed

    def announce(self, intent: Intent) -> None:
        """Print what will happen, and why."""
        if intent.reason:
            self.output.say(intent.reason)
        parts = [intent.will]
        if intent.value_wei:
            parts.append(f"{_value_word(intent)} {ether(intent.value_wei)}")
        self.output.say("   ".join(parts), style="cyan")

    def report(self, done: Done) -> None:
        """Print what happened, and what it cost."""
        parts = [done.sentence]
        facts = done.facts
        if done.receipt is not None:
            paid_wei = done.receipt.paid_wei
            parts += [
                f"tx {short(done.receipt.hash)} in block {done.receipt.block_number:,}",
                gas(done.receipt.gas_used),
                f"paid {about_ether(paid_wei)} for it",
            ]
            facts["gas_paid_wei"] = paid_wei
        self.output.say("   ".join(parts), style="green")
        self.output.fact(**facts)

    def _rehearse(self, intent: Intent, *, is_first: bool) -> None:
        """Simulate the transaction and print its cost. Raises what sending raises."""
        facts: dict[str, Any] = {"would": intent.kind, "value_wei": intent.value_wei, **intent.facts}
        try:
            quote = self.sender.quote(intent.call, value_wei=intent.value_wei)
        except Reverted as refusal:
            if refusal.name in intent.done_already:
                self.output.say("This was done already; nothing would be sent.")
            elif is_first:
                raise
            else:
                # The transactions before it were not sent, and it may depend on them.
                self.output.say("It can only be simulated after the transactions before it.", style="yellow")
            self.output.fact(**facts, gas=None, gas_most_wei=None)
            return
        self.output.say(f"It would take {gas(quote.gas)} at most, for {about_ether(quote.most_wei)} at most.")
        self.output.fact(**facts, gas=quote.gas, gas_most_wei=quote.most_wei)

    def _confirm(self, intents: Sequence[Intent]) -> None:
        """Ask once, with what the first transactions stake and what the first of them costs. Raises `Declined`."""
        self.ask_first = False
        quote = self.sender.quote(intents[0].call, value_wei=intents[0].value_wei)
        value_wei = sum(intent.value_wei for intent in intents)
        paying = next((intent for intent in intents if intent.value_wei), intents[0])
        value = f"{_value_word(paying)} {ether(value_wei)} and " if value_wei else ""
        each = "" if len(intents) == 1 else f" for the first of {len(intents)} transactions"
        question = (
            f"Send from {self.sender.address} on chain {self.system.deployment.chain_id}, for {value}"
            f"{about_ether(quote.most_wei)} of gas at most{each}?"
        )
        if not click.confirm(question, err=True):
            raise Declined("nothing was sent", hint="give --yes to send without being asked")


def wait_for_blocks(sender: Sender, receipts: Sequence[Receipt], blocks: int, output: Output) -> list[Receipt]:
    """The receipts once so many blocks hold them. Raises `NotConfirmed` and `TakenBack`."""
    last = max(receipt.block_number for receipt in receipts)
    output.say(f"Waiting until block {last + blocks - 1:,} …", style="dim")
    return sender.confirmed(receipts, blocks)


def tell_confirmed(blocks: int, output: Output) -> None:
    """Prints that so many blocks hold what was sent."""
    output.say(f"{blocks:,} blocks hold it.", style="green")
    output.fact(confirmations=blocks)


def open_sender(
    rpc: Rpc,
    account: keys.Signing,
    sending: SendingOptions,
    output: Output,
    chain_id: int,
    *,
    on_sent: Callable[[Receipt], None] | None = None,
) -> Sender:
    """
    The sender of the account, for one chain, with the operator's limit for the price of gas. Raises `BadAmount`.

    WHY NOT ask the node for its chain when something is signed: one that answers differently then would get a
    transaction that spends the account's money on another chain.
    """
    max_fee_wei = DEFAULT_MAX_FEE_WEI if sending.max_fee is None else parse_wei(sending.max_fee, bare="gwei")
    if max_fee_wei == 0:
        raise BadAmount("--max-fee 0 would let nothing be sent", hint="write it like 50gwei")

    def tell(sentence: str) -> None:
        output.say(f"{sentence} …", style="yellow")

    return Sender(rpc, account, max_fee_wei=max_fee_wei, chain_id=chain_id, on_sent=on_sent, tell=tell)


def introduce(sender: Sender, output: Output) -> None:
    """Print the sending address, its chain and its balance."""
    balance_wei, chain_id = sender.rpc.balance_wei(sender.address), sender.chain_id
    output.say(f"From {sender.address} on chain {chain_id}, which has {about_ether(balance_wei)}", style="dim")
    output.fact(sender=sender.address, chain_id=chain_id, balance_wei=balance_wei)


def _value_word(intent: Intent) -> str:
    return {"request": "fee", "execute": "value"}.get(intent.kind, "bond")
