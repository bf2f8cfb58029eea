"""
Where the blobs of an input are: in which blocks, and under which names; and a URI that says so.

The contract and its events tell it (`blob_uri_of`), and the URI is followed as any other that an input is fetched by.
It is made here from what the chain says, and never sent to the chain. Like every URI it is untrusted: `parse_blob_uri`
reads it strictly, and what it leads to is held against the input root.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from opml_dispute.chain.input_blobs import BlobPublication, InputBlobs, hashes_of, publications_of
from opml_dispute.chain.rpc import Rpc
from opml_dispute.engine.blob_row import MAX_BLOBS, RowShape

SCHEME: Final = "blobs"
PUBLISHED_SCHEME: Final = "ethereum-blobs"
"""What a request says whose input is in blobs: this, the contract, @, and the chain's id."""

MAX_PLACES: Final = 16
"""Publications that are tried for one input."""

_BLOCK: Final = re.compile(r"([0-9]{1,15})\.([0-9a-f]{64})\.([0-9a-f]{64})?((?:\.[0-9a-f]{64}){1,64})")


@dataclass(frozen=True)
class BlobBlock:
    """Blobs of one block of the chain."""

    timestamp_s: int
    """When the block was made: it gives the slot of its beacon block."""
    block_hash: bytes
    beacon_root: bytes | None
    """The root of its beacon block; None as long as no block follows, and on chains without a beacon chain."""
    hashes: tuple[bytes, ...]
    """The blobs' versioned hashes, in the order of the row."""


@dataclass(frozen=True)
class BlobPlace:
    """All blobs of one publication."""

    leaf_count: int
    blocks: tuple[BlobBlock, ...]

    @property
    def shape(self) -> RowShape:
        """The places of the row's words."""
        return RowShape(self.leaf_count)

    @property
    def hashes(self) -> list[bytes]:
        """The versioned hashes of all blobs."""
        return [name for block in self.blocks for name in block.hashes]


def place_of(rpc: Rpc, contract: InputBlobs, publication: BlobPublication) -> BlobPlace | None:
    """Where a publication's blobs are; None if the node does not tell it rightly. Raises an `RpcError` if it fails."""
    found = hashes_of(rpc, contract, publication)
    if found is None:
        return None
    blocks = []
    for number, items in groupby(found, key=lambda item: item[1]):
        block = rpc.block(number)
        if block is None:
            return None
        hashes = tuple(name for name, _ in items)
        blocks.append(BlobBlock(block.timestamp, block.hash, _beacon_root(rpc, number), hashes))
    return BlobPlace(publication.leaf_count, tuple(blocks))


def _beacon_root(rpc: Rpc, number: int) -> bytes | None:
    """The root of the beacon block that a block lies in: the next one names it (EIP-4788)."""
    following = rpc.request("eth_getBlockByNumber", hex(number + 1), False)
    text: Any = following.get("parentBeaconBlockRoot") if isinstance(following, dict) else None
    if not isinstance(text, str) or re.fullmatch("0x[0-9a-fA-F]{64}", text) is None:
        return None
    root = bytes.fromhex(text[2:])
    return root if any(root) else None


def blob_uri_of(rpc: Rpc, contract: InputBlobs, input_root: bytes) -> str | None:
    """A URI that leads to the blobs of a root, those published last first; None if there are none."""
    publications = publications_of(rpc, contract, input_root)[:MAX_PLACES]
    places = [place_of(rpc, contract, publication) for publication in publications]
    found = [place for place in places if place is not None]
    return blob_uri(input_root, found) if found else None


def blob_uri(input_root: bytes, places: Sequence[BlobPlace]) -> str:
    """The URI of these places."""
    parts = [f"{SCHEME}:{input_root.hex()}"]
    for place in places:
        parts.append(f"!{place.leaf_count}")
        for block in place.blocks:
            beacon_root = "" if block.beacon_root is None else block.beacon_root.hex()
            names = ".".join(name.hex() for name in block.hashes)
            parts.append(f"/{block.timestamp_s}.{block.block_hash.hex()}.{beacon_root}.{names}")
    return "".join(parts)


def parse_blob_uri(uri: str) -> tuple[bytes, list[BlobPlace]]:
    """The input root and the places of a URI. Raises `ValueError` if it is none."""
    head, *texts = uri.split("!")
    found = re.fullmatch(rf"{SCHEME}:([0-9a-f]{{64}})", head)
    if found is None or not 1 <= len(texts) <= MAX_PLACES:
        raise ValueError("it names no blobs")
    return bytes.fromhex(found[1]), [_parse_place(text) for text in texts]


def _parse_place(text: str) -> BlobPlace:
    count, *blocks = text.split("/")
    if re.fullmatch("[1-9][0-9]{0,7}", count) is None:
        raise ValueError("it names no blobs")
    place = BlobPlace(int(count), tuple(_parse_block(block) for block in blocks))
    if place.shape.blob_count > MAX_BLOBS or len(place.hashes) != place.shape.blob_count:
        raise ValueError("it names another number of blobs than its image takes")
    return place


def _parse_block(text: str) -> BlobBlock:
    found = _BLOCK.fullmatch(text)
    if found is None:
        raise ValueError("it names no blobs")
    timestamp, block_hash, beacon_root, names = found.groups()
    return BlobBlock(
        int(timestamp),
        bytes.fromhex(block_hash),
        None if not beacon_root else bytes.fromhex(beacon_root),
        tuple(bytes.fromhex(name) for name in names[1:].split(".")),
    )
