"""
From a URI to a file: `Fetcher.fetch`, within the limits of a `FetchPolicy`.

`file:`, `http:` and `https:` are followed as they are, `ipfs:` through the gateways that the operator names, `blobs:`
to the beacon nodes and archives that the operator names. URIs come from the chain, so by default none may lead to a
file of this computer or to an address that is not public, directly or by a redirection (`local` allows both). The
content is not checked here.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from opml_dispute.availability.addresses import AddressRefused
from opml_dispute.availability.blobs import BlobsMissing, fetch_image, read_source
from opml_dispute.availability.exchange import ExchangeFailed, ExchangeLimits, exchange
from opml_dispute.chain.blob_places import PUBLISHED_SCHEME
from opml_dispute.chain.blob_places import SCHEME as BLOB_SCHEME
from opml_dispute.chain.transport import public_url
from opml_dispute.errors import OpmlError
from opml_dispute.reading import Unreadable, copy_file

MAX_REDIRECTS: Final = 5
ALLOWED: Final = ("nothing", "public", "local")

_CID: Final = re.compile(r"[a-zA-Z0-9]{32,128}")


class CannotFetch(OpmlError):
    """The content of a URI cannot be fetched."""

    hint = "ask its publisher, or give the file: --model, --input-image"

    def __init__(self, uri: str, reason: str, *, passes: bool = False, hint: str | None = None) -> None:
        super().__init__(f"cannot fetch {public_url(uri)}: {reason}", hint=hint)
        self.uri, self.reason = uri, reason
        self.passes = passes
        """Whether the same may go well at another time."""


@dataclass(frozen=True)
class FetchPolicy:
    """The permitted URIs, and the limits of fetching."""

    allow: str = "public"
    """One of `ALLOWED`: `local` adds files of this computer and addresses that are not public."""
    gateways: tuple[str, ...] = ()
    """Of IPFS, tried in turn: `https://gateway.example`, or `http://127.0.0.1:8080` of a node of one's own."""
    blobs: tuple[str, ...] = ()
    """Where blobs are looked for, in turn: URLs of beacon APIs, and folders."""
    max_bytes: int = 1 << 37
    timeout_s: float = 1_800.0
    """For one file."""

    @classmethod
    def of_environment(cls) -> FetchPolicy:
        """
        What OPML_FETCH (nothing, public or local), OPML_IPFS_GATEWAY and OPML_BLOBS (with commas between) say.

        Raises `BadPolicy`.
        """
        gateways, blobs = os.environ.get("OPML_IPFS_GATEWAY", ""), os.environ.get("OPML_BLOBS", "")
        return cls(
            allow=read_allowed(os.environ.get("OPML_FETCH") or "public"),
            gateways=tuple(read_gateway(text.strip()) for text in gateways.split(",") if text.strip()),
            blobs=tuple(read_blobs_at(text.strip()) for text in blobs.split(",") if text.strip()),
        )


class BadPolicy(OpmlError):
    """A setting of what may be fetched cannot be read."""

    hint = (
        "OPML_FETCH is nothing, public or local; OPML_IPFS_GATEWAY is a URL such as http://127.0.0.1:8080; "
        "OPML_BLOBS is that of a beacon API, such as http://127.0.0.1:5052, or a folder"
    )


def read_allowed(text: str) -> str:
    """One of `ALLOWED`. Raises `BadPolicy`."""
    if text not in ALLOWED:
        raise BadPolicy(f"{text!r} does not say what may be fetched: expected one of {', '.join(ALLOWED)}")
    return text


def read_gateway(text: str) -> str:
    """A gateway's URL without a slash at its end. Raises `BadPolicy`."""
    if re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", text) is None:
        raise BadPolicy(f"{public_url(text)!r} is not the URL of a gateway: expected http:// or https:// and a host")
    return text.rstrip("/")


def read_blobs_at(text: str) -> str:
    """Where blobs are: the URL of a beacon API, or a folder. Raises `BadPolicy`."""
    try:
        return read_source(text)
    except ValueError as error:
        raise BadPolicy(f"{public_url(text)!r} is no source of blobs: {error}") from None


