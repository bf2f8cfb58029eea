"""Blobs from a beacon API or a folder: taken only if their commitments are right, whatever a source answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from opml_dispute.availability.blobs import BlobsMissing, fetch_image, read_source
from opml_dispute.availability.fetching import BadPolicy, CannotFetch, Fetcher, FetchPolicy
from opml_dispute.chain.blob_places import BlobBlock, BlobPlace, blob_uri, parse_blob_uri
from opml_dispute.chain.blob_transactions import Sidecar
from opml_dispute.engine.blob_row import RowShape, blobs_of
from opml_dispute.engine.hashing import merkle_root

IMAGE = bytes(range(1, 200)) * 10
ROOT = merkle_root(IMAGE, 36)
BLOBS = Sidecar.of(blobs_of(IMAGE))
OTHER = Sidecar.of(blobs_of(b"other"))
BLOCK = BlobBlock(timestamp_s=1_000_120, block_hash=b"\x11" * 32, beacon_root=None, hashes=BLOBS.hashes)
PLACE = BlobPlace(RowShape.of(len(IMAGE)).leaf_count, (BLOCK,))
URI = blob_uri(ROOT, [PLACE])

Answer = tuple[int, bytes]


class Beacon:
    """A beacon node that answers as a test says; `asked` are the paths."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.otherwise: Answer = (404, b'{"code": 404}')
        self.asked: list[str] = []
        self.delay_s = 0.0
        self.url = ""


@pytest.fixture
def beacon() -> Iterator[Beacon]:
    node = Beacon()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            node.asked.append(self.path)
            time.sleep(node.delay_s)
            status, body = node.answers.get(self.path.partition("?")[0], node.otherwise)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # who asked may have gone
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    node.url = f"http://127.0.0.1:{server.server_port}"
    yield node
    server.shutdown()
    server.server_close()


def newer(*blobs: bytes) -> Answer:
    return 200, json.dumps({"data": ["0x" + blob.hex() for blob in blobs]}).encode()


def older(*blobs: bytes) -> Answer:
    items = [{"index": "0", "blob": "0x" + blob.hex(), "kzg_commitment": "0x00"} for blob in blobs]
    return 200, json.dumps({"data": items}).encode()


def fetched(*sources: str, uri: str = URI, max_bytes: int = len(IMAGE), seconds: float = 60.0) -> bytes:
    return fetch_image(uri, sources, max_bytes=max_bytes, deadline=time.monotonic() + seconds)


IN_BLOBS, IN_SIDECARS = "/eth/v1/beacon/blobs/", "/eth/v1/beacon/blob_sidecars/"


@pytest.mark.parametrize(("path", "form"), [(IN_BLOBS, newer), (IN_SIDECARS, older)])
def test_both_forms_are_read(beacon: Beacon, path: str, form: Callable[..., Answer]) -> None:
    """Other blobs of the block, before it and behind it, do not matter."""
    beacon.answers[path + "0x" + "11" * 32] = form(OTHER.blobs[0], *BLOBS.blobs, OTHER.blobs[0])
    assert fetched(beacon.url) == IMAGE


def test_a_block_is_named_by_its_beacon_root_or_its_slot(beacon: Beacon) -> None:
    beacon.answers["/eth/v1/beacon/genesis"] = (200, b'{"data": {"genesis_time": "1000000"}}')
    beacon.answers["/eth/v1/config/spec"] = (200, b'{"data": {"SECONDS_PER_SLOT": "6"}}')
    beacon.answers[IN_BLOBS + "20"] = newer(*BLOBS.blobs)
    assert fetched(beacon.url) == IMAGE
    beacon.answers = {IN_BLOBS + "0x" + "22" * 32: newer(*BLOBS.blobs)}
    rooted = BlobPlace(PLACE.leaf_count, (BlobBlock(1, b"\x11" * 32, b"\x22" * 32, BLOBS.hashes),))
    assert fetched(beacon.url, uri=blob_uri(ROOT, [rooted])) == IMAGE


def test_a_changed_blob_is_not_taken(beacon: Beacon) -> None:
    changed = bytearray(BLOBS.blobs[0])
    changed[40] ^= 1
    beacon.otherwise = newer(bytes(changed))
    with pytest.raises(BlobsMissing, match="1 of 1 are at none of the sources"):
        fetched(beacon.url)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"data": 7}', b'{"data": {"0": "0x"}}'),
        *(b'{"data": ["0x00", 5, null, {"blob": 7}, {}]}', b'{"data": ["0x' + b"zz" * 131_072 + b'"]}'),
        json.dumps({"data": ["0x" + "ff" * 131_072] * 3}).encode(),
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_garbage_is_passed_over(beacon: Beacon, body: bytes) -> None:
    beacon.otherwise = (200, body)
    with pytest.raises(BlobsMissing):
        fetched(beacon.url)


