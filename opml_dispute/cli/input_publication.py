"""How an input that is asked about by its root reaches those who answer it: what `request` publishes first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from opml_dispute.chain.amounts import about_ether, ether
from opml_dispute.chain.blob_places import blob_uri_of
from opml_dispute.chain.contracts.oracle import RegisteredModel
from opml_dispute.chain.transactions import NotEnoughFunds
from opml_dispute.cli.output import gas
from opml_dispute.cli.publication import PublicationOptions, check_input, input_uri
from opml_dispute.cli.session import Session, store_of
from opml_dispute.operator.blob_publishing import BlobPlan, blob_publication
from opml_dispute.operator.inference import most_output_bytes
from opml_dispute.operator.intents import Intent
from opml_dispute.operator.publishing import MAX_WHOLE_INPUT_BYTES, publication_intents

_TRIES: Final = 5
_PAUSE_S: Final = 6.0


@dataclass(frozen=True)
class InputWay:
    """Where the request says that its input is, and the transactions that put it there."""

    uri: str | None = None
    """None if the request has the input in it."""
    intents: Sequence[Intent] = field(default=())
    blobs: BlobPlan | None = None


def input_way(
    session: Session, options: PublicationOptions, image: bytes, *, by_root: str | None, in_parts: bool | None
) -> InputWay:
    """Publishes elsewhere than on the chain, as the operator says, and plans what to publish on it."""
    system, output = session.system, session.output
    if options.in_blobs:
        output.say("Committing to the input's blobs …", style="dim")
        plan = blob_publication(system, session.sender.address, image)
        return InputWay(f"ethereum-blobs:{system.input_blobs.address}@{system.deployment.chain_id}", plan.intents, plan)
    uri = input_uri(options, image, by_root, output)
    if uri is not None:
        check_input(options, store_of(output), image, uri, output)
    if in_parts is None:
        in_parts = uri is None and len(image) > MAX_WHOLE_INPUT_BYTES
    if not in_parts:
        return InputWay(uri)
    return InputWay(
        f"ethereum:{system.input_parts.address}@{system.deployment.chain_id}",
        publication_intents(system, session.sender.address, image),
    )


def publish_found(session: Session, options: PublicationOptions, way: InputWay, image: bytes) -> None:
    """
    Publishes an input in blobs, and fetches it as others will, from the sources of this computer.

    Raises `NotCheckable` if it cannot be had: then nothing is asked.
    """
    asks = session.ask_first
    session.send_all(way.intents)
    session.ask_first = asks  # the operator was asked about the bond, and is asked again about the fee
    if session.dry_run or not options.checks:
        return
    store = store_of(session.output)
    if not store.fetcher.policy.blobs:
        session.output.say("Whether others can fetch the blobs was not checked: OPML_BLOBS names no source.")
        return
    # Not above: arrays take a while to import.
    from opml_dispute.engine.segment import INPUT, section_root
    from opml_dispute.operator.outside_view import NotCheckable

    root = bytes(section_root(image, INPUT))
    uri = blob_uri_of(session.system.rpc, session.system.input_blobs, root)
    for left in reversed(range(_TRIES if any("://" in source for source in store.fetcher.policy.blobs) else 1)):
        try:
            check_input(options, store, image, uri or way.uri or "", session.output)
        except NotCheckable:
            if left == 0:
                raise
            time.sleep(_PAUSE_S)  # a beacon node may learn of the block later than the chain's
        else:
            break


def tell_first(
    session: Session, model: RegisteredModel, items: int, way: InputWay, fee_wei: int, *, calls: bool
) -> None:
    """
    Tell the requester what to know before paying.

    That is how a large answer is delivered, and the total cost of publishing the input. Raises `NotEnoughFunds` if the
    account cannot pay for all of it and the fee.
    """
    output = session.output
    most_bytes = most_output_bytes(items)
    if model.output_bytes > most_bytes:
        output.say(
            f"The answer has {model.output_bytes:,} bytes, and a transaction carries {most_bytes:,} at most: it "
            "is delivered by its root. Parts of it are proven with `opml-dispute output`"
            + ("; the consumer has to implement onInferenceRoot." if calls else "."),
            style="yellow",
        )
    if way.blobs is not None and not way.intents:
        output.say("The input is in blobs already, published lately.")
    if not way.intents:
        return
    first, count = way.intents[0], len(way.intents)
    quote = session.sender.quote(first.call, value_wei=first.value_wei)
    most_wei = quote.most_wei * count
    bond_wei = sum(intent.value_wei for intent in way.intents)
    in_blobs = "" if way.blobs is None else f" in {way.blobs.blob_count} blobs"
    output.say(
        f"The input is published first{in_blobs}: {count} transactions, {gas(quote.gas * count)} at most, "
        f"for {about_ether(most_wei)} at most."
    )
    if way.blobs is not None:
        output.say(
            f"A bond of {ether(way.blobs.terms.bond_wei)} is yours again {way.blobs.terms.window_s / 3600:,.0f} hours "
            "later: take it back with `opml-dispute input take-bond`."
        )
    output.fact(parts=count, publication_gas=quote.gas * count, publication_most_wei=most_wei, bond_wei=bond_wei)
    balance_wei = session.system.rpc.balance_wei(session.sender.address)
    needed_wei = most_wei + bond_wei + fee_wei
    if balance_wei < needed_wei:
        raise NotEnoughFunds(
            session.sender.address, balance_wei, needed_wei, "publishing the input and asking about it"
        )