@dataclass(frozen=True)
class Fetcher:
    """Follows URIs by one policy."""

    policy: FetchPolicy

    @classmethod
    def of_environment(cls) -> Fetcher:
        """By what the environment says. Raises `BadPolicy`."""
        return cls(FetchPolicy.of_environment())

    def obstacle(self, uri: str) -> str | None:
        """Why a URI can never be followed under this policy, as a clause; None if it can be tried."""
        scheme = uri.partition(":")[0].lower()
        if not uri:
            return "no URI is named"
        if self.policy.allow == "nothing":
            return "nothing may be fetched (OPML_FETCH, or fetch.allow)"
        if scheme == "file" and self.policy.allow != "local":
            return "files of this computer may not be fetched (OPML_FETCH=local, or fetch.allow, allows it)"
        if scheme == "ipfs" and not self.policy.gateways:
            return "no IPFS gateway is named (OPML_IPFS_GATEWAY, or fetch.gateways)"
        if scheme == "ipfs" and not _is_content(uri):
            return "it names no content of IPFS"
        if scheme in (BLOB_SCHEME, PUBLISHED_SCHEME) and not self.policy.blobs:
            return "its blobs are looked for nowhere: name a beacon API or a folder (OPML_BLOBS, or fetch.blobs)"
        if scheme not in ("file", "http", "https", "ipfs", BLOB_SCHEME):
            return f"a URI of the kind {scheme[:20]!r} cannot be followed; file, http, https and ipfs can"
        return None

    def fetch(self, uri: str, into: Path, *, max_bytes: int | None = None) -> None:
        """Writes what `uri` names to the file `into`. Raises `CannotFetch`; the file may hold a part of it then."""
        obstacle = self.obstacle(uri)
        if obstacle is not None:
            raise CannotFetch(uri, obstacle)
        most = self.policy.max_bytes if max_bytes is None else min(max_bytes, self.policy.max_bytes)
        scheme = uri.partition(":")[0].lower()
        if scheme == "file":
            _copy(uri, into, most)
        elif scheme == "ipfs":
            self._from_gateways(uri, into, most)
        elif scheme == BLOB_SCHEME:
            self._from_blobs(uri, into, most)
        else:
            self._from_web(uri, uri, into, most)

    def _from_gateways(self, uri: str, into: Path, max_bytes: int) -> None:
        content, path = _ipfs_parts(uri)
        reasons: list[str] = []
        passes = False
        for gateway in self.policy.gateways:
            try:
                self._from_web(uri, f"{gateway}/ipfs/{content}{quote(unquote(path))}", into, max_bytes, home=gateway)
                return
            except CannotFetch as error:
                reasons.append(f"{public_url(gateway)}: {error.reason}")
                passes = passes or error.passes
        raise CannotFetch(uri, "; ".join(reasons), passes=passes)

    def _from_blobs(self, uri: str, into: Path, max_bytes: int) -> None:
        deadline = time.monotonic() + self.policy.timeout_s
        try:
            into.write_bytes(fetch_image(uri, self.policy.blobs, max_bytes=max_bytes, deadline=deadline))
        except BlobsMissing as error:
            raise CannotFetch(uri, error.reason, passes=error.passes, hint=error.hint) from None
        except OSError as error:
            raise CannotFetch(uri, f"cannot write {into}: {error.strerror}", passes=True) from None

    def _from_web(self, uri: str, url: str, into: Path, max_bytes: int, *, home: str | None = None) -> None:
        """`home` is a gateway that the operator named: its own computer may be asked, wherever it is."""
        deadline = time.monotonic() + self.policy.timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            local = self.policy.allow == "local" or (home is not None and _is_at_home(url, home))
            try:
                with into.open("wb") as file:
                    answer = exchange("GET", url, limits=ExchangeLimits(max_bytes, deadline, local), into=file)
            except AddressRefused as error:
                raise CannotFetch(uri, f"{error} (OPML_FETCH=local, or fetch.allow, allows it)") from None
            except ExchangeFailed as error:
                raise CannotFetch(uri, error.reason, passes=error.passes) from None
            except OSError as error:
                raise CannotFetch(uri, f"cannot write {into}: {error.strerror}", passes=True) from None
            if answer.status == 200:
                return
            if answer.status not in (301, 302, 303, 307, 308) or not answer.location:
                passes = answer.status in (408, 425, 429) or answer.status >= 500
                raise CannotFetch(uri, f"the server answers {answer.status}", passes=passes)
            url = _redirected(uri, url, answer.location)
        raise CannotFetch(uri, f"it is redirected more than {MAX_REDIRECTS} times")


def _redirected(uri: str, url: str, location: str) -> str:
    """The target of a redirection, by http or https. Raises `CannotFetch`."""
    try:
        following = urljoin(url, location)
        scheme = urlsplit(following).scheme
    except ValueError:
        raise CannotFetch(uri, "it is redirected to what is no URL") from None
    if scheme not in ("http", "https"):
        raise CannotFetch(uri, f"it is redirected to a URI of the kind {scheme[:20]!r}")
    if urlsplit(url).scheme == "https" and scheme == "http":
        raise CannotFetch(uri, "it is redirected from https to http")
    return following


def _is_at_home(url: str, gateway: str) -> bool:
    """Whether a URL leads to the gateway itself, or to one of the subdomains that gateways give to each content."""
    asked, home = urlsplit(url), urlsplit(gateway)
    try:
        same_port = (asked.scheme, asked.port) == (home.scheme, home.port)
    except ValueError:
        return False
    host, own = asked.hostname or "", home.hostname or ""
    return same_port and (host == own or host.endswith("." + own))


def _is_content(uri: str) -> bool:
    """Whether an ipfs URI names content, and nothing else that a gateway's computer offers beside it."""
    content, path = _ipfs_parts(uri)
    return _CID.fullmatch(content) is not None and not {".", ".."} & set(re.split(r"[/\\]", unquote(path)))


def _ipfs_parts(uri: str) -> tuple[str, str]:
    """The content's id and the path in it."""
    rest = uri.partition(":")[2].lstrip("/").removeprefix("ipfs/").partition("?")[0].partition("#")[0]
    content, slash, path = rest.partition("/")
    return content, slash + path


def _copy(uri: str, into: Path, max_bytes: int) -> None:
    try:
        parts = urlsplit(uri)
        host = parts.netloc
    except ValueError:
        raise CannotFetch(uri, "it is no URI") from None
    if host not in ("", "localhost"):
        raise CannotFetch(uri, f"the file is on another computer, {host[:60]}")
    try:
        copy_file(Path(unquote(parts.path)), into, max_bytes=max_bytes)
    except Unreadable as error:
        raise CannotFetch(uri, error.reason) from None
