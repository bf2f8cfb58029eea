"""
Publication in parts of an input that one transaction cannot hold, before the request is made.

`publication_intents` makes a transaction for each missing part: parts that the chain has from an interrupted run are
not sent again. An input that any account has published needs no transaction.
"""

from __future__ import annotations

from itertools import count
from typing import Final

from opml_dispute.chain.input_parts import digest_of, parts_of
from opml_dispute.chain.system import System
from opml_dispute.chain.transactions import MAX_TRANSACTION_BYTES
from opml_dispute.engine.hashing import keccak256
from opml_dispute.operator.intents import Intent
from opml_dispute.primitives import Address

MAX_WHOLE_INPUT_BYTES: Final = MAX_TRANSACTION_BYTES - (1 << 15)
"""A larger input is published in parts, unless the requester says otherwise; the limit leaves room for the other
arguments."""


def publication_intents(system: System, publisher: Address, image: bytes) -> list[Intent]:
    """One transaction for each part that is missing; none if the input is published. They depend on each other."""
    # Not above: arrays take a while to import, and most requests need no parts.
    from opml_dispute.engine.segment import INPUT, section_root

    contract = system.input_parts
    root = section_root(image, INPUT)
    if system.rpc.read(contract.publication(root)).size_bytes:
        return []
    parts = parts_of(image)
    salt, done = _upload(system, publisher, root, parts)
    return [
        Intent(
            kind="publish",
            call=contract.add_part(salt, index, part, is_last=index == len(parts) - 1),
            will=f"Will publish part {index + 1} of {len(parts)} of the input: {len(part):,} bytes",
            did=lambda _, index=index: f"Published part {index + 1} of {len(parts)}",  # type: ignore[misc]
            facts={"input_root": root, "part": index, "parts": len(parts), "bytes": len(part)},
        )
        for index, part in enumerate(parts)
        if index >= done
    ]


def _upload(system: System, publisher: Address, root: bytes, parts: list[bytes]) -> tuple[bytes, int]:
    """The salt of the upload to go on with, and how many of the parts it has."""
    for attempt in count():
        # The root alone names the first attempt; if that holds other parts, a new one starts.
        salt = bytes(root) if attempt == 0 else bytes(keccak256(bytes(root) + attempt.to_bytes(32, "big")))
        upload_id = system.rpc.read(system.input_parts.upload_id(publisher, salt))
        upload = system.rpc.read(system.input_parts.upload(upload_id))
        is_ours = upload.part_count <= len(parts) and upload.digest == digest_of(parts[: upload.part_count])
        if is_ours and not upload.is_complete:
            return salt, upload.part_count
    raise AssertionError("unreachable")