def test_silence_and_size_end(beacon: Beacon, monkeypatch: pytest.MonkeyPatch) -> None:
    beacon.delay_s = 3.0
    with pytest.raises(BlobsMissing) as late:
        fetched(beacon.url, seconds=0.4)
    assert late.value.passes
    beacon.delay_s = 0.0
    beacon.otherwise = newer(*BLOBS.blobs)
    monkeypatch.setattr("opml_dispute.availability.blobs.MAX_ANSWER_BYTES", 1_000)
    monkeypatch.setattr("opml_dispute.availability.blobs._SMALL_ANSWER_BYTES", 1 << 20)
    with pytest.raises(BlobsMissing, match="expected at most 1,000"):
        fetched(beacon.url)


def test_sources_are_tried_in_turn(beacon: Beacon, tmp_path: Path) -> None:
    (tmp_path / BLOBS.hashes[0].hex()).write_bytes(BLOBS.blobs[0])
    assert (
        fetched(beacon.url, "http://127.0.0.1:9", str(tmp_path / "none"), "~no-such-account/blobs", str(tmp_path))
        == IMAGE
    )
    (tmp_path / BLOBS.hashes[0].hex()).write_bytes(BLOBS.blobs[0][:-1])
    with pytest.raises(BlobsMissing):
        fetched(str(tmp_path))


def test_a_publication_of_another_image_is_passed_over(tmp_path: Path) -> None:
    """Its blobs are what their hashes say, and do not have the root. Nor is one read that is too large."""
    for sidecar in (BLOBS, OTHER):
        (tmp_path / f"0x{sidecar.hashes[0].hex()}.blob").write_bytes(sidecar.blobs[0])
    wrong = BlobPlace(PLACE.leaf_count, (BlobBlock(1, b"\x11" * 32, None, OTHER.hashes),))
    assert fetched(str(tmp_path), uri=blob_uri(ROOT, [wrong, PLACE])) == IMAGE
    with pytest.raises(BlobsMissing, match="can be refuted"):
        fetched(str(tmp_path), uri=blob_uri(ROOT, [wrong]))
    with pytest.raises(BlobsMissing, match="expected 100 at most"):
        fetched(str(tmp_path), max_bytes=100)


def test_a_uri_is_read_back_or_refused() -> None:
    rooted = BlobBlock(5, b"\x11" * 32, b"\x22" * 32, (b"\x01" + b"\x33" * 31,))
    places = [BlobPlace(3, (rooted,)), PLACE]
    assert parse_blob_uri(blob_uri(ROOT, places)) == (ROOT, places)
    for bad in ("", "blobs:", "blobs:00", URI[:-1], URI + "!", URI + "/", URI.replace("!", "!0"), URI + "!1" * 20):
        with pytest.raises(ValueError, match="blobs"):
            parse_blob_uri(bad)
    with pytest.raises(ValueError, match="another number"):
        parse_blob_uri(URI.replace(f"!{PLACE.leaf_count}/", "!90000/"))


def test_the_fetcher_follows_it_where_a_source_is_named(tmp_path: Path) -> None:
    (tmp_path / f"0x{BLOBS.hashes[0].hex()}.blob").write_bytes(BLOBS.blobs[0])
    into = tmp_path / "image"
    Fetcher(FetchPolicy(blobs=(str(tmp_path),))).fetch(URI, into, max_bytes=len(IMAGE))
    assert into.read_bytes() == IMAGE
    for uri in (URI, "ethereum-blobs:0x12@1"):
        with pytest.raises(CannotFetch, match="OPML_BLOBS"):
            Fetcher(FetchPolicy()).fetch(uri, into)


def test_sources_that_can_be_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("ftp://host", "http://", "https://host/?key=1"):
        with pytest.raises(ValueError, match="beacon API"):
            read_source(text)
    monkeypatch.setenv("OPML_BLOBS", "https://beacon.example/, ftp://x")
    with pytest.raises(BadPolicy, match="no source of blobs"):
        FetchPolicy.of_environment()
    monkeypatch.setenv("OPML_BLOBS", "https://beacon.example/, archive")
    assert FetchPolicy.of_environment().blobs == ("https://beacon.example", "archive")
