"""What a URI names is fetched whole, or refused with the reason: never without end, never from where it may not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opml_dispute.availability import exchange
from opml_dispute.availability.fetching import BadPolicy, CannotFetch, Fetcher, FetchPolicy, read_gateway
from tests.support.content_server import ContentServer, serving

CID = "bafy" + "a" * 55


@pytest.fixture
def server() -> Iterator[ContentServer]:
    with serving() as found:
        yield found


def local(**changes: object) -> Fetcher:
    return Fetcher(FetchPolicy(allow="local", **changes))  # type: ignore[arg-type]


def fetch(fetcher: Fetcher, uri: str, tmp_path: Path, max_bytes: int = 1 << 20) -> bytes:
    into = tmp_path / "fetched"
    fetcher.fetch(uri, into, max_bytes=max_bytes)
    return into.read_bytes()


def refused(fetcher: Fetcher, uri: str, tmp_path: Path, max_bytes: int = 1 << 20) -> CannotFetch:
    with pytest.raises(CannotFetch) as error:
        fetch(fetcher, uri, tmp_path, max_bytes)
    return error.value


def test_content_is_fetched_whole(server: ContentServer, tmp_path: Path) -> None:
    server.files["/a%20model?v=1"] = bytes(range(256)) * 1000
    assert fetch(local(), f"{server.url}/a model?v=1", tmp_path) == server.files["/a%20model?v=1"]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("404", "answers 404"),
        ("500", "answers 500"),
        ("silent", "sent nothing for 0.6 s"),
        ("slow", "slower than"),
        ("endless", "more than 1,048,576 bytes"),
        ("packed", "its content is packed"),
        ("short", "ended after 0 of 10 bytes"),
    ],
)
def test_server_that_misbehaves_is_given_up(
    server: ContentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, says: str
) -> None:
    monkeypatch.setattr(exchange, "PATIENCE_S", 0.6)
    server.misbehaving["/x"] = how
    begun = time.monotonic()
    error = refused(local(), f"{server.url}/x", tmp_path)
    assert time.monotonic() - begun < 10
    assert any(words in str(error) for words in says.split("|")), error


def test_time_for_a_file_is_limited_as_a_whole(server: ContentServer, tmp_path: Path) -> None:
    """However regularly its bytes come."""
    server.misbehaving["/x"] = "slow"
    begun = time.monotonic()
    assert "longer than it may" in str(refused(local(timeout_s=0.5), f"{server.url}/x", tmp_path))
    assert time.monotonic() - begun < 5


def test_announced_size_is_refused_before_it_is_read(server: ContentServer, tmp_path: Path) -> None:
    server.files["/x"] = bytes(100)
    assert "it has 100 bytes, expected at most 99" in str(refused(local(), f"{server.url}/x", tmp_path, 99))
    assert fetch(local(), f"{server.url}/x", tmp_path, 100) == bytes(100)


def test_nothing_listens(tmp_path: Path) -> None:
    """A port where no server listens is an error that passes."""
    error = refused(local(), "http://127.0.0.1:1/x", tmp_path)
    assert "nothing listens" in str(error)
    assert error.passes


# ---- where a URI may lead ----


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1", "169.254.169.254", "10.0.0.1"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_uri_from_the_chain_reaches_no_private_address(scheme: str, host: str, tmp_path: Path) -> None:
    error = refused(Fetcher(FetchPolicy()), f"{scheme}://{host}:9/x", tmp_path)
    assert "not an address of the public network" in str(error)
    assert not error.passes


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("file:///etc/hostname", "of the kind 'file'"),
        ("ftp://example.org/x", "of the kind 'ftp'"),
        ("http://127.0.0.1:9/x", "not an address of the public network"),
        ("//127.0.0.1:9/x", "not an address of the public network"),
        ("http://[bad", "no URL|not an address"),
        ("javascript:alert(1)", "of the kind 'javascript'"),
    ],
)
def test_redirection_leads_nowhere_that_the_uri_may_not(
    server: ContentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, says: str
) -> None:
    """The gateway is the operator's own, so its loopback address may be asked; where it sends us may not."""
    server.redirects[f"/ipfs/{CID}"] = target
    fetcher = Fetcher(FetchPolicy(gateways=(server.url,)))
    error = refused(fetcher, f"ipfs://{CID}", tmp_path)
    assert any(words in str(error) for words in says.split("|")), error


