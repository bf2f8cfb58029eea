"""
Inputs published in blobs: the contract, typed.

`InputBlobs` records which blobs are said to hold the image behind an input root, and holds the publisher's bond, which
goes to the account that shows that they do not (docs/game.md, "Inputs in blobs"). `engine.blob_row` has what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

from opml_dispute.chain.blob_transactions import Sidecar
from opml_dispute.chain.contracts.contract import Contract, as_it_is
from opml_dispute.chain.events import logs_between
from opml_dispute.chain.rpc import Call, Rpc
from opml_dispute.engine.blob_row import MAX_BLOBS, RowShape
from opml_dispute.engine.hashing import hash_pair
from opml_dispute.primitives import Address, Hash32

MAX_PUBLICATIONS: Final = 16
"""How many publications of one root are looked at."""


class BlobStatus(IntEnum):
    """How far a publication is."""

    NONE = 0
    GROWING = 1
    """Blobs are missing."""
    PUBLISHED = 2
    REFUTED = 3
    """Its blobs do not hold the image: it is void."""
    ABANDONED = 4
    """Its publisher took the bond back before all blobs were there."""


@dataclass(frozen=True)
class BlobPublication:
    """Blobs that are said to hold the image behind an input root."""

    publication_id: bytes
    publisher: Address
    leaf_count: int
    """Leaves of the image, 32 bytes each."""
    blob_count: int
    """Blobs so far."""
    status: BlobStatus
    holds_bond: bool
    first_block: int
    last_block: int
    started_at_s: int
    ended_at_s: int
    digest: bytes
    """Commits to the versioned hashes so far: `hashes_digest`."""
    input_root: bytes

    @property
    def shape(self) -> RowShape:
        """The places of its words."""
        return RowShape(self.leaf_count)


@dataclass(frozen=True)
class PublicationTerms:
    """What a deployment asks of publishers."""

    bond_wei: int
    window_s: int
    """How long a publisher waits for its bond after the last blob."""
    forfeited_bps: int
    """The part of a lost bond that the refuter does not get, in ten-thousandths."""

    @property
    def reward_wei(self) -> int:
        """What a refuter gets."""
        return self.bond_wei - self.bond_wei * self.forfeited_bps // 10_000


class InputBlobs(Contract):
    """Publishes inputs in blobs, and voids publications that are wrong."""

    artifact_name = "InputBlobs"

    def publish(self, salt: bytes, index: int, input_root: bytes, leaf_count: int, blobs: Sidecar) -> Call[None]:
        """Add the blobs of this transaction to a publication of the sender."""
        return replace(self._call(lambda _: None, "publish", salt, index, input_root, leaf_count), blobs=blobs)

    def take_bond(self, publication_id: bytes) -> Call[None]:
        """Pay the bond back to the publisher, who sends this."""
        return self._call(lambda _: None, "takeBond", publication_id)

    def commit_refutation(self, commitment: bytes) -> Call[None]:
        """Announce a refutation that follows in a later block."""
        return self._call(lambda _: None, "commitRefutation", commitment)

    def refute(self, publication_id: bytes, word: int, hashes: list[bytes], openings: bytes) -> Call[None]:
        """Void a publication whose word is wrong."""
        return self._call(lambda _: None, "refute", publication_id, word, hashes, openings)

    def publication_id(self, publisher: Address, salt: bytes, input_root: bytes, leaf_count: int) -> Call[bytes]:
        """The id of a publisher's publication."""
        return self._call(bytes, "publicationIdOf", publisher, salt, input_root, leaf_count)

    def commitment(self, refuter: Address, publication_id: bytes, word: int, openings: bytes) -> Call[bytes]:
        """What the refuter commits to."""
        return self._call(bytes, "commitmentOf", refuter, publication_id, word, openings)

    def committed_at(self, commitment: bytes) -> Call[int]:
        """The block of a commitment; 0 if there is none."""
        return self._call(int, "committedAt", commitment)

    def publication(self, publication_id: bytes) -> Call[BlobPublication]:
        """A publication; its status is NONE if there is none."""

        def parse(v: Any) -> BlobPublication:
            return BlobPublication(
                *(publication_id, Address(v[0]), int(v[1]), int(v[2])),
                *(BlobStatus(int(v[3])), bool(v[4])),
                *(int(v[5]), int(v[6]), int(v[7]), int(v[8])),
                *(bytes(v[9]), bytes(v[10])),
            )

        return self._call(parse, "publicationOf", publication_id)

    def publication_count(self, input_root: bytes) -> Call[int]:
        """How many publications of this root had all their blobs."""
        return self._call(int, "publicationCount", input_root)

    def publication_ids(self, input_root: bytes, first: int, most: int) -> Call[list[bytes]]:
        """The ids of publications of this root, oldest first."""
        return self._call(lambda found: [bytes(item) for item in found], "publications", input_root, first, most)

    def bond_wei(self) -> Call[int]:
        """What a publication costs until it is over."""
        return self._call(int, "BOND")

    def window_s(self) -> Call[int]:
        """How long a publisher waits for its bond."""
        return self._call(int, "WINDOW")

    def forfeited_bps(self) -> Call[int]:
        """The part of a lost bond that the refuter does not get."""
        return self._call(int, "FORFEITED_BPS")

    def forfeited_to(self) -> Call[Address]:
        """The recipient of that part."""
        return self._call(as_it_is, "FORFEITED_TO")


