"""
Blobs from a beacon node's API, or from a folder that keeps them.

`fetch_image` follows a URI of `chain.blob_places` and gives the image in the blobs; `read_place` gives all blobs of one
publication. A source's answer is untrusted: a blob is taken only if its commitment, computed here, has the versioned
hash that was asked for, so that a source can withhold blobs and not change them.

A source is the URL of a beacon API, of which `/eth/v1/beacon/blobs` and the older `/eth/v1/beacon/blob_sidecars` are
asked, or a folder with a file for each blob: its bytes, under its versioned hash, with or without 0x and .blob.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from opml_dispute import plain_json
from opml_dispute.availability.exchange import ExchangeFailed, ExchangeLimits, exchange
from opml_dispute.chain.blob_places import BlobBlock, BlobPlace, parse_blob_uri
from opml_dispute.chain.kzg import NotABlob, commitment_of, versioned_hash
from opml_dispute.chain.transport import public_url
from opml_dispute.engine.blob_row import BLOB_BYTES, WORD_BYTES, image_in, read_blobs
from opml_dispute.engine.hashing import merkle_root
from opml_dispute.errors import OpmlError
from opml_dispute.reading import Unreadable, read_bytes

MAX_ANSWER_BYTES: Final = 1 << 26
"""Of a beacon node about one block: room for more than two hundred blobs."""

_MAX_BLOBS_READ: Final = 256
"""Of one answer."""
_SMALL_ANSWER_BYTES: Final = 1 << 20
_SLOT_S: Final = 12
_INPUT_LOG2: Final = 36


class BlobsMissing(OpmlError):
    """Blobs cannot be had."""

    hint = "nodes keep blobs for some 18 days: name a beacon node or an archive that has them (OPML_BLOBS)"

    def __init__(self, reason: str, *, passes: bool = False) -> None:
        super().__init__(f"the blobs cannot be had: {reason}")
        self.reason, self.passes = reason, passes
        """`passes`: whether the same may go well at another time."""


def read_source(text: str) -> str:
    """A source as the operator wrote it. Raises `ValueError` if it can be none."""
    if "://" in text and re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", text) is None:
        raise ValueError("the URL of a beacon API begins with http:// or https:// and names a host")
    if not text:
        raise ValueError("expected the URL of a beacon API, or a folder")
    return text.rstrip("/") if "://" in text else text


def fetch_image(uri: str, sources: Sequence[str], *, max_bytes: int, deadline: float) -> bytes:
    """
    The image of an input root, from the first publication that the URI names and that has it.

    `deadline` is of `time.monotonic`. Raises `BlobsMissing`.
    """
    try:
        input_root, places = parse_blob_uri(uri)
    except ValueError as error:
        raise BlobsMissing(str(error)) from None
    reasons, passes = list[str](), False
    for place in places:
        if (place.leaf_count - 1) * WORD_BYTES >= max(max_bytes, 1):
            reasons.append(f"they would hold {place.leaf_count * WORD_BYTES:,} bytes, expected {max_bytes:,} at most")
            continue
        try:
            blobs = read_place(place, sources, deadline=deadline)
        except BlobsMissing as error:
            reasons.append(error.reason)
            passes = passes or error.passes
            continue
        image = image_in(read_blobs(blobs, place.shape))
        if merkle_root(image, _INPUT_LOG2) == input_root and not any(image[max_bytes:]):
            return image[:max_bytes]
        reasons.append("they hold another input: the publication can be refuted (opml-dispute input refute)")
    raise BlobsMissing("; ".join(dict.fromkeys(reasons)), passes=passes)


def read_place(place: BlobPlace, sources: Sequence[str], *, deadline: float) -> list[bytes]:
    """All blobs of a publication, in order. Raises `BlobsMissing`."""
    found: dict[bytes, bytes] = {}
    reasons, passes = list[str](), False
    for source in sources:
        for block in place.blocks:
            wanted = set(block.hashes) - found.keys()
            if not wanted:
                continue
            try:
                candidates = _from_web(source, block, deadline) if "://" in source else _from_folder(source, wanted)
                for blob in candidates:
                    if time.monotonic() > deadline:
                        raise ExchangeFailed("it took longer than it may take in all", passes=True)
                    name = _name_of(blob)
                    if name in wanted:
                        found[name] = blob
            except ExchangeFailed as error:
                reasons.append(f"{public_url(source)}: {error.reason}")
                passes = passes or error.passes
                break
    missing = [name for name in place.hashes if name not in found]
    if missing:
        which = f"{len(missing)} of {len(place.hashes)} are at none of the sources (0x{missing[0].hex()}, …)"
        raise BlobsMissing("; ".join([which, *reasons]), passes=passes)
    return [found[name] for name in place.hashes]


def _name_of(blob: bytes) -> bytes | None:
    try:
        return versioned_hash(commitment_of(blob))
    except NotABlob:
        return None


def _from_folder(source: str, wanted: set[bytes]) -> Iterator[bytes]:
    try:
        folder = Path(source).expanduser()
    except RuntimeError:
        raise ExchangeFailed("there is no account of this name", passes=False) from None
    if not folder.is_dir():
        raise ExchangeFailed("there is no such folder", passes=False)
    for name in wanted:
        for file in (folder / f"{prefix}{name.hex()}{end}" for prefix in ("0x", "") for end in (".blob", "")):
            try:
                yield read_bytes(file, max_bytes=BLOB_BYTES)
            except Unreadable:
                continue


# ---- beacon nodes ----


def _from_web(source: str, block: BlobBlock, deadline: float) -> Iterator[bytes]:
    """What a beacon node has of a block, whichever way it names the block."""
    names = ",".join("0x" + name.hex() for name in block.hashes)
    told = "it has no such block, or none of its blobs"
    for block_id in _block_ids(source, block, deadline):
        for path in (f"blobs/{block_id}?versioned_hashes={names}", f"blobs/{block_id}", f"blob_sidecars/{block_id}"):
            content, status = _get(f"{source}/eth/v1/beacon/{path}", MAX_ANSWER_BYTES, deadline)
            if status != 200:
                if status in (408, 425, 429) or status >= 500:
                    told = f"it answers {status}"
                continue
            blobs = list(_blobs_of(content))
            if blobs:
                yield from blobs
                return
    raise ExchangeFailed(told, passes=True)


def _block_ids(source: str, block: BlobBlock, deadline: float) -> Iterator[str]:
    """The beacon block's root, its slot, and, for local chains that have no beacon chain, the block's own hash."""
    if block.beacon_root is not None:
        yield "0x" + block.beacon_root.hex()
    slot = _slot(source, block.timestamp_s, deadline)
    if slot is not None and block.beacon_root is None:
        yield str(slot)
    yield "0x" + block.block_hash.hex()


def _slot(source: str, timestamp_s: int, deadline: float) -> int | None:
    """The slot of that time; None if the node does not tell when its chain began."""
    genesis, status = _get(f"{source}/eth/v1/beacon/genesis", _SMALL_ANSWER_BYTES, deadline)
    began_s = _number_in(genesis, "genesis_time") if status == 200 else None
    if began_s is None or began_s > timestamp_s:
        return None
    spec, status = _get(f"{source}/eth/v1/config/spec", _SMALL_ANSWER_BYTES, deadline)
    slot_s = (_number_in(spec, "SECONDS_PER_SLOT") if status == 200 else None) or _SLOT_S
    return (timestamp_s - began_s) // slot_s


def _number_in(content: bytes, name: str) -> int | None:
    text = _data_of(content)
    value = text.get(name) if isinstance(text, dict) else None
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,12}", value) else None


def _blobs_of(content: bytes) -> Iterator[bytes]:
    """The blobs of an answer of either form; what is none is passed over."""
    items = _data_of(content)
    for item in items[:_MAX_BLOBS_READ] if isinstance(items, list) else []:
        text = item.get("blob") if isinstance(item, dict) else item
        if isinstance(text, str) and len(text) == 2 + 2 * BLOB_BYTES and text[:2] in ("0x", "0X"):
            try:
                yield bytes.fromhex(text[2:])
            except ValueError:
                continue


def _data_of(content: bytes) -> Any:
    try:
        found = plain_json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found.get("data") if isinstance(found, dict) else None


def _get(url: str, max_bytes: int, deadline: float) -> tuple[bytes, int]:
    """The answer's content and status. Raises `ExchangeFailed`; the operator named the host, so it may be anywhere."""
    into = io.BytesIO()
    limits = ExchangeLimits(max_bytes, deadline, local=True)
    answer = exchange("GET", url, limits=limits, into=into, headers={"Accept": "application/json"})
    return into.getvalue(), answer.status
