"""
Refuting publications in blobs that are wrong (docs/game.md, "Inputs in blobs").

`look_for_fault` takes a publication's blobs from a source and finds a word that refutes it, if there is one.
`commit_intent` and `refute_intent` are the two transactions of a refutation; between them lies a block, for which
`await_next_block` waits: an account that copies the second has not sent the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from opml_dispute.availability.blobs import BlobsMissing, read_place
from opml_dispute.chain.amounts import ether
from opml_dispute.chain.blob_places import BlobPlace, place_of
from opml_dispute.chain.input_blobs import BlobPublication
from opml_dispute.chain.kzg import commitment_of, opening
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.sender import Sender
from opml_dispute.chain.system import System
from opml_dispute.engine.blob_row import ELEMENTS_PER_BLOB, fault_in, read_blobs
from opml_dispute.operator.intents import Intent
from opml_dispute.primitives import Address

GAS_PER_OPENING: Final = 58_000
GAS_BESIDE: Final = 240_000
"""More than the rest of a refutation takes, its commitment included."""

_PAUSE_S: Final = 1.0


@dataclass(frozen=True)
class WrongPublication:
    """A publication that is wrong, and what shows it."""

    publication: BlobPublication
    word: int
    hashes: tuple[bytes, ...]
    openings: bytes
    opening_count: int

    @property
    def most_gas(self) -> int:
        """What refuting takes at most, the commitment included."""
        return GAS_BESIDE + GAS_PER_OPENING * self.opening_count


@dataclass(frozen=True)
class ShownFault:
    """What shows that blobs are wrong."""

    word: int
    openings: bytes
    opening_count: int


def look_for_fault(
    system: System, publication: BlobPublication, sources: Sequence[str], *, timeout_s: float
) -> WrongPublication | None:
    """What refutes the publication; None if it is right. Raises `BlobsMissing` if its blobs cannot be had."""
    place = expect_place(system, publication)
    shown = fault_at(place, publication.input_root, sources, timeout_s=timeout_s)
    return None if shown is None else wrong_publication(publication, place, shown)


def expect_place(system: System, publication: BlobPublication) -> BlobPlace:
    """Where its blobs are, as the chain tells. Raises `BlobsMissing` if the node does not tell it rightly."""
    place = place_of(system.rpc, system.input_blobs, publication)
    if place is None:
        raise BlobsMissing(f"{system.rpc.url} does not tell which they are", passes=True)
    return place


def fault_at(place: BlobPlace, input_root: bytes, sources: Sequence[str], *, timeout_s: float) -> ShownFault | None:
    """
    A word that refutes the blobs, with its openings; None if they hold the input. Needs the blobs, and no chain.

    Raises `BlobsMissing` if they cannot be had.
    """
    blobs = read_place(place, sources, deadline=time.monotonic() + timeout_s)
    word = fault_in(read_blobs(blobs, place.shape), input_root)
    if word is None:
        return None
    places = [divmod(element, ELEMENTS_PER_BLOB) for element in place.shape.elements_for(word)]
    commitments = {blob: commitment_of(blobs[blob]) for blob in {blob for blob, _ in places}}
    openings = b"".join(opening(blobs[blob], commitments[blob], index) for blob, index in places)
    return ShownFault(word, openings, len(places))


def wrong_publication(publication: BlobPublication, place: BlobPlace, shown: ShownFault) -> WrongPublication:
    """The publication with what shows that it is wrong."""
    return WrongPublication(publication, shown.word, tuple(place.hashes), shown.openings, shown.opening_count)


def commit_intent(system: System, fault: WrongPublication, refuter: Address) -> Intent | None:
    """The first transaction; None if an earlier run made it."""
    contract = system.input_blobs
    found = fault.publication.publication_id
    commitment = system.rpc.read(contract.commitment(refuter, found, fault.word, fault.openings))
    if system.rpc.read(contract.committed_at(commitment)):
        return None
    return Intent(
        kind="commit-refutation",
        call=contract.commit_refutation(commitment),
        will=f"Will commit to a refutation of publication 0x{found.hex()}, so that a copy of it comes too late",
        did=lambda _: "Committed",
        facts={"publication_id": found, "commitment": commitment},
    )


def refute_intent(system: System, fault: WrongPublication, reward_wei: int) -> Intent:
    """The second transaction, which voids the publication."""
    found = fault.publication.publication_id
    gets = f" and get {ether(reward_wei)}" if fault.publication.holds_bond else ""
    return Intent(
        kind="refute",
        call=system.input_blobs.refute(found, fault.word, list(fault.hashes), fault.openings),
        will=f"Will refute publication 0x{found.hex()} by its word {fault.word:,}{gets}",
        did=lambda _: f"Refuted: the publication is void{gets and ', its bond partly yours'}",
        facts={"publication_id": found, "word": fault.word, "openings": fault.opening_count},
        done_already=frozenset({"WrongBlobStatus"}),
        is_urgent=True,
    )


def bill_of(sender: Sender, fault: WrongPublication, next_: Intent) -> int:
    """
    The most that refuting can cost, in wei, at what gas costs now; `next_` is the transaction that is due.

    Raises what quoting it raises: `Reverted` if the contract refuses it.
    """
    return fault.most_gas * sender.quote(next_.call).fees.max_fee_wei


def await_next_block(sender: Sender, intent: Intent, *, timeout_s: float, tell: Callable[[str], object]) -> None:
    """Returns once the commitment lies in an earlier block, or after `timeout_s`; other refusals are not waited for."""
    deadline, told = time.monotonic() + timeout_s, False
    while time.monotonic() < deadline:
        try:
            sender.quote(intent.call)  # simulated as if it were in the next block
        except Reverted as refusal:
            if refusal.name != "RefutationNotCommitted":
                return
        else:
            return
        if not told:
            tell("Waiting for the next block …")
            told = True
        time.sleep(_PAUSE_S)
