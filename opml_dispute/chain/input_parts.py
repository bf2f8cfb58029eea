"""
Inputs published in parts: the contract, typed, and the image behind an input root.

An input that one transaction cannot hold is published at `InputParts` in parts of 64 KiB; the chain computes its root.
`published_image` collects the parts from the contract's events and checks them against the root, so that a wrong answer
of the node or of the publisher is noticed (docs/game.md, "Inputs in parts").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from opml_dispute.chain.contracts.contract import Contract
from opml_dispute.chain.events import logs_between
from opml_dispute.chain.rpc import Call, Rpc
from opml_dispute.engine.hashing import hash_pair, merkle_root
from opml_dispute.primitives import Address, Hash32

LOG2_PART_BYTES: Final = 16
PART_BYTES: Final = 1 << LOG2_PART_BYTES
"""The size of every part but the last."""

INPUT_LOG2_SIZE: Final = 36
"""The INPUT section has 2^36 bytes."""


@dataclass(frozen=True)
class Upload:
    """An input that is being published, or was published."""

    part_count: int
    first_block: int
    is_complete: bool
    digest: bytes
    """Commits to all parts so far: `digest_of`."""


@dataclass(frozen=True)
class Publication:
    """Where the image behind an input root can be found."""

    size_bytes: int
    """0 if nothing was published."""
    first_block: int
    last_block: int
    upload_id: bytes


class InputParts(Contract):
    """Publishes inputs that are too large for one transaction."""

    artifact_name = "InputParts"

    def add_part(self, salt: bytes, index: int, part: bytes, *, is_last: bool) -> Call[None]:
        """Add a part to an upload of the sender."""
        return self._call(lambda _: None, "addPart", salt, index, part, is_last)

    def upload_id(self, publisher: Address, salt: bytes) -> Call[bytes]:
        """The id of a publisher's upload."""
        return self._call(bytes, "uploadIdOf", publisher, salt)

    def upload(self, upload_id: bytes) -> Call[Upload]:
        """The state of an upload."""
        return self._call(lambda v: Upload(int(v[0]), int(v[1]), bool(v[2]), bytes(v[3])), "uploads", upload_id)

    def publication(self, input_root: bytes) -> Call[Publication]:
        """Where the image of this root was published first."""
        return self._call(
            lambda v: Publication(int(v[0]), int(v[1]), int(v[2]), bytes(v[3])), "publications", input_root
        )


def parts_of(image: bytes) -> list[bytes]:
    """The parts of an image: at least one unless it is empty."""
    return [image[at : at + PART_BYTES] for at in range(0, len(image), PART_BYTES)]


def digest_of(parts: list[bytes]) -> Hash32:
    """The contract's digest of these first parts of an upload."""
    digest = Hash32(bytes(32))
    for part in parts:
        digest = hash_pair(digest, merkle_root(part, LOG2_PART_BYTES))
    return digest


def published_image(rpc: Rpc, contract: InputParts, input_root: bytes) -> bytes | None:
    """
    The image that was published for this root, without the trailing zeros that its publisher left out.

    None if none was published, or if the node's answer does not have the root. Raises an `RpcError` if the node fails.
    """
    publication = rpc.read(contract.publication(input_root))
    if publication.size_bytes == 0:
        return None
    topics = ["0x" + contract.artifact().events["PartAdded"].topic.hex(), "0x" + publication.upload_id.hex()]
    logs = logs_between(rpc, contract.address, topics, publication.first_block, publication.last_block)
    parts = {int(event["index"]): bytes(event["part"]) for event in contract.events("PartAdded", logs)}
    image = b"".join(parts[index] for index in sorted(parts))[: publication.size_bytes]
    return image if merkle_root(image, INPUT_LOG2_SIZE) == input_root else None