def publication_terms(rpc: Rpc, contract: InputBlobs) -> PublicationTerms:
    """What this deployment asks of publishers."""
    bond_wei, window_s, forfeited_bps = rpc.read_all(
        [contract.bond_wei(), contract.window_s(), contract.forfeited_bps()]
    )
    return PublicationTerms(bond_wei, window_s, forfeited_bps)


def publications_of(
    rpc: Rpc, contract: InputBlobs, input_root: bytes, *, with_refuted: bool = False
) -> list[BlobPublication]:
    """
    The publications of a root that stand, or were refuted, newest first.

    They are MAX_PUBLICATIONS at most, of the last four times as many.

    A wrong one costs its publisher the bond once it is refuted, so there are seldom more than one.
    """
    count = rpc.read(contract.publication_count(input_root))
    most = 4 * MAX_PUBLICATIONS
    if count == 0:
        return []
    ids = rpc.read(contract.publication_ids(input_root, max(0, count - most), most))
    found = rpc.read_all([contract.publication(publication_id) for publication_id in ids])
    wanted = {BlobStatus.PUBLISHED, BlobStatus.REFUTED} if with_refuted else {BlobStatus.PUBLISHED}
    standing = [one for one in found if one.status in wanted and one.blob_count <= MAX_BLOBS]
    return standing[::-1][:MAX_PUBLICATIONS]


def publications_by(rpc: Rpc, contract: InputBlobs, publisher: Address, since_block: int) -> list[BlobPublication]:
    """Every publication that an account began since a block, complete or not. Raises an `RpcError`."""
    event = "0x" + contract.artifact().events["BlobsAdded"].topic.hex()
    topics = [event, None, "0x" + publisher[2:].lower().rjust(64, "0")]
    logs = logs_between(rpc, contract.address, topics, since_block, rpc.head().number)
    ids = dict.fromkeys(bytes(event["publicationId"]) for event in contract.events("BlobsAdded", logs))
    return rpc.read_all([contract.publication(publication_id) for publication_id in ids])


def hashes_digest(hashes: Sequence[bytes]) -> Hash32:
    """The contract's digest of these versioned hashes."""
    digest = Hash32(bytes(32))
    for name in hashes:
        digest = hash_pair(digest, Hash32(name))
    return digest


def hashes_of(rpc: Rpc, contract: InputBlobs, publication: BlobPublication) -> list[tuple[bytes, int]] | None:
    """
    The versioned hashes of a publication's blobs, each with the number of its block; None if the node's answer does not
    have the digest that the contract keeps.

    Raises an `RpcError` if the node fails.
    """
    topics = ["0x" + contract.artifact().events["BlobsAdded"].topic.hex(), "0x" + publication.publication_id.hex()]
    logs = logs_between(rpc, contract.address, topics, publication.first_block, publication.last_block)
    added = [(event, log.block_number) for log in logs for event in contract.events("BlobsAdded", [log])]
    added.sort(key=lambda item: int(item[0]["index"]))
    found = [(bytes(name), block) for event, block in added for name in event["hashes"]]
    return found if hashes_digest([name for name, _ in found]) == publication.digest else None
