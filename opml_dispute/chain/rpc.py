"""
One Ethereum node's JSON-RPC interface.

`Rpc.request` is one request, `Rpc.batch` many in few round trips. `Rpc.read` and `Rpc.read_all` are contract reads
made from `Call`s, pinned to one block where a `Head` is given, so that values read together are consistent. Answers
of reverted calls become `reverts.Reverted`.

Nodes differ and fail; this module hides that from its callers as far as possible:

1. A request with a temporary error (`rpc_errors`) is repeated after growing pauses, for `patience_s` in all.
2. Batches shrink until the node takes them, down to single requests, and grow again if the node was only busy.
3. Blocks are named by hash (EIP-1898); a node that does not know that is asked by number, and the number's hash is
   compared afterwards.
4. Every answer is checked for its type (`answers`), its size and its time (`transport`).

Signing and sending are `sender`'s work.
"""

from __future__ import annotations

import http.client
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from opml_dispute import plain_json
from opml_dispute.chain import answers
from opml_dispute.chain.abi import Undecodable, decode, encode
from opml_dispute.chain.answers import Head, Parse
from opml_dispute.chain.artifacts import Signature
from opml_dispute.chain.retrying import FIRST_PAUSE_S, BatchSize, Patience
from opml_dispute.chain.reverts import Reverted, revert_data
from opml_dispute.chain.rpc_errors import Refusal, RpcAnswerInvalid, RpcError, RpcFailed, RpcUnreachable
from opml_dispute.chain.transport import ANSWER_LIMIT_BYTES, Endpoint
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address

if TYPE_CHECKING:
    from opml_dispute.chain.blob_transactions import Sidecar

DEFAULT_URL = "http://127.0.0.1:8545"

_FIRST_CONTACT_TRIES: Final = 3
"""The number of tries at a URL that has never given a valid answer: it may not be a node at all."""

ITEMS_AT_ONCE: Final = 1_000
"""Items of a list that are asked for before the first of them is known to be there."""

T = TypeVar("T")


class WrongChain(OpmlError):
    """The node serves another chain than the deployment was made on."""

    is_told_by_node = True
    hint = "check --rpc-url and --deployment: they must belong to the same chain"

    def __init__(self, url: str, found: int, expected: int) -> None:
        super().__init__(f"{url} serves chain {found}, but the deployment is on chain {expected}")
        self.found, self.expected = found, expected


class NoCode(OpmlError):
    """An address that should be a contract has no code."""

    is_told_by_node = True
    hint = "check the address, and that the node serves the chain it was deployed on"

    def __init__(self, address: str, what: str) -> None:
        super().__init__(f"expected {what} at {address}, but there is no contract there")
        self.address, self.what = address, what


class UnexpectedAnswer(OpmlError):
    """A contract answered something that its ABI does not allow: it is another contract."""

    is_told_by_node = True
    hint = "check the address, and the chain of --rpc-url: this looks like a different contract, or none"


class ChainReorganised(RpcError):
    """The block that reads were pinned to is no longer part of the chain."""

    passes = True
    hint = "the chain was reorganised while it was read: run the command again"


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Call(Generic[T]):
    """A contract function with its arguments, to be read or sent. `T` is the type of its answer."""

    to: Address
    signature: Signature
    arguments: tuple[Any, ...]
    contract: str
    """The contract's name, for messages."""
    parse: Callable[[Any], T] = field(default=_same, compare=False)
    """From the decoded ABI values to `T`; a single value is not wrapped in a tuple."""
    blobs: Sidecar | None = field(default=None, compare=False, repr=False)
    """The blobs of the transaction, if it is one with blobs."""

    @property
    def data(self) -> bytes:
        """Selector and encoded arguments."""
        return self.signature.selector + encode(self.signature.inputs, self.arguments)

    @property
    def what(self) -> str:
        """The contract and the function: `FaultDisputeGame.attack`."""
        return f"{self.contract}.{self.signature.name}"

    def decode(self, raw: bytes) -> T:
        """
        Decode an answer. Raises `UnexpectedAnswer` if the bytes do not fit the ABI, or if `parse` finds (and says by a
        `ValueError`) that no such contract answers these values.
        """
        try:
            values = decode(self.signature.outputs, raw, strict=False)
        except Undecodable as error:
            found = f"{len(raw)} bytes that do not decode: {error}" if raw else "nothing, as where no contract is"
            raise UnexpectedAnswer(f"{self.what} at {self.to} answered {found}") from None
        try:
            return self.parse(values[0] if len(values) == 1 else values)
        except ValueError as error:
            raise UnexpectedAnswer(f"{self.what} at {self.to} answered what it cannot hold: {error}") from None


