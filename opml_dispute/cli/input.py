"""`opml-dispute input`: inputs in blobs, whether they are right, and the bonds on them."""

from __future__ import annotations

import click

from opml_dispute.availability.blobs import BlobsMissing
from opml_dispute.availability.fetching import FetchPolicy, read_blobs_at
from opml_dispute.chain.amounts import about_ether, ether
from opml_dispute.chain.input_blobs import (
    BlobPublication,
    BlobStatus,
    PublicationTerms,
    publication_terms,
    publications_by,
    publications_of,
)
from opml_dispute.chain.requests import UnknownRequest, parse_hash, read_request
from opml_dispute.chain.system import System
from opml_dispute.chain.times import utc
from opml_dispute.cli.command_line import Group
from opml_dispute.cli.options import ChainOptions, SendingOptions, chain_options, json_option, sending_options
from opml_dispute.cli.output import Output
from opml_dispute.cli.session import Session, open_system
from opml_dispute.errors import OpmlError
from opml_dispute.operator.blob_publishing import bond_intents, free_at_s
from opml_dispute.operator.blob_refuting import (
    WrongPublication,
    await_next_block,
    bill_of,
    commit_intent,
    look_for_fault,
    refute_intent,
)
from opml_dispute.primitives import RequestId

_NEXT_BLOCK_S = 180.0
_FETCH_S = 600.0


class NotWorthIt(OpmlError):
    """A refutation would cost more than it pays."""

    hint = "wait until gas is cheaper, or refute it all the same: --at-a-loss"


class NoBlobSource(OpmlError):
    """It is not said where blobs are."""

    hint = "name a beacon node's API or a folder of blobs: --blobs SOURCE, or OPML_BLOBS"


@click.group("input", cls=Group)
def input_group() -> None:
    """Refute wrong inputs in blobs, and take bonds on right ones back."""


_SUBJECT = click.argument("subject", metavar="REQUEST_ID_OR_ROOT")


@input_group.command("list")
@_SUBJECT
@chain_options
@json_option
def list_publications(subject: str, chain: ChainOptions, output: Output) -> None:
    """
    List the publications in blobs of a request's input, or of an input root, newest first.

    Example: opml-dispute input list 0x91…
    """
    system = open_system(chain)
    found = publications_of(system.rpc, system.input_blobs, _root(system, subject), with_refuted=True)
    terms = publication_terms(system.rpc, system.input_blobs)
    for publication in found:
        _show(publication, terms, system.rpc.head().timestamp, output)
    if not found:
        output.say("It was not published in blobs.")


@input_group.command("refute")
@_SUBJECT
@click.option(
    "--blobs",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="The URL of a beacon API, or a folder with blobs; several are tried in turn. Default: OPML_BLOBS.",
)
@click.option("--at-a-loss", is_flag=True, help="Refute even if the gas costs more than the bond pays.")
@chain_options
@sending_options
@json_option
def refute(
    subject: str,
    sources: tuple[str, ...],
    at_a_loss: bool,
    chain: ChainOptions,
    sending: SendingOptions,
    output: Output,
) -> None:
    """
    Fetch an input's blobs, and refute each publication that is wrong, for its bond.

    A refutation is two transactions: a commitment, and in a later block the refutation itself.

    Example: opml-dispute input refute 0x91… --blobs http://127.0.0.1:5052 --key-file me.key
    """
    where = tuple(read_blobs_at(text) for text in sources) or FetchPolicy.of_environment().blobs
    if not where:
        raise NoBlobSource("a publication is refuted by its blobs, and it is not said where they are")
    session = Session.open(chain, sending, output)
    system = session.system
    terms = publication_terms(system.rpc, system.input_blobs)
    found = publications_of(system.rpc, system.input_blobs, _root(system, subject))
    trouble: BlobsMissing | None = None
    for publication in found:
        output.say(f"Looking at publication 0x{publication.publication_id.hex()} …", style="dim")
        try:
            fault = look_for_fault(system, publication, where, timeout_s=_FETCH_S)
        except BlobsMissing as error:
            output.say(f"{error}.", style="yellow")
            trouble = error
            continue
        if fault is None:
            output.say("It is right: its blobs hold the input.")
            output.fact(publication_id=publication.publication_id, right=True)
            continue
        output.say(f"It is wrong: word {fault.word:,} of its blobs is not what those below it make.", style="yellow")
        output.fact(publication_id=publication.publication_id, right=False, word=fault.word)
        _refute(session, fault, terms, at_a_loss)
    if not found:
        output.say("Nothing stands that could be refuted.")
    if trouble is not None:
        raise trouble


