"""
How the OP Stack's dispute tools talk to a node: requests byte for byte as Go writes them, answers decoded as Go does.

`Wire` sends requests, reads contracts in batches (`Ask`), and keeps what was sent; `transact` sends a transaction as
the tools' transaction manager does. Everything that would make a tool fail is a `ClientError`.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import rlp
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

ZERO = "0x" + "00" * 20
BATCH = 100
GAS_CAP = 2**24


class ClientError(Exception):
    """The tool would have failed here."""


def word(value: int | bytes | str) -> str:
    """One ABI word, in hex."""
    if isinstance(value, bytes):
        return value.rjust(32, b"\0").hex()
    if isinstance(value, str):
        return bytes.fromhex(value[2:]).rjust(32, b"\0").hex()
    return value.to_bytes(32, "big").hex()


def decode(kinds: Sequence[str], raw: bytes) -> list[Any]:
    """As Go's decoder: small integers must fit, booleans be 0 or 1, nothing be empty; surplus data is ignored."""
    if not raw:
        raise ClientError("empty answer")
    values: list[Any] = []
    for position, kind in enumerate(kinds):
        part = raw[32 * position : 32 * position + 32]
        if len(part) < 32:
            raise ClientError(f"answer too short for {kinds}")
        number = int.from_bytes(part, "big")
        if kind == "string":
            length = int.from_bytes(raw[number : number + 32], "big")
            values.append(raw[number + 32 : number + 32 + length].decode())
        elif kind == "bytes32":
            values.append(part)
        elif kind == "address":
            if number >> 160:
                raise ClientError("not an address")
            values.append(to_checksum_address(part[12:]))
        elif kind == "bool":
            if number > 1:
                raise ClientError("improperly encoded boolean")
            values.append(bool(number))
        else:
            if number >> int(kind.removeprefix("uint")):
                raise ClientError(f"value {number} does not fit {kind}")
            values.append(number)
    return values


@dataclass(frozen=True)
class Ask:
    """One contract read: selector, arguments, expected types."""

    to: str
    selector: str
    kinds: tuple[str, ...]
    arguments: tuple[int | bytes | str, ...] = ()

    @property
    def input(self) -> str:
        return "0x" + self.selector + "".join(word(argument) for argument in self.arguments)


@dataclass
class Wire:
    """HTTP POST of JSON as Go writes it: no spaces, keys of a call sorted."""

    url: str
    sent: list[bytes] = field(default_factory=list)
    next_id: int = 1

    def _message(self, method: str, params: list[Any]) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}
        self.next_id += 1
        return message

    def _post(self, content: Any) -> Any:
        body = json.dumps(content, separators=(",", ":")).encode()
        self.sent.append(body)
        request = urllib.request.Request(
            self.url, body, {"Content-Type": "application/json", "Accept": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def request(self, method: str, *params: Any) -> Any:
        """A plain request."""
        message = self._message(method, list(params))
        answer = self._post(message)
        if answer.get("id") != message["id"] or "error" in answer:
            raise ClientError(f"{method}: {answer.get('error', answer)}")
        return answer["result"]

    def calls(self, asks: Sequence[Ask], block: Any = "latest") -> list[list[Any]]:
        """Reads in groups of 100; a group of one is a plain request. One failure fails the group."""
        results = []
        for start in range(0, len(asks), BATCH):
            group = asks[start : start + BATCH]
            params = [[{"from": ZERO, "input": ask.input, "to": ask.to.lower()}, block] for ask in group]
            if len(group) == 1:
                raws = [self.request("eth_call", *params[0])]
            else:
                messages = [self._message("eth_call", each) for each in params]
                answers = {answer["id"]: answer for answer in self._post(messages)}
                raws = []
                for message in messages:
                    answer = answers[message["id"]]
                    if "error" in answer:
                        raise ClientError(f"batch element failed: {answer['error']}")
                    raws.append(answer["result"])
            results += [decode(ask.kinds, bytes.fromhex(raw[2:])) for ask, raw in zip(group, raws, strict=True)]
        return results

    def call(self, ask: Ask, block: Any = "latest") -> Any:
        """One read of one value."""
        return self.calls([ask], block)[0][0]

    def head_block(self) -> dict[str, str]:
        """The latest block by a hash that is computed here, from the header's fields."""
        header = self.request("eth_getBlockByNumber", "latest", False)
        return {"blockHash": "0x" + header_hash(header).hex()}


HEADER_FIELDS = (
    ("parentHash", "bytes"),
    ("sha3Uncles", "bytes"),
    ("miner", "bytes"),
    ("stateRoot", "bytes"),
    ("transactionsRoot", "bytes"),
    ("receiptsRoot", "bytes"),
    ("logsBloom", "bytes"),
    ("difficulty", "number"),
    ("number", "number"),
    ("gasLimit", "number"),
    ("gasUsed", "number"),
    ("timestamp", "number"),
    ("extraData", "bytes"),
    ("mixHash", "bytes"),
    ("nonce", "bytes"),
    ("baseFeePerGas", "number"),
    ("withdrawalsRoot", "bytes"),
    ("blobGasUsed", "number"),
    ("excessBlobGas", "number"),
    ("parentBeaconBlockRoot", "bytes"),
    ("requestsHash", "bytes"),
)


def header_hash(header: dict[str, str]) -> bytes:
    """A block's hash, from its fields."""
    values: list[bytes | int] = []
    for name, kind in HEADER_FIELDS:
        if header.get(name) is None:
            continue
        values.append(int(header[name], 16) if kind == "number" else bytes.fromhex(header[name][2:]))
    return keccak(rlp.encode(values))


def transact(wire: Wire, key: str, to: str, data: str, value: int = 0) -> dict[str, Any]:
    """A transaction the way the tools' transaction manager makes one; its receipt."""
    account = Account.from_key(key)
    chain_id = int(wire.request("eth_chainId"), 16)
    header = wire.request("eth_getBlockByNumber", "latest", False)
    tip = int(wire.request("eth_maxPriorityFeePerGas"), 16)
    wire.request("eth_blobBaseFee")
    fee_cap = 2 * int(header["baseFeePerGas"], 16) + tip
    nonce = int(wire.request("eth_getTransactionCount", account.address.lower(), "latest"), 16)
    estimate = {
        "from": account.address.lower(),
        "gas": hex(GAS_CAP),
        "input": data,
        "maxFeePerGas": hex(fee_cap),
        "maxPriorityFeePerGas": hex(tip),
        "to": to.lower(),
        "value": hex(value),
    }
    gas = int(wire.request("eth_estimateGas", estimate), 16)
    signed = account.sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "to": to_checksum_address(to),
            "value": value,
            "data": data,
            "gas": gas,
            "maxFeePerGas": fee_cap,
            "maxPriorityFeePerGas": tip,
        }
    )
    sent = wire.request("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    deadline = time.monotonic() + 10
    while (receipt := wire.request("eth_getTransactionReceipt", sent)) is None:
        if time.monotonic() > deadline:
            raise ClientError("transaction was not mined")
        time.sleep(0.01)
    wire.request("eth_blockNumber")
    if int(receipt["status"], 16) != 1:
        raise ClientError("transaction failed")
    return dict(receipt)
