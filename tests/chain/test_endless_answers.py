"""An answer that never ends, or comes a byte at a time, ends at its deadline or its limit, wherever it stands."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from opml_dispute.availability.exchange import ExchangeFailed, ExchangeLimits, exchange
from opml_dispute.chain.rpc_errors import RpcUnreachable
from opml_dispute.chain.transport import Endpoint

DEADLINE_S = 0.6
LIMIT_BYTES = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

ANSWERS: dict[str, tuple[bytes, bytes, float]] = {
    "silence": (b"", b"", 0.1),
    "dripping status": (b"", b"H", 0.05),
    "dripping headers": (OK, b"X: y\r\n", 0.05),
    "endless headers": (OK, b"X-A: " + b"a" * 60_000 + b"\r\n", 0),
    "one endless header": (OK + b"X: ", b"a" * 65_536, 0),
    "endless interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0),
    "dripping interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "endless body": (OK + b"\r\n", b"x" * 65_536, 0),
    "endless chunks": (CHUNKED, b"10000\r\n" + b"x" * 65_536 + b"\r\n", 0),
    "endless tiny chunks": (CHUNKED, b"1\r\nx\r\n" * 1_000, 0),
    "endless chunk extension": (CHUNKED + b"1;", b"e" * 65_536, 0),
    "endless trailers": (CHUNKED + b"0\r\n", b"T: x\r\n" * 1_000, 0),
    "dripping chunk": (CHUNKED + b"1000\r\n", b"x", 0.05),
    "dripping body": (OK + b"Content-Length: 100000\r\n\r\n", b"x", 0.05),
    "negative length": (OK + b"Content-Length: -5\r\n\r\n", b"x" * 65_536, 0),
}
"""How an answer begins, what comes again and again after that, and the pause between two."""


@contextmanager
def served(head: bytes, rest: bytes, pause_s: float) -> Iterator[int]:
    """A port of this machine where every request gets such an answer."""
    listener, closing = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def answer(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(65_536)
            client.sendall(head)
            while not closing.is_set():
                client.sendall(rest)
                if pause_s:
                    closing.wait(pause_s)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        closing.set()
        listener.close()


def test_every_endless_answer_of_a_node_ends() -> None:
    _assert_all_end(_ask_node)


def test_every_endless_answer_of_a_web_server_ends() -> None:
    _assert_all_end(_ask_server)


def test_an_endless_answer_of_a_proxy_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for a tunnel before the node is reached."""
    for name in ("dripping headers", "silence"):
        with served(*ANSWERS[name]) as port:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
            began = time.monotonic()
            with pytest.raises(RpcUnreachable):
                Endpoint("https://node.example/", deadline_s=DEADLINE_S).post(b"{}")
            assert time.monotonic() - began < 5 * DEADLINE_S


def _ask_node(port: int) -> None:
    with pytest.raises(RpcUnreachable):
        Endpoint(f"http://127.0.0.1:{port}/", deadline_s=DEADLINE_S, answer_limit_bytes=LIMIT_BYTES).post(b"{}")


def _ask_server(port: int) -> None:
    limits = ExchangeLimits(LIMIT_BYTES, time.monotonic() + DEADLINE_S, local=True)
    with pytest.raises(ExchangeFailed):
        exchange("GET", f"http://127.0.0.1:{port}/", limits=limits, into=io.BytesIO())


def _assert_all_end(ask: Callable[[int], None]) -> None:
    """All at the same time, each in seconds."""

    def took_s(name: str) -> tuple[str, float]:
        with served(*ANSWERS[name]) as port:
            began = time.monotonic()
            ask(port)
            return name, time.monotonic() - began

    with ThreadPoolExecutor(len(ANSWERS)) as pool:
        for name, seconds in pool.map(took_s, ANSWERS):
            assert seconds < 10 * DEADLINE_S, name


def test_a_kept_connection_has_a_new_deadline_for_each_exchange() -> None:
    """With the first one's, an agent could ask no more once its first request is that long ago."""
    connections = set[object]()

    class Kept(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            connections.add(self.client_address)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Kept) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}", deadline_s=0.5)
        assert endpoint.post(b"{}").body == b"{}"
        time.sleep(0.6)
        assert endpoint.post(b"{}").body == b"{}"
        assert len(connections) == 1
        server.shutdown()