def _refute(session: Session, fault: WrongPublication, terms: PublicationTerms, at_a_loss: bool) -> None:
    reward_wei = terms.reward_wei if fault.publication.holds_bond else 0
    first = commit_intent(session.system, fault, session.sender.address)
    second = refute_intent(session.system, fault, reward_wei)
    most_wei = bill_of(session.sender, fault, first or second)
    if most_wei > reward_wei and not at_a_loss:
        raise NotWorthIt(f"refuting can cost {about_ether(most_wei)} of gas, and pays {ether(reward_wei)}")
    if first is not None:
        session.send_all([first])
        if not session.dry_run:
            await_next_block(session.sender, second, timeout_s=_NEXT_BLOCK_S, tell=session.output.say)
    if first is None or not session.dry_run:
        session.send_all([second])


@input_group.command("take-bond")
@chain_options
@sending_options
@json_option
def take_bond(chain: ChainOptions, sending: SendingOptions, output: Output) -> None:
    """
    Take back the account's bonds on inputs in blobs: those whose window is over, and of what was never finished.

    Example: opml-dispute input take-bond --key-file me.key
    """
    session = Session.open(chain, sending, output)
    system, account = session.system, session.sender.address
    found = publications_by(system.rpc, system.input_blobs, account, system.deployment.block)
    held = [publication for publication in found if publication.holds_bond]
    terms = publication_terms(system.rpc, system.input_blobs)
    for publication in held:
        _show(publication, terms, system.rpc.head().timestamp, output)
    if not held:
        output.say(f"{account} has no bond on an input in blobs.")
    session.send_all(bond_intents(system, held, account))


def _show(publication: BlobPublication, terms: PublicationTerms, now_s: int, output: Output) -> None:
    free_s = free_at_s(publication, terms.window_s)
    over = publication.status == BlobStatus.PUBLISHED and now_s > publication.ended_at_s + terms.window_s
    status = {
        BlobStatus.GROWING: "unfinished",
        BlobStatus.REFUTED: "refuted",
        BlobStatus.ABANDONED: "abandoned",
        BlobStatus.NONE: "none",
        BlobStatus.PUBLISHED: "not refuted, window over" if over else "not refuted so far",
    }[publication.status]
    bond = "bond gone"
    if free_s is not None:
        bond = "bond free" if now_s > free_s else f"bond free after {utc(free_s)}"
    blocks = f"blocks {publication.first_block} to {publication.last_block or '…'}"
    output.say(
        f"0x{publication.publication_id.hex()}   {publication.blob_count} blobs, {blocks}   "
        f"by {publication.publisher}   {status}, {bond}"
    )
    output.fact(
        publication_id=publication.publication_id,
        publisher=publication.publisher,
        blobs=publication.blob_count,
        first_block=publication.first_block,
        last_block=publication.last_block,
        refuted=publication.status == BlobStatus.REFUTED,
        window_over=over,
        holds_bond=publication.holds_bond,
    )


def _root(system: System, subject: str) -> bytes:
    """The input root of a request, or the root itself. Raises `UnknownRequest`."""
    raw = parse_hash(subject)
    if raw is None:
        raise UnknownRequest(
            f"{subject} is neither a request id nor an input root: both are 0x and 64 hexadecimal digits"
        )
    try:
        return bytes(read_request(system, RequestId(raw)).input_root)
    except UnknownRequest:
        return raw
