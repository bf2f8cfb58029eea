"""
Requests to one HTTP endpoint, with limits of time and size.

`Endpoint.post` sends one body and gives back the whole answer, or raises: an exchange has a deadline as a whole,
however slowly its bytes arrive, and an answer is read up to a limit and no further. Connections are kept open, one a
thread. An endpoint on this machine is reached directly; others through the proxies of the environment.

The content of the bodies is the work of `rpc`.
"""

from __future__ import annotations

import base64
import http.client
import io
import ipaddress
import math
import re
import socket
import ssl
import threading
import time
import urllib.request
import weakref
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from opml_dispute.chain.rpc_errors import RpcUnreachable

ANSWER_LIMIT_BYTES: Final = 1 << 26
"""The largest answer that is read; the answers to this package's requests are much smaller."""

_SHORTEST_SECRET: Final = 8
"""Characters of a user's name, a password or a value in a URL from which on it may be a secret."""
_CHUNK: Final = 1 << 16
_LONGEST_WAIT_S: Final = 30.0
"""The longest pause in seconds that a node's `Retry-After` can demand."""


@dataclass(frozen=True)
class HttpAnswer:
    """The answer to one request."""

    status: int
    body: bytes
    retry_after_s: float | None


def public_url(url: str) -> str:
    """
    A URL without what may be a secret in it: user and password, query, and the keys that providers put into paths.

    >>> public_url("https://me:pw@node.example:8545/v3/0123456789abcdef0123456789abcdef?token=x")
    'https://node.example:8545/v3/…?…'
    >>> public_url("http://127.0.0.1:8545")
    'http://127.0.0.1:8545'
    """
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*://)?(?:[^/?#]*@)?([^/?#]*)([^?#]*)(.?)", url, re.DOTALL)
    assert found is not None, "every part may be empty"
    scheme, host, path, query = found.groups()
    return f"{scheme or ''}{host}{re.sub(r'[A-Za-z0-9_-]{20,}', '…', path)}{query and query + '…'}"


