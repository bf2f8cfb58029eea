"""
Publication of an input in blobs, before the request is made (docs/game.md, "Inputs in blobs").

`blob_publication` makes a transaction for each six blobs that are missing: what the chain has from an interrupted run
is not sent again, and a recent publication of the very same blobs, by any account, needs no transaction. `bond_intents`
takes the bonds of earlier publications back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from opml_dispute.chain.amounts import ether
from opml_dispute.chain.blob_transactions import MAX_BLOBS_EACH, Sidecar
from opml_dispute.chain.input_blobs import (
    BlobPublication,
    BlobStatus,
    PublicationTerms,
    hashes_digest,
    publication_terms,
    publications_of,
)
from opml_dispute.chain.system import System
from opml_dispute.engine.blob_row import MAX_BLOBS, RowShape, blobs_of
from opml_dispute.engine.hashing import keccak256
from opml_dispute.errors import OpmlError
from opml_dispute.operator.intents import Intent
from opml_dispute.primitives import Address

REUSED_S: Final = 4 * 86_400
"""How long a publication serves later requests: nodes keep blobs for 18 days, and a game can take some of them."""

_RESUMED_S: Final = 82_800
"""How long an unfinished publication is gone on with: an hour less than the contract allows."""


class InputTooLarge(OpmlError):
    """An input takes more blobs than a publication has."""

    hint = "publish it in another way: to a folder, a web server or an IPFS node"


@dataclass(frozen=True)
class BlobPlan:
    """What publishing an input takes."""

    intents: list[Intent]
    """They depend on each other."""
    blob_count: int
    """Of the whole publication."""
    terms: PublicationTerms

    @property
    def bond_wei(self) -> int:
        """What is staked now."""
        return sum(intent.value_wei for intent in self.intents)


def blob_publication(system: System, publisher: Address, image: bytes) -> BlobPlan:
    """The transactions that are missing; none if the blobs are published. Raises `InputTooLarge`."""
    # Not above: arrays take a while to import.
    from opml_dispute.engine.segment import INPUT, section_root

    contract, shape = system.input_blobs, RowShape.of(len(image))
    if shape.blob_count > MAX_BLOBS:
        raise InputTooLarge(
            f"an input of {len(image):,} bytes takes {shape.blob_count:,} blobs, more than {MAX_BLOBS:,}"
        )
    root = bytes(section_root(image, INPUT))
    terms = publication_terms(system.rpc, contract)
    sidecar = Sidecar.of(blobs_of(image))
    if _is_published(system, root, sidecar):
        return BlobPlan([], shape.blob_count, terms)
    salt, done = _unfinished(system, publisher, root, shape, sidecar.hashes)
    intents = []
    for first in range(done, shape.blob_count, MAX_BLOBS_EACH):
        part = Sidecar(sidecar.blobs[first:][:MAX_BLOBS_EACH], sidecar.commitments[first:][:MAX_BLOBS_EACH])
        blobs, total = len(part.blobs), shape.blob_count
        which = (
            f"{blobs} blob{'s'[: blobs != 1]}" if blobs == total else f"blobs {first + 1} to {first + blobs} of {total}"
        )
        intents.append(
            Intent(
                kind="publish",
                call=contract.publish(salt, first, root, shape.leaf_count, part),
                value_wei=terms.bond_wei if first == 0 else 0,
                will=f"Will publish the input in {which}",
                did=lambda _, which=which: f"Published {which}",  # type: ignore[misc]
                facts={"input_root": root, "blob": first, "blobs": blobs, "bytes": len(image)},
            )
        )
    return BlobPlan(intents, shape.blob_count, terms)


def _is_published(system: System, root: bytes, sidecar: Sidecar) -> bool:
    """Whether these very blobs were published lately; others of this root may be wrong."""
    digest, now_s = hashes_digest(sidecar.hashes), system.rpc.head().timestamp
    return any(
        found.digest == digest and now_s - found.ended_at_s < REUSED_S
        for found in publications_of(system.rpc, system.input_blobs, root)
    )


def _unfinished(
    system: System, publisher: Address, root: bytes, shape: RowShape, hashes: Sequence[bytes]
) -> tuple[bytes, int]:
    """The salt of the publication to begin or to go on with, and how many of the blobs it has."""
    contract, now_s = system.input_blobs, system.rpc.head().timestamp
    for attempt in count():
        salt = bytes(32) if attempt == 0 else bytes(keccak256(attempt.to_bytes(32, "big")))
        publication_id = system.rpc.read(contract.publication_id(publisher, salt, root, shape.leaf_count))
        found = system.rpc.read(contract.publication(publication_id))
        if found.status == BlobStatus.NONE:
            return salt, 0
        is_ours = found.digest == hashes_digest(hashes[: found.blob_count])
        if found.status == BlobStatus.GROWING and is_ours and now_s - found.started_at_s < _RESUMED_S:
            return salt, found.blob_count
    raise AssertionError("unreachable")


def bond_intents(system: System, publications: Sequence[BlobPublication], publisher: Address) -> list[Intent]:
    """Takes back the publisher's bonds that are free now: of what stood until its window ended, or lacks blobs."""
    contract, now_s = system.input_blobs, system.rpc.head().timestamp
    terms = publication_terms(system.rpc, contract)
    intents = []
    for one in publications:
        free_s = free_at_s(one, terms.window_s)
        if one.publisher != publisher or free_s is None or now_s <= free_s:
            continue
        intents.append(
            Intent(
                kind="take-bond",
                call=contract.take_bond(one.publication_id),
                will=f"Will take back the bond of publication 0x{one.publication_id.hex()}: {ether(terms.bond_wei)}",
                did=lambda _: f"Took {ether(terms.bond_wei)} back",
                facts={"publication_id": one.publication_id, "bond_wei": terms.bond_wei},
                done_already=frozenset({"BondGone"}),
            )
        )
    return intents


def free_at_s(publication: BlobPublication, window_s: int) -> int | None:
    """After which time the publisher can take its bond back; None if it cannot, or did."""
    if not publication.holds_bond:
        return None
    return publication.ended_at_s + window_s if publication.status == BlobStatus.PUBLISHED else 0
