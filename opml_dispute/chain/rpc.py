"""
One JSON-RPC endpoint, spoken to through web3's provider.

`Rpc.request` is one request, `Rpc.batch` many in few round trips (at most `BATCH_LIMIT` each, as nodes commonly
allow). `Rpc.read` and `Rpc.read_all` are contract reads made from `Call`s, pinned to one block where a `Head` is
given, so that what is read together belongs together. Answers of reverted calls become `reverts.Reverted`.

Signing and sending are `sender`'s work.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import requests
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from opml_dispute.chain.artifacts import Signature
from opml_dispute.chain.reverts import Reverted, revert_data
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address

BATCH_LIMIT = 100
"""Requests in one JSON-RPC batch: what public nodes accept, and what the OP tools send."""

DEFAULT_URL = "http://127.0.0.1:8545"

T = TypeVar("T")


class RpcUnreachable(OpmlError):
    """Nothing that speaks JSON-RPC answers at the URL."""

    hint = "check --rpc-url (or OPML_RPC_URL), or start a local chain: opml-dispute devnet start"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no Ethereum node answers at {url}: {reason}")
        self.url, self.reason = url, reason


class RpcFailed(OpmlError):
    """The node answered with an error that is not a revert."""

    def __init__(self, method: str, code: int, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"the node refused {method}: {message} (code {code})", hint=hint)
        self.method, self.code, self.message = method, code, message


class WrongChain(OpmlError):
    """The node serves another chain than the deployment was made on."""

    hint = "check --rpc-url and --deployment: they must belong to the same chain"

    def __init__(self, url: str, found: int, expected: int) -> None:
        super().__init__(f"{url} serves chain {found}, but the deployment is on chain {expected}")
        self.found, self.expected = found, expected


class NoCode(OpmlError):
    """An address that should be a contract has no code."""

    hint = "check the address, and that the node serves the chain it was deployed on"

    def __init__(self, address: str, what: str) -> None:
        super().__init__(f"expected {what} at {address}, but there is no contract there")
        self.address, self.what = address, what


class UnexpectedAnswer(OpmlError):
    """A contract answered something that its ABI does not allow: it is another contract."""

    hint = "check the address: this looks like a different contract"


@dataclass(frozen=True)
class Head:
    """A block that reads are pinned to."""

    number: int
    hash: bytes
    timestamp: int
    """Seconds since 1970, the chain's own clock."""
    base_fee_wei: int


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


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Call(Generic[T]):
    """A contract function with its arguments: something to read, or to send. `T` is what it answers."""

    to: Address
    signature: Signature
    arguments: tuple[Any, ...]
    contract: str
    """The contract's name, for messages."""
    parse: Callable[[Any], T] = field(default=_same, compare=False)
    """From the decoded ABI values to `T`; a single value is not wrapped in a tuple."""

    @property
    def data(self) -> bytes:
        """Selector and encoded arguments."""
        return self.signature.selector + encode(self.signature.inputs, self.arguments)

    @property
    def what(self) -> str:
        """As people write it: `FaultDisputeGame.attack`."""
        return f"{self.contract}.{self.signature.name}"

    def decode(self, raw: bytes) -> T:
        """
        The answer. Addresses come checksummed. Raises `UnexpectedAnswer` if the bytes do not fit the ABI.
        """
        try:
            values = decode(self.signature.outputs, raw, strict=False)
        except (DecodingError, OverflowError) as error:
            raise UnexpectedAnswer(
                f"{self.what} at {self.to} answered {len(raw)} bytes that do not decode: {error}"
            ) from None
        typed = tuple(_tidy(kind, value) for kind, value in zip(self.signature.outputs, values, strict=True))
        return self.parse(typed[0] if len(typed) == 1 else typed)


def _tidy(kind: str, value: Any) -> Any:
    return Address(to_checksum_address(value)) if kind == "address" else value


