"""
Transactions: estimated, paid for, signed, sent, waited for, explained.

`Sender.send` does one transaction and returns its `Receipt`. Before it signs anything it simulates: a call that
would revert raises `reverts.Reverted` and costs nothing; an account that cannot pay raises `NotEnoughFunds`. A
transaction that is not mined in time is sent again under the *same nonce* with a higher fee, so it can be mined
only once. A process that died after sending leaves its transaction behind: `Sender.settle`, at the start of every
command that sends, waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address

from opml_dispute.chain.amounts import ether
from opml_dispute.chain.artifacts import Artifact
from opml_dispute.chain.keys import Account
from opml_dispute.chain.reverts import Reverted
from opml_dispute.chain.rpc import Call, Head, Rpc, RpcFailed
from opml_dispute.errors import OpmlError
from opml_dispute.primitives import Address

GAS_MARGIN_PERCENT = 25
"""Added to the node's estimate: contract state, and with it the gas, may change before the transaction is mined."""

TRANSACTION_GAS_CAP = 2**24
"""The most gas one transaction may ask for on chains with EIP-7825."""

FEE_BUMP_PERCENT = 15
"""On a resend; nodes ask for at least 10 more."""

_METHOD_NOT_FOUND = -32601

T = TypeVar("T")


class NotEnoughFunds(OpmlError):
    """The account cannot pay value and gas."""

    def __init__(self, address: str, balance_wei: int, needed_wei: int, what: str) -> None:
        super().__init__(f"{address} has {ether(balance_wei)}, but {what} needs {ether(needed_wei)}")
        self.hint = f"send at least {ether(needed_wei - balance_wei)} to {address}"
        self.address, self.balance_wei, self.needed_wei = address, balance_wei, needed_wei


class NotMined(OpmlError):
    """A transaction stayed unmined; it may still be mined later."""

    hint = "run the command again: it waits for the earlier transaction first, and repeats nothing"

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} was not mined within {seconds:.0f} s")


@dataclass(frozen=True)
class Deployment:
    """Contract creation: an artifact with its constructor's arguments."""

    artifact: Artifact
    arguments: tuple[Any, ...] = ()

    @property
    def data(self) -> bytes:
        """Creation code and encoded arguments."""
        return self.artifact.bytecode + encode(self.artifact.constructor_inputs, self.arguments)

    @property
    def what(self) -> str:
        """For messages."""
        return f"deploying {self.artifact.name}"