class Ask(NamedTuple):
    """One request of a batch."""

    method: str
    params: Sequence[Any] = ()
    parse: Parse = answers.anything


class Rpc:
    """One node. Any thread may use it."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 20.0,
        answer_limit_bytes: int = ANSWER_LIMIT_BYTES,
        tell: Callable[[RpcError, float], None] = lambda error, pause_s: None,
    ) -> None:
        """
        `timeout_s` bounds one exchange, `patience_s` the repetitions after temporary errors. `tell` is called before
        each pause with its reason and length.
        """
        self._endpoint = Endpoint(url, deadline_s=timeout_s, answer_limit_bytes=answer_limit_bytes)
        self.url = self._endpoint.url
        """For messages."""
        self.patience_s, self.tell = patience_s, tell
        self._batch_size = BatchSize()
        self._pins_by_hash = True
        self._has_answered = False
        self._ids = itertools.count(1)

    def request(self, method: str, *params: Any, parse: Parse = answers.anything) -> Any:
        """
        One request's result, as `parse` reads it.

        Raises an `RpcError`, or `Reverted` where a simulated call reverts.
        """
        (result,) = self.batch([Ask(method, params, parse)])
        return result

    def batch(self, asked: Sequence[Ask]) -> list[Any]:
        """Many requests' results, in order; the first that fails raises as `request` does."""
        outcomes = self.outcomes(asked)
        for outcome in outcomes:
            if isinstance(outcome, OpmlError):
                raise outcome
        return outcomes

    def outcomes(self, asked: Sequence[Ask], *, patience_s: float | None = None) -> list[Any]:
        """
        The result of each request, in order, or the error that `request` would raise; waited for `patience_s` long.

        Raises an `RpcError` only if it is about all of them.
        """
        found: dict[int, Any] = {}
        pending = list(range(len(asked)))
        patience = Patience(self.patience_s if patience_s is None else patience_s, self._bears, self.tell)
        while pending:
            part = pending[: self._batch_size.now]
            try:
                results = self._exchange([asked[index] for index in part])
            except RpcError as error:
                if len(part) > 1:
                    self._batch_size.shrink(len(part), for_good=not error.passes)
                    if not error.passes:
                        continue
                if not patience.wait(error):
                    raise
                continue
            again: list[int] = []
            for index, result in zip(part, results, strict=True):
                if isinstance(result, RpcError) and result.passes:
                    again.append(index)
                found[index] = result
            if len(again) < len(part):
                self._has_answered = True
                patience.progress()
            if again:
                busy: RpcError = found[again[0]]
                self._batch_size.shrink(len(part), for_good=False)
                if not patience.wait(busy):
                    return [found.get(index, busy) for index in range(len(asked))]
            else:
                self._batch_size.grow()
            pending = again + pending[len(part) :]
        return [found[index] for index in range(len(asked))]

    def _bears(self, error: RpcError, tries: int) -> bool:
        """
        Whether the request should be repeated.

        A URL that has never given a valid answer is probably wrong, so it is reported soon.
        """
        if not error.passes:
            return False
        if self._has_answered or not isinstance(error, RpcUnreachable | RpcAnswerInvalid):
            return True
        if isinstance(error, RpcUnreachable) and (error.at_once or error.reason.startswith("HTTP ")):
            return not error.at_once
        return tries < _FIRST_CONTACT_TRIES

    # ---- one exchange ----

    def _exchange(self, part: Sequence[Ask]) -> list[Any]:
        """Each one's result or error. Raises an `RpcError` about the exchange as a whole."""
        ids = [next(self._ids) for _ in part]
        bodies = [
            {"jsonrpc": "2.0", "id": id_, "method": ask.method, "params": list(ask.params)}
            for id_, ask in zip(ids, part, strict=True)
        ]
        is_single = len(part) == 1
        name = part[0].method if is_single else "a batch"
        answer = self._endpoint.post(json.dumps(bodies[0] if is_single else bodies).encode())
        try:
            value = plain_json.loads(answer.body)
        except ValueError:
            value = None
        if answer.status != 200 and not (isinstance(value, dict) and isinstance(value.get("error"), dict)):
            raise self._http_error(answer.status, answer.retry_after_s)
        if isinstance(value, dict) and (not is_single or answer.status != 200):
            error = self._error(name, value.get("error"))
            if isinstance(error, RpcError):
                error.retry_after_s = answer.retry_after_s
                error.passes = error.passes or answer.status in _PASSING_STATUS
            raise error
        if is_single:
            return [self._result(part[0], ids[0], value)]
        if not isinstance(value, list):
            raise self._no_json_rpc()
        by_id: dict[Any, Any] = {}
        for item in value:
            if isinstance(item, dict) and isinstance(item.get("id"), int):
                by_id[item["id"]] = item
        if len(value) != len(part) or set(by_id) != set(ids):
            raise RpcFailed(name, 0, f"a batch of {len(part)} was answered by {len(value)} items with other ids")
        return [self._result(ask, id_, by_id[id_]) for id_, ask in zip(ids, part, strict=True)]

    def _result(self, ask: Ask, id_: int, answer: Any) -> Any:
        """The parsed result, or the error that came in its place."""
        if not isinstance(answer, dict):
            return self._no_json_rpc()
        if answer.get("error") is not None:
            return self._error(ask.method, answer["error"])
        if "result" not in answer:
            return self._no_json_rpc()
        try:
            if str(answer.get("id")) != str(id_):
                raise RpcAnswerInvalid(ask.method, f"id {answer.get('id')}", f"the answer to request {id_}")
            return ask.parse(ask.method, answer["result"])
        except RpcAnswerInvalid as error:
            return RpcAnswerInvalid(error.method, self._endpoint.without_secrets(error.found), error.expected)

    def _error(self, method: str, error: Any) -> OpmlError:
        if error is None:
            return self._no_json_rpc()
        if not isinstance(error, dict):
            error = {"message": str(error)}
        returned = revert_data(error)
        if returned is not None:
            return Reverted(method, returned)
        code, message = error.get("code", 0), str(error.get("message", error))
        return RpcFailed(method, code if isinstance(code, int) else 0, self._endpoint.without_secrets(message))

    def _http_error(self, status: int, retry_after_s: float | None) -> RpcUnreachable:
        reason = f"HTTP {status} {http.client.responses.get(status, '')}".strip()
        return RpcUnreachable(self.url, reason, passes=status in _PASSING_STATUS, retry_after_s=retry_after_s)

    def _no_json_rpc(self) -> RpcUnreachable:
        return RpcUnreachable(self.url, "what answers there does not speak JSON-RPC")

    # ---- the chain ----

    def chain_id(self) -> int:
        """The chain's id."""
        return int(self.request("eth_chainId", parse=answers.quantity))

    def expect_chain(self, expected: int) -> None:
        """Raises `WrongChain` unless the node serves that chain."""
        found = self.chain_id()
        if found != expected:
            raise WrongChain(self.url, found, expected)

    def head(self) -> Head:
        """The latest block."""
        found: Head = self.request("eth_getBlockByNumber", "latest", False, parse=answers.head)
        return found

    def block(self, number: int) -> Head | None:
        """The block of that number; None if the node does not have it."""
        found: Head | None = self.request("eth_getBlockByNumber", hex(number), False, parse=answers.head_or_none)
        return found

    def balance_wei(self, address: str) -> int:
        """An account's balance."""
        return int(self.request("eth_getBalance", address, "latest", parse=answers.quantity))

    def balances_wei(self, addresses: Sequence[str]) -> list[int]:
        """The balances of many accounts, in order."""
        return self.batch([Ask("eth_getBalance", (address, "latest"), answers.quantity) for address in addresses])

    def code(self, address: str) -> bytes:
        """The code at an address; empty if none."""
        return bytes(self.request("eth_getCode", address, "latest", parse=answers.data))

    def expect_code(self, address: str, what: str) -> None:
        """Raises `NoCode` if there is no contract at the address."""
        if not self.code(address):
            raise NoCode(address, what)

    # ---- contract reads ----

    def read(self, call: Call[T], *, at: Head | None = None, sender: str | None = None) -> T:
        """The decoded answer of one call. Raises as `request`, and `UnexpectedAnswer`."""
        (answer,) = self._decoded([call], at, sender)
        return answer  # type: ignore[no-any-return]

    def read_all(self, calls: Sequence[Call[Any]], *, at: Head | None = None) -> list[Any]:
        """The decoded answers of many calls, in few round trips. Raises as `read`."""
        return self._decoded(calls, at, None)

    def _decoded(self, calls: Sequence[Call[Any]], at: Head | None, sender: str | None) -> list[Any]:
        """Reads and decodes; twice, because a node that lags or errs may answer for a contract as if it had no code."""
        try:
            return self._decoded_once(calls, at, sender)
        except UnexpectedAnswer:
            if self.patience_s <= 0:
                raise
            time.sleep(FIRST_PAUSE_S)
            return self._decoded_once(calls, at, sender)

    def _decoded_once(self, calls: Sequence[Call[Any]], at: Head | None, sender: str | None) -> list[Any]:
        outcomes = [_decoded(call, raw) for call, raw in zip(calls, self._call_all(calls, at, sender), strict=True)]
        for outcome in outcomes:
            if isinstance(outcome, OpmlError):
                raise outcome
        return outcomes

    def read_each(self, calls: Sequence[Call[T]], *, at: Head | None = None) -> list[T]:
        """As `read_all`, for calls of one type."""
        return self.read_all(calls, at=at)

    def read_range(self, call_at: Callable[[int], Call[T]], indices: range, *, at: Head | None = None) -> list[T]:
        """
        As `read_each`, for these items of a contract's list, some at a time: a node may name any length, and the list
        ends at the first item that it does not answer. Raises as `read`.
        """
        found: list[T] = []
        while part := indices[len(found) : len(found) + ITEMS_AT_ONCE]:
            found += self.read_each([call_at(index) for index in part], at=at)
        return found

    def try_each(self, calls: Sequence[Call[Any]], *, at: Head | None = None) -> list[Any]:
        """
        What each call answers, or the error that `read` would raise for it: one that fails stops no other.

        Raises an `RpcError` only if it is about all of them.
        """
        outcomes: list[Any] = [
            _decoded(call, raw) for call, raw in zip(calls, self._call_all(calls, at, None), strict=True)
        ]
        doubtful = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, UnexpectedAnswer)]
        if doubtful and self.patience_s > 0:
            time.sleep(FIRST_PAUSE_S)
            again = [calls[index] for index in doubtful]
            for index, raw in zip(doubtful, self._call_all(again, at, None), strict=True):
                outcomes[index] = _decoded(calls[index], raw)
        return outcomes

    def _call_all(self, calls: Sequence[Call[Any]], at: Head | None, sender: str | None) -> list[Any]:
        """The bytes that each call returns, or its error."""
        if at is not None and self._pins_by_hash:
            pin = {"blockHash": "0x" + at.hash.hex()}
            outcomes = self.outcomes([_eth_call(call, sender, pin) for call in calls])
            refused = [o for o in outcomes if isinstance(o, RpcFailed) and o.kind in _UNKNOWN_PARAMETER]
            if not refused:
                return outcomes
            # Perhaps this node does not know how to name a block by its hash; asking by number tells.
            by_number = self._call_at_number(calls, at, sender)
            if len(refused) == len(calls) and not any(isinstance(o, RpcFailed) for o in by_number):
                self._pins_by_hash = False
            return by_number
        if at is not None:
            return self._call_at_number(calls, at, sender)
        return self.outcomes([_eth_call(call, sender, "latest") for call in calls])

    def _call_at_number(self, calls: Sequence[Call[Any]], at: Head, sender: str | None) -> list[Any]:
        outcomes = self.outcomes([_eth_call(call, sender, hex(at.number)) for call in calls])
        now = self.block(at.number)
        if now is None or now.hash != at.hash:
            raise ChainReorganised(f"block {at.number} is no longer 0x{at.hash.hex()}")
        return outcomes


_PASSING_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})

_UNKNOWN_PARAMETER: Final = frozenset({Refusal.CAPABILITY, Refusal.FINAL})


def _decoded(call: Call[Any], raw: Any) -> Any:
    """What one call answered, or the error that says why it did not."""
    if isinstance(raw, Reverted):
        return Reverted(call.what, raw.data)
    if isinstance(raw, OpmlError):
        return raw
    try:
        return call.decode(raw)
    except UnexpectedAnswer as error:
        return error


def _eth_call(call: Call[Any], sender: str | None, block: Any) -> Ask:
    fields = {"to": call.to, "input": "0x" + call.data.hex()} | ({"from": sender} if sender else {})
    return Ask("eth_call", (fields, block), answers.data)