class Rpc:
    """One endpoint."""

    def __init__(self, url: str = DEFAULT_URL, *, timeout_s: float = 30.0) -> None:
        self.url = public_url(url)
        """For messages."""
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise RpcUnreachable(self.url, "the URL must start with http:// or https:// and name a host")
        self._provider = HTTPProvider(url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None)

    def request(self, method: str, *params: Any) -> Any:
        """
        One request's result, as JSON.

        Raises `RpcUnreachable`, `RpcFailed`, or `Reverted` where a simulated call reverts.
        """
        return self._result(method, self._guard(lambda: self._provider.make_request(RPCEndpoint(method), list(params))))

    def batch(self, asked: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Many requests' results, in order; the first that fails raises as `request` does."""
        results: list[Any] = []
        for start in range(0, len(asked), BATCH_LIMIT):
            part = asked[start : start + BATCH_LIMIT]
            requests_ = [(RPCEndpoint(method), list(params)) for method, params in part]
            answers = self._guard(lambda requests_=requests_: self._provider.make_batch_request(requests_))
            if not isinstance(answers, list):  # the node refused the batch as a whole
                self._result("a batch", answers)
                raise RpcFailed("a batch", 0, f"one answer instead of {len(part)}")
            if len(answers) != len(part):
                raise RpcFailed("a batch", 0, f"{len(answers)} answers instead of {len(part)}")
            results += [self._result(method, answer) for (method, _), answer in zip(part, answers, strict=True)]
        return results

    def _guard(self, ask: Any) -> Any:
        try:
            return ask()
        except requests.exceptions.Timeout:
            raise RpcUnreachable(self.url, "it did not answer in time") from None
        except requests.exceptions.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            raise RpcUnreachable(self.url, f"HTTP {status} {http.client.responses.get(status, '')}".strip()) from None
        except (requests.exceptions.ConnectionError, ConnectionError):
            raise RpcUnreachable(self.url, "the connection failed") from None
        except requests.exceptions.RequestException as error:
            # Its own words may quote the whole URL.
            raise RpcUnreachable(self.url, f"it cannot be asked ({type(error).__name__})") from None
        except (ValueError, TypeError):
            raise RpcUnreachable(self.url, "what answers there does not speak JSON-RPC") from None

    def _result(self, method: str, answer: Any) -> Any:
        if not isinstance(answer, dict):
            raise RpcUnreachable(self.url, "what answers there does not speak JSON-RPC")
        error = answer.get("error")
        if error is None:
            if "result" not in answer:
                raise RpcUnreachable(self.url, "what answers there does not speak JSON-RPC")
            return answer["result"]
        if not isinstance(error, dict):
            raise RpcFailed(method, 0, str(error))
        data = revert_data(error)
        if data is not None:
            raise Reverted(method, data)
        raise RpcFailed(method, int(error.get("code", 0)), str(error.get("message", error)))

    # ---- the chain ----

    def chain_id(self) -> int:
        """The chain's id."""
        return int(self.request("eth_chainId"), 16)

    def expect_chain(self, expected: int) -> None:
        """Raises `WrongChain` unless the node serves that chain."""
        found = self.chain_id()
        if found != expected:
            raise WrongChain(self.url, found, expected)

    def head(self) -> Head:
        """The latest block."""
        block = self.request("eth_getBlockByNumber", "latest", False)
        return Head(
            number=int(block["number"], 16),
            hash=bytes.fromhex(block["hash"][2:]),
            timestamp=int(block["timestamp"], 16),
            base_fee_wei=int(block.get("baseFeePerGas", "0x0"), 16),
        )

    def balance_wei(self, address: str) -> int:
        """An account's balance."""
        return int(self.request("eth_getBalance", address, "latest"), 16)

    def code(self, address: str) -> bytes:
        """The code at an address; empty if none."""
        return bytes.fromhex(self.request("eth_getCode", address, "latest")[2:])

    def expect_code(self, address: str, what: str) -> None:
        """Raises `NoCode` if there is no contract at the address."""
        if not self.code(address):
            raise NoCode(address, what)

    # ---- contract reads ----

    def read(self, call: Call[T], *, at: Head | None = None, sender: str | None = None) -> T:
        """What one call answers, decoded. Raises as `request`, and `UnexpectedAnswer`."""
        try:
            raw = self.request("eth_call", _call_object(call, sender), _block(at))
        except Reverted as reverted:
            raise Reverted(call.what, reverted.data) from None
        return call.decode(bytes.fromhex(raw[2:]))

    def read_all(self, calls: Sequence[Call[Any]], *, at: Head | None = None) -> list[Any]:
        """What many calls answer, in few round trips. Raises as `read`."""
        raws = self.batch([("eth_call", [_call_object(call, None), _block(at)]) for call in calls])
        return [call.decode(bytes.fromhex(raw[2:])) for call, raw in zip(calls, raws, strict=True)]

    def read_each(self, calls: Sequence[Call[T]], *, at: Head | None = None) -> list[T]:
        """As `read_all`, for calls of one type."""
        return self.read_all(calls, at=at)

    def try_read_all(self, calls: Sequence[Call[Any]], *, at: Head | None = None) -> list[bool]:
        """Whether each call would succeed: many simulations in few round trips."""
        succeeded: list[bool] = []
        for start in range(0, len(calls), BATCH_LIMIT):
            part = calls[start : start + BATCH_LIMIT]
            asked = [(RPCEndpoint("eth_call"), [_call_object(call, None), _block(at)]) for call in part]
            answers = self._guard(lambda asked=asked: self._provider.make_batch_request(asked))
            if not isinstance(answers, list) or len(answers) != len(part):
                raise RpcFailed("a batch", 0, f"expected {len(part)} answers")
            for answer in answers:
                if "error" in answer and revert_data(answer["error"]) is None:
                    self._result("eth_call", answer)
                succeeded.append("error" not in answer)
        return succeeded


def _call_object(call: Call[Any], sender: str | None) -> dict[str, str]:
    fields = {"to": call.to, "input": "0x" + call.data.hex()}
    return fields | ({"from": sender} if sender else {})


def _block(at: Head | None) -> Any:
    return "latest" if at is None else {"blockHash": "0x" + at.hash.hex()}