def _secrets_of(parts: SplitResult) -> list[str]:
    """What `public_url` leaves out, the longest first: parts that are too short to be secrets are none."""
    values = [part.partition("=")[2] or part for part in re.split("[&;]", parts.query)]
    named = [parts.username or "", parts.password or "", *values, *re.findall(r"[A-Za-z0-9_-]{20,}", parts.path)]
    spelt = {spelling for name in named for spelling in (name, unquote(name)) if len(spelling) >= _SHORTEST_SECRET}
    return sorted(spelt, key=len, reverse=True)


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Endpoint:
    """A URL to which requests are posted."""

    def __init__(self, url: str, *, deadline_s: float, answer_limit_bytes: int = ANSWER_LIMIT_BYTES) -> None:
        """`deadline_s` bounds each whole exchange. Raises `RpcUnreachable` if the URL cannot be one."""
        self.url = public_url(url)
        self._deadline_s, self._limit = deadline_s, answer_limit_bytes
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RpcUnreachable(
                self.url, "the URL must start with http:// or https:// and name a host", passes=False, at_once=True
            )
        self._secrets = _secrets_of(parts)
        self._host, self._is_tls = parts.hostname, parts.scheme == "https"
        self._port = port or (443 if self._is_tls else 80)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "opml-dispute"}
        if parts.username is not None:
            self._headers["Authorization"] = _basic(parts)
        self._proxy = self._find_proxy(parts.scheme)
        self._local = threading.local()

    def without_secrets(self, text: str) -> str:
        """A text of the other side without the secrets of this URL, which some gateways repeat in their errors."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text

    def post(self, body: bytes) -> HttpAnswer:
        """Post one body and return the answer. Raises `RpcUnreachable`."""
        deadline = time.monotonic() + self._deadline_s
        kept = self._local.kept.take() if hasattr(self._local, "kept") else None
        try:
            if kept is not None:
                try:
                    return self._exchange(kept, body, deadline)
                except (ConnectionError, http.client.BadStatusLine, ssl.SSLEOFError):
                    # A kept connection may have been closed while it was idle; the requests here are all harmless
                    # to repeat, a signed transaction included: its nonce is used once.
                    kept.close()
            return self._exchange(self._connect(deadline), body, deadline)
        except TimeoutError:
            raise RpcUnreachable(self.url, f"it did not answer within {self._deadline_s:g} s") from None
        except ssl.SSLError as error:
            raise RpcUnreachable(self.url, f"TLS failed ({error.reason or type(error).__name__})") from None
        except ConnectionRefusedError:
            raise RpcUnreachable(self.url, "nothing listens there", at_once=True) from None
        except socket.gaierror:
            raise RpcUnreachable(self.url, "the host's name is not known", at_once=True) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RpcUnreachable(self.url, f"the connection failed ({type(error).__name__})") from None

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes, deadline: float) -> HttpAnswer:
        connection.response_class = partial(TimedResponse, deadline)  # type: ignore[assignment]
        try:
            if connection.sock is not None:
                connection.sock.settimeout(_left_s(deadline))
            target = self._path if not self._is_proxied_plainly else f"http://{self._host}:{self._port}{self._path}"
            connection.request("POST", target, body, self._headers)
            response = connection.getresponse()
            try:
                answer = HttpAnswer(response.status, self._read(response), _retry_after(response))
            finally:
                response.close()  # it owns the socket where the connection is not kept
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._local.kept = _Kept(connection)
        return answer

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        announced = response.length
        if announced is not None and announced > self._limit:
            raise RpcUnreachable(self.url, self._too_large(announced))
        parts, size = [], 0
        while part := response.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > self._limit:
                raise RpcUnreachable(self.url, self._too_large(None))
        if announced is not None and size < announced:
            raise ConnectionResetError("the answer ended early")
        return b"".join(parts)

    def _too_large(self, announced: int | None) -> str:
        found = "more" if announced is None else f"{announced:,} bytes"
        return f"its answer is too large: {found}, expected at most {self._limit:,} bytes"

    def _connect(self, deadline: float) -> http.client.HTTPConnection:
        host, port = (self._proxy.hostname or "", self._proxy.port or 80) if self._proxy else (self._host, self._port)
        timeout_s = max(0.001, min(10.0, deadline - time.monotonic()))
        connection: http.client.HTTPConnection
        if self._is_tls:
            connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=_tls())
            if self._proxy is not None:
                headers = {"Proxy-Authorization": _basic(self._proxy)} if self._proxy.username else {}
                connection.set_tunnel(self._host, self._port, headers)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        connection.response_class = partial(TimedResponse, deadline)  # type: ignore[assignment]
        try:
            connection.connect()  # where there is a proxy, it answers here
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def _is_proxied_plainly(self) -> bool:
        return self._proxy is not None and not self._is_tls

    def _find_proxy(self, scheme: str) -> SplitResult | None:
        if is_loopback(self._host) or urllib.request.proxy_bypass(self._host):
            return None
        proxies = urllib.request.getproxies()
        named = proxies.get(scheme) or proxies.get("all")
        if not named:
            return None
        proxy = urlsplit(named if "://" in named else f"http://{named}")
        if proxy.scheme not in ("http", "") or not proxy.hostname:
            raise RpcUnreachable(self.url, f"the proxy {public_url(named)} is not an HTTP proxy", passes=False)
        if proxy.username and not self._is_tls:
            self._headers["Proxy-Authorization"] = _basic(proxy)
        return proxy


class _Kept:
    """An open connection that waits for the next request; closed when its thread or its endpoint is gone."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection: http.client.HTTPConnection | None = connection
        # WHY NOT __del__: in a garbage cycle the socket's own finalizer may run first, and warn.
        self._finalizer = weakref.finalize(self, connection.close)

    def take(self) -> http.client.HTTPConnection | None:
        """Take the connection; a second call gets none."""
        self._finalizer.detach()
        taken, self._connection = self._connection, None
        return taken


def _left_s(deadline: float) -> float:
    """Seconds until the deadline; raises `TimeoutError` once nothing is left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class TimedResponse(http.client.HTTPResponse):
    """
    An answer that is read within one deadline: each read may take what is left of it, and no longer.

    `patience_s` is for one read: how long the other side may send nothing at all.
    """

    def __init__(
        self, deadline: float, sock: socket.socket, *args: Any, patience_s: float = math.inf, **named: Any
    ) -> None:
        super().__init__(sock, *args, **named)
        self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock, deadline, patience_s), _CHUNK)


class _TimedReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float, patience_s: float) -> None:
        self._raw, self._sock, self._deadline, self._patience_s = raw, sock, deadline, patience_s

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        self._sock.settimeout(min(_left_s(self._deadline), self._patience_s))
        return self._raw.readinto(into)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _retry_after(response: http.client.HTTPResponse) -> float | None:
    text = response.headers.get("Retry-After", "").strip()
    return min(float(text), _LONGEST_WAIT_S) if re.fullmatch(r"\d{1,9}(\.\d+)?", text) else None


def _basic(parts: SplitResult) -> str:
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
