"""
The stages of a transaction, from the order to the receipt, and its errors.

An `Order` is what to send: a contract `Call` or a `Creation`. A `Quote` has its estimated gas and price, a `Receipt`
the real ones. The errors here concern funds, size and time; a contract's refusal is `reverts.Reverted`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from opml_dispute.chain.abi import encode
from opml_dispute.chain.amounts import ether
from opml_dispute.chain.answers import Log
from opml_dispute.chain.artifacts import Artifact
from opml_dispute.chain.fees import Fees
from opml_dispute.chain.rpc import Call
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address


class NotEnoughFunds(OpmlError):
    """The account cannot pay value and gas."""

    def __init__(self, address: str, balance_wei: int, needed_wei: int, what: str) -> None:
        super().__init__(f"{address} has {ether(balance_wei)}, but {what} needs {ether(needed_wei)}")
        self.hint = f"send at least {ether(needed_wei - balance_wei)} to {address}"
        self.address, self.balance_wei, self.needed_wei = address, balance_wei, needed_wei


MAX_TRANSACTION_BYTES: Final = 1 << 17
"""Ordinary nodes take no larger transaction from their users."""

ENVELOPE_BYTES: Final = 256
"""The most bytes of a transaction beside its data: nonce, fees, address and signature."""

MAX_OUTPUT_BYTES: Final = MAX_TRANSACTION_BYTES - ENVELOPE_BYTES - 256
"""An output is delivered in one transaction; the rest of it has request, game, arena root, lengths and padding."""


class TransactionTooLarge(OpmlError):
    """A transaction has more bytes than ordinary nodes take."""

    hint = "a large input is published in parts: opml-dispute request --in-parts; nothing else can be made smaller"

    def __init__(self, what: str, size_bytes: int) -> None:
        super().__init__(
            f"{what} needs a transaction of {size_bytes:,} bytes, but nodes take {MAX_TRANSACTION_BYTES:,} at most"
        )


class NotMined(OpmlError):
    """A transaction stayed unmined; it may still be mined later."""

    hint = "run the command again: it waits for the earlier transaction first, and repeats nothing"

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} was not mined within {seconds:.0f} s")


class NonceTaken(OpmlError):
    """Other transactions of the account were mined under every nonce that was tried."""

    hint = "another program sends from this account at the same time; run the command again"


@dataclass(frozen=True)
class Creation:
    """Contract creation: an artifact with its constructor's arguments."""

    artifact: Artifact
    arguments: tuple[Any, ...] = ()

    @property
    def data(self) -> bytes:
        """The creation code and the encoded arguments."""
        return self.artifact.bytecode + encode(self.artifact.constructor_inputs, self.arguments)

    @property
    def blobs(self) -> None:
        """A creation has no blobs."""
        return None

    @property
    def what(self) -> str:
        """For messages."""
        return f"deploying {self.artifact.name}"


@dataclass(frozen=True)
class Receipt:
    """A mined, successful transaction."""

    what: str
    hash: bytes
    block_number: int
    gas_used: int
    gas_price_wei: int
    value_wei: int
    created: Address | None
    """The new contract, of a deployment."""
    logs: tuple[Log, ...]
    data_fee_wei: int = 0
    """Paid for its data on a rollup's first layer, where the node tells it."""
    blob_fee_wei: int = 0
    """Paid for its blobs."""

    @property
    def paid_wei(self) -> int:
        """What it cost, beside its value."""
        return self.gas_used * self.gas_price_wei + self.data_fee_wei + self.blob_fee_wei


@dataclass(frozen=True)
class DepositChange:
    """By how much a transaction changes what its sender has deposited for demanded bonds, if it succeeds."""

    contract: Address
    """That holds the deposit."""
    wei: int
    """Negative if it is taken back, or locked."""
    latest_nonce: int | None = None
    """Under a later nonce it would come beside one that was signed under this one."""


def nothing_expected() -> None:
    """What may be sent whatever other processes sent meanwhile."""


class Order(NamedTuple):
    """A transaction to be sent."""

    work: Call[Any] | Creation
    value_wei: int = 0
    once: bool = False
    """Whether doing it twice would cost twice: then an earlier process that died after sending it is remembered."""
    is_urgent: bool = False
    """Whether a clock runs out: then it offers a higher tip, and its fee is raised sooner."""
    deposit: DepositChange | None = None
    """What it does to the sender's deposit: the journal keeps that for long."""
    only_nonce: int | None = None
    """The nonce under which something was signed that must not be mined beside this: this takes its place."""

    expect_alone: Callable[[], None] = nothing_expected
    """Asked while no other process of the key can sign: raises an `OpmlError` if one has done the same meanwhile."""

    makes_game: bool = False
    """Whether it proposes an answer: the journal keeps that for long, so that it is not proposed a second time."""

    def expect_nonce(self, nonce: int) -> None:
        """Raises `NonceTaken` if what was signed before could be mined as well as this."""
        if self.only_nonce is not None and nonce != self.only_nonce:
            raise NonceTaken(
                f"{self.work.what} was signed under nonce {self.only_nonce} already, and may be in the chain or come "
                f"into it: nothing is sent under nonce {nonce} beside it",
                hint="run the command again: it looks for that transaction first",
            )
        latest = None if self.deposit is None else self.deposit.latest_nonce
        if latest is not None and nonce > latest:
            raise NonceTaken(
                f"{self.work.what} was signed under nonce {latest} already, which the node did not count and counts now"
            )

    @property
    def digest(self) -> bytes:
        """By which two orders are the same."""
        to = bytes.fromhex(self.work.to[2:]) if isinstance(self.work, Call) else b""
        return to.rjust(20, b"\0") + self.value_wei.to_bytes(32, "big") + self.work.data

    @property
    def is_paid_once(self) -> bool:
        """Whether sending it under another nonce, if a node lied about the first, would pay twice."""
        return self.once and self.value_wei > 0


@dataclass(frozen=True)
class Quote:
    """The estimated cost of a transaction, if it were sent now."""

    gas: int
    """The gas limit: estimate and margin."""
    fees: Fees
    block_number: int
    """The latest block then."""
    data_fee_wei: int = 0
    """The most that its data should cost on a rollup's first layer (`data_fee`); 0 elsewhere."""
    blob_gas: int = 0
    """The gas of its blobs, which has a price of its own."""

    @property
    def most_wei(self) -> int:
        """The most that it can cost, beside its value."""
        return self.gas * self.fees.max_fee_wei + self.data_fee_wei + self.blob_gas * (self.fees.blob_fee_wei or 0)
