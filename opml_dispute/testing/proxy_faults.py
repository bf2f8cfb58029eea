"""
The ways in which the fault proxy misbehaves, each with what it imitates: `FAULTS`.

A fault answers single requests, changes the replies to a batch, or spoils the HTTP exchange. `fault_proxy` is the
forwarder that they strike in; what they need of it is `Proxy` and `Exchange`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from opml_dispute.engine.hashing import keccak256

Request: TypeAlias = dict[str, Any]
Reply: TypeAlias = dict[str, Any]
Forward: TypeAlias = Callable[[Request], Reply]
Answer: TypeAlias = Callable[["Proxy", Request, Forward], Reply]


class Proxy(Protocol):
    """The forwarder, as its faults see it."""

    struck: Counter[str]
    oldest_block: int
    batch_limit: int
    drip_pause_s: float
    hang_s: float
    closing: threading.Event


class Exchange(Protocol):
    """One HTTP exchange with a client."""

    close_connection: bool

    @property
    def proxy(self) -> Proxy:
        """The forwarder."""

    def respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Sends a whole answer."""

    def start(self, status: int, headers: dict[str, str]) -> None:
        """Sends an answer's head."""

    def write(self, data: bytes) -> bool:
        """Sends a part of the body; answers whether the client still listens."""


@dataclass(frozen=True)
class ProxyFault:
    """One way to misbehave. It acts on single requests, on whole batches, or on the HTTP exchange."""

    what: str
    """What it imitates, in a sentence."""
    applies: Callable[[Request], bool] = lambda request: True
    answer: Answer | None = None
    """In place of forwarding one request."""
    batch: Callable[[Proxy, list[Request], list[Reply]], Any] | None = None
    """What becomes of the replies to a batch; a fault that strikes always is asked before anything is forwarded."""
    exchange: Callable[[Exchange, bytes], None] | None = None
    """In place of an HTTP answer; gets the answer that would have been sent."""
    always: bool = False
    """Strikes whenever it applies, not now and then."""

    @property
    def is_rare(self) -> bool:
        """Whether only few requests can meet it: around transactions, or for the latest block."""
        return any(self.applies(request) for request in _FEW) and not self.applies({"method": "eth_chainId"})


_FEW: Final[tuple[Request, ...]] = (
    {"method": "eth_sendRawTransaction"},
    {"method": "eth_getTransactionReceipt"},
    {"method": "eth_getTransactionCount"},
    {"method": "eth_getBlockByNumber", "params": ["latest", False]},
)


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


def _is_count_of_waiting(request: Request) -> bool:
    return request.get("method") == "eth_getTransactionCount" and request.get("params", ["", "pending"])[1] == "pending"


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


