"""
One HTTP exchange with an untrusted server, within limits.

`exchange` sends one request and writes the answer's content to a file. The server may be silent, slow, endless, or say
one length and send another: each ends in `ExchangeFailed` with the reason. Redirections are told, not followed, and no
content is unpacked: none is asked for in a packed form, and what comes so all the same is refused.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, BinaryIO, Final, Protocol
from urllib.parse import quote, urlsplit

from opml_dispute.availability.addresses import resolve
from opml_dispute.chain.transport import TimedResponse, public_url
from opml_dispute.errors import OpmlError

CONNECT_S: Final = 10.0
PATIENCE_S: Final = 30.0
"""How long a server may send nothing, in seconds."""
LEAST_RATE: Final = 1 << 12
"""Bytes a second, on average after `PATIENCE_S`: what comes slower would hold a place for hours."""
_CHUNK: Final = 1 << 16


class ExchangeFailed(OpmlError):
    """A server did not deliver the requested content."""

    def __init__(self, reason: str, *, passes: bool) -> None:
        """`passes`: whether the same may go well at another time."""
        super().__init__(reason)
        self.reason, self.passes = reason, passes


@dataclass(frozen=True)
class ExchangeLimits:
    """The limits of an exchange."""

    max_bytes: int
    deadline: float
    """Of `time.monotonic`."""
    local: bool = False
    """Whether computers that are not public may be asked."""


@dataclass(frozen=True)
class Answer:
    """The answer's status and headers, without the content."""

    status: int
    location: str | None
    size_bytes: int


class Body(Protocol):
    """Content that is sent: its length is known, and it is read in turn."""

    size_bytes: int

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""
        ...


def exchange(
    method: str,
    url: str,
    *,
    limits: ExchangeLimits,
    into: BinaryIO,
    headers: Mapping[str, str] | None = None,
    body: Body | None = None,
) -> Answer:
    """One request; the content of the answer is written to `into`. Raises `ExchangeFailed` and `AddressRefused`."""
    try:
        return _exchange(method, url, limits, into, dict(headers or {}), body)
    except TimeoutError:
        raise ExchangeFailed(_late(limits.deadline), passes=True) from None
    except ssl.SSLError as error:
        raise ExchangeFailed(f"TLS failed ({error.reason or type(error).__name__})", passes=True) from None
    except ConnectionRefusedError:
        raise ExchangeFailed("nothing listens there", passes=True) from None
    except socket.gaierror:
        raise ExchangeFailed("the host's name is not known", passes=True) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        detail = str(error) if type(error) is OSError else type(error).__name__
        raise ExchangeFailed(f"the connection failed ({detail})", passes=True) from None


def _late(deadline: float) -> str:
    over = time.monotonic() >= deadline
    return "it took longer than it may take in all" if over else f"it sent nothing for {PATIENCE_S:g} s"


def _exchange(
    method: str, url: str, limits: ExchangeLimits, into: BinaryIO, headers: dict[str, str], body: Body | None
) -> Answer:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise ExchangeFailed(f"{public_url(url)} is not an address that http or https can reach", passes=False)
    is_tls = parts.scheme == "https"
    connection = _Connection(host, port or (443 if is_tls else 80), limits, is_tls=is_tls)
    try:
        connection.connect()
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{_query(parts.query)}" if parts.query else "")
        told = {"User-Agent": "opml-dispute", "Accept-Encoding": "identity", "Connection": "close", **headers}
        if body is not None:
            told["Content-Length"] = str(body.size_bytes)
        connection.request(method, target, _Timed(body, limits.deadline) if body is not None else None, told)
        with connection.getresponse() as response:
            size_bytes = _receive(response, limits, into) if response.status < 300 else 0
            return Answer(response.status, response.headers.get("Location"), size_bytes)
    finally:
        connection.close()


def _query(text: str) -> str:
    return quote(text, safe="/%:@!$&'()*+,;=~?")


def _receive(response: http.client.HTTPResponse, limits: ExchangeLimits, into: BinaryIO) -> int:
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        raise ExchangeFailed(
            f"its content is packed ({re.sub('[^a-z0-9,-]', '', packed)[:20]}), which was not asked for", passes=False
        )
    announced = response.length
    if announced is not None and announced > limits.max_bytes:
        raise ExchangeFailed(f"it has {announced:,} bytes, expected at most {limits.max_bytes:,}", passes=False)
    size, begun = 0, time.monotonic()
    while part := response.read1(_CHUNK):
        size += len(part)
        if size > limits.max_bytes:
            raise ExchangeFailed(f"it has more than {limits.max_bytes:,} bytes", passes=False)
        spent_s = time.monotonic() - begun
        if spent_s > PATIENCE_S and size < LEAST_RATE * spent_s:
            raise ExchangeFailed(f"it comes slower than {LEAST_RATE:,} bytes a second", passes=True)
        into.write(part)
    if announced is not None and size < announced:
        raise ExchangeFailed(f"it ended after {size:,} of {announced:,} bytes", passes=True)
    return size


class _Timed:
    """A body that is no longer read once the time is over."""

    def __init__(self, body: Body, deadline: float) -> None:
        self._body, self._deadline = body, deadline

    def read(self, size: int = -1) -> bytes:
        if time.monotonic() >= self._deadline:
            raise TimeoutError
        return self._body.read(size)


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was checked first."""

    def __init__(self, host: str, port: int, limits: ExchangeLimits, *, is_tls: bool) -> None:
        super().__init__(host, port)
        self._limits, self._is_tls = limits, is_tls
        self.default_port = 443 if is_tls else 80
        self.response_class = partial(TimedResponse, limits.deadline, patience_s=PATIENCE_S)  # type: ignore[assignment]

    def connect(self) -> None:
        """Tries the host's addresses in turn. Raises what the last one raised."""
        failure: OSError = OSError("no address")
        for family, address in resolve(self.host, self.port, deadline=self._limits.deadline, local=self._limits.local):
            sock: Any = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(self._left_s(CONNECT_S))
                sock.connect((address, self.port))
                if self._is_tls:
                    sock = _tls().wrap_socket(sock, server_hostname=self.host)
                sock.settimeout(self._left_s(PATIENCE_S))
                self.sock = sock
                return
            except OSError as error:
                sock.close()
                failure = error
        raise failure

    def _left_s(self, most_s: float) -> float:
        left_s = self._limits.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return min(left_s, most_s)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
