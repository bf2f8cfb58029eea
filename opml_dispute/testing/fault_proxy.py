"""
A JSON-RPC forwarder that misbehaves as real nodes and gateways do.

    with FaultProxy("http://127.0.0.1:8545", ["header-not-found", "batch-limit"]) as proxy:
        rpc = Rpc(proxy.url)

`FAULTS` names every way, with what it imitates. A fault strikes every `every`-th request that it applies to, counted
from the start, so that a run can be repeated; what a node lacks for good (`no-batch`, `no-eip1898`, …) strikes always.
Several faults may be combined. `struck` counts how often each did.

Loopback only. From a shell: `python -m opml_dispute.testing.fault_proxy UPSTREAM FAULT … [--port N] [--every N]`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

Request: TypeAlias = dict[str, Any]
Reply: TypeAlias = dict[str, Any]
Forward: TypeAlias = Callable[[Request], Reply]
Answer: TypeAlias = Callable[["FaultProxy", Request, Forward], Reply]


@dataclass(frozen=True)
class ProxyFault:
    """One way to misbehave. It acts on single requests, on whole batches, or on the HTTP exchange."""

    what: str
    """What it imitates, in a sentence."""
    applies: Callable[[Request], bool] = lambda request: True
    answer: Answer | None = None
    """In place of forwarding one request."""
    batch: Callable[[FaultProxy, list[Request], list[Reply]], Any] | None = None
    """What becomes of the replies to a batch; a fault that strikes always is asked before anything is forwarded."""
    exchange: Callable[[_Handler, bytes], None] | None = None
    """In place of an HTTP answer; gets the answer that would have been sent."""
    always: bool = False
    """Strikes whenever it applies, not now and then."""


def _error(request: Request, code: int, message: str, data: Any = None) -> Reply:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": request.get("id"), "error": error}


def _result(request: Request, result: Any) -> Reply:
    return {"jsonrpc": "2.0", "id": request.get("id"), "result": result}


def _method(*names: str) -> Callable[[Request], bool]:
    return lambda request: request.get("method") in names


def _refuses(what: str, code: int, message: str, *methods: str, always: bool = False) -> ProxyFault:
    applies = _method(*methods) if methods else lambda request: True
    return ProxyFault(
        what, applies, answer=lambda proxy, request, forward: _error(request, code, message), always=always
    )


def _is_pinned(request: Request) -> bool:
    params = request.get("params", [])
    return request.get("method") == "eth_call" and len(params) > 1 and isinstance(params[1], dict)


def _is_numbered_block(request: Request) -> bool:
    params = request.get("params", [])
    return request.get("method") == "eth_getBlockByNumber" and bool(params) and str(params[0]).startswith("0x")


def _is_head(request: Request) -> bool:
    return request.get("method") == "eth_getBlockByNumber" and request.get("params", [None])[0] == "latest"


_SENDING: Final = ("eth_sendRawTransaction",)
_READING: Final = (
    "eth_call",
    "eth_chainId",
    "eth_getBalance",
    "eth_getCode",
    "eth_getBlockByNumber",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_estimateGas",
    "eth_gasPrice",
)


def _wrong_type(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    """Wrong types, another one each time."""
    wrong: list[Any] = [None, 7, [], {}, "latest", True, "0x", "0xzz", {"number": 5, "hash": None}, [[]]]
    value = wrong[proxy.struck["wrong-types"] % len(wrong)]
    # No code, or no bytes returned, is of the right type and nothing that a client could doubt.
    return _result(request, None if value == "0x" and request["method"] in ("eth_getCode", "eth_call") else value)


def _pending_receipt(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    if isinstance(reply.get("result"), dict):
        reply["result"].update(blockNumber=None, blockHash=None, status=None)
    return reply


def _stale_head(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    number = int(reply["result"]["number"], 16)
    return forward({**request, "params": [hex(max(0, number - 2)), False]})


def _stale_nonce(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return _result(request, hex(max(0, int(reply["result"], 16) - 1)))


def _sent_then_error(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    forward(request)
    return _error(request, -32000, "request timed out")


def _sent_then_refused(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    forward(request)
    return _error(request, -32003, "nonce too low")


def _lost(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    from opml_dispute.engine.hashing import keccak256

    return _result(request, "0x" + keccak256(bytes.fromhex(request["params"][0][2:])).hex())


def _pruned(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    return _result(request, None) if int(request["params"][0], 16) < proxy.oldest_block else forward(request)


def _pruned_error(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    if int(request["params"][0], 16) < proxy.oldest_block:
        return _error(request, 4444, "pruned history unavailable")
    return forward(request)


def _range_limit(proxy: FaultProxy, request: Request, forward: Forward) -> Reply:
    filter_ = request["params"][0]
    if int(filter_["toBlock"], 16) - int(filter_["fromBlock"], 16) >= 5:
        return _error(request, -32602, "eth_getLogs is limited to a 5 block range")
    return forward(request)


def _batch_limit(proxy: FaultProxy, requests: list[Request], replies: list[Reply]) -> Any:
    return _error({}, -32600, "batch item count exceeded") if len(requests) > proxy.batch_limit else replies


# ---- faults of the HTTP exchange ----


def _http(status: int, body: bytes, **headers: str) -> Callable[[_Handler, bytes], None]:
    def exchange(handler: _Handler, answer: bytes) -> None:
        handler.respond(status, body, {name.replace("_", "-"): value for name, value in headers.items()})

    return exchange


def _close(handler: _Handler, answer: bytes) -> None:
    handler.close_connection = True


def _truncate(handler: _Handler, answer: bytes) -> None:
    handler.respond(200, answer[: len(answer) // 2], {"Content-Length": str(len(answer))})
    handler.close_connection = True


def _drip(handler: _Handler, answer: bytes) -> None:
    handler.start(200, {"Content-Length": str(len(answer))})
    for byte in answer:
        if handler.proxy.is_closing or not handler.write(bytes([byte])):
            break
        time.sleep(handler.proxy.drip_pause_s)
    handler.close_connection = True


def _endless(handler: _Handler, answer: bytes) -> None:
    handler.start(200, {})
    handler.write(b'{"jsonrpc": "2.0", "id": 1, "result": "0x')
    while not handler.proxy.is_closing and handler.write(b"00" * 32768):
        pass
    handler.close_connection = True


def _hang(handler: _Handler, answer: bytes) -> None:
    handler.proxy.closing.wait(handler.proxy.hang_s)
    handler.close_connection = True


_LIMITED = b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32005, "message": "slow down"}}'

FAULTS: Final[dict[str, ProxyFault]] = {
    # what passes by itself
    "header-not-found": ProxyFault(
        "A node behind a load balancer does not have the block yet.",
        _is_pinned,
        lambda proxy, request, forward: _error(request, -32000, "header not found"),
    ),
    "rate-limited": _refuses("A gateway limits requests a second.", -32005, "request rate limited"),
    "rate-limited-429": _refuses("The same with HTTP's code in JSON.", 429, "Too many requests, slow down"),
    "internal-error": _refuses("A node's own database is busy.", -32603, "Internal error"),
    "timed-out": _refuses("A node gives up on a slow call.", -32000, "execution timed out", "eth_call"),
    "missing-trie-node": _refuses("State is not there yet.", -32000, "missing trie node 01ab (path )", "eth_call"),
    "indexing": _refuses(
        "Receipts are not indexed yet.", -32000, "transaction indexing is in progress", "eth_getTransactionReceipt"
    ),
    "pending-receipt": ProxyFault(
        "A receipt without a block, of a pending transaction.",
        _method("eth_getTransactionReceipt"),
        _pending_receipt,
    ),
    # what no node should answer
    "null-head": ProxyFault("No latest block.", _is_head, lambda proxy, request, forward: _result(request, None)),
    "null-results": ProxyFault(
        "Null for anything.", _method(*_READING), lambda proxy, request, forward: _result(request, None)
    ),
    "wrong-types": ProxyFault("Values of any other type.", _method(*_READING), _wrong_type),
    "no-result": ProxyFault(
        "Neither result nor error.",
        _method(*_READING),
        lambda proxy, request, forward: {"jsonrpc": "2.0", "id": request.get("id")},
    ),
    "stale-head": ProxyFault("A node that is two blocks behind.", _is_head, _stale_head),
    # what a node cannot do
    "batch-limit": ProxyFault("Small batches only.", batch=_batch_limit, always=True),
    "no-batch": ProxyFault(
        "No batches.",
        batch=lambda proxy, requests, replies: _error({}, -32600, "batch requests are not supported"),
        always=True,
    ),
    "shuffled-batch": ProxyFault("Answers in another order.", batch=lambda proxy, requests, replies: replies[::-1]),
    "short-batch": ProxyFault("An answer of a batch is missing.", batch=lambda proxy, requests, replies: replies[:-1]),
    "no-eip1898": ProxyFault(
        "Blocks are named by number only.",
        _is_pinned,
        lambda proxy, request, forward: _error(request, -32602, "invalid argument 1: hex string expected"),
        always=True,
    ),
    "no-tip": _refuses(
        "No suggestion of a tip.", -32004, "Method not supported", "eth_maxPriorityFeePerGas", always=True
    ),
    "no-fee-methods": _refuses(
        "No suggestion of any fee.",
        -32600,
        "unsupported method",
        "eth_maxPriorityFeePerGas",
        "eth_feeHistory",
        always=True,
    ),
    "absurd-tip": ProxyFault(
        "A tip of 10^15 wei.",
        _method("eth_maxPriorityFeePerGas"),
        lambda proxy, request, forward: _result(request, hex(10**15)),
        always=True,
    ),
    "pruned": ProxyFault("No old blocks: null.", _is_numbered_block, _pruned, always=True),
    "pruned-error": ProxyFault("No old blocks: an error.", _is_numbered_block, _pruned_error, always=True),
    "log-range": ProxyFault("Events of few blocks at a time.", _method("eth_getLogs"), _range_limit, always=True),
    # transactions
    "lost-transaction": ProxyFault("Accepted, and dropped.", _method(*_SENDING), _lost),
    "sent-then-error": ProxyFault("Sent on, and answered with an error.", _method(*_SENDING), _sent_then_error),
    "sent-then-refused": ProxyFault(
        "Sent on twice, and refused the second time.", _method(*_SENDING), _sent_then_refused
    ),
    "nonce-too-low": _refuses("A nonce is refused that was right.", -32003, "nonce too low", *_SENDING),
    "underpriced": _refuses("The fee is refused once.", -32000, "transaction underpriced", *_SENDING),
    "pool-full": _refuses("No room in the pool.", -32000, "txpool is full", *_SENDING),
    "stale-nonce": ProxyFault(
        "A node that counts one transaction less.", _method("eth_getTransactionCount"), _stale_nonce
    ),
    # the connection
    "http-429": ProxyFault("HTTP 429 with Retry-After.", exchange=_http(429, _LIMITED, Retry_After="0.1")),
    "http-503": ProxyFault("HTTP 503 with a page.", exchange=_http(503, b"<html>Service Unavailable</html>")),
    "not-json": ProxyFault("A page instead of JSON.", exchange=_http(200, b"<html>Welcome</html>")),
    "deep-json": ProxyFault("JSON that nests without end.", exchange=_http(200, b"[" * 200_000)),
    "closed": ProxyFault("The connection closes without an answer.", exchange=_close),
    "truncated": ProxyFault("Half an answer.", exchange=_truncate),
    "slow-drip": ProxyFault("One byte at a time.", exchange=_drip),
    "endless": ProxyFault("An answer that does not end.", exchange=_endless),
    "hanging": ProxyFault("No answer at all.", exchange=_hang),
}


class FaultProxy:
    """The forwarder. Start it with `with`; `url` is where to ask."""

    def __init__(
        self,
        upstream: str,
        faults: Iterable[str] = (),
        *,
        every: int = 7,
        port: int = 0,
        batch_limit: int = 10,
        oldest_block: int = 0,
        drip_pause_s: float = 1.0,
        hang_s: float = 3_600.0,
    ) -> None:
        """
        `faults` are names in `FAULTS`; `every` says how seldom they strike. The rest are the faults' own measures.

        Raises `KeyError` for an unknown name.
        """
        parts = urlsplit(upstream)
        if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError(f"{parts.hostname} is not this machine: the proxy forwards to loopback only")
        self._upstream = (parts.hostname, parts.port or 80)
        self._faults = [(name, FAULTS[name]) for name in faults]
        self.every, self.batch_limit, self.oldest_block = every, batch_limit, oldest_block
        self.drip_pause_s, self.hang_s = drip_pause_s, hang_s
        self.struck: Counter[str] = Counter()
        """How often each fault has struck."""
        self.asked: Counter[str] = Counter()
        """How often each method was asked for."""
        self.is_down = False
        """Set it, and every connection is closed at once: a node that restarts."""
        self.closing = threading.Event()
        self._applied: Counter[str] = Counter()
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

    @property
    def is_closing(self) -> bool:
        """Whether the proxy is about to end."""
        return self.closing.is_set()

    def set_faults(self, faults: Iterable[str]) -> None:
        """From now on these, and no others."""
        self._faults = [(name, FAULTS[name]) for name in faults]

    def strikes(self, name: str, fault: ProxyFault) -> bool:
        """Whether it is this fault's turn, where it applies."""
        with self._lock:
            self._applied[name] += 1
            if not fault.always and self._applied[name] % self.every:
                return False
            self.struck[name] += 1
            return True

    def answer(self, request: Request) -> Reply:
        """One request's reply, faults included."""
        with self._lock:
            self.asked[str(request.get("method"))] += 1
        for name, fault in self._faults:
            if fault.answer is not None and fault.applies(request) and self.strikes(name, fault):
                return fault.answer(self, request, self.forward)
        return self.forward(request)

    def answer_all(self, body: Any) -> Any:
        """The reply to a request or a batch."""
        if not isinstance(body, list):
            return self.answer(body)
        for name, fault in self._faults:
            if fault.batch is not None and fault.always:
                refused = fault.batch(self, body, [])
                if isinstance(refused, dict):
                    with self._lock:
                        self.struck[name] += 1
                    return refused
        replies: Any = [self.answer(request) for request in body]
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
        connection = http.client.HTTPConnection(*self._upstream, timeout=60)
        try:
            connection.request("POST", "/", json.dumps(request).encode(), {"Content-Type": "application/json"})
            reply = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return dict(reply)


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
