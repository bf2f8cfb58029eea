"""Blobs on a local chain."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from opml_dispute.chain.blob_transactions import Sidecar
from opml_dispute.chain.input_blobs import publication_terms
from opml_dispute.engine.blob_row import RowShape, pack, row_of
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.operator.blob_publishing import blob_publication

if TYPE_CHECKING:
    from tests.conftest import Chain

IMAGE = random.Random(3).randbytes(40_000)
ROOT = merkle_root(IMAGE, 36)
SHAPE = RowShape.of(len(IMAGE))


def publish_wrong(chain: Chain, flipped: int | None) -> bytes:
    """
    A publication of ROOT by the liar, which is its result: one byte of its row is another, or all of it of another
    image.
    """
    system, salt, sender = chain.system(), b"\7" * 32, chain.sender("proposer")
    row = bytearray(row_of(IMAGE if flipped is not None else IMAGE[::-1]))
    if flipped is not None:
        row[flipped] ^= 0x40
    call = system.input_blobs.publish(salt, 0, ROOT, SHAPE.leaf_count, Sidecar.of(pack(bytes(row))))
    sender.send(call, value_wei=publication_terms(system.rpc, system.input_blobs).bond_wei)
    return system.rpc.read(system.input_blobs.publication_id(sender.address, salt, ROOT, SHAPE.leaf_count))


def publish_right(chain: Chain) -> None:
    """A publication of ROOT by the requester, as `request` makes it."""
    system, sender = chain.system(), chain.sender("requester")
    for intent in blob_publication(system, sender.address, IMAGE).intents:
        sender.send(intent.call, value_wei=intent.value_wei)
