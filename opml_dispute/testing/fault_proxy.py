"""
A JSON-RPC forwarder that misbehaves as real nodes and gateways do.

    with FaultProxy("http://127.0.0.1:8545", ["header-not-found", "batch-limit"]) as proxy:
        rpc = Rpc(proxy.url)

`FAULTS` (`proxy_faults`) names every way, with what it imitates. A fault strikes every `every`-th request that it
applies to, counted from the start, so that a run can be repeated; what a node lacks for good (`no-batch`, `no-eip1898`,
…) strikes always. Several faults may be combined. `struck` counts how often each did.

Loopback only. From a shell: `python -m opml_dispute.testing.fault_proxy UPSTREAM FAULT … [--port N] [--every N]`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from opml_dispute.testing.proxy_faults import FAULTS, ProxyFault, Reply, Request


class FaultProxy:
    """The forwarder. Start it with `with`; `url` is where to ask."""

    def __init__(
        self,
        upstream: str,
        faults: Iterable[str] = (),
        *,
        every: int = 7,
        every_rare: int | None = None,
        gap_s: float = 0.0,
        port: int = 0,
        batch_limit: int = 10,
        oldest_block: int = 0,
        drip_pause_s: float = 1.0,
        hang_s: float = 3_600.0,
        edit: Callable[[Request, Reply], Reply] | None = None,
    ) -> None:
        """
        `faults` are names in `FAULTS`; `every` says how seldom they strike, and `every_rare` how seldom those that
        few requests can meet do (`ProxyFault.is_rare`). Strikes of one fault are at least `gap_s` seconds apart,
        however many requests there are. `edit` sees every request with its reply last, and gives the reply that goes
        out (`node_lies.Teller`). The rest are the faults' own measures.

        Raises `KeyError` for an unknown name.
        """
        parts = urlsplit(upstream)
        if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError(f"{parts.hostname} is not this machine: the proxy forwards to loopback only")
        self._upstream = (parts.hostname, parts.port or 80)
        self._faults = [(name, FAULTS[name]) for name in faults]
        self.every, self.every_rare, self._gap_s = every, every_rare or every, gap_s
        self.batch_limit, self.oldest_block = batch_limit, oldest_block
        self.drip_pause_s, self.hang_s = drip_pause_s, hang_s
        self.struck: Counter[str] = Counter()
        """How often each fault has struck."""
        self.asked: Counter[str] = Counter()
        """How often each method was asked for."""
        self.is_down = False
        """Set it, and every connection is closed at once: a node that restarts."""
        self.closing = threading.Event()
        self._edit = edit
        self._applied: Counter[str] = Counter()
        self._rests_until: dict[str, float] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.proxy = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def strikes(self, name: str, fault: ProxyFault) -> bool:
        """Whether it is this fault's turn, where it applies."""
        with self._lock:
            self._applied[name] += 1
            every = self.every_rare if fault.is_rare else self.every
            if not fault.always and (self._applied[name] % every or time.monotonic() < self._rests_until.get(name, 0)):
                return False
            self.struck[name] += 1
            self._rests_until[name] = time.monotonic() + self._gap_s
            return True

    def fault_for(self, request: Request) -> ProxyFault | None:
        """What is to happen to one request, if anything."""
        with self._lock:
            self.asked[str(request.get("method"))] += 1
        for name, fault in self._faults:
            if fault.answer is not None and fault.applies(request) and self.strikes(name, fault):
                return fault
        return None

    def _answers(self, requests: list[Request]) -> list[Reply]:
        """A reply for each request, faults included; what meets none goes on to the node together."""
        faults = [self.fault_for(request) for request in requests]
        whole = [request for request, fault in zip(requests, faults, strict=True) if fault is None]
        forwarded = iter(self._post(whole) if len(whole) > 1 else [self.forward(request) for request in whole])
        return [
            next(forwarded) if fault is None or fault.answer is None else fault.answer(self, request, self.forward)
            for request, fault in zip(requests, faults, strict=True)
        ]

    def answer_all(self, body: Any) -> Any:
        """The reply to a request or a batch."""
        replies = self._answer_all(body)
        if self._edit is None:
            return replies
        if not isinstance(body, list):
            return self._edit(body, replies)
        if not isinstance(replies, list):
            return replies
        by_id = {request.get("id"): request for request in body}
        return [self._edit(by_id[reply["id"]], reply) if reply.get("id") in by_id else reply for reply in replies]

    def _answer_all(self, body: Any) -> Any:
        if not isinstance(body, list):
            return self._answers([body])[0]
        if not self._faults:
            with self._lock:
                self.asked.update(str(request.get("method")) for request in body)
            return self._post(body)
        for name, fault in self._faults:
            if fault.batch is not None and fault.always:
                refused = fault.batch(self, body, [])
                if isinstance(refused, dict):
                    with self._lock:
                        self.struck[name] += 1
                    return refused
        replies: Any = self._answers(body)
        for name, fault in self._faults:
            if fault.batch is not None and not fault.always and self.strikes(name, fault):
                replies = fault.batch(self, body, replies)
        return replies

    def exchange_fault(self) -> ProxyFault | None:
        """What is to happen to this HTTP exchange, if anything."""
        for name, fault in self._faults:
            if fault.exchange is not None and self.strikes(name, fault):
                return fault
        return None

    def forward(self, request: Request) -> Reply:
        """The node's own reply."""
        return dict(self._post(request))

    def _post(self, body: Any) -> Any:
        connection = http.client.HTTPConnection(*self._upstream, timeout=60)
        try:
            connection.request("POST", "/", json.dumps(body).encode(), {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    """Knows its open connections, so that none is left to a thread of its own when the proxy ends."""

    daemon_threads = False
    block_on_close = True
    proxy: FaultProxy

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self._connections: set[Any] = set()
        self._guard = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed resets its connections, which is nothing to report; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        with self._guard:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    @property
    def proxy(self) -> FaultProxy:
        return self.server.proxy

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.proxy.is_down:
            self.close_connection = True
            return
        try:
            answer = json.dumps(self.proxy.answer_all(json.loads(body))).encode()
        except (OSError, http.client.HTTPException, ValueError):
            self.close_connection = True  # the node itself is gone
            return
        fault = self.proxy.exchange_fault()
        if fault is not None and fault.exchange is not None:
            fault.exchange(self, answer)
        else:
            self.respond(200, answer, {})

    def respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """A whole answer."""
        self.start(status, {"Content-Length": str(len(body))} | headers)
        self.write(body)

    def start(self, status: int, headers: dict[str, str]) -> None:
        """An answer's head."""
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.write_headers()

    def write_headers(self) -> None:
        """Ends the head; a client that is gone is no failure."""
        try:
            self.end_headers()
        except OSError:
            self.close_connection = True

    def write(self, data: bytes) -> bool:
        """Whether the client still listens."""
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True
            return False
        return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until interrupted."""
    names = "\n".join(f"  {name:20} {fault.what}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m opml_dispute.testing.fault_proxy",
        description="A JSON-RPC forwarder that misbehaves as nodes do.",
        epilog="faults:\n" + names,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("upstream", help="the node, on this machine: http://127.0.0.1:8545")
    parser.add_argument("faults", nargs="*", metavar="FAULT", choices=[*FAULTS, []])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--every", type=int, default=7, help="strike on every so manieth request that applies")
    parser.add_argument("--batch-limit", type=int, default=10)
    parser.add_argument("--oldest-block", type=int, default=0)
    options = parser.parse_args(arguments)
    proxy = FaultProxy(
        options.upstream,
        options.faults,
        every=options.every,
        port=options.port,
        batch_limit=options.batch_limit,
        oldest_block=options.oldest_block,
    )
    with proxy:
        print(proxy.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