def test_redirections_are_followed_a_few_times(server: ContentServer, tmp_path: Path) -> None:
    server.files["/end"] = b"there"
    server.redirects = {"/1": "/2", "/2": f"{server.url}/end", "/loop": "/loop"}
    assert fetch(local(), f"{server.url}/1", tmp_path) == b"there"
    assert "redirected more than 5 times" in str(refused(local(), f"{server.url}/loop", tmp_path))
    assert len(server.asked) == 3 + 6


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "no URI is named"),
        ("file:///etc/hostname", "files of this computer may not be fetched"),
        ("ipfs://" + CID, "no IPFS gateway is named"),
        ("ftp://example.org/x", "cannot be followed"),
        ("package:x", "cannot be followed"),
        ("http://", "cannot reach|not an address"),
        ("http://[1/x", "cannot reach|no URI|not an address"),
        ("http://host:99999999/x", "cannot reach|not an address"),
        ("http://" + "a" * 300 + "/x", "cannot be one|not known"),
    ],
)
def test_uri_that_cannot_be_followed_is_refused(uri: str, says: str, tmp_path: Path) -> None:
    error = refused(Fetcher(FetchPolicy()), uri, tmp_path)
    assert any(words in str(error) for words in says.split("|")), error


def test_nothing_is_fetched_where_nothing_may_be(server: ContentServer, tmp_path: Path) -> None:
    server.files["/x"] = b"x"
    refused(Fetcher(FetchPolicy(allow="nothing", gateways=(server.url,))), f"{server.url}/x", tmp_path)
    assert server.asked == []


# ---- ipfs and files ----


def test_content_of_ipfs_comes_through_the_first_gateway_that_has_it(server: ContentServer, tmp_path: Path) -> None:
    with serving() as empty:
        server.files[f"/ipfs/{CID}/model.onnx"] = b"model"
        fetcher = Fetcher(FetchPolicy(gateways=(empty.url, server.url)))
        assert fetch(fetcher, f"ipfs://{CID}/model.onnx", tmp_path) == b"model"
        assert empty.asked == [f"/ipfs/{CID}/model.onnx"]
        missing = refused(fetcher, f"ipfs://{CID}/none", tmp_path)
        assert str(missing).count("answers 404") == 2, "each gateway is named with its reason"
    beside = [
        f"ipfs://{CID}/{way}api/v0/id" for way in ("../../", "a/../../../", "%2e%2e/%2E%2E/", "..%2f..%2f", "..\\")
    ]
    for uri in ("ipfs://../../etc", "ipfs://x", "ipfs://", *beside):
        assert "names no content" in str(refused(fetcher, uri, tmp_path))


def test_file_is_copied_within_limits(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"x" * 100)
    uri = path.as_uri()
    assert fetch(local(), uri, tmp_path) == b"x" * 100
    assert "100 bytes, expected 99 at most" in str(refused(local(), uri, tmp_path, 99))
    os.mkfifo(tmp_path / "pipe")
    for name, says in (("pipe", "no regular file"), ("none", "No such file"), ("", "directory")):
        assert says in str(refused(local(), f"file://{tmp_path}/{name}", tmp_path))
    assert "no regular file" in str(refused(local(), "file:///dev/zero", tmp_path))
    assert "on another computer" in str(refused(local(), "file://elsewhere/x", tmp_path))


# ---- settings ----


def test_environment_says_what_may_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPML_FETCH", "local")
    monkeypatch.setenv("OPML_IPFS_GATEWAY", "http://127.0.0.1:8080/, https://gateway.example")
    policy = FetchPolicy.of_environment()
    assert (policy.allow, policy.gateways) == ("local", ("http://127.0.0.1:8080", "https://gateway.example"))
    monkeypatch.setenv("OPML_FETCH", "everything")
    with pytest.raises(BadPolicy, match="expected one of nothing, public, local"):
        FetchPolicy.of_environment()
    for text in ("gateway.example", "ftp://x", "http://", "http://a b"):
        with pytest.raises(BadPolicy):
            read_gateway(text)
