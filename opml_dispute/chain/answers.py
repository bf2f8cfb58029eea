"""
Answers of a node, validated before they are used.

Each function takes the method that was asked (for messages) and the JSON value that came, and gives back a value of
the type that the protocol promises, or raises `RpcAnswerInvalid`: never a `TypeError`, whatever a faulty node sends.
`Rpc.request` takes such a function as `parse`, and asks again when it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from opml_dispute.chain.abi import checksummed
from opml_dispute.chain.rpc_errors import RpcAnswerInvalid
from opml_dispute.primitives import Address

Parse: TypeAlias = Callable[[str, Any], Any]
"""From a method's name and the JSON of its result to a value; raises `RpcAnswerInvalid`."""

_QUANTITY: Final = re.compile(r"0[xX][0-9a-fA-F]{1,64}")
_DATA: Final = re.compile(r"0[xX](?:[0-9a-fA-F]{2})*")

MOST_GAS: Final = 2**40
"""No chain has blocks of so much gas."""

MOST_TRANSACTIONS: Final = 1 << 40
"""Of one account. What is signed under a nonce that is never reached is never mined."""


@dataclass(frozen=True)
class Head:
    """A block that reads are pinned to."""

    number: int
    hash: bytes
    timestamp: int
    """Seconds since 1970, the chain's own clock."""
    base_fee_wei: int
    gas_limit: int = MOST_GAS
    """The most gas that all transactions of the block may take."""


@dataclass(frozen=True)
class Log:
    """An event as the chain stores it."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int = field(default=0, compare=False)
    """The block that it is in."""


@dataclass(frozen=True)
class Mined:
    """The receipt of a transaction that lies in a block."""

    transaction_hash: bytes
    block_number: int
    succeeded: bool
    gas_used: int
    gas_price_wei: int
    created: Address | None
    logs: tuple[Log, ...]
    data_fee_wei: int
    """What a rollup's node says that the transaction's data cost on the first layer; 0 elsewhere."""
    blob_fee_wei: int = 0
    """Paid for its blobs."""


def anything(method: str, value: Any) -> Any:
    """No check: for answers whose value is not used."""
    return value


def quantity(method: str, value: Any) -> int:
    """An unsigned number of at most 256 bits."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise RpcAnswerInvalid(method, value, "a hexadecimal number")
    return int(value, 16)


def transaction_count(method: str, value: Any) -> int:
    """How many transactions an account has sent: a number that an account can come to."""
    count = quantity(method, value)
    if count > MOST_TRANSACTIONS:
        raise RpcAnswerInvalid(method, value, "how many transactions an account has sent")
    return count


def quantity_or_none(method: str, value: Any) -> int | None:
    """A number, or None where the node says null: some have no value to tell."""
    return None if value is None else quantity(method, value)


def data(method: str, value: Any) -> bytes:
    """Bytes of any length."""
    if not isinstance(value, str) or not _DATA.fullmatch(value):
        raise RpcAnswerInvalid(method, value, "hexadecimal bytes")
    return bytes.fromhex(value[2:])


def text(method: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise RpcAnswerInvalid(method, value, "a string")
    return value


def hash32(method: str, value: Any) -> bytes:
    """Exactly 32 bytes."""
    raw = data(method, value)
    if len(raw) != 32:
        raise RpcAnswerInvalid(method, value, "32 bytes")
    return raw


def address(method: str, value: Any) -> Address:
    """An address, checksummed."""
    raw = data(method, value)
    if len(raw) != 20:
        raise RpcAnswerInvalid(method, value, "an address")
    return checksummed("0x" + raw.hex())


def head(method: str, value: Any) -> Head:
    """A block."""
    fields = _fields(method, value, "a block")
    return Head(
        number=quantity(method, fields.get("number")),
        hash=hash32(method, fields.get("hash")),
        timestamp=quantity(method, fields.get("timestamp")),
        base_fee_wei=_optional(quantity, method, fields.get("baseFeePerGas"), 0),
        gas_limit=min(_optional(quantity, method, fields.get("gasLimit"), MOST_GAS), MOST_GAS),
    )


def head_or_none(method: str, value: Any) -> Head | None:
    """A block, or None where the node has none of that number."""
    return None if value is None else head(method, value)


def log(method: str, value: Any) -> Log:
    """An event."""
    fields = _fields(method, value, "an event")
    topics = _items(method, fields.get("topics"), "an event's topics")
    return Log(
        address(method, fields.get("address")),
        tuple(hash32(method, topic) for topic in topics),
        data(method, fields.get("data")),
        _optional(quantity, method, fields.get("blockNumber"), 0),
    )


def logs(method: str, value: Any) -> tuple[Log, ...]:
    """Events."""
    return tuple(log(method, item) for item in _items(method, value, "a list of events"))


def receipt(method: str, value: Any) -> Mined | None:
    """A receipt; None as long as the transaction lies in no block, which some nodes say by null fields."""
    if value is None:
        return None
    fields = _fields(method, value, "a receipt")
    if fields.get("blockNumber") is None or fields.get("blockHash") is None:
        return None
    succeeded = quantity(method, fields.get("status")) == 1
    logs_made = _optional(logs, method, fields.get("logs"), ())
    if logs_made and not succeeded:
        raise RpcAnswerInvalid(method, fields.get("status"), "that what made events did not fail")
    return Mined(
        transaction_hash=hash32(method, fields.get("transactionHash")),
        block_number=quantity(method, fields["blockNumber"]),
        succeeded=succeeded,
        gas_used=_gas(method, fields.get("gasUsed")),
        gas_price_wei=_optional(quantity, method, fields.get("effectiveGasPrice"), 0),
        created=_optional(address, method, fields.get("contractAddress"), None),
        logs=logs_made,
        data_fee_wei=_optional(quantity, method, fields.get("l1Fee"), 0),
        blob_fee_wei=_optional(quantity, method, fields.get("blobGasUsed"), 0)
        * _optional(quantity, method, fields.get("blobGasPrice"), 0),
    )


def receipt_of(transaction_hash: bytes, method: str, value: Any) -> Mined | None:
    """The receipt of one transaction: another's would tell of another success, other costs and other events."""
    found = receipt(method, value)
    if found is not None and found.transaction_hash != transaction_hash:
        raise RpcAnswerInvalid(method, found.transaction_hash.hex(), f"the receipt of {transaction_hash.hex()}")
    return found


def paid_tips(method: str, value: Any) -> list[int]:
    """The tips of eth_feeHistory's first percentile, one a block; none where the node says null."""
    history = {} if value is None else _fields(method, value, "a fee history")
    rewards = _items(method, [] if history.get("reward") is None else history["reward"], "a list of rewards")
    return [quantity(method, row[0]) for row in rewards if isinstance(row, list) and row]


def _gas(method: str, value: Any) -> int:
    gas = quantity(method, value)
    if gas > MOST_GAS:
        raise RpcAnswerInvalid(method, value, f"at most {MOST_GAS:,} gas")
    return gas


def _optional(parse: Callable[[str, Any], Any], method: str, value: Any, default: Any) -> Any:
    return default if value is None else parse(method, value)


def _fields(method: str, value: Any, expected: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RpcAnswerInvalid(method, value, expected)
    return value


def _items(method: str, value: Any, expected: str) -> list[Any]:
    if not isinstance(value, list):
        raise RpcAnswerInvalid(method, value, expected)
    return value