def _wrong_type(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    """Wrong types, another one each time."""
    wrong: list[Any] = [None, 7, [], {}, "latest", True, "0x", "0xzz", {"number": 5, "hash": None}, [[]]]
    value = wrong[proxy.struck["wrong-types"] % len(wrong)]
    # No code, or no bytes returned, is of the right type and nothing that a client could doubt.
    return _result(request, None if value == "0x" and request["method"] in ("eth_getCode", "eth_call") else value)


def _pending_receipt(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    if isinstance(reply.get("result"), dict):
        reply["result"].update(blockNumber=None, blockHash=None, status=None)
    return reply


def _foreign_receipt(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    """What it would say of another transaction, which failed."""
    reply = forward(request)
    if isinstance(reply.get("result"), dict):
        reply["result"].update(transactionHash="0x" + "5a" * 32, status="0x0", logs=[])
    return reply


def _crossed(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    """What another client asked for, or the same one earlier."""
    return forward({**request, "method": "eth_chainId", "params": []}) | {"id": request["id"] - 1}


def _stale_head(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    number = int(reply["result"]["number"], 16)
    return forward({**request, "params": [hex(max(0, number - 2)), False]})


def _stale_nonce(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return _result(request, hex(max(0, int(reply["result"], 16) - 1)))


def _sent_then_error(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    forward(request)
    return _error(request, -32000, "request timed out")


def _sent_then_refused(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    forward(request)
    return _error(request, -32003, "nonce too low")


def _lost(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    return _result(request, "0x" + keccak256(bytes.fromhex(request["params"][0][2:])).hex())


def _pruned(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    return _result(request, None) if int(request["params"][0], 16) < proxy.oldest_block else forward(request)


def _pruned_error(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    if int(request["params"][0], 16) < proxy.oldest_block:
        return _error(request, 4444, "pruned history unavailable")
    return forward(request)


def _range_limit(proxy: Proxy, request: Request, forward: Forward) -> Reply:
    filter_ = request["params"][0]
    if int(filter_["toBlock"], 16) - int(filter_["fromBlock"], 16) >= 5:
        return _error(request, -32602, "eth_getLogs is limited to a 5 block range")
    return forward(request)


def _batch_limit(proxy: Proxy, requests: list[Request], replies: list[Reply]) -> Any:
    return _error({}, -32600, "batch item count exceeded") if len(requests) > proxy.batch_limit else replies


# ---- faults of the HTTP exchange ----


def _http(status: int, body: bytes, **headers: str) -> Callable[[Exchange, bytes], None]:
    def exchange(handler: Exchange, answer: bytes) -> None:
        handler.respond(status, body, {name.replace("_", "-"): value for name, value in headers.items()})

    return exchange


def _close(handler: Exchange, answer: bytes) -> None:
    handler.close_connection = True


def _truncate(handler: Exchange, answer: bytes) -> None:
    handler.respond(200, answer[: len(answer) // 2], {"Content-Length": str(len(answer))})
    handler.close_connection = True


def _drip(handler: Exchange, answer: bytes) -> None:
    handler.start(200, {"Content-Length": str(len(answer))})
    for byte in answer:
        if handler.proxy.closing.is_set() or not handler.write(bytes([byte])):
            break
        time.sleep(handler.proxy.drip_pause_s)
    handler.close_connection = True


def _endless(handler: Exchange, answer: bytes) -> None:
    handler.start(200, {})
    handler.write(b'{"jsonrpc": "2.0", "id": 1, "result": "0x')
    while not handler.proxy.closing.is_set() and handler.write(b"00" * 32768):
        pass
    handler.close_connection = True


def _hang(handler: Exchange, answer: bytes) -> None:
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
    "busy-with-data": ProxyFault(
        "A temporary error with empty data, as a revert without a reason has.",
        _method("eth_call", "eth_estimateGas"),
        lambda proxy, request, forward: _error(request, -32000, "header not found", "0x"),
    ),
    # what no node should answer
    "foreign-receipt": ProxyFault(
        "The receipt of another transaction.", _method("eth_getTransactionReceipt"), _foreign_receipt
    ),
    "crossed-answers": ProxyFault("The answer to another question, under its id.", _method(*_READING), _crossed),
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
    "null-fees": ProxyFault(
        "Null for the suggestion of any fee.",
        _method("eth_maxPriorityFeePerGas", "eth_feeHistory"),
        lambda proxy, request, forward: _result(request, None),
        always=True,
    ),
    "absurd-tip": ProxyFault(
        "A tip of 10^15 wei.",
        _method("eth_maxPriorityFeePerGas"),
        lambda proxy, request, forward: _result(request, hex(10**15)),
        always=True,
    ),
    "high-estimate": ProxyFault(
        "The gas of a whole block, for any transaction.",
        _method("eth_estimateGas"),
        lambda proxy, request, forward: _result(request, hex(30_000_000)),
        always=True,
    ),
    "endless-estimate": ProxyFault(
        "More gas than any chain has.",
        _method("eth_estimateGas"),
        lambda proxy, request, forward: _result(request, hex(2**63)),
        always=True,
    ),
    "absurd-tip-alone": ProxyFault(
        "A tip of 10^13 wei, and nothing of what was paid lately.",
        _method("eth_maxPriorityFeePerGas", "eth_feeHistory"),
        lambda proxy, request, forward: (
            _result(request, hex(10**13))
            if request["method"] == "eth_maxPriorityFeePerGas"
            else _error(request, -32601, "the method eth_feeHistory does not exist")
        ),
        always=True,
    ),
    "low-estimate": ProxyFault(
        "The gas of a transaction that does nothing.",
        _method("eth_estimateGas"),
        lambda proxy, request, forward: _result(request, hex(21_000)),
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
    "early-nonce": ProxyFault(
        "A node that counts one transaction more, which waits there and nowhere else.",
        _is_count_of_waiting,
        lambda proxy, request, forward: _result(request, hex(int(forward(request)["result"], 16) + 1)),
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
