"""
A publication in blobs, fetched and looked at by a process of its own.

Commitments and openings of blobs take long, and hold the interpreter all that time: an agent that has moves to make
leaves them to another process. `python -m opml_dispute.operator.blob_process` reads an order as JSON and says what it
found; `blob_order_text` writes one, and `read_found` reads the answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from opml_dispute import plain_json
from opml_dispute.availability.blobs import BlobsMissing
from opml_dispute.chain.blob_places import BlobPlace, blob_uri, parse_blob_uri
from opml_dispute.operator.blob_refuting import ShownFault, fault_at


def blob_order_text(place: BlobPlace, input_root: bytes, sources: Sequence[str], *, timeout_s: float) -> str:
    """An order for the other process."""
    return json.dumps({"uri": blob_uri(input_root, [place]), "sources": list(sources), "timeout_s": timeout_s})


def read_found(text: str) -> ShownFault | None:
    """What the other process found; None if the blobs are right. Raises `BlobsMissing`, `ValueError` for no answer."""
    raw = plain_json.loads(text)
    if "missing" in raw:
        raise BlobsMissing(str(raw["missing"]), passes=bool(raw["passes"]))
    if raw["fault"] is None:
        return None
    told = raw["fault"]
    return ShownFault(int(told["word"]), bytes.fromhex(told["openings"]), int(told["opening_count"]))


def main() -> None:
    """Looks at what standard input orders, and prints what is found."""
    raw: dict[str, Any] = json.loads(sys.stdin.read())
    input_root, (place,) = parse_blob_uri(raw["uri"])
    answer: dict[str, Any]
    try:
        shown = fault_at(place, input_root, raw["sources"], timeout_s=raw["timeout_s"])
    except BlobsMissing as error:
        answer = {"missing": error.reason, "passes": error.passes}
    else:
        answer = {"fault": None if shown is None else asdict(shown) | {"openings": shown.openings.hex()}}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