@dataclass(frozen=True)
class Log:
    """An event as the chain kept it."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes


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


@dataclass(frozen=True)
class _Fees:
    max_fee_wei: int
    tip_wei: int | None
    """None on a chain without EIP-1559."""

    def bumped(self) -> _Fees:
        def bump(wei: int) -> int:
            return wei * (100 + FEE_BUMP_PERCENT) // 100 + 1

        return _Fees(bump(self.max_fee_wei), None if self.tip_wei is None else bump(self.tip_wei))

    def fields(self) -> dict[str, int]:
        if self.tip_wei is None:
            return {"gasPrice": self.max_fee_wei}
        return {"type": 2, "maxFeePerGas": self.max_fee_wei, "maxPriorityFeePerGas": self.tip_wei}


class Sender:
    """One account on one chain. Not for two threads at once: nonces go up one by one."""

    def __init__(
        self,
        rpc: Rpc,
        account: Account,
        *,
        timeout_s: float = 90.0,
        resends: int = 3,
        on_sent: Callable[[Receipt], None] | None = None,
    ) -> None:
        self.rpc, self.account = rpc, account
        self.address = account.address
        self._timeout_s, self._resends, self._on_sent = timeout_s, resends, on_sent
        self._chain_id: int | None = None

    def settle(self) -> None:
        """
        Wait until no transaction of this account is in flight, so that what is read next is what it made.

        Raises `NotMined` if one stays unmined.
        """
        deadline = time.monotonic() + self._timeout_s
        pause_s = 0.05
        while True:
            mined, pending = self.rpc.batch(
                [("eth_getTransactionCount", [self.address, tag]) for tag in ("latest", "pending")]
            )
            if int(mined, 16) >= int(pending, 16):
                return
            if time.monotonic() > deadline:
                raise NotMined(f"an earlier transaction of {self.address}", self._timeout_s)
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)

    def send(self, work: Call[Any] | Deployment, *, value_wei: int = 0) -> Receipt:
        """
        Send one transaction and wait until it is mined.

        Raises `Reverted` if the contract refuses (nothing is sent then, unless the chain changed meanwhile),
        `NotEnoughFunds`, `NotMined`, `RpcUnreachable` or `RpcFailed`.
        """
        head, balance, nonce = self._before()
        if balance < value_wei:
            raise NotEnoughFunds(self.address, balance, value_wei, work.what)
        fees = self._fees(head)
        fields = self._fields(work, value_wei)
        gas = self._estimate(work, fields, balance, fees)
        if balance < value_wei + gas * fees.max_fee_wei:
            raise NotEnoughFunds(self.address, balance, value_wei + gas * fees.max_fee_wei, work.what)
        receipt = self._send_until_mined(work, fields, gas, fees, nonce)
        if self._on_sent is not None:
            self._on_sent(receipt)
        return receipt

    def simulate(self, call: Call[T], *, value_wei: int = 0) -> T:
        """What the call would answer if sent now. Raises `Reverted`."""
        try:
            raw = self.rpc.request("eth_call", self._object(call, value_wei), "latest")
        except Reverted as reverted:
            raise Reverted(call.what, reverted.data) from None
        return call.decode(bytes.fromhex(raw[2:]))

    # ---- parts of send ----

    def _before(self) -> tuple[Head, int, int]:
        if self._chain_id is None:
            self._chain_id = self.rpc.chain_id()
        balance, nonce = self.rpc.batch(
            [("eth_getBalance", [self.address, "latest"]), ("eth_getTransactionCount", [self.address, "pending"])]
        )
        return self.rpc.head(), int(balance, 16), int(nonce, 16)

    def _fees(self, head: Head) -> _Fees:
        if not head.base_fee_wei:
            return _Fees(int(self.rpc.request("eth_gasPrice"), 16), None)
        try:
            tip = int(self.rpc.request("eth_maxPriorityFeePerGas"), 16)
        except RpcFailed as error:
            if error.code != _METHOD_NOT_FOUND:
                raise
            tip = 10**9
        return _Fees(2 * head.base_fee_wei + tip, tip)

    def _fields(self, work: Call[Any] | Deployment, value_wei: int) -> dict[str, Any]:
        to = {"to": work.to} if isinstance(work, Call) else {}
        return to | {"data": "0x" + work.data.hex(), "value": value_wei}

    def _object(self, work: Call[Any] | Deployment, value_wei: int) -> dict[str, Any]:
        fields = self._fields(work, value_wei)
        return {"from": self.address} | fields | {"value": hex(value_wei)}

    def _estimate(self, work: Call[Any] | Deployment, fields: dict[str, Any], balance: int, fees: _Fees) -> int:
        try:
            estimate = int(self.rpc.request("eth_estimateGas", self._object(work, fields["value"])), 16)
        except Reverted as reverted:
            raise Reverted(work.what, reverted.data) from None
        except RpcFailed as error:
            if "insufficient funds" in error.message.lower():
                needed = fields["value"] + fees.max_fee_wei * 100_000
                raise NotEnoughFunds(self.address, balance, max(needed, balance + 1), work.what) from None
            raise
        with_margin = estimate * (100 + GAS_MARGIN_PERCENT) // 100
        return max(estimate, min(with_margin, TRANSACTION_GAS_CAP))

    def _send_until_mined(
        self, work: Call[Any] | Deployment, fields: dict[str, Any], gas: int, fees: _Fees, nonce: int
    ) -> Receipt:
        hashes: list[bytes] = []
        for attempt in range(self._resends + 1):
            transaction = fields | fees.fields() | {"gas": gas, "nonce": nonce, "chainId": self._chain_id}
            raw, transaction_hash = self.account.sign(transaction)
            try:
                self.rpc.request("eth_sendRawTransaction", "0x" + raw.hex())
                hashes.append(transaction_hash)
            except RpcFailed as error:
                if not self._already_there(error, attempt):
                    raise
                if "known" in error.message.lower():
                    hashes.append(transaction_hash)
            mined = self._wait(hashes)
            if mined is not None:
                return self._finish(work, fields, gas, mined)
            fees = fees.bumped()
        raise NotMined(work.what, self._timeout_s * (self._resends + 1))

    def _already_there(self, error: RpcFailed, attempt: int) -> bool:
        """Whether the refusal means that this, or on a resend an earlier, form of the transaction is known or
        mined."""
        message = error.message.lower()
        if "already known" in message or "known transaction" in message or "already imported" in message:
            return True
        return attempt > 0 and ("nonce too low" in message or "underpriced" in message)

    def _wait(self, hashes: list[bytes]) -> dict[str, Any] | None:
        """The receipt of whichever of these was mined; None if none was in time."""
        deadline = time.monotonic() + self._timeout_s
        pause_s = 0.005
        while True:
            for transaction_hash in hashes:
                receipt = self.rpc.request("eth_getTransactionReceipt", "0x" + transaction_hash.hex())
                if receipt is not None:
                    return dict(receipt)
            if time.monotonic() > deadline:
                return None
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)

    def _finish(self, work: Call[Any] | Deployment, fields: dict[str, Any], gas: int, raw: dict[str, Any]) -> Receipt:
        if int(raw["status"], 16) != 1:
            raise Reverted(f"{work.what} (transaction {raw['transactionHash']})", self._why(work, fields, gas, raw))
        return Receipt(
            what=work.what,
            hash=bytes.fromhex(raw["transactionHash"][2:]),
            block_number=int(raw["blockNumber"], 16),
            gas_used=int(raw["gasUsed"], 16),
            gas_price_wei=int(raw.get("effectiveGasPrice", "0x0"), 16),
            value_wei=fields["value"],
            created=Address(to_checksum_address(raw["contractAddress"])) if raw.get("contractAddress") else None,
            logs=tuple(read_log(log) for log in raw["logs"]),
        )

    def _why(self, work: Call[Any] | Deployment, fields: dict[str, Any], gas: int, raw: dict[str, Any]) -> bytes:
        """Run a failed transaction again where it failed, to hear the reason; empty if it no longer fails."""
        again = self._object(work, fields["value"]) | {"gas": hex(gas)}
        try:
            self.rpc.request("eth_call", again, raw["blockNumber"])
        except Reverted as reverted:
            return reverted.data
        return b""


def read_log(raw: dict[str, Any]) -> Log:
    """A log out of its JSON."""
    return Log(
        address=Address(to_checksum_address(raw["address"])),
        topics=tuple(bytes.fromhex(topic[2:]) for topic in raw["topics"]),
        data=bytes.fromhex(raw["data"][2:]),
    )
